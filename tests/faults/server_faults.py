"""What happens to servers."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from tests.faults.catalogue import ALL, fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.catalogue import Scene


@fault("F1", "a server is killed")
async def kill_server(scene: Scene) -> AsyncIterator[None]:
    """The other one serves."""
    server = scene.server()
    server.program.kill()
    await scene.hold(1.0)
    yield
    await scene.cluster.ensure(server)


@fault("F2", "all servers are killed", blocks=ALL)
async def kill_servers(scene: Scene) -> AsyncIterator[None]:
    """What they knew is in the store."""
    for server in scene.cluster.servers:
        server.program.kill()
    await scene.hold(0.3)
    yield
    for server in scene.cluster.servers:
        await scene.cluster.ensure(server)


@fault("F3", "a server is stopped for longer than leases last")
async def stop_server(scene: Scene) -> AsyncIterator[None]:
    """What it does late it does with old fences."""
    server = scene.server()
    server.program.send(signal.SIGSTOP)
    await scene.hold(2.5)
    yield
    server.program.send(signal.SIGCONT)
    await scene.cluster.ensure(server)


@fault("F4", "servers are restarted one after the other")
async def restart_servers(scene: Scene) -> AsyncIterator[None]:
    """Each ends in order, however busy."""
    for server in scene.cluster.servers:
        code = await asyncio.to_thread(server.program.stop)
        scene.expect(code == 0, f"a server told to stop ended with {code}")
        await scene.cluster.ensure(server)
    yield


@fault("F45", "the event loop of a server is blocked for 2 s")
async def block_loop(scene: Scene) -> AsyncIterator[None]:
    """Its connections stay, nobody answers."""
    scene.server().program.send(signal.SIGUSR2)
    await scene.hold(2.0)
    yield


@fault("F53", "a server is killed while it reaps")
async def kill_reaper(scene: Scene) -> AsyncIterator[None]:
    """Many leases run out at once; both servers see it, and one of them dies of it."""
    hoarded = await scene.hoard(60, lease=1)
    scene.expect(hoarded, "nothing was hoarded")
    server = scene.server()
    await asyncio.sleep(1.0 + 0.3 * scene.dice.random())
    server.program.kill()
    await scene.hold(1.0)
    yield
    await scene.cluster.ensure(server)
