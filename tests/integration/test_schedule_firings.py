"""Firings that people ask for, what a task is told of its firing, and what is told of firings."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest
from typing_extensions import override

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from codeq_grpc.broker.ends import Ends
from codeq_grpc.broker.page_tokens import page_token
from codeq_grpc.core import limits
from codeq_grpc.core.clock import now
from codeq_grpc.core.errors import StoreUnavailable
from codeq_grpc.store.connection import Connection
from tests.integration import operating, scheduling
from tests.integration.calling import ask
from tests.integration.refusals import refused
from tests.support.server import Caller, bearer, eventually, running_server

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.broker.ends import End
    from codeq_grpc.store.keys import Calendar, Queue
    from codeq_grpc.store.scripts import Script
    from tests.support.server import Server
    from tests.support.stores import StoreProcess

DAY: Final = 86_400_000
TODAY: Final = int(now().timestamp() * 1000) // DAY * DAY


def json_task(text: str, **spec: Any) -> task_pb2.TaskSpec:
    """One with a payload of JSON."""
    payload = task_pb2.Payload(data=text.encode(), content_type="application/json")
    return task_pb2.TaskSpec(command="RENDER", payload=payload, **spec)


async def test_a_trigger_fires_now_and_once_a_key(acme: Caller) -> None:
    await scheduling.create(acme)
    first = await scheduling.trigger(acme, key="k")
    again = await scheduling.trigger(acme, key="k")
    assert first.task_id == again.task_id
    assert first.fire_time == again.fire_time
    other = await scheduling.trigger(acme, key="l")
    without = [await scheduling.trigger(acme) for _ in range(2)]
    ids = [first.task_id, other.task_id, *(one.task_id for one in without)]
    assert len(set(ids)) == 4
    assert all(ids)
    found = await scheduling.firings(acme)
    assert [one.task_id for one in found] == ids
    assert {one.cause for one in found} == {pb.FIRING_CAUSE_TRIGGER}
    assert {one.state for one in found} == {task_pb2.TASK_STATE_PENDING}
    assert first.state == task_pb2.TASK_STATE_PENDING


async def test_many_triggers_of_one_key_at_once_make_one_task(acme: Caller, peer: Server) -> None:
    await scheduling.create(acme)
    callers = [acme, peer.caller()] * 10
    fired = await asyncio.gather(*(scheduling.trigger(one, key="k") for one in callers))
    assert len({one.task_id for one in fired}) == 1
    assert (await acme.stats()).enqueued_total == 1


async def test_a_trigger_fires_a_paused_schedule(acme: Caller) -> None:
    await scheduling.create(acme, paused=True)
    assert (await scheduling.trigger(acme)).task_id


@pytest.mark.parametrize("overlap", ["SKIP", "BUFFER_ONE", "CANCEL_PREVIOUS", "ALLOW"])
async def test_a_trigger_keeps_to_the_overlap_policy(acme: Caller, overlap: str) -> None:
    await scheduling.create(acme, overlap_policy=f"OVERLAP_POLICY_{overlap}")
    first = await scheduling.trigger(acme)
    second = await scheduling.trigger(acme)
    if overlap == "SKIP":
        assert (second.skip_reason, second.task_id) == ("OVERLAP", "")
    elif overlap == "BUFFER_ONE":
        assert (second.skip_reason, second.task_id) == ("", "")
        assert (await scheduling.trigger(acme)).skip_reason == "OVERLAP"
        task = await acme.claim_one(wait=5)
        await acme.complete(task)
        assert (await acme.claim_one(wait=5)).lease.task_id != first.task_id
    else:
        assert second.task_id
        states = [await acme.state(one.task_id) for one in (first, second)]
        cancelled = overlap == "CANCEL_PREVIOUS"
        assert states == ["CANCELLED" if cancelled else "PENDING", "PENDING"]


async def test_an_end_that_was_not_told_yet_keeps_no_firing_back(
    acme: Caller, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """Queues are asked before a firing is skipped."""

    async def nothing(*_: Any) -> set[Any]:
        return set()

    monkeypatch.setattr(server.app._courier._dependencies, "deliver", nothing)
    await scheduling.create(acme, overlap_policy=pb.OVERLAP_POLICY_SKIP)
    for _ in range(3):
        assert (await scheduling.trigger(acme)).task_id
        await acme.complete(await acme.claim_one(wait=5))
    status = (await scheduling.get(acme)).status
    assert (status.fired_count, status.overlap_count, status.completed_count) == (3, 0, 2)


async def test_an_end_that_a_redrive_overtakes_is_told_with_the_next(
    acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scheduling.create(acme)
    firing = await scheduling.trigger(acme)
    tell, redriven = Ends.tell, list[str]()

    async def late(self: Ends, queue: Queue, ends: Sequence[End]) -> list[End]:
        if not redriven:
            redriven.append(firing.task_id)
            await operating.redrive(acme, firing.task_id)
        return await tell(self, queue, ends)

    monkeypatch.setattr(Ends, "tell", late)
    await acme.fail(await acme.claim_one(), non_retryable=True)
    await acme.complete(await acme.claim_one(wait=5))

    async def told() -> bool:
        status = (await scheduling.get(acme)).status
        return (status.open_count, status.completed_count, status.failed_count) == (0, 1, 0)

    await eventually(told)


async def test_an_end_before_its_firing_is_settled_is_told_though_the_store_fails(
    acme: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scheduling.create(acme)
    follow, tell, failed = Ends.follow, Ends.tell, list[bool]()

    async def late(self: Ends, calendar: Calendar, enqueued: Any) -> dict[Queue, list[End]]:
        if not failed:
            await acme.complete(await acme.claim_one(wait=5))
        return await follow(self, calendar, enqueued)

    async def broken(self: Ends, queue: Queue, ends: Sequence[End]) -> list[End]:
        if not failed:
            failed.append(True)
            raise StoreUnavailable
        return await tell(self, queue, ends)

    monkeypatch.setattr(Ends, "follow", late)
    monkeypatch.setattr(Ends, "tell", broken)
    assert (await refused(scheduling.trigger(acme))).reason == "STORE_UNAVAILABLE"

    async def told() -> bool:
        status = (await scheduling.get(acme)).status
        return (status.open_count, status.completed_count, status.fired_count) == (0, 1, 1)

    await eventually(told, 20)


async def test_no_more_triggers_than_max_firings(acme: Caller) -> None:
    await scheduling.create(acme, max_firings=2)
    for _ in range(2):
        await scheduling.trigger(acme)
    refusal = await refused(scheduling.trigger(acme))
    assert refusal.kind == ("FAILED_PRECONDITION", "INVALID_STATE")
    assert "max_firings" in refusal.message


async def test_a_backfill_fires_what_has_no_task(acme: Caller) -> None:
    await scheduling.create(acme, "nightly", "@hourly", overlap_policy=pb.OVERLAP_POLICY_SKIP)
    start = TODAY - DAY
    assert await scheduling.backfill(acme, "nightly", start, start + 6 * 3_600_000) == 6
    assert await scheduling.backfill(acme, "nightly", start, start + 8 * 3_600_000) == 2
    found = await scheduling.firings(acme, size=3)
    assert [one.fire_time.ToMilliseconds() for one in found] == [
        start + hour * 3_600_000 for hour in range(8)
    ]
    assert {one.cause for one in found} == {pb.FIRING_CAUSE_BACKFILL}
    assert len({one.task_id for one in found} - {""}) == 8
    assert (await acme.stats()).enqueued_total == 8


async def test_a_backfill_of_a_thousand_and_no_more(acme: Caller) -> None:
    await scheduling.create(acme, "nightly", "* * * * *")
    end = TODAY - DAY
    start = end - limits.BACKFILLED * 60_000
    refusal = await refused(scheduling.backfill(acme, "nightly", start - 1_000, end + 1_000))
    assert refusal.fields == ("end_time",)
    assert await scheduling.backfill(acme, "nightly", start, end) == limits.BACKFILLED
    assert (await acme.stats()).pending == limits.BACKFILLED
    assert len(await scheduling.firings(acme, size=400)) == limits.BACKFILLED  # all are open


async def test_many_large_firings_go_a_message_at_a_time(
    store: StoreProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = list[int]()

    class Weighed(Connection):
        @override
        async def run(
            self, script: Script, names: Sequence[bytes | str], args: Sequence[Any]
        ) -> Any:
            sizes.append(sum(len(one) for one in args if isinstance(one, bytes)))
            return await super().run(script, names, args)

    def connect(settings: Any, **_: Any) -> Weighed:
        return Weighed(settings.store_url())

    monkeypatch.setattr("codeq_grpc.app._connection", connect)
    async with running_server(store) as server:
        acme = server.caller()
        await scheduling.create(acme, every=60, task=json_task(f'"{"x" * 250_000}"'))
        assert (
            await scheduling.backfill(acme, "nightly", TODAY - DAY, TODAY - DAY + 6_000_000) == 100
        )
        assert (await acme.stats()).enqueued_total == 100
    assert limits.BATCH_BYTES // 2 < max(sizes) <= limits.MESSAGE_BYTES


async def test_a_backfill_is_of_what_has_passed(acme: Caller) -> None:
    await scheduling.create(acme)
    refusal = await refused(scheduling.backfill(acme, "nightly", TODAY, TODAY + 3 * DAY))
    assert refusal.fields == ("end_time",)


async def test_a_task_is_told_of_its_firing(acme: Caller) -> None:
    text = '{"at": "{{fire_time}}", "{{fire_time}}": 1, "x": ["{{schedule_id}}|{{other}}"]}'
    headers = {"when": "{{fire_time}}, after {{previous_fire_time}}."}
    task = json_task(text, headers=headers, labels={"kind": "report"}, priority=7)
    await scheduling.create(acme, "nightly", "0 0 * * *", task=task)
    await scheduling.backfill(acme, "nightly", TODAY - 2 * DAY, TODAY)
    first, second = await acme.claim(most=2)
    days = [scheduling.at(TODAY - n * DAY).ToJsonString() for n in (3, 2, 1)]
    for claimed, previous, day in zip((first, second), days, days[1:], strict=False):
        assert claimed.spec.payload.data.decode() == (
            f'{{"at": "{day}", "{{{{fire_time}}}}": 1, "x": ["nightly|{{{{other}}}}"]}}'
        )
        assert claimed.spec.headers["when"] == f"{day}, after {previous}."
        assert (claimed.spec.labels["kind"], claimed.spec.priority) == ("report", 7)


async def test_only_json_is_filled_in(acme: Caller) -> None:
    task = task_pb2.TaskSpec(command="RENDER", payload={"data": b'"{{fire_time}}"'})
    await scheduling.create(acme, task=task)
    await scheduling.trigger(acme)
    assert (await acme.claim_one()).spec.payload.data == b'"{{fire_time}}"'


async def test_a_payload_that_is_not_valid_is_skipped_and_counted(acme: Caller) -> None:
    await scheduling.create(acme, task=json_task('"text"'))
    await operating.update(acme, payload_schema='{"type": "object"}')
    firing = await scheduling.trigger(acme)
    assert (firing.skip_reason, firing.task_id) == ("PAYLOAD_INVALID", "")
    status = (await scheduling.get(acme)).status
    assert (status.refused_count, status.fired_count, status.open_count) == (1, 0, 0)


async def test_a_queue_without_room_is_tried_again_within_the_grace(acme: Caller) -> None:
    await operating.update(acme, max_backlog=1)
    blocker = await acme.enqueue()
    await scheduling.create(acme, grace=300)
    firing = await scheduling.trigger(acme)
    assert (firing.skip_reason, firing.task_id) == ("", "")
    await operating.cancel(acme, blocker)

    async def fired() -> bool:
        (one,) = await scheduling.firings(acme)
        return bool(one.task_id)

    await eventually(fired)


async def test_a_queue_without_room_is_given_up_after_the_grace(acme: Caller) -> None:
    await operating.update(acme, max_backlog=1)
    await acme.enqueue()
    await scheduling.create(acme, grace=1)
    await scheduling.trigger(acme)

    async def skipped() -> bool:
        (one,) = await scheduling.firings(acme)
        return one.skip_reason == "QUEUE_FULL"

    await eventually(skipped)
    assert (await scheduling.get(acme)).status.refused_count == 1


async def test_a_tenant_without_room_is_tried_again(store: StoreProcess) -> None:
    quotas = {"acme": {"queues": 1}}
    async with running_server(store, tenants=quotas) as server:
        acme = server.caller()
        await acme.enqueue("OTHER")
        await scheduling.create(acme, grace=1)
        await scheduling.trigger(acme)

        async def skipped() -> bool:
            (one,) = await scheduling.firings(acme)
            return one.skip_reason == "QUOTA_EXCEEDED"

        await eventually(skipped)


async def test_tasks_of_a_deleted_schedule_go_on(acme: Caller) -> None:
    await scheduling.create(acme)
    before = await scheduling.trigger(acme)
    await scheduling.delete(acme)
    await scheduling.create(acme)
    after = await scheduling.trigger(acme)
    tasks = await acme.claim(most=2)
    assert {task.lease.task_id for task in tasks} == {before.task_id, after.task_id}
    for task in tasks:
        await acme.complete(task)

    async def told() -> bool:
        return (await scheduling.get(acme)).status.completed_count == 1

    await eventually(told)
    assert [one.task_id for one in await scheduling.firings(acme)] == [after.task_id]


async def test_so_many_firings_are_kept(store: StoreProcess) -> None:
    async with running_server(store, firings_kept=3) as server:
        acme = server.caller()
        await scheduling.create(acme)
        ids = []
        for _ in range(6):
            ids.append((await scheduling.trigger(acme)).task_id)
            await acme.complete(await acme.claim_one(wait=5))

            async def told(count: int = len(ids)) -> bool:
                return (await scheduling.get(acme)).status.completed_count == count

            await eventually(told)
        await scheduling.trigger(acme)
        found = [one.task_id for one in await scheduling.firings(acme)]
        assert found[:-1] == ids[-len(found) + 1 :]
        assert len(found) <= 4


async def test_a_firing_tells_the_state_of_its_task_now_and_its_end_when_it_is_gone(
    acme: Caller,
) -> None:
    await scheduling.create(acme)
    task_id = (await scheduling.trigger(acme)).task_id
    await acme.fail(await acme.claim_one(wait=5), non_retryable=True)
    await operating.redrive(acme, task_id)
    (firing,) = await scheduling.firings(acme)
    assert firing.state == task_pb2.TASK_STATE_PENDING
    await acme.complete(await acme.claim_one(wait=5))

    async def told() -> bool:
        return (await scheduling.get(acme)).status.failed_count == 1

    await eventually(told)
    await operating.clean(acme)
    (firing,) = await scheduling.firings(acme)
    assert firing.state == task_pb2.TASK_STATE_FAILED  # as it ended first, and was counted


async def test_a_page_token_of_firings_is_of_one_schedule(acme: Caller) -> None:
    for name in ("a", "b"):
        await scheduling.create(acme, name)
        for _ in range(2):
            await scheduling.trigger(acme, name)
    request = pb.ListFiringsRequest(schedule_id="a", page_size=1)
    token = (await ask(acme, "ListFirings", request)).next_page_token
    request = pb.ListFiringsRequest(schedule_id="b", page_token=token)
    assert (await refused(ask(acme, "ListFirings", request))).fields == ("page_token",)


async def test_a_forged_page_token_finds_no_firings_of_others(acme: Caller) -> None:
    await scheduling.create(acme, "mine")
    await scheduling.create(acme, "theirs", task=task_pb2.TaskSpec(command="PAY"))
    await scheduling.trigger(acme, "theirs")
    limited = Caller(acme.channel, bearer("acme", "admin-of-render"))
    token = page_token(repr(("firings", "acme", "mine")).encode(), b"\xff" * 16)
    request = pb.ListFiringsRequest(schedule_id="mine", page_token=token)
    assert not (await ask(limited, "ListFirings", request)).firings
