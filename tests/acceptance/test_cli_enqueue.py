"""`codeq enqueue`, `tasks show`, `queues`: what goes in comes out, for people and programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1.task_pb2 import TASK_STATE_SCHEDULED

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq, Working


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_payload_arrives_as_it_was_given_and_the_id_is_all_that_is_printed(
    codeq: Codeq, api: Api, command: str
) -> None:
    payload = '{"n": 9007199254740993, "name": "Ada Löwe"}'
    ran = codeq("enqueue", command, "--payload", payload)
    assert (ran.code, ran.err) == (0, "")
    task = api.task(ran.out.removesuffix("\n"))
    assert task.spec.payload.data.decode() == payload
    assert task.spec.payload.content_type == "application/json"


def test_without_a_payload_the_task_has_none(codeq: Codeq, api: Api, command: str) -> None:
    ran = codeq("enqueue", command, "--json")
    (line,) = _lines(ran.out)
    assert line["state"] == "PENDING"
    assert api.task(line["taskId"]).spec.payload.data == b""


def test_each_file_becomes_a_task_of_its_bytes_and_folders_are_left_out(
    codeq: Codeq, api: Api, command: str, tmp_path: Path
) -> None:
    contents = {
        "a.json": b'{"a": 1}',
        "b.txt": b"caf\xc3\xa9\n",
        "c with space": bytes(range(256)),
        "empty": b"",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    ran = codeq("enqueue", command, "--json", "--file", *sorted(contents), "folder")
    assert ran.code == 0, ran
    assert "left out 1 directory" in ran.err
    assert "4 of 4 tasks" in ran.err
    tasks = {line["file"]: api.task(line["taskId"]) for line in _lines(ran.out)}
    assert {name: task.spec.payload.data for name, task in tasks.items()} == contents
    types = {name: task.spec.payload.content_type for name, task in tasks.items()}
    assert (types["a.json"], types["c with space"]) == (
        "application/json",
        "application/octet-stream",
    )
    assert tasks["b.txt"].spec.headers["file"] == "b.txt"


def test_names_and_bytes_come_from_standard_input(
    codeq: Codeq, api: Api, command: str, tmp_path: Path
) -> None:
    for n in range(30):
        (tmp_path / f"file {n}").write_bytes(b"%d" % n)
    names = "".join(f"file {n}\n" for n in range(30)).encode()
    ran = codeq("enqueue", command, "--files-from", "-", stdin=names)
    ids = ran.out.split()
    assert [api.task(task_id).spec.payload.data for task_id in ids] == [
        b"%d" % n for n in range(30)
    ]

    data = bytes(range(256)) * 300
    ran = codeq("enqueue", command, "--file", "-", stdin=data)
    assert api.task(ran.out.strip()).spec.payload.data == data


def test_the_options_of_a_task_reach_it(codeq: Codeq, api: Api, command: str) -> None:
    words = ("--priority", "critical", "--lease", "1m30s", "--max-attempts", "7", "--delay", "1h")
    more = ("--header", "a=b=c", "--content-type", "text/plain", "--payload", "not JSON")
    ran = codeq("enqueue", command, "--json", *words, *more)
    (line,) = _lines(ran.out)
    assert line["state"] == "SCHEDULED"
    task = api.task(line["taskId"])
    assert task.state == TASK_STATE_SCHEDULED
    assert task.spec.priority == 9
    assert task.spec.lease_duration.seconds == 90
    assert task.spec.retry_policy.max_attempts == 7
    assert 3599 <= task.spec.delay.seconds <= 3600
    assert dict(task.spec.headers) == {"a": "b=c"}
    assert (task.spec.payload.data, task.spec.payload.content_type) == (b"not JSON", "text/plain")


@pytest.mark.parametrize(("level", "number"), [("low", 2), ("normal", 5), ("high", 7), ("0", 0)])
def test_priorities_have_names_and_numbers(
    codeq: Codeq, api: Api, command: str, level: str, number: int
) -> None:
    ran = codeq("enqueue", command, "--priority", level)
    assert api.task(ran.out.strip()).spec.priority == number


def test_wait_prints_the_result_and_fails_when_the_task_does(
    codeq: Codeq, working: Working, command: str
) -> None:
    with working(command, "--exec", "sh -c 'read word; echo got $word; [ $word != bad ]'"):
        plain = ("--content-type", "text/plain", "--max-attempts", "1", "--wait")
        good = codeq("enqueue", command, *plain, "--payload", "good\n")
        assert good.code == 0
        assert good.out.splitlines()[0].startswith("COMPLETED ")
        assert good.out.splitlines()[1:] == ["got good"]

        bad = codeq("enqueue", command, *plain, "--payload", "bad\n", "--json")
        (line,) = _lines(bad.out)
        assert (bad.code, line["state"], line["error"]["type"]) == (1, "FAILED", "exit.1")


def test_wait_for_many_prints_a_line_for_each_as_it_ends(
    codeq: Codeq, working: Working, command: str, tmp_path: Path
) -> None:
    names = [f"{n}.txt" for n in range(25)]
    for name in names:
        (tmp_path / name).write_text(name)
    with working(command, "--exec", "cat"):
        ran = codeq("enqueue", command, "--wait", "--json", "--file", *names)
    assert ran.code == 0, ran
    results = {line["file"]: (line["state"], line["result"]["data"]) for line in _lines(ran.out)}
    assert len(results) == 25
    assert {state for state, _ in results.values()} == {"COMPLETED"}


def test_a_wait_that_is_over_before_the_task_says_so(codeq: Codeq, command: str) -> None:
    ran = codeq("enqueue", command, "--wait", "--timeout", "200ms")
    assert ran.code == 1
    assert ran.err == "error: 1 of 1 have not ended in time\n"


def test_show_has_a_task_for_people_and_for_programs(
    codeq: Codeq, working: Working, command: str
) -> None:
    codeq("queues", "set", command, "retain_payload=true")
    words = ("--content-type", "text/plain", "--payload", "one two\n", "--header", "k=v")
    task_id = codeq("enqueue", command, *words).out.strip()
    with working(command, "--exec", "wc -w"):
        ended = json.loads(codeq("tasks", "show", task_id, "--wait", "20s", "--json").out)
    assert (ended["taskId"], ended["state"], ended["attempt"]) == (task_id, "COMPLETED", 1)
    assert "result" not in ended
    assert ended["spec"]["headers"] == {"k": "v"}

    for_people = codeq("tasks", "show", task_id, "--full").out
    assert f"task            {task_id}\n" in for_people
    assert "state           COMPLETED\n" in for_people
    assert for_people.endswith("--- payload\none two\n\n--- result\n2\n")


def test_queues_counts_for_people_and_for_programs(codeq: Codeq, command: str) -> None:
    assert codeq("queues", "no-such-queue").out == ""
    codeq("enqueue", command)
    codeq("enqueue", command, "--delay", "1h")
    (queue,) = json.loads(codeq("queues", command, "--json").out)["queues"]
    assert (queue["pending"], queue["scheduled"], queue["enqueuedTotal"]) == (1, 1, 2)
    row = next(line for line in codeq("queues").out.splitlines() if command in line)
    assert row.split()[1:6] == ["1", "1", "0", "0", "0"]
