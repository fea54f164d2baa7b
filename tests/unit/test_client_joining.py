"""Enqueues made at the same time share calls, and nobody notices but by the time it takes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from codeq.v1 import codeq_service_pb2 as pb
from codeq.v1.task_pb2 import ItemFailure
from codeq_grpc.client import CallFailed, ServerUnavailable, joining
from codeq_grpc.core.errors import (
    CodeQError,
    InvalidField,
    PayloadTooLarge,
    QueueFull,
    StoreUnavailable,
)
from codeq_grpc.wire.errors import to_item
from tests.unit.scripted import Answering, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from codeq_grpc.client import Client

ALONE = 8
"""Calls that go out before others join."""


class Server(Answering):
    """Keeps single enqueues until `leave` is set, and answers batches as `batches` says."""

    def __init__(self, *batches: Any) -> None:
        self.leave = asyncio.Event()
        self._batches = list(batches)
        super().__init__()

    def next_reply(self, method: str, request: Message) -> Any:
        self.requests[method].append(request)
        if method == "Enqueue":
            return self.single
        self._next = self._batches.pop(0) if self._batches else None
        return self._next if isinstance(self._next, CodeQError) else self.batch

    @property
    def singles(self) -> list[str]:
        return [request.task.idempotency_key for request in self.requests["Enqueue"]]

    @property
    def sizes(self) -> list[int]:
        return [len(request.tasks) for request in self.requests["BatchEnqueue"]]

    async def single(self, request: pb.EnqueueRequest) -> pb.EnqueueResponse:
        await self.leave.wait()
        return pb.EnqueueResponse(task_id=name(request.task))

    async def batch(self, request: pb.BatchEnqueueRequest) -> pb.BatchEnqueueResponse:
        answer = self._next
        if callable(answer):
            answer = await answer()
        response = pb.BatchEnqueueResponse(
            results=[pb.EnqueueResponse(task_id=name(task)) for task in request.tasks]
        )
        for failure in answer or ():
            response.results[failure.index].Clear()
            response.failures.append(failure)
        return response


def name(task: Any) -> str:
    return str(task.payload.data.decode())


class Busy:
    """A client with so many calls under way that others join."""

    def __init__(self, server: Server, client: Client) -> None:
        self.server = server
        self.client = client
        self.first = [self.enqueue(f"first {n}") for n in range(ALONE)]

    def enqueue(self, payload: str, command: str = "c", **options: Any) -> asyncio.Task[str]:
        async def enqueued() -> str:
            return (await self.client.enqueue(command, payload.encode(), **options)).task_id

        return asyncio.create_task(enqueued())

    def many(self, count: int, **options: Any) -> list[asyncio.Task[str]]:
        return [self.enqueue(str(n), **options) for n in range(count)]


@asynccontextmanager
async def busy(server: Server, command: str = "c") -> AsyncIterator[Busy]:
    async with serving(server) as client:
        clients = Busy(server, client)
        await until(lambda: len(server.requests["Enqueue"]) == ALONE)
        yield clients
        server.leave.set()
        await asyncio.wait(clients.first)


async def error_of(task: asyncio.Task[str]) -> CodeQError:
    with pytest.raises(CodeQError) as caught:
        await task
    return caught.value


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "_DELAY", 1000)


async def test_one_after_the_other_is_a_call_each(no_timer: None) -> None:
    server = Server()
    server.leave.set()
    async with serving(server) as client:
        for n in range(3):
            assert (await client.enqueue("c", str(n).encode())).task_id == str(n)
    assert (len(server.singles), server.sizes) == (3, [])


async def test_what_comes_while_calls_are_under_way_shares_one_soon() -> None:
    async with busy(Server()) as clients:
        joined = clients.many(30)
        await asyncio.wait(joined, timeout=5)
        assert [one.result() for one in joined] == [str(n) for n in range(30)]
        assert clients.server.sizes == [30]
        assert not any(one.done() for one in clients.first)


async def test_or_when_they_are_enough_or_a_call_ends(no_timer: None) -> None:
    async with busy(Server()) as clients:
        joined = clients.many(5)
        await asyncio.sleep(0)
        assert clients.server.sizes == []
        clients.first[0].cancel()  # of those that are calls of their own
        joined += clients.many(200)
        await asyncio.wait(joined, timeout=5)
        assert all(one.done() for one in joined)
    assert sum(clients.server.sizes) == 205
    assert max(clients.server.sizes) == 100
    assert len(clients.server.sizes) <= 4
    assert not clients.client._joiner._lanes  # type: ignore[union-attr]


async def test_calls_are_cut_by_bytes_too(no_timer: None) -> None:
    async with busy(Server()) as clients:
        joined = [clients.enqueue("x" * 700_000) for _ in range(5)]
        await until(lambda: sum(one.done() for one in joined) == 4)
        clients.server.leave.set()
        await asyncio.wait(joined, timeout=5)
    assert clients.server.sizes == [2, 2]
    assert len(clients.server.singles) == ALONE + 1


async def test_queues_do_not_share_calls_and_dependent_tasks_share_none(no_timer: None) -> None:
    async with busy(Server()) as clients:
        clients.server.leave.set()
        other = clients.enqueue("other", command="d")
        dependent = clients.enqueue("dependent", depends_on=["t"])
        assert await other == "other"
        assert await dependent == "dependent"
    assert clients.server.sizes == []


async def test_what_is_wrong_with_one_is_told_to_its_caller_in_its_words() -> None:
    invalid = InvalidField.at("tasks[1].labels[x]", "must not")
    large = PayloadTooLarge(
        "tasks[2].payload.data: has 9",
        fields={"tasks[2].payload.data": "has 9"},
        metadata={"field": "tasks[2].payload.data", "limit": "8"},
    )
    newer = ItemFailure(index=4, code=5, reason="NEW", message="of tomorrow")
    failures = [to_item(1, invalid), to_item(2, large), to_item(3, QueueFull("full")), newer]
    async with busy(Server(failures)) as clients:
        joined = clients.many(6)
        await asyncio.wait(joined, timeout=5)
        assert (await joined[0], await joined[5]) == ("0", "5")
        first = await error_of(joined[1])
        assert isinstance(first, InvalidField)
        assert first.message == "task.labels[x]: must not"
        assert first.fields == {"task.labels[x]": "must not"}
        assert first.metadata == {"field": "task.labels[x]"}
        second = await error_of(joined[2])
        assert isinstance(second, PayloadTooLarge)
        assert second.fields == {"task.payload.data": "has 9"}
        assert second.metadata == {"field": "task.payload.data", "limit": "8"}
        third = await error_of(joined[3])
        assert isinstance(third, QueueFull)
        assert third.retry_after == QueueFull.default_retry_after
        fourth = await error_of(joined[4])
        assert isinstance(fourth, CallFailed)
        assert fourth.code.name == "NOT_FOUND"


async def test_a_call_that_fails_is_told_to_each_by_an_error_of_its_own() -> None:
    async with busy(Server(QueueFull("no more"))) as clients:
        errors = [await error_of(one) for one in clients.many(3)]
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, QueueFull)
        assert (error.message, error.retry_after) == ("no more", QueueFull.default_retry_after)
        assert error.__notes__[0].startswith("request id: ")
        assert error.__cause__ is not None
        error.add_note("mine")
        assert len(error.__notes__) == 2


def test_an_error_of_any_class_can_be_copied() -> None:
    failed = CallFailed("odd", code=grpc.StatusCode.DATA_LOSS)
    copy = joining._copy(failed)
    assert isinstance(copy, CallFailed)
    assert (copy.message, str(copy), copy.code) == ("odd", "odd", failed.code)


async def test_only_what_may_be_repeated_is_and_so_it_shares_no_call_with_the_rest() -> None:
    server = Server(StoreUnavailable("x"), StoreUnavailable("y"))
    async with busy(server) as clients:
        plain = clients.many(3)
        await asyncio.wait(plain, timeout=5)
        for one in plain:
            assert isinstance(await error_of(one), StoreUnavailable)
        clients.first += clients.many(ALONE, idempotency_key="k")
        await until(lambda: len(server.singles) == 2 * ALONE)
        keyed = clients.many(4, idempotency_key="k")
        assert [await one for one in keyed] == ["0", "1", "2", "3"]
    assert server.sizes == [3, 4, 4]


async def test_an_outage_for_one_of_those_is_repeated_for_that_one() -> None:
    server = Server([to_item(1, StoreUnavailable())])
    server.leave.set()
    async with serving(server) as client:
        clients = Busy(server, client)
        keyed = [clients.enqueue(str(n), idempotency_key=f"k{n}") for n in range(ALONE + 2)]
        assert [await one for one in keyed] == [str(n) for n in range(ALONE + 2)]
        await asyncio.wait(clients.first)
    assert server.sizes == [2]
    assert server.singles.count(f"k{ALONE + 1}") == 1


async def test_who_is_cancelled_before_the_call_is_not_in_it(no_timer: None) -> None:
    async with busy(Server()) as clients:
        joined = clients.many(3)
        await asyncio.sleep(0)
        joined[1].cancel()
        await asyncio.wait({joined[1]})
        clients.server.leave.set()
        assert (await joined[0], await joined[2]) == ("0", "2")
    assert clients.server.sizes == [2]


async def test_if_all_are_there_is_no_call(no_timer: None) -> None:
    async with busy(Server()) as clients:
        joined = clients.many(3)
        await asyncio.sleep(0)
        for one in joined:
            one.cancel()
        await asyncio.wait(joined)
    assert clients.server.sizes == []
    assert not clients.client._joiner._lanes  # type: ignore[union-attr]


async def test_a_call_under_way_goes_on_while_anybody_waits_for_it() -> None:
    entered, leave, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        entered.set()
        try:
            await leave.wait()
        except asyncio.CancelledError:
            left.set()
            raise

    async with busy(Server(slow, slow)) as clients:
        one, other = clients.enqueue("one"), clients.enqueue("other")
        await entered.wait()
        one.cancel()
        await asyncio.wait({one})
        leave.set()
        assert await other == "other"
        entered.clear()
        leave.clear()
        both = clients.many(2)
        await entered.wait()
        for waiting in both:
            waiting.cancel()
        await asyncio.wait(both)
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_client_that_is_closed_leaves_nobody_waiting(no_timer: None) -> None:
    server = Server()
    async with serving(server) as client:
        clients = Busy(server, client)
        await until(lambda: len(server.singles) == ALONE)
        joined = clients.many(3)
        await asyncio.sleep(0)
        await client.close()
        done, late = await asyncio.wait([*clients.first, *joined], timeout=5)
        assert not late
        assert not any(not one.cancelled() and one.exception() is None for one in done)
        with pytest.raises(RuntimeError, match="not open"):
            await client.enqueue("c")


async def test_a_server_that_is_away_is_told_to_all() -> None:
    async with serving(Server()) as client:
        target = client.target
    async with type(client)(target, timeout=2) as client:
        clients = Busy(Server(), client)
        joined = clients.many(20)
        for one in [*clients.first, *joined]:
            assert isinstance(await error_of(one), ServerUnavailable)
