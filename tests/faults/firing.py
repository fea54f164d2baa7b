"""Schedules under kills: `python -m tests.faults.firing --servers 4 --schedules 50 --firings 200`.

Servers and the store are killed, stopped and restarted while schedules fire every second. Then
every task is matched to a schedule and a fire time: each has exactly one, none is missing, none is
there twice, none was made before its time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from codeq.v1 import (
    codeq_service_pb2 as pb,
    codeq_service_pb2_grpc as services,
    schedule_service_pb2 as sb,
    schedule_service_pb2_grpc as schedule_services,
)
from tests.acceptance.servers import Serve
from tests.faults.cluster import TOKEN, tokens
from tests.support.stores import StoreProcess, engines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from codeq.v1.task_pb2 import ClaimedTask
    from tests.support.stores import Engine

_METADATA: Final = (("authorization", f"Bearer {TOKEN}"),)
_COMMANDS: Final = ("FIRE.A", "FIRE.B", "FIRE.C")
_SECOND: Final = 1_000
_LEAD: Final = 4
"""Seconds from making the schedules until the first fire time."""
_REPEATED: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
_ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata")
_ENDS: Final = 120.0
"""Seconds for all to be done after the last fault."""


@dataclass(slots=True)
class Tally:
    """What a run has shown."""

    seed: int
    store: str
    expected: int = 0
    tasks: int = 0
    missing: int = 0
    double: int = 0
    early: int = 0
    unexpected: int = 0
    mismatched: int = 0
    """Firings as listed that name another task than the one found, or none."""
    faults: Counter[str] = field(default_factory=Counter)
    late_ms: list[int] = field(default_factory=list)
    """From each fire time until its task was made."""
    examples: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every fire time has its one task."""
        wrong = self.missing + self.double + self.early + self.unexpected + self.mismatched
        return wrong == 0 and self.tasks == self.expected > 0

    def __str__(self) -> str:
        late = sorted(self.late_ms) or [0]
        told = dict(sorted(self.faults.items()))
        return (
            f"{self.store} --seed {self.seed}: {self.expected} fire times, {self.tasks} tasks:"
            f" missing {self.missing}, double {self.double}, early {self.early}, unexpected"
            f" {self.unexpected}, mismatched {self.mismatched}; made after (ms) median"
            f" {late[len(late) // 2]}, p99 {late[int(len(late) * 0.99)]}, most {late[-1]}; {told}"
            + "".join(f"\n  {example}" for example in self.examples[:20])
        )


class Park:
    """Some servers on one store."""

    def __init__(self, engine: Engine, count: int) -> None:
        self.store = StoreProcess(engine, aof=True)
        self.servers = [
            Serve(
                {
                    "CODEQ_REDIS_URL": self.store.url,
                    "CODEQ_TOKENS": tokens(),
                    "CODEQ_GRPC_ENGINE": engine.grpc,
                    "CODEQ_STORE_TIMEOUT_SECONDS": "2",
                    "CODEQ_DRAIN_SECONDS": "3",
                    "CODEQ_LOG_LEVEL": "warning",
                    "CODEQ_FIRINGS_KEPT": "1000",
                }
            )
            for _ in range(count)
        ]

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.store.start)
        async with asyncio.TaskGroup() as group:
            for server in self.servers:
                group.create_task(asyncio.to_thread(server.start))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self.servers:
            await asyncio.to_thread(server.close)
        await asyncio.to_thread(self.store.close)

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[grpc.aio.Channel]:
        """To whichever server answers."""
        target = "ipv4:" + ",".join(server.address for server in self.servers)
        options = [
            ("grpc.lb_policy_name", "round_robin"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.default_authority", "codeq"),
        ]
        async with grpc.aio.insecure_channel(target, options=options) as channel:
            yield channel


async def _call(method: Any, request: Any) -> Any:
    """Until it is answered: whoever was to answer may be dead."""
    while True:
        try:
            return await method(request, timeout=5, metadata=_METADATA)
        except grpc.aio.AioRpcError as error:
            if error.code() not in _REPEATED:
                raise
            await asyncio.sleep(0.1)


def _rules(dice: random.Random, first_s: int, firings: int) -> sb.ScheduleSpec:
    """Every second, as an interval or by cron in some zone; or half of each."""
    spec = sb.ScheduleSpec()
    spec.start_time.FromSeconds(first_s)
    spec.end_time.FromSeconds(first_s + firings)
    kind = dice.choice(("every", "cron", "both"))
    if kind == "every":
        spec.every.FromSeconds(1)
    elif kind == "cron":
        spec.crons.append("* * * * * *")
        spec.time_zone = dice.choice(_ZONES)
    else:
        spec.crons.append("*/2 * * * * *")
        spec.every.FromSeconds(1)
    return spec


def _schedule(dice: random.Random, name: str, first_s: int, firings: int) -> sb.Schedule:
    text = json.dumps({"by": "{{schedule_id}}", "at": "{{fire_time}}"}).encode()
    made = sb.Schedule(
        schedule_id=name,
        spec=_rules(dice, first_s, firings),
        misfire_policy=sb.MISFIRE_POLICY_FIRE_ALL,
    )
    made.task.command = dice.choice(_COMMANDS)
    made.task.payload.content_type = "application/json"
    made.task.payload.data = text
    return made


class Worker:
    """Claims and completes whatever there is, and remembers what it was given."""

    def __init__(self, channel: grpc.aio.Channel, name: str, seen: dict[str, ClaimedTask]) -> None:
        self._stub = services.CodeQServiceStub(channel)
        self._name = name
        self._seen = seen

    async def run(self) -> None:
        """For ever."""
        claim = pb.ClaimRequest(worker_id=self._name, commands=_COMMANDS, max_tasks=50)
        claim.lease_duration.FromSeconds(10)
        claim.wait.FromSeconds(1)
        while True:
            given = await _call(self._stub.Claim, claim)
            for one in given.tasks:
                self._seen[one.lease.task_id] = one
            async with asyncio.TaskGroup() as group:
                for one in given.tasks:
                    group.create_task(self._complete(one.lease))

    async def _complete(self, lease: Any) -> None:
        try:
            await _call(self._stub.Complete, pb.CompleteRequest(lease=lease))
        except grpc.aio.AioRpcError as error:
            # Its reply was lost, or the store was away for longer than the lease.
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise


class Nemesis:
    """One fault after the other, with pauses."""

    def __init__(self, park: Park, dice: random.Random, faults: Counter[str]) -> None:
        self._park = park
        self._dice = dice
        self._faults = faults
        self._kinds = {
            "server killed": self._kill,
            "server stopped": self._stop,
            "server restarted": self._restart,
            "all servers killed": self._kill_all,
            "store killed": self._kill_store,
            "store stopped": self._stop_store,
        }

    async def run(self, until: float) -> None:
        """Till then; all runs again when it returns."""
        while time.time() < until:
            kind = self._dice.choice(sorted(self._kinds))
            self._faults[kind] += 1
            await self._kinds[kind]()
            await asyncio.sleep(self._dice.uniform(0.2, 2.0))

    def _server(self) -> Serve:
        return self._dice.choice(self._park.servers)

    async def _kill(self) -> None:
        server = self._server()
        server.program.kill()
        await asyncio.sleep(self._dice.uniform(0.0, 2.0))
        await asyncio.to_thread(server.start)

    async def _stop(self) -> None:
        server = self._server()
        server.program.send(signal.SIGSTOP)
        await asyncio.sleep(self._dice.uniform(0.5, 7.0))
        server.program.send(signal.SIGCONT)

    async def _restart(self) -> None:
        server = self._server()
        await asyncio.to_thread(server.program.stop)
        await asyncio.to_thread(server.start)

    async def _kill_all(self) -> None:
        for server in self._park.servers:
            server.program.kill()
        await asyncio.sleep(self._dice.uniform(0.0, 3.0))
        for server in self._park.servers:
            await asyncio.to_thread(server.start)

    async def _kill_store(self) -> None:
        await asyncio.to_thread(self._park.store.kill)
        await asyncio.sleep(self._dice.uniform(0.0, 2.0))
        await asyncio.to_thread(self._park.store.restart)

    async def _stop_store(self) -> None:
        await asyncio.to_thread(self._park.store.pause)
        await asyncio.sleep(self._dice.uniform(0.5, 4.0))
        self._park.store.resume()


async def attack(engine: Engine, seed: int, *, servers: int, schedules: int, firings: int) -> Tally:
    """One run."""
    dice = random.Random(seed)
    tally = Tally(seed, engine.label)
    async with Park(engine, servers) as park, park.channel() as channel:
        stub = schedule_services.ScheduleServiceStub(channel)
        first_s = int(time.time()) + _LEAD
        names = [f"sched-{i:03}" for i in range(schedules)]
        for name in names:
            made = _schedule(dice, name, first_s, firings)
            await _make(stub, made)
        seen: dict[str, ClaimedTask] = {}
        workers = [Worker(channel, f"worker-{i}", seen) for i in range(2)]
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(worker.run()) for worker in workers]
            await Nemesis(park, dice, tally.faults).run(first_s + firings)
            await _until_done(stub, names)
            listed = {name: await _listed(stub, name) for name in names}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    while len(seen) < schedules * firings:
                        await asyncio.sleep(0.1)
            for one in running:
                one.cancel()
        _match(tally, seen, listed, first_s, firings)
    return tally


async def _make(stub: Any, made: sb.Schedule) -> None:
    try:
        await _call(stub.CreateSchedule, sb.CreateScheduleRequest(schedule=made))
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise


async def _until_done(stub: Any, names: Sequence[str]) -> None:
    """Every schedule has ended, and so have its tasks."""
    async with asyncio.timeout(_ENDS):
        for name in names:
            while True:
                got = await _call(stub.GetSchedule, sb.GetScheduleRequest(schedule_id=name))
                status = got.schedule.status
                if status.ended and status.open_count == 0:
                    break
                await asyncio.sleep(0.2)


async def _listed(stub: Any, name: str) -> list[sb.Firing]:
    found: list[sb.Firing] = []
    token = ""
    while True:
        request = sb.ListFiringsRequest(schedule_id=name, page_size=1_000, page_token=token)
        page = await _call(stub.ListFirings, request)
        found += page.firings
        token = page.next_page_token
        if not token:
            return found


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * _SECOND)


def _match(
    tally: Tally,
    seen: dict[str, ClaimedTask],
    listed: dict[str, list[sb.Firing]],
    first_s: int,
    firings: int,
) -> None:
    wanted = {(name, (first_s + i) * _SECOND) for name in listed for i in range(firings)}
    tally.expected, tally.tasks = len(wanted), len(seen)
    found: dict[tuple[str, int], list[str]] = {}
    for task_id, task in seen.items():
        told = json.loads(task.spec.payload.data)
        key = told["by"], _ms(told["at"])
        found.setdefault(key, []).append(task_id)
        made_ms = task.create_time.ToMilliseconds()
        tally.late_ms.append(made_ms - key[1])
        if made_ms < key[1]:
            tally.early += 1
            tally.examples.append(f"early: {key} made at {made_ms}")
    for kind, keys in (("missing", wanted - found.keys()), ("unexpected", found.keys() - wanted)):
        setattr(tally, kind, len(keys))
        tally.examples += [f"{kind}: {key}" for key in sorted(keys)[:5]]
    twice = [(key, ids) for key, ids in found.items() if len(ids) > 1]
    tally.double = len(twice)
    tally.examples += [f"double: {key} {ids}" for key, ids in twice[:5]]
    for name, told in listed.items():
        by_time = Counter(firing.fire_time.ToMilliseconds() for firing in told)
        ids = {firing.fire_time.ToMilliseconds(): firing.task_id for firing in told}
        for i in range(firings):
            at = (first_s + i) * _SECOND
            if by_time[at] != 1 or [ids[at]] != found.get((name, at)):
                tally.mismatched += 1
                tally.examples.append(f"listed {by_time[at]} times: {name} {at} {ids.get(at)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.firing", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--schedules", type=int, default=50)
    parser.add_argument("--firings", type=int, default=200)
    labels = [engine.label for engine in engines()]
    parser.add_argument("--stores", default=",".join(labels), help="one after the other")
    return parser.parse_args()


async def _main(given: argparse.Namespace) -> int:
    kept = True
    for engine in engines():
        if engine.label in given.stores.split(","):
            sizes = {name: getattr(given, name) for name in ("servers", "schedules", "firings")}
            tally = await attack(engine, given.seed, **sizes)
            print(tally, flush=True)
            kept = kept and tally.kept
    return 0 if kept else 1


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(asyncio.run(_main(_arguments())))
