"""Names that try to be something else: keys of the store, patterns, lines, or look-alikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core.principal import COMMAND_PATTERN
from tests.integration import operating
from tests.integration.calling import METHODS
from tests.integration.limit_cases_specs import BAD_COMMANDS
from tests.integration.looking import contents
from tests.integration.refusals import told
from tests.integration.requests import fields

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller

NO_COMMANDS: Final = (
    *BAD_COMMANDS,
    *("a?", "a[b]", "a;b", "a%00", "a\\b", "a\tb", "a\r\nb", "}:m", "acme/RENDER"),
    "\N{CYRILLIC CAPITAL LETTER ER}ENDER",
    "\N{KELVIN SIGN}",
    "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    "A\N{ZERO WIDTH SPACE}",
    "\N{ZERO WIDTH NO-BREAK SPACE}A",
    "\N{GRINNING FACE}",
    "x" * 1_000_000,
)
PATTERNS: Final = ("key.commands[0]",)
"""Where a name may be a pattern, too."""
TEXTS: Final = (
    *("*", "****", "a*", "?", "[a-z]", "^(a+)+$", "{tag}", "}:m", "a:b", "%00", " ", "RENDER"),
    *("codeq:{acme/RENDER/0}:m", "\r\nFLUSHALL\r\n", "\x1b[31m", "A" * 18),
    "A\N{COMBINING ACUTE ACCENT}",
    "\N{LATIN CAPITAL LETTER A WITH ACUTE}",
    "\N{RIGHT-TO-LEFT OVERRIDE}REDNER",
    "\N{CYRILLIC CAPITAL LETTER ER}ENDER",
    "\N{ZERO WIDTH NO-BREAK SPACE}",
    "\N{GRINNING FACE}",
)
"""Where any text is allowed these are texts like others, and all different."""


@pytest.mark.parametrize("rpc", METHODS)
async def test_no_command_is_taken_that_could_be_more_than_a_name(
    acme: Caller, admin: Admin, rpc: str
) -> None:
    lease = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    before = contents(admin)
    for field in fields(lease):
        if field.rpc != rpc or field.descriptor.name not in {"command", "commands"}:
            continue
        for name in NO_COMMANDS:
            if field.path in PATTERNS and COMMAND_PATTERN.fullmatch(name):
                continue
            seen = await told(acme, rpc, field.with_value(name))
            assert seen == ("INVALID_ARGUMENT", "INVALID_FIELD", field.path), name[:20]
    assert contents(admin) == before


async def test_keys_of_tasks_are_told_apart_byte_by_byte(acme: Caller, admin: Admin) -> None:
    made = {text: await acme.enqueue(idempotency_key=text) for text in TEXTS}
    known = contents(admin).keys()
    assert len(set(made.values())) == len(TEXTS)
    assert made == {text: await acme.enqueue(idempotency_key=text) for text in TEXTS}
    assert contents(admin).keys() == known


async def test_concurrency_keys_are_told_apart_byte_by_byte(acme: Caller) -> None:
    await operating.update(acme, max_in_progress_per_key=1)
    for text in (*TEXTS, *TEXTS):
        await acme.enqueue(concurrency_key=text)
    claimed = await acme.claim(most=100)
    assert sorted(task.spec.concurrency_key for task in claimed) == sorted(TEXTS)


@pytest.mark.parametrize("place", ["key", "value"])
async def test_a_filter_by_label_knows_no_patterns(acme: Caller, place: str) -> None:
    labels = [{text: "v"} if place == "key" else {"k": text} for text in TEXTS]
    made = [await acme.enqueue(labels=one) for one in labels]
    found = [await operating.ids(acme, labels=one) for one in labels]
    assert found == [[task_id] for task_id in made]


async def test_filters_by_error_and_by_worker_know_no_patterns(acme: Caller) -> None:
    ids = {}
    printable = [text for text in TEXTS if text.isprintable()]
    for text in printable:
        ids[text] = await acme.enqueue()
        claimed = await acme.claim_one(worker=text)
        await acme.fail(claimed, type=text, non_retryable=True)
    for text in printable:
        for name in ("error_type", "worker_id"):
            assert await operating.ids(acme, **dict[str, Any]({name: text})) == [ids[text]], (
                name,
                text,
            )


async def test_what_a_task_carries_comes_back_as_it_was_sent(acme: Caller) -> None:
    sent = task_pb2.TaskSpec(
        command="RENDER",
        payload={"data": "".join(TEXTS).encode() + bytes(range(256)), "content_type": "a/b; c=*"},
        headers={text: text for text in TEXTS},
        labels=dict(zip(TEXTS[:16], reversed(TEXTS), strict=False)),
        idempotency_key=TEXTS[0],
    )
    await acme.start("Enqueue", pb.EnqueueRequest(task=sent))
    assert (await acme.claim_one()).spec == sent
