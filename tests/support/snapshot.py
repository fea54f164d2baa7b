"""All that the store keeps of one queue, read key by key."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.store.keys import Queue
    from tests.support.admin import Admin

_HEAD: Final = struct.Struct(">BHBBBBIIIQQQ")
_CLAIM: Final = struct.Struct(">IQQB")
_POLICY_BYTES: Final = 24
_NAME_BYTES: Final = 7
_DIGEST_BYTES: Final = 16

POLICY, EXPIRY, TIMEOUT, IDEMPOTENCY, KEY, TYPES, LABELS = (1 << bit for bit in range(7))
CLAIM, CANCELLING, PARKED, CHECKPOINT, FOLLOWED, HISTORY, TWICE = (1 << bit for bit in range(8, 15))


class Meta(NamedTuple):
    """A whole meta row as it stands, a purge not taken into account; what it lacks is 0 or empty.

    `body` is the size of the spec, `rest` of it without payload.
    """

    state: int
    flags: int
    priority: int
    attempt: int
    max_attempts: int
    ending: int
    body: int
    rest: int
    lease_ms: int
    fence: int
    time_ms: int
    changed_ms: int
    policy: bytes = b""
    expire_ms: int = 0
    timeout_ms: int = 0
    idempotency: bytes = b""
    key: bytes = b""
    types: bytes = b""
    claim_lease_ms: int = 0
    since_ms: int = 0
    start_ms: int = 0
    owner: bytes = b""
    worker: bytes = b""

    def has(self, flag: int) -> bool:
        """Whether the row has one of the flags above."""
        return bool(self.flags & flag)


class Remembered(NamedTuple):
    """Of an idempotency key; `final` is 0 while the task is there."""

    name: bytes
    digest: bytes
    window_ms: int
    final: int


class Parked(NamedTuple):
    """Waits for a concurrency key; sorts as the tasks will go."""

    key: bytes
    priority: int
    name: bytes


def _read_fixed(flags: int, raw: bytes) -> Iterator[Any]:
    at = 0

    def take(flag: int, size: int) -> bytes:
        nonlocal at
        at += size if flags & flag else 0
        return raw[at - size : at] if flags & flag else b""

    yield take(POLICY, _POLICY_BYTES)
    yield int.from_bytes(take(EXPIRY, 8), "big")
    yield int.from_bytes(take(TIMEOUT, 4), "big")
    for flag in (IDEMPOTENCY, KEY, TYPES):
        yield take(flag, int.from_bytes(take(flag, 2), "big"))
    assert at == len(raw), raw


def read_meta(raw: bytes) -> Meta:
    """As `lua/lib/rows.lua` lays it out."""
    head = _HEAD.unpack_from(raw)
    flags, at, fixed = head[1], _HEAD.size, b""
    if flags & 0xFF:
        length = int.from_bytes(raw[at : at + 2], "big")
        fixed = raw[at + 2 : at + 2 + length]
        at += 2 + length
    parts = list(_read_fixed(flags, fixed))
    if not flags & CLAIM:
        assert at == len(raw), raw
        return Meta._make([*head, *parts, 0, 0, 0, b"", b""])
    *claim, length = _CLAIM.unpack_from(raw, at)
    names = raw[at + _CLAIM.size :]
    return Meta._make([*head, *parts, *claim, names[:length], names[length:]])


def _read_remembered(raw: bytes) -> Remembered:
    end = _NAME_BYTES + _DIGEST_BYTES
    window = int.from_bytes(raw[end : end + 8], "big")
    assert len(raw) == end + 9, raw
    return Remembered(raw[:_NAME_BYTES], raw[_NAME_BYTES:end], window, raw[-1])


def _read_parked(raw: bytes) -> Parked:
    key, rest = raw[: -_NAME_BYTES - 1].removesuffix(b"\0"), raw[-_NAME_BYTES - 1 :]
    return Parked(key, 9 - rest[0], rest[1:])


def _names(raw: bytes) -> list[bytes]:
    return [raw[at : at + _NAME_BYTES] for at in range(0, len(raw), _NAME_BYTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Names and times, as they stand. Indexes map name to score."""

    lists: dict[int, list[bytes]]
    blocked: dict[bytes, int]
    scheduled: dict[bytes, int]
    leases: dict[bytes, int]
    completed: dict[bytes, int]
    failed: dict[bytes, int]
    cancelled: dict[bytes, int]
    expired: dict[bytes, int]
    expiries: dict[bytes, int]
    metas: dict[bytes, Meta]
    bodies: dict[bytes, bytes]
    outcomes: dict[bytes, bytes]
    """By name and letter: r(esult), e(rror), p(rogress), k (checkpoint), a(ttempts), c(ancel's
    error), l(abels)."""
    waited: dict[bytes, bytes]
    waiting: dict[bytes, int]
    settings: dict[bytes, bytes]
    remembered: dict[bytes, Remembered]
    windows: dict[bytes, int]
    labels: set[tuple[bytes, bytes]]
    """`key NUL value NUL` and name."""
    holders: dict[bytes, list[bytes]]
    parked: list[Parked]
    parents: dict[bytes, bytes]
    followers: set[tuple[bytes, bytes]]
    """Name of a task, and id of one that waits for it."""
    outbox: dict[bytes, int]

    @property
    def pending(self) -> list[bytes]:
        """The lists, in the order of claims."""
        return [name for priority in range(9, -1, -1) for name in self.lists[priority]]

    @property
    def indexes(self) -> dict[TaskState, dict[bytes, int]]:
        """Of every state but PENDING."""
        return {
            TaskState.BLOCKED: self.blocked,
            TaskState.SCHEDULED: self.scheduled,
            TaskState.IN_PROGRESS: self.leases,
            TaskState.COMPLETED: self.completed,
            TaskState.FAILED: self.failed,
            TaskState.CANCELLED: self.cancelled,
            TaskState.EXPIRED: self.expired,
        }

    @property
    def purged_ms(self) -> int:
        """When the queue was purged last."""
        return int(self.settings.get(b"purged", 0))

    def texts(self, letter: str) -> dict[bytes, bytes]:
        """The outcomes of one letter by name."""
        field = letter.encode()
        return {key[:-1]: text for key, text in self.outcomes.items() if key.endswith(field)}

    def is_purged(self, name: bytes) -> bool:
        """Whether a purge has cancelled the task and no sweep has seen it yet."""
        meta = self.metas.get(name)
        return (
            meta is not None
            and meta.state <= TaskState.PENDING
            and meta.changed_ms <= self.purged_ms
        )

    def state(self, name: bytes) -> int:
        """As the scripts see it; 0 when there is no such task."""
        if self.is_purged(name):
            return TaskState.CANCELLED
        meta = self.metas.get(name)
        return 0 if meta is None else meta.state


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _scores(flat: list[bytes]) -> dict[bytes, int]:
    return {name: int(score) for name, score in _pairs(flat).items()}


_SETS: Final = ("y", "z", "l", "t", "d", "c", "a", "e", "w", "ux", "x", "kw", "v", "f")
_HASHES: Final = ("m", "b", "o", "g", "s", "u", "k", "p")


def take_snapshot(admin: Admin, queue: Queue) -> Snapshot:
    """Reads every key of the queue."""
    replies: list[Any] = admin.calls(
        [
            *[("ZRANGE", queue.keys[s], 0, -1, "WITHSCORES") for s in _SETS],
            *[("HGETALL", queue.keys[s]) for s in _HASHES],
            *[("LRANGE", queue.keys[f"r{priority}"], 0, -1) for priority in range(10)],
        ]
    )
    sets = dict(zip(_SETS, map(_scores, replies), strict=False))
    hashes = dict(zip(_HASHES, map(_pairs, replies[len(_SETS) : -10]), strict=True))
    return Snapshot(
        lists=dict(enumerate(replies[-10:])),
        blocked=sets["y"],
        scheduled=sets["z"],
        leases=sets["l"],
        completed=sets["t"],
        failed=sets["d"],
        cancelled=sets["c"],
        expired=sets["a"],
        expiries=sets["e"],
        metas={name: read_meta(raw) for name, raw in hashes["m"].items()},
        bodies=hashes["b"],
        outcomes=hashes["o"],
        waited=hashes["g"],
        waiting=sets["w"],
        settings=hashes["s"],
        remembered={key: _read_remembered(raw) for key, raw in hashes["u"].items()},
        windows=sets["ux"],
        labels={(raw[:-_NAME_BYTES], raw[-_NAME_BYTES:]) for raw in sets["v"]},
        holders={key: _names(raw) for key, raw in hashes["k"].items()},
        parked=[_read_parked(raw) for raw in sets["kw"]],
        parents=hashes["p"],
        followers={(raw[:_NAME_BYTES], raw[_NAME_BYTES:]) for raw in sets["f"]},
        outbox=sets["x"],
    )
