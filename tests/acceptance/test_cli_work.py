"""`codeq work`: any program is a worker, and what becomes of it is what becomes of its task."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_PENDING
from codeq_grpc.worker.worker import _SAME_SIGNAL
from tests.acceptance.programs import alive, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq, Working


def test_a_program_that_fails_is_tried_again_and_then_failed_with_its_last_words(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    script = "echo try $CODEQ_ATTEMPT >&2; echo no disk left >&2; exit 3"
    task_id = codeq("enqueue", command, "--max-attempts", "2").out.strip()
    with working(command, "--json", "--exec", f"sh -c '{script}'") as worker:
        assert codeq("tasks", "show", task_id, "--wait", "20s").code == 0
        wait_until(lambda: len(worker.stdout.text.splitlines()) == 2, "both attempts are told")
    task = api.task(task_id)
    assert (task.state, task.attempt) == (TASK_STATE_FAILED, 2)
    assert (task.error.type, task.error.message) == ("exit.3", "no disk left")
    assert task.error.detail == "try 2\nno disk left\n"
    told = [json.loads(line) for line in worker.stdout.text.splitlines()]
    assert [(line["attempt"], line["end"]) for line in told] == [
        (1, "ATTEMPT_FAILED"),
        (2, "ATTEMPT_FAILED"),
    ]
    assert api.queue(command).failed == 1
    shown = codeq("tasks", "show", task_id, "--full").out
    assert "exit.3: no disk left" in shown
    assert "try 2" in shown


def test_a_program_that_succeeds_at_last_completes_its_task(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    task_id = codeq("enqueue", command, "--max-attempts", "3").out.strip()
    with working(command, "--exec", "sh -c 'echo $CODEQ_ATTEMPT; [ $CODEQ_ATTEMPT = 2 ]'"):
        codeq("tasks", "show", task_id, "--wait", "20s")
    task = api.task(task_id)
    assert (task.state, task.result.data) == (TASK_STATE_COMPLETED, b"2\n")


def test_a_program_learns_of_its_task_from_its_environment(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    task_id = codeq("enqueue", command, "--header", "trace-id=x y").out.strip()
    show = "echo $CODEQ_TASK_ID $CODEQ_COMMAND $CODEQ_ATTEMPT $CODEQ_FENCE $CODEQ_HEADER_TRACE_ID"
    with working(command, "--exec", f'sh -c "{show}"'):
        codeq("tasks", "show", task_id, "--wait", "20s")
    words = api.task(task_id).result.data.decode().split()
    assert words[:3] == [task_id, command, "1"]
    assert int(words[3]) > 0
    assert words[4:] == ["x", "y"]


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(
    codeq: Codeq, api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    script = "sleep 300 & echo $! > child; wait"
    task_id = codeq("enqueue", command, "--max-attempts", "1").out.strip()
    with working(command, "--timeout", "300ms", "--exec", f"sh -c '{script}'"):
        codeq("tasks", "show", task_id, "--wait", "20s")
    assert api.task(task_id).error.type == "timeout"
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not alive(child), "the end of the program's own child")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_running_programs_finish_and_leaves_the_rest(
    api: Api, working: Working, command: str, tmp_path: Path, number: signal.Signals
) -> None:
    script = "touch started.$CODEQ_TASK_ID; while [ ! -e gate ]; do sleep 0.02; done; echo done"
    ids = api.enqueue(command, [b""] * 10)
    with working(command, "--concurrency", "2", "--exec", f"sh -c '{script}'") as worker:
        wait_until(lambda: len(list(tmp_path.glob("started.*"))) == 2, "two programs run")
        worker.send(number)
        worker.wait_for("draining", on="stderr")
        (tmp_path / "gate").touch()
        assert worker.wait() == 0, worker.report()
    states = [api.task(task_id).state for task_id in ids]
    assert sorted(states) == [TASK_STATE_PENDING] * 8 + [TASK_STATE_COMPLETED] * 2
    assert {api.task(task_id).attempt for task_id in ids} == {0, 1}


def test_a_second_signal_gives_back_what_runs_uncounted(
    api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    (task_id,) = api.enqueue(command, [b""])
    with working(command, "--exec", "sh -c 'touch started; exec sleep 300'") as worker:
        wait_until((tmp_path / "started").exists, "the program runs")
        worker.terminate()
        worker.wait_for("draining", on="stderr")
        time.sleep(_SAME_SIGNAL)  # a second one sooner than this counts as the same
        worker.terminate()
        assert worker.wait() == 0, worker.report()
    assert "giving back what runs" in worker.stderr.text
    task = api.task(task_id)
    assert (task.state, task.attempt) == (TASK_STATE_PENDING, 0)


def test_a_killed_worker_s_task_is_done_by_another_when_its_lease_is_over(
    api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    (task_id,) = api.enqueue(command, [b"x"])
    with working(command, "--lease", "1s", "--exec", "sh -c 'touch started; sleep 300'") as worker:
        wait_until((tmp_path / "started").exists, "the program runs")
        worker.kill()
    with working(command, "--exec", "cat"):
        wait_until(lambda: api.task(task_id).state == TASK_STATE_COMPLETED, "the other does it", 10)
    task = api.task(task_id)
    assert (task.attempt, task.result.data) == (2, b"x")
    assert api.queue(command).lease_expired_total == 1


def test_one_worker_serves_several_queues(api: Api, working: Working, command: str) -> None:
    queues = [f"{command}.{n}" for n in range(3)]
    for queue in queues:
        api.enqueue(queue, [b"1", b"2"])
    with working(*queues, "--exec", "cat"):
        for queue in queues:
            wait_until(lambda: api.queue(queue).completed == 2, queue)  # noqa: B023
