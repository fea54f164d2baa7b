"""The scripts without gRPC: one process that calls TaskStore, a few calls in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from bench.drivers.talking import cpu_seconds, job, say, told
from bench.numbered import Book, Damaged, payloads
from codeq.v1.task_pb2 import TaskSpec
from codeq_grpc.client.payloads import encode
from codeq_grpc.core.records import NewTask
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.core.task import Ending
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.registry import Registry
from codeq_grpc.store.rows import lease_of, pack_claimant, pack_new
from codeq_grpc.store.tasks import DONE, Claimant, Report, TaskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.store.keys import Queue

_CLAIM_BYTES = 3 << 20


class Direct:
    """Enqueues, claims and reports on one queue."""

    def __init__(self, store: TaskStore, queue: Queue, work: Any) -> None:
        self._store = store
        self._queue = queue
        self._work = work
        self._claimant = Claimant(pack_claimant("", "bench"), work.batch, 300_000)
        self._held: deque[tuple[Report, int]] = deque()
        self.book = Book(work.tasks)
        self.made = 0
        self.changed = monotonic()

    async def enqueue(self, data: Iterator[bytes]) -> None:
        """Enqueues what there is, batch by batch; several may share the source."""
        while part := list(islice(data, self._work.batch)):
            new = [_new(one) for one in part]
            added = await self._store.enqueue(self._queue, new)
            if added.specials:
                raise RuntimeError(f"not simply added: {added.specials}")
            self.made += len(part)

    async def claim(self) -> int:
        """Claims a batch and checks it; how many there were."""
        claimed = await self._store.claim(self._queue, [self._claimant], max_bytes=_CLAIM_BYTES)
        for name, row, spec, _ in claimed.tasks:
            try:
                number = self.book.handle(TaskSpec.FromString(spec).payload.data)
            except Damaged:
                continue
            fence = lease_of(row)[0]
            self._held.append((Report(name, fence, Ending.COMPLETE), number))
        return len(claimed.tasks)

    async def report(self) -> int:
        """Ends a batch of what is held; how many there were."""
        size: int = min(self._work.batch, len(self._held))
        batch = [self._held.popleft() for _ in range(size)]
        verdicts, _ = await self._store.report(self._queue, [one for one, _ in batch])
        for (_, number), verdict in zip(batch, verdicts, strict=True):
            if verdict.word == DONE:
                self.book.end(number)
                self.changed = monotonic()
        return size

    async def cycle(self) -> None:
        """Claims and reports until all is done, or nothing comes any more."""
        while not self.book.whole and monotonic() - self.changed < 3:
            if not await self.claim() and not self._held:
                await asyncio.sleep(0.002)
            while self._held:
                await self.report()

    async def claim_all(self) -> None:
        """Claims while there is something."""
        while await self.claim():
            pass

    async def report_all(self) -> None:
        """Reports while there is something."""
        while self._held:
            await self.report()


def _new(data: bytes) -> tuple[bytes, bytes, bytes]:
    body = TaskSpec(payload=encode(data)).SerializeToString()
    return pack_new(NewTask("bench", b"\n\x05bench", body))


async def _phases(direct: Direct, work: Any) -> None:
    """One kind of call after the other, for the store's cost of each."""
    for name in ("enqueue", "claim", "report"):
        await told()
        source = payloads(0, work.tasks, fault=work.fault)
        async with asyncio.TaskGroup() as group:
            for _ in range(work.flows):
                if name == "enqueue":
                    group.create_task(direct.enqueue(source))
                else:
                    group.create_task(
                        direct.claim_all() if name == "claim" else direct.report_all()
                    )
        say(phase=name, **direct.book.verdict())


async def _mixed(direct: Direct, work: Any) -> None:
    """All at once, on the clock."""
    await told()
    used, began = cpu_seconds(), monotonic()
    source = payloads(0, work.tasks, fault=work.fault)
    async with asyncio.TaskGroup() as group:
        for _ in range(work.flows):
            group.create_task(direct.enqueue(source))
            group.create_task(direct.cycle())
    say(
        seconds=direct.changed - began,
        cpu=cpu_seconds() - used,
        made=direct.made,
        **direct.book.verdict(),
    )


async def main() -> None:
    """As the job says."""
    work = job()
    connection = Connection(work.store)
    queue = await Registry(connection).open("bench", work.queue)
    store = TaskStore(connection, retry=RetryPolicy(), lease_ms=300_000)
    direct = Direct(store, queue, work)
    say(ready=True)
    await (_phases if work.phases else _mixed)(direct, work)
    await told()
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
