"""Where one server is reached: gRPC and HTTP, by TCP with TLS or without, or by unix sockets."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from codeq_grpc.rpc.listening import bound
from codeq_grpc.transport import sockets
from codeq_grpc.transport.addresses import joined, shown, unix_path
from codeq_grpc.transport.certificates import Files, ServerCertificate

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import grpc

    from codeq_grpc.gateway.app import Gateway
    from codeq_grpc.rpc.listening import Bound
    from codeq_grpc.settings import Settings


class Entrances:
    """Those that the settings name. Raises BadCertificate."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._certificate: ServerCertificate | None = None
        certificate, key = settings.tls_cert_file, settings.tls_key_file
        if certificate is not None and key is not None:
            files = Files(certificate, key, settings.tls_client_ca_file)
            self._certificate = ServerCertificate(files)

    def work(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What has to go on while the server runs."""
        return () if self._certificate is None else (self._certificate.run,)

    def grpc(self, server: grpc.aio.Server) -> contextlib.AbstractContextManager[Bound]:
        """Binds a server while the block runs. Raises OSError."""
        settings = self._settings
        certificate = self._certificate if settings.grpc_tls else None
        return bound(server, settings.grpc_host, settings.grpc_port, certificate)

    @contextlib.asynccontextmanager
    async def http(
        self, gateway: Gateway, listeners: Sequence[socket.socket]
    ) -> AsyncIterator[int]:
        """Runs a gateway while the block runs, on `listeners` if there are any; gives its port.
        Raises OSError.
        """
        settings = self._settings
        host, port, path = settings.http_host, settings.http_port, unix_path(settings.http_host)
        tls = self._certificate.context if self._certificate and settings.http_tls else None
        async with contextlib.AsyncExitStack() as stack:
            if path is not None and not listeners:
                listeners = [stack.enter_context(sockets.listening(path, "HTTP"))]
            running = gateway.running(host, port, listeners, tls)
            try:
                taken = await stack.enter_async_context(running)
            except OSError as error:
                told = "is it in use? --http-port names another"
                message = f"cannot listen on {joined(host, port)} for HTTP: {told}"
                raise OSError(message) from error
            yield taken

    def shown(self, grpc_port: int, http_port: int) -> dict[str, str]:
        """Where each protocol is spoken, and how, for people."""
        settings = self._settings
        return {
            "grpc": shown("grpcs" if settings.grpc_tls else "grpc", settings.grpc_host, grpc_port),
            "http": shown("https" if settings.http_tls else "http", settings.http_host, http_port),
        }
