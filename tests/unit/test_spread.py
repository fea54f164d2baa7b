"""A redrive that is spread uses the whole time, however many tasks there turn out to be."""

from __future__ import annotations

import itertools

import pytest

from codeq_grpc.broker.bulk import Spread


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 200, 1_000])
def test_delays_lie_evenly_over_the_whole_time(count: int) -> None:
    spread_ms = 600_000
    for _ in range(50):
        spread = Spread(spread_ms)
        delays = sorted(spread.next() for _ in range(count))
        assert 0 <= delays[0] <= delays[-1] < spread_ms
        # The last gap goes on from the beginning: where the first one falls is left to chance.
        ends = [*delays, delays[0] + spread_ms]
        gaps = [end - start for start, end in itertools.pairwise(ends)]
        assert max(gaps) <= 2 * spread_ms / count + 1
        assert min(gaps) >= spread_ms / count / 3 - 1


def test_two_calls_do_not_give_the_same_delays() -> None:
    assert len({Spread(1_000_000_000).next() for _ in range(20)}) == 20


def test_without_a_spread_all_come_at_once() -> None:
    assert Spread(0).next() == 0
