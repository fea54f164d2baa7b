"""What the model knows of one task, and what a producer or a worker says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from codeq_grpc.core.retry import NO_WISHES, RetryWishes
from codeq_grpc.core.task import TERMINAL, UNHELD, Conflict, Ending, TaskState


class Key(NamedTuple):
    """An idempotency key; `payload` stands for the digest."""

    text: str
    payload: int
    ttl_ms: int
    conflict: Conflict


class NewTask(NamedTuple):
    """What a producer asks for; without a delay, or with one below 0, it is for now."""

    size: int = 4
    payload: int = 3
    priority: int | None = 5
    lease_ms: int = 0
    delay_ms: int = 0
    expire_in_ms: int = 0
    timeout_ms: int = 0
    retry: RetryWishes = NO_WISHES
    key: str = ""
    idempotency: Key | None = None
    parents: tuple[bytes, ...] = ()
    """Tasks that have not completed, as the broker gives them on."""
    invalid: bool = False
    """Its payload is not what the queue's schema allows."""


class Outcome(NamedTuple):
    """One report. `delay_ms` None: the policy decides."""

    name: bytes
    fence: int
    ending: Ending
    delay_ms: int | None = None
    no_retry: bool = False
    error_type: str = ""


@dataclass(slots=True)
class ModelTask:
    """One task. `time_ms`: claimable since, due, lease end or end, by its state."""

    name: bytes
    new: NewTask
    state: TaskState
    time_ms: int
    priority: int
    max_attempts: int
    expire_ms: int
    changed_ms: int = 0
    attempt: int = 0
    fence: int = 0
    ending: Ending = Ending.NONE
    since_ms: int = 0
    start_ms: int = 0
    lease_ms: int = 0
    parked: bool = False
    cancelling: bool = False
    has_payload: bool = True
    history: int = 0
    parents: list[bytes] = field(default_factory=list)
    follows: bool = False
    """Its dependencies know of it."""
    followed: bool = False
    owes: bool = False
    """It has ended, and those that follow it have yet to hear of it."""
    put_off_ms: int = 0
    """When it was due, a purge had cancelled it: it is looked at again then."""
    unexpiring: bool = False
    """When it was to expire, a purge had cancelled it."""

    @property
    def key(self) -> str:
        """Its concurrency key."""
        return self.new.key

    @property
    def held(self) -> bool:
        """Whether a worker has it."""
        return self.state == TaskState.IN_PROGRESS

    @property
    def unheld(self) -> bool:
        """Whether it waits for something."""
        return self.state in UNHELD

    @property
    def ended(self) -> bool:
        """Whether it has come to an end."""
        return self.state in TERMINAL
