"""Limits of API keys."""

from __future__ import annotations

from typing import Any, Final

from codeq.v1 import admin_service_pb2 as admin_pb
from codeq_grpc.core import limits
from tests.integration.limit_values import SMILE, Case, ms, upto

TOKENS: Final = ("x", "!", "x" * limits.PAGE_TOKEN_CHARS, "x" * (limits.PAGE_TOKEN_CHARS + 1))
RIGHTS: Final = upto(limits.API_KEY_RIGHTS)


def create(key: dict[str, Any] | None = None, **fields: Any) -> admin_pb.CreateApiKeyRequest:
    """Of a key that may read."""
    return admin_pb.CreateApiKeyRequest(
        key={"name": "n", "scopes": ["tasks.read"], **(key or {})}, **fields
    )


def _told(name: str, value: Any) -> Case:
    """A field that the server tells, and that nobody may set."""
    return Case("CreateApiKey", lambda v: create({name: v}), (), (value,), f"key.{name}")


KEYS: Final = [
    Case(
        "CreateApiKey",
        lambda n: create({"name": SMILE * n}),
        *upto(limits.API_KEY_NAME_CHARS, 1),
        "key.name",
    ),
    Case("CreateApiKey", lambda s: create({"name": s}), ("a b",), ("a\nb", "\0"), "key.name"),
    Case("CreateApiKey", lambda n: create({"scopes": ["tasks.read"] * n}), *RIGHTS, "key.scopes"),
    Case("CreateApiKey", lambda n: create({"scopes": [""] * n}), (), (0,), "key.scopes"),
    Case(
        "CreateApiKey",
        lambda s: create({"scopes": ["tasks.read", s]}),
        ("queues.admin",),
        ("", "tasks", "tasks.*", "*", "TASKS.READ", "admin"),
        "key.scopes[1]",
    ),
    Case("CreateApiKey", lambda n: create(roles=["viewer"] * n), *RIGHTS, "roles"),
    Case(
        "CreateApiKey",
        lambda s: create(roles=["viewer", s]),
        ("admin",),
        ("", "root", "Admin", "tasks.read"),
        "roles[1]",
    ),
    Case("CreateApiKey", lambda n: create({"commands": ["A*"] * n}), *RIGHTS, "key.commands"),
    Case(
        "CreateApiKey",
        lambda s: create({"commands": ["A", s]}),
        ("*", "a*b*c", "x" * limits.COMMAND_CHARS),
        ("", "a b", "é", "a/b", "?", "x" * (limits.COMMAND_CHARS + 1)),
        "key.commands[1]",
    ),
    Case(
        "CreateApiKey",
        lambda n: create(ttl=ms(n)),
        *upto(limits.API_KEY_LIFE_MAX_MS, limits.API_KEY_LIFE_MIN_MS),
        "ttl",
    ),
    Case("CreateApiKey", lambda n: create(ttl=ms(n)), (), (0,), "ttl"),
    _told("key_id", "k" * 12),
    _told("created_by", "me"),
    _told("revoked", True),
    *(
        _told(f"{name}_time", {"seconds": 4_000_000_000})
        for name in ("expire", "create", "last_used", "revoke")
    ),
    Case(
        "ListApiKeys",
        lambda n: admin_pb.ListApiKeysRequest(page_size=n),
        (0, 1, limits.PAGE_TASKS),
        (-1, limits.PAGE_TASKS + 1),
        "page_size",
    ),
    Case(
        "ListApiKeys",
        lambda t: admin_pb.ListApiKeysRequest(page_token=t),
        ("",),
        TOKENS,
        "page_token",
    ),
    Case(
        "RevokeApiKey",
        lambda n: admin_pb.RevokeApiKeyRequest(key_id="k" * n),
        (1, 12, 128),
        (0, 129),
        "key_id",
    ),
    Case(
        "RevokeApiKey",
        lambda n: admin_pb.RevokeApiKeyRequest(key_id="k", reason=SMILE * n),
        *upto(limits.REASON_CHARS),
        "reason",
    ),
]
