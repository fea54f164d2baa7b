"""A store whose power can be cut, and whose disc can be made to hang.

The store runs with `fsyncrec.c` preloaded, which notes how much of each file has reached the disc.
A power cut is SIGKILL, and then every append-only file loses what had not; what the page cache of
the kernel still holds, as after a mere kill, is gone. Lost are appends: the model knows no writes
out of order and no lost renames.
"""

from __future__ import annotations

import functools
import subprocess
import tempfile
from pathlib import Path

from tests.support.stores import Engine, StoreProcess

_SOURCE = Path(__file__).with_name("fsyncrec.c")
_NEVER_REWRITTEN = ("--auto-aof-rewrite-percentage", "0")
"""A rewrite renames files, of which the recorder knows nothing."""


@functools.cache
def _recorder() -> str:
    folder = tempfile.TemporaryDirectory(prefix="codeq-fsyncrec-")
    _kept.append(folder)
    library = f"{folder.name}/fsyncrec.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""


class PowerStore(StoreProcess):
    """With an append-only file, synced as `fsync` says."""

    def __init__(self, engine: Engine, *, fsync: str = "everysec") -> None:
        folder = tempfile.TemporaryDirectory(prefix="codeq-stall-")
        self._stalls = folder
        self._stall = Path(folder.name) / "stall"
        env = {"LD_PRELOAD": _recorder(), "FSYNCREC_STALL": str(self._stall)}
        options = ("--appendfsync", fsync, *_NEVER_REWRITTEN)
        super().__init__(engine, aof=True, options=options, env=env)

    def stall(self) -> None:
        """From now on no sync ends."""
        self._stall.touch()

    def flow(self) -> None:
        """Syncs end again."""
        self._stall.unlink(missing_ok=True)

    def cut(self) -> int:
        """Power is gone; how many bytes of its files with it."""
        self.kill()
        return sum(map(_cut_back, self.files()))

    def files(self) -> list[Path]:
        """The append-only files."""
        return sorted((self.data / "appendonlydir").glob("appendonly.aof.*.incr.aof"))

    def close(self) -> None:
        self.flow()
        super().close()
        self._stalls.cleanup()


def _cut_back(path: Path) -> int:
    note = path.with_name(f".durable.{path.name}")
    durable = int(note.read_text() or 0) if note.exists() else 0  # empty: just being made
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(min(size, durable))
    return max(0, size - durable)
