"""The faults, by the numbers of the fault catalogue, and what they are done to.

A fault is an asynchronous generator: what stands before its `yield` injects it and lasts as long
as it should be felt, what stands behind heals it. Expectations of its own it tells by `expect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb
from tests.faults.history import History, now_ns, read_journal
from tests.faults.victim import Victim

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from tests.acceptance.servers import Serve
    from tests.faults.cluster import Cluster
    from tests.faults.history import Operation
    from tests.faults.load import Load

ALL: Final = ("enqueue", "claim", "end")
"""Kinds of calls."""
_PATIENCE: Final = 20.0


@dataclass(slots=True)
class Scene:
    """One run, as a fault sees it."""

    cluster: Cluster
    load: Load
    dice: random.Random
    scale: float = 1.0
    """By how much longer faults last than in the quick run."""
    began_ns: int = 0
    """When the latest fault was injected."""
    failures: list[str] = field(default_factory=list)
    victims: list[Victim] = field(default_factory=list)
    _names: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def history(self) -> History:
        """Of the run."""
        return self.load.history

    def server(self) -> Serve:
        """One of the servers."""
        return self.dice.choice(self.cluster.servers)

    async def hold(self, seconds: float) -> None:
        """Lets the load feel it."""
        await asyncio.sleep(seconds * self.scale)

    async def wait(self, holds: Callable[[], bool], otherwise: str) -> None:
        """Returns once it holds; notes what was missing when it does not come to."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                while not holds():
                    await asyncio.sleep(0.05)
        self.expect(holds(), otherwise)

    def expect(self, holds: object, what: str) -> None:
        """Notes what should have been."""
        if not holds:
            self.failures.append(what)

    @contextlib.asynccontextmanager
    async def suffer(self, fault: Fault) -> AsyncIterator[None]:
        """A fault: injected when the block begins, healed when it ends."""
        self.began_ns = now_ns()
        async with contextlib.asynccontextmanager(fault.act)(self):
            yield

    def felt(self) -> list[Operation]:
        """Operations that began since the fault did."""
        return [op for op in self.history.operations if op.start_ns >= self.began_ns]

    async def victim(self, *, least: int = 3) -> Victim:
        """A worker in a process of its own that holds some tasks."""
        load = self.load
        name = f"v{next(self._names)}"
        victim = Victim(load.addresses, load.token, load.asking, name)
        self.victims.append(victim)
        await asyncio.to_thread(victim.wait_for_claims, least)
        return victim

    async def hoard(self, most: int, *, lease: int) -> int:
        """Claims many tasks for somebody who does nothing with them; how many."""
        client, hoarded = self.load.client("hoarder"), 0
        request = pb.ClaimRequest(
            worker_id="hoarder", commands=[self.load.asking.queue], max_tasks=most
        )
        request.lease_duration.FromSeconds(lease)
        request.wait.FromMilliseconds(200)
        while hoarded < most:
            since = now_ns()
            answer = await client.ask("Claim", request)
            for task in answer.message.tasks if answer.message is not None else ():
                self.load.desk.deliver(client.name, since, task)
                hoarded += 1
        return hoarded

    def bury(self) -> None:
        """Ends every victim; what they wrote down becomes part of the history."""
        for victim in self.victims:
            victim.close()
            operations = read_journal(victim.written)
            self.history.extend(operations)
            for op in operations:
                if op.op == "claim" and op.task:
                    self.load.desk.fences.add(op.task, op.number, op.fence)
        self.victims.clear()


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misfortune."""

    name: str
    title: str
    act: Callable[[Scene], AsyncIterator[None]]
    blocks: tuple[str, ...] = ()
    """Kinds of calls that may all fail while it lasts."""
    skews: bool = False
    """The store's clock is no longer that of the clients."""


FAULTS: Final[dict[str, Fault]] = {}


def fault(
    name: str, title: str, *, blocks: tuple[str, ...] = (), skews: bool = False
) -> Callable[[Callable[[Scene], AsyncIterator[None]]], Callable[[Scene], AsyncIterator[None]]]:
    """Enters a fault in the catalogue."""

    def enter(act: Callable[[Scene], AsyncIterator[None]]) -> Callable[..., AsyncIterator[None]]:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, title, act, blocks, skews)
        return act

    return enter
