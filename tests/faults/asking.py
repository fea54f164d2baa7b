"""What the n-th task of a run asks for and what a worker does with it, fixed by the seed."""

from __future__ import annotations

import hashlib
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codeq.v1 import task_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

NUMBER: Final = "n"
"""Header that carries the number of a task through its life, after its payload is gone."""
PER_KEY: Final = 2
"""max_in_progress_per_key of the queue."""
ATTEMPTS: Final = 60
"""max_attempts of the queue: more than faults use up."""
_SIZES: Final = (0, 20, 200, 2_000)


def digest(data: bytes) -> str:
    """Short name of bytes."""
    return hashlib.sha256(data).hexdigest()[:16]


def ms_of(time: Timestamp) -> int:
    """A protobuf time in Unix ms; 0 when unset."""
    return time.seconds * 1000 + time.nanos // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task that a producer means to enqueue."""

    number: int
    spec: task_pb2.TaskSpec
    delay_ms: int
    due_ms: int
    expire_ms: int
    attempts: int
    """max_attempts, 0 if it leaves that to its queue."""


class Asking:
    """Makes the tasks of one run."""

    def __init__(self, queue: str, seed: int, *, leases: tuple[int, int] = (1, 2)) -> None:
        self.queue = queue
        self.seed = seed
        self._leases = leases
        self.poison = 0.0
        """Share of the tasks asked for from now on that end whoever handles them."""
        self._poisonous: set[int] = set()

    def _dice(self, *about: object) -> random.Random:
        return random.Random(f"{self.seed}:{':'.join(map(str, about))}")

    def ask(self, number: int, wall_ms: int) -> Asked:
        """The task of that number."""
        dice = self._dice(number)
        spec = task_pb2.TaskSpec(command=self.queue, headers={NUMBER: str(number)})
        spec.payload.data = self.payload(number)
        spec.lease_duration.FromSeconds(dice.randint(*self._leases))
        delay_ms = due_ms = attempts = 0
        if dice.random() < 0.3:
            spec.idempotency_key = f"k{number}"
        if dice.random() < 0.2:
            spec.concurrency_key = f"c{dice.randrange(4)}"
        if dice.random() < 0.2:
            spec.priority = dice.choice((2, 7, 9))
        kind = dice.random()
        if kind < 0.07:
            delay_ms = dice.randint(50, 900)
            spec.delay.FromMilliseconds(delay_ms)
        elif kind < 0.14:
            due_ms = wall_ms + dice.randint(50, 900)
            spec.run_time.FromMilliseconds(due_ms)
        expire_ms = 0
        if self.is_unlucky(number) or dice.random() < 0.015:
            expire_ms = wall_ms + dice.randint(1_200, 2_500)
            spec.expire_time.FromMilliseconds(expire_ms)
        if self.poison and dice.random() < self.poison:
            self._poisonous.add(number)
        if number in self._poisonous or self.is_hopeless(number):
            attempts = spec.retry_policy.max_attempts = dice.randint(1, 3)
            spec.retry_policy.initial_backoff.FromMilliseconds(50)
        return Asked(
            number=number,
            spec=spec,
            delay_ms=delay_ms,
            due_ms=due_ms,
            expire_ms=expire_ms,
            attempts=attempts,
        )

    def payload(self, number: int) -> bytes:
        """Bytes that tell whose they are and that they are whole."""
        dice = self._dice("payload", number)
        body = b"%d:%d:" % (self.seed, number) + dice.randbytes(dice.choice(_SIZES))
        return hashlib.sha256(body).digest() + body

    def is_hopeless(self, number: int) -> bool:
        """Whether no worker ever ends it well."""
        return self._dice("hopeless", number).random() < 0.04

    def is_unlucky(self, number: int) -> bool:
        """Whether most of its attempts fail, till it expires."""
        return self._dice("unlucky", number).random() < 0.015

    def manner(self, number: int, fence: int) -> str:
        """What a worker does with a claim: complete, fail, abandon, extend, late or vanish."""
        if number in self._poisonous:
            return "vanish"
        dice = self._dice("manner", number, fence)
        if self.is_hopeless(number):
            return "fail" if dice.random() < 0.8 else "late"
        if self.is_unlucky(number):
            return "fail" if dice.random() < 0.94 else "complete"
        weights = {"complete": 80, "fail": 7, "abandon": 6, "extend": 4, "late": 3}
        return dice.choices(list(weights), list(weights.values()))[0]


def number_in(spec: task_pb2.TaskSpec) -> int:
    """The number that a delivered task says it has; 0 if none."""
    text = spec.headers.get(NUMBER, "")
    return int(text) if re.fullmatch(r"[1-9]\d*", text) else 0


def is_whole(payload: bytes, number: int) -> bool:
    """Whether these are the bytes of that task."""
    hashed, body = payload[:32], payload[32:]
    return hashlib.sha256(body).digest() == hashed and body.split(b":")[1:2] == [b"%d" % number]
