"""A client's way to its server: a channel that is opened, used and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Self

import grpc

from codeq_grpc.client import channel as channels
from codeq_grpc.client.calls import Calls
from codeq_grpc.client.errors import ServerUnavailable
from codeq_grpc.client.specs import Span, seconds

if TYPE_CHECKING:
    from types import TracebackType

    from codeq_grpc.client.flows import Flow, T

DEFAULT_TARGET: Final = "127.0.0.1:50051"
_NOT_OPEN: Final = "the client is not open: use `async with Client(...) as client`"


class Connection:
    """Opens and closes the channel; an asynchronous context manager."""

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 30.0,
        wait_for_ready: bool | None = None,
        options: channels.Options = (),
    ) -> None:
        self.target = target
        self._token = channels.checked(token)
        self._credentials = credentials
        self._timeout = timeout
        self._wait_for_ready = wait_for_ready
        self._options = options
        self._channel: grpc.aio.Channel | None = None
        self._calls: Calls | None = None

    async def __aenter__(self) -> Self:
        # Here and not in __init__: a channel belongs to the running loop.
        self._channel = channels.open_channel(self.target, self._credentials, self._options)
        self._calls = Calls(
            self._channel,
            token=self._token,
            timeout=self._timeout,
            wait_for_ready=self._wait_for_ready,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        channel, self._channel, self._calls = self._channel, None, None
        if channel is not None:
            await channel.close()

    async def ready(self, timeout: Span) -> None:
        """Waits until there is a connection.

        Raises:
            ServerUnavailable: There is none within `timeout`.
        """
        if self._channel is None:
            raise RuntimeError(_NOT_OPEN)
        try:
            async with asyncio.timeout(seconds(timeout)):
                await self._channel.channel_ready()
        except TimeoutError:
            raise ServerUnavailable(f"no server answers at {self.target}") from None

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        if self._channel is None:
            return False
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    @property
    def _call(self) -> Calls:
        if self._calls is None:
            raise RuntimeError(_NOT_OPEN)
        return self._calls

    async def _run(self, flow: Flow[T]) -> T:
        return await self._call.run(flow)
