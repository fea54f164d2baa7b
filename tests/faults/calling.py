"""Calls of one client to several servers: raw stubs, nothing repeated, every outcome told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from codeq.v1 import admin_service_pb2_grpc, codeq_service_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2_000),
]
_DETAILS: Final = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call."""

    code: str
    reason: str
    message: Any = None
    """The response, when there is one."""
    text: str = ""


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """codeQ's own reason in an error; empty when no codeQ server made it."""
    raw = dict(error.trailing_metadata() or ()).get(_DETAILS)
    info = error_details_pb2.ErrorInfo()
    if isinstance(raw, bytes):
        try:
            details = status_pb2.Status.FromString(raw).details
        except DecodeError:
            return ""
        if any(detail.Unpack(info) for detail in details) and info.domain == "codeq":
            return str(info.reason)
    return ""


class Client:
    """One caller. It begins `at` one of the servers, and turns to the next one after an outcome
    that is unknown.
    """

    def __init__(self, name: str, addresses: Sequence[str], token: str, at: int = 0) -> None:
        self.name = name
        self.metadata = (("authorization", f"Bearer {token}"),)
        self._addresses = list(addresses)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._retired: list[grpc.aio.Channel] = []
        self._at = at % len(self._addresses)

    @property
    def _channel(self) -> grpc.aio.Channel:
        address = self._addresses[self._at]
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=_OPTIONS)
        return self._channels[address]

    def start(self, rpc: str, request: Any, timeout: float | None) -> Any:
        """The call object of any RPC, sent to the server of the moment."""
        service = codeq_service_pb2_grpc.CodeQServiceStub(self._channel)
        stub = service if hasattr(service, rpc) else _admin(self._channel)
        return getattr(stub, rpc)(request, timeout=timeout, metadata=self.metadata)

    async def ask(self, rpc: str, request: Any, *, timeout: float = 4.0) -> Answer:
        """One call, sent once."""
        try:
            return Answer("OK", "", await self.start(rpc, request, timeout))
        except grpc.aio.AioRpcError as error:
            answer = Answer(error.code().name, reason_of(error), text=error.details() or "")
        if answer.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNKNOWN", "INTERNAL"}:
            self.turn_away(hung=answer.code == "DEADLINE_EXCEEDED")
        return answer

    def turn_away(self, *, hung: bool = False) -> None:
        """To the next server; a connection that may be dead is used no more, but by the calls that
        are under way.
        """
        channel = self._channels.pop(self._addresses[self._at], None) if hung else None
        self._at = (self._at + 1) % len(self._addresses)
        if channel is not None:
            self._retired.append(channel)

    async def until(self, rpc: str, request: Any, *, within: float) -> Any:
        """The response, once there is one: for calls that may be repeated."""
        answer = Answer("", "")
        try:
            async with asyncio.timeout(within):
                while (answer := await self.ask(rpc, request)).code != "OK":
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{rpc} not within {within:g} s: {answer}") from None
        return answer.message

    async def close(self) -> None:
        """Ends its connections."""
        for channel in (*self._channels.values(), *self._retired):
            await channel.close()
        self._channels.clear()
        self._retired.clear()


def _admin(channel: grpc.aio.Channel) -> Any:
    return admin_service_pb2_grpc.AdminServiceStub(channel)


def code_name(number: int) -> str:
    """The name of a gRPC status."""
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)
