"""Takes the place where gRPC listens, and keeps a way in for the gateway."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import grpc

from codeq_grpc.transport import sockets
from codeq_grpc.transport.addresses import joined, unix_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.transport.certificates import Pair, ServerCertificate


class Bound(NamedTuple):
    """`port` is 0 on a unix socket. `inside` is where this machine's programs, or those of this
    user, speak to it in plain text.
    """

    port: int
    inside: str


@contextlib.contextmanager
def bound(
    server: grpc.aio.Server, host: str, port: int, certificate: ServerCertificate | None
) -> Iterator[Bound]:
    """Holds the place while the block runs; with `certificate`, TCP speaks TLS, and the way in is a
    socket that only this user can open. Raises OSError when the place is taken.
    """
    with contextlib.ExitStack() as stack:
        path = unix_path(host)
        if path is not None:
            stack.enter_context(sockets.held(path, "gRPC"))
            yield Bound(0, _add_socket(server, path))
        elif certificate is None:
            taken = _add(server, joined(host, port), None)
            yield Bound(taken, joined("127.0.0.1" if _is_any(host) else host, taken))
        else:
            taken = _add(server, joined(host, port), certificate)
            yield Bound(taken, _add_socket(server, stack.enter_context(sockets.private_path())))


def _add_socket(server: grpc.aio.Server, path: str) -> str:
    with sockets.for_owner_and_group():
        _add(server, f"unix:{path}", None)
    return f"unix:{path}"


def _add(server: grpc.aio.Server, address: str, certificate: ServerCertificate | None) -> int:
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, _credentials(certificate))
    except RuntimeError as error:
        told = "is it in use? --grpc-port names another"
        raise OSError(f"cannot listen on {address} for gRPC: {told}") from error


def _credentials(certificate: ServerCertificate) -> grpc.ServerCredentials:
    """Those of the latest pair. gRPC asks before every handshake, in a thread of its own."""
    given = certificate.pair

    def latest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        pair = certificate.pair
        if pair is given:
            return None
        given = pair
        return _configuration(pair)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        latest,  # type: ignore[arg-type]  # None, too: as before
        # gRPC's Python can ask all clients for a certificate or none.
        require_client_authentication=bool(given.contents.client_ca),
    )


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    contents = pair.contents
    return grpc.ssl_server_certificate_configuration(
        [(contents.key, contents.certificate)], root_certificates=contents.client_ca or None
    )


def _is_any(host: str) -> bool:
    return host in {"0.0.0.0", "[::]", "::", ""}  # noqa: S104 - recognises, does not bind
