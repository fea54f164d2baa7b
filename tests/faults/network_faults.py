"""What happens on the ways between clients, servers and the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.catalogue import ALL, fault
from tests.faults.proxy import Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.faults.catalogue import Scene
    from tests.faults.proxy import Proxy


async def _weather(
    scene: Scene, proxies: Sequence[Proxy], weather: Weather, seconds: float, *told: str
) -> None:
    def done() -> int:
        return sum(proxy.done[what] for proxy in proxies for what in told)

    before = done()
    for proxy in proxies:
        proxy.weather = weather
    await scene.hold(seconds)
    await scene.wait(lambda: done() > before, f"no {' or '.join(told)}")


def _clear(proxies: Sequence[Proxy]) -> None:
    for proxy in proxies:
        proxy.clear()


@fault("F5", "connections of workers are cut within replies")
async def cut_replies(scene: Scene) -> AsyncIterator[None]:
    """Part of a claim arrives, or of the reply to a report."""
    gates = scene.cluster.gates
    await _weather(scene, gates, Weather(reset_reply=0.01), 2.0, "reset reply")
    yield
    _clear(gates)


@fault("F10", "connections of clients to a server go dead without a word")
async def half_open(scene: Scene) -> AsyncIterator[None]:
    """No end, no reset: only silence tells."""
    # After a restart all clients may be at the other server: nobody would notice.
    every = scene.cluster.gates
    await scene.wait(lambda: any(gate.connections for gate in every), "nobody connects")
    gates = [scene.dice.choice([one for one in every if one.connections] or every)]
    await _weather(scene, gates, Weather(blackhole=True), 2.0, "swallowed")
    yield
    _clear(gates)


@fault("F37", "the store is far away")
async def delay(scene: Scene) -> AsyncIterator[None]:
    """Late replies, not lost ones."""
    links = scene.cluster.links
    await _weather(scene, links, Weather(delay=0.05, jitter=0.2), 2.0, "delayed")
    yield
    _clear(links)


@fault("F38", "replies of the store are lost after it did what was asked")
async def lose_replies(scene: Scene) -> AsyncIterator[None]:
    """Nobody knows whether it was done."""
    links = scene.cluster.links
    await _weather(scene, links, Weather(lose_reply=0.08), 2.0, "lost reply")
    yield
    _clear(links)


@fault("F39", "connections to the store are reset within requests and replies")
async def reset_links(scene: Scene) -> AsyncIterator[None]:
    """Half a request, half a reply."""
    links = scene.cluster.links
    weather = Weather(reset_request=0.03, reset_reply=0.03)
    await _weather(scene, links, weather, 2.0, "reset request", "reset reply")
    yield
    _clear(links)


@fault("F40", "some clients get their replies byte by byte")
async def trickle(scene: Scene) -> AsyncIterator[None]:
    """The others do not notice."""
    gates = [scene.dice.choice(scene.cluster.gates)]
    await _weather(scene, gates, Weather(trickle=0.01), 2.0, "single bytes")
    yield
    _clear(gates)


@fault("F41", "the store's replies are garbage")
async def garble(scene: Scene) -> AsyncIterator[None]:
    """No client gets any of it."""
    links = scene.cluster.links
    await _weather(scene, links, Weather(garbage=0.05), 2.0, "garbage")
    yield
    _clear(links)


@fault("cut", "all connections to the store are cut at once", blocks=ALL)
async def cut_links(scene: Scene) -> AsyncIterator[None]:
    """And again, twice."""
    for _ in range(3):
        for link in scene.cluster.links:
            link.cut()
        await scene.hold(0.4)
    yield


@fault("cut off", "a server is cut off from the store")
async def cut_off(scene: Scene) -> AsyncIterator[None]:
    """The other one serves."""
    link = scene.dice.choice(scene.cluster.links)
    link.weather = Weather(refuse=True)
    link.cut()
    await scene.hold(2.0)
    yield
    link.clear()
