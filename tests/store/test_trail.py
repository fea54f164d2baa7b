"""The audit trail as it is stored: in order, apart by tenant, kept as long as promised."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.core.audit import TEXT_CHARS, Event, Stream, clean
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.store import scripts
from codeq_grpc.store.keys import trail_keys
from codeq_grpc.store.trail import TrailStore
from tests.support.aborting import AbortingConnection, writes_of
from tests.support.clock import START_MS, VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.admin import Admin
    from tests.support.clock import ClockedConnection
    from tests.support.stores import StoreProcess

HOUR_MS = 3_600_000
NODE = 100
"""Entries that the store removes together, by its default settings."""


@pytest.fixture
def trail(clocked: ClockedConnection) -> TrailStore:
    return TrailStore(clocked, retention_ms=HOUR_MS)


def event(name: str) -> Event:
    return Event("s", "a", name, "OK", "r", "why", "token", "ipv4:1")


async def names(trail: TrailStore, tenant: str = "acme") -> list[str]:
    """Objects of all events, oldest first."""
    return [one.object for one in reversed(await trail.read(tenant, "", 100_000))]


async def test_events_come_newest_first_whatever_their_stream(
    trail: TrailStore, clocked: ClockedConnection, admin: Admin
) -> None:
    assert await trail.read("acme", "", 9) == []
    written, last_ms = [], 0
    for number in range(60):
        stream = random.Random(number).choice(list(Stream))
        texts = [f"{number}", f"{number} too"][: 1 + number % 2]
        await trail.write("acme", stream, [event(text) for text in texts])
        written += texts
        last_ms = clocked.clock.ms
        clocked.clock.advance(number % 3 - 1)  # it may stand still, and go back
    assert await names(trail) == written
    assert admin.call("XLEN", trail_keys("acme")[1]) > 0
    (first,) = await trail.read("acme", "", 1)
    assert first._replace(event_id="") == event(written[-1])._replace(time_ms=last_ms)


async def test_a_page_goes_on_where_the_one_before_ended_while_others_write(
    trail: TrailStore,
) -> None:
    for number in range(10):
        await trail.write("acme", list(Stream)[number % 3], [event(str(number))])
    seen, before = [], ""
    while page := await trail.read("acme", before, 3):
        seen += [one.object for one in page]
        before = page[-1].event_id
        await trail.write("acme", Stream.CHANGES, [event("new")])
    assert seen == [str(number) for number in range(9, -1, -1)]


async def test_tenants_are_told_apart(trail: TrailStore) -> None:
    await trail.write("acme", Stream.CHANGES, [event("a")])
    await trail.write("acme2", Stream.CHANGES, [event("b")])
    assert await names(trail) == ["a"]
    assert await names(trail, "acme2") == ["b"]


async def test_what_is_older_than_the_retention_by_the_stores_clock_is_gone(
    trail: TrailStore, clocked: ClockedConnection, admin: Admin
) -> None:
    for stream in Stream:
        await trail.write("acme", stream, [event(stream.name)] * (NODE + 1))
    clocked.clock.advance(HOUR_MS)
    assert len(await names(trail)) == 3 * (NODE + 1)
    clocked.clock.advance(1)
    assert await names(trail) == []
    await trail.write("acme", Stream.CALLS, ())
    assert [admin.call("XLEN", key) for key in trail_keys("acme")] == [0, 0, 0]
    assert not any(admin.call("PTTL", key) >= 0 for key in trail_keys("acme"))


async def test_no_flood_of_denials_or_calls_pushes_out_a_change(
    trail: TrailStore, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await trail.write("acme", Stream.CHANGES, [event(f"change {number}")])
    most = 2 * NODE
    for stream in (Stream.DENIALS, Stream.CALLS):
        monkeypatch.setattr(stream, "_value_", most)
        for _ in range(10):
            await trail.write("acme", stream, [event("flood")] * NODE)
    changes, *others = [admin.call("XLEN", key) for key in trail_keys("acme")]
    assert changes == 3
    assert all(most <= count <= most + NODE for count in others)


async def test_of_a_long_trail_a_bounded_number_of_events_is_removed_in_one_call(
    trail: TrailStore, clocked: ClockedConnection, admin: Admin
) -> None:
    key = trail_keys("acme")[0]
    for _ in range(30):
        await trail.write("acme", Stream.CHANGES, [event("old")] * NODE)
    clocked.clock.advance(2 * HOUR_MS)
    before = admin.call("XLEN", key)
    await trail.write("acme", Stream.CHANGES, [event("new")])
    assert 0 < before + 1 - admin.call("XLEN", key) <= 1_000
    assert await names(trail) == ["new"]


async def test_a_clock_that_was_ahead_loses_no_order_and_times_are_what_it_says(
    trail: TrailStore, clocked: ClockedConnection
) -> None:
    clocked.clock.advance(HOUR_MS // 2)
    await trail.write("acme", Stream.CHANGES, [event("ahead")])
    clocked.clock.ms = START_MS
    await trail.write("acme", Stream.DENIALS, [event("back")])
    assert await names(trail) == ["ahead", "back"]
    newest, older = await trail.read("acme", "", 9)
    assert (newest.time_ms, older.time_ms) == (START_MS, START_MS + HOUR_MS // 2)


@pytest.fixture
async def aborting(store: StoreProcess) -> AsyncIterator[AbortingConnection]:
    connection = AbortingConnection(store.url, VirtualClock())
    yield connection
    await connection.close()


async def test_a_script_that_stops_midway_loses_nothing_and_the_next_one_goes_on(
    aborting: AbortingConnection,
) -> None:
    trail = TrailStore(aborting, retention_ms=HOUR_MS)
    stopped = set()
    expected: list[str] = []
    for write in range(1, 9):
        await trail.write("acme", Stream.CHANGES, [event(f"before {write}")])
        aborting.abort("record", write)
        new = [event(f"{write} {i}") for i in range(2)]
        try:
            await trail.write("acme", Stream.DENIALS, new)
            done = len(new)
        except CodeQError:
            done = min(write - 1, len(new))
            stopped.add(aborting.aborted)
        expected += [f"before {write}", *[one.object for one in new[:done]]]
    assert await names(trail) == expected
    assert stopped == writes_of(scripts.RECORD)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain text, ünïcode 🙂 \\n", "plain text, ünïcode 🙂 \\n"),
        ("two\r\nlines\x1b[2J\0", "two\\r\\nlines\\x1b[2J\\x00"),
        ("right-to-left \u202e and \u2028", "right-to-left \\u202e and \\u2028"),
        ("x" * TEXT_CHARS, "x" * TEXT_CHARS),
        ("x" * (TEXT_CHARS + 1), "x" * (TEXT_CHARS - 3) + "..."),
        ("\n" * 1_000_000, "\\n" * 126 + "\\..."),
    ],
)
def test_texts_are_short_in_one_line_and_printable(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned
    assert event(text)._replace(subject=text).clean() == event(cleaned)._replace(subject=cleaned)
