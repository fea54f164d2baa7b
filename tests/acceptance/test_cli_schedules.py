"""`codeq schedules`, `export` and `apply`: what fires is seen, and what is in git is what is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.programs import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq, Working


def _documents(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def _get(codeq: Codeq, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(codeq("schedules", "get", name, "--json").out)
    return document


def _firings(codeq: Codeq, name: str) -> list[dict[str, Any]]:
    return _documents(codeq("schedules", "firings", name, "--json").out)


def _next_gap() -> datetime:
    """The day of the next year on which Berlin's clocks leave out an hour."""
    day = datetime(datetime.now(UTC).year + 1, 3, 31, tzinfo=UTC)
    while day.isoweekday() != 7:
        day -= timedelta(days=1)
    return day


def test_a_schedule_fires_and_its_tasks_know_when(
    codeq: Codeq, working: Working, command: str
) -> None:
    payload = '{"at": "{{fire_time}}", "before": "{{previous_fire_time}}", "of": "{{schedule_id}}"}'
    words = ("--every", "1s", "--max-firings", "2", "--payload", payload)
    with working(command, "--exec", "cat"):
        made = codeq("schedules", "create", command, "--command", command, *words)
        assert (made.code, made.err) == (0, "")
        wait_until(lambda: _get(codeq, command)["status"]["completedCount"] == 2, "both are done")
    late, early = _firings(codeq, command)
    assert {late["state"], early["state"]} == {"COMPLETED"}
    assert {late["cause"], early["cause"]} == {"TIME"}
    shown = json.loads(codeq("tasks", "show", late["taskId"], "--full", "--json").out)
    told = json.loads(base64.b64decode(shown["result"]["data"]))
    assert told == {"at": late["fireTime"], "before": early["fireTime"], "of": command}
    assert _get(codeq, command)["status"]["ended"]
    row = next(line for line in codeq("schedules", command).out.splitlines() if "1s" in line)
    assert row.split()[-3:] == ["2", "0", "ended"]


def test_a_schedule_is_changed_and_rolled_back(codeq: Codeq, command: str) -> None:
    words = ("--command", command, "--cron", "0 3 * * *", "--zone", "Europe/Berlin")
    codeq("schedules", "create", command, *words)
    again = codeq("schedules", "create", command, *words)
    assert (again.code, "SCHEDULE_EXISTS" in again.err) == (1, True)
    words = ("--cron", "0 4 * * *", "--label", "team=a", "--priority", "high")
    assert codeq("schedules", "update", command, *words, "--reason", "too early").code == 0
    changed = _get(codeq, command)
    assert changed["spec"] == {"crons": ["0 4 * * *"], "timeZone": "Europe/Berlin", "times": []}
    assert (changed["task"]["priority"], changed["labels"]) == (7, {"team": "a"})

    versions = _documents(codeq("schedules", "versions", command, "--json").out)
    assert [(one["schedule"]["version"], one["reason"]) for one in versions] == [
        (2, "too early"),
        (1, ""),
    ]
    codeq("schedules", "rollback", command, "1", "--reason", "too late")
    back = _get(codeq, command)
    assert (back["spec"]["crons"], back["version"]) == (["0 3 * * *"], 3)
    assert "too late" in codeq("schedules", "versions", command).out
    gone = codeq("schedules", "rollback", command, "9")
    assert (gone.code, "VERSION_NOT_FOUND" in gone.err) == (1, True)


def test_a_paused_schedule_fires_only_when_asked_to(codeq: Codeq, api: Api, command: str) -> None:
    codeq("schedules", "create", command, "--command", command, "--every", "1h", "--paused")
    assert "paused" in codeq("schedules", command).out
    ran = codeq("schedules", "trigger", command, "--key", "k")
    task_id = ran.out.strip()
    assert codeq("schedules", "trigger", command, "--key", "k").out.strip() == task_id
    assert api.claim(command, wait=5) == [task_id]
    assert codeq("schedules", "resume", "--prefix", command).out == f"resumed {command}\n"
    assert not _get(codeq, command).get("paused")
    paused = codeq("schedules", "pause", command, "--reason", "deploy")
    assert paused.out == f"paused {command}\n"
    assert _get(codeq, command)["pauseReason"] == "deploy"
    assert codeq("schedules", "delete", command, "--yes").out == f"deleted {command}\n"
    missing = codeq("schedules", "get", command)
    assert (missing.code, "SCHEDULE_NOT_FOUND" in missing.err) == (1, True)


def test_what_overlaps_is_told(codeq: Codeq, command: str) -> None:
    words = ("--command", command, "--every", "1h", "--overlap", "skip")
    codeq("schedules", "create", command, *words)
    assert codeq("schedules", "trigger", command).code == 0
    second = codeq("schedules", "trigger", command)
    assert (second.code, second.out, second.err) == (1, "", "skipped: OVERLAP\n")
    assert "skipped: OVERLAP" in codeq("schedules", "firings", command).out


def test_the_past_is_made_up_for_once(codeq: Codeq, api: Api, command: str) -> None:
    codeq("schedules", "create", command, "--command", command, "--every", "1h")
    now = datetime.now(UTC).replace(minute=30, second=0) - timedelta(hours=1)
    since = (now - timedelta(hours=3)).isoformat()
    words = ("schedules", "backfill", command, "--since", since, "--until", now.isoformat())
    assert codeq(*words).out == "fired 3\n"
    assert codeq(*words).out == "fired 0\n"
    wait_until(lambda: api.queue(command).pending == 3, "all are there")


def test_a_preview_tells_what_becomes_of_a_time_that_is_left_out(codeq: Codeq) -> None:
    gap = _next_gap()
    words = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--count", "2", "--start")
    ran = codeq("schedules", "preview", *words, f"{gap:%Y-%m-%d}T00:00:00Z", TZ="America/St_Johns")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines() if "+02:00" in line]
    first = gap - timedelta(days=1)
    assert rows[0][:5] == ["1*", "Sun", f"{gap:%Y-%m-%d}", "03:00:00", "+02:00"]
    assert rows[0][5:9] == ["Sat", f"{first:%Y-%m-%d}", "22:30:00", "-02:30"]
    assert rows[1][3] == "02:30:00"
    assert "1* moved: the clock leaves out 02:30" in ran.out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--cron", "61 * * * *"), "spec.crons[0]"),
        (("--cron", "@daily", "--zone", "Mars/Base"), "spec.time_zone"),
        (("--every", "1ms"), "spec.every"),
    ],
)
def test_a_rule_that_cannot_be_is_told_by_its_field(
    codeq: Codeq, command: str, words: tuple[str, ...], told: str
) -> None:
    for call in (("preview",), ("create", command, "--command", command)):
        ran = codeq("schedules", *call, *words)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: INVALID_FIELD: ")
        assert told in ran.err
    assert codeq("schedules", "get", command).code == 1


def test_what_is_in_git_is_what_is(codeq: Codeq, command: str, tmp_path: Path) -> None:
    text = (
        f"version: 1\nqueues:\n  {command}:\n    lease_duration: 90s\n    retry_policy:"
        f" {{max_attempts: 2}}\nschedules:\n  {command}:\n    spec: {{crons: ['0 3 * * *'],"
        f" time_zone: Europe/Berlin}}\n    task:\n      command: {command}\n      payload:"
        " {day: '{{fire_time}}', n: [1, 2.5, null]}\n    overlap_policy: skip\n"
    )
    file = tmp_path / "codeq.yaml"
    file.write_text(text)
    apply = ("apply", "-f", "codeq.yaml")
    dry = codeq(*apply, "--dry-run")
    assert (dry.code, dry.err) == (0, "1 to create, 1 to update\n")
    assert "+   overlap_policy: skip\n" in dry.out
    assert codeq("schedules", "get", command).code == 1
    assert codeq(*apply).err == "made 1, changed 1\n"
    assert codeq(*apply).err == "nothing to change: 2 as the file says\n"

    exported = codeq("export").out
    file.write_text(exported)
    assert codeq(*apply, "--prune").err.startswith("nothing to change: ")
    assert codeq("export").out == exported
    assert _get(codeq, command)["version"] == 1

    file.write_text(text.replace("skip", "allow").replace("    lease_duration: 90s\n", ""))
    assert codeq(*apply, "--reason", "let them").err == "changed 2\n"
    versions = _documents(codeq("schedules", "versions", command, "--json").out)
    assert [one["reason"] for one in versions] == ["let them", ""]
    settings = json.loads(codeq("queues", "show", command, "--json").out)["queue"]
    assert settings["leaseDuration"] == "300s"

    other = f"{command}.other"
    codeq("schedules", "create", other, "--command", command, "--every", "1h")
    pruned = codeq(*apply, "--prune", "--yes")
    assert (pruned.code, f"- schedule {other}\n" in pruned.out) == (0, True)
    assert codeq("schedules", "get", other).code == 1
    assert codeq("schedules", "get", command).code == 0


def test_a_file_with_a_mistake_changes_nothing(codeq: Codeq, command: str, tmp_path: Path) -> None:
    (tmp_path / "codeq.yaml").write_text(
        f"version: 1\nschedules:\n  {command}:\n    spec: {{every: 1h}}\n    task: {{command: c}}\n"
        f"  {command}.2:\n    spec: {{every: 1h}}\n    task: {{comand: c}}\n"
    )
    ran = codeq("apply", "-f", "codeq.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert f"codeq.yaml:8: schedules.{command}.2.task.comand: there is no such field" in ran.err
    assert codeq("schedules", "get", command).code == 1
