"""The API as a test sees it: blocking, one call at a time, every error an exception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import grpc

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc
from codeq.v1.queue_pb2 import QueueStats
from codeq.v1.task_pb2 import TASK_VIEW_FULL, Payload, Task, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_TIMEOUT = 20.0


class Api:
    """A connection that waits for its server."""

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.insecure_channel(
            address, options=[("grpc.max_reconnect_backoff_ms", 500)]
        )
        self._stub = codeq_service_pb2_grpc.CodeQServiceStub(self._channel)
        self.metadata = (("authorization", f"Bearer {token}"),)

    def enqueue(self, command: str, payloads: Iterable[bytes]) -> list[str]:
        """Ids, in order, of up to 1000 new tasks."""
        specs = [TaskSpec(command=command, payload=Payload(data=data)) for data in payloads]
        request = pb.BatchEnqueueRequest(tasks=specs, atomic=True)
        response = self._stub.BatchEnqueue(request, timeout=_TIMEOUT, metadata=self.metadata)
        return [result.task_id for result in response.results]

    def claim(self, command: str, *, wait: int) -> list[str]:
        """Ids of the tasks that a waiting claim is answered with."""
        request = pb.ClaimRequest(worker_id="acceptance", commands=[command])
        request.wait.FromSeconds(wait)
        response = self._stub.Claim(request, timeout=wait + 10, metadata=self.metadata)
        return [task.lease.task_id for task in response.tasks]

    def queue(self, command: str) -> QueueStats:
        """Its numbers, all 0 before the first task. Waits for a server that is not there."""
        request = pb.AdminQueuesRequest(commands=[command])
        response = self._stub.AdminQueues(
            request, timeout=_TIMEOUT, metadata=self.metadata, wait_for_ready=True
        )
        return response.queues[0] if response.queues else QueueStats(command=command)

    def task(self, task_id: str) -> Task:
        """Everything about a task."""
        request = pb.GetTaskRequest(task_id=task_id, view=TASK_VIEW_FULL)
        response: pb.GetTaskResponse = self._stub.GetTask(
            request, timeout=_TIMEOUT, metadata=self.metadata, wait_for_ready=True
        )
        return response.task

    def request_id_of_failure(self, request_id: str) -> str:
        """Asks for a task that cannot be; the request id that comes back."""
        try:
            self._stub.GetTask(
                pb.GetTaskRequest(task_id="nobody-has-this-id"),
                timeout=_TIMEOUT,
                metadata=(*self.metadata, ("x-request-id", request_id)),
            )
        except grpc.RpcError as error:
            trailing: Any = error.trailing_metadata()
            return str(dict(trailing)["x-request-id"])
        raise AssertionError("a task that nobody enqueued was found")

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
