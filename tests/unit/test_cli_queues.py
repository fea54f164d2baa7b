"""`codeq queues` and `codeq workers`: tables, settings, and what is asked of the server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb
from codeq.v1.queue_pb2 import Queue, QueueStats
from codeq.v1.task_pb2 import RetryPolicy
from codeq_grpc.cli.queue_settings import PARSERS, Change, change, changed, rows, span
from codeq_grpc.core.errors import InvalidField, QueueNotFound
from tests.unit.cli_scripted import Scripted, Served, serving
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def scripted() -> Scripted:
    """One queue, one worker."""
    scripted = Scripted()
    stats = QueueStats(command="c", pending=1234, blocked=5, failed=2, idle_credit=3)
    stats.oldest_pending_age.FromSeconds(90)
    scripted.queues.append(stats)
    worker = admin_pb.Worker(worker_id="w:\x1b1", commands=["c", "d"], server_id="s")
    worker.in_progress, worker.max_outstanding, worker.peer = 3, 10, "ipv4:127.0.0.1:5"
    worker.connect_time.FromJsonString("2026-07-01T12:00:00Z")
    scripted.workers.append(worker)
    return scripted


@pytest.fixture
def codeq(scripted: Scripted) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def test_a_bare_call_prints_the_table_and_names_choose(codeq: Served, scripted: Scripted) -> None:
    row = next(line for line in codeq("queues").stdout.splitlines() if " c " in line)
    assert row.split() == ["c", "1,234", "0", "5", "0", "2", "0", "1m", "30s"]
    assert list(scripted.last(pb.AdminQueuesRequest).commands) == []
    assert codeq("queues", "c").stdout == codeq("queues", "list", "c").stdout
    assert codeq("queues", "nobody").stderr.startswith("no queues yet")
    assert list(scripted.last(pb.AdminQueuesRequest).commands) == ["nobody"]


def test_the_table_for_programs_is_one_document(codeq: Served) -> None:
    (queue,) = json.loads(codeq("queues", "--json").stdout)["queues"]
    assert (queue["command"], queue["pending"], queue["cancelled"]) == ("c", 1234, 0)


def test_options_before_a_subcommand_are_not_taken_for_those_of_the_list(codeq: Served) -> None:
    ran = codeq("queues", "--json", "show", "c")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "after `show`" in ran.stderr


def test_a_paused_queue_is_marked_within_80_columns(codeq: Served, scripted: Scripted) -> None:
    scripted.queues[0].paused = True
    scripted.queues[0].command = "generate_thumbnail_of_a_video"
    with Terminal("queues", env=codeq.env) as terminal:
        assert terminal.wait() == 0
    assert "paused" in terminal.text
    assert max(map(len, terminal.text.splitlines())) <= 80


def test_colour_is_for_terminals_and_can_be_switched_off(codeq: Served) -> None:
    assert "\x1b" not in codeq("queues").stdout
    with Terminal("queues", env=codeq.env) as terminal:
        terminal.wait()
    assert "\x1b[1m" in terminal.written


def test_a_queue_is_shown_with_settings_as_they_are_typed(
    codeq: Served, scripted: Scripted
) -> None:
    queue = Queue(command="c", default_priority=0, paused=True, pause_reason="deploy")
    queue.lease_duration.FromSeconds(90)
    queue.retry_policy.max_attempts = 5
    queue.retry_policy.jitter = 0.5
    queue.retry_policy.non_retryable_error_types.extend(["a", "b"])
    scripted.settings = queue
    shown = codeq("queues", "show", "c").stdout
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines() if line)
    assert facts["paused"] == "yes: deploy"
    assert facts["lease_duration"] == "1m30s"
    assert facts["default_priority"] == "0"
    assert facts["max_backlog"] == "no limit"
    assert facts["retry_policy.max_attempts"] == "5"
    assert facts["retry_policy.jitter"] == "0.5"
    assert facts["retry_policy.non_retryable_error_types"] == "a, b"
    assert (facts["pending"], facts["oldest_pending_age"]) == ("1,234", "1m 30s")

    document = json.loads(codeq("queues", "show", "c", "--json").stdout)
    assert document["queue"]["leaseDuration"] == "90s"
    assert document["queue"]["maxBacklog"] == 0
    assert document["stats"]["idleCredit"] == 3


def test_an_unknown_queue_is_told(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["GetQueue"] = QueueNotFound()
    ran = codeq("queues", "show", "nobody")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == "error: QUEUE_NOT_FOUND: There is no such queue.\n"


def test_settings_are_changed_by_name_and_go_back_to_defaults(
    codeq: Served, scripted: Scripted
) -> None:
    words = ("default_priority=high", "max_claims_per_second=2.5", "retry_policy.max_backoff=2m")
    more = ("retention=default", "retry_policy.max_attempts=default", "max_in_progress=0")
    ran = codeq("queues", "set", "c", *words, *more)
    asked = scripted.last(admin_pb.UpdateQueueRequest)
    assert list(asked.update_mask.paths) == [word.partition("=")[0] for word in (*words, *more)]
    assert asked.queue.default_priority == 7
    assert asked.queue.max_claims_per_second == 2.5
    assert asked.queue.retry_policy.max_backoff.ToSeconds() == 120
    assert not asked.queue.HasField("retention")
    assert not asked.queue.retry_policy.HasField("max_attempts")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert "retry_policy.max_backoff=2m\n" in ran.stdout
    assert "lease_duration" not in ran.stdout


def test_a_refused_setting_is_named(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["UpdateQueue"] = InvalidField.at("queue.retention", "at most 366 days")
    ran = codeq("queues", "set", "c", "retention=400d")
    assert ran.stderr == "error: INVALID_FIELD: queue.retention: at most 366 days\n"


def test_a_schema_is_set_from_a_file_shown_and_taken_away(
    codeq: Served, scripted: Scripted, tmp_path: Path
) -> None:
    schema = '{\n  "type": "object"\n}\n'
    (tmp_path / "schema.json").write_text(schema)
    ran = codeq("queues", "set", "c", "--payload-schema", str(tmp_path / "schema.json"))
    asked = scripted.last(admin_pb.UpdateQueueRequest)
    assert list(asked.update_mask.paths) == ["payload_schema"]
    assert asked.queue.payload_schema == schema
    assert (ran.exit_code, ran.stdout) == (0, 'payload_schema={ "type": "object" }\n')

    scripted.settings = Queue(command="c", payload_schema="x" * 2_000)
    facts = codeq("queues", "show", "c").stdout
    assert "2,000 bytes (see --json)\n" in facts
    document = json.loads(codeq("queues", "show", "c", "--json").stdout)
    assert document["queue"]["payloadSchema"] == "x" * 2_000

    ran = codeq("queues", "set", "c", "max_backlog=1", "payload_schema=default")
    asked = scripted.last(admin_pb.UpdateQueueRequest)
    assert list(asked.update_mask.paths) == ["max_backlog", "payload_schema"]
    assert not asked.queue.payload_schema


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "No such file"), (b"", "payload_schema=default"), (b"\xff", "is not UTF-8")],
)
def test_a_file_that_is_no_schema_is_told_before_anything_is_asked(
    codeq: Served, scripted: Scripted, tmp_path: Path, content: bytes | None, told: str
) -> None:
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_bytes(content)
    ran = codeq("queues", "set", "c", "--payload-schema", str(file))
    assert ran.exit_code == 2
    assert told in ran.stderr
    assert scripted.count(admin_pb.UpdateQueueRequest) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("lease=5m",), "lease_duration"),
        (("lease_duration",), "key=value"),
        (("lease_duration=soon",), "lease_duration: 'soon'"),
        (("max_backlog=-1",), "max_backlog"),
        (("max_backlog=1.5",), "max_backlog"),
        (("max_claims_per_second=nan",), "max_claims_per_second"),
        (("retain_payload=maybe",), "maybe"),
        (("paused=true",), "codeq queues pause"),
        (("max_backlog=1", "max_backlog=2"), "twice"),
        ((), "KEY=VALUE"),
    ],
)
def test_a_bad_setting_is_told(codeq: Served, words: tuple[str, ...], told: str) -> None:
    ran = codeq("queues", "set", "c", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr


def test_every_setting_can_be_changed() -> None:
    """But for those that pause and resume are for."""
    fields = {field.name for field in Queue.DESCRIPTOR.fields}
    policy = {f"retry_policy.{field.name}" for field in RetryPolicy.DESCRIPTOR.fields}
    others = {"command", "paused", "pause_reason", "retry_policy"}
    assert set(PARSERS) == fields - others | policy


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("default_priority=0", "0"),
        ("lease_duration=500ms", "500ms"),
        ("retain_payload=ON", "true"),
        ("max_in_progress=12", "12"),
        ("max_claims_per_second=0.5", "0.5"),
        ("retry_policy.non_retryable_error_types= a , b,", "a, b"),
        ("retry_policy.initial_backoff=0", "0s"),
    ],
)
def test_what_is_set_is_what_is_shown(given: str, made: str) -> None:
    setting = change(given)
    assert dict(rows(changed("c", [setting])))[setting.key] == made


def test_default_is_no_value() -> None:
    assert change("retention=Default") == Change("retention", None)
    with pytest.raises(click.BadParameter, match="retention"):
        change("retentoin=1s")


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(0, "0s"), (1, "1ms"), (90_000, "1m30s"), (86_400_000, "1d"), (3_600_500, "1h500ms")],
)
def test_spans(milliseconds: int, shown: str) -> None:
    assert span(milliseconds) == shown


def test_pause_resume_and_purge(codeq: Served, scripted: Scripted) -> None:
    assert codeq("queues", "pause", "c", "--reason", "deploy").stdout == "paused c\n"
    assert scripted.last(admin_pb.PauseQueueRequest).reason == "deploy"
    ran = codeq("queues", "resume", "c", "--json")
    assert json.loads(ran.stdout) == {"command": "c", "paused": False}
    assert codeq("queues", "purge", "c", "--yes").stdout == "purged 7 of c\n"
    ran = codeq("queues", "purge", "c", "--yes", "--json")
    assert json.loads(ran.stdout) == {"command": "c", "purgedCount": 7}


def test_a_purge_asks_with_the_number(codeq: Served, scripted: Scripted) -> None:
    ran = codeq("queues", "purge", "c")
    assert (ran.exit_code, "--yes" in ran.stderr) == (2, True)
    with Terminal("queues", "purge", "c", env=codeq.env) as terminal:
        terminal.wait_for(r"purge c, 1,239 tasks\?")
        terminal.press("\n")
        assert terminal.wait() == 1
    assert scripted.count(admin_pb.PurgeQueueRequest) == 0


def test_workers_are_a_table_and_a_document_a_line(codeq: Served, scripted: Scripted) -> None:
    row = next(line for line in codeq("workers").stdout.splitlines() if "3/10" in line)
    assert row.split() == ["w:\\x1b1", "c", "d", "3/10", "07-01", "12:00", "ipv4:127.0.0.1:5", "s"]
    document = json.loads(codeq("workers", "--command", "c", "--json").stdout)
    assert (document["workerId"], document["maxOutstanding"]) == ("w:\x1b1", 10)
    assert scripted.last(admin_pb.ListWorkersRequest).command == "c"
    scripted.workers.clear()
    ran = codeq("workers")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no workers now\n")
