"""What passes between the rooms about one task: plain tuples, cheap to make.

Times are Unix milliseconds of the store's clock. Specs, results and errors are serialised
messages that no room but `wire` opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from codeq_grpc.core.retry import RetryPolicy
    from codeq_grpc.core.task import Ending


class NewTask(NamedTuple):
    """A checked spec. `when` is 0 for now, a time in ms, or minus a delay in ms; `lease_ms` 0
    and `retry` None take the server's defaults.
    """

    command: str
    priority: int
    lease_ms: int
    when: int
    retry: RetryPolicy | None
    spec: bytes


class Outcome(NamedTuple):
    """How a worker says that an attempt ended. `delay_ms` None leaves it to the retry policy."""

    task_id: str
    fence: int
    ending: Ending
    text: bytes = b""
    delay_ms: int | None = None
    no_retry: bool = False


class Lease(NamedTuple):
    """A claimed task on its way to a worker."""

    task_id: str
    fence: int
    attempt: int
    max_attempts: int
    expire_ms: int
    lease_ms: int
    create_ms: int
    spec: bytes


class Record(NamedTuple):
    """A stored task; `error` and `result` are empty when there is none."""

    task_id: str
    state: int
    attempt: int
    worker_id: str
    time_ms: int
    update_ms: int
    create_ms: int
    spec: bytes
    error: bytes
    result: bytes
