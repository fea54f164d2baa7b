"""Tasks are listed, watched, cancelled and redriven, in as many calls as it takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services, task_pb2
from codeq_grpc.client import CancelTotal, Client, RedriveTotal, TaskState
from codeq_grpc.core.errors import InvalidField, InvalidState, ScopeMissing, TaskNotFound
from codeq_grpc.wire.errors import to_item
from tests.unit.scripted import Answering, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from codeq_grpc.client import FilterOptions

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHOICE: FilterOptions = {
    "states": ["failed", TaskState.TASK_STATE_EXPIRED],
    "labels": {"run": "7"},
    "worker_id": "w",
    "error_type": "KeyError",
    "created_after": AT,
    "created_before": AT + timedelta(hours=1),
}


def chosen() -> pb.TaskFilter:
    """What CHOICE of the queue c is on the wire."""
    expected = pb.TaskFilter(
        command="c",
        states=[task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_EXPIRED],
        labels={"run": "7"},
        worker_id="w",
        error_type="KeyError",
    )
    expected.create_time_after.FromDatetime(AT)
    expected.create_time_before.FromDatetime(AT + timedelta(hours=1))
    return expected


def page(*task_ids: str, more: str = "") -> pb.ListTasksResponse:
    tasks = [task_pb2.Task(task_id=task_id) for task_id in task_ids]
    return pb.ListTasksResponse(tasks=tasks, next_page_token=more)


async def test_a_list_goes_on_over_pages_and_empty_ones() -> None:
    answering = Answering(ListTasks=[page("a", "b", more="1"), page(more="2"), page("c")])
    async with serving(answering) as client:
        tasks = [task async for task in client.list_tasks("c", page_size=2, full=True, **CHOICE)]
    assert [task.task_id for task in tasks] == ["a", "b", "c"]
    requests = answering.requests["ListTasks"]
    assert [request.page_token for request in requests] == ["", "1", "2"]
    for request in requests:
        assert request.filter == chosen()
        assert (request.page_size, request.view) == (2, task_pb2.TASK_VIEW_FULL)


async def test_pages_are_read_as_they_are_taken() -> None:
    answering = Answering(ListTasks=[page("a", more="1")])
    async with serving(answering) as client:
        tasks = client.list_tasks("c")
        assert (await anext(tasks)).task_id == "a"
        await tasks.aclose()
    assert len(answering.requests["ListTasks"]) == 1


async def test_choices_that_make_no_sense_are_refused_before_any_call() -> None:
    async with serving(Answering()) as client:
        with pytest.raises(ValueError, match="aware"):
            await anext(client.list_tasks("c", created_after=AT.replace(tzinfo=None)))
        with pytest.raises(ValueError, match="'done' is none of blocked"):
            await anext(client.list_tasks("c", states=["done"]))


class Watched(services.CodeQServiceServicer):
    """Tells one change and refuses to go on."""

    def __init__(self) -> None:
        self.requests: list[pb.WatchTasksRequest] = []

    async def WatchTasks(
        self, request: pb.WatchTasksRequest, context: object
    ) -> AsyncIterator[pb.WatchTasksResponse]:
        self.requests.append(request)
        yield pb.WatchTasksResponse()
        yield pb.WatchTasksResponse(tasks=[task_pb2.Task(task_id="a")])
        yield pb.WatchTasksResponse(gap=True)


async def test_changes_arrive_as_they_happen() -> None:
    watched = Watched()
    async with serving(watched) as client:
        first, change, gap = [message async for message in client.watch_tasks("c", **CHOICE)]
        assert len([message async for message in client.watch_tasks(task_ids=["a", "b"])]) == 3
    assert not first.tasks
    assert [task.task_id for task in change.tasks] == ["a"]
    assert gap.gap
    by_filter, by_ids = (request.selector for request in watched.requests)
    assert by_filter == pb.TaskSelector(filter=chosen())
    assert by_ids == pb.TaskSelector(task_ids=["a", "b"])


async def test_tasks_to_watch_are_named_in_one_way() -> None:
    async with serving(Watched()) as client:
        with pytest.raises(ValueError, match="which tasks"):
            client.watch_tasks()
        with pytest.raises(ValueError, match="not by both"):
            client.watch_tasks("c", task_ids=["a"])
        with pytest.raises(ValueError, match="not by both"):
            client.watch_tasks(task_ids=["a"], states=["failed"])


async def test_many_ids_are_cancelled_in_several_calls() -> None:
    ids = [f"t{number}" for number in range(2001)]
    failure = to_item(1, InvalidState("it has ended"))
    answering = Answering(
        CancelTasks=[
            pb.CancelTasksResponse(cancelled_count=999, requested_count=1),
            pb.CancelTasksResponse(cancelled_count=999, failures=[failure]),
            pb.CancelTasksResponse(failures=[to_item(0, TaskNotFound())]),
        ]
    )
    async with serving(answering) as client:
        total = await client.cancel(ids, "too late")
    assert (total.cancelled, total.requested) == (1998, 1)
    kinds = {task_id: type(error) for task_id, error in total.failures.items()}
    assert kinds == {"t1001": InvalidState, "t2000": TaskNotFound}
    requests = answering.requests["CancelTasks"]
    assert [len(request.selector.task_ids) for request in requests] == [1000, 1000, 1]
    assert {request.reason for request in requests} == {"too late"}


async def test_one_id_is_one_task_and_none_is_no_call() -> None:
    answering = Answering(
        CancelTasks=[pb.CancelTasksResponse(cancelled_count=1)],
        RedriveTasks=[pb.RedriveTasksResponse(redriven_count=1)],
    )
    async with serving(answering) as client:
        assert await client.cancel("abc") == CancelTotal(1, 0, {})
        assert await client.redrive("abc") == RedriveTotal(1, {})
        assert await client.cancel([]) == CancelTotal(0, 0, {})
        assert await client.redrive([]) == RedriveTotal(0, {})
    (request,) = answering.requests["RedriveTasks"]
    assert list(request.selector.task_ids) == ["abc"]
    assert not request.HasField("spread")


async def test_what_matches_is_cancelled_page_by_page() -> None:
    answering = Answering(
        CancelTasks=[
            pb.CancelTasksResponse(
                cancelled_count=900, requested_count=100, more=True, next_page_token="1"
            ),
            pb.CancelTasksResponse(more=True, next_page_token="2"),
            pb.CancelTasksResponse(cancelled_count=5),
        ]
    )
    async with serving(answering) as client:
        total = await client.cancel_matching("c", reason="why", **CHOICE)
    assert total == CancelTotal(905, 100, {})
    selectors = [request.selector for request in answering.requests["CancelTasks"]]
    assert [selector.page_token for selector in selectors] == ["", "1", "2"]
    assert all(selector.filter == chosen() and not selector.limit for selector in selectors)


async def test_what_matches_is_redriven_up_to_a_limit() -> None:
    def answers() -> list[Any]:
        return [
            pb.RedriveTasksResponse(redriven_count=1000, more=True, next_page_token="1"),
            pb.RedriveTasksResponse(redriven_count=500, more=True, next_page_token="2"),
        ]

    answering = Answering(RedriveTasks=answers())
    async with serving(answering) as client:
        total = await client.redrive_matching("c", spread=60, limit=1500, **CHOICE)
    assert total == RedriveTotal(1500, {})
    requests = answering.requests["RedriveTasks"]
    assert [request.selector.limit for request in requests] == [1000, 500]
    assert {request.spread.ToSeconds() for request in requests} == {60}
    assert [request.selector.page_token for request in requests] == ["", "1"]


async def test_ids_that_cannot_be_redriven_are_told() -> None:
    failure = to_item(0, InvalidState("it is PENDING"))
    answering = Answering(
        RedriveTasks=[pb.RedriveTasksResponse(redriven_count=1, failures=[failure])]
    )
    async with serving(answering) as client:
        total = await client.redrive(["a", "b"], spread=timedelta(minutes=1))
    assert total.redriven == 1
    assert isinstance(total.failures["a"], InvalidState)


async def test_a_refused_call_raises() -> None:
    async with serving(Answering(CancelTasks=[ScopeMissing()])) as client:
        with pytest.raises(ScopeMissing):
            await client.cancel("a")


async def heartbeat(client: Client, progress: Any) -> list[pb.LeaseHeartbeat]:
    leases = [task_pb2.LeaseRef(task_id=task_id, fence=1) for task_id in ("a", "b")]
    await client.heartbeat(leases, extend=5, progress=progress)
    return leases  # type: ignore[return-value]


async def test_a_heartbeat_tells_progress_of_all_or_of_each() -> None:
    answering = Answering(Heartbeat=[pb.HeartbeatResponse()] * 3)
    half = task_pb2.Progress(fraction=0.5)
    async with serving(answering) as client:
        for progress in (None, half, [None, half]):
            await heartbeat(client, progress)
        with pytest.raises(ValueError, match="zip"):
            await heartbeat(client, [half])
    told = [
        [beat.progress.fraction if beat.HasField("progress") else None for beat in request.leases]
        for request in answering.requests["Heartbeat"]
    ]
    assert told == [[None, None], [0.5, 0.5], [None, 0.5]]


async def test_limits_of_the_server_come_back_as_its_errors() -> None:
    error = InvalidField.at("filter.labels", "at most 16")
    async with serving(Answering(ListTasks=[error])) as client:
        with pytest.raises(InvalidField, match="at most 16"):
            await anext(client.list_tasks("c"))
