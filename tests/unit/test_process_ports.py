"""The ports of several servers: held by the parent, shared with nobody by accident."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from codeq_grpc.processes.ports import listen, reserve

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
ANY = ("0.0.0.0", "::", "[::]", "")  # noqa: S104 - the point


@contextlib.contextmanager
def bound(port: int, *options: int, listening: bool = True) -> Iterator[int]:
    """A socket of somebody's; its port."""
    with socket.socket() as sock:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        sock.bind((HOST, port))
        if listening:
            sock.listen()
        yield sock.getsockname()[1]


@contextlib.contextmanager
def reserved(host: str = HOST, port: int = 0, *, share: bool = False) -> Iterator[int]:
    """As the parent holds it."""
    port, held = reserve(host, port, share=share)
    with contextlib.ExitStack() as stack:
        for sock in held:
            stack.enter_context(sock)
        yield port


def test_a_reserved_port_is_for_those_who_share_it_and_takes_no_connections() -> None:
    with reserved() as port:
        with socket.socket() as client:
            assert client.connect_ex((HOST, port)) != 0
        shared = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
        with bound(port, *shared) as one, bound(port, *shared) as other:
            assert one == other == port
            with socket.create_connection((HOST, port)):
                pass
        with pytest.raises(OSError, match="in use"), bound(port, socket.SO_REUSEADDR):
            pass


@pytest.mark.parametrize(
    "options",
    [
        (),
        (socket.SO_REUSEADDR,),
        (socket.SO_REUSEPORT,),
        (socket.SO_REUSEADDR, socket.SO_REUSEPORT),
    ],
)
def test_a_port_with_a_listener_is_refused_whatever_he_allows(options: tuple[int, ...]) -> None:
    with (
        bound(0, *options) as port,
        pytest.raises(OSError, match=rf"cannot listen on {HOST}:{port} for gRPC: Address already"),
        reserved(port=port),
    ):
        pass


def test_a_port_that_another_parent_holds_is_refused_before_its_processes_listen() -> None:
    with reserved() as port, pytest.raises(OSError, match="in use"), reserved(port=port):
        pass


def test_whoever_asks_for_a_shared_port_gets_one() -> None:
    with (
        reserved(share=True) as port,
        bound(port, socket.SO_REUSEADDR, socket.SO_REUSEPORT),
        reserved(port=port, share=True) as same,
    ):
        assert same == port


def test_connections_of_a_server_that_has_just_ended_are_no_hindrance() -> None:
    with bound(0, socket.SO_REUSEADDR, listening=False) as port:
        pass
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((HOST, port))
        server.listen()
        with socket.create_connection((HOST, port)) as client:
            server.accept()[0].close()  # the first to close is left in TIME_WAIT
            assert client.recv(1) == b""
    with pytest.raises(OSError, match="in use"), bound(port):
        pass
    with reserved(port=port) as same:
        assert same == port


@pytest.mark.parametrize("host", ["localhost", *(ANY if socket.has_dualstack_ipv6() else ANY[:1])])
def test_port_0_is_one_port_at_all_addresses_of_a_host(host: str) -> None:
    with reserved(host) as port, pytest.raises(OSError, match="in use"), bound(port):
        pass


def test_http_listens_at_once_and_is_not_shared() -> None:
    with listen(HOST, 0) as (port, (sock,)), socket.create_connection((HOST, port)):
        assert sock.getsockname() == (HOST, port)
        taken = rf"cannot listen on {HOST}:{port} for HTTP: Address"
        with pytest.raises(OSError, match=taken), listen(HOST, port):
            pass
        with pytest.raises(OSError, match="in use"), bound(port, socket.SO_REUSEPORT):
            pass


def test_a_host_that_is_not_there_is_named() -> None:
    def listened(host: str, port: int) -> None:
        with listen(host, port):
            pass

    for take in (listened, lambda host, port: reserve(host, port, share=False)):
        with pytest.raises(OSError, match=r"cannot listen on 203\.0\.113\.1:1234 for "):
            take("203.0.113.1", 1234)
        with pytest.raises(OSError, match=r"cannot listen on no\.such\.invalid:1 for "):
            take("no.such.invalid", 1)
