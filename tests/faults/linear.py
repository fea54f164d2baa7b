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
    state: str = ""
    """In which the task is when it is done; empty when nobody has told."""
    asked: bool = False
    """It is to be cancelled: nobody gets it any more, till it is redriven."""


def _enqueue(state: State, op: Operation) -> State | None:
    if op.refused:
        return state
    if state.phase == ABSENT:
        return None if op.state == "EXISTING" else State(PENDING)
    is_repeat = op.unknown or op.state == "EXISTING"
    return state if is_repeat else None


def _claim(state: State, op: Operation) -> State | None:
    if state.phase in {PENDING, LEASED} and op.fence > state.fence and not state.asked:
        return State(LEASED, op.fence)
    return None


def _end(state: State, op: Operation) -> State | None:
    holds, ended = state.fence == op.fence, state.ended == op.op
    if op.refused:
        if holds and ended and state.phase == DONE:
            return None  # a repeat of what ended it is never refused
        is_over = holds and state.phase == LEASED
        return State(PENDING, state.fence, asked=state.asked) if is_over else state
    if holds and ended:
        return state
    return _end_attempt(state, op) if state.phase == LEASED and holds else None


def _end_attempt(state: State, op: Operation) -> State | None:
    if op.op == "complete":
        return State(DONE, op.fence, op.op, op.hash, "COMPLETED")
    if state.asked:
        is_told = op.state in {"", "CANCELLED"}
        return State(DONE, op.fence, op.op, state="CANCELLED") if is_told else None
    if op.state == "FAILED":
        return State(DONE, op.fence, op.op, state="FAILED")
    return None if op.state == "CANCELLED" else State(PENDING, op.fence, op.op)


def _heartbeat(state: State, op: Operation) -> State | None:
    if op.refused:
        is_over = state.phase == LEASED and state.fence == op.fence
        return State(PENDING, state.fence, asked=state.asked) if is_over else state
    return state if state.phase == LEASED and state.fence == op.fence else None


def _cancel(state: State, op: Operation) -> State | None:
    if state.phase == ABSENT:
        return None
    if op.refused:
        # It has ended, if by nobody that was heard of.
        if state.phase != DONE:
            return None if state.asked else State(DONE, state.fence, "lost")
        return None if state.state == "CANCELLED" else state
    if op.unknown or op.state == "REQUESTED":
        # Somebody may hold it who was not heard of; one of unknown outcome may have been either.
        is_over = state.phase == DONE
        return (state if op.unknown else None) if is_over else state._replace(asked=True)
    if state.phase == DONE:
        return state if state.state == "CANCELLED" else None
    return state._replace(phase=DONE, state="CANCELLED", asked=False)


def _redrive(state: State, op: Operation) -> State | None:
    if state.phase == ABSENT or (op.ok and state.ended == "complete" and state.phase == DONE):
        return None
    if op.refused:
        return None if state.state in {"FAILED", "CANCELLED", "EXPIRED"} else state
    if op.unknown and state.ended == "complete" and state.phase == DONE:
        return state
    return State(PENDING, state.fence)


def _read(state: State, op: Operation) -> State | None:
    after: State | None = None
    if op.state == "COMPLETED":
        after = state if (state.ended, state.hash) == ("complete", op.hash) else None
    elif op.state in {"FAILED", "CANCELLED", "EXPIRED"}:
        after = _read_end(state, op)
    elif state.phase != DONE:
        is_held = op.state == "IN_PROGRESS"
        after = state if is_held else state._replace(phase=PENDING)
    return None if state.phase == ABSENT else after


def _read_end(state: State, op: Operation) -> State | None:
    if state.phase == DONE:
        is_so = state.state in {"", op.state} and state.ended != "complete"
        return state._replace(state=op.state) if is_so else None
    # It ended without a word: its last lease, what it waits for, its time, or as it was asked to.
    is_so = state.asked == (op.state == "CANCELLED")
    return State(DONE, state.fence, "lost", state=op.state) if is_so else None


_STEPS: Final[dict[str, Callable[[State, Operation], State | None]]] = {
    "enqueue": _enqueue,
    "claim": _claim,
    "complete": _end,
    "fail": _end,
    "abandon": _end,
    "heartbeat": _heartbeat,
    "cancel": _cancel,
    "redrive": _redrive,
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
    """Operations that may come next: none of those left ended before they began, and a claim only
    when no other one is left that has a lesser fence, and could come no more.
    """
    found, soonest = [], float("inf")
    claims = [op.fence for i, op in enumerate(ops) if op.op == "claim" and not done >> i & 1]
    least = min(claims, default=0)
    for i, op in enumerate(ops):
        if done >> i & 1:
            continue
        if op.start_ns > soonest:
            break
        soonest = min(soonest, op.last_ns)
        found.append(i)
    return [
        i
        for i in found
        if ops[i].start_ns <= soonest and (ops[i].op != "claim" or ops[i].fence == least)
    ]


def _spent(ops: Sequence[Operation], state: State) -> int:
    """Open operations that can have no effect any more."""
    spent = 0
    is_final = state.phase == DONE and not any(op.op == "redrive" for op in ops)
    for i, op in enumerate(ops):
        if op.unknown and (
            is_final
            or (op.op == "enqueue" and state.phase != ABSENT)
            or 0 < op.fence < state.fence
            or (op.fence == state.fence > 0 and state.ended == op.op)
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
