"""A lean worker: many streams in one process, and reports in large batches."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from time import monotonic
from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq.v1.task_pb2 import LeaseRef
    from codeq_grpc.client import Client

_REPORT: Final = 500
_CALLS: Final = 4


class Consumer:
    """Reads streams. `arrived` gets the payload and the time of its arrival and gives the number;
    `ended` gets the number when the server has taken its end.
    """

    def __init__(
        self, arrived: Callable[[bytes, float], int | None], ended: Callable[[int], None]
    ) -> None:
        self._arrived = arrived
        self._ended = ended
        self._pending: deque[tuple[LeaseRef, int]] = deque()
        self._work = asyncio.Event()
        self.opened = 0
        self.reports = True
        """Whether tasks are ended; else they stay leased."""

    async def stream(self, client: Client, request: pb.StreamClaimRequest) -> None:
        """Reads one stream until cancelled."""
        async with aclosing(client.stream_claim(request)) as messages:
            async for message in messages:
                kind = message.WhichOneof("message")
                if kind == "opened":
                    self.opened += 1
                elif kind == "batch":
                    self._take(message.batch)
                elif kind in {"directive", "drain"}:
                    raise RuntimeError(f"unexpected in a bench: {message}")

    def _take(self, batch: pb.ClaimedTasks) -> None:
        now = monotonic()
        for task in batch.tasks:
            number = self._arrived(task.spec.payload.data, now)
            if number is not None:
                self._pending.append((task.lease, number))
        if self.reports:
            self._work.set()

    async def report(self, clients: Sequence[Client]) -> None:
        """Ends what has arrived, until cancelled; so many calls at a time."""
        async with asyncio.TaskGroup() as group:
            for at in range(_CALLS):
                group.create_task(self._report(clients[at % len(clients)]))

    async def _report(self, client: Client) -> None:
        while True:
            while not self._pending or not self.reports:
                self._work.clear()
                await self._work.wait()
            size = min(_REPORT, len(self._pending))
            batch = [self._pending.popleft() for _ in range(size)]
            response = await client.report(
                [pb.Outcome(complete=pb.CompleteRequest(lease=lease)) for lease, _ in batch]
            )
            refused = {failure.index for failure in response.failures}
            for at, (_, number) in enumerate(batch):
                if at not in refused:
                    self._ended(number)


def request(
    commands: Sequence[str], outstanding: int, *, batch: int = 100, lease: int = 300
) -> pb.StreamClaimRequest:
    """What a stream asks for."""
    made = pb.StreamClaimRequest(
        worker_id="bench",
        commands=commands,
        max_outstanding=outstanding,
        max_batch_size=min(batch, outstanding),
        disconnect_policy=pb.DISCONNECT_POLICY_KEEP,
    )
    made.lease_duration.FromSeconds(lease)
    return made
