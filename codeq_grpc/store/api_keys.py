"""API keys as the store has them: one row each, an entry by tenant, one by its end."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core import limits
from codeq_grpc.core.api_keys import ApiKey
from codeq_grpc.core.principal import Scope
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import API_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from codeq_grpc.core.api_keys import Wanted
    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.scripts import Script

TAKEN, FULL = b"TAKEN", b"FULL"
_TIMES: Final = struct.Struct(">QQQ32s")
_SIZE: Final = struct.Struct(">H")
_SCOPES: Final = {scope.value: scope for scope in Scope}
_PAGE_BYTES: Final = limits.BATCH_BYTES
_MINUTE: Final = 60_000
_ID_CHARS: Final = 12
_NOBODYS: Final = _TIMES.pack(0, 0, 0, bytes(32)) + b"\0\4acme\0\2ci\0\3ann\0\012tasks.read\0\0"


class ApiKeyStore:
    """Methods may raise StoreUnavailable, and `make` StoreFull."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def _run(self, script: Script, args: Sequence[Any]) -> Any:
        names = [API_KEYS[suffix] for suffix in script.suffixes]
        return await self._connection.run(script, names, args)

    async def make(
        self, tenant: str, key_id: str, wanted: Wanted, created_by: str, digest: bytes
    ) -> ApiKey | bytes:
        """The new key; TAKEN if there is one of that id, FULL if the tenant has too many."""
        texts = (
            *(tenant, wanted.name, created_by),
            *(" ".join(sorted(wanted.scopes)), " ".join(wanted.commands)),
        )
        row = digest + b"".join(_SIZE.pack(len(raw)) + raw for raw in map(str.encode, texts))
        args = (key_id, tenant, wanted.life_ms, limits.API_KEYS, row)
        reply = await self._run(scripts.MAKE_KEY, args)
        return unpack(key_id, reply[1]) if reply[0] == b"OK" else bytes(reply[0])

    async def find(self, key_ids: Sequence[str]) -> tuple[int, list[ApiKey | None]]:
        """The store's time in ms, and these keys, None where there is none that can be read."""
        _, now_ms, *rows = await self._run(scripts.FIND_KEYS, key_ids)
        pairs = zip(key_ids, rows, strict=True)
        return now_ms, [_readable(key_id, row) for key_id, row in pairs]

    async def page(self, tenant: str, after: str, most: int) -> tuple[list[ApiKey], str]:
        """Keys of a tenant, the newest first, from behind a place on, and the place of the last,
        empty if there are no more.
        """
        reply = await self._run(scripts.LIST_KEYS, (tenant, after, most + 1, _PAGE_BYTES))
        it = iter(reply[1:])
        entries = list(zip(it, it, it, strict=True))
        more = len(entries) > most or sum(len(row) for _, row, _ in entries) >= _PAGE_BYTES
        entries, found = entries[:most], []
        for place, row, used in entries:
            key = _readable(place[-_ID_CHARS:].decode(), row, int(used or 0) * _MINUTE)
            found += [key] if key else []
        return found, entries[-1][0].decode() if more else ""

    async def revoke(self, tenant: str, key_id: str) -> bool:
        """False if the tenant has no such key."""
        return bool((await self._run(scripts.REVOKE_KEY, (key_id, tenant)))[0] == b"OK")

    async def note(self, key_ids: Sequence[str]) -> None:
        """That these are used now."""
        await self._run(scripts.NOTE_KEYS, key_ids)

    async def forget(self, keep_ms: int, most: int, tenant: str = "") -> int:
        """Removes keys that ended so long ago, of one tenant if there is one; tells how many."""
        return int((await self._run(scripts.FORGET_KEYS, (keep_ms, most, tenant)))[1])


def unpack(key_id: str, row: bytes, used_ms: int = 0) -> ApiKey:
    """A row as `lua/lib/api_key.lua` has it. Raises ValueError or struct.error if it is none."""
    created, expires, revoked, digest = _TIMES.unpack_from(row)
    tenant, name, created_by, scopes, commands = _texts(row, _TIMES.size)
    return ApiKey(
        key_id=key_id,
        tenant=tenant,
        name=name,
        # One that a later version knows is no right here.
        scopes=frozenset(_SCOPES[one] for one in scopes.split() if one in _SCOPES),
        commands=tuple(commands.split()),
        created_by=created_by,
        created_ms=created,
        expires_ms=expires,
        revoked_ms=revoked,
        used_ms=used_ms,
        digest=digest,
    )


def _texts(row: bytes, at: int) -> Iterator[str]:
    while at < len(row):
        (size,) = _SIZE.unpack_from(row, at)
        at += _SIZE.size + size
        if at > len(row):
            raise ValueError("the row is cut short")
        yield row[at - size : at].decode()


def _readable(key_id: str, row: bytes, used_ms: int = 0) -> ApiKey | None:
    """What cannot be read opens nothing; `codeq doctor` tells of it. That there is none takes as
    long, lest time tells who has which keys.
    """
    try:
        key = unpack(key_id, row or _NOBODYS, used_ms)
        return key if row else None
    except (ValueError, struct.error):
        return None
