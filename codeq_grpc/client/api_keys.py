"""Flows of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.client.flows import call
from codeq_grpc.client.specs import Span, duration
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq_grpc.client.flows import Flow


def create(
    name: str,
    *,
    roles: Iterable[str],
    scopes: Iterable[str],
    commands: Iterable[str],
    ttl: Span | None,
) -> Flow[pb.CreateApiKeyResponse]:
    """Makes a key. It is not repeated: a key whose reply was lost is of no use to anybody."""
    key = pb.ApiKey(name=name, scopes=scopes, commands=commands)
    request = pb.CreateApiKeyRequest(key=key, roles=roles)
    if ttl is not None:
        request.ttl.CopyFrom(duration(ttl))
    return (yield from call("CreateApiKey", request, pb.CreateApiKeyResponse))


def every() -> Flow[list[pb.ApiKey]]:
    """All keys, page by page."""
    keys: list[pb.ApiKey] = []
    request = pb.ListApiKeysRequest(page_size=limits.PAGE_TASKS)
    while True:
        page = yield from call("ListApiKeys", request, pb.ListApiKeysResponse)
        keys += page.keys
        if not page.next_page_token:
            return keys
        request.page_token = page.next_page_token


def revoke(key_id: str, reason: str) -> Flow[None]:
    """Ends a key."""
    request = pb.RevokeApiKeyRequest(key_id=key_id, reason=reason)
    yield from call("RevokeApiKey", request, pb.RevokeApiKeyResponse)
