"""Imports that are broken off, repeated, held up or begun with the wrong things."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import Client
from tests.integration.importing import Importer, drain, listed, old_ids
from tests.support.predecessor import Predecessor
from tests.support.server import eventually, running_server, token_of

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

FAILED = task_pb2.TASK_STATE_FAILED
COMMANDS = ("RENDER", "Mail:x")
KILLS = 10


@pytest.fixture
def importer(server: Server, store: StoreProcess, tmp_path: Path) -> Importer:
    return Importer(server, store, tmp_path)


@pytest.fixture
def old(admin: Admin) -> Predecessor:
    return Predecessor(admin)


async def enqueued(caller: Caller) -> int:
    """How many tasks there have been."""
    response = await caller.start("AdminQueues", pb.AdminQueuesRequest())
    return sum(queue.enqueued_total for queue in response.queues)


class Fill:
    """An old store with something of everything; what must come of it."""

    def __init__(self, old: Predecessor) -> None:
        self.pending: dict[tuple[str, int], list[str]] = defaultdict(list)
        self.rest: set[str] = set()
        self.dead: set[str] = set()
        self._old = old
        for command in COMMANDS:
            held = [old.create(command, ["held", n], priority=1) for n in range(120)]
            for n, task_id in enumerate(held):
                old.claim(command, 1, lease=300 if n % 2 else 0)
                if n < 40:
                    old.bury(task_id, command)
                elif n < 60:
                    old.end(task_id, command)
            self.dead.update(held[:40])
            self.rest.update(held[60:])
            self.rest.update(old.create(command, n, delay=n * 500 - 20_000) for n in range(80))
            self.rest.update(old.create(command, n, queued=False) for n in range(40))
            for n in range(900):
                priority = (0, 5, 9)[n % 3]
                made = old.create(command, {"n": n}, priority=priority, key=f"{command} {n}")
                self.pending[command, priority].append(made)

    @property
    def moved(self) -> set[str]:
        """All that is to be in codeQ."""
        return {*self.rest, *self.dead, *(each for ids in self.pending.values() for each in ids)}


class Worker:
    """Completes what comes, and keeps the order in which it came."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.stops = False
        self.got: list[task_pb2.ClaimedTask] = []

    async def run(self) -> None:
        """Until it is told to stop."""
        while not self.stops:
            # Without waiting: what comes for a call that is over goes back, behind its successors.
            tasks = await self._caller.claim(*COMMANDS, most=37)
            if not tasks:
                await asyncio.sleep(0.01)
            self.got += tasks
            for task in tasks:
                await self._caller.complete(task)


@contextlib.asynccontextmanager
async def at_work(worker: Worker, *, works: bool) -> AsyncIterator[None]:
    """A worker beside the import, or none."""
    running = asyncio.create_task(worker.run()) if works else None
    try:
        yield
    finally:
        worker.stops = True
        if running is not None:
            await running


async def check(caller: Caller, fill: Fill, got: list[task_pb2.ClaimedTask]) -> None:
    """Nothing double, nothing lost, order kept."""
    got = [*got, *await drain(caller, *COMMANDS)]
    ids = old_ids(got)
    assert len(set(ids)) == len(ids), "a task came twice"
    rest: dict[str, task_pb2.Task] = {}
    for command in COMMANDS:
        dead = await listed(caller, command, FAILED)
        scheduled = await listed(caller, command, task_pb2.TASK_STATE_SCHEDULED)
        rest |= scheduled | dead
        assert fill.dead.issuperset(dead)
        completed = await listed(caller, command, task_pb2.TASK_STATE_COMPLETED)
        assert completed.keys() == {
            task.spec.labels["legacy.id"] for task in got if task.spec.command == command
        }
    assert not rest.keys() & set(ids)
    assert {*ids, *rest} == fill.moved
    assert fill.dead <= rest.keys()
    for (command, priority), expected in fill.pending.items():
        came = [
            task.spec.labels["legacy.id"]
            for task in got
            if (task.spec.command, task.spec.priority) == (command, priority)
        ]
        came = [each for each in came if each in set(expected)]
        places = [expected.index(each) for each in came]
        assert places == sorted(places), (command, priority)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("works", "delete"),
    [(False, False), (True, False), (True, True)],
    ids=["idle-keep", "worker-keep", "worker-delete"],
)
async def test_killed_ten_times_nothing_is_double_nor_lost_and_the_order_is_kept(
    server: Server, importer: Importer, old: Predecessor, works: bool, delete: bool
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - to try it again
    dice, caller, fill = random.Random(seed), server.caller(), Fill(old)
    before, worker = old.keys(), Worker(caller)
    words = ("--rate", "1500", *(["--delete-moved"] if delete else []))
    words += ("--keep-keys",) if dice.random() < 0.5 else ()
    forgets, killed = dice.randrange(KILLS), 0
    async with at_work(worker, works=works):
        for n in range(KILLS):
            target = await enqueued(caller) + dice.choice((0, 1, dice.randrange(400)))
            process = await importer.start(*words)

            async def is_time(running: Process = process, at: int = target) -> bool:
                return running.returncode is not None or await enqueued(caller) >= at

            await eventually(is_time, within=60)
            await asyncio.sleep(dice.random() * 0.1)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()
            killed += process.returncode == -signal.SIGKILL
            if n == forgets and not delete:
                for path in importer.folder.glob("*.progress*"):
                    path.unlink()
        assert killed >= KILLS - 2, "the import was over before it could be killed"
        ran = await importer.run(*words)
        assert ran.code == 0, ran
    await check(caller, fill, worker.got)
    if not delete:
        assert old.keys() == before
        assert ran.count("moved") + ran.count("moved before") == len(fill.moved)
    else:
        left = old.keys()
        assert not [key for key in left if b":q:" in key or b":lease:" in key]
        assert len(left[b"codeq:tasks"]) == 40, "the completed ones"
    again = await importer.run(*words)
    assert (again.code, again.count("moved")) == (0, 0)


async def test_ctrl_c_tells_how_far_it_came(
    server: Server, importer: Importer, old: Predecessor
) -> None:
    ids = [old.create("RENDER", n) for n in range(600)]
    caller = server.caller()
    process = await importer.start("--rate", "100", "--json")

    async def began() -> bool:
        return await enqueued(caller) > 0

    await eventually(began)
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130
    assert b'"finished": false' in out
    assert b"goes on" in err
    assert b"Traceback" not in err
    assert (await importer.run()).code == 0
    assert old_ids(await drain(caller, "RENDER")) == ids


async def test_a_queue_that_is_full_now_and_then_loses_no_order(
    server: Server, importer: Importer, old: Predecessor
) -> None:
    ids = [old.create("RENDER", n) for n in range(600)]
    worker = Worker(server.caller())
    async with Client(server.address, token=token_of("acme", "admin")) as client:
        await client.update_queue("RENDER", max_backlog=130)
    async with at_work(worker, works=True):
        ran = await importer.run("--patience", "60s")
        assert ran.code == 0, ran
        await eventually(lambda: len(worker.got) == len(ids))
    assert old_ids(worker.got) == ids


async def test_patience_ends(server: Server, importer: Importer, old: Predecessor) -> None:
    for n in range(30):
        old.create("RENDER", n)
    async with Client(server.address, token=token_of("acme", "admin")) as client:
        await client.update_queue("RENDER", max_backlog=10)
        ran = await importer.run("--patience", "1s")
        assert ran.code == 1
        assert "QUEUE_FULL" in ran.err
        assert not ran.report["finished"]
        await client.update_queue("RENDER", max_backlog=0)
    assert (await importer.run()).count("moved") == 30


async def test_a_store_that_is_away_for_a_moment_is_sat_out(
    server: Server, importer: Importer, old: Predecessor, store: StoreProcess
) -> None:
    ids = [old.create("RENDER", n) for n in range(500)]
    caller = server.caller()
    process = await importer.start("--rate", "400")

    async def began() -> bool:
        return await enqueued(caller) > 0

    await eventually(began)
    store.pause()
    await asyncio.sleep(6)
    store.resume()
    _, err = await process.communicate()
    assert process.returncode == 0, err
    assert old_ids(await drain(caller, "RENDER")) == ids


async def test_one_progress_file_is_for_one_run_server_and_tenant(
    server: Server, importer: Importer, old: Predecessor, store: StoreProcess, tmp_path: Path
) -> None:
    ids = [old.create("RENDER", n) for n in range(300)]
    words = ("--progress", "p")
    first = await importer.start("--rate", "20", *words)
    await eventually(lambda: (tmp_path / "p").exists() and (tmp_path / "p").stat().st_size)
    caller = server.caller()

    async def began() -> bool:
        return await enqueued(caller) > 0

    await eventually(began)
    ran = await importer.run(*words)
    assert (ran.code, "another import" in ran.err) == (1, True), ran
    first.kill()
    await first.communicate()
    assert (await importer.run(*words)).code == 0
    ran = await importer.run(*words, tenant="rival")
    assert (ran.code, "--trust-progress" in ran.err) == (1, True), ran
    async with running_server(store) as other:
        ran = await Importer(other, store, tmp_path).run(*words)
        assert (ran.code, "is of an import with server" in ran.err) == (1, True), ran
    (tmp_path / "p").write_text("no database, whatever it is called, but a text")
    ran = await importer.run(*words)
    assert (ran.code, "not the progress" in ran.err) == (1, True), ran
    assert old_ids(await drain(caller, "RENDER")) == ids


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "http://x"), "is not a URL"),
        (("--from", "redis://127.0.0.1:1"), "the old store"),
        (("--from", "redis://127.0.0.1?socket_timeout=x"), "socket_timeout"),
        (("--prefix", "none:"), "no hash none:tasks"),
        (("--tenant-map", "a=/no/such/file"), "/no/such/file"),
        (("--tenant-map", "a", "--tenant-map", "a"), "twice"),
        (("--dry-run", "--delete-moved"), "--dry-run"),
        (("--command-map", "x"), "old=new"),
        (("--token", "cq_wrong"), "CREDENTIAL_INVALID"),
        (("--rest", "/no/such/folder/f"), "/no/such/folder"),
    ],
)
async def test_mistakes_are_told_in_a_line(
    importer: Importer, old: Predecessor, words: tuple[str, ...], said: str
) -> None:
    old.create("RENDER", 1)
    ran = await importer.run(*words)
    assert ran.code in {1, 2}
    assert said in ran.err
    assert "Traceback" not in ran.err


async def test_two_keyspaces_are_not_guessed_between(
    server: Server, importer: Importer, old: Predecessor, admin: Admin
) -> None:
    old.create("RENDER", 1)
    older = Predecessor(admin, "legacy:", priorities=False).create("RENDER", 2)
    ran = await importer.run()
    assert (ran.code, "--prefix" in ran.err) == (2, True)
    await importer.run("--prefix", "legacy:")
    assert old_ids(await drain(server.caller(), "RENDER")) == [older]
