"""Signed tokens by one fixed key: times to the second, and whatever else may stand there."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from codeq_grpc.auth.authenticator import Authenticator
from codeq_grpc.auth.credentials import Credential, Source, read_credential
from codeq_grpc.auth.documents import claimed, read_object
from codeq_grpc.auth.outside import Outside
from codeq_grpc.auth.tokens import Tokens
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError, CredentialExpired, CredentialInvalid
from codeq_grpc.settings import Settings
from tests.support.signing import b64, claims_of, encoded, header_of, signed, signing_key

if TYPE_CHECKING:
    from codeq_grpc.core.principal import Principal

ISSUER: Final = "https://id.example"
KEY: Final = signing_key("k", "EdDSA")
AT: Final = 1_900_000_000


def ways(**more: Any) -> Authenticator:
    """What knows one issuer."""
    entry = {
        "issuer": ISSUER,
        "audiences": ["codeq", "other"],
        "algorithms": ["EdDSA"],
        "public_key": KEY.pem.decode(),
        "tenant_claims": ["tid", "org.id"],
        "roles_claim": "roles",
        "scopes_claim": "scope",
        "commands_claim": "c",
        **more,
    }
    found = Settings.model_validate({"issuers": [entry]})
    return Authenticator(Tokens({}), Outside(found.known_issuers(), None).ways)


def whose(token: str, **more: Any) -> Principal:
    """Who that is; without waiting for anybody."""
    call = ways(**more).verify(Credential(Source.BEARER, token))
    return asyncio.run(asyncio.wait_for(call, 10))


def token(**claims: Any) -> str:
    """A good one at that time."""
    return signed(KEY, claims_of(ISSUER, **{"iat": AT, "exp": AT + 600, **claims}))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that time."""
    fixed = datetime.fromtimestamp(AT, UTC)
    monkeypatch.setattr(clock, "now", lambda: fixed)
    monkeypatch.setattr("codeq_grpc.auth.authenticator.now", lambda: fixed)


@pytest.mark.usefixtures("at")
@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"exp": AT + 1}, None),
        ({"exp": AT + 0.5}, None),
        ({"exp": AT, "iat": AT - 60}, CredentialExpired),
        ({"exp": AT - 1, "iat": AT - 60}, CredentialExpired),
        ({"nbf": AT + 20}, None),
        ({"nbf": AT + 21}, CredentialInvalid),
        ({"iat": AT + 20}, None),
        ({"iat": AT + 21}, CredentialInvalid),
        ({"exp": AT + 3_600}, None),
        ({"exp": AT + 3_601}, CredentialInvalid),
        ({"exp": AT + 1_800, "iat": AT - 1_800}, None),
        ({"exp": AT + 1_801, "iat": AT - 1_800}, CredentialInvalid),
        ({"exp": AT + 3_620, "iat": None}, None),
        ({"exp": AT + 3_621, "iat": None}, CredentialInvalid),
        ({"exp": 10**400}, CredentialInvalid),
        ({"iat": -(10**400)}, CredentialInvalid),
        ({"nbf": 10**4000}, CredentialInvalid),
        ({"exp": AT - 1, "aud": "nobody"}, CredentialInvalid),
        ({"exp": AT - 1, "iat": AT - 60, "tid": "a/b"}, CredentialInvalid),
    ],
)
def test_times_are_exact(claims: dict[str, Any], error: type[CodeQError] | None) -> None:
    limits = {"leeway_seconds": 20, "max_lifetime_seconds": 3_600}
    if error is None:
        assert whose(token(**claims), **limits).expires_at == claims.get("exp", AT + 600)
        return
    with pytest.raises(error) as refusal:
        whose(token(**claims), **limits)
    if isinstance(refusal.value, CredentialExpired):
        assert refusal.value.who
        assert refusal.value.who.expires_at == claims["exp"]


@pytest.mark.usefixtures("at")
def test_of_the_types_that_are_named_it_must_be_one() -> None:
    for typ in ("at+jwt", "AT+JWT", "application/at+jwt"):
        text = signed(KEY, claims_of(ISSUER, iat=AT, exp=AT + 9), typ=typ)
        assert whose(text, token_types=["at+jwt"]).subject == "robot-7"
    bad: Any
    for bad in ("JWT", None, "at+jwt ", "application/application/at+jwt", ["at+jwt"]):
        text = signed(KEY, claims_of(ISSUER, iat=AT, exp=AT + 9), typ=bad)
        with pytest.raises(CredentialInvalid):
            whose(text, token_types=["at+jwt"])


@pytest.mark.usefixtures("at")
def test_the_principal_tells_who_vouches_and_until_when() -> None:
    found = whose(token(aud=["x", "other"], c=["*"], scope="tasks.read"))
    assert found.credential == f"jwt:{ISSUER}"
    assert (found.expires_at, found.check_again) == (AT + 600, 60)
    assert not found.lasting


def test_the_largest_token_that_fits_is_read_and_no_larger_one() -> None:
    fitting = "Bearer " + "a" * 8_192
    assert len(read_credential([("authorization", fitting)]).text) == 8_192
    with pytest.raises(CredentialInvalid):
        read_credential([("authorization", fitting + "a")])


NAMES: Final = ("iss", "aud", "sub", "exp", "nbf", "iat", "tid", "org", "roles", "scope", "c")
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers(AT - 100, AT + 9_000)
    | st.floats()
    | st.sampled_from(["", "codeq", ISSUER, "acme", "admin", "*", "tasks.read", "id"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("id"), inner, max_size=1),
    max_leaves=4,
)
GOOD: Final = claims_of(ISSUER, iat=None)
PATIENT: Final = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300
)


@PATIENT
@given(
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["alg", "typ", "kid", "crit", "b64", "jwk", "zip"]), VALUES, max_size=2
    ),
)
def test_whatever_is_signed_is_refused_or_a_principal(
    claims: dict[str, Any], header: dict[str, Any]
) -> None:
    text = f"{encoded({**header_of(KEY), **header})}.{encoded({**GOOD, **claims})}"
    try:
        found = whose(f"{text}.{b64(KEY.sign(text))}")
    except (CredentialInvalid, CredentialExpired):
        return
    assert not header.keys() & {"alg", "crit", "b64"}
    assert {"iss", "aud", "exp"}.isdisjoint(
        name for name, value in claims.items() if type(value) is bool
    )
    assert found.commands or not found.scopes


@PATIENT
@given(
    st.lists(st.binary(max_size=40) | st.sampled_from([b"{}", b'{"iss": "x"}', b"[]"]), max_size=4),
    st.sampled_from(["", "=", "!", "."]),
)
def test_whatever_comes_is_no_bug(parts: list[bytes], behind: str) -> None:
    text = ".".join(b64(part) for part in parts) + behind
    assert isinstance(claimed(text, "iss"), list)
    with pytest.raises(CredentialInvalid):
        whose(text)
    for part in parts:
        try:
            assert isinstance(read_object(part), dict)
        except ValueError:
            continue
