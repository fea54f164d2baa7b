"""A variable that looks like a setting and is none stops the start; those of others do not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from codeq_grpc import settings
from codeq_grpc.settings import Settings, SettingsError, load_settings

DEFAULTS: Final = Settings.model_validate({})
SECRET: Final = "s3cr3t-canary"


def announced(service: str, number: int, name: str, protocol: str = "tcp") -> dict[str, str]:
    """What Kubernetes puts into the environment of every container for a service."""
    upper, url = service.upper().replace("-", "_"), f"{protocol}://10.0.0.1:{number}"
    link = f"{upper}_PORT_{number}_{protocol.upper()}"
    return {
        f"{upper}_SERVICE_HOST": "10.0.0.1",
        f"{upper}_SERVICE_PORT": str(number),
        f"{upper}_SERVICE_PORT_{name.upper().replace('-', '_')}": str(number),
        f"{upper}_PORT": url,
        link: url,
        f"{link}_PROTO": protocol,
        f"{link}_PORT": str(number),
        f"{link}_ADDR": "10.0.0.1",
    }


@pytest.mark.parametrize(
    ("service", "number", "name", "protocol"),
    [
        ("codeq", 50051, "grpc", "tcp"),
        ("codeq-grpc", 50051, "grpc-web", "tcp"),
        ("codeq-http", 8080, "http", "tcp"),
        ("codeq-blue-2", 9, "x", "udp"),
        ("codeq-identity-service", 9, "api", "sctp"),
    ],
)
def test_what_kubernetes_announces_of_a_service_is_not_a_setting(
    monkeypatch: pytest.MonkeyPatch, service: str, number: int, name: str, protocol: str
) -> None:
    for variable, value in announced(service, number, name, protocol).items():
        monkeypatch.setenv(variable, value)
    assert load_settings() == DEFAULTS


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CODEQ_MAX_CALL", "MAX_CALLS"),
        ("CODEQ_MAX_CALLS_PER_PRINCIPLE", "MAX_CALLS_PER_PRINCIPAL"),
        ("CODEQ_REDIS_URI", "REDIS_URL"),
        ("CODEQ_GRPCPORT", "GRPC_PORT"),
        ("CODEQ_TOKEN_FILE", "TOKENS_FILE"),
        ("CODEQ_DURABILTY", "DURABILITY"),
        ("CODEQ_VERSION", None),
        ("CODEQ_", None),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, meant: str | None
) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    hint = f", did you mean CODEQ_{meant}?" if meant else ""
    assert str(caught.value) == f"settings are not valid: {name}: there is no such setting{hint}"


def test_every_variable_that_this_project_knows_is_known() -> None:
    sources = (Path(__file__).parents[2] / "codeq_grpc").rglob("*.py")
    names = {name for path in sources for name in re.findall(r"CODEQ_[A-Z_]+", path.read_text())}
    others = {name for name in names if name[6:].lower() not in Settings.model_fields}
    assert {"CODEQ_TOKEN", "CODEQ_CONFIG", "CODEQ_FENCE"} <= others
    assert [name for name in others if not settings._is_of_others(name)] == []


def test_variables_of_clients_and_programs_are_nobodys_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("TOKEN", "ADDRESS", "TASK_ID", "COMMAND", "ATTEMPT", "FENCE", "HEADER_TRACE_ID")
    for name in names:
        monkeypatch.setenv(f"CODEQ_{name}", "x")
    monkeypatch.setenv("MAX_CALL", "5")
    monkeypatch.setenv("CODEQX_MAX_CALL", "5")
    assert load_settings() == DEFAULTS
