"""The search finds an order where there is one, and none where there is none."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.asking import digest
from tests.faults.linear import explains
from tests.faults.telling import RESULT, Tale, good_tale

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD: Final[dict[str, Callable[[], Tale]]] = {
    "nothing": Tale,
    "all well": good_tale,
    "an enqueue whose reply was lost, and its repeat": lambda: (
        Tale().op("enqueue", 0, None).op("enqueue", 5, 6, state="EXISTING")
    ),
    "a claim that was heard of later than another one that came after it": lambda: (
        Tale().op("enqueue", 0, 2).op("claim", 5, 900, fence=7).op("claim", 5, 600, fence=9)
    ),
    "a report whose reply was lost, repeated": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .op("complete", 20, None, fence=5, hash=digest(RESULT))
        .complete(30, 5)
        .refused("fail", 40, 5)
    ),
    "one of unknown outcome that took effect after a later call had ended": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .op("complete", 20, None, fence=5, hash=digest(RESULT))
        .op("read", 30, 31, state="IN_PROGRESS")
        .op("read", 40, 41, state="COMPLETED", hash=digest(RESULT))
    ),
    "one that never did": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .op("fail", 20, None, fence=5)
        .claim(1_500, 6, attempt=2)
        .complete(1_600, 6)
    ),
    "a heartbeat that came too late, then the end of another attempt": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .refused("heartbeat", 1_100, 5)
        .claim(1_500, 6, attempt=2)
        .op("abandon", 1_510, 1_511, fence=6)
        .op("read", 1_520, 1_521, state="PENDING")
        .claim(1_600, 9, attempt=2)
        .op("fail", 1_610, 1_611, fence=9, state="FAILED")
        .op("read", 1_620, 1_621, state="FAILED")
    ),
    "given up by the reaper": lambda: (
        Tale().op("enqueue", 0, 2).claim(10, 5).op("read", 2_000, 2_001, state="FAILED")
    ),
}

BAD: Final[dict[str, Callable[[], Tale]]] = {
    "claimed before anybody enqueued it": lambda: Tale().claim(10, 5).op("enqueue", 20, 22),
    "made twice": lambda: Tale().op("enqueue", 0, 2).op("enqueue", 5, 6, state="PENDING"),
    "found, and nobody had made it": lambda: Tale().op("enqueue", 5, 6, state="EXISTING"),
    "a fence that falls": lambda: Tale().op("enqueue", 0, 2).claim(10, 6).claim(1_500, 5),
    "an old fence that is accepted": lambda: (
        Tale().op("enqueue", 0, 2).claim(10, 5).claim(1_500, 6).complete(1_600, 5)
    ),
    "an old fence that is accepted 2": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .claim(1_500, 6)
        .op("heartbeat", 1_600, 1_601, fence=5)
    ),
    "two ends": lambda: good_tale().op("fail", 30, 31, fence=5, state="PENDING"),
    "two ends 2": lambda: good_tale().claim(1_500, 6),
    "a repeat that is refused": lambda: good_tale().refused("complete", 30, 5),
    "an end that is undone": lambda: good_tale().op("read", 30, 31, state="PENDING"),
    "a result that changes": lambda: good_tale().op(
        "read", 30, 31, state="COMPLETED", hash=digest(b"other")
    ),
    "an accepted end that shows no effect": lambda: good_tale().op("read", 30, 31, state="FAILED"),
    "another than the one that was asked for": lambda: (
        Tale().op("enqueue", 0, 2).claim(10, 5).op("abandon", 20, 21, fence=5).complete(30, 5)
    ),
    "gone": lambda: good_tale().op("read", 30, 31, code="NOT_FOUND"),
    "ended by a call that had not begun": lambda: (
        Tale()
        .op("enqueue", 0, 2)
        .claim(10, 5)
        .op("read", 15, 16, state="COMPLETED", hash=digest(RESULT))
        .complete(20, 5)
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_have_happened_is_explained(name: str) -> None:
    assert explains(GOOD[name]().history.operations)


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_have_happened_is_found(name: str) -> None:
    assert not explains(BAD[name]().history.operations)


def test_the_order_in_which_clients_tell_does_not_matter() -> None:
    for name, tell in {**GOOD, **BAD}.items():
        operations = tell().history.operations
        random.Random(1).shuffle(operations)
        assert explains(operations) is (name in GOOD)


def test_many_calls_of_unknown_outcome_are_searched_soon() -> None:
    tale = Tale().op("enqueue", 0, 2)
    for fence in range(5, 25):
        tale.claim(10 * fence, fence)
        for _ in range(5):
            tale.op("complete", 10 * fence + 2, None, fence=fence, hash=digest(b"%d" % fence))
            tale.op("abandon", 10 * fence + 2, None, fence=fence)
    tale.op("read", 1_000, 1_001, state="COMPLETED", hash=digest(b"24"))
    assert explains(tale.history.operations)
    tale.op("read", 1_010, 1_011, state="COMPLETED", hash=digest(b"23"))
    assert not explains(tale.history.operations)


def test_many_attempts_told_by_one_stream_are_decided() -> None:
    """Each claim may have been at any time since the stream was opened."""
    tale = Tale().op("enqueue", 0, 2)
    for n in range(1, 40):
        tale.op("claim", 1, 10 * n, fence=n, attempt=n)
        tale.op("fail", 10 * n + 1, 10 * n + 2, fence=n)
    tale.op("redrive", 500, None).op("read", 600, 601, state="EXPIRED")
    assert explains(tale.history.operations)
