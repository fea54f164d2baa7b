"""Who waits for tasks of a queue in this process: one line a queue, and one claim for all in it.

A wish stands in the line of every queue that it names. A line that may have tasks for somebody
asks the store for all of them at once, longest waiting first; what comes back is dealt out, and a
line that was told that there is no more is dry until it is woken: by the store, by the time of the
next task that becomes due, or by a tick, since messages are only hints. Nobody is served by a line
while one that it prefers is not dry.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final

from codeq_grpc.broker.recalls import Recalls
from codeq_grpc.broker.wishes import Given
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError
from codeq_grpc.core.records import Lease
from codeq_grpc.store.keys import created_ms
from codeq_grpc.store.rows import lease_of
from codeq_grpc.store.tasks import Claimant
from codeq_grpc.store.wakeups import work_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.broker.background import Background
    from codeq_grpc.broker.wishes import Wish
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.registry import Registry
    from codeq_grpc.store.tasks import Claimed, TaskStore

SAFETY_TICK: Final = (2.0, 5.0)
"""Seconds after which a line in which somebody waits is not believed to be dry any more."""
_CLAIMANTS: Final = 100
"""In one claim."""
_FAIR: Final = 32
"""Tasks that one may get in a claim however many wait; more than that are shared."""


class Line:
    """The wishes for one queue."""

    def __init__(self, queue: Queue, lines: Lines) -> None:
        self._queue = queue
        self._lines = lines
        self._wishes: dict[Wish, None] = {}
        self._running = self._claiming = False
        self._empty = False
        self._armed = self._owes = self._called = False
        self._blind = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def dry(self) -> bool:
        """Whether the store was asked and had nothing more."""
        return self._empty and not self._claiming

    def join(self, wish: Wish) -> None:
        """To the end of the line."""
        self._wishes.pop(wish, None)
        self._wishes[wish] = None
        # Dry without a wake-up to come is dry for those only who do not wait.
        if wish.patient and self._blind:
            self._empty = False

    def leave(self, wish: Wish) -> None:
        """The last one that leaves takes back the wish to be woken."""
        self._wishes.pop(wish, None)
        if not self._wishes:
            self._disarm()
            self.serve()

    def _disarm(self) -> None:
        """Nobody waits; whoever comes from now on asks anew."""
        self._owes = self._owes or self._armed or self._called
        self._armed = self._called = self._empty = False

    def woken(self) -> None:
        """The store has sent for this server; if nobody can be served now, others are told."""
        self._armed, self._called, self._empty = False, True, False
        self._owes = not self._pick()
        self.serve()

    def look(self) -> None:
        """There may be tasks."""
        self._empty = False
        self.serve()

    def serve(self) -> None:
        """Asks the store for those who may ask."""
        if self._running:
            return
        if self._owes or (not self._empty and self._pick()):
            self._running = True
            self._lines.spawn(self._run())
        else:
            self._rest()

    def interrupt(self) -> None:
        """Whoever waits looks up."""
        for wish in self._wishes:
            wish.event.set()

    async def _run(self) -> None:
        # One call after the other: what takes back a wish to be woken must not overtake a claim
        # that has one noted.
        try:
            while True:
                if not self._empty and (picked := self._pick()):
                    await self._claim(picked)
                elif self._owes:
                    self._owes = self._called = False
                    await self._lines.pass_on(self._queue)
                else:
                    return
        finally:
            self._running = False
            self._rest()

    def _rest(self) -> None:
        if self._wishes:
            if self._timer is None:
                self._look_in(random.uniform(*SAFETY_TICK))
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lines.forget(self._queue)

    def _pick(self) -> list[tuple[Wish, int]]:
        """For whom to claim, and how many for each."""
        most = max(_FAIR, limits.SCRIPT_BATCH // max(1, len(self._wishes)))
        left, picked = limits.SCRIPT_BATCH, []
        for wish in self._wishes:
            count = min(wish.want - wish.asked, wish.most, most, left)
            if count > 0 and wish.may_ask(self):
                picked.append((wish, count))
                left -= count
                if not left or len(picked) == _CLAIMANTS:
                    break
        return picked

    async def _claim(self, picked: list[tuple[Wish, int]]) -> None:
        # Whoever is woken from now on comes after this claim.
        self._empty = self._claiming = True
        self._owes = self._called = False
        for wish, count in picked:
            wish.asked += count
        claimants = [Claimant(wish.claimant, count, wish.lease_ms) for wish, count in picked]
        self._blind = not any(wish.patient for wish in self._wishes)
        try:
            claimed = await self._lines.claim(self._queue, claimants, wake=not self._blind)
            if claimed.tasks and not self._queue.number:
                # It had no task when the first of them came, and has now.
                self._queue = await self._lines.named(self._queue, claimed)
        except Exception as error:
            # The wish to be woken may have been noted; whoever leaves last takes it back.
            self._empty, self._armed = False, not self._blind
            for wish, _ in picked:
                self._lines.fail(wish, error)
            if not isinstance(error, CodeQError):
                raise
        else:
            self._deal(picked, claimed)
            self._note(claimed)
        finally:
            self._claiming = False
            for wish, count in picked:
                wish.asked -= count
        if self._empty:
            self._hand_on()

    def _deal(self, picked: list[tuple[Wish, int]], claimed: Claimed) -> None:
        leases, at = _leases(self._queue, claimed), 0
        for (wish, _), count in zip(picked, claimed.shares, strict=True):
            wish.now_ms = claimed.now_ms
            if not count:
                continue
            given = Given(self._queue, leases[at : at + count])
            at += count
            if wish.closed or wish.busy:
                self._lines.give_back([given])
            else:
                wish.give(given)

    def _note(self, claimed: Claimed) -> None:
        """What the claim has told of the queue."""
        if not (claimed.empty or claimed.over):
            self._empty = False
            return
        self._armed = claimed.armed
        if not self._wishes:
            self._disarm()
            return
        seconds = random.uniform(*SAFETY_TICK)
        if claimed.look_at_ms:
            due = max(0, claimed.look_at_ms - claimed.now_ms) / limits.SECOND
            seconds = min(seconds, due)
        self._look_in(seconds)

    def _hand_on(self) -> None:
        """Those who wait may be served by lines that they like less."""
        for wish in list(self._wishes):
            if wish.want > wish.asked:
                wish.go_on()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._due)

    def _due(self) -> None:
        self._timer = None
        self.look()


class Lines:
    """The lines of all queues for which somebody waits here."""

    def __init__(
        self, server: str, registry: Registry, store: TaskStore, background: Background
    ) -> None:
        self._server = server
        self._registry = registry
        self._store = store
        recalls = Recalls(server, store, background)
        self.claim, self.abandon = recalls.claim, recalls.abandon
        self._lines: dict[bytes, Line] = {}
        self.spawn = background.spawn

    def ask(
        self, wish: Wish, queues: Sequence[Queue], want: int, *, patient: bool, fresh: bool = False
    ) -> None:
        """Puts a wish for `want` more tasks into the lines of its queues, at their ends. One that
        is not `patient` ends when all are dry; `fresh` does not believe that they are, and has each
        asked in its turn.
        """
        wish.want, wish.patient, wish.through = want + wish.asked, patient, False
        if not wish.lines:
            wish.lines = [self._line(queue) for queue in queues]
        for line in wish.lines:
            line.join(wish)
        wish.doubted = set(wish.lines) if fresh else set()
        wish.go_on()

    def _line(self, queue: Queue) -> Line:
        key = work_key(queue)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(queue, self)
        return line

    def part(self, wish: Wish) -> None:
        """It wants nothing for now, and keeps no wake-up from others who would."""
        wish.want = 0
        lines, wish.lines = wish.lines, []
        for line in lines:
            line.leave(wish)

    def fail(self, wish: Wish, error: Exception) -> None:
        """The store failed when it was asked for this one, which asks again when it likes."""
        wish.error = error
        self.part(wish)
        wish.event.set()

    def close(self, wish: Wish) -> None:
        """It wants nothing more; what it was given and did not take goes back."""
        wish.closed = True
        self.part(wish)
        self.give_back(wish.take())

    def forget(self, queue: Queue) -> None:
        """Nobody is left in its line."""
        self._lines.pop(work_key(queue), None)

    def woken(self, key: bytes) -> None:
        """Tasks wait in the queue whose `w` key this is."""
        line = self._lines.get(key)
        if line is not None:
            line.woken()

    def missed(self) -> None:
        """Messages may have been missed."""
        for line in list(self._lines.values()):
            line.look()

    def interrupt(self) -> None:
        """Whoever waits looks up."""
        for line in list(self._lines.values()):
            line.interrupt()

    async def pass_on(self, queue: Queue) -> None:
        """Takes back the wish to be woken, and hands on a wake-up that may have come of it."""
        with contextlib.suppress(CodeQError):
            await self._store.pass_on(queue, self._server)

    async def named(self, queue: Queue, claimed: Claimed) -> Queue:
        """The queue with its number; what was claimed goes back if it cannot be found out."""
        try:
            return await self._registry.find(queue.tenant, queue.command)
        except BaseException:
            leases = [(name, lease_of(raw)[0]) for name, raw, _, _ in claimed.tasks]
            self.abandon(queue, leases)
            raise

    def give_back(self, given: Iterable[Given]) -> None:
        """Returns leases whose worker never got them."""
        for queue, leases in given:
            self.abandon(queue, [(lease.name, lease.fence) for lease in leases])


def _leases(queue: Queue, claimed: Claimed) -> list[Lease]:
    leases = []
    for name, raw, spec, checkpoint in claimed.tasks:
        fence, attempt, most, expire_ms = lease_of(raw)
        ends_in = expire_ms - claimed.now_ms
        leases.append(
            Lease(
                *(queue.task_id(name), name, fence, attempt, most, expire_ms, ends_in),
                *(created_ms(name), spec, checkpoint),
            )
        )
    return leases
