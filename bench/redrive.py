"""Redrives many failed tasks by filter while a worker goes on claiming, and says what that cost it.

Starts a server with its embedded store, fails `--tasks` tasks of which one in `--other` has another
error type, then measures unary claims one after the other: while nothing else happens, and while
RedriveTasks filters by error type and redrives, page after page. Claims are made on another queue
and on the redriven one. Prints one table; the ratios matter, not the values.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from bench.machine import store_version
from bench.servers import Server, started
from bench.session import NotMeasured, Session, quantile
from bench.tables import Table
from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc, task_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

FAILED: Final = "DEAD"
OTHER: Final = "LIVE"
WRONG: Final = "TimeoutError"
RARE: Final = "ValueError"
BATCH: Final = 500
WARM: Final = 200
TASKS: Final = 100_000
SHARE: Final = 10
CLAIMS: Final = 3_000


class Calls:
    """The calls of one client."""

    def __init__(self, server: Server) -> None:
        self.channel = grpc.aio.insecure_channel(server.address)
        self._stub = codeq_service_pb2_grpc.CodeQServiceStub(self.channel)
        self._metadata = (("authorization", f"Bearer {server.token}"),)

    async def enqueue(self, command: str, count: int) -> None:
        """Adds tasks of 100 bytes."""
        spec = task_pb2.TaskSpec(command=command, payload=task_pb2.Payload(data=b"x" * 100))
        request = pb.BatchEnqueueRequest(tasks=[spec] * count)
        await self._stub.BatchEnqueue(request, metadata=self._metadata)

    async def claim(self, command: str, count: int) -> list[task_pb2.ClaimedTask]:
        """Leases tasks."""
        request = pb.ClaimRequest(worker_id="bench", commands=[command], max_tasks=count)
        return list((await self._stub.Claim(request, metadata=self._metadata)).tasks)

    async def report(self, outcomes: list[pb.Outcome]) -> None:
        """Ends attempts."""
        request = pb.ReportRequest(outcomes=outcomes)
        response = await self._stub.Report(request, metadata=self._metadata)
        if response.failures:
            raise NotMeasured(f"refused: {response.failures[0]}")

    async def redrive(self, token: str) -> tuple[int, str]:
        """One page of those that failed in the common way."""
        wanted = pb.TaskFilter(command=FAILED, error_type=WRONG)
        selector = pb.TaskSelector(filter=wanted, page_token=token)
        request = pb.RedriveTasksRequest(selector=selector)
        response = await self._stub.RedriveTasks(request, metadata=self._metadata)
        return response.redriven_count, response.next_page_token


def _failure(task: task_pb2.ClaimedTask, kind: str) -> pb.Outcome:
    error = task_pb2.TaskError(type=kind, message="bench", non_retryable=True)
    return pb.Outcome(fail=pb.FailRequest(lease=task.lease, error=error))


async def fail(calls: Calls, count: int, other: int) -> int:
    """Makes dead letters; gives how many have the common error type."""
    common = 0
    for at in range(0, count, BATCH):
        await calls.enqueue(FAILED, min(BATCH, count - at))
        tasks = await calls.claim(FAILED, BATCH)
        kinds = [RARE if (at + i) % other == 0 else WRONG for i in range(len(tasks))]
        await calls.report([_failure(t, kind) for t, kind in zip(tasks, kinds, strict=True)])
        common += kinds.count(WRONG)
    return common


async def claims(calls: Calls, command: str, busy: Callable[[int], bool]) -> list[float]:
    """Claim times in ms, one claim after the other, each completed, while `busy(claims so far)`."""
    took: list[float] = []
    while busy(len(took)):
        await calls.enqueue(command, 1)
        began = time.perf_counter()
        tasks = await calls.claim(command, 1)
        took.append((time.perf_counter() - began) * 1000)
        await calls.report([pb.Outcome(complete=pb.CompleteRequest(lease=t.lease)) for t in tasks])
    return took


async def redrive_all(calls: Calls) -> tuple[int, float]:
    """Everything that failed in the common way; how many, and in what time."""
    began, total, token = time.perf_counter(), 0, ""
    while True:
        count, token = await calls.redrive(token)
        total += count
        if not token:
            return total, time.perf_counter() - began


def largest_script(store: redis.Redis) -> int:
    """Tasks of the largest script call that the slow log has, by its number of arguments: a
    redrive has two a task behind sha, number of keys and keys.
    """
    most = 0
    for entry in store.slowlog_get(100_000):
        found = re.search(rb"\.\.\. \((\d+) more arguments\)", entry["command"])
        words = entry["command"].split(b" ", 3)
        keys = int(words[2]) if words[0].upper() == b"EVALSHA" else 1 << 20
        if found:
            most = max(most, (int(found.group(1)) + 31 - 3 - keys) // 2)
    return most


def _row(table: Table, name: str, times: list[float], base: list[float]) -> None:
    """One line of the table."""
    p99 = quantile(times, 0.99)
    table.add(name, len(times), quantile(times, 0.5), p99, p99 / quantile(base, 0.99))


async def measure(server: Server, tasks: int, other: int, count: int) -> Table:
    """One run."""
    calls, bulk = Calls(server), Calls(server)
    common = await fail(bulk, tasks, other)
    await claims(calls, OTHER, lambda n: n < WARM)
    quiet = await claims(calls, OTHER, lambda n: n < count)
    with server.store() as store:
        store.config_set("slowlog-max-len", 100_000)
        store.config_set("slowlog-log-slower-than", 0)
        store.slowlog_reset()
        work = asyncio.create_task(redrive_all(bulk))
        during = await claims(calls, OTHER, lambda _: not work.done())
        total, seconds = await work
        store.config_set("slowlog-log-slower-than", 10_000)
        largest = largest_script(store)
    table = Table(
        f"redrive: {common:,} of {tasks:,} failed tasks by error type, beside a worker",
        ("claims, one by one", "claims", "p50 ms", "p99 ms", "p99 x quiet"),
    )
    _row(table, "of another queue, quiet", quiet, quiet)
    _row(table, "of another queue, while redriving", during, quiet)
    left = await claims(calls, FAILED, lambda n: n < count)
    _row(table, "of the redriven queue, afterwards", left, quiet)
    table.notes.append(f"redriven {total:,} in {seconds:.1f} s; largest script: {largest} tasks")
    if total != common or largest > BATCH:
        table.faults.append(f"expected {common} redriven, in script calls of {BATCH} at most")
    await calls.channel.close()
    await bulk.channel.close()
    return table


def run(session: Session) -> Iterator[Table]:
    """As the other benches."""
    tasks, count = session.count(TASKS, 1_000), session.count(CLAIMS, 200)
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as server:
        session.store = session.store or store_version(server.store_url)
        yield asyncio.run(measure(server, tasks, SHARE, count))


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--other", type=int, default=SHARE, help="one in so many failed otherwise")
    parser.add_argument("--claims", type=int, default=CLAIMS, help="quiet claims measured")
    args = parser.parse_args()
    print(f"Python {platform.python_version()}, grpcio {grpc.__version__}")
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as server:
        print(store_version(server.store_url))
        table = asyncio.run(measure(server, args.tasks, args.other, args.claims))
    print(table.text())
    if table.faults:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
