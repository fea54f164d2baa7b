"""What a handler is given."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from codeq_grpc.client.payloads import decode
from codeq_grpc.worker.cancellation import CancelToken, Flag
from codeq_grpc.worker.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codeq.v1.task_pb2 import ClaimedTask, LeaseRef, Payload, Progress


class TaskContext:
    """One attempt of one task.

    `lost` is set when the lease is lost: another worker may have the task, whatever this
    attempt still does is in vain and its end is not reported. An asynchronous handler is
    cancelled then; a handler that runs in a thread looks at `lost.is_set()` itself.

    `cancelled` is set when somebody has cancelled the task while the lease holds. An
    asynchronous handler is cancelled then, too; one in a thread calls
    `cancelled.raise_if_cancelled()` from time to time. The task ends as CANCELLED, unless the
    handler returns all the same: then it is COMPLETED.

    A handler in a process is told by `cancelled` like one in a thread. It never sees `lost`: its
    process is ended.
    """

    __slots__ = ("_task", "_tell", "cancelled", "lost")

    def __init__(
        self, task: ClaimedTask, tell: Callable[[LeaseRef, Progress], object] | None = None
    ) -> None:
        self._task = task
        self._tell = tell
        self.cancelled = CancelToken()
        self.lost = Flag()

    @property
    def claimed(self) -> ClaimedTask:
        """The task as the server has sent it."""
        return self._task

    @property
    def task_id(self) -> str:
        """Id of the task."""
        return self._task.lease.task_id

    @property
    def fence(self) -> int:
        """Number of this claim; it grows, so that stores downstream can refuse older ones."""
        return self._task.lease.fence

    @property
    def command(self) -> str:
        """Kind of work."""
        return self._task.spec.command

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._task.attempt

    @property
    def max_attempts(self) -> int:
        """Attempts allowed."""
        return self._task.max_attempts

    @property
    def payload(self) -> bytes:
        """The bytes of the payload."""
        return self._task.spec.payload.data

    @property
    def content_type(self) -> str:
        """Media type of the payload; empty means JSON."""
        return self._task.spec.payload.content_type

    @property
    def headers(self) -> Mapping[str, str]:
        """What the producer sent along."""
        return self._task.spec.headers

    @property
    def checkpoint(self) -> Payload | None:
        """The last checkpoint that an earlier attempt has told."""
        return self._task.checkpoint if self._task.HasField("checkpoint") else None

    def checkpoint_value(self) -> object:
        """The checkpoint by its content type, as `value`; None if there is none."""
        return decode(self._task.checkpoint)

    def json(self) -> object:
        """The payload parsed as JSON, whatever its content type; ValueError if it is none."""
        return json.loads(self.payload)

    def value(self) -> object:
        """The payload by its content type: JSON parsed, text as str, anything else bytes."""
        return decode(self._task.spec.payload)

    async def progress(self, fraction: float, message: str = "", checkpoint: object = None) -> None:
        """Tells how far the work is, from 0 to 1, and lets other tasks of the loop run.

        Does not wait: the progress goes out with a heartbeat, soon and at most once a second,
        the latest of them. `checkpoint` is what `encode` takes, 256 KiB at most: the next
        attempt finds the latest one, if this attempt does not complete.

        Raises:
            PayloadTooLarge: The checkpoint is.
            TypeError, ValueError: The checkpoint has no JSON form, or `fraction` is none.
        """
        self.tell_progress(fraction, message, checkpoint)
        await asyncio.sleep(0)

    def tell_progress(self, fraction: float, message: str = "", checkpoint: object = None) -> None:
        """As `progress`, from any thread."""
        self.relay(progress(fraction, message, checkpoint))

    def relay(self, told: Progress) -> None:
        """As `tell_progress`, of a ready message, which is not looked at; for the worker."""
        if self._tell is not None:
            with contextlib.suppress(RuntimeError):  # the worker's loop is gone: nobody to tell
                self._tell(self._task.lease, told)

    def __repr__(self) -> str:
        return f"<task {self.task_id} {self.command} attempt {self.attempt}>"
