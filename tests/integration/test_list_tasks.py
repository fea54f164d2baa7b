"""ListTasks: what each condition of a filter means, the order, and pages without gap or repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration import operating
from tests.integration.calling import ask
from tests.integration.operating import ids, seconds

if TYPE_CHECKING:
    from tests.support.server import Caller, Server

STATES = (
    *("IN_PROGRESS", "PENDING", "SCHEDULED", "BLOCKED"),
    *("FAILED", "CANCELLED", "EXPIRED", "COMPLETED"),
)


async def one_of_each(acme: Caller, **spec: Any) -> dict[str, str]:
    """State -> the one task in it."""
    found: dict[str, str] = {}
    completed, failed, held = await acme.enqueue_many(3, **spec)
    claimed = {task.lease.task_id: task for task in await acme.claim(most=3, worker="me")}
    await acme.complete(claimed[completed])
    await acme.fail(claimed[failed], type="Bad", non_retryable=True)
    found |= {"COMPLETED": completed, "FAILED": failed, "IN_PROGRESS": held}
    found["SCHEDULED"] = await acme.enqueue(delay=seconds(600), **spec)
    found["BLOCKED"] = await acme.enqueue(depends_on=[held], **spec)
    found["CANCELLED"] = await acme.enqueue(**spec)
    await operating.cancel(acme, found["CANCELLED"], reason="why")
    now = (await acme.stats()).read_time.ToMilliseconds()
    at = Timestamp()
    at.FromMilliseconds(now + 100)
    found["EXPIRED"] = await acme.enqueue(expire_time=at, **spec)
    await acme.task(found["EXPIRED"], wait=8)
    found["PENDING"] = await acme.enqueue(**spec)
    assert {await acme.state(task_id) for task_id in found.values()} == set(STATES)
    return found


async def test_all_states_come_in_their_order_and_each_by_itself(
    acme: Caller, peer: Server
) -> None:
    found = await one_of_each(acme)
    everything = [found[state] for state in STATES]
    for caller in (acme, peer.caller()):
        assert await ids(caller) == everything
        for state in STATES:
            assert await ids(caller, states=[state]) == [found[state]]
        assert await ids(caller, states=["COMPLETED", "PENDING"]) == [
            found["PENDING"],
            found["COMPLETED"],
        ]
        for size in (1, 2, 3, 7, 8, 9):
            assert await ids(caller, size) == everything


async def test_what_is_listed_is_what_is_read(acme: Caller) -> None:
    found = await one_of_each(acme, labels={"a": "b"})
    by_id = {task.task_id: task for task in await operating.listed(acme)}
    for task_id in found.values():
        assert by_id[task_id] == await acme.task(task_id)
    for task in (await operating.page(acme, full=True)).tasks:
        assert task == await acme.task(task.task_id, full=True)


async def test_labels_must_all_be_there_and_go_newest_first(acme: Caller) -> None:
    both = [await acme.enqueue(labels={"of": "me", "kind": "a"}) for _ in range(3)]
    await acme.enqueue(labels={"of": "me", "kind": "b"})
    await acme.enqueue(labels={"of": "you", "kind": "a"})
    await acme.enqueue(labels={"kind": "a"})
    await acme.enqueue()
    await acme.complete((await acme.claim())[0])
    newest_first = list(reversed(both))
    for size in (1, 2, 50):
        assert await ids(acme, size, labels={"of": "me", "kind": "a"}) == newest_first
    assert len(await ids(acme, labels={"of": "me"})) == 4
    assert await ids(acme, labels={"of": "me", "kind": "a"}, states=["PENDING"]) == newest_first[:2]
    for labels in ({"of": ""}, {"of": "m"}, {"of": "mee"}, {"none": ""}, {"of": "me", "x": "y"}):
        assert await ids(acme, labels=labels) == []


async def test_a_label_is_found_whatever_characters_it_has(acme: Caller) -> None:
    for key, value in (("a", ""), ("a\x01", "b"), ("größe", "\U0010ffff"), ("k" * 63, "v" * 255)):
        task_id = await acme.enqueue(labels={key: value})
        assert await ids(acme, labels={key: value}) == [task_id]


async def test_times_of_creation_are_from_and_before(acme: Caller) -> None:
    first, second, third = [await acme.enqueue() for _ in range(3)]
    times = [(await acme.task(one)).create_time for one in (first, second, third)]
    found = await ids(acme, create_time_after=times[1])
    assert set(found) >= {second, third}
    assert (first in found) == (times[0] == times[1])
    found = await ids(acme, create_time_before=times[2])
    assert third not in found
    assert (second in found) == (times[1] != times[2])
    assert await ids(acme, create_time_before=times[0]) == []
    assert len(await ids(acme, create_time_after=times[0])) == 3
    assert await ids(acme, create_time_after=Timestamp(seconds=4_000_000_000)) == []
    assert len(await ids(acme, create_time_before=Timestamp(seconds=4_000_000_000))) == 3
    assert await ids(acme, create_time_before=Timestamp(seconds=1)) == []


async def test_a_worker_is_the_one_that_holds_a_task_or_held_it_last(acme: Caller) -> None:
    await acme.enqueue_many(4)
    (held,) = await acme.claim(worker="me")
    (done,) = await acme.claim(worker="me")
    await acme.complete(done)
    (back,) = await acme.claim(worker="me")
    await acme.abandon(back)
    (again,) = await acme.claim(worker="you")
    assert again.lease.task_id == back.lease.task_id
    assert await ids(acme, worker_id="me") == [held.lease.task_id, done.lease.task_id]
    assert await ids(acme, worker_id="you") == [again.lease.task_id]
    assert await ids(acme, worker_id="m") == []
    assert await ids(acme, worker_id="me", states=["COMPLETED"]) == [done.lease.task_id]


async def test_an_error_type_is_that_of_the_latest_error(acme: Caller) -> None:
    found = await one_of_each(acme)
    assert await ids(acme, error_type="Bad") == [found["FAILED"]]
    assert await ids(acme, error_type="cancelled") == [found["CANCELLED"]]
    assert await ids(acme, error_type="expired") == [found["EXPIRED"]]
    assert await ids(acme, error_type="Ba") == []
    await operating.redrive(acme, found["FAILED"])
    assert await ids(acme, error_type="Bad") == [found["FAILED"]]


async def test_pending_tasks_go_by_priority_and_newest_first(acme: Caller) -> None:
    made = [(priority, await acme.enqueue(priority=priority)) for priority in (5, 0, 9, 5, 0, 9)]
    expected = [
        task_id
        for wanted in (9, 5, 0)
        for priority, task_id in reversed(made)
        if priority == wanted
    ]
    for size in (1, 2, 50):
        assert await ids(acme, size, states=["PENDING"]) == expected


async def test_scheduled_tasks_go_by_due_time_and_ended_ones_by_their_end(acme: Caller) -> None:
    late, early = [await acme.enqueue(delay=seconds(one)) for one in (900, 300)]
    assert await ids(acme, states=["SCHEDULED"]) == [late, early]
    for _ in range(3):
        await acme.enqueue()
    ended = []
    for task in reversed(await acme.claim(most=3)):
        await acme.complete(task)
        ended.append(task.lease.task_id)
    assert set(await ids(acme, 1, states=["COMPLETED"])) == set(ended)


@pytest.mark.parametrize("states", [["PENDING"], ["SCHEDULED"], ["COMPLETED"], []])
async def test_pages_of_many_tasks_have_each_exactly_once(acme: Caller, states: list[str]) -> None:
    made = await acme.enqueue_many(700, delay=seconds(600) if states == ["SCHEDULED"] else None)
    if states == ["COMPLETED"]:
        outcomes = [
            pb.Outcome(complete={"lease": task.lease}) for task in await acme.claim(most=700)
        ]
        await acme.start("Report", pb.ReportRequest(outcomes=outcomes))
    for size in (99, 1_000):
        found = await ids(acme, size, states=states)
        assert len(found) == 700
        assert set(found) == set(made)


async def test_tasks_that_stay_are_in_exactly_one_page_while_others_come_and_go(
    acme: Caller,
) -> None:
    stays = await acme.enqueue_many(20, priority=5)
    found: list[str] = []
    token = ""
    for step in range(40):
        response = await operating.page(acme, 3, token, states=["PENDING"])
        found += [task.task_id for task in response.tasks]
        token = response.next_page_token
        if not token:
            break
        await acme.enqueue(priority=5)
        await acme.enqueue(priority=9)
        if step % 2:
            await acme.claim()
    for task_id in stays:
        assert found.count(task_id) == (1 if task_id in found else 0)
    assert set(found) >= set(stays)


async def test_a_task_that_came_back_is_listed_once(acme: Caller) -> None:
    """Redriven, replaced, promoted: an old entry of its may still stand in the list."""
    first = await acme.enqueue(idempotency_key="key")
    await acme.enqueue_many(3)
    await operating.cancel(acme, first)
    await operating.redrive(acme, first)
    for size in (1, 50):
        found = await ids(acme, size, states=["PENDING"])
        assert sorted(found) == sorted(set(found))
        assert len(found) == 4


async def test_a_page_has_fifty_unless_asked_for_another_size(acme: Caller) -> None:
    await acme.enqueue_many(120)
    response = await ask(acme, "ListTasks", pb.ListTasksRequest(filter={"command": "RENDER"}))
    assert len(response.tasks) == limits.PAGE_DEFAULT
    assert not response.tasks[0].spec.HasField("payload")
    assert len((await operating.page(acme, 7)).tasks) == 7
    assert len((await operating.page(acme, 1_000)).tasks) == 120


async def test_a_queue_that_does_not_exist_has_no_tasks(acme: Caller) -> None:
    response = await operating.page(acme, command="NEVER")
    assert response == pb.ListTasksResponse()
    assert not (await acme.start("AdminQueues", pb.AdminQueuesRequest())).queues


async def test_pages_are_cut_by_bytes_and_nothing_is_left_out(acme: Caller) -> None:
    made = [await acme.enqueue(data=bytes(1 << 20)) for _ in range(7)]
    made += [await acme.enqueue(data=b"small") for _ in range(5)]
    sizes, found, token = [], [], ""
    while True:
        response = await operating.page(acme, 100, token, full=True)
        assert response.ByteSize() < limits.MESSAGE_BYTES
        sizes.append(len(response.tasks))
        found += [task.task_id for task in response.tasks]
        assert all(task.spec.HasField("payload") for task in response.tasks)
        token = response.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(made)
    assert 1 < max(sizes) < 12
    assert len((await operating.page(acme, 100)).tasks) == 12


async def test_a_page_cut_by_bytes_tells_the_right_things_though_tasks_change(
    acme: Caller, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between looking for tasks and reading them others act."""
    made = {await acme.enqueue(data=b"%d" % i + bytes(1_000_000)): b"%d" % i for i in range(6)}
    reads, read = server.app._reads, server.app._reads.read
    newest = list(made)[::-1]

    async def slow(*args: Any, **more: Any) -> Any:
        stored = await read(*args, **more)
        monkeypatch.setattr(reads, "read", read)
        await operating.cancel(acme, newest[0])
        return stored

    monkeypatch.setattr(reads, "read", slow)
    found: list[task_pb2.Task] = []
    token = ""
    while True:
        response = await operating.page(acme, 100, token, full=True, states=["PENDING"])
        found += response.tasks
        token = response.next_page_token
        if not token:
            break
    for task in found:
        assert task.spec.payload.data.rstrip(b"\0") == made[task.task_id]
    assert {task.task_id for task in found} >= set(newest[1:])
