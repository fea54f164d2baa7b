"""A store whose power can be cut, and whose disc can hang or be full.

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
from typing import TYPE_CHECKING, Final

from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from tests.support.stores import Engine

_SOURCE: Final = Path(__file__).with_name("fsyncrec.c")
_NEVER_REWRITTEN: Final = ("--auto-aof-rewrite-percentage", "0")
"""A rewrite renames files, of which the recorder knows nothing."""


@functools.cache
def _recorder() -> tempfile.TemporaryDirectory[str]:
    """Where the library is; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="codeq-fsyncrec-")
    library = f"{folder.name}/fsyncrec.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", library, str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return folder


class PowerStore(StoreProcess):
    """With an append-only file, synced as `fsync` says."""

    def __init__(self, engine: Engine, *options: str, fsync: str = "everysec") -> None:
        self._faults = tempfile.TemporaryDirectory(prefix="codeq-disc-")
        self._stall, self._full = (Path(self._faults.name) / name for name in ("stall", "full"))
        env = {
            "LD_PRELOAD": f"{_recorder().name}/fsyncrec.so",
            "FSYNCREC_STALL": str(self._stall),
            "FSYNCREC_FULL": str(self._full),
        }
        options = ("--appendfsync", fsync, *_NEVER_REWRITTEN, *options)
        super().__init__(engine, aof=True, options=options, env=env)

    def stall(self) -> None:
        """From now on no sync ends."""
        self._stall.touch()

    def fill(self) -> None:
        """From now on files take no more."""
        self._full.touch()

    def mend(self) -> None:
        """Syncs end, and there is room."""
        self._stall.unlink(missing_ok=True)
        self._full.unlink(missing_ok=True)

    def cut(self) -> int:
        """Power is gone; how many bytes of its files with it."""
        self.kill()
        return sum(map(_cut_back, self.files()))

    def files(self) -> list[Path]:
        """The append-only files, the one being written last."""
        return sorted((self.data / "appendonlydir").glob("appendonly.aof.*.incr.aof"))

    def close(self) -> None:
        """Ends it, even if it hangs."""
        self.mend()
        super().close()
        self._faults.cleanup()


def _cut_back(path: Path) -> int:
    note = path.with_name(f".durable.{path.name}")
    # Empty when it was just being made.
    durable = int(note.read_text() or 0) if note.exists() else 0
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(min(size, durable))
    return max(0, size - durable)
