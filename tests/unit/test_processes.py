"""The parent of several servers: whom it starts again, when it gives up, how it ends them."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.processes.supervisor import GaveUp, Restarts, Supervisor, describe_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from codeq_grpc.processes.channel import Message

SERVING: Final = {"server": "abcd", "ready": True, "reasons": {}}


class FakeChild:
    """Ends when it is told to, by the test or by a signal that it does not ignore."""

    def __init__(self, pid: int, ignores: frozenset[signal.Signals] = frozenset()) -> None:
        self.pid = pid
        self.told: list[Message] = []
        self.signals: list[signal.Signals] = []
        self._ignores = ignores
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._code = 0

    def says(self, **message: Any) -> None:
        self._messages.put_nowait(message)

    def ends(self, code: int) -> None:
        self._code = code
        self._messages.put_nowait(None)

    def send(self, message: Message) -> None:
        self.told.append(message)

    async def messages(self) -> AsyncIterator[Message]:
        while (message := await self._messages.get()) is not None:
            yield message

    def signal(self, number: signal.Signals) -> None:
        self.signals.append(number)
        if number not in self._ignores:
            self.ends(-number)

    async def wait(self) -> int:
        return self._code


class Stage:
    """A supervisor whose children are fakes, and whose pauses are noted instead of waited for."""

    def __init__(self, count: int = 2, *, patience: float = 60.0) -> None:
        self.children: list[FakeChild] = []
        self.pauses: list[float] = []
        self.stop = asyncio.Event()
        self.ignores: frozenset[signal.Signals] = frozenset()
        self.trouble: OSError | None = None
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.ready_calls = 0
        self.supervisor = Supervisor(self._start, count, patience=patience, pause=self._pause)
        self.running = asyncio.create_task(self.supervisor.run(self.stop, self._ready))

    async def _start(self) -> FakeChild:
        await self.may_start.wait()
        if self.trouble is not None:
            raise self.trouble
        child = FakeChild(1000 + len(self.children), self.ignores)
        self.children.append(child)
        return child

    async def _pause(self, seconds: float, ending: asyncio.Event) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def _ready(self) -> None:
        self.ready_calls += 1

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                if self.running.done():
                    self.running.result()
                    raise AssertionError("it has ended")
                await asyncio.sleep(0)

    async def started(self, count: int) -> list[FakeChild]:
        await self.until(lambda: len(self.children) == count)
        return self.children

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.running, 10)


def test_a_short_life_is_waited_with_longer_and_longer_until_one_was_long() -> None:
    restarts = Restarts()
    assert [restarts.wait_after(9.9) for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert restarts.wait_after(10.0) == 0
    assert restarts.wait_after(0.0) == 0.5
    assert [restarts.wait_after(0.0) for _ in range(5_000)][-1] == 30


def test_three_short_lives_in_a_row_are_in_vain() -> None:
    restarts = Restarts()
    for lived in (1, 1, 99, 1, 1):
        restarts.wait_after(lived)
        assert not restarts.in_vain
    restarts.wait_after(1)
    assert restarts.in_vain


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (0, "ended with exit code 0"),
        (3, "ended with exit code 3"),
        (-9, "was ended by SIGKILL"),
        (-63, "was ended by signal 63"),
    ],
)
def test_an_end_is_told_by_exit_code_or_by_the_name_of_the_signal(code: int, told: str) -> None:
    assert describe_end(code) == told


async def test_it_is_ready_once_and_everybody_hears_of_everybody() -> None:
    stage = Stage()
    one, other = await stage.started(2)
    assert stage.ready_calls == 0
    before = len(one.told)
    other.says(**SERVING)
    await stage.until(lambda: len(one.told) == before + 1)
    one.says(**SERVING)
    await stage.until(lambda: len(one.told) == before + 2)
    starting = {"ready": False, "reasons": {"server": "the process is starting"}}
    assert one.told[before:] == [
        {"processes": [{"process": 1, **starting}, {"process": 2, "pid": other.pid, **SERVING}]},
        {
            "processes": [
                {"process": 1, "pid": one.pid, **SERVING},
                {"process": 2, "pid": other.pid, **SERVING},
            ]
        },
    ]
    assert other.told[-2:] == one.told[before:]
    await stage.end()
    assert stage.ready_calls == 1


async def test_who_ends_is_replaced_whatever_the_reason_once_one_has_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    one, other = await stage.started(2)
    one.says(**SERVING)
    other.says(failed="the port is taken")
    other.ends(1)
    third = (await stage.started(3))[2]
    one.ends(-9)
    fourth = (await stage.started(4))[3]
    assert not one.signals
    assert stage.pauses == [0.5, 0.5]
    assert [state["ready"] for state in third.told[-1]["processes"]] == [False, False]
    assert {"process": 1, "pid": one.pid, **SERVING} in third.told[0]["processes"]
    told = [vars(record) for record in caplog.records if "replaced" in record.message]
    assert [(line["pid"], line["how"]) for line in told] == [
        (other.pid, "ended with exit code 1"),
        (one.pid, "was ended by SIGKILL"),
    ]
    assert told[0]["failure"] == "the port is taken"
    assert told[1]["server"] == "abcd"
    await stage.end()
    assert third.signals[0] == fourth.signals[0] == signal.SIGTERM


async def test_what_its_settings_do_not_let_start_is_given_up_with_its_own_words() -> None:
    stage = Stage()
    one, other = await stage.started(2)
    one.says(failed="cannot listen on 127.0.0.1:1")
    one.ends(1)
    with pytest.raises(GaveUp, match=r"^cannot listen on 127\.0\.0\.1:1$"):
        await asyncio.wait_for(stage.running, 10)
    assert other.signals == [signal.SIGKILL]
    assert stage.pauses == []
    assert stage.ready_calls == 0


async def test_two_that_give_up_in_one_moment_are_told_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage()
    for child in await stage.started(2):
        child.says(failed="no package")
        child.ends(1)
    with pytest.raises(GaveUp, match=r"^no package$"):
        await asyncio.wait_for(stage.running, 10)
    del stage
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_who_crashes_at_every_start_is_given_up_unless_one_has_served() -> None:
    stage = Stage(1)
    for n in range(1, 4):
        (await stage.started(n))[-1].ends(1)
    with pytest.raises(GaveUp, match="ended with exit code 1"):
        await asyncio.wait_for(stage.running, 10)
    assert stage.pauses == [0.5, 1.0]

    stage = Stage(1)
    (await stage.started(1))[0].says(**SERVING)
    for n in range(1, 10):
        (await stage.started(n))[-1].ends(1)
    await stage.started(10)
    assert stage.pauses[-1] == 30
    await stage.end()


async def test_a_process_that_cannot_be_started_at_all_is_tried_again_and_given_up() -> None:
    stage = Stage(1)
    stage.trouble = BlockingIOError(11, "Resource temporarily unavailable")
    with pytest.raises(GaveUp, match=r"could not be started: .*temporarily unavailable"):
        await asyncio.wait_for(stage.running, 10)
    assert stage.pauses == [0.5, 1.0]


async def test_stopping_asks_all_and_waits_for_them() -> None:
    stage = Stage()
    stage.ignores = frozenset({signal.SIGTERM})
    one, other = await stage.started(2)
    stage.stop.set()
    await stage.until(lambda: other.signals)
    assert one.signals == other.signals == [signal.SIGTERM]
    one.ends(0)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not stage.running.done()
    other.ends(0)
    await asyncio.wait_for(stage.running, 10)
    assert len(stage.children) == 2, "nobody is replaced while all end"
    assert one.signals == other.signals == [signal.SIGTERM]


async def test_who_does_not_end_in_time_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(patience=0.05)
    (await stage.started(2))[0]._ignores = frozenset({signal.SIGTERM})
    await stage.end()
    one, other = stage.children
    assert one.signals == [signal.SIGTERM, signal.SIGKILL]
    assert other.signals == [signal.SIGTERM]
    assert [vars(line)["pids"] for line in caplog.records if "killed" in line.message] == [
        [one.pid]
    ]


async def test_who_is_being_started_when_all_end_ends_too() -> None:
    stage = Stage(1)
    stage.may_start.clear()
    await asyncio.sleep(0)
    stage.stop.set()
    await asyncio.sleep(0)
    stage.may_start.set()
    await asyncio.wait_for(stage.running, 10)
    assert [child.signals for child in stage.children] == [[signal.SIGTERM]]


async def test_stopping_does_not_wait_for_the_next_start() -> None:
    child = FakeChild(1)

    async def start() -> FakeChild:
        await asyncio.sleep(0)
        return child

    supervisor, stop = Supervisor(start, 1, patience=60.0), asyncio.Event()
    running = asyncio.create_task(supervisor.run(stop, lambda: None))
    child.says(**SERVING)
    child.ends(1)
    async with asyncio.timeout(10):
        while supervisor._children or not supervisor._served.is_set():
            await asyncio.sleep(0)
        stop.set()
        await running
    assert child.signals == []
