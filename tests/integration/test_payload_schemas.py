"""Payload schemas: what breaks one is refused by its place, by every server, at once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.calling import ask
from tests.integration.looking import contents, queue_key
from tests.integration.refusals import item_kind, read_refusal, refused
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

CUSTOMER: Final = json.dumps(
    {
        "type": "object",
        "required": ["customer"],
        "properties": {
            "customer": {"type": "object", "properties": {"id": {"type": "string"}}},
            "a/b~c": {"items": {"maximum": 3}},
        },
    }
)
GOOD: Final = b'{"customer": {"id": "5"}}'
BAD: Final = b'{"customer": {"id": 5}}'
SLOW: Final = json.dumps(
    {
        "$ref": "#/$defs/a0",
        "$defs": {
            **{f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(60)},
            "a60": {"type": "object"},
        },
    }
)
"""Takes as long as there are paths through it: 2^60 steps."""
DATA: Final = "task.payload.data"
TYPE: Final = "task.payload.content_type"


async def enqueue(caller: Caller, data: bytes, content_type: str = "", **spec: Any) -> str:
    payload = {"data": data, "content_type": content_type}
    return await caller.enqueue(payload=payload, **spec)


def specs(*payloads: bytes) -> list[task_pb2.TaskSpec]:
    return [task_pb2.TaskSpec(command="RENDER", payload={"data": data}) for data in payloads]


def kept(admin: Admin) -> dict[bytes, Any]:
    """All but the clock of the queue, and what daemons still do after a change of settings."""
    found = contents(admin)
    fields = found[queue_key("s").encode()]
    found[queue_key("s").encode()] = {
        field: value for field, value in fields.items() if field not in {b"clk", b"unpark"}
    }
    return found


async def test_a_payload_that_breaks_the_schema_is_refused_by_its_path(
    acme: Caller, admin: Admin
) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    await enqueue(acme, GOOD)
    before = kept(admin)
    refusal = await refused(enqueue(acme, BAD))
    assert refusal.kind == ("INVALID_ARGUMENT", "PAYLOAD_INVALID")
    assert refusal.message == f'{DATA}: /customer/id: the value is not of type "string"'
    assert refusal.metadata == {"field": DATA, "pointer": "/customer/id"}
    assert refusal.fields == (DATA,)
    assert kept(admin) == before


@pytest.mark.parametrize(
    ("data", "content_type", "field", "told"),
    [
        (b"", "", DATA, "is empty"),
        (b"{", "", DATA, "is not JSON: Expecting property name"),
        (b"{}x", "", DATA, "is not JSON: Extra data"),
        (b'"\xff"', "", DATA, "is not UTF-8"),
        (GOOD.decode().encode("utf-16"), "", DATA, "is not UTF-8"),
        (b"\xef\xbb\xbf" + GOOD, "", DATA, "is not JSON"),
        (b"NaN", "", DATA, "has NaN"),
        (b"[-Infinity]", "", DATA, "has -Infinity"),
        (b"1e999", "", DATA, "out of range"),
        (b"9" * 5_000, "", DATA, "too many digits"),
        (b'"\\ud800"', "", DATA, "surrogate"),
        (b"[" * 100_000, "", DATA, "nested too deeply"),
        (b'{"customer": 1, "customer": {}}', "", DATA, "two members of one name"),
        (b"{}", "", DATA, '"customer" is a required property'),
        (b'{"customer": {}, "a/b~c": [1, 2, 9]}', "", DATA, "/a~1b~0c/2: the value is greater"),
        (GOOD, "text/plain", TYPE, "must be empty, application/json or end in +json"),
        (GOOD, "json", TYPE, "must be empty, application/json or end in +json"),
    ],
)
async def test_what_is_not_json_is_refused_by_what_is_wrong_with_it(
    acme: Caller, data: bytes, content_type: str, field: str, told: str
) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    refusal = await refused(enqueue(acme, data, content_type))
    assert refusal.kind == ("INVALID_ARGUMENT", "PAYLOAD_INVALID")
    assert refusal.message.startswith(f"{field}: ")
    assert told in refusal.message
    assert refusal.fields == (field,)


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.acme.v1+json"],
)
async def test_media_types_of_json_are_taken(acme: Caller, content_type: str) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    task = await acme.task(await enqueue(acme, GOOD, content_type), full=True)
    assert (task.spec.payload.data, task.spec.payload.content_type) == (GOOD, content_type)


async def test_values_are_not_shown_and_names_are_cut(acme: Caller) -> None:
    closed = {"additionalProperties": {"properties": {"id": {"enum": ["x" * 10_000, "y"]}}}}
    await operating.update(acme, payload_schema=json.dumps(closed))
    data = json.dumps({"n" * 10_000: {"id": "canary"}}).encode()
    refusal = await refused(enqueue(acme, data))
    assert "canary" not in str(refusal)
    assert len(refusal.message) < 700
    assert len(refusal.metadata["pointer"]) <= 203


async def test_items_of_a_batch_fail_alone_and_all_together_if_atomic(
    acme: Caller, admin: Admin
) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    tasks = specs(GOOD, BAD, GOOD, b"x")
    tasks[3].command = "OTHER"
    response = await ask(acme, "BatchEnqueue", pb.BatchEnqueueRequest(tasks=tasks))
    assert [item_kind(one) for one in response.failures] == [
        (1, "INVALID_ARGUMENT", "PAYLOAD_INVALID")
    ]
    path = "tasks[1].payload.data"
    assert dict(response.failures[0].metadata) == {"field": path, "pointer": "/customer/id"}
    assert [bool(one.task_id) for one in response.results] == [True, False, True, True]
    before = kept(admin)
    request = pb.BatchEnqueueRequest(tasks=specs(GOOD, BAD), atomic=True)
    refusal = await refused(ask(acme, "BatchEnqueue", request))
    assert refusal.kind == ("INVALID_ARGUMENT", "PAYLOAD_INVALID")
    assert refusal.fields == (path,)
    assert kept(admin) == before


async def test_a_batch_of_a_thousand_is_checked_one_by_one(acme: Caller) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    tasks = specs(*[BAD if i % 10 == 3 else GOOD for i in range(limits.BATCH_TASKS)])
    response = await ask(acme, "BatchEnqueue", pb.BatchEnqueueRequest(tasks=tasks))
    assert [one.index for one in response.failures] == list(range(3, 1_000, 10))
    assert (await acme.stats()).pending == 900


async def test_a_schema_holds_on_every_server_once_it_is_set_and_until_it_is_taken_away(
    acme: Caller, peer: Server
) -> None:
    """Each answer is right at once, in both directions, whatever a server knew before."""
    other = peer.caller()
    await enqueue(other, b"before")
    for _ in range(3):
        await operating.update(acme, payload_schema=CUSTOMER)
        assert (await refused(enqueue(other, BAD))).reason == "PAYLOAD_INVALID"
        await enqueue(other, GOOD)
        await operating.update(acme, payload_schema='{"type": "array"}')
        assert (await refused(enqueue(other, GOOD))).reason == "PAYLOAD_INVALID"
        await enqueue(other, b"[]")
        await operating.update(acme, mask=["payload_schema"])
        await enqueue(other, b"anything", "text/plain")


async def test_none_gets_in_past_a_schema_whose_update_has_returned(
    acme: Caller, peer: Server
) -> None:
    """Producers of two servers run through changes; each knows what was set when it asked."""
    rules = {"integer": b"1", "string": b'"1"'}
    kind, done = "integer", False
    await operating.update(acme, payload_schema='{"type": "integer"}')
    taken = 0

    async def produce(caller: Caller) -> None:
        nonlocal taken
        while not done:
            settled, data = kind, rules["string" if taken % 2 else "integer"]
            try:
                await enqueue(caller, data)
            except grpc.aio.AioRpcError as error:
                refusal = read_refusal(error)
                assert refusal.reason == "PAYLOAD_INVALID"
                # Right before or after: not if it was the same all the while.
                assert settled == "" or settled != kind or rules[settled] != data
                taken += 1
            else:
                assert settled == "" or settled != kind or rules[settled] == data
                taken += 1

    async def more(count: int) -> None:
        await eventually(lambda: taken >= count)

    async def change() -> None:
        nonlocal kind, done
        for turn in range(30):
            target = "string" if turn % 2 else "integer"
            kind = ""
            await operating.update(acme, payload_schema=json.dumps({"type": target}))
            kind = target
            await more(taken + 10)
        done = True

    callers = [acme, peer.caller()] * 3
    await asyncio.gather(*[produce(caller) for caller in callers], change())


async def test_a_repeated_enqueue_finds_its_task_whatever_the_schema_is_by_now(
    acme: Caller,
) -> None:
    first = await enqueue(acme, BAD, idempotency_key="k")
    await operating.update(acme, payload_schema=CUSTOMER)
    assert await enqueue(acme, BAD, idempotency_key="k") == first
    replace = task_pb2.CONFLICT_POLICY_REPLACE
    for more in ({"idempotency_key": "new"}, {"idempotency_key": "k", "conflict_policy": replace}):
        assert (await refused(enqueue(acme, BAD, **more))).reason == "PAYLOAD_INVALID"
    assert (await acme.task(first, full=True)).spec.payload.data == BAD


async def test_tasks_that_are_there_already_run_and_are_redriven_as_they_are(acme: Caller) -> None:
    task_id = await enqueue(acme, BAD, retry_policy={"max_attempts": 1})
    await operating.update(acme, payload_schema=CUSTOMER)
    await acme.fail(await acme.claim_one())
    assert await acme.state(task_id) == "FAILED"
    await operating.redrive(acme, task_id)
    assert (await acme.claim_one()).spec.payload.data == BAD


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ("{", "is not JSON"),
        ("null", "must be an object, or true or false"),
        ('{"type": "text"}', "/type: "),
        ('{"properties": {"a": {"minimum": "1"}}}', "/properties/a/minimum: "),
        ('{"pattern": "("}', "/pattern: "),
        ('{"pattern": "(?=a)b"}', "no look-around"),
        ('{"pattern": "(a{1000}){1000}"}', "not huge"),
        ('{"$ref": "#/$defs/none"}', "does not exist"),
        ('{"$ref": "https://127.0.0.1:1/schema"}', "Retrieval is disabled"),
        ('{"$ref": "file:///etc/passwd"}', "Retrieval is disabled"),
        ('{"$ref": "passwd"}', "passwd"),
        ('{"$schema": "http://json-schema.org/draft-07/schema#"}', "/$schema: must be"),
        ('{"$schema": []}', "/$schema: must be"),
        ('{"type": "object", "type": "array"}', "two members of one name"),
        ('{"not":' * 900 + "{}" + "}" * 900, "ecursion"),
    ],
)
async def test_a_schema_that_is_none_is_refused_before_a_queue_is_made(
    acme: Caller, admin: Admin, schema: str, told: str
) -> None:
    before = contents(admin)
    refusal = await refused(operating.update(acme, "NEW", payload_schema=schema))
    assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refusal.fields == ("queue.payload_schema",)
    assert told in refusal.message
    assert contents(admin) == before


async def test_a_schema_that_leads_to_itself_ends(acme: Caller) -> None:
    for loop in ('{"$ref": "#"}', '{"allOf": [{"$ref": "#"}]}', '{"items": {"$ref": "#"}}'):
        await operating.update(acme, payload_schema=loop)
        await enqueue(acme, b"[[[[]]]]")


async def test_a_payload_that_takes_too_long_to_check_is_refused_and_the_next_is_checked(
    acme: Caller,
) -> None:
    await operating.update(acme, payload_schema=SLOW)
    await operating.update(acme, "OTHER", payload_schema=CUSTOMER)
    spec = task_pb2.TaskSpec(command="RENDER", payload={"data": b"{}"})
    request = pb.EnqueueRequest(task=spec)
    slow = asyncio.ensure_future(refused(acme.start("Enqueue", request, timeout=60)))
    for _ in range(20):
        await acme.enqueue("OTHER", GOOD)
    refusal = await slow
    assert refusal.kind == ("INVALID_ARGUMENT", "PAYLOAD_INVALID")
    assert refusal.message == f"{DATA}: cannot be checked within 1 s of computing"
    # Its checker ended with it, and the next one serves.
    await operating.update(acme, payload_schema=CUSTOMER)
    await enqueue(acme, GOOD)


async def test_pauses_and_other_changes_keep_the_schema(acme: Caller) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    await operating.pause(acme)
    await operating.update(acme, max_backlog=5)
    assert (await operating.settings(acme)).payload_schema == CUSTOMER
    assert (await refused(enqueue(acme, BAD))).reason == "PAYLOAD_INVALID"


async def test_a_server_that_starts_later_checks_from_its_first_call(
    acme: Caller, store: StoreProcess
) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    async with running_server(store) as late:
        assert (await refused(enqueue(late.caller(), BAD))).reason == "PAYLOAD_INVALID"
        await enqueue(late.caller(), GOOD)


async def test_a_schema_is_of_one_tenant(acme: Caller, rival: Caller) -> None:
    await operating.update(acme, payload_schema=CUSTOMER)
    await enqueue(rival, b"anything")
