"""Settings come from arguments, environment and file, in this order; what is wrong is named and
never shown.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic.alias_generators import to_camel

from codeq_grpc.settings import Settings, SettingsError, load_settings
from tests.unit.settings_values import ENTRY, SECRET, VALUES, written

if TYPE_CHECKING:
    from pathlib import Path

DEFAULTS: Final = Settings.model_validate({})


def plain(settings: Settings) -> dict[str, Any]:
    """Values of those in the table."""
    found = settings.model_dump(mode="json")
    return {name: found[name] for name in VALUES}


def test_the_table_has_every_setting_and_no_default() -> None:
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


def test_an_unknown_name_within_a_setting_gets_no_hint(tmp_path: Path) -> None:
    given = {"tenant_defaults": {"tenant_default": 1}}
    with pytest.raises(SettingsError, match=r"tenant_default: there is no such setting$"):
        load_settings(written(tmp_path / "c.json", given))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *(("max_stream", "max_streams"), ("maxstreams", "max_streams")),
        *(("grpc-port", "grpc_port"), ("reflecton", "reflection")),
        *(("MAX_STREAMS", None), ("", None)),
    ],
)
def test_an_unknown_name_in_the_file_is_refused(
    tmp_path: Path, name: str, meant: str | None
) -> None:
    hint = rf", did you mean {meant}\?" if meant else ""
    with pytest.raises(SettingsError, match=f"{name}: there is no such setting{hint}$"):
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
