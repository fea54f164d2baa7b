"""Any RPC of any service of ours, by its name, as the descriptors have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.message_factory import GetMessageClass

from codeq.v1 import admin_service_pb2, codeq_service_pb2, schedule_service_pb2
from tests.support.server import TIMEOUT

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

    from tests.support.server import Caller, Metadata

SERVICE: Final = codeq_service_pb2.DESCRIPTOR.services_by_name["CodeQService"]
ADMIN: Final = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"]
SCHEDULES: Final = schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"]
SERVICES: Final = (SERVICE, ADMIN, SCHEDULES)
METHODS: Final[dict[str, MethodDescriptor]] = {
    name: method for service in SERVICES for name, method in service.methods_by_name.items()
}
"""RPC -> its descriptor; no two services share a name."""
PATHS: Final = {
    name: f"/{method.containing_service.full_name}/{name}" for name, method in METHODS.items()
}
STREAMING: Final = {name for name, method in METHODS.items() if method.server_streaming}


def start(
    caller: Caller,
    rpc: str,
    request: Message,
    *,
    timeout: float | None = TIMEOUT,
    metadata: Metadata = (),
) -> Any:
    """The call object."""
    answer: Any = GetMessageClass(METHODS[rpc].output_type)
    return _start(caller, rpc, timeout, metadata, answer.FromString)(request.SerializeToString())


def start_raw(caller: Caller, rpc: str, raw: bytes, *, timeout: float | None = TIMEOUT) -> Any:
    """The call object of one whose request is these bytes."""
    return _start(caller, rpc, timeout, (), bytes)(raw)


def _start(caller: Caller, rpc: str, timeout: float | None, metadata: Metadata, parse: Any) -> Any:
    channel = caller.channel
    make: Any = channel.unary_stream if rpc in STREAMING else channel.unary_unary
    behaviour = make(PATHS[rpc], request_serializer=bytes, response_deserializer=parse)
    return lambda raw: behaviour(raw, timeout=timeout, metadata=(*caller.metadata, *metadata))


def answer(rpc: str, call: Any) -> Any:
    """What to await of a call: its response, or of a stream its first message."""
    return call.read() if rpc in STREAMING else call


async def ask(caller: Caller, rpc: str, request: Message) -> Any:
    """The response, or the first message; the call is over then."""
    call = start(caller, rpc, request)
    try:
        return await answer(rpc, call)
    finally:
        call.cancel()
