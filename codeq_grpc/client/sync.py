"""A client for programs that are not asynchronous, such as plain web applications.

Threads may share one. A program that forks makes its client whenever it likes but forks before
the first call: the channel is opened by that call, so that every process has its own, and gRPC
does not survive a fork once it works. (With GRPC_ENABLE_FORK_SUPPORT=true in the environment
it may; then, too, the child opens a channel of its own.)
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from codeq_grpc.client import (
    api_keys,
    batches,
    channel as channels,
    ends,
    enqueues,
    errors,
    selections,
    trails,
)
from codeq_grpc.client.connection import DEFAULT_TARGET
from codeq_grpc.client.flows import Call
from codeq_grpc.client.specs import spec
from codeq_grpc.client.sync_scheduling import SyncScheduling
from codeq_grpc.core import limits
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Unpack

    from google.protobuf.message import Message

    from codeq.v1 import codeq_service_pb2 as pb
    from codeq.v1.admin_service_pb2 import ApiKey, AuditEvent, CreateApiKeyResponse
    from codeq.v1.task_pb2 import Task, TaskSpec
    from codeq_grpc.client.flows import Flow, Step, T
    from codeq_grpc.client.selections import CancelTotal
    from codeq_grpc.client.specs import Span, SpecOptions

_CLOSED: Final = "the client is closed"


class SyncClient(SyncScheduling):
    """Adds tasks, looks at them, waits for them and cancels them, in the caller's thread; also
    makes API keys and schedules.

    ```python
    client = SyncClient("127.0.0.1:50051", token="cq_...")
    task_id = client.enqueue("greet", {"name": "Ada"}).task_id
    print(client.result(task_id, timeout=60))
    ```

    Arguments and errors are those of `Client`. A `channel` that is given is used instead of
    one of the client's own, and left open by `close`. The client may be a context manager; one
    that lives as long as its process need not be closed.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 30.0,
        wait_for_ready: bool | None = None,
        options: channels.Options = (),
        channel: grpc.Channel | None = None,
    ) -> None:
        self.target = target
        self._token = channels.checked(token)
        self._credentials = credentials
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._options = options
        self._given = channel
        self._opened: grpc.Channel | None = None
        self._inherited: grpc.Channel | None = None
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[Message, Message]] = {}
        self._closed = False
        self._lock = threading.Lock()
        _clients.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; calls in flight in other threads are cancelled."""
        with self._lock:
            self._closed = True
            channel, self._opened = self._opened, None
            self._methods = {}
        if channel is not None:
            channel.close()

    def enqueue(
        self, command: str, payload: object = b"", **options: Unpack[SpecOptions]
    ) -> pb.EnqueueResponse:
        """As `Client.enqueue`."""
        return self.enqueue_spec(spec(command, payload, **options))

    def enqueue_spec(self, task: TaskSpec) -> pb.EnqueueResponse:
        """As `Client.enqueue_spec`."""
        return self._run(enqueues.enqueue(task, self._timeout))

    def enqueue_many(
        self,
        specs: Iterable[TaskSpec],
        *,
        atomic: bool = False,
        batch_size: int = batches.DEFAULT_TASKS,
    ) -> Iterator[pb.EnqueueResponse | CodeQError]:
        """As `Client.enqueue_many`; each batch is read when the one before it was yielded.

        Nothing is sent before the first result is asked for.
        """
        flow = batches.cut(specs, tasks=limits.BATCH_TASKS if atomic else batch_size)
        if atomic:
            batch = batches.whole(flow)
            flow = iter([batch] if batch else [])
        for batch in flow:
            yield from self._run(enqueues.enqueue_batch(batch, self._timeout, atomic=atomic))

    def get_task(self, task_id: str, *, full: bool = False, wait: Span | None = None) -> Task:
        """As `Client.get_task`."""
        return self._run(ends.get_task(task_id, full=full, wait=wait))

    def wait_for_end(self, task_id: str, timeout: Span | None = None, *, full: bool = True) -> Task:
        """As `Client.wait_for_end`."""
        return self._run(ends.wait_for_end(task_id, timeout, full=full, patience=self._timeout))

    def result(self, task_id: str, timeout: Span | None = None) -> object:
        """As `Client.result`."""
        return self._run(ends.result(task_id, timeout, patience=self._timeout))

    def cancel(self, task_ids: str | Iterable[str], reason: str = "") -> CancelTotal:
        """As `Client.cancel`."""
        return self._run(selections.cancel(task_ids, reason))

    def audit_events(self, *, page_size: int = 200) -> Iterator[AuditEvent]:
        """As `Client.audit_events`."""
        token = ""
        while True:
            page = self._run(trails.audit_page(page_size, token))
            yield from page.events
            if not (token := page.next_page_token):
                return

    def create_api_key(
        self,
        name: str,
        *,
        roles: Iterable[str] = (),
        scopes: Iterable[str] = (),
        commands: Iterable[str] = (),
        ttl: Span | None = None,
    ) -> CreateApiKeyResponse:
        """As `Client.create_api_key`."""
        flow = api_keys.create(name, roles=roles, scopes=scopes, commands=commands, ttl=ttl)
        return self._run(flow)

    def api_keys(self) -> list[ApiKey]:
        """As `Client.api_keys`."""
        return self._run(api_keys.every())

    def revoke_api_key(self, key_id: str, reason: str = "") -> None:
        """As `Client.revoke_api_key`."""
        self._run(api_keys.revoke(key_id, reason))

    def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._take(step)
                except CodeQError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: Step) -> Message | None:
        if isinstance(step, Call):
            return self._unary(step)
        time.sleep(step.seconds)
        return None

    def _unary(self, call: Call) -> Message:
        limit = (self._timeout if call.timeout is None else call.timeout) + call.wait
        metadata, request_id = channels.metadata(self._token)
        # Only what was chosen: not every kind of channel knows this argument.
        ready: dict[str, Any] = {}
        if self._wait_for_ready is not None:
            ready["wait_for_ready"] = self._wait_for_ready
        try:
            return self._method(call)(call.request, timeout=limit, metadata=metadata, **ready)
        except grpc.RpcError as error:
            # The stub does not know that its metadata are pairs.
            raise errors.from_call(error, request_id) from error  # type: ignore[arg-type]
        except ValueError as error:
            if self._closed:  # between the lines above
                raise RuntimeError(_CLOSED) from error
            raise

    def _method(self, call: Call) -> grpc.UnaryUnaryMultiCallable[Message, Message]:
        with self._lock:
            if self._closed:
                raise RuntimeError(_CLOSED)
            if call.method not in self._methods:
                self._methods[call.method] = self._channel().unary_unary(
                    channels.path(call.method),
                    request_serializer=channels.serialize,
                    response_deserializer=channels.parser(call.response),
                )
            return self._methods[call.method]

    def _channel(self) -> grpc.Channel:
        if self._given is not None:
            return self._given
        if self._opened is None:
            self._opened = channels.open_sync_channel(self.target, self._credentials, self._options)
        return self._opened

    def _forked(self) -> None:
        """Begins anew in a child. The parent's channel is kept: its end would be gRPC's work."""
        self._lock = threading.Lock()
        self._inherited, self._opened = self._opened, None
        if self._given is None:
            self._methods = {}


_clients: weakref.WeakSet[SyncClient] = weakref.WeakSet()


def _forked() -> None:
    for client in _clients:
        client._forked()  # noqa: SLF001 - its own module


os.register_at_fork(after_in_child=_forked)
