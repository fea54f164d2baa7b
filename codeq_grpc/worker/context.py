"""What a handler is given."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from codeq_grpc.client.payloads import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codeq.v1.task_pb2 import ClaimedTask


class TaskContext:
    """One attempt of one task.

    `lost` is set when the lease is lost: another worker may have the task, whatever this
    attempt still does is in vain and its end is not reported. An asynchronous handler is
    cancelled then; a handler that runs in a thread looks at `lost.is_set()` itself.
    """

    __slots__ = ("_task", "lost")

    def __init__(self, task: ClaimedTask) -> None:
        self._task = task
        self.lost = asyncio.Event()

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

    def json(self) -> object:
        """The payload parsed as JSON, whatever its content type; ValueError if it is none."""
        return json.loads(self.payload)

    def value(self) -> object:
        """The payload by its content type: JSON parsed, text as str, anything else bytes."""
        return decode(self._task.spec.payload)

    def __repr__(self) -> str:
        return f"<task {self.task_id} {self.command} attempt {self.attempt}>"
