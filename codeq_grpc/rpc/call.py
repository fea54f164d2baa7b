"""One call on its way through the server: its places, its turn, its end and what is told of it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc

from codeq_grpc.core import limits
from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialExpired,
    CredentialInvalid,
    CredentialMissing,
    MalformedMessage,
    StoreUnavailable,
    TooManyFailures,
)
from codeq_grpc.rpc.budgets import address_of
from codeq_grpc.rpc.context import CREDENTIAL, FORBIDDEN, PRINCIPAL, time_remaining
from codeq_grpc.rpc.turns import weight_of
from codeq_grpc.wire.errors import DETAILS_KEY, to_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.rpc.arrivals import Arrivals
    from codeq_grpc.rpc.audit import Auditor
    from codeq_grpc.rpc.budgets import Budgets, Failures
    from codeq_grpc.rpc.room import Share
    from codeq_grpc.rpc.sessions import Ending, Sessions
    from codeq_grpc.rpc.turns import Work

    Context = grpc.aio.ServicerContext[Any, Any]

_log = logging.getLogger(__name__)
_CALL_TIME: Final = limits.WAIT_MAX_MS / 1000 + 15
"""Seconds after which a unary call ends, whatever the client's deadline."""
_ANSWER_TIME: Final = 0.1
"""Seconds kept of the client's deadline, a fifth of it at most, to answer that the store did
not."""


class _Malformed:
    """Stands for a request that could not be parsed: grpc would answer UNKNOWN by itself."""


MALFORMED: Final = _Malformed()
"""What such a request is."""


def check_parsed(request: Any) -> None:
    """Raises MalformedMessage."""
    if request is MALFORMED:
        raise MalformedMessage


def _is_cancelled() -> bool:
    """Whether it is this task that shall end. Not in line: a frame that knows its own task would
    keep all that the call had, its request above all, until Python looks for cycles.
    """
    task = asyncio.current_task()
    return task is not None and bool(task.cancelling())


class Concerns(NamedTuple):
    """What every call has to do with."""

    budgets: Budgets
    failures: Failures
    sessions: Sessions
    auditor: Auditor
    work: Work


class Call:
    """One call on its way through the server."""

    def __init__(self, method: str, request_id: str, concerns: Concerns) -> None:
        self.method = method
        self.request_id = request_id
        self.share: Share | None = None
        self.identify: Callable[[Context], None] | None = None
        """What is left of the authentication, where that needs the connection."""
        self._size = 0
        self._budget = concerns.budgets.of(method)
        self._concerns = concerns
        self._began = monotonic()
        self._ending: Ending | None = None

    def came(self, size: int) -> None:
        """Its request is there, of so many bytes."""
        self._size = size
        if self.share is not None:
            self.share.came(size)

    async def serve(
        self,
        behaviour: Any,
        request: Any,
        context: Context,
        arrivals: Arrivals | None,
        *,
        timed: bool,
    ) -> Any:
        """Runs the behaviour; whatever it raises becomes a status. With `arrivals` the request is
        still to come.
        """
        context.set_trailing_metadata((("x-request-id", self.request_id),))
        try:
            share = self._enter(context)
            if arrivals is not None:
                request = await arrivals.read(context, share)
            check_parsed(request)
            async with asyncio.timeout(self._limit(context) if timed else None) as limit:
                if timed and (turn := self._turn(request)):
                    await turn
                result = await self._run(behaviour, request, context, limit)
        except CodeQError as error:
            await self.abort(context, error)
        except TimeoutError:
            late = StoreUnavailable("the store did not answer in time")
            await self.abort(context, (self._ending and self._ending.error) or late)
        except grpc.aio.AbortError:
            raise
        except asyncio.CancelledError:
            if _is_cancelled():
                self._log(logging.DEBUG, "CANCELLED")
                self._concerns.auditor.ended(self.method, self.request_id, context.peer(), None)
                raise
            # Not the peer: something inside was cancelled. grpc would send no status at all.
            await self.abort(context, StoreUnavailable("the call was interrupted; repeat it"))
        except Exception:  # noqa: BLE001 - logged in full, told as INTERNAL
            _log.exception("call broke", extra={"method": self.method})
            await self.abort(context, CodeQError(f"internal error, request id {self.request_id}"))
        else:
            self._done(context)
            return result
        finally:
            self._leave()

    def _enter(self, context: Context) -> Share:
        """Takes a place, for whoever calls; what the call has of the room, nothing yet."""
        address = address_of(context.peer())
        if self.identify is not None:
            try:
                self.identify(context)
            except (CredentialMissing, CredentialInvalid, CredentialExpired) as error:
                raise self._concerns.failures.count(address, error) from None
        principal = PRINCIPAL.get(None)
        share = self.share = self._budget.share(principal, address)
        leave: Any = self._budget.take(principal, address)
        context.add_done_callback(leave)
        return share

    async def _run(
        self, behaviour: Any, request: Any, context: Context, limit: asyncio.Timeout
    ) -> Any:
        credential, sessions = CREDENTIAL.get(None), self._concerns.sessions
        if credential is None:
            return await behaviour(request, context)
        principal = PRINCIPAL.get()
        verified_at = await sessions.confirmed(credential, principal, self._began)
        with sessions.during(credential, principal, limit, verified_at) as self._ending:
            return await behaviour(request, context)

    def _turn(self, request: Any) -> asyncio.Future[None] | None:
        principal = PRINCIPAL.get(None)
        if principal is None:  # health, which anybody may ask
            return None
        return self._concerns.work.enter(self, principal.tenant, weight_of(request, self._size))

    def rest(self) -> None:
        """Gives up the place among the calls at work."""
        self._concerns.work.leave(self)

    def _leave(self) -> None:
        if self.share is not None:
            self.share.end()
        self.rest()

    def _done(self, context: Context) -> None:
        self._log(logging.DEBUG, "OK")
        if (denied := FORBIDDEN.get(None)) is not None:
            who = PRINCIPAL.get()
            self._concerns.auditor.denied(who, self.method, self.request_id, context.peer(), denied)

    def _limit(self, context: Context) -> float:
        remaining = time_remaining(context)
        if remaining is None:
            return _CALL_TIME
        if remaining <= 0:
            raise StoreUnavailable("the deadline has passed; nothing was done")
        return min(_CALL_TIME, max(remaining - _ANSWER_TIME, remaining * 0.8))

    async def abort(
        self, context: Context, error: CodeQError, *, told: CodeQError | None = None
    ) -> None:
        """Ends the call with the error's status and details; `told` is what the audit trail is
        told instead.
        """
        self._concerns.auditor.ended(self.method, self.request_id, context.peer(), told or error)
        if type(error) is CodeQError:
            _log.error("internal error: %s", error.message, extra={"method": self.method})
            error = CodeQError(f"internal error, request id {self.request_id}")
        code, message, details = to_status(error)
        level = logging.DEBUG if type(error) is TooManyFailures else logging.INFO
        self._log(level, code.name, reason=error.reason, detail=message)
        await context.abort(
            code, message, ((DETAILS_KEY, details), ("x-request-id", self.request_id))
        )

    def _log(self, level: int, code: str, **more: str) -> None:
        if not _log.isEnabledFor(level):
            return
        principal = PRINCIPAL.get(None)
        who = {"subject": principal.subject, "tenant": principal.tenant} if principal else {}
        took = round((monotonic() - self._began) * 1000, 1)
        _log.log(
            level,
            "call",
            extra={"method": self.method, "code": code, "took_ms": took, **who, **more},
        )
