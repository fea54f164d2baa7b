"""`codeq tasks`: what is asked of the server, what is shown of its answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import (
    CONFLICT_POLICY_REPLACE,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_EXPIRED,
    TASK_STATE_FAILED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_PENDING,
    TASK_VIEW_BASIC,
    TASK_VIEW_FULL,
    Attempt,
    Payload,
    Progress,
    TaskError,
)
from codeq_grpc.core.errors import QueueFull, ScopeMissing, StoreUnavailable
from tests.unit.cli_scripted import Scripted, Served, made, serving
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

IDS = [f"AAAAAAAAAAAAAAAAA{n}" for n in range(5)]


@pytest.fixture
def scripted() -> Scripted:
    """Five failed tasks."""
    scripted = Scripted()
    error = TaskError(type="exit.1", message="no disk \x1b[31mleft\nat all")
    for task_id in IDS:
        scripted.tasks[task_id] = made(task_id, TASK_STATE_FAILED, attempt=2, error=error)
    return scripted


@pytest.fixture
def codeq(scripted: Scripted) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_list_is_a_table_of_a_line_for_each(codeq: Served) -> None:
    ran = codeq("tasks", "list", "c")
    assert (ran.exit_code, ran.stderr) == (0, "")
    rows = [line.split(maxsplit=5) for line in ran.stdout.splitlines() if "AAAA" in line]
    assert [row[0] for row in rows] == IDS
    assert rows[0][1:3] == ["FAILED", "2"]
    assert rows[0][5].rstrip() == "exit.1: no disk \\x1b[31mleft at all"


def test_a_list_for_programs_is_a_document_a_line_without_a_limit(
    codeq: Served, scripted: Scripted
) -> None:
    found = lines(codeq("tasks", "list", "c", "--json").stdout)
    assert [document["taskId"] for document in found] == IDS
    assert found[0]["error"]["type"] == "exit.1"
    assert scripted.last(pb.ListTasksRequest).view == TASK_VIEW_BASIC
    codeq("tasks", "list", "c", "--json", "--full")
    assert scripted.last(pb.ListTasksRequest).view == TASK_VIEW_FULL


def test_a_limit_is_kept_and_told(codeq: Served) -> None:
    ran = codeq("tasks", "list", "c", "--limit", "3")
    assert ran.stdout.count("FAILED") == 3
    assert ran.stderr == "only the first 3; --limit shows more\n"
    assert codeq("tasks", "list", "c", "--limit", "5").stderr == ""
    assert len(lines(codeq("tasks", "list", "c", "--limit", "3", "--json").stdout)) == 3


def test_filters_reach_the_server(codeq: Served, scripted: Scripted) -> None:
    words = ("--state", "Failed", "--state", "in-progress", "--label", "a=1", "--label", "b=x=y")
    more = ("--worker", "w", "--error-type", "exit.1", "--since", "2026-07-01T10:00:00+02:00")
    ran = codeq("tasks", "list", "c", *words, *more, "--until", "2026-07-02 08:00:00.500 UTC")
    assert ran.exit_code == 0
    asked = scripted.last(pb.ListTasksRequest).filter
    assert asked.command == "c"
    assert list(asked.states) == [TASK_STATE_FAILED, TASK_STATE_IN_PROGRESS]
    assert dict(asked.labels) == {"a": "1", "b": "x=y"}
    assert (asked.worker_id, asked.error_type) == ("w", "exit.1")
    assert asked.create_time_after.ToJsonString() == "2026-07-01T08:00:00Z"
    assert asked.create_time_before.ToJsonString() == "2026-07-02T08:00:00.500Z"


def test_nothing_found_is_told_to_people_only(codeq: Served) -> None:
    ran = codeq("tasks", "list", "c", "--state", "expired")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no such tasks in c\n")
    ran = codeq("tasks", "list", "c", "--state", "expired", "--json")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")


def test_a_task_is_shown_with_all_that_matters(codeq: Served, scripted: Scripted) -> None:
    task = made("t", TASK_STATE_IN_PROGRESS, attempt=2, worker_id="w", cancel_requested=True)
    task.progress.CopyFrom(Progress(fraction=0.4, message="resizing"))
    task.spec.payload.CopyFrom(Payload(data=b'{"n": 1}'))
    task.spec.labels["color"] = "red"
    task.spec.headers["trace"] = "x"
    task.spec.depends_on.append("t0")
    task.spec.concurrency_key = "k"
    attempt = Attempt(number=1, fence=7, worker_id="v", error=TaskError(type="exit.1", message="m"))
    attempt.start_time.FromJsonString("2026-07-01T12:00:00Z")
    attempt.end_time.FromJsonString("2026-07-01T12:00:02.500Z")
    task.attempts.append(attempt)
    scripted.tasks["t"] = task
    ran = codeq("tasks", "show", "t")
    facts = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines()[:7])
    assert facts["state"] == "IN_PROGRESS, cancel requested"
    assert facts["progress"] == "40% resizing"
    for told in ("label           color=red", "header          trace=x", "depends on      t0"):
        assert told in ran.stdout
    row = next(line for line in ran.stdout.splitlines() if "exit.1: m" in line)
    assert " ".join(row.split()) == "1 2026-07-01 12:00:00.000 UTC 2.5s v exit.1: m"
    assert "--- payload" not in ran.stdout
    assert codeq("tasks", "show", "t", "--full").stdout.endswith('\n--- payload\n{"n": 1}\n')


def test_a_task_for_programs_has_its_attempts_in_the_full_view(
    codeq: Served, scripted: Scripted
) -> None:
    task = made("t", TASK_STATE_COMPLETED, result=Payload(data=b"7"))
    task.attempts.add(number=1, fence=1 << 52)
    task.progress.checkpoint.data = b"[1]"
    task.spec.conflict_policy = CONFLICT_POLICY_REPLACE
    scripted.tasks["t"] = task
    document = json.loads(codeq("tasks", "show", "t", "--full", "--json").stdout)
    assert document["attempts"] == [{"number": 1, "fence": 1 << 52}]
    assert document["progress"] == {"checkpoint": [1]}
    assert document["spec"]["conflictPolicy"] == "REPLACE"
    assert document["result"] == 7
    codeq("tasks", "show", "t", "--json")
    assert scripted.last(pb.GetTaskRequest).view == TASK_VIEW_BASIC


def test_named_tasks_are_cancelled_and_the_unknown_told(codeq: Served, scripted: Scripted) -> None:
    scripted.tasks["held"] = made("held", TASK_STATE_IN_PROGRESS)
    ran = codeq("tasks", "cancel", "held", "nobody", IDS[0], "--reason", "why")
    assert ran.exit_code == 1
    assert ran.stdout == "cancelled 1; 1 in progress, their workers were told\n"
    assert ran.stderr.startswith("error: nobody: TASK_NOT_FOUND: ")
    asked = scripted.last(pb.CancelTasksRequest)
    assert (list(asked.selector.task_ids), asked.reason) == (["held", "nobody", IDS[0]], "why")

    ran = codeq("tasks", "cancel", "held", "nobody", "--json")
    document = json.loads(ran.stdout)
    (failure,) = document.pop("failures")
    assert document == {"cancelledCount": 0, "requestedCount": 1}
    assert (failure["taskId"], failure["reason"]) == ("nobody", "TASK_NOT_FOUND")


def test_more_ids_than_a_call_takes_make_several(codeq: Served, scripted: Scripted) -> None:
    ids = [f"x{n}" for n in range(1500)]
    scripted.tasks = {task_id: made(task_id, TASK_STATE_PENDING) for task_id in ids}
    ran = codeq("tasks", "cancel", *ids)
    assert (ran.exit_code, ran.stdout) == (0, "cancelled 1500\n")
    assert scripted.count(pb.CancelTasksRequest) == 2


def test_a_change_by_filter_goes_on_from_page_to_page(codeq: Served, scripted: Scripted) -> None:
    ran = codeq("tasks", "redrive", "--command", "c", "--yes", "--spread", "10m")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "redriven 5\n", "")
    assert scripted.count(pb.RedriveTasksRequest) == 3
    asked = scripted.last(pb.RedriveTasksRequest)
    assert asked.selector.page_token == "4"
    assert asked.spread.ToSeconds() == 600
    assert list(asked.selector.filter.states) == [TASK_STATE_FAILED]


def test_a_cancel_by_filter_is_for_all_that_have_not_ended(
    codeq: Served, scripted: Scripted
) -> None:
    scripted.tasks["p"] = made("p", TASK_STATE_PENDING)
    ran = codeq("tasks", "cancel", "--command", "c", "--yes", "--json")
    assert json.loads(ran.stdout) == {"cancelledCount": 1, "requestedCount": 0, "failures": []}
    ended = {TASK_STATE_COMPLETED, TASK_STATE_FAILED, TASK_STATE_CANCELLED, TASK_STATE_EXPIRED}
    asked = set(scripted.last(pb.CancelTasksRequest).selector.filter.states)
    assert len(asked) == 4
    assert not asked & ended


def test_a_failure_on_the_way_tells_what_was_done(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["RedriveTasks"] = QueueFull()
    ran = codeq("tasks", "redrive", "--command", "c", "--yes")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: QUEUE_FULL: ")


def test_whoever_is_there_is_asked_with_the_number(codeq: Served, scripted: Scripted) -> None:
    words = ("tasks", "redrive", "--command", "c", "--error-type", "exit.1")
    with Terminal(*words, env=codeq.env) as terminal:
        terminal.wait_for(r"redrive 5 tasks of c\? \[y/N\]")
        terminal.press("n\n")
        assert terminal.wait() == 1
        assert "error: nothing was changed" in terminal.text
    assert scripted.count(pb.RedriveTasksRequest) == 0
    with Terminal(*words, env=codeq.env) as terminal:
        terminal.wait_for("y/N")
        terminal.press("y\n")
        assert terminal.wait() == 0
        assert "redriven 5" in terminal.text


def test_where_nobody_can_be_asked_nothing_is_done(codeq: Served, scripted: Scripted) -> None:
    ran = codeq("tasks", "cancel", "--command", "c")
    assert ran.exit_code == 2
    assert "--yes" in ran.stderr
    assert scripted.asked == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cancel",), "COMMAND"),
        (("cancel", "x", "--command", "c"), "one of both"),
        (("cancel", "x", "--state", "pending"), "filters"),
        (("cancel", "--command", "c", "--state", "completed"), "completed"),
        (("redrive", "--command", "c", "--state", "pending"), "pending"),
        (("list", "c", "--state", "running"), "in_progress"),
        (("list", "c", "--since", "soon"), "soon"),
        (("list", "c", "--label", "a=1", "--label", "a=2"), "--label"),
        (("list", "c", "--full"), "--json"),
        (("list",), "COMMAND"),
        (("watch",), "COMMAND"),
        (("watch", *IDS, "--state", "failed"), "filters"),
    ],
)
def test_wrong_usage_is_told(codeq: Served, words: tuple[str, ...], told: str) -> None:
    ran = codeq("tasks", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr


@pytest.mark.parametrize("words", [("list", "c"), ("show", "x"), ("cancel", "x"), ("watch", "c")])
def test_a_refusal_is_one_line(codeq: Served, scripted: Scripted, words: tuple[str, ...]) -> None:
    for method in ("ListTasks", "GetTask", "CancelTasks", "WatchTasks"):
        scripted.refuse[method] = ScopeMissing()
    scripted.watches.append([])
    ran = codeq("tasks", *words)
    assert (ran.exit_code, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("error: SCOPE_MISSING: ")


def test_named_tasks_are_watched_until_all_have_ended(codeq: Served, scripted: Scripted) -> None:
    first, second = IDS[:2]
    scripted.tasks[second] = made(second, TASK_STATE_PENDING)
    done = made(second, TASK_STATE_COMPLETED)
    changed = made(second, TASK_STATE_IN_PROGRESS, attempt=1, worker_id="w")
    scripted.watches.append(
        [
            pb.WatchTasksResponse(),
            pb.WatchTasksResponse(tasks=[scripted.tasks[second], changed]),
            pb.WatchTasksResponse(tasks=[done]),
            None,
        ]
    )
    ran = codeq("tasks", "watch", first, second)
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert [line.split()[1:3] for line in ran.stdout.splitlines()] == [
        [first, "FAILED"],
        [second, "PENDING"],
        [second, "IN_PROGRESS"],
        [second, "COMPLETED"],
    ]
    assert ran.stdout.startswith(f"12:34:56 {first} FAILED 2 exit.1: ")


def test_an_outage_while_watching_is_a_gap(
    codeq: Served, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.cli.watching._PAUSE", 0.01)
    changed = made(IDS[0], TASK_STATE_IN_PROGRESS)
    scripted.watches += [
        [pb.WatchTasksResponse(), pb.WatchTasksResponse(tasks=[changed]), StoreUnavailable()],
        [StoreUnavailable()],
        [pb.WatchTasksResponse(), pb.WatchTasksResponse(gap=True), ScopeMissing()],
    ]
    ran = codeq("tasks", "watch", "c", "--state", "in_progress", "--json")
    assert ran.exit_code == 1
    found = lines(ran.stdout)
    assert [document.get("state", document.get("gap")) for document in found] == [
        "IN_PROGRESS",
        True,
        True,
    ]
    assert ran.stderr.count("waiting: STORE_UNAVAILABLE") == 1
    assert list(scripted.last(pb.WatchTasksRequest).selector.filter.states) == [
        TASK_STATE_IN_PROGRESS
    ]


def test_named_tasks_are_read_again_after_a_gap(
    codeq: Served, scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.cli.watching._PAUSE", 0.01)
    task_id = IDS[0]
    scripted.watches += [[pb.WatchTasksResponse()], [pb.WatchTasksResponse()]]
    scripted.reads = [made(task_id, TASK_STATE_PENDING), made(task_id, TASK_STATE_COMPLETED)]
    ran = codeq("tasks", "watch", task_id)
    assert ran.exit_code == 0
    shown = ran.stdout.splitlines()
    assert [" PENDING " in shown[0], "--- gap" in shown[1], " COMPLETED " in shown[2]] == [True] * 3
    assert "waiting: the server has closed the stream" in ran.stderr


def test_a_command_that_looks_like_an_id_is_named_apart(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["WatchTasks"] = ScopeMissing()
    codeq("tasks", "watch", "generate_thumbnail")
    assert list(scripted.last(pb.WatchTasksRequest).selector.task_ids) == ["generate_thumbnail"]
    codeq("tasks", "watch", "--command", "generate_thumbnail")
    assert scripted.last(pb.WatchTasksRequest).selector.filter.command == "generate_thumbnail"
    codeq("tasks", "watch", "generate_thumbnail", "--state", "failed")
    assert scripted.last(pb.WatchTasksRequest).selector.filter.command == "generate_thumbnail"
