"""Claims become a principal by the rules of the settings; what contradicts itself is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from codeq_grpc.core.claims import ClaimRules, Refused, look_up, words
from codeq_grpc.core.principal import ROLES, TENANT_NAME, Scope

if TYPE_CHECKING:
    from codeq_grpc.core.principal import Principal

ADMIN = frozenset({Scope.KEYS_ADMIN})


def who(claims: dict[str, Any], **rules: Any) -> Principal:
    """By rules that fix what they do not say."""
    given = {"subject": "sub", "tenant": "" if "tenant_claims" in rules else "acme", **rules}
    return ClaimRules(**given).principal(
        {"sub": "robot", **claims}, credential="x", expires_at=math.inf, check_again=60
    )


@pytest.mark.parametrize(
    ("claims", "path", "found"),
    [
        ({"a": 1}, "a", 1),
        ({"a": {"b": 1}}, "a.b", 1),
        ({"a.b": 2, "a": {"b": 1}}, "a.b", 2),
        ({"a": {"b.c": 3}}, "a.b.c", 3),
        ({"a.b": {"c": 4}, "a": {"b": {"c": 3}}}, "a.b.c", 4),
        ({"https://acme.example/roles": 5}, "https://acme.example/roles", 5),
        ({"https://acme.example/x": {"roles": 6}}, "https://acme.example/x.roles", 6),
        ({"a": 1}, "b", None),
        ({"a": 1}, "a.b", None),
        ({"a": [{"b": 1}]}, "a.0.b", None),
        ({"a": None}, "a.b", None),
        ({"": 1}, "a", None),
        ([], "a", None),
    ],
)
def test_a_path_leads_to_a_claim_and_names_may_have_dots(
    claims: Any, path: str, found: object
) -> None:
    assert look_up(claims, path) == found


def test_values_are_a_list_or_words_with_spaces_between_them() -> None:
    assert words(["a", "b c", 5, None, ["d"]]) == ["a", "b c"]
    assert words("a  b c ") == ["a", "b", "c"]
    assert words("a\u00a0b\tc") == ["a\u00a0b\tc"]
    assert words(None) == words(5) == words({"a": 1}) == words("") == []


def test_a_tenant_is_fixed_or_told_by_claims_that_agree() -> None:
    assert who({"tid": "rival"}).tenant == "acme"
    paths = ("tid", "org.id", "tenant")
    assert who({"tid": "rival"}, tenant_claims=paths).tenant == "rival"
    both = {"tid": "rival", "org": {"id": "rival"}}
    assert who(both, tenant_claims=paths).tenant == "rival"
    claims: dict[str, Any]
    for claims in (
        {},
        {"tid": ""},
        {"tid": None},
        {"tid": ["rival"]},
        {"tid": "a b"},
        {"tid": "rival", "tenant": "Rival"},
        {"tid": "rival", "tenant": ""},
        {"tid": "rival", "tenant": 5},
        {**both, "tenant": "acme"},
        {"org": {"id": "rival"}, "tenant": "acme"},
    ):
        with pytest.raises(Refused):
            who(claims, tenant_claims=paths)


def test_an_issuer_may_be_limited_to_tenants() -> None:
    rules = {"tenant_claims": ("tid",), "tenants": frozenset({"a", "b"})}
    assert who({"tid": "b"}, **rules).tenant == "b"
    with pytest.raises(Refused):
        who({"tid": "c"}, **rules)


def test_roles_come_from_a_claim_through_a_map_if_there_is_one() -> None:
    assert who({"roles": ["worker"]}).scopes == frozenset()
    assert who({"r": ["worker", "no", 5]}, roles_claim="r").scopes == ROLES["worker"]
    assert who({"r": "worker viewer"}, roles_claim="r").scopes == ROLES["worker"] | ROLES["viewer"]
    mapped: dict[str, Any] = {"roles_claim": "r", "role_map": {"ops": "operator"}}
    assert who({"r": ["ops", "admin"]}, **mapped).scopes == ROLES["operator"]
    assert who({"r": ["OPS", "ops ", "Admin"]}, **mapped).scopes == frozenset()
    own = {"watch": frozenset({Scope.QUEUES_READ})}
    assert who({"r": ["watch", "admin"]}, roles_claim="r", roles=own).scopes == own["watch"]


def test_scopes_come_from_a_claim_beside_what_all_have() -> None:
    rules: dict[str, Any] = {"scopes_claim": "scope", "granted": frozenset({Scope.TASKS_READ})}
    assert who({"scope": "openid keys.admin"}, **rules).scopes == ADMIN | rules["granted"]
    assert who({"scope": ["KEYS.ADMIN", "keys", "*"]}, **rules).scopes == rules["granted"]
    assert who({}, **rules).scopes == rules["granted"]


def test_commands_of_a_claim_limit_and_none_are_none() -> None:
    rules: dict[str, Any] = {"commands_claim": "c", "granted": ADMIN}
    found = who({"c": ["mail.*", "a b", "render"]}, **rules)
    assert (found.commands, found.scopes) == (("mail.*", "render"), ADMIN)
    claims: dict[str, Any]
    for claims in ({}, {"c": []}, {"c": ["a b"]}, {"c": {"*": 1}}, {"c": 5}, {"c": ""}):
        assert who(claims, **rules).scopes == frozenset()
    with pytest.raises(Refused):
        who({"c": [f"c{number}" for number in range(65)]}, **rules)
    assert who({"c": ["*"]}, granted=ADMIN, commands=("mail",)).commands == ("mail",)


@pytest.mark.parametrize("sub", ["", " ", " a", "a ", "a\n", "a\u200b", "\ud800", "x" * 256, 5, []])
def test_a_subject_is_text_that_people_can_read(sub: object) -> None:
    with pytest.raises(Refused):
        who({"sub": sub})
    assert who({"sub": "auth0|5 \u00e9"}).subject == "auth0|5 \u00e9"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("ab .\u200b\u00e9", max_size=4)
    | st.sampled_from([*ROLES]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b", "a.b", "c", "sub"]), JSON))
def test_whatever_claims_say_is_refused_or_a_principal(claims: dict[str, Any]) -> None:
    rules = ClaimRules(
        subject="sub",
        tenant_claims=("a", "a.b"),
        roles_claim="b",
        scopes_claim="c",
        commands_claim="c.a",
    )
    try:
        found = rules.principal(claims, credential="x", expires_at=1, check_again=1)
    except Refused:
        return
    assert TENANT_NAME.fullmatch(found.tenant)
    assert found.commands or not found.scopes
    assert found.subject.isprintable()
