"""Handlers in processes: what they are given, how they end, and that only they end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import ClaimedTask, Payload, TaskError
from codeq_grpc.client import encode
from codeq_grpc.worker import TaskContext, Worker, in_process, outcomes
from codeq_grpc.worker.frames import PROCESS_NAME, Kind, Unframer, frame
from codeq_grpc.worker.processes import Processes
from tests.unit import process_handlers as handlers
from tests.unit.scripted import Scripted, cancel, serving, until
from tests.unit.test_worker_intake import working

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENCE = 40.0
"""Seconds; a process imports all of the SDK, on a busy machine."""


@asynccontextmanager
async def pool(count: int | None) -> AsyncIterator[Processes]:
    processes = Processes(count)
    try:
        yield processes
    finally:
        await processes.close()
        assert processes.pids == []


def context(payload: bytes = b"", fence: int = 1) -> TaskContext:
    task = ClaimedTask(attempt=2, max_attempts=5, checkpoint=encode([1]))
    task.lease.task_id, task.lease.fence = "t", fence
    task.spec.command = "c"
    task.spec.payload.data = payload
    task.spec.headers["k"] = "v"
    return TaskContext(task)


async def value(
    processes: Processes, handler: Callable[[TaskContext], object], payload: bytes = b""
) -> Any:
    payload = (await processes.call(in_process(handler), context(payload)) or Payload()).data
    return json.loads(payload)


async def error(processes: Processes, how: str) -> TaskError:
    with pytest.raises((outcomes.Told, outcomes.Retry)) as caught:
        await processes.call(in_process(handlers.end), context(how.encode()))
    return outcomes.describe(caught.value)


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def begun(folder: Path, fence: int) -> int:
    """The process that runs a handler, once it does."""
    file = folder / f"begun.{fence}"
    await until(file.exists, within=PATIENCE)
    return int(file.read_text())


async def test_a_process_is_given_the_whole_task_and_kept_for_the_next() -> None:
    async with pool(1) as processes:
        assert processes.pids == []
        assert await value(processes, handlers.everything, b'{"n":1}') == {
            "task_id": "t",
            "fence": 1,
            "command": "c",
            "attempt": [2, 5],
            "json": {"n": 1},
            "content_type": "",
            "headers": {"k": "v"},
            "checkpoint": [1],
            "flags": [False, False],
        }
        (pid,) = processes.pids
        assert pid != os.getpid()
        assert await value(processes, handlers.pid) == pid
        assert await value(processes, handlers.Adder(3), b"4") == 7


async def test_ends_are_told_as_those_of_other_handlers_are() -> None:
    async with pool(1) as processes:
        told = await error(processes, "retry")
        assert (told.type, told.message, told.retry_delay.seconds) == ("OSError", "later", 7)
        told = await error(processes, "reject")
        assert (told.type, told.message, told.non_retryable) == ("bad", "never", True)
        told = await error(processes, "error")
        assert (told.type, told.message) == ("KeyError", "'no'")
        assert told.detail.startswith("Traceback")
        assert "process_handlers.py" in told.detail
        assert (await error(processes, "system exit")).type == "SystemExit"
        assert (await error(processes, "interrupt")).type == "KeyboardInterrupt"
        assert (await error(processes, "no json")).type == "TypeError"
        told = await error(processes, "large")
        assert (told.type, told.non_retryable) == ("PAYLOAD_TOO_LARGE", True)
        call, task = in_process(handlers.end), context(b"largest")
        result = await processes.call(call, task)
        assert result is not None
        assert len(result.data) == 1 << 20
        assert await processes.call(call, context(b"nothing")) is None
        assert len(processes.pids) == 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "ended with exit code 3"),
        ("kill", "was ended by SIGKILL"),
        ("segfault", "was ended by SIGSEGV"),
        ("child", "ended with exit code 4"),
    ],
)
async def test_a_process_that_dies_costs_the_attempt_it_ran_and_nothing_else(
    how: str, said: str, tmp_path: Path
) -> None:
    beside = context(json.dumps({"folder": str(tmp_path)}).encode(), fence=7)
    async with pool(2) as processes:
        other = asyncio.create_task(processes.call(in_process(handlers.hold), beside))
        survivor = await begun(tmp_path, 7)
        told = await error(processes, how)
        assert (told.type, told.non_retryable) == ("WorkerProcessDied", False)
        assert told.message == f"the process that ran this attempt {said}"
        assert processes.pids == [survivor]
        replacement = await value(processes, handlers.pid)
        assert set(processes.pids) == {survivor, replacement}
        (tmp_path / "go").touch()
        assert await other == encode("done")


async def test_an_idle_process_that_dies_costs_nothing() -> None:
    async with pool(1) as processes:
        pid = await value(processes, handlers.pid)
        os.kill(pid, signal.SIGKILL)
        assert await value(processes, handlers.pid) not in {0, pid}


async def test_tasks_beyond_the_processes_wait(tmp_path: Path) -> None:
    payload, call = json.dumps({"folder": str(tmp_path)}).encode(), in_process(handlers.hold)
    async with pool(2) as processes:
        runs = [
            asyncio.create_task(processes.call(call, context(payload, fence)))
            for fence in range(1, 6)
        ]
        await begun(tmp_path, 1)
        await begun(tmp_path, 2)
        assert len(processes.pids) == 2
        assert not (tmp_path / "begun.3").exists()
        (tmp_path / "go").touch()
        await asyncio.wait(runs)
        assert len({(tmp_path / f"begun.{n}").read_text() for n in range(1, 6)}) <= 2


def test_what_no_process_can_run_is_refused_when_registered() -> None:
    def local(task: TaskContext) -> None: ...

    no_number: Any = local
    for asynchronous in (handlers.asynchronous, handlers.Asynchronous()):
        with pytest.raises(ValueError, match="asynchronous"):
            in_process(asynchronous)
    for hidden in (local, lambda task: None, handlers.Adder(no_number)):
        with pytest.raises(ValueError, match="top level of a module"):
            in_process(hidden)
    with pytest.raises(ValueError, match="at least 1"):
        Processes(0)
    assert in_process(handlers.Adder(1))(context(b"2")) == 3


async def test_or_at_the_latest_when_the_worker_starts() -> None:
    scripted = Scripted()
    async with serving(scripted) as client:
        worker = Worker(client)
        worker.handler("c", processes=True)(handlers.hidden)
        with pytest.raises(ValueError, match="not the same object"):
            await worker.run()
    assert not scripted.streams


async def test_a_process_for_handlers_does_not_work_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    named = SimpleNamespace(name=PROCESS_NAME)
    monkeypatch.setattr("multiprocessing.current_process", lambda: named)
    async with serving(Scripted()) as client:
        with pytest.raises(RuntimeError, match="__main__"):
            await Worker(client, {"c": handlers.pid}).run()


async def test_progress_and_checkpoints_come_out() -> None:
    scripted = Scripted()
    scripted.offer("c")
    async with working(scripted, in_process(handlers.tell), processes=1):
        await until(lambda: scripted.outcomes, within=PATIENCE)
    ((_, told),) = scripted.progress
    assert (told.fraction, told.message, told.checkpoint.data) == (0.5, "half", b'{"row":7}')
    assert scripted.outcomes[0].fail.error.type == "Retry"


async def test_progress_is_checked_inside() -> None:
    async with pool(1) as processes:
        with pytest.raises(outcomes.Told, match="fraction must be 0 to 1"):
            await processes.call(in_process(handlers.tell_nonsense), context())


async def test_a_handler_that_looks_hears_of_its_cancellation(tmp_path: Path) -> None:
    scripted = Scripted()
    payload = json.dumps({"folder": str(tmp_path)}).encode()
    for _ in range(3):
        scripted.offer("c", payload)
    async with working(scripted, in_process(handlers.hold), processes=2):
        await begun(tmp_path, 1)
        pid = await begun(tmp_path, 2)
        for fence in (3, 2):  # one that waits for a process, one that runs
            say(scripted, cancel(fence, "why"))
        await until(lambda: len(scripted.ends()) == 2)
        errors = {one.fail.lease.fence: one.fail.error for one in scripted.outcomes}
        assert {n: (e.type, e.message) for n, e in errors.items()} == {
            2: ("cancelled", "why"),
            3: ("cancelled", "why"),
        }
        scripted.offer("c", payload)
        assert await begun(tmp_path, 4) == pid
        (tmp_path / "go").touch()
        await until(lambda: len(scripted.ends()) == 4)
    assert not (tmp_path / "begun.3").exists()


async def test_one_that_does_not_look_completes(tmp_path: Path) -> None:
    scripted = Scripted()
    scripted.offer("c", json.dumps({"folder": str(tmp_path)}).encode())
    async with working(scripted, in_process(handlers.stubborn), processes=1):
        await begun(tmp_path, 1)
        say(scripted, cancel(1, "why"))
        (tmp_path / "go").touch()
        await until(lambda: scripted.outcomes)
    assert scripted.outcomes[0].complete.result.data.startswith(b'"kept: ')


async def test_a_lost_lease_ends_its_process_and_what_that_has_started(tmp_path: Path) -> None:
    scripted, folders = Scripted(), [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        folder.mkdir()
        scripted.offer("c", json.dumps({"folder": str(folder)}).encode())
    lost = pb.Directive(lease=cancel(1).lease, kind=pb.DIRECTIVE_KIND_LEASE_LOST)
    async with working(scripted, in_process(handlers.stubborn), processes=2):
        pid, other = [await begun(folder, n) for n, folder in enumerate(folders, 1)]
        say(scripted, lost)
        await until(lambda: is_gone(pid) and is_gone(int((folders[0] / "child").read_text())))
        assert not is_gone(other)
        (folders[1] / "go").touch()
        await until(lambda: scripted.ends() == {2: "complete"})


async def test_drain_waits_for_processes_and_leaves_none(tmp_path: Path) -> None:
    scripted = Scripted()
    scripted.offer("c", json.dumps({"folder": str(tmp_path)}).encode())
    async with working(scripted, in_process(handlers.hold), processes=1) as (worker, run):
        pid = await begun(tmp_path, 1)
        worker.drain()
        await until(lambda: not scripted.open_streams())
        assert not run.done()
        (tmp_path / "go").touch()
        await run
        assert is_gone(pid)
    assert scripted.ends() == {1: "complete"}


async def test_abort_gives_back_at_once_and_ends_processes(tmp_path: Path) -> None:
    scripted = Scripted()
    for _ in range(2):  # one that runs, one that waits for a process
        scripted.offer("c", json.dumps({"folder": str(tmp_path)}).encode())
    async with working(scripted, in_process(handlers.stubborn), processes=1) as (worker, run):
        pid = await begun(tmp_path, 1)
        worker.abort()
        await run
        assert is_gone(pid)
    assert scripted.ends() == {1: "abandon", 2: "abandon"}


async def test_nor_does_a_worker_leave_any_that_is_cancelled_twice(tmp_path: Path) -> None:
    class Silent(Scripted):
        async def Report(self, request: pb.ReportRequest, context: Any) -> pb.ReportResponse:
            reporting.set()
            await asyncio.Event().wait()
            raise AssertionError

    scripted, reporting = Silent(), asyncio.Event()
    scripted.offer("c", json.dumps({"folder": str(tmp_path)}).encode())
    scripted.offer("d")
    async with serving(scripted) as client:
        worker = Worker(client, {"d": in_process(handlers.pid)}, processes=2)
        worker.handler("c", processes=True)(handlers.stubborn)
        run = asyncio.create_task(worker.run())
        busy = await begun(tmp_path, 1)
        await until(reporting.is_set, within=PATIENCE)
        pids = worker._handlers._processes.pids
        assert busy in pids
        assert len(pids) == 2
        run.cancel()
        await until(lambda: is_gone(busy))
        assert not run.done()
        run.cancel()
        await asyncio.wait({run}, timeout=PATIENCE)
        assert all(is_gone(pid) for pid in pids)


def say(scripted: Scripted, directive: pb.Directive) -> None:
    scripted.streams[0].say.put_nowait(pb.StreamClaimResponse(directive=directive))


def test_messages_may_come_in_any_pieces() -> None:
    said = [(Kind.TASK, b"abc"), (Kind.BEGUN, b""), (Kind.OUTCOME, b"x" * 300)]
    data = b"".join(frame(kind, body) for kind, body in said)
    for size in (1, 2, 7, len(data)):
        unframer = Unframer()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [one for piece in pieces for one in unframer.feed(piece)] == said
