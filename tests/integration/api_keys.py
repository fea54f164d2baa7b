"""Makes, lists and revokes API keys, and calls with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq.v1 import admin_service_pb2 as admin_pb
from tests.integration.calling import ask
from tests.integration.refusals import told

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.support.server import Caller, Server

EXPIRED: Final = ("UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
INVALID: Final = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
SCOPE_MISSING: Final = ("PERMISSION_DENIED", "SCOPE_MISSING")
NOT_FOUND: Final = ("NOT_FOUND", "KEY_NOT_FOUND")
HEADERS: Final = ("authorization", "x-api-key")


def create_request(
    name: str = "ci",
    *,
    roles: Iterable[str] = (),
    scopes: Iterable[str] = (),
    commands: Iterable[str] = (),
    ttl: float | None = None,
) -> admin_pb.CreateApiKeyRequest:
    """Times in seconds."""
    key = admin_pb.ApiKey(name=name, scopes=scopes, commands=commands)
    request = admin_pb.CreateApiKeyRequest(key=key, roles=roles)
    if ttl is not None:
        request.ttl.FromMilliseconds(int(ttl * 1000))
    return request


async def create(caller: Caller, name: str = "ci", **fields: Any) -> admin_pb.CreateApiKeyResponse:
    """A key, of an admin unless something else is said."""
    if not fields.keys() & {"roles", "scopes"}:
        fields["roles"] = ["admin"]
    made: admin_pb.CreateApiKeyResponse = await ask(
        caller, "CreateApiKey", create_request(name, **fields)
    )
    return made


def holder(server: Server, secret: str, header: str = "authorization") -> Caller:
    """Somebody with a key."""
    value = f"Bearer {secret}" if header == "authorization" else secret
    return server.stranger((header, value))


async def listed(caller: Caller, **fields: Any) -> list[admin_pb.ApiKey]:
    """A page of keys."""
    return list((await ask(caller, "ListApiKeys", admin_pb.ListApiKeysRequest(**fields))).keys)


async def revoke(caller: Caller, key_id: str) -> None:
    """Ends one."""
    await ask(caller, "RevokeApiKey", admin_pb.RevokeApiKeyRequest(key_id=key_id, reason="leaked"))


async def is_over(caller: Caller) -> bool:
    """Whether the key is refused as one that was good before."""
    code, reason, _ = await told(caller, "ListApiKeys", admin_pb.ListApiKeysRequest())
    return (code, reason) == EXPIRED
