"""Payloads are checked in a process of their own, and nothing they do to it reaches a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.core.errors import SchemaUnavailable
from codeq_grpc.core.queues import schema_label
from codeq_grpc.schemas import lane as lanes
from codeq_grpc.schemas.checker import TOO_LONG, Checker, Schema, told
from codeq_grpc.schemas.lane import Answer, Lane

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOOD: Final = Answer()
OBJECT: Final = {"type": "object"}
DOUBLING: Final[dict[str, Any]] = {
    "$ref": "#/$defs/a0",
    "$defs": {
        **{f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)},
        "a60": {},
    },
}
"""2^60 ways lead through it."""
PRODUCT: Final = {"items": {"not": {"anyOf": [{"minimum": 10**9 + i} for i in range(2_000)]}}}
"""Each item against each of many: 64 KiB of schema, 1 MiB of payload, hundreds of millions."""


def schema(content: Any) -> Schema:
    text = json.dumps(content)
    return Schema(schema_label(text), text.encode())


@pytest.fixture
async def checker() -> AsyncIterator[Checker]:
    found = Checker()
    yield found
    await found.close()


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    found = Lane(0.2, 2)
    yield found
    await found.close()


async def test_answers_come_in_the_order_of_the_payloads(checker: Checker) -> None:
    payloads = [b"{}", b"[]", b"{", b'{"a": 1}'] * 100
    answers = await checker.judge(schema(OBJECT), payloads)
    assert [bool(one.message) for one in answers] == [False, True, True, False] * 100


async def test_many_callers_share_it(checker: Checker) -> None:
    kinds = ("object", "array", "string")
    asked = [(kind, payload) for kind in kinds for payload in (b"{}", b"[]", b'""')] * 20
    answers = await asyncio.gather(
        *[checker.judge(schema({"type": kind}), [payload]) for kind, payload in asked]
    )
    right = {"object": b"{}", "array": b"[]", "string": b'""'}
    assert [one == [GOOD] for one in answers] == [right[kind] == data for kind, data in asked]


@pytest.mark.parametrize(
    ("heavy", "payload"),
    [(DOUBLING, b"{}"), (PRODUCT, json.dumps(list(range(150_000))).encode())],
    ids=["doubling", "product"],
)
async def test_what_takes_too_long_is_told_and_the_rest_is_judged(
    checker: Checker, heavy: Any, payload: bytes
) -> None:
    asked = schema(heavy)
    assert await checker.fault(asked) == ""
    (gone,) = await checker.judge(asked, [payload])
    assert gone.gone
    assert await checker.judge(schema(OBJECT), [b"[]", b"{}"]) == [
        Answer("", 'the value is not of type "object"'),
        GOOD,
    ]


async def test_a_slow_schema_goes_to_its_like_for_a_while(checker: Checker) -> None:
    await checker.judge(schema(DOUBLING), [b"{}"])
    quick = checker._quick._process
    waiting = asyncio.gather(*[checker.judge(schema(DOUBLING), [b"{}"]) for _ in range(2)])
    for _ in range(50):
        assert await checker.judge(schema(OBJECT), [b"{}"]) == [GOOD]
    assert quick is None or quick is checker._quick._process
    assert [one.gone for answers in await waiting for one in answers] == [True, True]


async def test_only_so_many_wait(lane: Lane) -> None:
    asked = [lane.ask(schema(DOUBLING), [b"{}"]) for _ in range(6)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in results if isinstance(one, SchemaUnavailable)]
    assert len(refused) == 3
    assert refused[0].retry_after == 1.0


async def test_tenants_that_wait_take_turns_and_fill_no_line_but_their_own(lane: Lane) -> None:
    ended = []

    async def ask(tenant: str, number: int) -> None:
        await lane.ask(schema(OBJECT), [b"{}"], tenant)
        ended.append((tenant, number))

    many = [ask("many", number) for number in range(4)]
    asked = await asyncio.gather(*many, ask("few", 0), ask("other", 0), return_exceptions=True)
    assert [type(one) for one in asked].count(SchemaUnavailable) == 1
    assert isinstance(asked[3], SchemaUnavailable)
    assert ended == [("many", 0), ("many", 1), ("few", 0), ("other", 0), ("many", 2)]


async def test_callers_who_leave_while_they_wait_hold_up_nobody(lane: Lane) -> None:
    for _ in range(20):
        asked = [
            asyncio.ensure_future(lane.ask(schema(OBJECT), [b"{}"], f"t{n % 3}")) for n in range(7)
        ]
        await asyncio.sleep(0)
        for one in asked[::2]:
            one.cancel()
        left = await asyncio.gather(*asked, return_exceptions=True)
        assert left[1::2] == [[GOOD, GOOD]] * 3
    assert not lane._turn._lines
    assert await lane.ask(schema(OBJECT), [b"{}"]) == [GOOD, GOOD]


async def test_one_of_many_that_takes_too_long_spoils_no_other(lane: Lane) -> None:
    """The first of them is judged before, the last by the next process."""
    choosy = {"if": {"type": "array"}, "then": DOUBLING["$defs"]["a0"], "$defs": DOUBLING["$defs"]}
    about, *answers = await lane.ask(schema(choosy), [b"1", b"[]", b"2"])
    assert about == GOOD
    assert answers == [GOOD, Answer(gone=True), GOOD]


async def test_a_caller_who_leaves_does_not_get_another_ones_answer(lane: Lane) -> None:
    async def leave(payloads: list[bytes]) -> None:
        task = asyncio.get_running_loop().create_task(lane.ask(schema(OBJECT), payloads))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    for count in range(20):
        await leave([b"[]"] * count)
        assert await lane.ask(schema(OBJECT), [b"{}"]) == [GOOD, GOOD]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
async def test_a_process_that_has_ended_is_replaced(lane: Lane, number: signal.Signals) -> None:
    await lane.ask(schema(OBJECT), [b"{}"])
    assert lane._process is not None
    os.kill(lane._process.pid, number)
    await lane._process.wait()
    assert await lane.ask(schema(OBJECT), [b"[]"]) == [
        GOOD,
        Answer("", 'the value is not of type "object"'),
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_a_payload_is_not_blamed_for_who_kills_its_checker(
    lane: Lane, number: signal.Signals
) -> None:
    await lane.ask(schema(OBJECT), [b"{}"])
    assert lane._process is not None
    os.kill(lane._process.pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(lane.ask(schema(OBJECT), [b"{}"]))
    for _ in range(9):  # turns of the loop, in which it is asked
        await asyncio.sleep(0)
    os.kill(lane._process.pid, number)
    if number == signal.SIGKILL:  # of which it need not know: it may be gone by now
        with pytest.raises(SchemaUnavailable):
            await asked
    else:
        os.kill(lane._process.pid, signal.SIGCONT)
        assert (await asked)[-1].gone


async def test_what_is_closed_leaves_no_process_and_answers_no_more(lane: Lane) -> None:
    await lane.ask(schema(OBJECT), [b"{}"])
    assert lane._process is not None
    process = lane._process
    await lane.close()
    assert process.returncode is not None
    with pytest.raises(SchemaUnavailable):
        await lane.ask(schema(OBJECT), [b"{}"])


async def test_schemas_do_not_pile_up_in_a_process(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "_SCHEMAS", 3)
    pids = set()
    for count in range(7):
        answers = await lane.ask(schema({"maxProperties": count}), [b"{}"])
        assert answers == [GOOD, GOOD]
        assert lane._process is not None
        pids.add(lane._process.pid)
    assert len(pids) == 3


async def test_the_process_knows_no_secret_of_the_server(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEQ_REDIS_URL", "redis://:canary@127.0.0.1")
    await lane.ask(schema(OBJECT), [])
    assert lane._process is not None
    environ = Path(f"/proc/{lane._process.pid}/environ").read_bytes()
    names = {line.partition(b"=")[0] for line in environ.split(b"\0") if line}
    assert names <= {b"PYTHONPATH", b"LC_CTYPE"}


def test_the_process_can_open_nothing_and_answers_all_the_same() -> None:
    """Whatever a schema made the validator want: no file, no connection, no other program."""
    source = (
        "import socket, sys\n"
        "from codeq_grpc.schemas import child\n"
        "def tries(kind, label, text, known):\n"
        "    for act in (lambda: open('/etc/passwd'), socket.socket):\n"
        "        try:\n"
        "            act()\n"
        "        except OSError as error:\n"
        "            sys.stderr.write(f'{error.errno} ')\n"
        "        else:\n"
        "            sys.stderr.write('opened ')\n"
        "    return answer(kind, label, text, known)\n"
        "answer, child._answer = child._answer, tries\n"
        "child.main()\n"
    )
    body = b"x" * 16 + b'{"type": "object", "pattern": "\\\\p{L}", "$ref": "http://127.0.0.1/"}'
    request = b"\1" + len(body).to_bytes(4, "big") + body
    ran = subprocess.run(
        [sys.executable, "-c", source, "1"], input=request, capture_output=True, check=True
    )
    assert ran.stderr == b"24 24 "  # EMFILE
    assert b"Retrieval is disabled" in ran.stdout


def test_answers_are_put_into_words() -> None:
    assert told(Answer("/a", "is bad")) == "/a: is bad"
    assert told(Answer("", "is bad")) == "is bad"
    assert TOO_LONG == "cannot be checked within 1 s of computing"
