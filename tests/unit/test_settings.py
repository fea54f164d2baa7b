"""Settings come from arguments, environment and file, in this order; what is wrong is named and
never shown.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from pydantic.alias_generators import to_camel

from codeq_grpc.core.principal import ROLES, Scope
from codeq_grpc.core.quotas import Quotas
from codeq_grpc.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS: Final = Settings.model_validate({})
HASH: Final = hashlib.sha256(b"token").hexdigest()
ENTRY: Final[dict[str, Any]] = {
    "sha256": HASH,
    "subject": "s",
    "tenant": "acme",
    "roles": ["worker"],
    "scopes": [],
    "commands": [],
}
CERTIFIED: Final = {name: value for name, value in ENTRY.items() if name != "sha256"}
QUOTAS: Final = {field.name: number for number, field in enumerate(fields(Quotas), 2)}
SECRET: Final = "s3cr3t-canary"
RULES: Final[dict[str, Any]] = {
    "roles": ["worker"],
    "scopes": ["tasks.read"],
    "commands": [],
    "subject_claim": "sub",
    "tenant": "",
    "tenant_claims": ["tid"],
    "tenants": ["acme"],
    "roles_claim": "roles",
    "role_map": {"ops": "operator"},
    "scopes_claim": "scope",
    "commands_claim": "commands",
}
"""What claims mean, with everything that can be said of it."""

VALUES: Final[dict[str, Any]] = {
    "env": "staging",
    "grpc_host": "::1",
    "grpc_port": 1,
    "grpc_engine": "grpcio",
    "http_host": "::1",
    "http_port": 2,
    "redis_url": "rediss://store:7",
    "redis_addr": "store:7",
    "store_timeout_seconds": 1.5,
    "store_connections": 9,
    "durability": "D3",
    "tokens": [ENTRY],
    "plaintext": "http",
    "tls_cert_file": "/tls/cert.pem",
    "tls_key_file": "/tls/key.pem",
    "tls_client_ca_file": "/tls/ca.pem",
    "certificates": [{**CERTIFIED, "name": "dns:worker.example"}],
    "redis_ca_file": "/store/ca.pem",
    "redis_cert_file": "/store/cert.pem",
    "redis_key_file": "/store/key.pem",
    "roles": {"night-watch": ["queues.read", "queues.admin"]},
    "tenants": {"acme": QUOTAS},
    "tenant_defaults": QUOTAS,
    "strict_tenants": True,
    "timezone": "America/Sao_Paulo",
    "log_level": "debug",
    "log_format": "text",
    "default_lease_seconds": 77,
    "requeue_inspect_limit": 9,
    "retention_hours": 0.5,
    "max_payload_bytes": 99,
    "max_working": 30,
    "max_calls": 31,
    "max_calls_per_principal": 32,
    "max_calls_per_address": 33,
    "max_request_bytes": 9 << 20,
    "max_request_bytes_per_principal": 8 << 20,
    "max_streams": 3,
    "max_streams_per_principal": 34,
    "max_streams_per_address": 35,
    "max_watches": 7,
    "max_watches_per_principal": 36,
    "max_watches_per_address": 37,
    "max_failures_per_second": 38,
    "max_stream_age_seconds": 4.5,
    "drain_seconds": 5.5,
    "audit": "all",
    "audit_retention_days": 1.5,
    "reflection": True,
    "reuse_port": True,
    "processes": 3,
    "identity_service_url": "https://id",
    "identity_service_api_key": "key",
    "identity_claims": {**RULES, "subject_claim": "email"},
    "issuers": [
        {
            **RULES,
            "issuer": "https://issuer",
            "audiences": ["codeq"],
            "algorithms": ["ES256"],
            "jwks_url": "https://issuer/jwks",
            "public_key": "",
            "token_types": ["at+jwt"],
            "leeway_seconds": 9,
            "max_lifetime_seconds": 99,
        }
    ],
    "allow_http_identities": True,
}
"""A value of each setting, none of them the default."""


def toml(value: Any) -> str:
    """A value as TOML has it, on one line."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def written(path: Path, values: dict[str, Any]) -> Path:
    """A configuration file in the format that its name asks for."""
    if path.suffix == ".toml":
        path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in values.items()))
    elif path.suffix == ".json":
        path.write_text(json.dumps(values))
    else:
        path.write_text(yaml.safe_dump(values))
    return path


def plain(settings: Settings) -> dict[str, Any]:
    """Values of the table above."""
    found = settings.model_dump(mode="json")
    return {name: found[name] for name in VALUES}


def test_the_table_above_has_every_setting_and_no_default() -> None:
    assert VALUES.keys() | {"tokens_file"} == Settings.model_fields.keys()
    default = plain(DEFAULTS)
    assert [name for name in VALUES if default[name] == VALUES[name]] == []


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings == DEFAULTS
    assert (settings.grpc_port, settings.http_port) == (50051, 8080)
    assert settings.store_url() == "redis://localhost:6379"
    assert (settings.env, settings.reflection) == ("production", False)
    assert settings.principals() == {}


@pytest.mark.parametrize("suffix", ["yaml", "yml", "toml", "json", "conf"])
@pytest.mark.parametrize("camel", [False, True])
def test_a_file_sets_everything(tmp_path: Path, suffix: str, camel: bool) -> None:
    named = {to_camel(name) if camel else name: value for name, value in VALUES.items()}
    assert plain(load_settings(written(tmp_path / f"c.{suffix}", named))) == VALUES


def test_the_environment_sets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALUES.items():
        text = value if isinstance(value, str) else json.dumps(value)
        monkeypatch.setenv(f"CODEQ_{name.upper()}", text)
    assert plain(load_settings()) == VALUES


def test_the_file_is_found_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEQ_CONFIG", str(written(tmp_path / "c.yaml", {"max_streams": 3})))
    assert load_settings().max_streams == 3
    other = written(tmp_path / "d.yaml", {"max_streams": 4})
    assert load_settings(other).max_streams == 4


def test_arguments_go_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "c.yaml", {"grpcPort": 1, "http_port": 1, "max_streams": 1})
    monkeypatch.setenv("CODEQ_GRPC_PORT", "2")
    monkeypatch.setenv("CODEQ_HTTP_PORT", "2")
    settings = load_settings(path, grpc_port=3)
    assert (settings.grpc_port, settings.http_port, settings.max_streams) == (3, 2, 1)


def test_the_names_of_the_scheduler_that_came_before_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PORT", "9090")
    monkeypatch.setenv("REDIS_ADDR", "store:7000")
    monkeypatch.setenv("IDENTITY_SERVICE_URL", "https://id")
    monkeypatch.setenv("IDENTITY_SERVICE_API_KEY", "key")
    settings = load_settings()
    assert settings.http_port == 9090
    assert settings.store_url() == "redis://store:7000"
    assert settings.identity_service_url == "https://id"
    assert settings.identity_service_api_key == "key"


def test_its_file_is_read_too(tmp_path: Path) -> None:
    given = {
        "port": 9090,
        "redisAddr": "store:7000",
        "timezone": "America/Sao_Paulo",
        "logLevel": "warning",
        "logFormat": "text",
        "env": "dev",
        "defaultLeaseSeconds": 60,
        "requeueInspectLimit": 50,
        "identityServiceUrl": "https://id",
    }
    settings = load_settings(written(tmp_path / "c.yaml", given))
    assert (settings.http_port, settings.redis_addr) == (9090, "store:7000")
    assert (settings.default_lease_seconds, settings.requeue_inspect_limit) == (60, 50)


def test_our_own_name_goes_before_the_bare_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("CODEQ_HTTP_PORT", "2")
    monkeypatch.setenv("REDIS_ADDR", "bare:1")
    monkeypatch.setenv("CODEQ_REDIS_ADDR", "own:2")
    settings = load_settings()
    assert (settings.http_port, settings.redis_addr) == (2, "own:2")


def test_a_bare_port_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "2")
    assert load_settings(written(tmp_path / "c.yaml", {"httpPort": 1})).http_port == 2


def test_a_store_in_the_environment_goes_before_one_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "c.yaml", {"redisUrl": "redis://file:1"})
    assert load_settings(path, redis_addr="given:3").store_url() == "redis://given:3"
    monkeypatch.setenv("REDIS_ADDR", "env:2")
    assert load_settings(path).store_url() == "redis://env:2"
    monkeypatch.setenv("CODEQ_REDIS_URL", "redis://url:3")
    assert load_settings(path).store_url() == "redis://url:3"
    assert load_settings(path, redis_addr="given:3").store_url() == "redis://given:3"


def test_empty_variables_are_as_if_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "REDIS_ADDR", "CODEQ_GRPC_PORT", "CODEQ_TOKENS", "CODEQ_CONFIG"):
        monkeypatch.setenv(name, "")
    assert load_settings() == DEFAULTS


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("# nothing yet\n")
    assert load_settings(path) == DEFAULTS


@pytest.mark.parametrize("name", ["max_stream", "maxstreams", "MAX_STREAMS", "grpc-port", ""])
def test_an_unknown_name_in_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}: there is no such setting$"):
        load_settings(written(tmp_path / "c.json", {name: SECRET}))


BAD: Final[dict[str, tuple[Any, ...]]] = {
    "grpc_port": (-1, 65_536, "http", 1.5, None),
    "http_port": (-1, 65_536),
    "store_timeout_seconds": (0, -1, 61, "nan", "inf"),
    "store_connections": (3, 4_097),
    "durability": ("D5", "d1", "", 1, None),
    "timezone": ("Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "America", "UTC\0", "x" * 999),
    "log_level": ("trace", "DEBUG", ""),
    "log_format": ("xml", ""),
    "default_lease_seconds": (0, 86_401),
    "requeue_inspect_limit": (0, 501),
    "retention_hours": (0, -1, "nan", "inf"),
    "max_payload_bytes": (0, 1 << 22),
    "max_calls": (0, -1),
    "max_calls_per_principal": (0, -1),
    "max_calls_per_address": (0, -1),
    "max_request_bytes": (0, (8 << 20) - 1),
    "max_request_bytes_per_principal": (0, (8 << 20) - 1),
    "max_streams": (0, -1),
    "max_streams_per_principal": (0, -1),
    "max_streams_per_address": (0, -1),
    "max_watches_per_principal": (0, -1),
    "max_watches_per_address": (0, -1),
    "max_failures_per_second": (0, -1),
    "max_stream_age_seconds": (-1, "nan", "inf"),
    "drain_seconds": (-1, "nan", "inf"),
    "reflection": ("maybe", 2),
    "processes": (0, -1, 257, 1.5, "auto"),
    "tokens": (5, {"a": 1}, [5], [{}]),
}


@pytest.mark.parametrize("name", BAD)
def test_values_out_of_range_are_refused_by_name(name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(SettingsError, match=rf"settings are not valid: {name}\b"):
            load_settings(**{name: value})


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"sha256": SECRET}, "tokens.0.sha256"),
        ({"sha256": HASH.upper()}, "tokens.0.sha256"),
        ({"sha256": HASH + "\n"}, "tokens.0.sha256"),
        ({"subject": ""}, "tokens.0.subject"),
        ({"subject": "x" * 129}, "tokens.0.subject"),
        ({"tenant": ""}, "tokens.0.tenant"),
        ({"tenant": "a/b"}, "tokens.0.tenant"),
        ({"tenant": "a{b}"}, "tokens.0.tenant"),
        ({"tenant": "a\n"}, "tokens.0.tenant"),
        ({"tenant": "x" * 65}, "tokens.0.tenant"),
        ({"roles": []}, "tokens.0.roles"),
        ({"roles": ["root"]}, "tokens.0.roles"),
        ({"scopes": ["everything"]}, "tokens.0.scopes"),
        ({"commands": [""]}, "tokens.0.commands"),
        ({"commands": ["a b"]}, "tokens.0.commands"),
        ({"commands": ["a?"]}, "tokens.0.commands"),
        ({"commands": ["a"] * 65}, "tokens.0.commands"),
        ({"token": SECRET}, "tokens.0.token"),
    ],
)
def test_a_bad_entry_of_the_tokens_is_refused_by_place(change: dict[str, Any], where: str) -> None:
    with pytest.raises(SettingsError, match=where) as caught:
        load_settings(tokens=[{**ENTRY, **change}])
    assert SECRET not in str(caught.value)


def test_roles_become_scopes() -> None:
    entry = {**ENTRY, "roles": ["producer", "viewer"]}
    (principal,) = load_settings(tokens=[entry]).principals().values()
    assert (principal.subject, principal.tenant) == ("s", "acme")
    assert principal.scopes == ROLES["producer"] | ROLES["viewer"]
    assert ROLES["admin"] == frozenset(Scope)


def test_scopes_and_commands_may_be_named_one_by_one() -> None:
    entry = {**ENTRY, "roles": [], "scopes": ["tasks.read"], "commands": ["mail.*", "render"]}
    (principal,) = load_settings(tokens=[entry]).principals().values()
    assert principal.scopes == {Scope.TASKS_READ}
    assert principal.commands == ("mail.*", "render")
    assert principal.reach.has("mail.in")
    assert not principal.reach.has("other")


def test_roles_of_the_settings_stand_beside_those_of_codeq() -> None:
    entry = {**ENTRY, "roles": ["watch", "worker"]}
    settings = load_settings(tokens=[entry], roles={"watch": ["queues.read"]})
    (principal,) = settings.principals().values()
    assert principal.scopes == ROLES["worker"] | {Scope.QUEUES_READ}
    assert settings.all_roles().keys() == {*ROLES, "watch"}


@pytest.mark.parametrize(
    ("roles", "where"),
    [
        ({"admin": ["queues.read"]}, "roles"),
        ({"watch": ["root"]}, "roles.watch"),
        ({"watch": "queues.read"}, "roles.watch"),
        (["watch"], "roles"),
    ],
)
def test_a_role_that_cannot_be_is_refused(roles: Any, where: str) -> None:
    with pytest.raises(SettingsError, match=where):
        load_settings(roles=roles)


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_tokens_of_a_file_come_beside_those_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    other = {**ENTRY, "sha256": "0" * 64}
    path = tmp_path / f"t.{suffix}"
    path.write_text(json.dumps([ENTRY]))
    monkeypatch.setenv("CODEQ_TOKENS_FILE", str(path))
    monkeypatch.setenv("CODEQ_TOKENS", json.dumps([other]))
    assert load_settings().principals().keys() == {HASH, "0" * 64}
    path.write_text("[]")
    assert load_settings().principals().keys() == {"0" * 64}


@pytest.mark.parametrize("content", ["5", "'text'", "{a: 1}", "[5]", "- - 1", "true"])
def test_a_tokens_file_that_is_no_list_of_tokens_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match="tokens"):
        load_settings(tokens_file=path)


def test_no_tokens_at_all_beside_a_tokens_file_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(json.dumps([ENTRY]))
    config = written(tmp_path / "c.yaml", {"tokens": None, "tokensFile": str(path)})
    assert load_settings(config).principals().keys() == {HASH}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.yaml", f"identityServiceApiKey: '{SECRET}\n  : ["),
        ("c.yaml", f"a: b: {SECRET}"),
        ("c.yaml", f"!!python/object/apply:os.system ['{SECRET}']"),
        ("c.yaml", f"key: &a {SECRET}\nkey: *{SECRET}"),
        ("c.yaml", f"{SECRET}"),
        ("c.yaml", f"[{SECRET}]"),
        ("c.toml", f'identityServiceApiKey = "{SECRET}'),
        ("c.toml", f"{SECRET} {SECRET}"),
        ("c.json", f'{{"identityServiceApiKey": "{SECRET}'),
        ("c.json", f"{SECRET}"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_shown(
    tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(SettingsError, match=f"configuration file .*{name}") as caught:
        load_settings(path)
    assert SECRET not in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"configuration file .*none\.yaml: No such file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="configuration file"):
        load_settings(tmp_path)
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="configuration file"):
        load_settings(path)
    with pytest.raises(SettingsError, match=r"tokens file .*none\.yaml: No such file"):
        load_settings(tokens_file=tmp_path / "none.yaml")


def test_no_error_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEQ_TOKENS", f'[{{"token": "{SECRET}"')
    with pytest.raises(SettingsError, match="CODEQ_TOKENS is not JSON") as caught:
        load_settings()
    assert SECRET not in str(caught.value)
    monkeypatch.setenv("CODEQ_TOKENS", f'["{SECRET}"]')
    monkeypatch.setenv("CODEQ_GRPC_PORT", SECRET)
    monkeypatch.setenv("CODEQ_REFLECTION", SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings(redis_url=5, identity_service_api_key=[SECRET])
    message = str(caught.value)
    for name in ("tokens.0", "grpc_port", "reflection", "redis_url", "identity_service_api_key"):
        assert name in message
    assert SECRET not in message


def test_settings_are_the_same_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{**ENTRY, "sha256": "0" * 64}]))
    settings = load_settings(tokens_file=path, **VALUES)
    assert Settings.model_validate(json.loads(json.dumps(settings.model_dump(mode="json")))) == (
        settings
    )


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        DEFAULTS.grpc_port = 1
