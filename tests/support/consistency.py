"""What must hold of all that the store keeps of one queue, when no script was ever aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core.task import TERMINAL, TaskState
from tests.support.snapshot import (
    CANCELLING,
    CHECKPOINT,
    FOLLOWED,
    HISTORY,
    LABELS,
    PARKED,
    Parked,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.snapshot import Meta, Snapshot

_LETTERS = {b"l": LABELS, b"k": CHECKPOINT, b"a": HISTORY, b"c": CANCELLING}


def inconsistencies(snapshot: Snapshot, now_ms: int = 0) -> list[str]:
    """Nothing, but for what `stale_entries` tells: cancelling, replacing and purging leave
    entries in the lists, which claims pass over. Claims pass over what has expired by now, too.
    """
    rules = (_misplaced, _unparked, _unheld, _forlorn, _unexpiring, _malformed)
    others = (_mislabelled, _forgotten, _unfollowed, _unasked)
    found = [fault for rule in (*rules, *others) for fault in rule(snapshot)]
    return [*_unlisted(snapshot, now_ms), *found]


def stale_entries(snapshot: Snapshot) -> list[bytes]:
    """Entries of lists that stand for no claim to come, once for each too many."""
    stale, seen = [], set()
    for priority, names in snapshot.lists.items():
        for name in names:
            meta = snapshot.metas.get(name)
            is_due = meta is not None and _is_pending(snapshot, name, meta)
            if meta is None or not is_due or meta.priority != priority or name in seen:
                stale.append(name)
            seen.add(name)
    return stale


def _is_pending(snapshot: Snapshot, name: bytes, meta: Meta) -> bool:
    return snapshot.state(name) == TaskState.PENDING and not meta.has(PARKED)


def _misplaced(snapshot: Snapshot) -> Iterator[str]:
    """A purge leaves rows where they are until swept; claims may clear their entries away, or put
    them off.
    """
    for name, meta in snapshot.metas.items():
        places = {state for state, index in snapshot.indexes.items() if name in index}
        expected = {TaskState(meta.state)} - {TaskState.PENDING}
        if places != expected:
            yield f"{name.hex()} of state {meta.state} is in the indexes {places}"
        for state in places & expected:
            score = snapshot.indexes[state][name]
            if score != meta.time_ms and not snapshot.is_purged(name):
                yield f"{name.hex()} has another score than its meta has a time"
    for state, index in snapshot.indexes.items():
        if strangers := index.keys() - snapshot.metas.keys():
            yield f"entries of {state} without a task: {strangers}"


def _unlisted(snapshot: Snapshot, now_ms: int) -> Iterator[str]:
    for name, meta in snapshot.metas.items():
        in_list = name in snapshot.lists[meta.priority]
        has_expired = 0 < meta.expire_ms <= now_ms
        if _is_pending(snapshot, name, meta) and not in_list and not has_expired:
            yield f"{name.hex()} is pending and not in its list"


def _unparked(snapshot: Snapshot) -> Iterator[str]:
    expected = {
        Parked(meta.key, meta.priority, name): snapshot.is_purged(name)
        for name, meta in snapshot.metas.items()
        if meta.has(PARKED)
    }
    if unexpected := set(snapshot.parked) - expected.keys():
        yield f"parked, and not flagged so: {unexpected}"
    for parked in expected.keys() - set(snapshot.parked):
        if not expected[parked]:
            yield f"flagged as parked, and not so: {parked}"
    for parked in expected:
        if snapshot.metas[parked.name].state != TaskState.PENDING:
            yield f"flagged as parked, and not pending: {parked}"


def _unheld(snapshot: Snapshot) -> Iterator[str]:
    """While a queue has no limit nobody counts who holds a key."""
    for key, names in snapshot.holders.items():
        for name in names:
            meta = snapshot.metas.get(name)
            if meta is None or meta.state != TaskState.IN_PROGRESS or meta.key != key:
                yield f"{name.hex()} is said to hold the key {key!r}"
        if len(names) != len(set(names)) or not names:
            yield f"the key {key!r} has no holders, or one twice"


def _forlorn(snapshot: Snapshot) -> Iterator[str]:
    """Whoever is parked is let in by one that holds the key, or was let in before."""
    going = {
        meta.key
        for name, meta in snapshot.metas.items()
        if snapshot.state(name) == TaskState.IN_PROGRESS or _is_pending(snapshot, name, meta)
    }
    for parked in snapshot.parked:
        is_purged = snapshot.is_purged(parked.name)
        if parked.key not in going and not is_purged and b"unpark" not in snapshot.settings:
            yield f"nobody lets in {parked}"


def _unexpiring(snapshot: Snapshot) -> Iterator[str]:
    expiring = {
        name: meta.expire_ms
        for name, meta in snapshot.metas.items()
        if meta.expire_ms and snapshot.state(name) not in TERMINAL
    }
    for name in expiring.keys() | snapshot.expiries.keys():
        expected, told = expiring.get(name), snapshot.expiries.get(name)
        if expected != told and not snapshot.is_purged(name):
            yield f"{name.hex()} expires at {expected}, the index says {told}"


def _is_bodiless(meta: Meta) -> bool:
    """Whether the body may be lost, as a doctor has noted; no attempt comes any more."""
    last = meta.state == TaskState.IN_PROGRESS and meta.attempt == meta.max_attempts
    return meta.body == 0 and (meta.state in TERMINAL or last)


def _malformed(snapshot: Snapshot) -> Iterator[str]:
    bodiless = {name for name, meta in snapshot.metas.items() if _is_bodiless(meta)}
    if snapshot.bodies.keys() - bodiless != snapshot.metas.keys() - bodiless:
        yield "bodies and metas are not of the same tasks"
    for name, meta in snapshot.metas.items():
        if len(snapshot.bodies.get(name, b"")) != meta.body:
            yield f"{name.hex()} has a body of another size than its meta says"
        if not 0 <= meta.attempt <= meta.max_attempts:
            yield f"{name.hex()} is at attempt {meta.attempt} of {meta.max_attempts}"
        if meta.state == TaskState.IN_PROGRESS and not meta.start_ms:
            yield f"{name.hex()} is in progress without a claim"
        if meta.has(CANCELLING) and meta.state != TaskState.IN_PROGRESS:
            yield f"{name.hex()} is to be cancelled, and nobody holds it"
        for letter, flag in _LETTERS.items():
            if meta.has(flag) != (name + letter in snapshot.outcomes):
                yield f"{name.hex()} has a flag without its {letter!r}, or the other way"
    if strangers := {field[:-1] for field in snapshot.outcomes} - snapshot.metas.keys():
        yield f"outcomes without a task: {strangers}"


def _labels_of(packed: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 2], "big")
        yield packed[at + 2 : at + 2 + length]
        at += 2 + length


def _mislabelled(snapshot: Snapshot) -> Iterator[str]:
    expected = {
        (label, field[:-1])
        for field, packed in snapshot.outcomes.items()
        if field.endswith(b"l")
        for label in _labels_of(packed)
    }
    if wrong := expected ^ snapshot.labels:
        yield f"labels differ from their index: {wrong}"


def _forgotten(snapshot: Snapshot) -> Iterator[str]:
    for key, (name, _, window_ms, final) in snapshot.remembered.items():
        meta = snapshot.metas.get(name)
        if meta is not None and (meta.idempotency != key or final):
            yield f"idempotency key {key!r} leads to {name.hex()}, which has another or is gone"
        if meta is None and not final:
            yield f"idempotency key {key!r} leads nowhere"
        if window_ms and snapshot.windows.get(key) != window_ms:
            yield f"idempotency key {key!r} is never forgotten"


def _unfollowed(snapshot: Snapshot) -> Iterator[str]:
    blocked = {name for name, meta in snapshot.metas.items() if meta.state == TaskState.BLOCKED}
    if blocked != snapshot.parents.keys():
        yield "parents and blocked tasks are not the same"
    for name, follower in snapshot.followers:
        if name not in snapshot.metas or not snapshot.metas[name].has(FOLLOWED):
            yield f"{follower!r} follows {name.hex()}, which does not know"
    for name, meta in snapshot.metas.items():
        if meta.has(FOLLOWED) and meta.state in TERMINAL and b"E" + name not in snapshot.outbox:
            yield f"nobody tells those who follow {name.hex()}"


def _unasked(snapshot: Snapshot) -> Iterator[str]:
    for name in snapshot.waited:
        unended = snapshot.state(name) not in {0, *TERMINAL}
        if not unended and not snapshot.is_purged(name):
            yield f"{name.hex()} is waited for, though ended or gone"
