"""What happens to the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.acceptance.servers import is_live, is_ready
from tests.faults.catalogue import ALL, fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.faults.catalogue import Scene

_ENDLESS: Final = "while true do end"
_CALL_SECONDS: Final = 5.5
"""Every call fails within 5 s when the store does not answer."""


@fault("F11", "the store is killed and starts again", blocks=ALL)
async def kill_store(scene: Scene) -> AsyncIterator[None]:
    """Its log is on the disk."""
    await asyncio.to_thread(scene.cluster.store.kill)
    await scene.hold(0.5)
    yield
    await scene.cluster.ensure_store()


@fault("F12", "the store is killed and stays away", blocks=ALL)
async def lose_store(scene: Scene) -> AsyncIterator[None]:
    """Servers stay alive, say that they are not ready, and let no call hang."""
    await asyncio.to_thread(scene.cluster.store.kill)
    await scene.hold(3.0)
    for server in scene.cluster.servers:
        ready = await asyncio.to_thread(is_ready, server.http_port)
        live = await asyncio.to_thread(is_live, server.http_port)
        scene.expect(not ready, "ready without a store")
        scene.expect(live, "not alive without a store")
    for op in scene.felt():
        if op.task == "" and op.op == "enqueue" and op.end_ns is not None:
            took = (op.end_ns - op.start_ns) / 1e9
            scene.expect(took < _CALL_SECONDS, f"{op.op} took {took:.1f} s without a store")
    yield
    await scene.cluster.ensure_store()


@fault("F13", "the store is stopped for a while", blocks=ALL)
async def stop_store(scene: Scene) -> AsyncIterator[None]:
    """Longer than servers wait for it: it carries out later what nobody waits for."""
    await asyncio.to_thread(scene.cluster.store.pause)
    await scene.hold(scene.dice.choice((1.0, 2.5, 4.0)))
    yield
    scene.cluster.store.resume()


@fault("F14", "the store sleeps", blocks=ALL)
async def sleep_store(scene: Scene) -> AsyncIterator[None]:
    """DEBUG SLEEP: the process lives and does nothing else."""
    with scene.cluster.admin() as admin:
        admin.send("DEBUG", "SLEEP", "2.5")
        await asyncio.sleep(2.5)
        yield
        await asyncio.to_thread(admin.receive)


@fault("F15", "the store pauses its clients", blocks=ALL)
async def pause_clients(scene: Scene) -> AsyncIterator[None]:
    """As before a failover: all commands, or those that write."""
    kind = scene.dice.choice(("ALL", "WRITE"))
    with scene.cluster.admin() as admin:
        admin.call("CLIENT", "PAUSE", "2500", kind)
        await asyncio.sleep(2.5)
        yield
        admin.call("CLIENT", "UNPAUSE")


@fault("F16", "the store is busy with a script of somebody else", blocks=ALL)
async def busy_store(scene: Scene) -> AsyncIterator[None]:
    """It answers BUSY until the script is killed, which is not codeQ's to do."""
    with scene.cluster.admin() as other, scene.cluster.admin() as admin:
        admin.call("CONFIG", "SET", "busy-reply-threshold", "50")
        other.send("EVAL", _ENDLESS, "0")
        await scene.hold(1.5)
        yield
        admin.call("SCRIPT", "KILL")
        try:
            other.receive()
        except RuntimeError as error:
            scene.expect("kill" in str(error).lower(), f"the script ended otherwise: {error}")
        else:
            scene.expect(None, "the script ended by itself")


@fault("F17", "the store forgets its scripts again and again")
async def flush_scripts(scene: Scene) -> AsyncIterator[None]:
    """Nobody sees NOSCRIPT."""
    with scene.cluster.admin() as admin:
        for _ in range(int(20 * scene.scale)):
            admin.call("SCRIPT", "FLUSH", "SYNC")
            await asyncio.sleep(0.1)
    failed = {op.reason for op in scene.felt() if op.unknown and op.reason}
    scene.expect(not failed, f"callers saw {sorted(failed)}")
    yield


@fault("F19", "the store is restarted in order", blocks=ALL)
async def restart_store(scene: Scene) -> AsyncIterator[None]:
    """Scripts and subscriptions are gone."""
    await asyncio.to_thread(scene.cluster.store.stop)
    await scene.hold(0.3)
    yield
    await scene.cluster.ensure_store()


@fault("F21", "the store's memory is full", blocks=("enqueue",))
async def fill_store(scene: Scene) -> AsyncIterator[None]:
    """Nothing more goes in; what is in can be worked off."""
    with scene.cluster.admin() as admin:
        admin.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        admin.call("CONFIG", "SET", "maxmemory", "1mb")
        await scene.hold(1.5)
        await scene.wait(
            lambda: any(op.reason == "STORE_FULL" for op in scene.felt()),
            "nobody was told that the store is full",
        )
        ends = {op.reason for op in scene.felt() if op.op == "complete" and op.end_ns}
        scene.expect(ends <= {"", "LEASE_LOST"}, f"Complete was told {sorted(ends)}")
        yield
        admin.call("CONFIG", "SET", "maxmemory", "0")
