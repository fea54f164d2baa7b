"""Whether the history of one task can have happened, one operation after the other.

A depth-first search (Wing and Gong's, with the states remembered) for an order of the operations
that keeps to real time and that a model of a task allows. What nobody saw may happen at any time: a
lease ends, a claim whose reply was lost comes and goes. When such things may happen is for other
checkers; here a task may be held by one fence at most, and ends once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.faults.history import Operation

_MOST_STEPS: Final = 20_000

ABSENT, PENDING, LEASED, DONE = "absent", "pending", "leased", "done"


class State(NamedTuple):
    """Of a task."""

    phase: str = ABSENT
    fence: int = 0
    """The latest that was seen."""
    ended: str = ""
    """How that one ended, as far as it was told."""
    hash: str = ""
    """Of the result."""


def _enqueue(state: State, op: Operation) -> State | None:
    if op.refused:
        return state
    if state.phase == ABSENT:
        return None if op.state == "EXISTING" else State(PENDING)
    is_repeat = op.unknown or op.state == "EXISTING"
    return state if is_repeat else None


def _claim(state: State, op: Operation) -> State | None:
    if state.phase in {PENDING, LEASED} and op.fence > state.fence:
        return State(LEASED, op.fence)
    return None


def _end(state: State, op: Operation) -> State | None:
    holds, ended = state.fence == op.fence, state.ended == op.op
    if op.refused:
        if holds and ended and state.phase == DONE:
            return None  # a repeat of what ended it is never refused
        is_over = holds and state.phase == LEASED
        return State(PENDING, state.fence) if is_over else state
    if holds and ended:
        return state
    if state.phase != LEASED or not holds:
        return None
    if op.op == "complete" or (op.op == "fail" and op.state == "FAILED"):
        return State(DONE, op.fence, op.op, op.hash)
    return State(PENDING, op.fence, op.op)


def _heartbeat(state: State, op: Operation) -> State | None:
    if op.refused:
        is_over = state.phase == LEASED and state.fence == op.fence
        return State(PENDING, state.fence) if is_over else state
    return state if state.phase == LEASED and state.fence == op.fence else None


def _read(state: State, op: Operation) -> State | None:
    after: State | None = None
    if op.state == "COMPLETED":
        after = state if (state.ended, state.hash) == ("complete", op.hash) else None
    elif op.state == "FAILED" and state.phase == DONE:
        after = state if state.ended != "complete" else None
    elif op.state == "FAILED":
        # The last attempt was ended by nobody that was heard of.
        after = State(DONE, state.fence, "lost")
    elif state.phase != DONE:
        is_held = op.state == "IN_PROGRESS"
        after = state if is_held else State(PENDING, state.fence, state.ended)
    return None if state.phase == ABSENT else after


_STEPS: Final[dict[str, Callable[[State, Operation], State | None]]] = {
    "enqueue": _enqueue,
    "claim": _claim,
    "complete": _end,
    "fail": _end,
    "abandon": _end,
    "heartbeat": _heartbeat,
    "read": _read,
}


def _matters(op: Operation) -> bool:
    """Whether it can tell anything. What is refused for want of room was never begun, and what a
    read did not tell is no news.
    """
    if op.op not in _STEPS or (op.unknown and op.op in {"read", "heartbeat", "claim"}):
        return False
    return op.ok or op.unknown or op.code in {"FAILED_PRECONDITION", "NOT_FOUND"}


class Undecided(Exception):
    """The search was given up."""


def explains(operations: Iterable[Operation]) -> bool:
    """Whether there is an order in which these operations on one task can have happened; raises
    Undecided when the search takes too long.
    """
    ops = sorted(filter(_matters, operations), key=lambda op: op.start_ns)
    if any(op.code == "NOT_FOUND" for op in ops):
        return False  # its id came from a reply, and nothing here deletes
    definite = sum(1 << i for i, op in enumerate(ops) if not op.unknown)
    seen: set[tuple[int, State]] = set()
    stack = [(0, State())]
    while stack:
        done, state = stack.pop()
        done = _settle(ops, done, state) | _spent(ops, state)
        if done & definite == definite:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > _MOST_STEPS:
            raise Undecided
        stack += [
            (done | 1 << i, after)
            for i in reversed(_next(ops, done))
            if (after := _STEPS[ops[i].op](state, ops[i])) is not None
        ]
    return False


def _next(ops: Sequence[Operation], done: int) -> list[int]:
    """Operations that may come next: none of those left ended before they began."""
    found, soonest = [], float("inf")
    for i, op in enumerate(ops):
        if done >> i & 1:
            continue
        if op.start_ns > soonest:
            break
        soonest = min(soonest, op.last_ns)
        found.append(i)
    return [i for i in found if ops[i].start_ns <= soonest]


def _spent(ops: Sequence[Operation], state: State) -> int:
    """Open operations that can have no effect any more."""
    spent = 0
    for i, op in enumerate(ops):
        if op.unknown and (
            state.phase == DONE
            or (op.op == "enqueue" and state.phase != ABSENT)
            or op.fence < state.fence
            or (op.fence == state.fence and state.ended == op.op)
        ):
            spent |= 1 << i
    return spent


def _settle(ops: Sequence[Operation], done: int, state: State) -> int:
    """Takes every operation that changes nothing: no order is lost by taking it at once."""
    while True:
        quiet = [
            i
            for i in _next(ops, done)
            if not ops[i].unknown and _STEPS[ops[i].op](state, ops[i]) == state
        ]
        if not quiet:
            return done
        for i in quiet:
            done |= 1 << i
