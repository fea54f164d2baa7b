"""`codeq export` and `codeq apply`: the same again changes nothing, errors are told by line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, schedule_service_pb2 as pb
from codeq_grpc.core.errors import CommandForbidden, InvalidField, ScheduleChanged, StoreUnavailable
from tests.unit.cli_scheduling import Scheduling, scheduling
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from click.testing import Result

    from tests.unit.cli_scripted import Served

ROOT = Path(__file__).parents[2]
FILE = """\
version: 1
queues:
  mail:
    max_in_progress: 3
    lease_duration: 300s
schedules:
  nightly:
    spec:
      crons: ["0 3 * * *"]
      time_zone: Europe/Berlin
    task:
      command: report
      payload: {day: "{{fire_time}}"}
    overlap_policy: skip
  poll:
    spec: {every: 90s}
    task: {command: poll}
"""
WRITES = (
    *(admin_pb.UpdateQueueRequest, pb.CreateScheduleRequest, pb.UpdateScheduleRequest),
    pb.BatchSchedulesRequest,
)


class Apply(Protocol):
    """Applies a text."""

    def __call__(self, text: str, *words: str) -> Result: ...


@pytest.fixture
def scripted() -> Scheduling:
    return Scheduling()


@pytest.fixture
def codeq(scripted: Scheduling) -> Iterator[Served]:
    with scheduling(scripted) as served:
        yield served


@pytest.fixture
def apply(codeq: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apply:
    monkeypatch.chdir(tmp_path)

    def run(text: str, *words: str) -> Result:
        (tmp_path / "codeq.yaml").write_text(text)
        return codeq("apply", "-f", "codeq.yaml", *words)

    return run


def writes(scripted: Scheduling) -> int:
    return sum(scripted.count(kind) for kind in WRITES)


def test_a_second_time_changes_nothing_and_says_so(apply: Apply, scripted: Scheduling) -> None:
    ran = apply(FILE)
    assert (ran.exit_code, ran.stderr) == (0, "made 2, changed 1\n")
    assert ran.stdout == "~ queue mail\n+ schedule nightly\n+ schedule poll\n"
    assert scripted.last(admin_pb.UpdateQueueRequest).update_mask.paths == ["lease_duration"]
    assert scripted.schedules["nightly"].task.payload.data == b'{"day":"{{fire_time}}"}'
    scripted.asked.clear()
    ran = apply(FILE)
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert ran.stderr == "nothing to change: 3 as the file says\n"
    assert writes(scripted) == 0


def test_what_is_exported_changes_nothing_when_applied(
    apply: Apply, codeq: Served, scripted: Scheduling
) -> None:
    apply(FILE)
    scripted.add(pb.Schedule(schedule_id="audit:prune", system=True))
    exported = codeq("export").stdout
    assert codeq("export").stdout == exported
    ran = apply(exported, "--prune")
    assert ran.stderr == "nothing to change: 3 as the file says\n"
    ran = apply(codeq("export", "--json").stdout)
    assert ran.stderr == "nothing to change: 3 as the file says\n"


def test_an_export_has_what_was_set_in_one_order(
    apply: Apply, codeq: Served, scripted: Scheduling
) -> None:
    apply(FILE)
    scripted.schedules["poll"].paused = True
    assert codeq("export").stdout == (
        "# Written by `codeq export`; `codeq apply -f` makes a server so.\n"
        "version: 1\n"
        "queues:\n"
        "  mail:\n"
        "    lease_duration: 5m\n"
        "    max_in_progress: 3\n"
        "schedules:\n"
        "  nightly:\n"
        "    spec:\n"
        "      crons:\n"
        "      - 0 3 * * *\n"
        "      time_zone: Europe/Berlin\n"
        "    task:\n"
        "      command: report\n"
        "      payload:\n"
        "        day: '{{fire_time}}'\n"
        "    overlap_policy: skip\n"
        "  poll:\n"
        "    spec:\n"
        "      every: 1m30s\n"
        "    task:\n"
        "      command: poll\n"
        "    paused: true\n"
    )
    assert "schedules" not in codeq("export", "--queues").stdout
    assert "queues" not in codeq("export", "--schedules").stdout.split("\n", 1)[1]


def test_what_a_file_cannot_have_is_told(codeq: Served, scripted: Scheduling) -> None:
    schedule = pb.Schedule(schedule_id="s")
    schedule.spec.crons.append("@daily")
    schedule.task.command, schedule.task.idempotency_key = "c", "k"
    scripted.add(schedule)
    assert codeq("export").stderr == "left out of s: task.idempotency_key\n"


def test_what_only_a_newer_server_says_is_told(codeq: Served, scripted: Scheduling) -> None:
    scripted.add(pb.Schedule(schedule_id="s"))  # of a rule that is not known here
    ran = codeq("export")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr == "error: schedule s says what this version of codeQ does not know\n"


def test_a_dry_run_shows_the_difference_and_changes_nothing(
    apply: Apply, scripted: Scheduling
) -> None:
    apply(FILE)
    scripted.asked.clear()
    changed = FILE.replace("0 3", "0 4").replace("    overlap_policy: skip\n", "")
    changed = changed.replace("  poll:", "  poll2:").replace("    max_in_progress: 3\n", "")
    ran = apply(changed, "--dry-run", "--prune")
    assert (ran.exit_code, writes(scripted)) == (0, 0)
    lines = ran.stdout.splitlines()
    assert lines[:3] == ["~ queue mail", "    lease_duration: 5m", "-   max_in_progress: 3"]
    assert "-     - 0 3 * * *" in lines
    assert "+     - 0 4 * * *" in lines
    assert "-   overlap_policy: skip" in lines
    added = ["+ schedule poll2", "+   spec:", "+     every: 1m30s", "+   task:"]
    assert lines[-10:-5] == [*added, "+     command: poll"]
    assert lines[-5] == "- schedule poll"
    assert ran.stderr == "1 to create, 2 to update, 1 to delete\n"


def test_what_is_not_there_is_the_default(apply: Apply, scripted: Scheduling) -> None:
    apply(FILE)
    nightly = scripted.schedules["nightly"]
    nightly.max_firings = 5
    apply(FILE.replace("    overlap_policy: skip\n", "").replace("    max_in_progress: 3\n", ""))
    asked = scripted.last(pb.UpdateScheduleRequest)
    assert set(asked.update_mask.paths) == {"overlap_policy", "max_firings"}
    assert asked.schedule.etag == nightly.etag
    assert asked.reason == "codeq apply -f codeq.yaml"
    kept = scripted.schedules["nightly"]
    assert (kept.overlap_policy, kept.max_firings) == (0, 0)
    assert scripted.set["mail"].max_in_progress == 0


def test_whether_it_is_paused_stays_unless_the_file_says(
    apply: Apply, scripted: Scheduling
) -> None:
    apply(FILE)
    scripted.schedules["poll"].paused = scripted.set["mail"].paused = True
    assert apply(FILE).stderr == "nothing to change: 3 as the file says\n"
    resume = FILE + "    paused: false\n"
    assert apply(resume).stdout == "~ schedule poll\n"
    assert not scripted.schedules["poll"].paused
    assert apply(resume).stdout == ""
    pause = FILE + "    paused: true\n    pause_reason: broken\n"
    assert apply(pause).stdout == "~ schedule poll\n"
    kept = scripted.schedules["poll"]
    assert (kept.paused, kept.pause_reason) == (True, "broken")
    assert apply(pause).stdout == ""
    assert scripted.last(pb.UpdateScheduleRequest).update_mask.paths == ["paused", "pause_reason"]


def test_a_section_that_is_not_there_is_left_alone(apply: Apply, scripted: Scheduling) -> None:
    apply(FILE)
    ran = apply("version: 1\nqueues: {mail: {lease_duration: 5m}}\n", "--prune")
    assert ran.stdout == "~ queue mail\n"
    assert set(scripted.schedules) == {"nightly", "poll"}


def test_pruning_deletes_what_the_file_does_not_have(apply: Apply, scripted: Scheduling) -> None:
    apply(FILE)
    scripted.add(pb.Schedule(schedule_id="audit:prune", system=True))
    fewer = "version: 1\nqueues: {}\nschedules:\n" + FILE[FILE.index("  nightly:") :]
    fewer = fewer[: fewer.index("  poll:")]
    assert apply(fewer).stderr == "nothing to change: 1 as the file says\n"
    ran = apply(fewer, "--prune")
    assert (ran.exit_code, "--yes" in ran.stderr) == (2, True)
    assert set(scripted.schedules) == {"nightly", "poll", "audit:prune"}
    ran = apply(fewer, "--prune", "--yes", "--reason", "gone")
    assert ran.stdout == "~ queue mail\n- schedule poll\n"
    assert set(scripted.schedules) == {"nightly", "audit:prune"}
    assert scripted.last(pb.BatchSchedulesRequest).reason == "gone"
    assert scripted.set["mail"].ByteSize() == len("mail") + 2


def test_a_deletion_asks(apply: Apply, codeq: Served, scripted: Scheduling, tmp_path: Path) -> None:
    apply(FILE)
    (tmp_path / "less.yaml").write_text("version: 1\nqueues: {}\nschedules: {}\n")
    words = ("apply", "-f", str(tmp_path / "less.yaml"), "--prune")
    with Terminal(*words, env=codeq.env) as terminal:
        terminal.wait_for(r"delete 2 schedules and reset queue mail that the file does not have\?")
        terminal.press("\n")
        assert terminal.wait() == 1
    assert len(scripted.schedules) == 2


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("overlap_policy: skip", "overlap: skip", "14: schedules.nightly.overlap: there is no"),
        ("0 3 * * *", "61 3 * * *", "9: schedules.nightly.spec.crons[0]: the minute field"),
        ("Europe/Berlin", "Mars/Base", "10: schedules.nightly.spec.time_zone: is not a time zone"),
        ("every: 90s", "every: 90ms", "16: schedules.poll.spec.every: must be"),
        ("command: poll", "command: p p", "17: schedules.poll.task.command: must be"),
        ("max_in_progress: 3", "max_in_progress: 9999999", "4: queues.mail.max_in_progress: must"),
        ("  poll:", "  p p:", "15: schedules.p p: must be"),
        ("version: 1", "version: 2", "1: version: 2 is of another codeQ"),
    ],
)
def test_a_mistake_is_told_by_line_before_anything_is_asked(
    apply: Apply, scripted: Scheduling, old: str, new: str, told: str
) -> None:
    ran = apply(FILE.replace(old, new))
    assert (ran.exit_code, ran.stdout, scripted.asked) == (1, "", [])
    first, last = ran.stderr.splitlines()
    assert first.startswith(f"codeq.yaml:{told}")
    assert last == "error: codeq.yaml cannot be used; nothing was changed"


def test_a_part_of_codeq_is_not_in_a_file(apply: Apply, scripted: Scheduling) -> None:
    scripted.add(pb.Schedule(schedule_id="poll", system=True))
    ran = apply(FILE)
    assert (ran.exit_code, writes(scripted)) == (1, 0)
    assert "codeq.yaml:15: schedules.poll: is a part of codeQ" in ran.stderr


def test_what_a_server_refuses_is_told_by_line_and_the_rest_is_done(
    apply: Apply, scripted: Scheduling
) -> None:
    scripted.refuse["UpdateQueue"] = InvalidField.at("queue.lease_duration", "too long here")
    ran = apply(FILE)
    assert (ran.exit_code, ran.stdout) == (1, "+ schedule nightly\n+ schedule poll\n")
    assert ran.stderr.splitlines() == [
        "codeq.yaml:5: queues.mail.lease_duration: too long here",
        "made 2, failed 1",
    ]
    scripted.schedules.clear()
    scripted.refuse = {"CreateSchedule": CommandForbidden("not yours")}
    ran = apply(FILE, "--json")
    assert "codeq.yaml:7: schedules.nightly: COMMAND_FORBIDDEN: not yours" in ran.stderr
    documents = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [one.get("reason") for one in documents] == [None, *["COMMAND_FORBIDDEN"] * 2, None]
    assert documents[-1]["summary"]["failed"] == 2


def test_a_change_that_came_between_is_not_lost(apply: Apply, scripted: Scheduling) -> None:
    apply(FILE)
    scripted.refuse["UpdateSchedule"] = ScheduleChanged()
    ran = apply(FILE.replace("skip", "allow"))
    assert ran.exit_code == 1
    assert "codeq.yaml:7: schedules.nightly: SCHEDULE_CHANGED" in ran.stderr


def test_an_outage_ends_it(apply: Apply, scripted: Scheduling) -> None:
    scripted.refuse["CreateSchedule"] = StoreUnavailable()
    ran = apply(FILE)
    assert (ran.exit_code, ran.stdout) == (1, "~ queue mail\n")
    assert ran.stderr.startswith("error: STORE_UNAVAILABLE")


def test_each_change_is_a_document(apply: Apply) -> None:
    documents = [json.loads(line) for line in apply(FILE, "--json").stdout.splitlines()]
    assert [(one["kind"], one["name"], one["change"]) for one in documents[:-1]] == [
        ("queue", "mail", "update"),
        ("schedule", "nightly", "create"),
        ("schedule", "poll", "create"),
    ]
    assert documents[0]["after"] == {"lease_duration": "5m", "max_in_progress": 3}
    counts = {"create": 2, "update": 1, "delete": 0, "same": 0, "failed": 0}
    assert documents[-1]["summary"] == counts | {"dryRun": False}


def test_many_are_read_at_once(apply: Apply, scripted: Scheduling) -> None:
    scripted.page = 1_000
    lines = [f"  s{n:03}: {{spec: {{every: 1m}}, task: {{command: c}}}}" for n in range(150)]
    text = "version: 1\nschedules:\n" + "\n".join(lines)
    assert apply(text).stderr == "made 150\n"
    assert apply(text).stderr == "nothing to change: 150 as the file says\n"
    assert scripted.count(pb.GetScheduleRequest) == 0


@pytest.mark.parametrize(
    ("data", "told"), [(b"\xff", "is not UTF-8"), (b"", "has no settings"), (None, "nowhere")]
)
def test_a_file_that_cannot_be_read_is_told(
    codeq: Served, tmp_path: Path, data: bytes | None, told: str
) -> None:
    file = tmp_path / "nowhere.yaml"
    if data is not None:
        file.write_bytes(data)
    ran = codeq("apply", "-f", str(file))
    assert ran.exit_code in {1, 2}
    assert told in ran.stderr


def test_the_file_of_the_docs_can_be_applied(apply: Apply, scripted: Scheduling) -> None:
    page = (ROOT / "docs" / "schedules.md").read_text()
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert apply(text).stdout == "~ queue report\n+ schedule nightly\n"
    assert scripted.schedules["nightly"].task.payload.data == b'{"day":"{{fire_time}}"}'
    assert apply(text).stdout == ""
