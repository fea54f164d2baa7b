"""Calls that may outlast their credential: they end when it expires, is revoked or changes.

A call is looked at from its beginning, not only a stream: one that waits for tasks must not get any
for somebody who may no longer have them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialChanged,
    CredentialExpired,
    CredentialInvalid,
    IdentityUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.core.principal import Principal

    Verify = Callable[[Credential], Awaitable[Principal]]

_log = logging.getLogger(__name__)
_EVERY: Final = 0.5
"""Seconds between looks."""
_AT_ONCE: Final = 32
"""Credentials of one kind that are verified anew at the same time. Kinds don't wait for each other:
one may be slow, and another have to be quick.
"""
_KEYS_AT_ONCE: Final = 2_000
"""The same of API keys, which are read together."""
_PATIENCE: Final = 60.0
"""Seconds for which a call goes on although its credential can't be verified anew when it should
be."""


class Ending:
    """How one call is ended from outside, and why."""

    __slots__ = ("_limit", "error")

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self.error: CodeQError | None = None

    def end(self, error: CodeQError) -> None:
        """Ends the call with this error."""
        self.error = error
        with contextlib.suppress(RuntimeError):  # it has just ended by itself
            self._limit.reschedule(0.0)


class _Session:
    """The calls of one credential."""

    def __init__(self, principal: Principal, verified_at: float) -> None:
        self.principal = principal
        self.kind = principal.credential.partition(":")[0]
        self.verified_at = verified_at
        self.renewal: asyncio.Task[None] | None = None
        self.calls: set[Ending] = set()

    def end(self, error: CodeQError) -> None:
        for call in list(self.calls):
            call.end(error)

    def is_due(self) -> bool:
        return monotonic() - self.verified_at >= self.principal.check_again

    def doubt(self, at: float, error: CodeQError) -> None:
        """It could not be verified anew, not yet for too long."""
        if at - self.verified_at >= self.principal.check_again + _PATIENCE:
            self.end(error)


class Sessions:
    """All calls whose credential does not last as long as the server."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._open: dict[Credential, _Session] = {}
        self._free = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(_AT_ONCE))
        self._free["key"] = asyncio.Semaphore(_KEYS_AT_ONCE)

    async def confirmed(
        self, credential: Credential, principal: Principal, verified_at: float
    ) -> float:
        """When a credential was verified, by which a call is about to begin its work. Requests may
        be long in coming: it is done anew then. Raises CredentialExpired, CredentialChanged and
        what verifying raises.
        """
        if principal.expires_at <= now().timestamp():
            raise CredentialExpired.of(principal)
        began = monotonic()
        if began - verified_at < principal.check_again:
            return verified_at
        try:
            found = await self._verify(credential)
        except CredentialInvalid:
            raise CredentialExpired.of(principal) from None
        if _rights(found) != _rights(principal):
            raise CredentialChanged
        return began

    @contextlib.contextmanager
    def during(
        self,
        credential: Credential,
        principal: Principal,
        limit: asyncio.Timeout,
        verified_at: float,
    ) -> Iterator[Ending]:
        """Looks after a call while the block runs; `limit` is around it. Raises CredentialChanged
        if others with its credential have other rights: these end, too.
        """
        session = self._open.get(credential)
        if session is None:
            session = self._open[credential] = _Session(principal, verified_at)
        elif _rights(principal) != _rights(session.principal):
            session.end(CredentialChanged())
            raise CredentialChanged
        ending = Ending(limit)
        session.calls.add(ending)
        try:
            yield ending
        finally:
            session.calls.discard(ending)
            # Another session may stand there by now: this one was empty in between.
            if not session.calls and self._open.get(credential) is session:
                del self._open[credential]

    async def run(self) -> None:
        """Looks after them, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._expire())
            group.create_task(self._renew())

    async def _expire(self) -> None:
        while True:
            at = now().timestamp()
            for session in list(self._open.values()):
                if session.principal.expires_at <= at:
                    session.end(CredentialExpired())
            await asyncio.sleep(_EVERY)

    async def _renew(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                for credential, session in self._open.items():
                    if session.is_due() and (session.renewal is None or session.renewal.done()):
                        renewal = self._again(credential, session)
                        session.renewal = group.create_task(renewal)
                await asyncio.sleep(_EVERY)

    async def _again(self, credential: Credential, session: _Session) -> None:
        async with self._free[session.kind]:
            began = monotonic()
            try:
                principal = await self._verify(credential)
            except (CredentialInvalid, CredentialExpired):
                session.end(CredentialExpired())
            except CodeQError as error:
                session.doubt(began, error)
            except Exception:  # noqa: BLE001 - logged in full; the others are looked after
                _log.exception("a credential could not be verified anew")
                session.doubt(began, IdentityUnavailable())
            else:
                if _rights(principal) != _rights(session.principal):
                    session.end(CredentialChanged())
                session.principal, session.verified_at = principal, began


def _rights(principal: Principal) -> tuple[object, ...]:
    return principal.reach, principal.scopes, principal.subject
