"""A primary and its replica, set up as the level D4 asks for."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Self

from tests.support.admin import Admin
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from types import TracebackType

    from tests.support.stores import Engine

_ONLINE_SECONDS = 30.0


class Replica:
    """Both run within a `with` statement, connected."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        listening = ("--bind", "127.0.0.1", "--port", port, "--repl-diskless-sync-delay", "0")
        always = ("--appendfsync", "always")
        insisting = (*always, "--min-replicas-to-write", "1")
        self.primary = StoreProcess(engine, aof=True, options=(*listening, *insisting))
        following = (*always, "--replicaof", f"127.0.0.1 {port}")
        self.replica = StoreProcess(engine, aof=True, options=following)
        self._both = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._both.enter_context(self.primary)
        self._both.enter_context(self.replica)
        self.settle()
        return self

    def settle(self) -> None:
        """Returns when the replica follows, after a pause, too."""
        deadline = time.monotonic() + _ONLINE_SECONDS
        with Admin(self.primary.socket_path) as admin:
            while not self._follows(admin):
                assert time.monotonic() < deadline, "the replica does not follow"
                time.sleep(0.02)

    def _follows(self, admin: Admin) -> bool:
        """On its disc, too, where that can be asked: it begins by writing a new file."""
        if b"state=online" not in admin.call("INFO", "replication"):
            return False
        admin.call("SET", "follows", "1")
        if self._engine.name == "valkey":
            _, replicas = admin.call("WAITAOF", 0, 1, 100)
        else:
            replicas = admin.call("WAIT", 1, 100)
        return bool(replicas == 1)

    def resume(self) -> None:
        """Ends a pause of the replica; returns when it follows."""
        self.replica.resume()
        self.settle()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for store in (self.replica, self.primary):
            store.kill()  # in order they would wait for each other
        self._both.close()
