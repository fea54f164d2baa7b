"""Clocks differ only when nothing else can be the case."""

from __future__ import annotations

import pytest

from codeq_grpc.store.skew import Skew


@pytest.mark.parametrize(
    ("ms", "error_ms", "fresh", "after"),
    [
        (0, 0, False, False),
        (1_000, 0, False, False),
        (1_001, 0, True, True),
        (-1_001, 0, True, True),
        (1_500, 500, False, True),
        (-1_501, 500, True, True),
        (900, 100, False, False),
        (-900, 101, False, True),
        (0, 5_000, False, True),
    ],
)
def test_a_slow_answer_neither_begins_nor_ends_a_warning(
    ms: int, error_ms: int, fresh: bool, after: bool
) -> None:
    skew = Skew(ms, error_ms)
    assert (skew.apart(before=False), skew.apart(before=True)) == (fresh, after)
