"""Flows that look at one task and wait for its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.client import errors
from codeq_grpc.client.errors import DeadlineExceeded
from codeq_grpc.client.flows import OUTAGES, Patience, Pause, call
from codeq_grpc.client.payloads import decode
from codeq_grpc.client.specs import Span, duration, seconds
from codeq_grpc.core import clock, limits
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from codeq_grpc.client.flows import Flow

ENDED: Final = frozenset(
    {
        task_pb2.TASK_STATE_COMPLETED,
        task_pb2.TASK_STATE_FAILED,
        task_pb2.TASK_STATE_CANCELLED,
        task_pb2.TASK_STATE_EXPIRED,
    }
)
"""The states that a task stays in, unless it is redriven."""
_WAIT_MAX: Final = limits.WAIT_MAX_MS / 1000
_FOREVER: Final = float("inf")
_SLACK: Final = 0.1
"""What a call may take beyond the caller's deadline, so that not the call's comes first."""
_POLL_PAUSE: Final = Pause(0.05)
"""Against a server that answers at once, as one does that is about to stop."""


def get_task(
    task_id: str, *, full: bool, wait: Span | None = None, timeout: float | None = None
) -> Flow[task_pb2.Task]:
    """Reads a task; `timeout` replaces the client's."""
    view = task_pb2.TASK_VIEW_FULL if full else task_pb2.TASK_VIEW_BASIC
    request = pb.GetTaskRequest(task_id=task_id, view=view)
    held = 0.0
    if wait is not None:
        request.wait.CopyFrom(duration(wait))
        held = seconds(wait)
    response = yield from call("GetTask", request, pb.GetTaskResponse, timeout=timeout, wait=held)
    return response.task


def wait_for_end(
    task_id: str, timeout: Span | None, *, full: bool, patience: float
) -> Flow[task_pb2.Task]:
    """Looks again and again until the task has ended; sits out outages of `patience` seconds.

    Raises:
        DeadlineExceeded: It has not ended within `timeout`.
    """
    limit = _FOREVER if timeout is None else seconds(timeout)
    until = clock.monotonic() + limit
    while True:
        cause = None
        try:
            task = yield from _outlast(task_id, until, full=full, patience=patience)
            if task.state in ENDED:
                return task
        except (DeadlineExceeded, *OUTAGES) as error:
            if clock.monotonic() < until:
                raise
            cause = error
        if clock.monotonic() >= until:
            raise DeadlineExceeded(f"task {task_id} has not ended within {limit:g} s") from cause
        yield _POLL_PAUSE


def result(task_id: str, timeout: Span | None, *, patience: float) -> Flow[object]:
    """Waits for the end of a task and decodes its result.

    Raises:
        TaskFailed: It ended without one.
    """
    task = yield from wait_for_end(task_id, timeout, full=True, patience=patience)
    if task.state != task_pb2.TASK_STATE_COMPLETED:
        raise errors.of_task(task)
    return decode(task.result)


def _outlast(task_id: str, until: float, *, full: bool, patience: float) -> Flow[task_pb2.Task]:
    """Asks once, again and again through an outage, but not beyond `until`."""
    outage: Patience | None = None
    while True:
        left = max(0.0, until - clock.monotonic())
        # After a failure the first answer matters: the outage is over with it.
        wait = 0.0 if outage else min(_WAIT_MAX, left)
        timeout = min(patience, left - wait + _SLACK)
        try:
            return (yield from get_task(task_id, full=full, wait=wait, timeout=timeout))
        except CodeQError as error:
            outage = outage or Patience(patience)
            pause = outage.pause(error)
            if clock.monotonic() >= until:
                raise
        yield Pause(min(pause.seconds, left))
