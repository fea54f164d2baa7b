"""Page tokens: good for the tenant and the filter they were given to, and for nothing else."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.calling import ask
from tests.integration.operating import seconds
from tests.integration.refusals import refused, told

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

REFUSED = ("INVALID_ARGUMENT", "INVALID_FIELD", "page_token")
PENDING: dict[str, Any] = {"states": ["PENDING"]}
LABELLED: dict[str, Any] = {"labels": {"a": "b"}}
SCHEDULED: dict[str, Any] = {"states": ["SCHEDULED"]}


@pytest.fixture(params=[{}, PENDING, LABELLED, SCHEDULED], ids=["all", "list", "label", "time"])
async def fields(request: pytest.FixtureRequest, acme: Caller) -> dict[str, Any]:
    """A filter that has several pages of two."""
    await acme.enqueue_many(5, labels={"a": "b"})
    await acme.enqueue_many(5, labels={"a": "b"}, delay=seconds(600))
    found: dict[str, Any] = request.param
    return found


async def token_of(caller: Caller, **fields: Any) -> str:
    """What leads to the second page of two."""
    token = (await operating.page(caller, 2, **fields)).next_page_token
    assert token
    return token


def listing(token: str, **fields: Any) -> pb.ListTasksRequest:
    """A page of two."""
    return pb.ListTasksRequest(filter=operating.matching(**fields), page_size=2, page_token=token)


async def test_a_token_works_on_every_server_and_with_every_page_size(
    acme: Caller, peer: Server, fields: dict[str, Any]
) -> None:
    token = await token_of(acme, **fields)
    here = await operating.page(acme, 2, token, **fields)
    assert await operating.page(peer.caller(), 2, token, **fields) == here
    more = await operating.page(acme, 3, token, **fields)
    assert more.tasks[:2] == here.tasks


async def test_an_altered_token_is_refused(acme: Caller, fields: dict[str, Any]) -> None:
    token = await token_of(acme, **fields)
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    altered = [token[:-1], token[1:], token + "A", token + "AAAA", token + "=", token.swapcase()]
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1
        altered.append(urlsafe_b64encode(bytes(changed)).decode().rstrip("="))
    altered += [
        urlsafe_b64encode(raw[:length]).decode().rstrip("=") for length in range(1, len(raw))
    ]
    for bad in altered:
        assert await told(acme, "ListTasks", listing(bad, **fields)) == REFUSED, bad
    assert await told(acme, "ListTasks", listing(token, **fields)) == ("OK", "", "")


async def test_a_token_of_another_filter_or_tenant_is_refused(
    acme: Caller, rival: Caller, fields: dict[str, Any]
) -> None:
    await rival.enqueue_many(5, labels={"a": "b"})
    token = await token_of(acme, **fields)
    assert await told(rival, "ListTasks", listing(token, **fields)) == REFUSED
    for other in (
        {"command": "OTHER"},
        {"states": ["FAILED"]},
        {"worker_id": "w"},
        {"error_type": "T"},
        {"labels": {"a": "c"}},
        {"create_time_after": {"seconds": 1}},
        {"create_time_before": {"seconds": 4_000_000_000}},
    ):
        request = listing(token, **{**fields, **other})
        assert await told(acme, "ListTasks", request) == REFUSED, other


async def test_tokens_of_selectors_are_bound_in_the_same_way(acme: Caller, rival: Caller) -> None:
    await acme.enqueue_many(5)
    done = await operating.cancel(acme, limit=2)
    token = done.next_page_token
    for caller, command in ((rival, "RENDER"), (acme, "OTHER")):
        refusal = await refused(operating.cancel(caller, page_token=token, command=command))
        assert refusal.fields == ("selector.page_token",)
    refusal = await refused(operating.redrive(acme, page_token=token))
    assert refusal.fields == ("selector.page_token",)
    assert (await operating.cancel(acme, page_token=token)).cancelled_count == 3


async def test_the_order_of_labels_and_states_is_no_part_of_a_filter(acme: Caller) -> None:
    await acme.enqueue_many(5, labels={"a": "1", "b": "2"})
    token = await token_of(acme, labels={"a": "1", "b": "2"}, states=["PENDING", "SCHEDULED"])
    other = listing(token, labels={"b": "2", "a": "1"}, states=["SCHEDULED", "PENDING", "PENDING"])
    assert len((await ask(acme, "ListTasks", other)).tasks) == 2


async def test_tokens_within_the_longest_concurrency_keys_are_accepted(acme: Caller) -> None:
    """A token tells where a page ended, which may be behind a key."""
    key = "\N{GRINNING FACE}" * limits.CONCURRENCY_KEY_CHARS
    await operating.update(acme, max_in_progress_per_key=1)
    made = await acme.enqueue_many(6, concurrency_key=key)
    (held,) = await acme.claim(most=9)
    assert await operating.ids(acme, 1, states=["PENDING"]) == made[1:]
    assert held.lease.task_id == made[0]


async def test_a_token_whose_last_task_is_gone_goes_on_behind_it(acme: Caller) -> None:
    made = await acme.enqueue_many(6)
    first = await operating.page(acme, 2, states=["PENDING"])
    await operating.cancel(acme, *(task.task_id for task in first.tasks))
    second = await operating.page(acme, 9, first.next_page_token, states=["PENDING"])
    assert [task.task_id for task in second.tasks] == made[3::-1]
