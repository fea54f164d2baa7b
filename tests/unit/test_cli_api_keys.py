"""`codeq keys`: what it asks for and what it shows."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.core.errors import KeyNotFound, ScopeMissing
from tests.unit.cli_scripted import Scripted, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli_scripted import Context, Served

SECRET = "cqk_0123456789ab_secret"


def key(key_id: str, **fields: object) -> pb.ApiKey:
    made = pb.ApiKey(key_id=key_id, name="ci: é", scopes=["tasks.read"], created_by="ann", **fields)  # type: ignore[arg-type]
    made.create_time.FromJsonString("2026-07-01T12:00:00Z")
    return made


class Keys(Scripted):
    def __init__(self) -> None:
        super().__init__()
        self.keys: list[pb.ApiKey] = []
        self.unknown: set[str] = set()

    def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        self._heard("CreateApiKey", request, context)
        made = key("0123456789ab")
        made.name = request.key.name
        if request.HasField("ttl"):
            made.expire_time.FromJsonString("2026-09-29T12:00:00Z")
        return pb.CreateApiKeyResponse(key=made, secret=SECRET)

    def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        self._heard("ListApiKeys", request, context)
        at = int(request.page_token or 0)
        token = str(at + self.page) if len(self.keys) > at + self.page else ""
        return pb.ListApiKeysResponse(keys=self.keys[at : at + self.page], next_page_token=token)

    def RevokeApiKey(
        self, request: pb.RevokeApiKeyRequest, context: Context
    ) -> pb.RevokeApiKeyResponse:
        refuse = dict(self.refuse)
        if request.key_id in self.unknown:
            self.refuse["RevokeApiKey"] = KeyNotFound()
        try:
            self._heard("RevokeApiKey", request, context)
        finally:
            self.refuse = refuse
        return pb.RevokeApiKeyResponse()


@pytest.fixture
def scripted() -> Keys:
    return Keys()


@pytest.fixture
def codeq(scripted: Keys) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def test_the_key_alone_goes_to_stdout(scripted: Keys, codeq: Served) -> None:
    done = codeq(
        *(
            "keys",
            "create",
            "ci",
            "--role",
            "worker",
            "--role",
            "viewer",
            "--scope",
            "tasks.enqueue",
        ),
        *("--command", "REN*", "--command", "A", "--ttl", "90d"),
    )
    assert (done.exit_code, done.stdout) == (0, f"{SECRET}\n")
    assert "0123456789ab" in done.stderr
    assert re.search(r"until 2026-09-29 \d\d:\d\d UTC;", done.stderr)
    assert SECRET not in done.stderr
    asked = scripted.last(pb.CreateApiKeyRequest)
    assert (list(asked.roles), list(asked.key.scopes)) == (["worker", "viewer"], ["tasks.enqueue"])
    assert (asked.key.name, list(asked.key.commands)) == ("ci", ["REN*", "A"])
    assert asked.ttl.seconds == 90 * 86_400


def test_a_key_without_an_end_says_so(scripted: Keys, codeq: Served) -> None:
    done = codeq("keys", "create", "ci", "--role", "worker")
    assert "no end" in done.stderr
    assert not scripted.last(pb.CreateApiKeyRequest).HasField("ttl")


def test_a_key_as_json(codeq: Served) -> None:
    done = codeq("keys", "create", "ci", "--role", "worker", "--json")
    document = json.loads(done.stdout)
    assert document["secret"] == SECRET
    assert document["key"]["keyId"] == "0123456789ab"


def test_keys_are_shown_with_use_and_end(scripted: Keys, codeq: Served) -> None:
    revoked = key("bbbbbbbbbbbb", revoked=True, commands=["REN*"])
    revoked.revoke_time.FromJsonString("2026-08-01T12:00:00Z")
    revoked.last_used_time.FromJsonString("2026-07-31T10:20:00Z")
    expired = key("cccccccccccc")
    expired.expire_time.FromJsonString("2020-02-02T11:10:09Z")
    later = key("dddddddddddd")
    later.expire_time.FromJsonString("2999-02-02T11:10:09Z")
    scripted.keys = [key("aaaaaaaaaaaa"), revoked, expired, later]
    done = codeq("keys")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines() if "ci: é" in line]
    assert [line[0][0] for line in lines] == ["a", "b", "c", "d"]
    assert lines[0][3:] == ["tasks.read", "all", "never", "never"]
    assert lines[1][3:] == [
        *("tasks.read", "REN*", "2026-07-31", "10:20"),
        *("revoked", "2026-08-01", "12:00"),
    ]
    assert lines[2][-3:] == ["expired", "2020-02-02", "11:10"]
    assert lines[3][-3:] == ["never", "2999-02-02", "11:10"]
    done = codeq("keys", "list", "--json")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["revoked"] for one in documents] == [False, True, False, False]


def test_no_keys_are_told_on_stderr(codeq: Served) -> None:
    done = codeq("keys", "list")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "codeq keys create" in done.stderr


def test_keys_are_revoked_with_a_reason(scripted: Keys, codeq: Served) -> None:
    done = codeq("keys", "revoke", "a", "b", "--reason", "leaked")
    assert done.stdout == "revoked a\nrevoked b\n"
    asked = [one for one in scripted.asked if isinstance(one, pb.RevokeApiKeyRequest)]
    assert [(one.key_id, one.reason) for one in asked] == [("a", "leaked"), ("b", "leaked")]
    done = codeq("keys", "revoke", "a", "--json")
    assert json.loads(done.stdout) == {"keyId": "a", "revoked": True}


def test_an_unknown_key_keeps_no_other_from_its_end(scripted: Keys, codeq: Served) -> None:
    scripted.unknown = {"b"}
    done = codeq("keys", "revoke", "a", "b", "c")
    assert (done.exit_code, done.stdout) == (1, "revoked a\nrevoked c\n")
    assert done.stderr.startswith("error: b: KEY_NOT_FOUND: ")
    assert done.stderr.count("\n") == 1


def test_what_the_server_refuses_is_one_line(scripted: Keys, codeq: Served) -> None:
    scripted.refuse["RevokeApiKey"] = KeyNotFound()
    scripted.refuse["CreateApiKey"] = ScopeMissing("no queues.admin")
    for words in (("revoke", "x"), ("create", "ci", "--role", "admin")):
        done = codeq("keys", *words)
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("create", "ci"), ("create",), ("revoke",)])
def test_wrong_usage_asks_nothing(scripted: Keys, codeq: Served, words: tuple[str, ...]) -> None:
    assert codeq("keys", *words).exit_code == 2
    assert scripted.asked == []
