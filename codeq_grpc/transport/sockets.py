"""Unix sockets to listen on: for the owner and the group, and one server each.

A server that was killed leaves its socket behind, and nobody can tell by looking at it. So who
listens holds a lock on a file beside it, which ends with the process; the file stays, since
removing it could take it from somebody who has just come.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codeq_grpc.transport.addresses import PATH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOT_FOR_OTHERS: Final = 0o117
"""Leaves 0660."""
_LOCK_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW
_BACKLOG: Final = 128
_IN_USE: Final = "a server listens there"


@contextlib.contextmanager
def held(path: str, what: str) -> Iterator[None]:
    """The right to listen at `path` for `what`, where nothing is any more, while the block runs.
    Raises OSError when somebody listens there, or it is something else than a socket.
    """
    with contextlib.ExitStack() as stack:
        try:
            lock = os.open(f"{path}.lock", _LOCK_FLAGS, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_dead(path)
        except OSError as error:
            why = _IN_USE if isinstance(error, BlockingIOError) else error.strerror
            raise OSError(f"cannot listen on {path} for {what}: {why}") from error
        yield


@contextlib.contextmanager
def for_owner_and_group() -> Iterator[None]:
    """Sockets that are made in this block have mode 0660 from their first moment."""
    before = os.umask(_NOT_FOR_OTHERS)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def listening(path: str, what: str) -> Iterator[socket.socket]:
    """A socket that listens at `path` while the block runs. Raises OSError as `held` does."""
    with held(path, what), socket.socket(socket.AF_UNIX) as sock:
        with for_owner_and_group():
            sock.bind(path)
        sock.listen(_BACKLOG)
        try:
            yield sock
        finally:
            Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def private_path() -> Iterator[str]:
    """Where only this user's programs can connect, for a socket of ours. Raises OSError when there
    is no place for it.
    """
    with tempfile.TemporaryDirectory(prefix="codeq-", ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "s")
        if len(path.encode()) > PATH_BYTES:
            raise OSError(f"TMPDIR is too long for a socket: {path}")
        yield path


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.ENOTSOCK, "what is there is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        else:
            raise OSError(errno.EADDRINUSE, _IN_USE)
