"""`codeq queues`, `workers` and `top`: operators see what there is and change it at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.programs import CODEQ, Program, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq, Working
    from tests.acceptance.servers import Dev


def _settings(codeq: Codeq, command: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(codeq("queues", "show", command, "--json").out)
    queue: dict[str, Any] = document["queue"]
    return queue


def test_settings_are_changed_shown_and_taken_back(codeq: Codeq, command: str) -> None:
    words = ("lease_duration=90s", "default_priority=high", "retry_policy.max_attempts=7")
    ran = codeq("queues", "set", command, *words, "max_backlog=10")
    assert (ran.code, ran.err) == (0, "")
    assert "lease_duration=1m30s\n" in ran.out
    settings = _settings(codeq, command)
    assert settings["leaseDuration"] == "90s"
    assert (settings["defaultPriority"], settings["maxBacklog"]) == (7, 10)
    assert settings["retryPolicy"]["maxAttempts"] == 7
    assert settings["retryPolicy"]["initialBackoff"] == "1s"

    codeq("queues", "set", command, "lease_duration=default", "retry_policy.max_attempts=default")
    settings = _settings(codeq, command)
    assert settings["leaseDuration"] == "300s"
    assert settings["retryPolicy"]["maxAttempts"] == 5
    assert (settings["defaultPriority"], settings["maxBacklog"]) == (7, 10)

    shown = codeq("queues", "show", command).out
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines() if line)
    assert (facts["lease_duration"], facts["max_in_progress"]) == ("5m", "no limit")
    assert facts["pending"] == "0"


@pytest.mark.parametrize("word", ["retention=400d", "default_priority=default=1", "max_backlog=x"])
def test_a_value_that_cannot_be_is_told_in_one_way_or_the_other(
    codeq: Codeq, command: str, word: str
) -> None:
    ran = codeq("queues", "set", command, word)
    assert ran.code in {1, 2}
    assert word.partition("=")[0] in ran.err
    assert ran.out == ""


def test_a_full_queue_refuses_more(codeq: Codeq, command: str) -> None:
    codeq("queues", "set", command, "max_backlog=1")
    assert codeq("enqueue", command).code == 0
    refused = codeq("enqueue", command)
    assert (refused.code, "QUEUE_FULL" in refused.err) == (1, True)


def test_a_schema_refuses_what_it_does_not_allow_until_it_is_taken_away(
    codeq: Codeq, command: str, tmp_path: Path
) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"properties": {"id": {"type": "string"}}}')
    assert codeq("queues", "set", command, "--payload-schema", str(file)).code == 0
    assert _settings(codeq, command)["payloadSchema"] == file.read_text()
    refused = codeq("enqueue", command, "--payload", '{"id": 5}')
    assert refused.code == 1
    assert 'payload.data: /id: the value is not of type "string"' in refused.err
    assert codeq("enqueue", command, "--payload", '{"id": "5"}').code == 0

    file.write_text('{"type": "text"}')
    ran = codeq("queues", "set", command, "--payload-schema", str(file))
    assert (ran.code, "queue.payload_schema: /type: " in ran.err) == (1, True)

    assert codeq("queues", "set", command, "payload_schema=default").out == "payload_schema=none\n"
    assert codeq("enqueue", command, "--payload", '{"id": 5}').code == 0


def test_a_paused_queue_gives_nothing_until_it_is_resumed(
    codeq: Codeq, api: Api, command: str
) -> None:
    (task_id,) = api.enqueue(command, [b""])
    assert codeq("queues", "pause", command, "--reason", "deploy").out == f"paused {command}\n"
    assert api.claim(command, wait=1) == []
    assert "yes: deploy" in codeq("queues", "show", command).out
    row = next(line for line in codeq("queues").out.splitlines() if command in line)
    assert row.split()[-1] == "paused"
    codeq("queues", "resume", command)
    assert api.claim(command, wait=5) == [task_id]


def test_a_limit_holds_over_all_workers(
    codeq: Codeq, api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    codeq("queues", "set", command, "max_in_progress=2")
    api.enqueue(command, [b""] * 5)
    script = "touch started.$CODEQ_TASK_ID; while [ ! -e gate ]; do sleep 0.02; done"
    with working(command, "--concurrency", "5", "--exec", f"sh -c '{script}'"):
        wait_until(lambda: len(list(tmp_path.glob("started.*"))) == 2, "two programs run")
        assert api.queue(command).in_progress == 2
        (tmp_path / "gate").touch()
        wait_until(lambda: api.queue(command).completed == 5, "all are done")


def test_tasks_of_one_key_run_one_at_a_time(
    codeq: Codeq, api: Api, working: Working, command: str, tmp_path: Path
) -> None:
    codeq("queues", "set", command, "max_in_progress_per_key=1")
    for _ in range(6):
        codeq("enqueue", command, "--concurrency-key", "k")
    script = "mkdir alone && sleep 0.05 && rmdir alone"
    with working(command, "--concurrency", "6", "--exec", f"sh -c '{script}'"):
        wait_until(lambda: api.queue(command).completed == 6, "all are done")
    assert api.queue(command).attempt_failed_total == 0
    assert not (tmp_path / "alone").exists()


def test_a_purge_withdraws_what_nobody_holds(codeq: Codeq, api: Api, command: str) -> None:
    api.enqueue(command, [b""] * 20)
    assert len(api.claim(command, wait=1)) == 1
    asked = codeq("queues", "purge", command)
    assert (asked.code, "--yes" in asked.err) == (2, True)
    ran = codeq("queues", "purge", command, "--yes", "--json")
    assert json.loads(ran.out) == {"command": command, "purgedCount": 19}
    wait_until(lambda: api.queue(command).cancelled == 19, "all are cancelled")
    assert (api.queue(command).pending, api.queue(command).in_progress) == (0, 1)


def test_an_unknown_queue_is_told(codeq: Codeq) -> None:
    ran = codeq("queues", "show", "no-such-queue")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: QUEUE_NOT_FOUND: ")


def test_workers_are_seen_while_they_work(codeq: Codeq, working: Working, command: str) -> None:
    def names() -> list[str]:
        found = codeq("workers", "--command", command, "--json").out.splitlines()
        return [json.loads(line)["workerId"] for line in found]

    with working(command, "--worker-id", "w:acceptance", "--concurrency", "3", "--exec", "cat"):
        wait_until(lambda: names() == ["w:acceptance"], "the worker is listed")
        row = next(line for line in codeq("workers").out.splitlines() if "w:acceptance" in line)
        assert row.split()[1:3] == [command, "0/3"]
    wait_until(lambda: names() == [], "the worker is gone")


def test_top_shows_queues_and_workers(
    codeq: Codeq, server: Dev, working: Working, command: str
) -> None:
    codeq("enqueue", command, "--delay", "1h")
    with working(command, "--worker-id", f"w:{command}", "--exec", "cat"):
        wait_until(lambda: f"w:{command}" in codeq("top").out, "the worker is shown")
    assert command in codeq("top").out
    words = (CODEQ, "top", "--json", "--count", "2", "--interval", "200ms")
    with Program(words, env=server.client_env()) as looking:
        assert looking.wait() == 0
    first, second = map(json.loads, looking.stdout.text.splitlines())
    (queue,) = [queue for queue in second["queues"] if queue["command"] == command]
    assert (queue["scheduled"], first.keys()) == (1, second.keys())
