"""`codeq schedules`: what it asks for and what it shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import schedule_service_pb2 as pb
from codeq.v1.task_pb2 import TASK_STATE_FAILED
from codeq_grpc.core.errors import InvalidField, VersionNotFound
from tests.unit.cli_scheduling import Scheduling, scheduling, stamp
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.cli_scripted import Served


def nightly(**fields: Any) -> pb.Schedule:
    made = pb.Schedule(schedule_id="nightly", labels={"team": "a"}, **fields)
    made.spec.crons.append("30 2 * * *")
    made.spec.time_zone = "Europe/Berlin"
    made.task.command = "report"
    made.task.payload.data = b'{"day": "{{fire_time}}"}'
    made.task.payload.content_type = "application/json"
    made.status.next_times.append(stamp("2027-03-28T01:00:00Z"))
    made.status.fired_count = 1234
    return made


def firing(time: str, **fields: Any) -> pb.Firing:
    made = pb.Firing(cause=pb.FIRING_CAUSE_TIME, **fields)
    made.fire_time.FromJsonString(time)
    made.actual_time.FromJsonString(time)
    made.actual_time.seconds += 90
    return made


@pytest.fixture
def scripted() -> Scheduling:
    scripted = Scheduling()
    scripted.add(nightly())
    return scripted


@pytest.fixture
def codeq(scripted: Scheduling) -> Iterator[Served]:
    with scheduling(scripted) as served:
        yield served


def facts(shown: str) -> dict[str, str]:
    """The lines of a schedule; of several of one name the last."""
    found = {}
    for line in shown.splitlines():
        name, value = line[:19].strip(), line[19:].strip()
        if not line.startswith(" ") and value:
            found[name] = value
    return found


def test_a_bare_call_is_a_table_by_name(codeq: Served, scripted: Scheduling) -> None:
    every = pb.Schedule(schedule_id="audit:prune", system=True, paused=True)
    every.spec.every.FromSeconds(90)
    scripted.add(every)
    lines = codeq("schedules").stdout.splitlines()
    rows = [line.split() for line in lines if "audit" in line or "nightly" in line]
    assert rows[0] == ["audit:prune", "every", "1m30s", "0", "0", "system", "paused"]
    assert rows[1][:6] == ["nightly", "30", "2", "*", "*", "*"]
    assert rows[1][-2:] == ["1,234", "0"]
    codeq("schedules", "ni", "--label", "team=a", "--command", "report")
    asked = scripted.last(pb.ListSchedulesRequest)
    assert (asked.id_prefix, dict(asked.labels), asked.command) == ("ni", {"team": "a"}, "report")


def test_many_are_cut_for_people_and_not_for_programs(codeq: Served, scripted: Scheduling) -> None:
    for number in range(60):
        scripted.add(pb.Schedule(schedule_id=f"s{number:02}"))
    ran = codeq("schedules")
    assert ("only the first 50" in ran.stderr, "s50" in ran.stdout) == (True, False)
    documents = [json.loads(line) for line in codeq("schedules", "--json").stdout.splitlines()]
    assert len(documents) == 61
    assert documents[0]["task"]["payload"] == {"day": "{{fire_time}}"}
    assert (documents[0]["overlapPolicy"], documents[0]["misfirePolicy"]) == ("ALLOW", "FIRE_ONCE")
    assert documents[0]["status"]["firedCount"] == 1234


def test_none_are_told_on_stderr(codeq: Served, scripted: Scheduling) -> None:
    assert codeq("schedules", "x").stderr == "no such schedules\n"
    scripted.schedules.clear()
    ran = codeq("schedules")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "codeq schedules create" in ran.stderr


def test_one_is_shown_with_its_next_times(codeq: Served) -> None:
    shown = codeq("schedules", "get", "nightly").stdout
    found = facts(shown)
    assert found["when"] == "30 2 * * * Europe/Berlin"
    assert (found["payload"], found["overlap"]) == ('{"day": "{{fire_time}}"}', "allow")
    assert (found["misfire"], found["fired"]) == ("fire_once after 5m", "1,234")
    assert found["label"] == "team=a"
    assert "Sun 2027-03-28 03:00:00 +02:00" in shown
    assert shown.endswith(" 1* moved: the clock leaves out 02:30\n")
    document = json.loads(codeq("schedules", "get", "nightly", "--json").stdout)
    assert document["status"]["nextTimes"] == ["2027-03-28T01:00:00Z"]


def test_one_that_has_ended_says_why(codeq: Served, scripted: Scheduling) -> None:
    once = pb.Schedule(schedule_id="once", status=pb.ScheduleStatus(ended=True))
    once.spec.times.append(stamp("2026-07-01T12:00:13Z"))
    scripted.add(once)
    found = facts(codeq("schedules", "get", "once").stdout)
    assert found["when"] == "at 2026-07-01 12:00:13 UTC"
    assert found["ended"] == "yes: no fire time is left"
    once = scripted.schedules["once"]
    once.max_firings, once.status.fired_count, once.status.refused_count = 3, 2, 1
    ended = facts(codeq("schedules", "get", "once").stdout)["ended"]
    assert ended == "yes: max firings is reached"


def test_an_unknown_one_is_told_with_what_to_do(codeq: Served) -> None:
    ran = codeq("schedules", "get", "nobody")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: SCHEDULE_NOT_FOUND: ")
    assert "`codeq schedules`" in ran.stderr


def test_one_is_made_of_options(codeq: Served, scripted: Scheduling) -> None:
    ran = codeq(
        *("schedules", "create", "poll", "--command", "poll", "--every", "90s"),
        *("--cron", "0 3 * * *", "--cron", "@hourly", "--zone", "Asia/Tokyo"),
        *("--at", "2026-07-01T12:00:00+02:00", "--start", "2026-01-01T00:00:00Z"),
        *("--jitter", "5s", "--payload", '{"a": 1}', "--priority", "high", "--lease", "5m"),
        *("--max-attempts", "3", "--header", "k=v", "--task-label", "a=b", "--label", "c=d"),
        *("--overlap", "skip", "--misfire", "fire_all", "--grace", "1h", "--max-firings", "9"),
        *("--pause-after-failures", "4", "--description", "why", "--paused"),
    )
    assert (ran.exit_code, ran.stderr) == (0, "")
    made = scripted.last(pb.CreateScheduleRequest).schedule
    assert (list(made.spec.crons), made.spec.every.ToSeconds()) == (["0 3 * * *", "@hourly"], 90)
    assert made.spec.times[0] == stamp("2026-07-01T10:00:00Z")
    assert made.spec.start_time == stamp("2026-01-01T00:00:00Z")
    assert (made.spec.time_zone, made.spec.jitter.ToSeconds()) == ("Asia/Tokyo", 5)
    assert (made.task.command, made.task.payload.data) == ("poll", b'{"a": 1}')
    assert made.task.payload.content_type == "application/json"
    assert (made.task.priority, made.task.lease_duration.ToSeconds()) == (7, 300)
    assert made.task.retry_policy.max_attempts == 3
    assert (dict(made.task.headers), dict(made.task.labels)) == ({"k": "v"}, {"a": "b"})
    assert made.overlap_policy == pb.OVERLAP_POLICY_SKIP
    assert made.misfire_policy == pb.MISFIRE_POLICY_FIRE_ALL
    assert (made.misfire_grace.ToSeconds(), made.max_firings) == (3_600, 9)
    assert (made.pause_after_failures, made.description, made.paused) == (4, "why", True)
    assert dict(made.labels) == {"c": "d"}


def test_there_is_one_already(codeq: Served) -> None:
    ran = codeq("schedules", "create", "nightly", "--command", "c", "--every", "1m")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "`codeq schedules update`" in ran.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("create", "s", "--every", "1m"), "--command"),
        (("create", "s", "--command", "c"), "--cron"),
        (("create", "--command", "c", "--every", "1m"), "ID"),
        (("create", "s", "--command", "c", "--every", "soon"), "soon"),
        (("create", "s", "--command", "c", "--at", "noon"), "--at: 'noon'"),
        (
            ("create", "s", "--command", "c", "--at", "2026-07-01T12:00", "--zone", "Asia/Tokyo"),
            "which zone",
        ),
        (("create", "s", "--command", "c", "--every", "1m", "--payload", "x"), "not JSON"),
        (("create", "s", "--command", "c", "--every", "1m", "--content-type", "x"), "--payload"),
        (("create", "s", "--command", "c", "--label", "a=1", "--label", "a=2"), "twice"),
        (("create", "s", "-f", __file__), "--file"),
        (("create", "-f", "/nowhere"), "/nowhere"),
        (("update", "nightly"), "what is to change"),
        (("update", "nightly", "--cron", "@daily", "--clear", "crons"), "given and cleared"),
        (("update", "nightly", "--clear", "command"), "command"),
        (("preview",), "--cron"),
        (("preview", "nightly", "--every", "1m"), "--from"),
        (("preview", "nightly", "--from", "noon"), "noon"),
        (("pause",), "--prefix"),
        (("pause", "nightly", "--prefix", "n"), "--prefix"),
        (("delete", "nightly"), "--yes"),
        (("backfill", "nightly"), "--since"),
        (("backfill", "nightly", "--since", "2999-01-01"), "before now"),
        (("backfill", "nightly", "--since", "1h", "--until", "2h"), "before --until"),
        (("rollback", "nightly", "0"), "0"),
    ],
)
def test_wrong_usage_changes_nothing(
    codeq: Served, scripted: Scheduling, words: tuple[str, ...], told: str
) -> None:
    ran = codeq("schedules", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr
    assert scripted.asked == []


def test_what_is_given_changes_and_the_rest_stays(codeq: Served, scripted: Scheduling) -> None:
    words = ("--cron", "@daily", "--priority", "9", "--clear", "labels", "--reason", "late")
    ran = codeq("schedules", "update", "nightly", *words)
    assert ran.exit_code == 0
    asked = scripted.last(pb.UpdateScheduleRequest)
    assert set(asked.update_mask.paths) == {"spec", "task", "labels"}
    assert (asked.reason, asked.schedule.etag) == ("late", "e1")
    kept = scripted.schedules["nightly"]
    assert (list(kept.spec.crons), kept.spec.time_zone) == (["@daily"], "Europe/Berlin")
    assert (kept.task.priority, kept.task.payload.data) == (9, b'{"day": "{{fire_time}}"}')
    assert not kept.labels
    codeq("schedules", "update", "nightly", "--clear", "payload", "--clear", "time_zone")
    kept = scripted.schedules["nightly"]
    assert not kept.task.HasField("payload")
    assert (kept.spec.time_zone, list(kept.spec.crons)) == ("", ["@daily"])


def test_a_refusal_names_the_field(codeq: Served, scripted: Scheduling) -> None:
    scripted.refuse["CreateSchedule"] = InvalidField.at("schedule.spec.crons[0]", "has 1 fields")
    ran = codeq("schedules", "create", "s", "--command", "c", "--cron", "x")
    assert ran.stderr == "error: INVALID_FIELD: schedule.spec.crons[0]: has 1 fields\n"


def test_some_are_paused_resumed_and_deleted_by_name(codeq: Served, scripted: Scheduling) -> None:
    ran = codeq("schedules", "pause", "nightly", "nobody", "--reason", "deploy")
    assert (ran.exit_code, ran.stdout) == (1, "paused nightly\n")
    assert ran.stderr.startswith("error: nobody: SCHEDULE_NOT_FOUND")
    asked = scripted.last(pb.BatchSchedulesRequest)
    assert (list(asked.schedule_ids), asked.reason) == (["nightly", "nobody"], "deploy")
    assert scripted.schedules["nightly"].paused
    assert codeq("schedules", "resume", "nightly").stdout == "resumed nightly\n"
    ran = codeq("schedules", "delete", "nightly", "--yes", "--json")
    assert json.loads(ran.stdout) == {"deletedCount": 1, "failures": []}


def test_many_are_chosen_by_what_they_have_in_common(codeq: Served, scripted: Scheduling) -> None:
    for number in range(3):
        scripted.add(pb.Schedule(schedule_id=f"s{number}", system=number == 2))
    ran = codeq("schedules", "pause", "--prefix", "s")
    assert ran.stdout == "paused 2\n"  # codeQ's own only by name
    assert list(scripted.last(pb.BatchSchedulesRequest).schedule_ids) == ["s0", "s1"]
    assert codeq("schedules", "pause", "s2").stdout == "paused s2\n"
    ran = codeq("schedules", "resume", "--prefix", "zzz")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "no such schedules\n")


def test_a_deletion_asks_with_the_number(codeq: Served, scripted: Scheduling) -> None:
    scripted.add(pb.Schedule(schedule_id="nightly2"))
    with Terminal("schedules", "delete", "--prefix", "nightly", env=codeq.env) as terminal:
        terminal.wait_for(r"delete 2 schedules\?")
        terminal.press("\n")
        assert terminal.wait() == 1
    assert len(scripted.schedules) == 2


def test_a_trigger_prints_the_task(codeq: Served, scripted: Scheduling) -> None:
    scripted.firings = [firing("2026-07-01T12:00:00Z", task_id="t1")]
    ran = codeq("schedules", "trigger", "nightly", "--key", "k")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "t1\n", "")
    assert scripted.last(pb.TriggerScheduleRequest).request_key == "k"
    scripted.firings = [firing("2026-07-01T12:00:00Z", skip_reason="OVERLAP")]
    ran = codeq("schedules", "trigger", "nightly")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (1, "", "skipped: OVERLAP\n")
    scripted.firings = [firing("2026-07-01T12:00:00Z")]
    ran = codeq("schedules", "trigger", "nightly")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "task before" in ran.stderr


def test_a_backfill_tells_how_many(codeq: Served, scripted: Scheduling) -> None:
    scripted.firings = [firing("2026-07-01T12:00:00Z")] * 3
    words = ("--since", "2026-07-01", "--until", "2026-07-02T00:00:00+02:00")
    assert codeq("schedules", "backfill", "nightly", *words).stdout == "fired 3\n"
    asked = scripted.last(pb.BackfillScheduleRequest)
    assert asked.start_time == stamp("2026-07-01T00:00:00Z")
    assert asked.end_time == stamp("2026-07-01T22:00:00Z")
    ran = codeq("schedules", "backfill", "nightly", "--since", "1h", "--json")
    assert json.loads(ran.stdout) == {"scheduleId": "nightly", "firedCount": 3}


def test_firings_are_shown_with_what_came_of_them(codeq: Served, scripted: Scheduling) -> None:
    scripted.firings = [
        firing("2026-07-01T12:00:00Z", task_id="t1", state=TASK_STATE_FAILED),
        firing("2026-07-01T11:00:00Z", skip_reason="OVERLAP"),
        firing("2026-07-01T10:00:00Z", task_id="t0"),
        firing("2026-07-01T09:00:00Z"),
    ]
    lines = codeq("schedules", "firings", "nightly").stdout.splitlines()
    rows = [line.split()[1:] for line in lines if "2026-07-01" in line]
    assert rows[0] == ["12:00:00", "1m", "30s", "time", "t1", "FAILED"]
    assert rows[1][-2:] == ["skipped:", "OVERLAP"]
    assert rows[2][-3:] == ["t0", "not", "kept"]
    assert rows[3][-3:] == ["to", "be", "enqueued"]
    lines = codeq("schedules", "firings", "nightly", "--json", "--limit", "1").stdout.splitlines()
    document = json.loads(lines[0])
    assert (len(lines), document["cause"], document["state"]) == (1, "TIME", "FAILED")
    scripted.firings.clear()
    assert codeq("schedules", "firings", "nightly").stderr == "nightly has not fired yet\n"


def test_versions_tell_what_changed_and_why(codeq: Served, scripted: Scheduling) -> None:
    newer, older = nightly(version=2), nightly(version=1)
    newer.description = "new"
    for schedule, reason in ((newer, "typo"), (older, "")):
        version = pb.ScheduleVersion(schedule=schedule, changed_by="ann", reason=reason)
        version.change_time.FromJsonString("2026-07-01T12:00:00Z")
        scripted.versions.append(version)
    lines = codeq("schedules", "versions", "nightly").stdout.splitlines()
    rows = [line.split() for line in lines if "ann" in line]
    assert rows[0] == ["2", "2026-07-01", "12:00:00", "ann", "description", "typo"]
    assert rows[1] == ["1", "2026-07-01", "12:00:00", "ann", "made"]
    ran = codeq("schedules", "versions", "nightly", "--json")
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [one["schedule"]["version"] for one in found] == [2, 1]


def test_a_rollback_names_version_and_reason(codeq: Served, scripted: Scheduling) -> None:
    assert codeq("schedules", "rollback", "nightly", "3", "--reason", "oops").exit_code == 0
    asked = scripted.last(pb.RollbackScheduleRequest)
    assert (asked.version, asked.reason) == (3, "oops")
    assert codeq("schedules", "rollback", "nightly", "3").exit_code == 0
    assert scripted.last(pb.RollbackScheduleRequest).reason == "back to version 3"
    scripted.refuse["RollbackSchedule"] = VersionNotFound()
    assert "`codeq schedules versions`" in codeq("schedules", "rollback", "nightly", "9").stderr


def test_a_preview_shows_both_clocks_and_what_becomes_of_a_gap(
    codeq: Served, scripted: Scheduling
) -> None:
    scripted.times = ["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z"]
    words = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--count", "2")
    ran = codeq("schedules", "preview", *words)
    assert ran.exit_code == 0
    rows = [line.split() for line in ran.stdout.splitlines() if " 2027-" in line]
    assert rows[0][:5] == ["1", "Sat", "2027-03-27", "02:30:00", "+01:00"]
    assert rows[1][:5] == ["2*", "Sun", "2027-03-28", "03:00:00", "+02:00"]
    assert ran.stdout.endswith("2* moved: the clock leaves out 02:30\n")
    asked = scripted.last(pb.PreviewScheduleRequest)
    assert (asked.count, asked.spec.time_zone) == (2, "Europe/Berlin")
    document = json.loads(codeq("schedules", "preview", "nightly", "--json").stdout)
    assert document["timeZone"] == "Europe/Berlin"
    assert document["times"][1]["time"] == "2027-03-28T01:00:00Z"
    assert document["times"][1]["zoneTime"] == "2027-03-28T03:00:00+02:00"
    assert document["times"][1]["note"] == "moved: the clock leaves out 02:30"
    assert scripted.last(pb.PreviewScheduleRequest).spec == nightly().spec
    scripted.times = []
    assert codeq("schedules", "preview", "nightly").stderr == "no fire time is left\n"


def test_a_preview_begins_when_somebody_says(codeq: Served, scripted: Scheduling) -> None:
    late, over = ("--from", "2999-06-01"), ("--from", "2020-06-01")
    starts = stamp("2999-12-01T00:00:00Z")
    for words, told, start in (
        (late, "", stamp("2999-06-01T00:00:00Z")),
        (over, "times that are over are not shown\n", stamp("2020-06-01T00:00:00Z")),
        ((*late, "--start", "2999-12-01"), "", starts),
    ):
        rule = ("nightly",) if len(words) == 2 else ("--cron", "@daily")
        ran = codeq("schedules", "preview", *rule, *words)
        assert ran.stderr.startswith(told)
        assert scripted.last(pb.PreviewScheduleRequest).spec.start_time == start
    ran = codeq("schedules", "preview", "--cron", "@daily", "--end", "2999-05-01", *late)
    assert (ran.exit_code, "have ended" in ran.stderr) == (2, True)


def test_a_preview_fits_a_terminal(codeq: Served, scripted: Scheduling) -> None:
    scripted.times = ["2027-03-27T01:30:00Z", "2027-03-28T01:00:00Z"]
    env = {**codeq.env, "TZ": "America/St_Johns"}
    with Terminal("schedules", "preview", "nightly", env=env) as terminal:
        assert terminal.wait() == 0
    assert "Fri 2027-03-26 23:00:00 -02:30" in terminal.text
    assert max(map(len, terminal.text.splitlines())) <= 80


def test_all_of_a_file_are_made_and_none_changed(
    codeq: Served, scripted: Scheduling, tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    task = "{spec: {every: 1m}, task: {command: c}}"
    file.write_text(f"version: 1\nschedules:\n  a: {task}\n  nightly: {task}\n  b: {task}\n")
    ran = codeq("schedules", "create", "-f", str(file))
    assert (ran.exit_code, ran.stdout) == (1, "made a\nmade b\n")
    assert f"{file}:4: schedules.nightly: SCHEDULE_EXISTS" in ran.stderr
    assert scripted.schedules["nightly"].spec == nightly().spec
    file.write_text("version: 1\nqueues: {mail: {max_backlog: 1}}\n")
    assert "codeq apply" in codeq("schedules", "create", "-f", str(file)).stderr
