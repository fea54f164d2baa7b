"""A soak fails when something took longer than promised."""

from __future__ import annotations

from tests.faults.history import History
from tests.faults.run import Result
from tests.faults.table import too_late


def result(*late: int, served: float | None = 0.1) -> Result:
    return Result(
        fault="F6",
        seed=1,
        history=History(),
        violations=[],
        redelivery_ms=[*late],
        served_s=served,
    )


def test_nothing_is_late_that_came_as_promised() -> None:
    assert too_late([result(), result(*range(1_000), served=2.0)]) == ""


def test_one_lease_in_a_hundred_may_be_late() -> None:
    assert too_late([result(*[5] * 99), result(9_000, *[5] * 100)]) == ""


def test_leases_and_healings_that_are_late_are_told() -> None:
    late = too_late([result(3_007), result(served=2.5)])
    assert late == "claimable again 3007 ms after leases ended; served 2.5 s after healing"


def test_a_kind_of_call_that_never_came_again_is_late() -> None:
    late = too_late([result(served=None), result(served=0.1)])
    assert late == "served inf s after healing"
