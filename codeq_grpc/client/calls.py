"""One way to call: credential and request id on every call, exceptions instead of statuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from codeq_grpc.client import channel as channels, errors
from codeq_grpc.client.flows import Call
from codeq_grpc.core.errors import CodeQError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from google.protobuf.message import Message

    from codeq_grpc.client.flows import Flow, Response, Step, T


class Calls:
    """Calls of one channel; `timeout` in seconds for those that name none."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        token: str | None,
        timeout: float,
        wait_for_ready: bool | None,
    ) -> None:
        self._channel = channel
        self._token = token
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}

    async def run(self, flow: Flow[T]) -> T:
        """Runs a flow to its result.

        Raises:
            CodeQError: A call failed, and the flow did not know better.
        """
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._take(step)
                except CodeQError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _take(self, step: Step) -> Message | None:
        if isinstance(step, Call):
            return await self._unary(step)
        await asyncio.sleep(step.seconds)
        return None

    async def _unary(self, call: Call) -> Message:
        limit = (self._timeout if call.timeout is None else call.timeout) + call.wait
        metadata, request_id = channels.metadata(self._token)
        try:
            return await self._method(call)(
                call.request, timeout=limit, metadata=metadata, wait_for_ready=self._wait_for_ready
            )
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error, request_id) from error

    async def stream(
        self, method: str, request: Message, response: Callable[[], Response]
    ) -> AsyncGenerator[Response]:
        """The messages of a server stream, without a deadline; closing it cancels the call.

        Raises:
            CodeQError: The stream failed.
        """
        metadata, request_id = channels.metadata(self._token)
        multi: grpc.aio.UnaryStreamMultiCallable[Message, Response] = self._channel.unary_stream(
            channels.path(method),
            request_serializer=channels.serialize,
            response_deserializer=channels.parser(response),
        )
        call = multi(request, metadata=metadata, wait_for_ready=self._wait_for_ready)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error, request_id) from error
        finally:
            call.cancel()

    def _method(self, call: Call) -> grpc.aio.UnaryUnaryMultiCallable[Message, Message]:
        if call.method not in self._methods:
            self._methods[call.method] = self._channel.unary_unary(
                channels.path(call.method),
                request_serializer=channels.serialize,
                response_deserializer=channels.parser(call.response),
            )
        return self._methods[call.method]
