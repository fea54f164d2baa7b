"""Every key, and the ids that route to them.

A queue shard has a fixed set of keys under one hash tag,
`codeq:{<tenant>/<command>/<shard>}:<suffix>`; no key is made per task. A task id is 18
url-safe characters: 8 for queue number and shard, 10 for the task's number, which is also its
7 byte name inside the queue's keys.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import a2b_base64
from dataclasses import dataclass, field
from typing import Final

SUFFIXES: Final = (
    *("s", "w", "h", "m", "b", "o", "z", "l", "y", "t", "d", "c", "a", "e", "g"),
    *("u", "ux", "v", "k", "kw", "p", "f", "x"),
    *(f"r{priority}" for priority in range(10)),
)
"""Settings, waiting servers, what servers claimed last, meta rows, bodies, outcomes; by state:
scheduled, leases, blocked, completed, dead letters, cancelled, expired ("aged"); expire times,
waited-for tasks; idempotency keys and the ends of their windows, values of labels, concurrency
keys and who waits for them, parents of blocked tasks, followers of tasks, outbox; the pending
lists by priority."""

REGISTRY: Final = tuple(
    f"codeq:{{registry}}:{key}" for key in ("last", "numbers", "names", "order")
)
API_KEYS: Final = {s: f"codeq:{{api:keys}}:{s}" for s in ("rows", "tenants", "ends", "used")}
"""Rows by id; tenant/time made, id: lexical; ends of those that end; minutes of last use. No tenant
has a name with a colon.
"""
QUEUES: Final = 1 << 40
"""Numbers of queues are below this: ids have 5 bytes for them."""
CALENDAR: Final = (*("s", "m", "b", "h", "d", "t", "v", "f", "g", "o", "p", "x", "k", "kx", "w"),)
"""Clock; rows and current versions of schedules by id; versions before by number and version;
ids by number; when to look at each; terms it is found by; firings by place (number and fire time)
and the places in order; places and ids of firings that are open by name, and their names by number;
outbox; what request keys made, and when those are forgotten; what deleted schedules left."""
PROBE: Final = "codeq:{probe}:writable"
STAMP: Final = "codeq:{probe}:stamp"
EPOCH_MS: Final = 1_704_067_200_000
"""2024-01-01; numbers of queues and tasks count from it."""
_ID: Final = re.compile(r"[A-Za-z0-9_-]{17}[AQgw]")
_STANDARD: Final = str.maketrans("-_", "+/")
_PREFIX_CHARS: Final = 8


def live_key(tenant: str) -> str:
    """What servers tell of a tenant's workers."""
    return f"codeq:{{{tenant}}}:live"


def trail_keys(tenant: str) -> tuple[str, ...]:
    """The audit trail of a tenant: what operators did, what was denied, what all others did."""
    trail = f"codeq:{{{tenant}}}:audit"
    return trail, f"{trail}:denials", f"{trail}:calls"


def wake_channel(server: str) -> str:
    """Where a server hears of work and of ended tasks."""
    return f"codeq:wake:{server}"


@dataclass(frozen=True, slots=True)
class Queue:
    """One shard of one queue of one tenant; `number` is 0 until its first task."""

    tenant: str
    command: str
    number: int = 0
    shard: int = 0
    keys: dict[str, bytes] = field(init=False, repr=False, compare=False)
    prefix: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tag = f"codeq:{{{self.tenant}/{self.command}/{self.shard}}}"
        object.__setattr__(self, "keys", {s: f"{tag}:{s}".encode() for s in SUFFIXES})
        object.__setattr__(self, "prefix", _prefix(self.number, self.shard))

    def __str__(self) -> str:
        return f"queue {self.tenant}/{self.command}"

    def task_id(self, name: bytes) -> str:
        """The id that callers see of a task's 7 byte name."""
        return self.prefix + urlsafe_b64encode(name)[:10].decode()


@dataclass(frozen=True, slots=True)
class Calendar:
    """The schedules of one tenant. It has a number as queues have, so that firings have ids like
    tasks, by which they follow them.
    """

    tenant: str
    number: int = 0
    keys: dict[str, bytes] = field(init=False, repr=False, compare=False)
    prefix: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        head = f"codeq:{{{self.tenant}}}:schedules"
        object.__setattr__(self, "keys", {s: f"{head}:{s}".encode() for s in CALENDAR})
        object.__setattr__(self, "prefix", _prefix(self.number, 0))

    def __str__(self) -> str:
        return f"the calendar of {self.tenant}"

    def firing_id(self, name: bytes) -> str:
        """The id by which the firing of a 7 byte name follows its task."""
        return self.prefix + urlsafe_b64encode(name)[:10].decode()


def _prefix(number: int, shard: int) -> str:
    return urlsafe_b64encode(number.to_bytes(5, "big") + shard.to_bytes(1, "big")).decode()


def parse_task_id(task_id: str) -> tuple[str, bytes] | None:
    """Prefix and name of a task id; None when it cannot be one. Of the spellings that base64 would
    take, only the one without spare bits is an id.
    """
    if not _ID.fullmatch(task_id):
        return None
    return task_id[:_PREFIX_CHARS], a2b_base64(task_id[_PREFIX_CHARS:].translate(_STANDARD) + "==")


def parse_prefix(prefix: str) -> tuple[int, int]:
    """Queue number and shard of the prefix of a task id."""
    routing = urlsafe_b64decode(prefix)
    return int.from_bytes(routing[:5], "big"), routing[5]


def created_ms(name: bytes) -> int:
    """When a task was enqueued, which its name tells."""
    return (int.from_bytes(name, "big") >> 12) + EPOCH_MS
