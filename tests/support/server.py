"""A real codeQ server in this process, and callers with every kind of credential."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq.v1 import codeq_service_pb2 as pb, codeq_service_pb2_grpc as services, task_pb2
from codeq_grpc.app import App
from codeq_grpc.core.principal import ROLES
from codeq_grpc.identity_settings import TokenEntry
from codeq_grpc.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from codeq.v1.queue_pb2 import QueueStats
    from codeq_grpc.app import Ports
    from tests.support.stores import StoreProcess

TENANTS: Final = ("acme", "rival")
LIMITED: Final = "-of-render"
"""After a role's name: one that is limited to the command RENDER."""
TIMEOUT: Final = 10.0
"""Seconds of patience with what should take none."""

Metadata = tuple[tuple[str, str], ...]


def token_of(tenant: str, role: str) -> str:
    """The token that every server of tests knows."""
    return f"{tenant}.{role}.token"


def bearer(tenant: str, role: str) -> Metadata:
    """The metadata that carries it."""
    return (("authorization", f"Bearer {token_of(tenant, role)}"),)


def _entry(tenant: str, role: str) -> TokenEntry:
    digest = hashlib.sha256(token_of(tenant, role).encode()).hexdigest()
    return TokenEntry(
        sha256=digest,
        subject=f"{role} of {tenant}",
        tenant=tenant,
        roles=(role.removesuffix(LIMITED),),
        commands=("REN*",) if role.endswith(LIMITED) else (),
    )


def settings_for(store: StoreProcess, **more: Any) -> Settings:
    """Free ports, all tokens, and a drain that a test can wait for."""
    known = (*ROLES, *(role + LIMITED for role in ROLES))
    entries = tuple(_entry(tenant, role) for tenant in TENANTS for role in known)
    given = {
        "redis_url": store.url,
        "durability": store.durability,
        "grpc_engine": store.engine.grpc,
        "grpc_port": 0,
        "http_port": 0,
        "drain_seconds": 5.0,
        "max_failures_per_second": 1_000_000,
        "system_tenant": "",
    }
    return Settings(**{**given, "tokens": entries, **more})


async def eventually(
    check: Callable[[], Awaitable[object] | object], within: float = TIMEOUT
) -> None:
    """Returns once `check` gives something true; fails after `within` seconds."""
    try:
        async with asyncio.timeout(within):
            while True:
                found = check()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not come true within {within} s") from None


class Caller:
    """Calls with one credential."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata) -> None:
        self.channel = channel
        self.metadata = metadata
        self._stub = services.CodeQServiceStub(channel)

    def start(
        self, rpc: str, request: Any, *, timeout: float | None = TIMEOUT, metadata: Metadata = ()
    ) -> Any:
        """The call object of any RPC of the queue."""
        behaviour = getattr(self._stub, rpc)
        return behaviour(request, timeout=timeout, metadata=(*self.metadata, *metadata))

    async def enqueue(self, command: str = "RENDER", data: bytes = b"", **spec: Any) -> str:
        """Id of a new task."""
        task = task_pb2.TaskSpec(command=command, **spec)
        if data:
            task.payload.data = data
        response: pb.EnqueueResponse = await self.start("Enqueue", pb.EnqueueRequest(task=task))
        return response.task_id

    async def enqueue_many(self, count: int, command: str = "RENDER", **spec: Any) -> list[str]:
        """Ids of new tasks; the payload of each is its number."""
        specs = [task_pb2.TaskSpec(command=command, **spec) for _ in range(count)]
        for number, task in enumerate(specs):
            task.payload.data = b"%d" % number
        request = pb.BatchEnqueueRequest(tasks=specs, atomic=True)
        response: pb.BatchEnqueueResponse = await self.start("BatchEnqueue", request)
        return [result.task_id for result in response.results]

    async def claim(
        self,
        *commands: str,
        most: int = 1,
        wait: float = 0,
        lease: float | None = None,
        worker: str = "w",
        timeout: float | None = TIMEOUT,
    ) -> list[task_pb2.ClaimedTask]:
        """What a Claim gave."""
        request = pb.ClaimRequest(
            worker_id=worker, commands=commands or ("RENDER",), max_tasks=most
        )
        if wait:
            request.wait.FromTimedelta(timedelta(seconds=wait))
        if lease is not None:
            request.lease_duration.FromTimedelta(timedelta(seconds=lease))
        response: pb.ClaimResponse = await self.start("Claim", request, timeout=timeout)
        return list(response.tasks)

    async def claim_one(
        self, *commands: str, wait: float = 0, lease: float | None = None, worker: str = "w"
    ) -> task_pb2.ClaimedTask:
        """The one task there is."""
        (task,) = await self.claim(*commands, most=2, wait=wait, lease=lease, worker=worker)
        return task

    async def complete(self, task: task_pb2.ClaimedTask, data: bytes = b"") -> None:
        """Ends a task well."""
        result = task_pb2.Payload(data=data)
        await self.start("Complete", pb.CompleteRequest(lease=task.lease, result=result))

    async def fail(self, task: task_pb2.ClaimedTask, **error: Any) -> pb.FailResponse:
        """Ends an attempt badly."""
        request = pb.FailRequest(lease=task.lease, error=task_pb2.TaskError(**error))
        response: pb.FailResponse = await self.start("Fail", request)
        return response

    async def abandon(self, task: task_pb2.ClaimedTask, delay: float | None = None) -> None:
        """Gives a lease back."""
        request = pb.AbandonRequest(lease=task.lease)
        if delay is not None:
            request.delay.FromTimedelta(timedelta(seconds=delay))
        await self.start("Abandon", request)

    async def heartbeat(
        self, *tasks: task_pb2.ClaimedTask, extend: float | None = None
    ) -> list[pb.Directive]:
        """Directives about these leases."""
        request = pb.HeartbeatRequest()
        for task in tasks:
            item = request.leases.add(lease=task.lease)
            if extend is not None:
                item.extend.FromTimedelta(timedelta(seconds=extend))
        response: pb.HeartbeatResponse = await self.start("Heartbeat", request)
        return list(response.directives)

    async def task(self, task_id: str, *, full: bool = False, wait: float = 0) -> task_pb2.Task:
        """A stored task."""
        view = task_pb2.TASK_VIEW_FULL if full else task_pb2.TASK_VIEW_BASIC
        request = pb.GetTaskRequest(task_id=task_id, view=view)
        if wait:
            request.wait.FromTimedelta(timedelta(seconds=wait))
        response: pb.GetTaskResponse = await self.start("GetTask", request, timeout=wait + TIMEOUT)
        return response.task

    async def state(self, task_id: str) -> str:
        """Its state, without the prefix that all names share."""
        found = await self.task(task_id)
        return task_pb2.TaskState.Name(found.state).removeprefix("TASK_STATE_")

    async def stats(self, command: str = "RENDER") -> QueueStats:
        """Numbers of one queue."""
        request = pb.AdminQueuesRequest(commands=[command])
        response: pb.AdminQueuesResponse = await self.start("AdminQueues", request)
        (stats,) = response.queues
        return stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One that runs."""

    app: App
    ports: Ports
    channel: grpc.aio.Channel

    @property
    def address(self) -> str:
        """Of gRPC."""
        return f"127.0.0.1:{self.ports.grpc}"

    @property
    def native(self) -> bool:
        """Whether pygrpc-native speaks HTTP/2; docs/operations.md tells where it differs."""
        return self.app.engine.name == "native"

    def caller(self, tenant: str = "acme", role: str = "admin") -> Caller:
        """Somebody with a token."""
        return Caller(self.channel, bearer(tenant, role))

    def stranger(self, *metadata: tuple[str, str]) -> Caller:
        """Somebody with that metadata only."""
        return Caller(self.channel, metadata)


@contextlib.asynccontextmanager
async def running_server(store: StoreProcess, **settings: Any) -> AsyncIterator[Server]:
    """A server while the block runs, and a channel to it."""
    app = App(settings_for(store, **settings))
    async with app.running() as ports:
        address = f"127.0.0.1:{ports.grpc}"
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            yield Server(app=app, ports=ports, channel=channel)
