"""`codeq audit`: a table, lines for programs, what is chosen, and what is new."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb
from codeq_grpc.cli.trail import Chosen, Trail
from codeq_grpc.client import Client, SyncClient
from codeq_grpc.core.errors import (
    CredentialChanged,
    IdentityUnavailable,
    QuotaExceeded,
    ScopeMissing,
    StoreUnavailable,
    TooManyCalls,
)
from tests.unit.cli_scripted import Scripted, Served, serving
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.core.errors import CodeQError


def event(number: int, **fields: str) -> admin_pb.AuditEvent:
    """The one of that number."""
    made = admin_pb.AuditEvent(
        subject="ann",
        action="AdminService/PauseQueue",
        object=f"queue-{number}",
        outcome="OK",
        event_id=f"{1_780_000_000_000 + number}-0",
    )
    for name, value in fields.items():
        setattr(made, name, value)
    made.time.FromMilliseconds(1_780_000_000_000 + number)
    return made


@pytest.fixture
def scripted() -> Scripted:
    """Five events in pages of two."""
    scripted = Scripted()
    scripted.events = [
        event(1, reason="deploy\\nnow"),
        event(2, subject="bob", action="CodeQService/CancelTasks"),
        event(3, outcome="PERMISSION_DENIED", reason="SCOPE_MISSING"),
        event(4, object="\x1b[2J"),
        event(5, subject="bob"),
    ]
    return scripted


@pytest.fixture
def codeq(scripted: Scripted) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def numbers(output: str) -> list[int]:
    """Which events were printed as documents."""
    return [int(json.loads(line)["eventId"][12]) for line in output.splitlines()]


def test_a_table_has_the_newest_first_and_tells_of_more(codeq: Served) -> None:
    ran = codeq("audit", "--limit", "4")
    rows = [line.split() for line in ran.stdout.splitlines()[3:] if line.strip()]
    assert [row[3] for row in rows] == ["PauseQueue", "PauseQueue", "PauseQueue", "CancelTasks"]
    assert rows[2][2:] == ["ann", "PauseQueue", "queue-3", "PERMISSION_DENIED", "SCOPE_MISSING"]
    assert ran.stderr == "only the newest 4; --limit shows more\n"
    assert "\x1b" not in ran.stdout


def test_programs_get_all_a_document_a_line(codeq: Served) -> None:
    ran = codeq("audit", "--json")
    assert numbers(ran.stdout) == [5, 4, 3, 2, 1]
    first = json.loads(ran.stdout.splitlines()[-1])
    assert first == {
        "time": "2026-05-28T20:26:40.001Z",
        "subject": "ann",
        "action": "AdminService/PauseQueue",
        "object": "queue-1",
        "outcome": "OK",
        "requestId": "",
        "reason": "deploy\\nnow",
        "credential": "",
        "peer": "",
        "eventId": "1780000000001-0",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--subject", "bob"), [5, 2]),
        (("--action", "CancelTasks"), [2]),
        (("--action", "AdminService/PauseQueue"), [5, 4, 3, 1]),
        (("--outcome", "permission_denied"), [3]),
        (("--object", "queue-1"), [1]),
        (("--subject", "ann", "--limit", "2"), [4, 3]),
        (("--subject", "nobody"), []),
    ],
)
def test_events_are_chosen(codeq: Served, words: tuple[str, ...], expected: list[int]) -> None:
    assert numbers(codeq("audit", "--json", *words).stdout) == expected


def test_no_events_are_told_of(codeq: Served) -> None:
    assert codeq("audit", "--subject", "nobody").stderr == "no such events\n"


def test_who_may_not_is_told_so(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["ListAuditEvents"] = ScopeMissing("this call needs the scope audit.read")
    ran = codeq("audit")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "SCOPE_MISSING" in ran.stderr


def test_the_table_fits_a_terminal(codeq: Served) -> None:
    with Terminal("audit", env=codeq.env) as terminal:
        assert terminal.wait() == 0
    assert max(map(len, terminal.text.splitlines())) <= 80
    assert "PERMISSION" in terminal.text


@pytest.mark.parametrize(
    "outage",
    [
        *(StoreUnavailable(), IdentityUnavailable(), CredentialChanged()),
        *(QuotaExceeded("calls", retry_after=0.01), TooManyCalls("calls", retry_after=0.01)),
    ],
    ids=lambda outage: outage.reason,
)
async def test_what_is_new_is_printed_once_in_order_through_an_outage(
    codeq: Served, scripted: Scripted, capsys: pytest.CaptureFixture[str], outage: CodeQError
) -> None:
    trail = Trail(Chosen(subject="ann"), limit=2, as_json=True)
    seen: list[int] = []

    async def printed(*expected: int) -> None:
        async with asyncio.timeout(10):
            while len(seen) < len(expected):
                seen.extend(numbers(capsys.readouterr().out))
                await asyncio.sleep(0.01)
        assert seen == list(expected)

    async with Client(codeq.env["CODEQ_ADDRESS"]) as client:
        following = asyncio.create_task(trail.follow(client, 0.01))
        await printed(3, 4)
        scripted.events += [event(6), event(7, subject="bob"), event(8), event(9)]
        await printed(3, 4, 6, 8, 9)
        scripted.refuse["ListAuditEvents"] = outage
        async with asyncio.timeout(10):
            while f"waiting: {outage.reason}" not in capsys.readouterr().err:
                await asyncio.sleep(0.01)
        scripted.refuse.clear()
        del scripted.events[:9]
        scripted.events.append(event(10, object="1"))
        async with asyncio.timeout(10):
            while '"object": "1"' not in (out := capsys.readouterr().out):
                await asyncio.sleep(0.01)
        assert len(out.splitlines()) == 1
        scripted.refuse["ListAuditEvents"] = ScopeMissing()
        with pytest.raises(ScopeMissing):
            await following


async def test_the_sdk_reads_page_by_page(codeq: Served, scripted: Scripted) -> None:
    address = codeq.env["CODEQ_ADDRESS"]
    async with Client(address) as client:
        found = [one async for one in client.audit_events(page_size=2)]
    assert found == scripted.events[::-1]
    asked = scripted.count(admin_pb.ListAuditEventsRequest)
    with SyncClient(address) as other:
        events = other.audit_events(page_size=2)
        assert await asyncio.to_thread(next, events) == scripted.events[-1]
        assert scripted.count(admin_pb.ListAuditEventsRequest) == asked + 1
        assert await asyncio.to_thread(list, events) == found[1:]
    assert scripted.last(admin_pb.ListAuditEventsRequest).page_size == 2
