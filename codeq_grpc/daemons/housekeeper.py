"""Does codeQ's own chores: a worker of the system tenant's queues inside the server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.errors import CodeQError, Draining
from codeq_grpc.core.principal import Reach
from codeq_grpc.core.records import Beat, Outcome
from codeq_grpc.core.task import Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from codeq_grpc.broker.claims import Claims
    from codeq_grpc.broker.reports import Reports
    from codeq_grpc.core.records import Lease
    from codeq_grpc.store.registry import Registry

    Chore = Callable[[], Awaitable[Mapping[str, Any]]]

_log = logging.getLogger(__name__)
_LEASE_MS: Final = 60_000
_BEAT: Final = 15.0
_WAIT: Final = 30.0
_ENSURE: Final = 3_600.0
"""Seconds between looks whether the schedules are there."""
_NAP: Final = 5.0


class Housekeeper:
    """One chore at a time. `result` and `failure` make the messages of what came of it; `ensure`
    makes the schedules, if they are not there.
    """

    def __init__(
        self,
        tenant: str,
        registry: Registry,
        chores: Mapping[str, Chore],
        ensure: Callable[[], Awaitable[None]],
        *,
        result: Callable[[Mapping[str, Any]], bytes],
        failure: Callable[[str, str], bytes],
        worker_id: str,
    ) -> None:
        self._reach = Reach(tenant)
        self._registry = registry
        self._chores = chores
        self._ensure = ensure
        self._result = result
        self._failure = failure
        self._worker_id = worker_id

    async def run(self, claims: Claims, reports: Reports) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_schedules())
            group.create_task(self._work(claims, reports))

    async def _keep_schedules(self) -> None:
        while True:
            try:
                await self._ensure()
            except CodeQError as error:
                _log.info("codeQ's own schedules are looked at again: %s", error)
                await asyncio.sleep(_NAP)
            else:
                await asyncio.sleep(_ENSURE)

    async def _work(self, claims: Claims, reports: Reports) -> None:
        commands = list(self._chores)
        while True:
            try:
                leases = await self._claim(claims, commands)
                for lease in leases:
                    await self._do(lease, reports)
            except Draining:
                return
            except CodeQError:
                # The store is away, which others tell of; an unreported lease ends by itself.
                await asyncio.sleep(_NAP)

    async def _claim(self, claims: Claims, commands: Sequence[str]) -> list[Lease]:
        return await claims.claim(
            self._reach.tenant,
            commands,
            self._worker_id,
            want=1,
            lease_ms=_LEASE_MS,
            wait=_WAIT,
        )

    async def _do(self, lease: Lease, reports: Reports) -> None:
        found = await self._registry.of_task(self._reach, lease.task_id)
        if found is None:
            return
        working = asyncio.ensure_future(self._chores[found[0].command]())
        beating = asyncio.ensure_future(self._beat(lease, reports))
        try:
            await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await reports.report(self._reach, [self._outcome(lease, working)])
        finally:
            for task in (working, beating):
                task.cancel()
            await asyncio.wait({working, beating})

    def _outcome(self, lease: Lease, working: asyncio.Future[Mapping[str, Any]]) -> Outcome:
        error = working.exception()
        if error is None:
            text = self._result(working.result())
            return Outcome(lease.task_id, lease.fence, Ending.COMPLETE, text)
        _log.warning("a chore of codeQ failed: %s", error)
        text = self._failure("chore", str(error))
        # What it found would be found again; only what passes by itself is tried again.
        final = not isinstance(error, CodeQError)
        return Outcome(
            lease.task_id, lease.fence, Ending.FAIL, text, no_retry=final, error_type="chore"
        )

    async def _beat(self, lease: Lease, reports: Reports) -> None:
        """Until the lease is lost, or the task is to be cancelled."""
        while True:
            await asyncio.sleep(_BEAT)
            with contextlib.suppress(CodeQError):
                if await reports.heartbeat(self._reach, [Beat(lease.task_id, lease.fence)]):
                    return
