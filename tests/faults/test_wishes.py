"""What is wrong with tasks that are cancelled, redriven, wait for others, or expire is found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import task_pb2
from tests.faults.asking import digest
from tests.faults.linear import explains
from tests.faults.telling import RESULT, START_MS, Tale, good_tale

if TYPE_CHECKING:
    from collections.abc import Callable

CANCELLED: Final = task_pb2.TASK_STATE_CANCELLED
FAILED: Final = task_pb2.TASK_STATE_FAILED
EXPIRED: Final = task_pb2.TASK_STATE_EXPIRED


def enqueued(**about: Any) -> Tale:
    return Tale().op("enqueue", 0, 2, **about)


def cancelled() -> Tale:
    """While nobody held it."""
    return enqueued().op("cancel", 5, 6, state="CANCELLED")


def requested() -> Tale:
    """While a worker held it."""
    return enqueued().claim(10, 5).op("cancel", 15, 16, state="REQUESTED")


def failed() -> Tale:
    """At its only attempt."""
    tale = enqueued(most=1).claim(10, 5, most=1)
    return tale.op("fail", 20, 21, fence=5, state="FAILED", store_ms=START_MS + 20)


def ended(tale: Tale, at: int, state: int, **about: Any) -> Tale:
    return tale.ended(at, state=state, **{"result": b"", "attempt": 0, **about})


def child(claimed: int, *, parent_ended: int, parent: int) -> Tale:
    """Task 2 waits for task 1."""
    about: dict[str, Any] = {"task": "t2", "number": 2}
    tale = ended(enqueued(), parent_ended, parent)
    if parent == task_pb2.TASK_STATE_COMPLETED:
        tale = good_tale()
    tale.op("enqueue", 3, 4, parent="t1", **about).claim(claimed, 7, **about)
    tale.complete(claimed + 10, 7, **about)
    return tale.ended(claimed + 10, task_id="t2", number=2)


GOOD: Final[dict[str, Callable[[], Tale]]] = {
    "cancelled": lambda: ended(cancelled(), 6, CANCELLED),
    "cancelled twice": lambda: ended(
        cancelled().op("cancel", 8, 9, state="CANCELLED"), 6, CANCELLED
    ),
    "asked to, and it completed": lambda: requested().complete(20, 5).ended(20),
    "asked to, and it failed": lambda: ended(
        requested().op("fail", 20, 21, fence=5, state="CANCELLED"), 20, CANCELLED, attempt=1
    ),
    "asked to, and its lease ran out": lambda: ended(requested(), 1_010, CANCELLED, attempt=1),
    "it may have been cancelled": lambda: ended(enqueued().op("cancel", 5, None), 6, CANCELLED),
    "it was not": lambda: good_tale().op("cancel", 12, None),
    "too late": lambda: good_tale().op(
        "cancel", 30, 31, code="FAILED_PRECONDITION", reason="INVALID_STATE"
    ),
    "redriven": lambda: (
        cancelled()
        .op("read", 7, 8, state="CANCELLED", store_ms=START_MS + 6)
        .op("redrive", 9, 10)
        .claim(20, 7)
        .complete(30, 7)
        .op("read", 40, 41, state="COMPLETED", hash=digest(RESULT), store_ms=START_MS + 30)
        .ended(30)
    ),
    "a repeated end of an attempt before the redrive": lambda: (
        failed()
        .op("redrive", 25, 26)
        .refused("fail", 27, 5)
        .claim(30, 7, most=1)
        .complete(40, 7)
        .ended(40)
    ),
    "redriven behind our back": lambda: (
        failed().op("redrive", 25, None).claim(30, 7, most=1).complete(40, 7).ended(40)
    ),
    "redriven before its back-off was over": lambda: (
        enqueued()
        .claim(10, 5)
        .op("fail", 20, 21, fence=5, store_ms=START_MS + 900)
        .op("cancel", 30, 31, state="CANCELLED")
        .op("redrive", 40, 41)
        .claim(50, 7, attempt=1)
        .complete(60, 7)
        .ended(60)
    ),
    "expired": lambda: ended(enqueued(expire_ms=START_MS + 500), 510, EXPIRED),
    "a child": lambda: child(30, parent_ended=20, parent=task_pb2.TASK_STATE_COMPLETED),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_in_what_is_good(name: str) -> None:
    assert GOOD[name]().broken() == {}


BAD: Final[dict[str, tuple[str, Callable[[], Tale]]]] = {
    "cancelled, and it completed": (
        "cancelled",
        lambda: cancelled().claim(10, 5).complete(20, 5).ended(20),
    ),
    "asked to, and it failed": ("cancelled", lambda: ended(requested(), 20, FAILED)),
    "asked to, and it was claimed again": (
        "cancelled",
        lambda: requested().claim(1_500, 6, attempt=2).complete(1_600, 6).ended(1_600, attempt=2),
    ),
    "nobody asked": ("cancelled", lambda: ended(enqueued(), 20, CANCELLED)),
    "claimed before its parent completed": (
        "dependent",
        lambda: child(15, parent_ended=20, parent=task_pb2.TASK_STATE_COMPLETED),
    ),
    "claimed, and its parent failed": (
        "dependent",
        lambda: child(30, parent_ended=20, parent=FAILED),
    ),
    "expired too soon": (
        "expiring",
        lambda: ended(enqueued(expire_ms=START_MS + 500), 490, EXPIRED),
    ),
    "expired, and was not to": ("expiring", lambda: ended(enqueued(), 490, EXPIRED)),
    "claimed too late": (
        "expiring",
        lambda: enqueued(expire_ms=START_MS + 5).claim(10, 5).complete(20, 5).ended(20),
    ),
    "an end that changes without a redrive": (
        "single end",
        lambda: failed().op("read", 30, 31, state="FAILED").op("read", 40, 41, state="EXPIRED"),
    ),
    "a completed one that changes, redriven or not": (
        "single end",
        lambda: (
            good_tale()
            .op("read", 30, 31, state="COMPLETED", hash=digest(RESULT))
            .op("redrive", 32, 33)
            .op("read", 40, 41, state="FAILED")
        ),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found(name: str) -> None:
    checker, tell = BAD[name]
    assert checker in tell().broken()


IMPOSSIBLE: Final[dict[str, Callable[[], Tale]]] = {
    "claimed after it was cancelled": lambda: cancelled().claim(10, 5),
    "claimed after it was asked to be": lambda: requested().claim(1_500, 6),
    "cancelled after it had completed": lambda: good_tale().op("cancel", 30, 31, state="CANCELLED"),
    "refused, and it was cancelled": lambda: cancelled().op(
        "cancel", 10, 11, code="FAILED_PRECONDITION"
    ),
    "a completed one that is redriven": lambda: good_tale().op("redrive", 30, 31),
    "a failed one that is not": lambda: failed().op("redrive", 30, 31, code="FAILED_PRECONDITION"),
    "an old fence after a redrive": lambda: failed().op("redrive", 30, 31).complete(40, 5),
    "claimed after it failed": lambda: failed().claim(30, 7),
    "cancelled, and nobody asked": lambda: enqueued().op("read", 5, 6, state="CANCELLED"),
    "a failure of one that was to be cancelled": lambda: requested().op(
        "fail", 20, 21, fence=5, state="PENDING"
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_no_order_explains_it(name: str) -> None:
    assert not explains(IMPOSSIBLE[name]().history.operations)
