"""All that the store keeps of one queue, read key by key, and what must hold of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.store.keys import Queue
    from tests.support.admin import Admin

_HEAD: Final = struct.Struct(">6B2I3Q")
_POLICY_BYTES: Final = 24
_CLAIM: Final = struct.Struct(">IQB")


class Meta(NamedTuple):
    """A whole meta row; `policy` is empty and `since_ms` 0 when the row has none."""

    state: int
    priority: int
    attempt: int
    max_attempts: int
    ending: int
    size: int
    lease_ms: int
    fence: int
    time_ms: int
    changed_ms: int
    policy: bytes = b""
    claim_lease_ms: int = 0
    since_ms: int = 0
    owner: bytes = b""
    worker: bytes = b""


def read_meta(raw: bytes) -> Meta:
    """As `lua/lib/rows.lua` lays it out."""
    state, flags, *rest = _HEAD.unpack_from(raw)
    at = _HEAD.size
    policy = raw[at : at + _POLICY_BYTES] if flags & 1 else b""
    at += len(policy)
    if not flags & 2:
        assert at == len(raw), raw
        return Meta._make([state, *rest, policy, 0, 0, b"", b""])
    lease, since, length = _CLAIM.unpack_from(raw, at)
    names = raw[at + _CLAIM.size :]
    return Meta._make([state, *rest, policy, lease, since, names[:length], names[length:]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Names and times, as they stand. Indexes map name to score."""

    lists: dict[int, list[bytes]]
    scheduled: dict[bytes, int]
    leases: dict[bytes, int]
    ended: dict[bytes, int]
    dead: dict[bytes, int]
    metas: dict[bytes, Meta]
    bodies: dict[bytes, bytes]
    outcomes: dict[bytes, bytes]
    waited: dict[bytes, bytes]
    waiting: dict[bytes, int]
    settings: dict[bytes, bytes]

    @property
    def pending(self) -> list[bytes]:
        """In the order of claims."""
        return [name for priority in range(9, -1, -1) for name in self.lists[priority]]

    def state(self, name: bytes) -> int:
        """0 when there is no such task."""
        meta = self.metas.get(name)
        return 0 if meta is None else meta.state


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _scores(flat: list[bytes]) -> dict[bytes, int]:
    return {name: int(score) for name, score in _pairs(flat).items()}


def take_snapshot(admin: Admin, queue: Queue) -> Snapshot:
    """Reads every key of the queue."""
    sets = [("ZRANGE", queue.keys[s], 0, -1, "WITHSCORES") for s in "zltdw"]
    hashes = [("HGETALL", queue.keys[s]) for s in "mbogs"]
    lists = [("LRANGE", queue.keys[f"r{priority}"], 0, -1) for priority in range(10)]
    replies: list[Any] = admin.calls([*sets, *hashes, *lists])
    scheduled, leases, ended, dead, waiting = map(_scores, replies[:5])
    metas, bodies, outcomes, waited, settings = map(_pairs, replies[5:10])
    return Snapshot(
        lists=dict(enumerate(replies[10:])),
        scheduled=scheduled,
        leases=leases,
        ended=ended,
        dead=dead,
        metas={name: read_meta(raw) for name, raw in metas.items()},
        bodies=bodies,
        outcomes=outcomes,
        waited=waited,
        waiting=waiting,
        settings=settings,
    )


def _places(snapshot: Snapshot) -> Iterator[tuple[bytes, int, int | None]]:
    """Name, state that the place stands for, and score, of each entry of each index."""
    for name in snapshot.pending:
        yield name, TaskState.PENDING, None
    for index, state in (
        (snapshot.scheduled, TaskState.SCHEDULED),
        (snapshot.leases, TaskState.IN_PROGRESS),
        (snapshot.ended, TaskState.COMPLETED),
        (snapshot.dead, TaskState.FAILED),
    ):
        for name, score in index.items():
            yield name, state, score


def _misplaced(snapshot: Snapshot) -> Iterator[str]:
    places: dict[bytes, list[int]] = {}
    for name, state, score in _places(snapshot):
        places.setdefault(name, []).append(state)
        meta = snapshot.metas.get(name)
        if meta is not None and score not in {None, meta.time_ms}:
            yield f"{name.hex()} has score {score}, its meta says {meta.time_ms}"
    for name, meta in snapshot.metas.items():
        if places.pop(name, []) != [meta.state]:
            yield f"{name.hex()} is not in exactly the index of its state {meta.state}"
    for name in places:
        yield f"{name.hex()} is in an index and has no meta"


def inconsistencies(snapshot: Snapshot) -> list[str]:
    """What is wrong when no script was ever aborted: nothing."""
    found = list(_misplaced(snapshot))
    for priority, names in snapshot.lists.items():
        found += [
            f"{name.hex()} is in the list of priority {priority}"
            for name in names
            if name in snapshot.metas and snapshot.metas[name].priority != priority
        ]
    if snapshot.bodies.keys() != snapshot.metas.keys():
        found.append("bodies and metas are not of the same tasks")
    for name, meta in snapshot.metas.items():
        if name in snapshot.bodies and len(snapshot.bodies[name]) != meta.size:
            found.append(f"{name.hex()} has a body of another size than its meta says")
        if not 0 <= meta.attempt <= meta.max_attempts:
            found.append(f"{name.hex()} is at attempt {meta.attempt} of {meta.max_attempts}")
    if strangers := {field[:-1] for field in snapshot.outcomes} - snapshot.metas.keys():
        found.append(f"outcomes without a task: {strangers}")
    unended = {TaskState.PENDING, TaskState.SCHEDULED, TaskState.IN_PROGRESS}
    if told := [name for name in snapshot.waited if snapshot.state(name) not in unended]:
        found.append(f"waited for, though ended or gone: {told}")
    return found
