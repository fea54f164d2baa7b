"""A calendar: schedules are made, changed, found and deleted; versions; limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.core.schedules import ANY, Mark, Overlap, Pause, Record
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.calendars import (
    CHANGED,
    EXISTS,
    FULL,
    FULL_OF_CREATOR,
    MISSING,
    OK,
    SYSTEM,
    VERSIONS,
)
from tests.store.calendars import FIRST, MINUTE, CalendarDriver, new
from tests.support.clock import START_MS

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection


@pytest.fixture
def driver(clocked: ClockedConnection, admin: Admin) -> CalendarDriver:
    return CalendarDriver.over(clocked, admin)


async def test_a_schedule_is_read_as_it_was_made(driver: CalendarDriver) -> None:
    row = await driver.make(
        overlap=Overlap.SKIP, max_firings=7, pause_after_failures=3, grace_ms=40_000_000_000
    )
    now, (stored, nothing) = await driver.store.read(driver.calendar, ["a", "b"])
    assert (now, nothing) == (START_MS, None)
    assert stored is not None
    assert stored.row == row
    assert stored.record == Record(1, START_MS, "ann", "wanted", b"body")
    assert (row.version, row.overlap, row.max_firings, row.pause_after_failures) == (1, 2, 7, 3)
    assert (row.next_ms, row.act_ms, row.grace_ms) == (FIRST, FIRST, 40_000_000_000)
    assert [row.paused, row.system, row.ended, row.failing] == [False] * 4
    assert (await driver.store.put(driver.calendar, "a", new(), expect=None)).word == EXISTS


async def test_a_change_is_of_what_was_seen_or_none(driver: CalendarDriver) -> None:
    row = await driver.make()
    changed = await driver.change("a", row.mark, body=b"second", next_ms=FIRST + 5, act_ms=FIRST)
    assert (changed.number, changed.version, changed.next_ms) == (row.number, 2, FIRST + 5)
    for expect, word in (
        (row.mark, CHANGED),
        (Mark(b"another", 2), CHANGED),
        (Mark(b"another", 0), CHANGED),
        (ANY, OK),
    ):
        told = await driver.store.put(driver.calendar, "a", new(b"x"), expect=expect)
        assert told.word == word
    assert (await driver.store.put(driver.calendar, "b", new(), expect=ANY)).word == MISSING
    assert await driver.store.delete(driver.calendar, "a", expect=row.mark) == CHANGED
    assert await driver.store.delete(driver.calendar, "a") == OK
    assert await driver.store.delete(driver.calendar, "a") == MISSING
    assert (await driver.make()).number > row.number


async def test_what_is_not_given_stays(driver: CalendarDriver) -> None:
    row = await driver.make()
    await driver.fired()
    await driver.store.pause(driver.calendar, [Pause("a")], paused=True, reason="broken")
    changed = await driver.change("a", ANY, next_ms=None, act_ms=0)
    assert (changed.next_ms, changed.act_ms) == (FIRST + MINUTE, FIRST + MINUTE)
    assert (changed.paused, changed.pause_reason, changed.decided) == (True, "broken", 1)
    changed = await driver.change("a", ANY, paused=False)
    assert (changed.paused, changed.pause_reason, changed.number) == (False, "", row.number)


async def test_twenty_versions_are_kept(driver: CalendarDriver) -> None:
    await driver.make(body=b"1")
    for version in range(2, VERSIONS + 4):
        await driver.change("a", ANY, body=b"%d" % version)
    records = await driver.store.versions(driver.calendar, "a")
    assert [one.version for one in records] == list(range(VERSIONS + 3, 3, -1))
    assert [one.body for one in records] == [b"%d" % one.version for one in records]
    for version, body in ((VERSIONS + 3, b"%d" % (VERSIONS + 3)), (4, b"4"), (3, None), (99, None)):
        found = await driver.store.version(driver.calendar, "a", version)
        assert (found and found.body) == body
    assert driver.admin.call("HLEN", driver.key("h")) == VERSIONS - 1
    assert await driver.store.versions(driver.calendar, "b") == []


async def test_a_version_is_kept_until_what_fires_it_is_enqueued(driver: CalendarDriver) -> None:
    await driver.make(body=b"1")
    (firing,) = await driver.fired()
    for version in range(2, VERSIONS + 4):
        await driver.change("a", ANY, body=b"%d" % version)
    (owed,) = await driver.owed()
    assert (owed.firing, owed.record.body, owed.row.version) == (firing, b"1", VERSIONS + 3)
    assert len(await driver.store.versions(driver.calendar, "a")) == VERSIONS
    await driver.settle(firing)
    await driver.change("a", ANY)
    assert driver.admin.call("HLEN", driver.key("h")) == VERSIONS - 1


async def test_those_of_codeq_itself_are_paused_and_no_more(driver: CalendarDriver) -> None:
    await driver.make(system=True)
    assert (await driver.store.put(driver.calendar, "a", new(), expect=ANY)).word == SYSTEM
    assert await driver.store.delete(driver.calendar, "a") == SYSTEM
    assert await driver.store.pause(driver.calendar, [Pause("a")], paused=True) == [OK]
    assert (await driver.change("a", ANY, system=True)).paused
    assert await driver.store.delete(driver.calendar, "a", system=True) == OK


async def test_a_tenant_and_a_creator_have_so_many(driver: CalendarDriver) -> None:
    async def put(schedule_id: str, **given: Any) -> bytes:
        made = await driver.store.put(
            driver.calendar, schedule_id, new(**given), expect=None, most=3, most_of_creator=2
        )
        return made.word

    for name in "xyz":
        assert await put(name, system=True) == OK
    assert [await put(name) for name in "abc"] == [OK, OK, FULL_OF_CREATOR]
    assert [await put(name, creator="bob") for name in "de"] == [OK, FULL]
    assert await put("a") == EXISTS
    assert (await driver.store.put(driver.calendar, "a", new(), expect=ANY, most=1)).word == OK
    await driver.store.delete(driver.calendar, "a")
    assert await put("e") == OK


async def pages(driver: CalendarDriver, most: int, **given: object) -> str:
    found, after = "", ""
    while True:
        ids, after = await driver.store.page(
            driver.calendar,
            most=most,
            after=after,
            **given,  # type: ignore[arg-type]
        )
        assert len(ids) <= most
        found += " ".join(["", *ids])
        if not after:
            return found.strip()


@pytest.mark.parametrize("most", [1, 2, 3, 100])
async def test_lists_are_by_id_and_by_all_that_is_asked(driver: CalendarDriver, most: int) -> None:
    for name, command, labels in (
        ("b", "RENDER", (("team", "x"),)),
        ("a.1", "RENDER", (("team", "x"), ("env", "prod"))),
        ("a.2", "MAIL", (("team", "xy"), ("env", "prod"))),
        ("a", "MAIL", ()),
        ("c", "RENDER", (("team", "x"), ("env", "prod"))),
    ):
        await driver.make(name, command=command, labels=labels)
    assert await pages(driver, most) == "a a.1 a.2 b c"
    assert await pages(driver, most, prefix="a.") == "a.1 a.2"
    assert await pages(driver, most, command="RENDER") == "a.1 b c"
    assert await pages(driver, most, command="REND") == ""
    assert await pages(driver, most, labels=[("team", "x")]) == "a.1 b c"
    both = [("team", "x"), ("env", "prod")]
    assert await pages(driver, most, labels=both) == "a.1 c"
    assert await pages(driver, most, labels=both, prefix="c", command="RENDER") == "c"
    await driver.change("c", ANY, command="MAIL", labels=(("env", "dev"),))
    assert await pages(driver, most, labels=both) == "a.1"
    assert await pages(driver, most, command="MAIL") == "a a.2 c"
    await driver.store.delete(driver.calendar, "a.1")
    assert await pages(driver, most) == "a a.2 b c"


async def test_a_page_looks_at_so_many_and_goes_on(
    driver: CalendarDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.store.calendars._LOOKED_AT", 100)
    for number in range(250):
        even = (("even", "yes"),) if number % 2 == 0 else (("odd", "yes"),)
        command = "RENDER" if number < 125 else "MAIL"
        await driver.make(f"s{number:03}", labels=even, command=command)
    given = {"labels": [("even", "yes")], "command": "MAIL"}
    found, after = await driver.store.page(driver.calendar, most=50, **given)  # type: ignore[arg-type]
    assert (found, after) == ([], "s198") or found
    expected = " ".join(f"s{number:03}" for number in range(126, 250, 2))
    assert await pages(driver, 50, **given) == expected


async def test_why_it_is_paused_stays_told_until_somebody_says_why(driver: CalendarDriver) -> None:
    await driver.make(pause_after_failures=1)
    await driver.end(*await driver.fired(), state=TaskState.FAILED)
    assert (await driver.row()).failing
    for given, failing, told in (("", True, ""), ("soon", False, "soon"), ("", False, "soon")):
        await driver.store.pause(driver.calendar, [Pause("a")], paused=True, reason=given)
        row = await driver.row()
        assert (row.paused, row.failing, row.pause_reason) == (True, failing, told)
