"""A store on a disc of its own that can be filled: a tmpfs of 2 MiB, where that may be mounted."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

from tests.faults.power_store import PowerStore
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from tests.support.stores import Engine

WAYS: Final = ("tmpfs", "preload") if os.geteuid() == 0 else ("preload",)
"""A file system that is full, or a library that says so in the kernel's place, for who is not
root.
"""


class TmpfsStore(StoreProcess):
    """Its data lie on a small file system; what else it fills is one file."""

    def __init__(self, engine: Engine, *, fsync: str) -> None:
        super().__init__(engine, aof=True, options=("--appendfsync", fsync))
        command = ["mount", "-t", "tmpfs", "-o", "size=2m", "codeq-test", str(self.data)]
        subprocess.run(command, check=True)
        self._ballast = self.data / "ballast"

    def fill(self) -> None:
        """Not a byte is left."""
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def mend(self) -> None:
        """There is room again."""
        self._ballast.unlink()

    def close(self) -> None:
        """Ends it and its file system."""
        self.stop()
        subprocess.run(["umount", str(self.data)], check=True)
        super().close()


def small_disc(engine: Engine, way: str, fsync: str) -> TmpfsStore | PowerStore:
    """Not yet started."""
    make = TmpfsStore if way == "tmpfs" else PowerStore
    return make(engine, fsync=fsync)
