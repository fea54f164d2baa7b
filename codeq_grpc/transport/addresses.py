"""Where a server listens, as its settings say it."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_UNIX: Final = re.compile(r"unix:(?://(?=/))?(.*)", re.DOTALL)
_PATH: Final = re.compile(r"/[^/\0](?:[^\0]*[^/\0])?")
PATH_BYTES: Final = 100
"""The kernel's limit is 108 with its ending, on macOS 104."""


def unix_path(host: str) -> str | None:
    """The path of a unix socket, written `unix:///path` or `unix:/path`; None for other hosts."""
    found = _UNIX.fullmatch(host)
    return found.group(1) if found else None


def check_host(host: str) -> str:
    """The host itself. Raises ValueError when it is no place to listen at."""
    path = unix_path(host)
    if path is not None:
        if not _PATH.fullmatch(path):
            raise ValueError("must be unix:///PATH with an absolute path of a socket")
        if len(path.encode()) > PATH_BYTES:
            raise ValueError(f"the path of a unix socket may have {PATH_BYTES} bytes at most")
    return host


def is_local(host: str) -> bool:
    """Whether only this machine can connect. A name is local only if it is `localhost`: what
    others lead to may change.
    """
    if unix_path(host) is not None:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def joined(host: str, port: int) -> str:
    """Host and port, e.g. `[::1]:50051`."""
    bare = host.strip("[]")
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def shown(scheme: str, host: str, port: int) -> str:
    """An address for people, e.g. `https://127.0.0.1:8080`."""
    path = unix_path(host)
    return f"{scheme}://{joined(host, port)}" if path is None else f"unix://{path}"
