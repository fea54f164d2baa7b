"""What speaks HTTP/2: grpcio, or pygrpc-native, which does it in Rust outside the GIL.

Both take the same servicers and interceptors. `docs/operations.md` tells where they differ.
"""

from __future__ import annotations

import importlib
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import grpc

from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.transport.addresses import is_local

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    Interceptors = Sequence[grpc.aio.ServerInterceptor]
    Options = Sequence[tuple[str, Any]]

_NOT_NATIVE: Final = frozenset({"grpc.max_connection_idle_ms"})
"""What pygrpc-native refuses: it keeps idle connections, and asks them whether they live."""
_OVER_GRPCIO: Final = ("/grpc.reflection.",)
"""Methods with streams of requests, which pygrpc-native hands to a grpcio server behind it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Makes servers. `eager` are the methods of which it reads the request before it asks the
    interceptors.
    """

    name: str
    make: Callable[[Interceptors, Options], grpc.aio.Server]
    eager: Container[str] = ()


def _grpcio(interceptors: Interceptors, options: Options) -> grpc.aio.Server:
    return grpc.aio.server(interceptors=interceptors, options=options)


def _native(interceptors: Interceptors, options: Options) -> grpc.aio.Server:
    aio = importlib.import_module("pygrpc_native.aio")  # not on every platform
    supported = [(name, value) for name, value in options if name not in _NOT_NATIVE]
    server: grpc.aio.Server = aio.server(interceptors=interceptors, options=supported)
    return server


def choose(name: str, host: str, *, tls: bool = False) -> Engine:
    """The engine called native or grpcio. `auto` takes native where it is installed and only this
    machine can connect: it takes in a message of any size before it is refused, also a stranger's.
    It knows no TLS. Raises ImportError.
    """
    installed = importlib.util.find_spec("pygrpc_native") is not None
    fit = installed and is_local(host) and not tls
    if name == "grpcio" or (name == "auto" and not fit):
        return Engine("grpcio", _grpcio)
    if tls:
        raise ImportError("CODEQ_GRPC_ENGINE=native has no TLS; take grpcio, or auto")
    if not installed:
        raise ImportError("CODEQ_GRPC_ENGINE=native needs the package pygrpc-native")
    eager = frozenset(m for m in PERMISSIONS if not m.startswith(_OVER_GRPCIO))
    return Engine("native", _native, eager)


def readers(most: int) -> ThreadPoolExecutor:
    """Threads for `most` streams whose readers are behind: pygrpc-native waits for each in one of
    the loop's own executor, which has so few that some slow readers would hold up all others.
    """
    return ThreadPoolExecutor(most + 32, "codeq-write")
