"""The ports that all processes listen on; the parent takes them before any process starts.

For gRPC every process binds the port by itself, with SO_REUSEPORT, and the kernel deals out the
connections. The parent's own socket is bound and never listens: it holds the port while no process
runs. For HTTP the parent listens and the processes accept, so that a probe which comes while all
of them start anew is answered late instead of being refused.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING, Final

from codeq_grpc.transport import sockets
from codeq_grpc.transport.addresses import unix_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BACKLOG: Final = 128
_TRIES: Final = 20
"""Ports that the kernel may offer for 0 until one is free at every address of the host."""

_Address = tuple[socket.AddressFamily, str]


def reserve(host: str, port: int, *, share: bool) -> tuple[int, list[socket.socket]]:
    """The port, chosen if it was 0, and the sockets that hold it for whoever sets SO_REUSEPORT.
    Raises OSError when it is in use; `share` allows that others listen there with SO_REUSEPORT.
    """
    # [::] is every address, also those of IPv4, as both gRPC engines have it.
    dual = host.strip("[]") == "::"

    def take(at: _Address, number: int) -> socket.socket:
        return _reserved(at, number, share=share, dual=dual)

    return _at_one_port(host, port, take, "gRPC")


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[tuple[int, list[socket.socket]]]:
    """The port, chosen if it was 0, and sockets that listen while the block runs; on a unix socket
    the port is 0. Raises OSError when it is in use.
    """
    path = unix_path(host)
    with contextlib.ExitStack() as stack:
        if path is None:
            number, taken = _at_one_port(host, port, _listening, "HTTP")
            for sock in taken:
                stack.enter_context(sock)
        else:
            number, taken = 0, [stack.enter_context(sockets.listening(path, "HTTP"))]
        yield number, taken


def _at_one_port(
    host: str, port: int, take: Callable[[_Address, int], socket.socket], what: str
) -> tuple[int, list[socket.socket]]:
    for _ in range(_TRIES):
        with contextlib.ExitStack() as stack:
            number, taken = port, []
            try:
                for at in _addresses(host):
                    taken.append(stack.enter_context(take(at, number)))
                    number = taken[0].getsockname()[1]
            except OSError as error:
                if port == 0 and taken and error.errno == errno.EADDRINUSE:
                    continue
                reason = error.strerror or error
                raise OSError(f"cannot listen on {host}:{port} for {what}: {reason}") from error
            stack.pop_all()
            return number, taken
    raise OSError(f"cannot listen on {host}:{port} for {what}: no port is free")


def _addresses(host: str) -> list[_Address]:
    found = socket.getaddrinfo(
        host.strip("[]") or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return list(dict.fromkeys((family, str(at[0])) for family, _, _, _, at in found))


def _bound(at: _Address, port: int, *options: int, dual: bool) -> socket.socket:
    family, host = at
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not dual))
        sock.bind((host, port))
        stack.pop_all()
        return sock


def _reserved(at: _Address, port: int, *, share: bool, dual: bool) -> socket.socket:
    if port and not share:
        # Refused beside anybody who listens, whatever he has set.
        _bound(at, port, socket.SO_REUSEADDR, dual=dual).close()
    try:
        # Without SO_REUSEADDR, so that the line above sees this one, too, before its processes
        # listen.
        return _bound(at, port, socket.SO_REUSEPORT, dual=dual)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Connections of a server without SO_REUSEPORT that has just ended.
        return _bound(at, port, socket.SO_REUSEADDR, socket.SO_REUSEPORT, dual=dual)


def _listening(at: _Address, port: int) -> socket.socket:
    sock = _bound(at, port, socket.SO_REUSEADDR, dual=False)  # as asyncio does it
    try:
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
