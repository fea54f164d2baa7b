"""Issuers and the identity service in settings: whatever is wrong is refused at the start, with its
place.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.core.principal import ROLES, Scope
from codeq_grpc.settings import SettingsError, load_settings
from tests.support.signing import signing_key

if TYPE_CHECKING:
    from pathlib import Path

PEM: Final = signing_key("k").pem.decode()
SECRET: Final = "s3cr3t-canary"
ENTRY: Final[dict[str, Any]] = {
    "issuer": "https://id.example/realms/main",
    "audiences": ["codeq"],
    "algorithms": ["RS256", "ES256"],
    "jwks_url": "https://id.example/certs",
    "tenant_claims": ["tid"],
    "roles_claim": "realm_access.roles",
}


def without(*names: str, **more: Any) -> dict[str, Any]:
    """The entry with less."""
    return {name: value for name, value in {**ENTRY, **more}.items() if name not in names}


def test_an_entry_tells_all_that_the_server_needs() -> None:
    more = {
        "role_map": {"ops": "operator", "night": "watch"},
        "tenants": ["acme"],
        "scopes_claim": "scope",
        "token_types": ["AT+JWT"],
        "leeway_seconds": 5,
        "max_lifetime_seconds": 600,
    }
    settings = load_settings(issuers=[{**ENTRY, **more}], roles={"watch": ["queues.read"]})
    (issuer,) = settings.known_issuers()
    assert (issuer.name, issuer.leeway, issuer.max_lifetime) == (ENTRY["issuer"], 5, 600)
    assert issuer.token_types == {"at+jwt"}
    assert issuer.rules.roles["watch"] == {Scope.QUEUES_READ}
    assert issuer.rules.tenants == {"acme"}
    assert issuer.rules.granted == frozenset()


WRONG: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no issuer": (without("issuer"), "issuers.0.issuer"),
    "empty issuer": (without(issuer=""), "issuers.0.issuer"),
    "no audience": (without("audiences"), "issuers.0.audiences"),
    "audiences empty": (without(audiences=[]), "issuers.0.audiences"),
    "an audience empty": (without(audiences=[""]), "issuers.0.audiences.0"),
    "an audience as text": (without(audiences="codeq"), "issuers.0.audiences"),
    "no algorithms": (without("algorithms"), "issuers.0.algorithms"),
    "algorithms empty": (without(algorithms=[]), "issuers.0.algorithms"),
    "none": (without(algorithms=["none"]), "issuers.0.algorithms.0"),
    "HS256": (without(algorithms=["HS256"]), "issuers.0.algorithms.0"),
    "rs256": (without(algorithms=["rs256"]), "issuers.0.algorithms.0"),
    "no keys": (without("jwks_url"), "issuers.0: jwks_url: must be given"),
    "two sources": (without(public_key=PEM), "issuers.0: jwks_url: .* not both"),
    "http": (without(jwks_url="http://id.example/certs"), "issuers.0.jwks_url: must be https"),
    "ftp": (without(jwks_url="ftp://id.example/certs"), "issuers.0.jwks_url: must be https"),
    "file": (without(jwks_url="file:///etc/passwd"), "issuers.0.jwks_url: must be https"),
    "no host": (without(jwks_url="https:///certs"), "issuers.0.jwks_url: must be https"),
    "no URL": (without(jwks_url="id.example"), "issuers.0.jwks_url: must be https"),
    "a space": (without(jwks_url="https://id.example/a b"), "issuers.0.jwks_url: must be https"),
    "a port": (without(jwks_url="https://id.example:99999/"), "issuers.0.jwks_url: must be https"),
    "a password": (without(jwks_url=f"https://u:{SECRET}@id.example/"), "must not have user"),
    "a fragment": (without(jwks_url="https://id.example/#a"), "must not have user"),
    "like loopback": (without(jwks_url="http://127.0.0.1.id.example/"), "must be https, unless"),
    "no tenant": (without("tenant_claims"), "issuers.0.tenant_claims: must be given"),
    "a bad tenant": (without("tenant_claims", tenant="a/b"), "issuers.0.tenant"),
    "bad tenants": (without(tenants=["a/b"]), "issuers.0.tenants"),
    "two tenants": (without(tenant="acme"), "issuers.0: tenant: is fixed"),
    "a bad path": (without(tenant_claims=["a."]), "issuers.0.tenant_claims.0"),
    "nobody may anything": (without("roles_claim"), "issuers.0.roles: must be given"),
    "an unknown role": (without(roles=["root"]), "issuers.0.roles: unknown role 'root'"),
    "a bad map": (without(role_map={"a": "root"}), "issuers.0.role_map: unknown role 'root'"),
    "a map of nothing": (without("roles_claim", role_map={}, roles=["viewer"]), "role_map: of"),
    "an unknown scope": (without(scopes=["all"]), "issuers.0.scopes"),
    "commands twice": (without(commands=["a"], commands_claim="c"), "issuers.0: commands:"),
    "much leeway": (without(leeway_seconds=61), "issuers.0.leeway_seconds"),
    "less leeway": (without(leeway_seconds=-1), "issuers.0.leeway_seconds"),
    "a lifetime of a year": (without(max_lifetime_seconds=31_536_000), "max_lifetime_seconds"),
    "no lifetime": (without(max_lifetime_seconds=0), "issuers.0.max_lifetime_seconds"),
    "an unknown name": (without(verify=False), "issuers.0.verify: there is no such setting"),
    "audience": (without(audience="codeq"), "issuers.0.audience: there is no such setting"),
    "a bad key": (without("jwks_url", public_key=SECRET), "issuers.0: public_key: must be"),
    "no such file": (without("jwks_url", public_key_file="/no/such"), "public_key_file: cannot"),
    "a file and a key": (
        without("jwks_url", public_key=PEM, public_key_file="/no/such"),
        "public_key: either",
    ),
    "a number as file": (without("jwks_url", public_key_file=5), "public_key_file: cannot"),
    "other algorithms": (without("jwks_url", public_key=PEM), "algorithms: the public key is for"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_an_issuer_is_told_with_its_place(what: str) -> None:
    entry, told = WRONG[what]
    with pytest.raises(SettingsError, match=told) as caught:
        load_settings(issuers=[entry])
    assert SECRET not in str(caught.value)


def test_weak_and_private_keys_are_refused(tmp_path: Path) -> None:
    from tests.integration.forgeries import weak_key  # noqa: PLC0415 - only here

    path = tmp_path / "key.pem"
    path.write_bytes(weak_key().pem)
    entry = without("jwks_url", public_key_file=str(path), algorithms=["RS256"])
    with pytest.raises(SettingsError, match="public_key: is an RSA key of 1024 bits"):
        load_settings(issuers=[entry])


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text(PEM)
    entry = without("jwks_url", public_key_file=str(path), algorithms=["ES256"])
    settings = load_settings(issuers=[entry])
    assert settings.known_issuers()[0].public_key == PEM
    path.unlink()
    again = type(settings).model_validate(json.loads(json.dumps(settings.model_dump(mode="json"))))
    assert again == settings


def test_one_issuer_stands_there_once() -> None:
    with pytest.raises(SettingsError, match=r"issuers\.1\.issuer: is there twice"):
        load_settings(issuers=[ENTRY, ENTRY])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_this_machine_may_be_asked_without_tls(host: str) -> None:
    load_settings(issuers=[without(jwks_url=f"http://{host}:8080/certs")])
    load_settings(identity_service_url=f"http://{host}:8080")


def test_others_may_be_asked_without_tls_only_by_an_explicit_setting() -> None:
    plain = {
        "issuers": [without(jwks_url="http://keycloak:8080/certs")],
        "identity_service_url": "http://id:8080",
    }
    with pytest.raises(SettingsError, match=r"issuers\.0\.jwks_url: must be https"):
        load_settings(**plain)
    del plain["issuers"]
    with pytest.raises(SettingsError, match="identity_service_url: must be https"):
        load_settings(**plain)
    load_settings(**plain, allow_http_identities=True)


def test_the_environment_has_them_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEQ_ISSUERS", json.dumps([ENTRY]))
    monkeypatch.setenv("CODEQ_IDENTITY_CLAIMS", json.dumps({"tenant": "main"}))
    settings = load_settings(identity_service_url="https://id")
    assert len(settings.known_issuers()) == 1
    lookup = settings.lookup()
    assert lookup is not None
    assert lookup.rules.tenant == "main"
    monkeypatch.setenv("CODEQ_ISSUERS", f"[{SECRET}")
    with pytest.raises(SettingsError, match="CODEQ_ISSUERS is not JSON") as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_users_of_the_identity_service_are_no_admins() -> None:
    assert load_settings().lookup() is None
    lookup = load_settings(identity_service_url="https://id").lookup()
    assert lookup is not None
    assert lookup.rules.granted == ROLES["producer"] | ROLES["worker"]
    assert (lookup.rules.subject, lookup.rules.tenant_claims) == ("localId", ("tenantId",))
    assert lookup.rules.roles_claim == ""


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"identity_service_url": "https://id?key=x"}, "identity_service_url: must not have"),
        ({"identity_service_url": f"https://u:{SECRET}@id"}, "identity_service_url: must not"),
        ({"identity_service_url": "http://id.example"}, "identity_service_url: must be https"),
        ({"identity_claims": {"roles": ["root"]}}, "identity_claims.roles: unknown role"),
        ({"identity_claims": {"tenant": "a/b"}}, "identity_claims.tenant"),
        ({"identity_claims": {"api_key": SECRET}}, "identity_claims.api_key: there is no such"),
        ({"identity_claims": [SECRET]}, "identity_claims"),
        ({"issuers": SECRET}, "issuers"),
        ({"issuers": [SECRET]}, "issuers.0"),
        ({"issuers": [ENTRY] * 33}, "issuers"),
    ],
)
def test_what_is_wrong_with_the_rest_is_told_too(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        load_settings(**given)
    assert SECRET not in str(caught.value)


def test_the_api_key_is_not_shown() -> None:
    settings = load_settings(identity_service_url="https://id", identity_service_api_key=SECRET)
    assert SECRET not in repr(settings)
    assert SECRET not in repr(settings.lookup())
