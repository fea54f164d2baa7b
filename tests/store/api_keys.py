"""API keys in the store, made in few words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.api_keys import ApiKey, Wanted, digest_of, new_key
from codeq_grpc.core.principal import Scope

if TYPE_CHECKING:
    from codeq_grpc.store.api_keys import ApiKeyStore

DIGEST: Final = digest_of("x")


def wanted(**given: Any) -> Wanted:
    """One that reads tasks for ever."""
    return Wanted("ci", frozenset({Scope.TASKS_READ}), (), 0)._replace(**given)


async def make(keys: ApiKeyStore, tenant: str = "acme", **given: Any) -> ApiKey:
    """One that there is."""
    made = await keys.make(tenant, new_key()[0], wanted(**given), "ann", DIGEST)
    assert isinstance(made, ApiKey)
    return made


async def read(keys: ApiKeyStore, key_id: str) -> ApiKey | None:
    """As the store has it."""
    _, (key,) = await keys.find([key_id])
    return key
