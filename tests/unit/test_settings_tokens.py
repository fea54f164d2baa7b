"""Tokens and roles in the settings, from the environment and from a file of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.principal import ROLES, Scope
from codeq_grpc.settings import SettingsError, load_settings
from tests.unit.settings_values import ENTRY, HASH, SECRET, written

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_token_is_one_principal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEQ_TOKENS", json.dumps([{**ENTRY, "tenant": "rival"}]))
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps([ENTRY]))
    with pytest.raises(SettingsError, match=r"tokens\.1\.sha256: is there twice$") as refused:
        load_settings(tokens_file=file)
    assert HASH not in str(refused.value)


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
