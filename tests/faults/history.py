"""What clients asked for and what came of it: the only thing that the checkers believe.

Every call is written down before it is sent. A call whose outcome nobody knows (a deadline, a
broken connection, a client that was killed) stays open: it may take effect at any time later,
or never.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

REFUSALS: Final = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
    }
)
"""Statuses by which a server says that nothing was done; all others leave the outcome open."""

OK: Final = "OK"
ENDS: Final = ("complete", "fail", "abandon")
"""Operations that end an attempt."""


def now_ns() -> int:
    """The clock of every history; one for all processes of a machine."""
    return time.monotonic_ns()


@dataclass(slots=True, kw_only=True)
class Operation:
    """One call about one task, or one task of a call about several."""

    op: str
    """enqueue, claim, complete, fail, abandon, heartbeat, cancel, redrive, read."""
    client: str
    start_ns: int
    end_ns: int | None = None
    """None while, or for ever as, nobody knows what came of it."""
    code: str = ""
    """Name of the gRPC status; empty while open."""
    reason: str = ""
    """codeQ's own, e.g. LEASE_LOST."""
    number: int = 0
    """Which of the tasks that producers meant to enqueue, from 1; 0 if none."""
    task: str = ""
    """Its id."""
    fence: int = 0
    attempt: int = 0
    most: int = 0
    """max_attempts."""
    store_ms: int = 0
    """Of a claim, when it was made; of an end that leads to another attempt, when that is due; of a
    read, the end of the task. By the store's clock."""
    expiry_ms: int = 0
    """End of a lease as told by its claim; of a heartbeat, by how much it extends."""
    due_ms: int = 0
    """Of an enqueue and of a claim: the run_time asked for, by the store's clock."""
    delay_ms: int = 0
    """Of an enqueue: the delay asked for."""
    expire_ms: int = 0
    """Of an enqueue: the expire_time asked for."""
    parent: str = ""
    """Of an enqueue: the task that it waits for."""
    capped: bool = False
    """Of a claim: its lease ends with its task, so that `store_ms` is the latest it can be."""
    called: bool = False
    """Of a claim: told by a reply. A stream may break behind its client's back, and its leases go
    back."""
    key: str = ""
    """Concurrency key, or idempotency key of an enqueue."""
    state: str = ""
    """Told in the reply."""
    hash: str = ""
    """Of payload or result."""

    @property
    def ok(self) -> bool:
        """It was carried out."""
        return self.code == OK

    @property
    def refused(self) -> bool:
        """It was not, and never will be."""
        return self.code in REFUSALS

    @property
    def unknown(self) -> bool:
        """It may have been, or may still be."""
        return not self.ok and not self.refused

    @property
    def last_ns(self) -> float:
        """When it took effect at the latest."""
        return float("inf") if self.unknown or self.end_ns is None else self.end_ns


_FIELDS: Final = {field.name: field.default for field in fields(Operation)}


class History:
    """Operations in the order in which they began, and marks of what was done to the system."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.marks: dict[str, int] = {}
        self.wall_ms = time.time_ns() // 1_000_000 - now_ns() // 1_000_000
        """What to add to milliseconds of `now_ns` to have those of the wall clock."""

    def begin(self, op: str, client: str, **about: Any) -> Operation:
        """Writes down a call that is about to be made."""
        operation = Operation(op=op, client=client, start_ns=now_ns(), **about)
        self.add(operation)
        return operation

    def add(self, operation: Operation) -> None:
        """Writes down an operation."""
        self.operations.append(operation)

    def end(self, operation: Operation, code: str, reason: str = "", **told: Any) -> None:
        """Writes down what came of it."""
        for name, value in told.items():
            setattr(operation, name, value)
        operation.code, operation.reason, operation.end_ns = code, reason, now_ns()

    def mark(self, name: str) -> None:
        """Something begins now."""
        self.marks[name] = now_ns()

    def wall_now(self) -> int:
        """The wall clock now, in ms."""
        return self.wall(now_ns())

    def wall(self, ns: float) -> int:
        """A time of an operation on the wall clock, in ms."""
        return int(ns // 1_000_000) + self.wall_ms

    def of(self, *ops: str) -> Iterator[Operation]:
        """Operations of some kinds."""
        return (operation for operation in self.operations if operation.op in ops)

    def between(self, start: str, end: str) -> list[Operation]:
        """Operations that began between two marks."""
        first, last = self.marks[start], self.marks[end]
        return [o for o in self.operations if first <= o.start_ns < last]

    def extend(self, operations: Iterable[Operation]) -> None:
        """Takes in what another process wrote down."""
        self.operations.extend(operations)
        self.operations.sort(key=lambda operation: operation.start_ns)

    def write(self, path: Path) -> None:
        """As JSON lines: marks first, then operations without what is empty."""
        with path.open("w") as file:
            file.write(json.dumps({"marks": self.marks, "wall_ms": self.wall_ms}) + "\n")
            file.writelines(line_of(operation) + "\n" for operation in self.operations)


def line_of(operation: Operation) -> str:
    """One operation as JSON."""
    told = asdict(operation)
    return json.dumps({name: value for name, value in told.items() if value != _FIELDS[name]})


def read_history(path: Path) -> History:
    """What `History.write` wrote."""
    history = History()
    with path.open() as file:
        head = json.loads(file.readline())
        history.marks, history.wall_ms = head["marks"], head["wall_ms"]
        history.operations = [Operation(**json.loads(line)) for line in file]
    return history


class Journal(History):
    """The history of a process that may be killed: each line leaves it at once, on standard
    output, when a call begins and when it ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()
        self._ids: dict[int, int] = {}

    @override
    def add(self, operation: Operation) -> None:
        super().add(operation)  # it must not go: its id is what it is known by
        self._ids[id(operation)] = next(self._numbers)
        self._tell(operation)

    @override
    def end(self, operation: Operation, code: str, reason: str = "", **told: Any) -> None:
        super().end(operation, code, reason, **told)
        self._tell(operation)

    def _tell(self, operation: Operation) -> None:
        print(self._ids[id(operation)], line_of(operation), flush=True)


def read_journal(text: str) -> list[Operation]:
    """The operations of a `Journal`, each as it was last told; a torn last line is left out."""
    told: dict[str, Operation] = {}
    for line in text.splitlines(keepends=True):
        at, _, raw = line.partition(" ")
        if line.endswith("}\n") and at.isdigit():
            told[at] = Operation(**json.loads(raw))
    return list(told.values())
