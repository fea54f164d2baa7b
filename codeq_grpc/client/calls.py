"""One way to call: credential and request id on every call, exceptions instead of statuses."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, TypeVar

import grpc

from codeq_grpc.client import channel as channels, errors

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from google.protobuf.message import Message

    from codeq_grpc.core.errors import CodeQError

Request = TypeVar("Request", bound="Message")
Response = TypeVar("Response", bound="Message")


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
        self._authorization = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Message]] = {}

    async def unary(
        self,
        method: str,
        request: Request,
        response: Callable[[], Response],
        *,
        timeout: float | None = None,
        wait: float = 0.0,
    ) -> Response:
        """Calls `method`; `response` is its response class.

        The deadline is `timeout` seconds plus `wait`, the time the server may take on purpose.

        Raises:
            CodeQError: The call failed.
        """
        limit = (self._timeout if timeout is None else timeout) + wait
        metadata, request_id = self._metadata()
        try:
            return await self._unary(method, response)(
                request, timeout=limit, metadata=metadata, wait_for_ready=self._wait_for_ready
            )
        except grpc.aio.AioRpcError as error:
            raise _translated(error, request_id) from error

    async def stream(
        self, method: str, request: Request, response: Callable[[], Response]
    ) -> AsyncGenerator[Response]:
        """The messages of a server stream, without a deadline; closing it cancels the call.

        Raises:
            CodeQError: The stream failed.
        """
        metadata, request_id = self._metadata()
        multi: grpc.aio.UnaryStreamMultiCallable[Request, Response] = self._channel.unary_stream(
            f"/{channels.SERVICE}/{method}",
            request_serializer=_serialize,
            response_deserializer=_parser(response),
        )
        call = multi(request, metadata=metadata, wait_for_ready=self._wait_for_ready)
        try:
            async for message in call:
                yield message
        except grpc.aio.AioRpcError as error:
            raise _translated(error, request_id) from error
        finally:
            call.cancel()

    def _unary(
        self, method: str, response: Callable[[], Response]
    ) -> grpc.aio.UnaryUnaryMultiCallable[Message, Response]:
        if method not in self._methods:
            self._methods[method] = self._channel.unary_unary(
                f"/{channels.SERVICE}/{method}",
                request_serializer=_serialize,
                response_deserializer=_parser(response),
            )
        return self._methods[method]  # type: ignore[return-value]  # one response class a method

    def _metadata(self) -> tuple[tuple[tuple[str, str], ...], str]:
        request_id = uuid.uuid4().hex
        return (*self._authorization, ("x-request-id", request_id)), request_id


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()


def _parser(response: Callable[[], Response]) -> Callable[[bytes], Response]:
    parse: Callable[[bytes], Response] = response.FromString  # type: ignore[attr-defined]
    return parse


def _translated(error: grpc.aio.AioRpcError, request_id: str) -> CodeQError:
    translated = errors.from_call(error)
    translated.add_note(f"request id: {request_id}")
    return translated
