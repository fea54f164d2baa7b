"""What schemas say of payloads, and that nothing a payload does to their checker reaches a server.

The table is after the test suite of JSON Schema (github.com/json-schema-org/JSON-Schema-Test-Suite,
draft 2020-12): for every keyword what it takes and what it refuses.
"""

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
from hypothesis import given, strategies as st

from codeq_grpc.core.errors import SchemaUnavailable
from codeq_grpc.core.queues import schema_label
from codeq_grpc.schemas import lane as lanes
from codeq_grpc.schemas.checker import TOO_LONG, Checker, Schema, told
from codeq_grpc.schemas.judging import NotJson, Problem, compiled, judge, read
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

KEYWORDS: Final[list[tuple[Any, list[Any], list[Any]]]] = [
    (True, [None, 1, {}], []),
    (False, [], [None, 1, {}]),
    ({}, [None, "x", [1]], []),
    ({"type": "integer"}, [1, 1.0, -(10**30)], [1.5, "1", True, None]),
    ({"type": "number"}, [1, 1.5], ["1", True]),
    ({"type": "boolean"}, [True], [0, 1, "true"]),
    ({"type": "null"}, [None], [0, "", False]),
    ({"type": ["string", "null"]}, ["", None], [1]),
    ({"enum": [1, "a", {"b": [2]}]}, [1, 1.0, "a", {"b": [2]}], [True, {"b": [3]}, "b"]),
    ({"const": {"a": 1, "b": 2}}, [{"b": 2, "a": 1}], [{"a": 1}]),
    ({"const": False}, [False], [0, None]),
    ({"multipleOf": 0.01}, [19.99, 4.35, 3], [0.015]),
    ({"maximum": 3}, [3, -1, "x"], [3.1, 10**30]),
    ({"exclusiveMaximum": 3}, [2.9], [3]),
    ({"minimum": 2**63}, [2**63, 2**64], [2**63 - 1]),
    ({"exclusiveMinimum": 0}, [1e-9], [0, -0.0]),
    ({"maxLength": 2}, ["ab", "\U0001f600\U0001f600", 100], ["abc"]),
    ({"minLength": 2}, ["ab"], ["a", "\U0001f600"]),
    ({"pattern": "^a+$"}, ["aa", 5], ["ab", ""]),
    ({"pattern": "b"}, ["abc"], ["ac"]),
    ({"pattern": "^\\d$"}, ["5"], ["x"]),
    ({"items": {"type": "integer"}}, [[], [1, 2], "x"], [[1, "x"]]),
    ({"prefixItems": [{"type": "string"}], "items": False}, [[], ["x"]], [["x", 1], [1]]),
    ({"maxItems": 1}, [[1], {}], [[1, 2]]),
    ({"minItems": 1}, [[1]], [[]]),
    ({"uniqueItems": True}, [[1, "1", True], [[1], [True]]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    ({"contains": {"const": 1}}, [[0, 1]], [[], [0]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[]], []),
    ({"contains": {"const": 1}, "maxContains": 1}, [[1, 2]], [[1, 1]]),
    ({"required": ["a"]}, [{"a": None}, []], [{}, {"b": 1}]),
    ({"properties": {"a": {"type": "string"}}}, [{}, {"a": "x", "b": 1}], [{"a": 1}]),
    ({"patternProperties": {"^n": {"type": "number"}}}, [{"x": "x", "n1": 1}], [{"n": "x"}]),
    (
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
        [{"a": 1, "xy": 2}],
        [{"b": 1}],
    ),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 2}]),
    ({"minProperties": 1}, [{"a": 1}, []], [{}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 1}, {}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"b": 1}], [{"a": 1}]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3]),
    ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, ["x", 2], [1]),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, [1, 2.5], [3, 1.5]),
    ({"not": {"type": "string"}}, [1], ["x"]),
    (
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": False},
        [{"a": 1, "b": 2}],
        [{"a": 1}, {"a": 2}],
    ),
    (
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        [{"a": 1}],
        [{"a": 1, "b": 2}],
    ),
    ({"prefixItems": [{}], "unevaluatedItems": False}, [[1]], [[1, 2]]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, ["x"], [1]),
    ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "string"}}}, ["x"], [1]),
    (
        {"$id": "https://acme.test/", "$ref": "x", "$defs": {"x": {"$id": "x", "maximum": 1}}},
        [1],
        [2],
    ),
    (
        {"$dynamicRef": "#n", "$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}, "maxItems": 1},
        [[[[]]]],
        [[[1, 2]]],
    ),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, [{"type": "string"}], [{"type": 1}]),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "maximum": 1}, [1], [2]),
    ({"format": "email"}, ["no address"], []),
    ({"contentMediaType": "application/json", "unknown": 1}, ["{"], []),
]


def verdict(schema: Any, value: Any) -> Problem | None:
    found = compiled(json.dumps(schema).encode())
    assert not isinstance(found, Problem), found
    return judge(found, json.dumps(value).encode())


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS, ids=lambda one: str(one)[:40])
def test_keywords_mean_what_the_draft_says(schema: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert verdict(schema, value) is None, value
    for value in bad:
        assert isinstance(verdict(schema, value), Problem), value


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "message"),
    [
        ({"type": "string"}, 5, "", 'the value is not of type "string"'),
        ({"properties": {"a/b": {"items": {"maximum": 1}}}}, {"a/b": [0, 7]}, "/a~1b/1", "maximum"),
        ({"properties": {"~": {"const": 1}}}, {"~": 2}, "/~0", "1 was expected"),
        ({"required": ["id"]}, {}, "", '"id" is a required property'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    schema: Any, value: Any, pointer: str, message: str
) -> None:
    found = verdict(schema, value)
    assert found is not None
    assert found.pointer == pointer
    assert message in found.message


def test_no_value_is_shown_whatever_keyword_it_breaks() -> None:
    for schema, _, bad in KEYWORDS:
        for value in bad:
            shown = verdict(schema, value)
            assert shown is not None
            assert not isinstance(value, str) or len(value) < 3 or value not in shown.message
    for schema in ({"pattern": "^a$"}, {"enum": ["a"]}, {"const": "a"}, {"maxLength": 1}, False):
        assert "canary" not in str(verdict(schema, "canary"))


def test_what_is_told_has_an_end() -> None:
    wide = {"additionalProperties": {"enum": ["x" * 9_999] * 5}}
    found = verdict(wide, {"n" * 9_999: 1})
    assert found is not None
    assert len(found.pointer) <= 203
    assert len(found.message) <= 303


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"{", b"[1,]", b"{'a': 1}", b"01", b"+1", b"1.", b".5", b"0x10", b"nul"),
        *(b"NaN", b"-Infinity", b"1e400", b"-1e400", b'"\x01"', b'"\\x"', b"\xff", b"\xc0\x80"),
        *(b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "a": 2}}]', b'{"a": 1, "\\u0061": 2}'),
        *(b"9" * 5_000, b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}{}", b"[" * 90_000),
    ],
    ids=lambda text: repr(text[:16]),
)
def test_what_readers_could_read_differently_is_no_json(text: bytes) -> None:
    with pytest.raises(NotJson):
        read(text)


def test_json_is_read() -> None:
    assert read(b' {"a": [1, 2.5, -0, 1e3, "\\u00e9\\ud83d\\ude00", true, null]} ') == {
        "a": [1, 2.5, 0, 1000.0, "é\U0001f600", True, None]
    }


VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab/~"), inner, max_size=3)
    ),
    max_leaves=6,
)
ANY_SCHEMAS: Final = st.recursive(
    st.booleans() | st.fixed_dictionaries({"type": st.sampled_from(["object", "integer", "x"])}),
    lambda inner: st.dictionaries(
        st.sampled_from(
            sorted({keyword for one, _, _ in KEYWORDS if isinstance(one, dict) for keyword in one})
        ),
        inner
        | st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        | VALUES
        | st.sampled_from(["#", "#/$defs/a", "#n", "http://127.0.0.1/"]),
        max_size=3,
    ),
    max_leaves=6,
)


@given(schemas=ANY_SCHEMAS, values=st.lists(VALUES, max_size=4), raw=st.binary(max_size=40))
def test_whatever_comes_is_a_schema_or_not_and_valid_or_not(
    schemas: Any, values: list[Any], raw: bytes
) -> None:
    """No other end: and what is valid is valid again, in another order of its members."""
    found = compiled(json.dumps(schemas).encode())
    if isinstance(found, Problem):
        return
    for value in values:
        text = json.dumps(value).encode()
        assert judge(found, text) == judge(found, b" " + json.dumps(read(text)).encode())
    assert isinstance(judge(found, raw), Problem | None)
    assert isinstance(compiled(raw), Problem | type(found))


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
    await asyncio.sleep(0)
    os.kill(lane._process.pid, number)
    os.kill(lane._process.pid, signal.SIGCONT)
    if number == signal.SIGKILL:
        with pytest.raises(SchemaUnavailable):
            await asked
    else:
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
