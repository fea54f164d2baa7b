"""A Python worker with handlers in processes, as users write it: a script, signals, crashes."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED
from tests.acceptance.programs import Program, alive, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.servers import Dev

SCRIPT = """
import asyncio, os, pathlib, sys
from codeq_grpc.client import Client
from codeq_grpc.worker import TaskContext, Worker

client = Client(os.environ["CODEQ_ADDRESS"], token=os.environ["CODEQ_TOKEN"])
worker = Worker(client, concurrency=2, processes=2, lease_duration=2)
here = pathlib.Path(__file__).parent


@worker.handler(sys.argv[1], processes=True)
def compute(task: TaskContext) -> int:
    if task.payload == b"die" and task.attempt == 1:
        os._exit(7)
    (here / f"begun.{os.getpid()}").touch()
    while not (here / "go").exists():
        pass
    return os.getpid()


async def main() -> None:
    async with client:
        await worker.run(install_signal_handlers=True)

"""
GUARDED = SCRIPT + "if __name__ == '__main__':\n    asyncio.run(main())\n"
UNGUARDED = SCRIPT + "asyncio.run(main())\n"


class Scripting(Protocol):
    """Starts a worker of a script, for a `with` statement that ends it."""

    def __call__(self, script: str) -> Program: ...


@pytest.fixture
def scripting(server: Dev, tmp_path: Path, command: str) -> Scripting:
    def start(script: str) -> Program:
        path = tmp_path / "work.py"
        path.write_text(script)
        return Program([sys.executable, str(path), command], env=server.client_env())

    return start


def processes(folder: Path, count: int) -> list[int]:
    """Ids of those that run handlers, once they are so many."""
    wait_until(lambda: len(list(folder.glob("begun.*"))) == count, "the handlers run")
    return [int(file.suffix[1:]) for file in folder.glob("begun.*")]


def test_ctrl_c_at_the_terminal_lets_handlers_finish_and_leaves_no_process(
    api: Api, scripting: Scripting, command: str, tmp_path: Path
) -> None:
    ids = api.enqueue(command, [b"", b""])
    with scripting(GUARDED) as worker:
        pids = processes(tmp_path, 2)
        worker.interrupt()
        worker.wait_for("draining", on="stderr")
        assert all(alive(pid) for pid in pids)
        (tmp_path / "go").touch()
        assert worker.wait() == 0, worker.report()
    assert {api.task(task_id).state for task_id in ids} == {TASK_STATE_COMPLETED}
    assert sorted(int(api.task(task_id).result.data) for task_id in ids) == sorted(pids)
    assert not any(alive(pid) for pid in pids)
    assert "Traceback" not in worker.stderr.text


def test_so_does_a_supervisor_that_tells_every_process_to_end(
    api: Api, scripting: Scripting, command: str, tmp_path: Path
) -> None:
    (task_id,) = api.enqueue(command, [b""])
    with scripting(GUARDED) as worker:
        (pid,) = processes(tmp_path, 1)
        Program(["kill", "-TERM", str(pid)]).wait()
        worker.terminate()
        worker.wait_for("draining", on="stderr")
        (tmp_path / "go").touch()
        assert worker.wait() == 0, worker.report()
    assert api.task(task_id).state == TASK_STATE_COMPLETED


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT])
def test_no_process_survives_a_worker_that_is_killed(
    api: Api, scripting: Scripting, command: str, tmp_path: Path, number: signal.Signals
) -> None:
    api.enqueue(command, [b"", b""])
    with scripting(GUARDED) as worker:
        pids = processes(tmp_path, 2)
        worker.send(number)
        assert worker.wait() == -number
        wait_until(lambda: not any(alive(pid) for pid in pids), "the end of its processes")


def test_a_task_whose_process_died_is_tried_again_by_the_same_worker(
    api: Api, scripting: Scripting, command: str, tmp_path: Path
) -> None:
    (task_id,) = api.enqueue(command, [b"die"])
    (tmp_path / "go").touch()
    with scripting(GUARDED):
        wait_until(lambda: api.task(task_id).state == TASK_STATE_COMPLETED, "the second attempt")
    first, _ = api.task(task_id).attempts
    assert first.error.type == "WorkerProcessDied"
    assert first.error.message == "the process that ran this attempt ended with exit code 7"


def test_a_script_that_forgets_its_guard_is_told_so_and_does_not_multiply(
    api: Api, scripting: Scripting, command: str, tmp_path: Path
) -> None:
    (task_id,) = api.enqueue(command, [b""])
    with scripting(UNGUARDED) as worker:
        wait_until(lambda: api.task(task_id).error.type, "the first attempt fails")
        worker.wait_for('if __name__ == "__main__":', on="stderr")
        error = api.task(task_id).error
        assert error.type == "WorkerProcessDied"
        assert "ended with exit code 1 before it could begin" in error.message
        assert worker.stop() == 0, worker.report()
