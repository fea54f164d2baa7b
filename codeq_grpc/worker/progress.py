"""Progress on its way: from what a handler tells to the heartbeats that carry it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from codeq.v1.codeq_service_pb2 import HeartbeatResponse
from codeq.v1.task_pb2 import Progress
from codeq_grpc.client.payloads import encode
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError, PayloadTooLarge
from codeq_grpc.worker.outcomes import head
from codeq_grpc.worker.refusals import refuses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.client import Client
    from codeq_grpc.worker.leases import Lease

logger = logging.getLogger(__name__)

_HEARTBEAT_BYTES: Final = 128
"""A lease in a heartbeat, without its progress, at most."""
_FLUSH_TIMEOUT: Final = 10.0


def progress(fraction: float, message: str = "", checkpoint: object = None) -> Progress:
    """Progress as the API has it; a checkpoint is what `encode` takes, None is none.

    Raises:
        PayloadTooLarge: The checkpoint is.
        TypeError: It has no JSON form.
        ValueError: `fraction` is not within 0 to 1, or the checkpoint cannot be encoded.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be 0 to 1, not {fraction}")
    told = Progress(fraction=fraction, message=head(message, limits.PROGRESS_MESSAGE_CHARS))
    if checkpoint is not None:
        payload = encode(checkpoint)
        if len(payload.data) > limits.CHECKPOINT_BYTES:
            raise PayloadTooLarge(
                f"the checkpoint has {len(payload.data)} bytes, at most"
                f" {limits.CHECKPOINT_BYTES} are kept; store it elsewhere and keep where"
            )
        told.checkpoint.CopyFrom(payload)
    return told


def merged(older: Progress | None, newer: Progress | None) -> Progress | None:
    """The newer of both, which keeps the older's checkpoint unless it has one of its own."""
    if newer is None or older is None:
        return newer or older
    if older.HasField("checkpoint") and not newer.HasField("checkpoint"):
        newer.checkpoint.CopyFrom(older.checkpoint)
    return newer


def cut(leases: list[Lease]) -> Iterator[list[Lease]]:
    """Batches that fit in a heartbeat with what they have to tell."""
    batch: list[Lease] = []
    size = 0
    for lease in leases:
        cost = _HEARTBEAT_BYTES + (lease.news.ByteSize() if lease.news else 0)
        if batch and (len(batch) >= limits.BATCH_TASKS or size + cost > limits.BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(lease)
        size += cost
    if batch:
        yield batch


class Teller:
    """Sends heartbeats with the progress that was not told yet."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def beat(
        self, leases: list[Lease], *, timeout: float, ended: bool = False
    ) -> HeartbeatResponse:
        """One heartbeat for leases that fit in one; what it could not tell stays to be told.

        It carries the progress of those that have `ended`, or of those that have not.

        Raises:
            CodeQError: The call failed.
        """
        through = asyncio.Event()
        news = [lease.take_news(through) if lease.reporting == ended else None for lease in leases]
        try:
            return await self._client.heartbeat(
                [lease.ref for lease in leases], progress=news, timeout=timeout
            )
        except BaseException as error:
            for lease, told in zip(leases, news, strict=True):
                lease.news = merged(told, lease.news)
            if not any(news) or not isinstance(error, CodeQError) or not refuses(error):
                raise
            refusal = error
        finally:
            through.set()
        if len(leases) == 1:
            logger.error("progress refused: %s: %s", leases[0].context, refusal)
            leases[0].news = None
        return await self._halves(leases, timeout=timeout, ended=ended)

    async def flush(self, leases: list[Lease]) -> None:
        """Tells what these, which have ended, still have to tell.

        Raises:
            CodeQError: A call failed.
        """
        for lease in leases:
            if lease.telling is not None:
                await lease.telling.wait()
        for batch in cut([lease for lease in leases if lease.news is not None]):
            await self.beat(batch, timeout=_FLUSH_TIMEOUT, ended=True)

    async def _halves(
        self, leases: list[Lease], *, timeout: float, ended: bool
    ) -> HeartbeatResponse:
        """Finds out whose progress it is that the server refuses."""
        response = HeartbeatResponse()
        middle = (len(leases) + 1) // 2
        for part in filter(None, (leases[:middle], leases[middle:])):
            answer = await self.beat(part, timeout=timeout, ended=ended)
            response.directives.extend(answer.directives)
        return response
