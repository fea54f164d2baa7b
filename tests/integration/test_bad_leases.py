"""Leases that are not the caller's, ids that are in a request twice or are another tenant's, and
the same request many times at once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.duration_pb2 import Duration

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.calling import ask
from tests.integration.operating import seconds
from tests.integration.refusals import item_kind, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from tests.support.server import Caller

LOST: Final = ("FAILED_PRECONDITION", "LEASE_LOST", "")
NOT_FOUND: Final = ("NOT_FOUND", "TASK_NOT_FOUND", "")
ENDINGS: Final = ("complete", "fail", "abandon")
AT_ONCE: Final = task_pb2.RetryPolicy(max_attempts=9, initial_backoff=Duration())


def outcome(kind: str, lease: task_pb2.LeaseRef) -> pb.Outcome:
    """One end of an attempt."""
    item: Any = {kind: {"lease": lease}}
    return pb.Outcome(**item)


def report_of(kind: str, lease: task_pb2.LeaseRef) -> pb.ReportRequest:
    """One end of an attempt, in a batch."""
    return pb.ReportRequest(outcomes=[outcome(kind, lease)])


REPORTS: Final[dict[str, tuple[str, Callable[[task_pb2.LeaseRef], Message]]]] = {
    "Complete": ("Complete", lambda lease: pb.CompleteRequest(lease=lease)),
    "Fail": ("Fail", lambda lease: pb.FailRequest(lease=lease)),
    "Abandon": ("Abandon", lambda lease: pb.AbandonRequest(lease=lease)),
    **{f"Report of {kind}": ("Report", partial(report_of, kind)) for kind in ENDINGS},
}


async def of_every_state(acme: Caller) -> dict[str, task_pb2.LeaseRef]:
    """A task of each state but IN_PROGRESS, with a fence it has or had, or one made up."""
    found = {}
    for name, ending in (
        ("COMPLETED", pb.CompleteRequest),
        ("FAILED", pb.FailRequest),
        ("abandoned", pb.AbandonRequest),
        ("cancelled", pb.FailRequest),
    ):
        task_id = await acme.enqueue(retry_policy=AT_ONCE)
        lease = found[name] = (await acme.claim_one()).lease
        if name == "cancelled":
            await operating.cancel(acme, task_id)
        request: Any = ending(lease=lease)
        if name == "FAILED":
            request.error.non_retryable = True
        await acme.start(ending.DESCRIPTOR.name.removesuffix("Request"), request)
        if name == "abandoned":
            await operating.cancel(acme, task_id)
    waiting = await acme.enqueue(delay=seconds(600))
    others = {
        "SCHEDULED": waiting,
        "BLOCKED": await acme.enqueue(depends_on=[waiting]),
        "PENDING": await acme.enqueue(),
    }
    return found | {
        name: task_pb2.LeaseRef(task_id=task_id, fence=1) for name, task_id in others.items()
    }


@pytest.mark.parametrize("report", REPORTS)
async def test_who_holds_no_lease_reports_nothing_whatever_the_state(
    acme: Caller, report: str
) -> None:
    rpc, request_of = REPORTS[report]
    repeats = {("COMPLETED", "complete"), ("FAILED", "fail"), ("cancelled", "fail")}
    repeats.add(("abandoned", "abandon"))
    for state, lease in (await of_every_state(acme)).items():
        before = await acme.task(lease.task_id, full=True)
        seen = await told(acme, rpc, request_of(lease))
        kind = report.lower().rpartition(" ")[2]
        assert seen == (("OK", "", "") if (state, kind) in repeats else LOST), state
        assert await acme.task(lease.task_id, full=True) == before
        (directive,) = (await ask(acme, "Heartbeat", beats(lease))).directives
        assert directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
        assert await acme.task(lease.task_id, full=True) == before


def beats(*leases: task_pb2.LeaseRef) -> pb.HeartbeatRequest:
    """Of these leases."""
    return pb.HeartbeatRequest(leases=[pb.LeaseHeartbeat(lease=lease) for lease in leases])


@pytest.mark.parametrize("report", REPORTS)
async def test_a_lease_that_was_made_up_is_worth_nothing(
    acme: Caller, rival: Caller, report: str
) -> None:
    rpc, request_of = REPORTS[report]
    await acme.enqueue_many(2)
    await rival.enqueue()
    mine, other = (task.lease for task in await acme.claim(most=2))
    theirs = (await rival.claim_one()).lease
    real, fence = mine.task_id, mine.fence
    made_up = {
        (real, fence + 1): LOST,
        (real, fence - 1): LOST,
        (real, other.fence): LOST,
        (real, theirs.fence): LOST,
        (real, 1): LOST,
        (real, (1 << 53) - 1): LOST,
        (theirs.task_id, theirs.fence): NOT_FOUND,
        (theirs.task_id, fence): NOT_FOUND,
        (real[:-1], fence): NOT_FOUND,
        (real + "A", fence): NOT_FOUND,
        (real.swapcase(), fence): NOT_FOUND,
        (f" {real}", fence): NOT_FOUND,
        ("x" * 1_000_000, fence): NOT_FOUND,
    }
    before = [await acme.task(task_id, full=True) for task_id in (real, other.task_id)]
    for (task_id, number), expected in made_up.items():
        if (task_id, number) == (real, fence):
            continue  # fences of two queues may be the same
        lease = task_pb2.LeaseRef(task_id=task_id, fence=number)
        assert await told(acme, rpc, request_of(lease)) == expected, (task_id[:20], number)
        (directive,) = (await ask(acme, "Heartbeat", beats(lease))).directives
        assert directive.kind == pb.DIRECTIVE_KIND_LEASE_LOST
    assert [await acme.task(task_id, full=True) for task_id in (real, other.task_id)] == before
    assert await rival.state(theirs.task_id) == "IN_PROGRESS"


async def test_the_largest_heartbeat_has_an_answer(acme: Caller) -> None:
    """It names the leases that were asked about, whose ids may be as long as a request allows."""
    lease = task_pb2.LeaseRef(task_id="x" * 4_175, fence=(1 << 53) - 1)
    request = beats(*[lease] * 1_000)
    assert limits.MESSAGE_BYTES - 2_000 < request.ByteSize() <= limits.MESSAGE_BYTES
    response = await ask(acme, "Heartbeat", request)
    assert {one.lease.task_id for one in response.directives} == {"x" * 64}
    assert len(response.directives) == 1_000


async def test_of_a_lease_that_is_reported_twice_at_once_the_first_counts(acme: Caller) -> None:
    for first in ENDINGS:
        for second in ENDINGS:
            task_id = await acme.enqueue(retry_policy=AT_ONCE)
            lease = (await acme.claim_one()).lease
            request = pb.ReportRequest(outcomes=[outcome(first, lease), outcome(second, lease)])
            response = await ask(acme, "Report", request)
            told_items = [item_kind(item) for item in response.failures]
            assert told_items == ([] if first == second else [(1, *LOST[:2])]), (first, second)
            await operating.cancel(acme, task_id)


async def test_ids_may_be_in_a_request_twice(acme: Caller) -> None:
    task_id = await acme.enqueue()
    lease = (await acme.claim_one()).lease
    assert not (await ask(acme, "Heartbeat", beats(lease, lease))).directives
    requested = await operating.cancel(acme, task_id, task_id)
    assert (requested.requested_count, list(requested.failures)) == (2, [])
    await acme.start("Fail", pb.FailRequest(lease=lease))
    redriven = await operating.redrive(acme, task_id, task_id)
    assert redriven.redriven_count == 1
    assert [item_kind(item) for item in redriven.failures] == [
        (1, "FAILED_PRECONDITION", "INVALID_STATE")
    ]


@pytest.mark.parametrize("atomic", [False, True])
async def test_a_key_or_a_dependency_may_be_in_a_batch_twice(acme: Caller, atomic: bool) -> None:
    parent = await acme.enqueue("PARENT")
    spec = task_pb2.TaskSpec(
        command="RENDER", idempotency_key="k", depends_on=[parent, parent], labels={"a": "b"}
    )
    request = pb.BatchEnqueueRequest(tasks=[spec] * 3, atomic=atomic)
    results = (await ask(acme, "BatchEnqueue", request)).results
    assert [one.created for one in results] == [True, False, False]
    assert len({one.task_id for one in results}) == 1
    await acme.complete(await acme.claim_one("PARENT"))
    assert (await acme.claim_one(wait=5)).lease.task_id == results[0].task_id


async def test_of_own_and_foreign_ids_in_one_request_the_own_are_served(
    acme: Caller, rival: Caller
) -> None:
    theirs = await rival.enqueue()
    mine = await acme.enqueue()
    done = await operating.cancel(acme, theirs, mine, theirs)
    assert done.cancelled_count == 1
    assert [item_kind(item) for item in done.failures] == [(0, *NOT_FOUND[:2]), (2, *NOT_FOUND[:2])]
    again = await operating.redrive(acme, theirs, mine, theirs)
    assert again.redriven_count == 1
    assert [item_kind(item) for item in again.failures] == [
        (0, *NOT_FOUND[:2]),
        (2, *NOT_FOUND[:2]),
    ]
    specs = [task_pb2.TaskSpec(command="RENDER", depends_on=[one]) for one in (theirs, mine)]
    response = await ask(acme, "BatchEnqueue", pb.BatchEnqueueRequest(tasks=specs))
    assert [item.index for item in response.failures] == [0]
    assert response.results[1].state == task_pb2.TASK_STATE_BLOCKED
    lease, foreign = (await acme.claim_one()).lease, (await rival.claim_one()).lease
    (directive,) = (await ask(acme, "Heartbeat", beats(foreign, lease, lease))).directives
    assert directive.lease == foreign
    assert await rival.state(theirs) == "IN_PROGRESS"


async def test_a_thousand_equal_cancels_at_once_have_one_answer(acme: Caller) -> None:
    task_id = await acme.enqueue()
    calls = [asyncio.create_task(operating.cancel(acme, task_id)) for _ in range(1_000)]
    done = [await call for call in calls]
    counts = {(one.cancelled_count, one.requested_count, len(one.failures)) for one in done}
    assert counts == {(1, 0, 0)}
    assert await acme.state(task_id) == "CANCELLED"
    assert (await acme.stats()).cancelled == 1


async def test_a_thousand_equal_enqueues_at_once_make_one_task(acme: Caller) -> None:
    calls = [
        asyncio.create_task(acme.enqueue(idempotency_key="k", data=b"same")) for _ in range(1_000)
    ]
    assert len({await call for call in calls}) == 1
    assert (await acme.stats()).pending == 1
