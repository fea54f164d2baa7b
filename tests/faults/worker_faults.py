"""What happens to workers, and what clients do to servers."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Final

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from tests.faults.calling import Client
from tests.faults.catalogue import fault
from tests.faults.cluster import RIVAL
from tests.faults.working import Puller, Streamer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.catalogue import Scene

_CREDIT: Final = 5


@fault("F6", "a worker is killed")
async def kill_worker(scene: Scene) -> AsyncIterator[None]:
    """What it held is claimable when its leases are over."""
    victim = await scene.victim()
    victim.close()
    scene.bury()
    await scene.hold(1.0)
    yield


@fault("F7", "a worker is stopped for longer than its leases last")
async def stop_worker(scene: Scene) -> AsyncIterator[None]:
    """It goes on as if nothing had been."""
    victim = await scene.victim()
    victim.send(signal.SIGSTOP)
    await scene.hold(2.5)
    victim.send(signal.SIGCONT)
    await scene.hold(1.0)
    yield
    scene.bury()


@fault("F8", "a worker never reads its stream")
async def read_nothing(scene: Scene) -> AsyncIterator[None]:
    """It gets no more than its credit."""
    client = scene.load.client("deaf")
    request = pb.StreamClaimRequest(
        worker_id="deaf", commands=[scene.load.asking.queue], max_outstanding=_CREDIT
    )
    call = client.start("StreamClaim", request, None)
    await call.wait_for_connection()
    asked = admin_pb.ListWorkersRequest(command=scene.load.asking.queue)
    other = scene.load.client("operator")
    for _ in range(5):
        await scene.hold(0.4)
        listed = await other.until("ListWorkers", asked, within=10)
        held = [w.in_progress for w in listed.workers if w.worker_id == "deaf"]
        scene.expect(all(n <= _CREDIT for n in held), f"a deaf worker holds {held}")
    yield
    call.cancel()


@fault("F9", "callers leave while they wait")
async def leave(scene: Scene) -> AsyncIterator[None]:
    """Claims and streams are cancelled at any time."""
    client = scene.load.client("fickle")
    for _ in range(int(60 * scene.scale)):
        request = pb.ClaimRequest(worker_id="fickle", commands=[scene.load.asking.queue])
        request.wait.FromMilliseconds(500)
        call = client.start("Claim", request, 2.0)
        if scene.dice.random() < 0.4:
            streaming = pb.StreamClaimRequest(
                worker_id="fickle", commands=[scene.load.asking.queue], max_outstanding=_CREDIT
            )
            call = client.start("StreamClaim", streaming, 2.0)
        await asyncio.sleep(0.03 * scene.dice.random())
        call.cancel()
    yield


@fault("F54", "two workers have one name, and another comes back under its old one")
async def double_names(scene: Scene) -> AsyncIterator[None]:
    """The fence tells who holds a task, not the name."""
    load = scene.load
    doubles = [
        kind(load.client(f"double{i}"), load.desk, worker_id="w0")
        for i, kind in enumerate((Puller, Streamer))
    ]
    tasks = [load.employ(double) for double in doubles]
    await scene.hold(1.0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    tasks = [load.employ(double) for double in doubles]
    await scene.hold(1.0)
    yield
    for task in tasks:
        task.cancel()


@fault("F55", "a task ends every worker that takes it")
async def poison(scene: Scene) -> AsyncIterator[None]:
    """It is claimed as often as it may be, and then it has failed."""
    scene.load.asking.poison = 0.1
    await scene.hold(2.0)
    yield
    scene.load.asking.poison = 0.0


@fault("F56", "another tenant floods the servers")
async def flood(scene: Scene) -> AsyncIterator[None]:
    """With as many tasks as it can, under the same name of a queue."""
    command = scene.load.asking.queue
    spec = task_pb2.TaskSpec(command=command, payload=task_pb2.Payload(data=bytes(100)))
    request = pb.BatchEnqueueRequest(tasks=[spec] * 100)
    clients = [Client(f"rival{i}", scene.load.addresses, RIVAL, i) for i in range(4)]

    async def pour(client: Client) -> None:
        while True:
            await client.ask("BatchEnqueue", request)

    pouring = [asyncio.create_task(pour(client)) for client in clients]
    await scene.hold(2.0)
    yield
    for task in pouring:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait(pouring)
    await clients[0].until("PurgeQueue", admin_pb.PurgeQueueRequest(command=command), within=30)
    for client in clients:
        await client.close()
