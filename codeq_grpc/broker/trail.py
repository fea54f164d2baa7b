"""The audit trail: who did what, tenant by tenant.

What operators did is written before they get their answer. What was denied is written in the
background and only so often a second and tenant, so that a flood of refused calls does not become
one of writes; the rest is counted.

A page token is opaque to callers: the id of the last event of the page, and before it 8 bytes of
digest of that and the tenant, which it is bound to. It holds no secret and works on every server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.audit import Event, Stream
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import CodeQError, InvalidField
from codeq_grpc.store.trail import EVENT_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.trail import TrailStore

_log = logging.getLogger(__name__)
PER_SECOND: Final = 20
"""Denials of one tenant that are written one by one."""
_WAITING: Final = 2_000
"""Denials that wait to be written, all tenants together."""
_FORGET: Final = 3_600.0
"""Seconds between looks for what is too old in trails that nothing is written to."""
_DIGEST: Final = 8


class Trail:
    """Writes events, and never fails for it: what cannot be written is logged in full."""

    def __init__(self, store: TrailStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._lost = 0
        self._denials = _Denials()

    async def write(self, tenant: str, stream: Stream, events: Sequence[Event]) -> None:
        """Appends events."""
        events = [event.clean() for event in events]
        try:
            await self._store.write(tenant, stream, events)
        except asyncio.CancelledError:
            self._lose(tenant, events, "the server ends")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the change stands
            self._lose(tenant, events, str(error))

    def _lose(self, tenant: str, events: Sequence[Event], why: str) -> None:
        self._lost += len(events)
        for event in events:
            told = dict(zip(event._fields, event.clean().texts, strict=False))
            _log.error("not in the audit trail", extra={**told, "tenant": tenant, "why": why})

    def deny(self, tenant: str, event: Event) -> None:
        """Appends a denial, soon; one of too many is counted only."""
        self._denials.add(tenant, event)

    def facts(self) -> dict[str, int]:
        """For people: events that could not be written since the server began."""
        return {"lost": self._lost}

    async def run(self) -> None:
        """Writes denials, and forgets what is old, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_denials())
            group.create_task(self._count_denials())
            group.create_task(self._forget())

    async def _write_denials(self) -> None:
        while True:
            await self._denials.some.wait()
            await self._write_waiting()

    async def _count_denials(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._denials.sum_up()

    async def _write_waiting(self) -> None:
        while (found := self._denials.take()) is not None:
            tenant, events = found
            await self.write(tenant, Stream.DENIALS, events)

    async def flush(self) -> None:
        """Writes the denials that wait, as long as the store takes them."""
        lost = self._lost
        while self._denials.sum_up():
            while (found := self._denials.take()) is not None:
                tenant, events = found
                if self._lost == lost:
                    await self.write(tenant, Stream.DENIALS, events)
                else:
                    self._lose(tenant, events, "the store did not take others, and the server ends")

    async def _forget(self) -> None:
        while True:
            await asyncio.sleep(_FORGET)
            await self.forget()

    async def forget(self) -> None:
        """Removes some of what is too old, of every tenant that has a queue."""
        for tenant in {queue.tenant for queue in self._registry.known()}:
            with contextlib.suppress(CodeQError):
                await self._store.write(tenant, Stream.CHANGES, ())

    async def page(self, tenant: str, token: str, path: str, most: int) -> tuple[list[Event], str]:
        """Up to `most` events, newest first, and the token of the next page, empty at the end."""
        before = _place(tenant, token, path) if token else ""
        found = await self._store.read(tenant, before, most + 1)
        more = len(found) > most
        return found[:most], _token(tenant, found[most - 1].event_id) if more else ""


class _Denials:
    """Denials that wait to be written, and those of this second that are counted only."""

    def __init__(self) -> None:
        self.some = asyncio.Event()
        self._waiting: dict[str, list[Event]] = {}
        self._size = 0
        self._began = monotonic()
        self._counts: dict[str, int] = {}
        self._more: dict[str, tuple[int, Event]] = {}

    def add(self, tenant: str, event: Event) -> None:
        now = monotonic()
        if now - self._began >= 1.0:
            self._counts.clear()
            self._began = now
        count = self._counts[tenant] = self._counts.get(tenant, 0) + 1
        if count <= PER_SECOND and self._size < _WAITING:
            self._wait(tenant, event)
        else:
            more, shared = self._more.get(tenant, (0, event))
            self._more[tenant] = more + 1, shared.shared(event)

    def _wait(self, tenant: str, event: Event) -> None:
        self._waiting.setdefault(tenant, []).append(event)
        self._size += 1
        self.some.set()

    def sum_up(self) -> bool:
        """One event for all of a tenant that were counted only: what they had in common. Where too
        many wait they are counted on. Whether any wait.
        """
        while self._more and self._size < _WAITING:
            tenant = next(iter(self._more))
            count, shared = self._more.pop(tenant)
            said = f"{shared.reason}: " if shared.reason else ""
            self._wait(tenant, shared._replace(reason=f"{said}and {count} more"))
        return bool(self._waiting)

    def take(self) -> tuple[str, list[Event]] | None:
        """All of one tenant, if there are any."""
        if not self._waiting:
            self.some.clear()
            return None
        tenant = next(iter(self._waiting))
        events = self._waiting.pop(tenant)
        self._size -= len(events)
        return tenant, events


def _digest(tenant: str, where: bytes) -> bytes:
    bound_to = f"audit {tenant} ".encode()
    return hashlib.blake2b(bound_to + where, digest_size=_DIGEST).digest()


def _token(tenant: str, event_id: str) -> str:
    where = event_id.encode()
    return urlsafe_b64encode(_digest(tenant, where) + where).decode().rstrip("=")


def _place(tenant: str, token: str, path: str) -> str:
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        where = raw[_DIGEST:].decode()
    except ValueError:
        where = ""
    # Decoding is lenient: only one spelling is a token. Its digest has no key, so that it may be
    # forged, by which nothing is won: events of other tenants stand elsewhere.
    if not EVENT_ID.fullmatch(where) or _token(tenant, where) != token:
        raise InvalidField.at(path, "is not a token that this call gave")
    return where
