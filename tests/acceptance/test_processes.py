"""`codeq serve --processes`: several servers on one port, which nobody has to know of."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import urllib.error
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED
from codeq_grpc.client import Client, code_of
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.worker import TaskContext, Worker
from tests.acceptance.api import Api
from tests.acceptance.programs import (
    CODEQ,
    Program,
    Ran,
    alive,
    free_port,
    kill,
    run_codeq,
    wait_until,
)
from tests.acceptance.servers import Dev, Serve, is_live, is_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.support.stores import StoreProcess

_PRODUCERS = _WORKERS = 4
_ROUNDS = 2
_PACE = 0.01
_LEAST = 10
"""Tasks reported between two kills, or they have shown nothing."""
_OWN_CONNECTION: Final = [("grpc.use_local_subchannel_pool", 1)]


class Fleet(Serve):
    """Two servers of one `codeq serve`."""

    def health(self) -> dict[str, Any]:
        """The page with everything."""
        url = f"http://127.0.0.1:{self.http_port}/health/detailed"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                page: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                page = json.load(error)
        return page

    def pids(self) -> list[int]:
        """Of the processes that serve."""
        with contextlib.suppress(OSError):
            return [one["pid"] for one in self.health()["processes"] if "pid" in one]
        return []

    def start_all(self) -> list[int]:
        """Returns when both serve; their process ids."""
        self.start()
        wait_until(lambda: len(self.pids()) == 2, "both processes serve")
        return self.pids()

    def replaced(self, pid: int) -> bool:
        """Whether there are two again, and one is new."""
        pids = self.pids()
        return len(pids) == 2 and pid not in pids

    def logged(self) -> list[dict[str, Any]]:
        """By the last `codeq serve`. Its last line may be half there."""
        lines = self.program.stderr.text.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.fixture(autouse=True)
def grpc_engine(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Comes with the store: each of the two with one of the two."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", store.engine.grpc)
    return store.engine.grpc


@pytest.fixture
def env(store: StoreProcess, credential: tuple[str, Path]) -> dict[str, str]:
    return {
        "CODEQ_REDIS_URL": store.url,
        "CODEQ_TOKENS_FILE": str(credential[1]),
        "CODEQ_GRPC_ENGINE": store.engine.grpc,
        "CODEQ_PROCESSES": "2",
        "CODEQ_LOG_LEVEL": "debug",
        # What a killed server has claimed and not yet sent waits for its lease.
        "CODEQ_DEFAULT_LEASE_SECONDS": "5",
    }


@pytest.fixture
def fleet(env: dict[str, str]) -> Iterator[Fleet]:
    with Fleet(env) as fleet:
        yield fleet


def _gone(pids: list[int]) -> None:
    wait_until(lambda: not any(alive(pid) for pid in pids), f"the end of {pids}")


async def test_both_serve_on_one_port_and_every_line_of_the_log_says_who_wrote_it(
    fleet: Fleet, credential: tuple[str, Path]
) -> None:
    fleet.start_all()
    processes = fleet.health()["processes"]
    assert [one["process"] for one in processes] == [1, 2]
    servers = {one["server"] for one in processes}
    assert len(servers) == 2

    def served() -> set[str]:
        lines = [line for line in fleet.logged() if line.get("method", "").endswith("/Enqueue")]
        return {line["server"] for line in lines}

    async with asyncio.timeout(30):
        while served() != servers:
            async with Client(fleet.address, token=credential[0], options=_OWN_CONNECTION) as one:
                await one.enqueue("any")
    assert fleet.program.stop() == 0
    lines = fleet.logged()
    assert {line["server"] for line in lines if line["message"] == "serving"} == servers
    assert [line["message"] for line in lines if "server" not in line] == [
        "supervising",
        "stopping all processes",
        "all processes have ended",
    ]


class Load:
    """Producers with idempotency keys and workers on streams, each over a connection of its own."""

    def __init__(self, fleet: Fleet, token: str) -> None:
        self.acked: dict[str, str] = {}
        self.handled: Counter[str] = Counter()
        self._connect: Callable[[], Client] = lambda: Client(
            fleet.address, token=token, options=_OWN_CONNECTION
        )
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        """At the end the producers stop and the queue runs empty."""
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            client = await stack.enter_async_context(self._connect())
            await client.update_queue("load", retain_payload=True)
            producers = [group.create_task(self._produce()) for _ in range(_PRODUCERS)]
            workers = [
                Worker(await stack.enter_async_context(self._connect()), {"load": self._handle})
                for _ in range(_WORKERS)
            ]
            working = [group.create_task(worker.run()) for worker in workers]
            yield client
            self._stopping.set()
            await asyncio.wait(producers)
            while any(q.pending + q.in_progress for q in (await client.queues(["load"])).queues):
                await asyncio.sleep(0.05)
            for worker in workers:
                worker.drain()
            await asyncio.wait(working)

    async def _produce(self) -> None:
        async with self._connect() as client:
            while not self._stopping.is_set():
                key = f"n{next(self._numbers)}"
                self.acked[key] = await self._enqueue(client, key)
                await asyncio.sleep(_PACE)

    async def _enqueue(self, client: Client, key: str) -> str:
        while True:
            try:
                return (await client.enqueue("load", key, idempotency_key=key)).task_id
            except CodeQError as error:
                if code_of(error) is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(error.retry_after or 0.05)

    async def _handle(self, task: TaskContext) -> object:
        self.handled[task.task_id] += 1
        await asyncio.sleep(_PACE)
        return task.json()


@pytest.mark.timeout(150)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_processes_that_end_under_load_are_replaced_and_every_task_is_reported_once(
    fleet: Fleet, credential: tuple[str, Path], number: signal.Signals
) -> None:
    pids = await asyncio.to_thread(fleet.start_all)
    first = list(pids)
    load = Load(fleet, credential[0])
    async with load.running() as client:
        for _ in range(_ROUNDS):
            for pid in pids:
                before = load.handled.total()
                os.kill(pid, number)
                await asyncio.to_thread(wait_until, lambda: fleet.replaced(pid), "two serve again")  # noqa: B023
                await asyncio.to_thread(
                    wait_until,
                    lambda: load.handled.total() >= before + _LEAST,  # noqa: B023
                    "tasks are handled meanwhile",
                )
            pids = await asyncio.to_thread(fleet.pids)
        assert not set(pids) & set(first)
    async with Client(fleet.address, token=credential[0]) as client:
        (queue,) = (await client.queues(["load"])).queues
        tasks = [await client.get_task(task_id, full=True) for task_id in load.acked.values()]
    assert len(set(load.acked.values())) == len(load.acked) == queue.enqueued_total
    assert queue.completed == len(load.acked), "every task, each reported once"
    assert {task.state for task in tasks} == {TASK_STATE_COMPLETED}
    assert all(task.result.data == task.spec.payload.data for task in tasks)
    assert load.handled.keys() == set(load.acked.values())
    if number == signal.SIGTERM:
        assert set(load.handled.values()) == {1}
        assert queue.lease_expired_total == 0, "one waited for its lease"
    told = [line["how"] for line in fleet.logged() if "replaced" in line["message"]]
    how = "was ended by SIGKILL" if number == signal.SIGKILL else "ended with exit code 0"
    assert told == [how] * 2 * _ROUNDS
    assert fleet.program.stop() == 0


def test_one_that_is_stuck_does_not_make_the_whole_unready(fleet: Fleet) -> None:
    stuck, _ = fleet.start_all()
    os.kill(stuck, signal.SIGSTOP)
    # Often enough for the stuck one to be asked, too, if it could be.
    assert all(is_ready(fleet.http_port) and is_live(fleet.http_port) for _ in range(20))
    kill(stuck)
    wait_until(lambda: fleet.replaced(stuck), "two serve again")


@pytest.mark.parametrize("stop", [Program.interrupt, Program.terminate], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_drains_all_and_leaves_nothing(
    fleet: Fleet, stop: Callable[[Program], None]
) -> None:
    pids = fleet.start_all()
    stop(fleet.program)
    assert fleet.program.wait() == 0
    assert not any(alive(pid) for pid in pids)
    messages = Counter(line["message"] for line in fleet.logged())
    assert messages["draining"] == messages["stopped"] == 2


def test_all_drain_also_when_a_manager_signals_each_process(fleet: Fleet) -> None:
    pids = fleet.start_all()
    for pid in [*pids, fleet.program.pid, *pids]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    assert fleet.program.wait() == 0
    _gone(pids)
    assert Counter(line["message"] for line in fleet.logged())["stopped"] >= 2


def test_a_second_signal_ends_all_at_once(env: dict[str, str]) -> None:
    with Fleet({**env, "CODEQ_DRAIN_SECONDS": "100"}) as fleet:
        pids = fleet.start_all()
        os.kill(pids[0], signal.SIGSTOP)
        fleet.program.terminate()
        fleet.program.wait_for("stopping all processes", on="stderr")
        assert fleet.program.stop() == -signal.SIGTERM
        _gone(pids)


def test_the_kill_of_the_parent_ends_even_a_stuck_child_and_the_next_start_gets_the_ports(
    fleet: Fleet,
) -> None:
    pids = fleet.start_all()
    os.kill(pids[0], signal.SIGSTOP)
    fleet.program.kill()
    _gone(pids)
    assert set(fleet.start_all()).isdisjoint(pids)
    assert fleet.program.stop() == 0


def _refused(env: dict[str, str], **more: str) -> Ran:
    return run_codeq("serve", env={**env, **more})


def test_ports_in_use_are_told_and_their_users_go_on(fleet: Fleet, env: dict[str, str]) -> None:
    pids = fleet.start_all()
    grpc_port, http_port = str(fleet.grpc_port), str(fleet.http_port)
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", 0))
        shared.listen()
        strangers = str(shared.getsockname()[1])
        for taken_grpc, taken_http, what in (
            (grpc_port, str(free_port()), f"{grpc_port} for gRPC"),
            (strangers, str(free_port()), f"{strangers} for gRPC"),
            (str(free_port()), http_port, f"{http_port} for HTTP"),
        ):
            ports = {"CODEQ_GRPC_PORT": taken_grpc, "CODEQ_HTTP_PORT": taken_http}
            refused = _refused(env, **ports)
            assert refused.code == 1, refused
            assert refused.err == (
                f"Error: cannot listen on 127.0.0.1:{what}: Address already in use\n"
            )
    assert fleet.pids() == pids
    assert is_ready(fleet.http_port)


def test_what_only_the_processes_find_wrong_ends_the_start_with_their_words(
    env: dict[str, str], tmp_path: Path
) -> None:
    hidden = tmp_path / "sitecustomize.py"
    hidden.write_text("import sys\nsys.modules['pygrpc_native'] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ports = {"CODEQ_GRPC_PORT": "0", "CODEQ_HTTP_PORT": "0"}
    refused = _refused(env, CODEQ_GRPC_ENGINE="native", PYTHONPATH=path, **ports)
    assert refused.code == 1, refused
    assert refused.err.endswith("Error: CODEQ_GRPC_ENGINE=native needs the package pygrpc-native\n")
    assert "Traceback" not in refused.err


def test_without_a_store_they_live_and_are_ready_when_it_comes(env: dict[str, str]) -> None:
    with Fleet({**env, "CODEQ_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}) as fleet:
        fleet.start_unready()
        wait_until(lambda: len(fleet.pids()) == 2, "both processes serve")
        assert not is_ready(fleet.http_port)
        assert "store.reachable" in fleet.health()["reasons"]
        assert fleet.program.stop() == 0


def test_dev_has_the_option_too_and_its_store_goes_last(tmp_path: Path) -> None:
    with Dev(tmp_path / "state", "--processes", "2") as dev:
        store = dev.start().running_store()
        with Api(dev.address, dev.token) as api:
            assert len(api.enqueue("any", [b"1"])) == 1
        page = f"http://127.0.0.1:{dev.http_port}/health/detailed"
        with urllib.request.urlopen(page, timeout=30) as response:
            assert len(json.load(response)["processes"]) == 2
        assert dev.program.stop() == 0
        assert dev.program.stderr.text == "stopped; the tasks are kept\n"
        assert not alive(store)


def test_the_option_goes_before_the_setting(env: dict[str, str]) -> None:
    more = {"CODEQ_GRPC_PORT": "0", "CODEQ_HTTP_PORT": "0", "CODEQ_DURABILITY": "D0"}
    with Program([CODEQ, "serve", "--processes", "3"], env={**env, **more}) as program:
        started = json.loads(program.wait_for(r"^.*supervising.*$", on="stderr").group())
        assert started["processes"] == 3
        wait_until(lambda: is_ready(started["http"]), "readiness")
        assert started["grpc"] > 0
        assert program.stop() == 0
