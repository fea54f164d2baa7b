"""What one stream or call wants, and what it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

    from codeq_grpc.broker.lines import Line
    from codeq_grpc.core.records import Lease
    from codeq_grpc.store.keys import Queue


class Given(NamedTuple):
    """Tasks of one queue for one wish."""

    queue: Queue
    leases: list[Lease]


class Wish:
    """What one stream or call wants: `want` tasks at most, of queues in order of preference.

    `event` is set when something was given, when the store failed (`error`), and, for one that
    does not wait, when every queue was asked in vain (`through`). What is given to one that is
    `busy` or closed goes back.
    """

    def __init__(self, claimant: bytes, event: asyncio.Event, *, lease_ms: int, most: int) -> None:
        """A claim leases `most` for it, for `lease_ms` (0: as the tasks say)."""
        self.claimant = claimant
        self.lease_ms = lease_ms
        self.most = most
        self.event = event
        self.lines: list[Line] = []
        self.doubted: set[Line] = set()
        self.want = 0
        self.asked = 0
        self.patient = True
        self.through = False
        self.busy = self.closed = False
        self.given: list[Given] = []
        self.error: Exception | None = None
        self.now_ms = 0

    @property
    def coming(self) -> int:
        """Tasks that it was given, or may be given by claims under way."""
        return self.asked + sum(len(given.leases) for given in self.given)

    def may_ask(self, line: Line) -> bool:
        """Whether none of the lines it prefers to this one may have tasks."""
        for preferred in self.lines:
            if preferred is line:
                return True
            if not preferred.dry or preferred in self.doubted:
                return False
        return False

    def give(self, given: Given) -> None:
        """It has got something, and wants nothing more until it says so."""
        self.given.append(given)
        self.want = 0
        self.event.set()

    def go_on(self) -> None:
        """To the first line that may have tasks, if there is one."""
        for line in self.lines:
            if line in self.doubted:
                self.doubted.discard(line)
                line.look()
            elif not line.dry:
                line.serve()
            if not line.dry:
                return
        if not self.patient and not self.asked:
            self.through = True
            self.event.set()

    def take(self) -> list[Given]:
        """What it was given since."""
        given, self.given = self.given, []
        return given

    def fail(self) -> Exception | None:
        """Why a claim failed, once."""
        error, self.error = self.error, None
        return error
