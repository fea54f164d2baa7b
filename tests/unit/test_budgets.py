"""Places for calls: counted exactly, by whom and from where."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.errors import (
    CredentialInvalid,
    QuotaExceeded,
    TooManyCalls,
    TooManyFailures,
    TooManyStreams,
)
from codeq_grpc.core.principal import Principal
from codeq_grpc.core.quotas import Quotas, Tenants
from codeq_grpc.rpc import budgets
from codeq_grpc.rpc.budgets import Budget, Budgets, Failures, Places, address_of
from codeq_grpc.rpc.room import Room

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = "127.0.0.1"
EVERYBODY = Places(1, 1, 1)
ROOM = Room("max_request_bytes", 1 << 30, 1 << 30, whose="_per_principal")


def somebody(subject: str, tenant: str = "acme") -> Principal:
    return Principal(subject=subject, tenant=tenant, scopes=frozenset())


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:1234", "10.0.0.7"),
        ("ipv6:[2001:db8:1:2:3:4:5:6]:1234", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:2::9%5D:1234", "2001:db8:1:2::/64"),
        ("ipv6:%5B2001:db8:1:3::9%5D:1234", "2001:db8:1:3::/64"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:1234", "10.0.0.7"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1234", "fe80::/64"),
        ("ipv6:[::1]:1234", "::/64"),
        ("unix:/tmp/socket", "unix"),
        ("unix:", "unix"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_a_peer_is_an_address_without_its_port(peer: str, address: str) -> None:
    assert address_of(peer) == address


def test_a_tenant_that_may_have_so_many_has_them_whoever_calls() -> None:
    tenants = Tenants({"acme": Quotas(streams=2)})
    budget = Budget("max_streams", Places(9, 9, 9), TooManyStreams, ROOM, "streams", tenants)
    leave = [budget.take(somebody(name), f"10.0.0.{name}") for name in "12"]
    with pytest.raises(QuotaExceeded) as refusal:
        budget.take(somebody("3"), HERE)
    assert refusal.value.metadata == {"quota": "streams", "limit": "2"}
    assert refusal.value.retry_after
    others = [budget.take(somebody("1", "rival"), HERE) for _ in range(5)]
    assert budget.under_way == 7
    leave.pop()(None)
    leave.append(budget.take(somebody("3"), HERE))
    for one in (*leave, *others):
        one(None)
    assert (budget.under_way, budget._held) == (0, {})


def test_each_budget_is_named_when_it_is_used_up() -> None:
    budget = Budget("max_calls", Places(3, 2, 2), TooManyCalls, ROOM)
    one, two, three = (somebody(name) for name in ("one", "two", "three"))
    for _ in range(2):
        budget.take(one, "10.0.0.1")
    for who, where, name, limit in (
        (one, "10.0.0.2", "max_calls_per_principal", "2"),
        (two, "10.0.0.1", "max_calls_per_address", "2"),
    ):
        with pytest.raises(TooManyCalls, match=f"{name}: {limit} are under way") as caught:
            budget.take(who, where)
        assert caught.value.metadata == {"budget": name, "limit": limit}
        assert caught.value.retry_after
    budget.take(two, "10.0.0.2")
    with pytest.raises(TooManyCalls) as caught:
        budget.take(three, "10.0.0.3")
    assert caught.value.metadata == {"budget": "max_calls", "limit": "3"}


def test_a_subject_of_another_tenant_is_somebody_else() -> None:
    budget = Budget("max_calls", Places(None, 1, None), TooManyCalls, ROOM)
    budget.take(somebody("worker", "acme"), HERE)
    budget.take(somebody("worker", "rival"), HERE)
    with pytest.raises(TooManyCalls):
        budget.take(somebody("worker", "acme"), HERE)


def test_whoever_has_no_name_counts_by_address_only() -> None:
    budget = Budget("health_checks", Places(None, 1, 2), TooManyCalls, ROOM)
    budget.take(None, "10.0.0.1")
    budget.take(None, "10.0.0.1")
    budget.take(None, "10.0.0.2")
    with pytest.raises(TooManyCalls):
        budget.take(None, "10.0.0.1")


def test_a_refusal_counts_nowhere_and_nothing_is_kept_of_who_has_left() -> None:
    rng = random.Random(7)
    budget = Budget("max_calls", Places(20, 5, 8), TooManyCalls, ROOM)
    leave: list[Callable[[Any], None]] = []
    for _ in range(3_000):
        if leave and rng.random() < 0.5:
            leave.pop(rng.randrange(len(leave)))(None)
        else:
            try:
                who = somebody(str(rng.randrange(6)))
                leave.append(budget.take(who, f"10.0.0.{rng.randrange(4)}"))
            except TooManyCalls:
                pass
        assert budget.under_way == len(leave)
    for one in leave:
        one(None)
    assert (budget.under_way, budget._held) == (0, {})


def test_kinds_do_not_count_against_each_other() -> None:
    all_ = Budgets(
        calls=EVERYBODY, streams=EVERYBODY, watches=EVERYBODY, requests=(1 << 30, 1 << 30)
    )
    methods = (
        *("codeq.v1.CodeQService/Enqueue", "codeq.v1.CodeQService/StreamClaim"),
        *("codeq.v1.CodeQService/WatchTasks", "grpc.health.v1.Health/Check"),
        "grpc.health.v1.Health/Watch",
    )
    for method in methods:
        all_.of(f"/{method}").take(somebody("one"), HERE)
    assert set(all_.under_way().values()) == {1}
    assert all_.of("/codeq.v1.AdminService/GetQueue") is all_.of("/not.known/Yet")


def test_failures_are_counted_by_address_and_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(budgets, "monotonic", lambda: now)
    failures, error = Failures(2), CredentialInvalid()
    assert [failures.count("10.0.0.1", error) for _ in range(2)] == [error, error]
    limited = failures.count("10.0.0.1", error)
    assert isinstance(limited, TooManyFailures)
    assert limited.metadata == {"limit": "2"}
    assert failures.count("10.0.0.2", error) is error
    now += 1.0
    assert failures.count("10.0.0.1", error) is error
    assert failures._counts == {"10.0.0.1": 1}
