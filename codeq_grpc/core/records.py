"""What passes between the rooms about one task: plain tuples, cheap to make.

Times are Unix milliseconds of the store's clock. Specs, results, errors, progress and checkpoints
are serialised messages that no room but `wire` opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from codeq_grpc.core.retry import RetryWishes
    from codeq_grpc.core.task import Conflict, Ending


class Idempotency(NamedTuple):
    """A key, 16 bytes of digest of the payload, how long the key lives (0: as long as the task
    is kept), and what happens on a match.
    """

    key: str
    digest: bytes
    ttl_ms: int
    conflict: Conflict


class NewTask(NamedTuple):
    """A checked spec. `when` is 0 for now, a time in ms, or minus a delay in ms; `priority` None,
    `lease_ms` 0 and `retry` None take the queue's; `expire_ms` and `timeout_ms` 0 are no limit.
    `spec` lacks the payload, `payload` is that field of the spec as it is on the wire.
    """

    command: str
    spec: bytes
    payload: bytes
    priority: int | None = None
    lease_ms: int = 0
    when: int = 0
    retry: RetryWishes | None = None
    expire_ms: int = 0
    timeout_ms: int = 0
    idempotency: Idempotency | None = None
    concurrency_key: str = ""
    depends_on: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    path: str = "task"
    """Where the spec stands in the request, for errors."""


class Outcome(NamedTuple):
    """How a worker says that an attempt ended. `text` is the result or the error; `short` is the
    error for the history if `text` is too long for that, `error_type` its type. `delay_ms` None
    leaves it to the retry policy.
    """

    task_id: str
    fence: int
    ending: Ending
    text: bytes = b""
    delay_ms: int | None = None
    no_retry: bool = False
    error_type: str = ""
    short: bytes = b""


class Beat(NamedTuple):
    """A heartbeat. `extend_ms` 0 is the length of the claim; progress and checkpoint are empty
    when nothing new is told.
    """

    task_id: str
    fence: int
    extend_ms: int = 0
    progress: bytes = b""
    checkpoint: bytes = b""


class Lease(NamedTuple):
    """A claimed task on its way to a worker; `name` is the store's for it."""

    task_id: str
    name: bytes
    fence: int
    attempt: int
    max_attempts: int
    expire_ms: int
    lease_ms: int
    create_ms: int
    spec: bytes
    checkpoint: bytes = b""


class Attempt(NamedTuple):
    """One claim and how it ended; `end_ms` 0 while it runs, `error` empty if it did not fail."""

    number: int
    fence: int
    worker_id: str
    start_ms: int
    end_ms: int
    error: bytes


class Record(NamedTuple):
    """A stored task; messages are empty when there is none, or when they were not asked for."""

    task_id: str
    state: int
    attempt: int
    worker_id: str
    time_ms: int
    update_ms: int
    create_ms: int
    cancel_requested: bool
    spec: bytes
    error: bytes
    progress: bytes
    result: bytes
    checkpoint: bytes
    attempts: list[Attempt]


class Filter(NamedTuple):
    """Which tasks of a queue; all must hold. Times in ms, 0 is no bound; empty is no condition."""

    command: str
    states: frozenset[int] = frozenset()
    labels: tuple[tuple[str, str], ...] = ()
    worker_id: str = ""
    created_from_ms: int = 0
    created_before_ms: int = 0
    error_prefix: bytes = b""
