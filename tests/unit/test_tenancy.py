"""Calls a second of a tenant: exact at its limit, and nothing for who has none."""

from __future__ import annotations

import pytest

from codeq_grpc.core.errors import QuotaExceeded, TenantUnknown
from codeq_grpc.core.quotas import EVERYBODY, Quotas, Tenants
from codeq_grpc.rpc import tenancy
from codeq_grpc.rpc.tenancy import Tenancy


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 7_777.7

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(tenancy, "monotonic", found)
    return found


def limited(rate: int) -> Tenancy:
    return Tenancy(Tenants({"acme": Quotas(calls_per_second=rate)}))


def admitted(door: Tenancy, tenant: str = "acme") -> int:
    """How many calls in a row are let in."""
    for count in range(100_000):
        try:
            door.admit(tenant)
        except QuotaExceeded:
            return count
    raise AssertionError("no end of calls is let in")


@pytest.mark.parametrize("rate", [1, 3, 7, 10, 999, 50_000])
def test_a_seconds_worth_at_once_and_then_one_at_a_time(clock: Clock, rate: int) -> None:
    door = limited(rate)
    assert admitted(door) == rate
    for _ in range(5):
        clock.now += 1 / rate
        assert admitted(door) == 1
    clock.now += 0.5
    assert admitted(door) in {rate // 2, rate // 2 + rate % 2}
    clock.now += 3_600
    assert admitted(door) == rate


def test_the_refusal_tells_when_there_is_room_again(clock: Clock) -> None:
    door = limited(4)
    admitted(door)
    clock.now += 0.1
    with pytest.raises(QuotaExceeded) as refusal:
        door.admit("acme")
    assert refusal.value.retry_after == pytest.approx(0.15)
    assert refusal.value.metadata == {"quota": "calls_per_second", "limit": "4"}
    clock.now += 0.15
    assert admitted(door) == 1


def test_tenants_without_a_quota_are_not_even_counted() -> None:
    door = limited(1)
    for _ in range(1_000):
        door.admit("rival")
    assert admitted(door) == 1
    assert door._ahead.keys() == {"acme"}


def test_many_tenants_are_forgotten_when_their_second_is_over(clock: Clock) -> None:
    door = Tenancy(Tenants(others=Quotas(calls_per_second=2)))
    for number in range(tenancy._KEPT):
        door.admit(f"t{number}")
    clock.now += 5
    assert admitted(door, "late") == 2
    assert door._ahead.keys() == {"late"}


def test_strict_means_that_others_are_refused() -> None:
    strict = Tenancy(Tenants({"acme": Quotas()}, strict=True))
    strict.admit("acme")
    with pytest.raises(TenantUnknown) as refusal:
        strict.admit("Acme")
    assert refusal.value.metadata == {"tenant": "Acme"}
    Tenancy(EVERYBODY).admit("Acme")
