"""One run: warm, fault, heal, liveness, drain, check."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.faults import nemesis, network_faults, server_faults, store_faults, worker_faults
from tests.faults.asking import ms_of
from tests.faults.catalogue import ALL, Scene
from tests.faults.checkers import check
from tests.faults.cluster import TOKEN
from tests.faults.evidence import Evidence, Violation
from tests.faults.history import ENDS
from tests.faults.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.catalogue import Fault
    from tests.faults.cluster import Cluster
    from tests.faults.history import History, Operation

ROOMS: Final = (server_faults, store_faults, network_faults, worker_faults, nemesis)
"""They fill the catalogue."""
_SERVING_MS: Final = 2_000
"""Within this the system serves again after healing."""
_KINDS: Final = {"enqueue": ("enqueue",), "claim": ("claim",), "end": ENDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done in a run."""

    tasks: int = 100
    """Acknowledged at least."""
    before: int = 60
    """Operations before the fault, or the run is void."""
    after: int = 20
    """Attempts ended after healing."""
    rounds: int = 1
    """How often the fault comes."""
    scale: float = 1.0
    """Of the time that it lasts."""
    pace: float = 0.02
    """Seconds between two enqueues of one producer."""
    patience: float = 60.0
    """Seconds within which all must end after healing."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What a run has shown."""

    fault: str
    seed: int
    history: History
    violations: list[Violation]
    void: str = ""
    """Why it shows nothing; empty when it does."""
    counts: Counter[str] = field(default_factory=Counter)
    redelivery_ms: list[int] = field(default_factory=list)
    """Of each lease that ran out, from its end until its task was claimable."""
    served_s: float | None = None
    """From healing until calls of every kind were served again; None when one never was."""

    @property
    def good(self) -> bool:
        """It shows that what was promised was kept."""
        return not self.void and not self.violations

    def late_ms(self, quantile: float = 0.99) -> int | None:
        """Of the redeliveries."""
        if not self.redelivery_ms:
            return None
        ordered = sorted(self.redelivery_ms)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    def report(self) -> str:
        """For the message of a test that fails."""
        found = Counter(violation.checker for violation in self.violations)
        lines = [f"{self.fault} --seed {self.seed}: {dict(found)} {self.void}", str(self.counts)]
        lines += [f"  {v.checker}: {v.task} {v.text}" for v in self.violations[:20]]
        return "\n".join(lines)


async def attack(cluster: Cluster, fault: Fault, seed: int, plan: Plan) -> Result:
    """Runs one kind of fault against a load of its own."""
    await cluster.heal()
    queue = f"{fault.name.replace(' ', '-')}:{seed}:{random.getrandbits(32):x}"
    load = Load(cluster.addresses, TOKEN, queue, seed, pace=plan.pace)
    scene = Scene(cluster, load, random.Random(f"{seed}:{fault.name}"), plan.scale)
    history = load.history
    try:
        async with load.running():
            history.mark("warm")
            warm = await _until(lambda: _done(history.operations) >= plan.before, plan.patience)
            scene.expect(warm, "nothing works before the fault")
            history.mark("fault")
            for _ in range(plan.rounds):
                async with scene.suffer(fault):
                    history.mark("heal")
                history.mark("healed")
            ended, since = load.ended(), len(history.operations)
            serves = await _until(lambda: load.ended() >= ended + plan.after, plan.patience)
            scene.expect(serves, "nothing is served after healing")
            for kind, ops in _KINDS.items():
                came = await _until(partial(_any_done, history, ops, since), plan.patience)
                scene.expect(came, f"no {kind} is served after healing")
            await _until(lambda: load.count("enqueue") >= plan.tasks, plan.patience)
            found = await load.drain(plan.patience)
    finally:
        scene.bury()
        await cluster.heal()
    history.mark("end")
    stored = [] if found.unended else await asyncio.to_thread(cluster.inconsistencies, queue)
    evidence = Evidence(history, found, skewed=fault.skews, stored=stored)
    violations = await asyncio.to_thread(check, evidence)
    violations += [Violation("fault", "", text) for text in scene.failures]
    result = Result(fault=fault.name, seed=seed, history=history, violations=violations)
    result.void = _void(evidence, fault, plan)
    _count(result, evidence, fault)
    return result


async def _until(holds: Callable[[], bool], within: float) -> bool:
    """Whether it came to hold."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            while not holds():
                await asyncio.sleep(0.02)
    return holds()


def _done(operations: list[Operation]) -> int:
    return sum(op.ok and bool(op.task) for op in operations)


def _any_done(history: History, ops: tuple[str, ...], since: int) -> bool:
    return any(op.ok and op.task and op.op in ops for op in history.operations[since:])


def _void(evidence: Evidence, fault: Fault, plan: Plan) -> str:
    history = evidence.history
    before = _done(history.between("warm", "fault"))
    if before < plan.before:
        return f"only {before} operations before the fault"
    first, last = history.marks["fault"], history.marks["healed"]
    for kind in ALL:
        ops = [op for op in history.of(*_KINDS[kind]) if op.start_ns < last]
        tried = [op for op in ops if op.end_ns is None or op.end_ns >= first]
        done = [op for op in tried if op.ok and op.task and op.end_ns and op.end_ns < last]
        if not tried and fault.blocks != ALL:
            return f"no {kind} was tried during the fault"
        if not done and kind not in fault.blocks:
            return f"no {kind} succeeded during the fault"
    return ""


def _count(result: Result, evidence: Evidence, fault: Fault) -> None:
    history, counts = evidence.history, result.counts
    acked = {op.task for op in history.of("enqueue") if op.ok}
    stale = [op for op in history.of(*ENDS, "heartbeat") if op.key == "stale" and not op.unknown]
    counts["operations"] = len(history.operations)
    counts["unknown"] = sum(op.unknown and op.op != "list" for op in history.operations)
    counts["acked"] = len(acked)
    counts["recovered"] = len(evidence.tasks.keys() - acked)
    counts["lost"] = sum(v.text.startswith("lost") for v in result.violations)
    counts["unexpected"] = sum(v.text.startswith("unexpected") for v in result.violations)
    counts["second ends"] = sum(v.checker == "single end" for v in result.violations)
    counts["stale fences"] = len({(op.task, op.fence) for op in stale})
    counts["stale tried"] = len(stale)
    counts["stale accepted"] = sum(op.ok for op in stale)
    counts["cancelled"] = sum(op.ok for op in history.of("cancel"))
    counts["redriven"] = sum(op.ok for op in history.of("redrive"))
    counts["dependent"] = len({op.task for op in history.of("enqueue") if op.ok and op.parent})
    counts["expiring"] = len({op.task for op in history.of("enqueue") if op.ok and op.expire_ms})
    counts["claims"] = sum(map(len, evidence.claims.values()))
    result.redelivery_ms = list(_redeliveries(evidence, fault))
    result.served_s = _served(evidence)


def _redeliveries(evidence: Evidence, fault: Fault) -> Iterator[int]:
    """From the end of each lease that ran out, in ms, until its task was claimable again: as the
    store kept it, for the next claim may be a matter of priority. What ran out while nothing could
    serve is left out.
    """
    history = evidence.history
    first = history.wall(history.marks["fault"])
    last = history.wall(history.marks["healed"]) + _SERVING_MS
    for task, claims in evidence.claims.items():
        ended = {attempt.fence: ms_of(attempt.end_time) for attempt in evidence.attempts(task)}
        for claim in claims:
            was_held = (task, claim.fence) in evidence.ends or (task, claim.fence) in evidence.beats
            end, in_outage = ended.get(claim.fence, 0), False
            if fault.blocks == ALL:
                in_outage = end >= first and claim.expiry_ms <= last
            if not was_held and end >= claim.expiry_ms and not in_outage:
                yield end - claim.expiry_ms


def _served(evidence: Evidence) -> float | None:
    """Seconds after healing until a task was enqueued, one claimed and one ended since then."""
    healed = evidence.history.marks["healed"]
    firsts = []
    for ops in _KINDS.values():
        ends = [
            op.end_ns
            for op in evidence.history.of(*ops)
            if op.ok and op.task and op.end_ns is not None and op.end_ns >= healed
        ]
        if not ends:
            return None
        firsts.append(min(ends))
    return (max(firsts) - healed) / 1e9
