"""Tenants in the settings: who is served, and what each may have."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import pytest

from codeq_grpc.core.errors import TenantUnknown
from codeq_grpc.core.quotas import Quotas
from codeq_grpc.settings import SettingsError, load_settings

QUOTAS: Final = [field.name for field in fields(Quotas)]


def test_tenants_have_their_own_quotas_and_all_others_the_default() -> None:
    settings = load_settings(
        tenants={"acme": {"queues": 3}, "free": None}, tenant_defaults={"backlog": 4}
    )
    rules = settings.tenant_rules()
    assert rules.of("acme") == Quotas(queues=3)
    assert rules.of("free") == Quotas()
    assert rules.of("rival") == Quotas(backlog=4)
    rules.check("rival")
    with pytest.raises(TenantUnknown):
        load_settings(tenants={"acme": {}}, strict_tenants=True).tenant_rules().check("rival")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        *(({"tenants": {"acme": {name: 0}}}, f"tenants.acme.{name}") for name in QUOTAS),
        *(({"tenant_defaults": {name: -1}}, f"tenant_defaults.{name}") for name in QUOTAS),
        ({"tenants": {"acme": {"tasks": 1}}}, "tenants.acme.tasks: there is no such setting"),
        ({"tenants": {"acme": {"queues": 1.5}}}, "tenants.acme.queues"),
        ({"tenants": {"acme": 5}}, "tenants.acme"),
        ({"tenants": ["acme"]}, "tenants"),
        ({"tenants": {"a/b": {}}}, "tenants: 'a/b' must be 1 to 64"),
        ({"tenants": {"": {}}}, "tenants: '' must be 1 to 64"),
        ({"tenants": {"acme": {"payload_bytes": 100}}}, "tenants.acme.payload_bytes: at most"),
        ({"tenant_defaults": {"payload_bytes": 100}}, "tenant_defaults.payload_bytes: at most"),
        ({"strict_tenants": True}, "strict_tenants: needs tenants"),
    ],
)
def test_quotas_that_cannot_be_are_refused_by_place(given: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(max_payload_bytes=99, **given)
    assert where in str(refusal.value)
