"""`codeq tasks`: tasks are found, looked at, withdrawn, done once more, and watched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1.task_pb2 import (
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_EXPIRED,
    TASK_STATE_FAILED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_PENDING,
)
from tests.acceptance.programs import CODEQ, Program, run_codeq, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq, Working
    from tests.acceptance.servers import Dev

_ASKED_TO_END = "trap 'touch cleaned; exit 0' TERM; touch started; while :; do sleep 0.05; done"


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def _ids(text: str) -> list[str]:
    return [document["taskId"] for document in _lines(text)]


def test_tasks_are_found_by_state_and_label(codeq: Codeq, command: str) -> None:
    red = [codeq("enqueue", command, "--label", "color=red").out.strip() for _ in range(3)]
    later = codeq("enqueue", command, "--label", "color=red", "--delay", "1h").out.strip()
    blue = codeq("enqueue", command, "--label", "color=blue", "--label", "n=1").out.strip()

    def found(*words: str) -> list[str]:
        return _ids(codeq("tasks", "list", command, "--json", *words).out)

    assert set(found()) == {*red, later, blue}
    assert found("--state", "scheduled") == [later]
    assert found("--label", "color=red", "--state", "pending") == red[::-1]
    assert found("--label", "color=blue", "--label", "n=1") == [blue]
    assert found("--label", "color=red", "--label", "n=1") == []
    assert set(found("--since", "1h")) == {*red, later, blue}
    assert found("--until", "1h") == []
    assert len(found("--limit", "2")) == 2

    table = codeq("tasks", "list", command, "--limit", "4")
    assert table.err == "only the first 4; --limit shows more\n"
    assert sum(" PENDING " in line for line in table.out.splitlines()) >= 3


def test_more_tasks_than_a_page_are_listed_once_each(codeq: Codeq, api: Api, command: str) -> None:
    ids = [task_id for _ in range(3) for task_id in api.enqueue(command, [b""] * 700)]
    listed = _ids(codeq("tasks", "list", command, "--json").out)
    assert (len(listed), set(listed)) == (2_100, set(ids))


def test_failed_tasks_are_found_by_their_error_and_show_their_attempts(
    codeq: Codeq, working: Working, command: str
) -> None:
    task_id = codeq("enqueue", command, "--max-attempts", "2").out.strip()
    with working(command, "--worker-id", "w:1", "--exec", "sh -c 'echo no disk >&2; exit 3'"):
        codeq("tasks", "show", task_id, "--wait", "20s")
    for words in (("--error-type", "exit.3"), ("--worker", "w:1"), ("--state", "failed")):
        assert _ids(codeq("tasks", "list", command, "--json", *words).out) == [task_id]
    assert codeq("tasks", "list", command, "--json", "--error-type", "exit.4").out == ""

    shown = codeq("tasks", "show", task_id).out
    attempts = [line.split() for line in shown.splitlines() if " w:1 " in line and "UTC" in line]
    assert [(words[0], words[-3:]) for words in attempts] == [
        (number, ["exit.3:", "no", "disk"]) for number in ("1", "2")
    ]
    document = json.loads(codeq("tasks", "show", task_id, "--full", "--json").out)
    assert [attempt["number"] for attempt in document["attempts"]] == [1, 2]
    assert document["attempts"][0]["fence"] < document["attempts"][1]["fence"]
    assert document["attempts"][1]["error"]["type"] == "exit.3"


def test_a_pending_task_is_cancelled_once(codeq: Codeq, api: Api, command: str) -> None:
    task_id = codeq("enqueue", command).out.strip()
    ran = codeq("tasks", "cancel", task_id, "--reason", "not needed")
    assert (ran.code, ran.out, ran.err) == (0, "cancelled 1\n", "")
    task = api.task(task_id)
    assert task.state == TASK_STATE_CANCELLED
    assert "not needed" in task.error.message
    again = codeq("tasks", "cancel", task_id, "A" * 18, "--json")
    assert again.code == 1
    reasons = {one["taskId"]: one["reason"] for one in json.loads(again.out)["failures"]}
    assert reasons["A" * 18] == "TASK_NOT_FOUND"


def test_a_running_program_is_told_of_the_cancellation(
    codeq: Codeq, api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    task_id = codeq("enqueue", command).out.strip()
    with working(command, "--json", "--exec", f'sh -c "{_ASKED_TO_END}"') as worker:
        wait_until((tmp_path / "started").exists, "the program runs")
        ran = codeq("tasks", "cancel", task_id)
        assert ran.out == "cancelled 0; 1 in progress, their workers were told\n"
        wait_until(lambda: api.task(task_id).state == TASK_STATE_CANCELLED, "it is cancelled")
        wait_until(lambda: worker.stdout.text, "the worker tells of the end")
        assert json.loads(worker.stdout.text)["end"] == "CANCELLED"
    assert (tmp_path / "cleaned").exists()


def test_a_program_that_ignores_its_cancellation_is_killed(
    codeq: Codeq, api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    task_id = codeq("enqueue", command).out.strip()
    script = "trap '' TERM; touch started; while :; do sleep 0.05; done"
    with working(command, "--exec", f'sh -c "{script}"'):
        wait_until((tmp_path / "started").exists, "the program runs")
        codeq("tasks", "cancel", task_id)
        wait_until(lambda: api.task(task_id).state == TASK_STATE_CANCELLED, "it is cancelled")


def test_a_filter_cancels_what_matches_and_nothing_else(
    codeq: Codeq, api: Api, command: str
) -> None:
    red = [codeq("enqueue", command, "--label", "color=red").out.strip() for _ in range(3)]
    blue = codeq("enqueue", command, "--label", "color=blue").out.strip()
    asked = codeq("tasks", "cancel", "--command", command, "--label", "color=red")
    assert (asked.code, "--yes" in asked.err) == (2, True)
    words = ("--command", command, "--label", "color=red", "--yes", "--json")
    ran = codeq("tasks", "cancel", *words)
    assert json.loads(ran.out) == {"cancelledCount": 3, "requestedCount": 0, "failures": []}
    assert {api.task(task_id).state for task_id in red} == {TASK_STATE_CANCELLED}
    assert api.task(blue).state == TASK_STATE_PENDING


def test_many_are_cancelled_in_several_steps(codeq: Codeq, api: Api, command: str) -> None:
    for _ in range(3):
        api.enqueue(command, [b""] * 1_000)
    ran = codeq("tasks", "cancel", "--command", command, "--yes")
    assert (ran.code, ran.out) == (0, "cancelled 3000\n")
    assert (api.queue(command).pending, api.queue(command).cancelled) == (0, 3_000)


def test_failed_tasks_are_redriven_and_done(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    ids = [codeq("enqueue", command, "--max-attempts", "1").out.strip() for _ in range(3)]
    with working(command, "--exec", "false"):
        wait_until(lambda: api.queue(command).failed == 3, "all have failed")
    cancelled = codeq("enqueue", command).out.strip()
    codeq("tasks", "cancel", cancelled)
    assert codeq("tasks", "redrive", ids[0]).out == "redriven 1\n"
    assert (api.task(ids[0]).state, api.task(ids[0]).attempt) == (TASK_STATE_PENDING, 0)
    ran = codeq("tasks", "redrive", "--command", command, "--yes", "--json")
    assert json.loads(ran.out) == {"redrivenCount": 2, "failures": []}
    assert api.task(cancelled).state == TASK_STATE_CANCELLED
    with working(command, "--exec", "cat"):
        for task_id in ids:
            codeq("tasks", "show", task_id, "--wait", "20s")
    assert {api.task(task_id).state for task_id in ids} == {TASK_STATE_COMPLETED}
    refused = codeq("tasks", "redrive", ids[0])
    assert (refused.code, "INVALID_STATE" in refused.err) == (1, True)


def test_named_tasks_are_watched_to_their_end(
    codeq: Codeq, server: Dev, working: Working, command: str
) -> None:
    ids = [codeq("enqueue", command).out.strip() for _ in range(2)]
    with Program([CODEQ, "tasks", "watch", "--json", *ids], env=server.client_env()) as watching:
        wait_until(lambda: len(watching.stdout.text.splitlines()) == 2, "both are shown")
        with working(command, "--exec", "cat"):
            assert watching.wait() == 0, watching.report()
    states: dict[str, list[str]] = {task_id: [] for task_id in ids}
    for document in _lines(watching.stdout.text):
        states[document["taskId"]].append(document["state"])
    for told in states.values():
        assert (told[0], told[-1]) == ("PENDING", "COMPLETED")


def test_a_queue_is_watched_with_a_filter(codeq: Codeq, server: Dev, command: str) -> None:
    words = ("tasks", "watch", "--command", command, "--state", "cancelled")
    with Program([CODEQ, *words], env=server.client_env()) as watching:
        watching.wait_for("watching", on="stderr")
        codeq("enqueue", command)
        task_id = codeq("enqueue", command).out.strip()
        codeq("tasks", "cancel", task_id, "--reason", "why")
        watching.wait_for(rf"^\d\d:\d\d:\d\d {task_id} CANCELLED 0 .*why")
        watching.interrupt()
        assert watching.wait() == 130
    assert len(watching.stdout.text.splitlines()) == 1


@pytest.mark.timeout(120)
def test_a_watch_goes_on_after_its_server_was_killed_and_tells_the_gap(
    dev: Dev, command: str
) -> None:
    dev.start()
    env = dev.client_env()
    with Program([CODEQ, "tasks", "watch", "--command", command], env=env) as watching:
        watching.wait_for("watching", on="stderr")
        dev.program.kill()
        watching.wait_for("^waiting: ", on="stderr")
        dev.start()
        watching.wait_for("^--- gap")
        task_id = run_codeq("enqueue", command, env=env).out.strip()
        watching.wait_for(rf" {task_id} PENDING ")


def test_a_task_expires_and_says_so(codeq: Codeq, api: Api, command: str) -> None:
    task_id = codeq("enqueue", command, "--expire-in", "1s").out.strip()
    ended = codeq("tasks", "show", task_id, "--wait", "20s").out
    assert "state           EXPIRED\n" in ended
    assert api.task(task_id).state == TASK_STATE_EXPIRED


def test_a_task_waits_for_those_that_it_depends_on(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    first = codeq("enqueue", command).out.strip()
    ran = codeq("enqueue", f"{command}.then", "--depends-on", first, "--json")
    (then,) = _lines(ran.out)
    assert then["state"] == "BLOCKED"
    with working(command, f"{command}.then", "--exec", "cat"):
        codeq("tasks", "show", then["taskId"], "--wait", "20s")
    assert api.task(then["taskId"]).state == TASK_STATE_COMPLETED


def test_a_key_makes_one_task(codeq: Codeq, api: Api, command: str) -> None:
    words = ("--idempotency-key", "k", "--payload", "1")
    task_id = codeq("enqueue", command, *words).out.strip()
    again = codeq("enqueue", command, *words)
    assert (again.code, again.out.strip()) == (0, task_id)
    assert "has this key already" in again.err
    assert api.queue(command).pending == 1
    refused = codeq("enqueue", command, *words, "--on-conflict", "fail")
    assert (refused.code, "TASK_EXISTS" in refused.err) == (1, True)
    replaced = codeq("enqueue", command, *words[:3], "2", "--on-conflict", "replace")
    assert replaced.out.strip() == task_id
    assert api.task(task_id).spec.payload.data == b"2"


def test_an_attempt_ends_after_its_timeout_whatever_the_worker_says(
    codeq: Codeq, api: Api, working: Working, command: str
) -> None:
    words = ("--attempt-timeout", "1s", "--max-attempts", "1")
    task_id = codeq("enqueue", command, *words).out.strip()
    with working(command, "--exec", "sleep 60"):
        wait_until(lambda: api.task(task_id).state == TASK_STATE_IN_PROGRESS, "it is claimed")
        wait_until(lambda: api.task(task_id).state == TASK_STATE_FAILED, "it has failed")
