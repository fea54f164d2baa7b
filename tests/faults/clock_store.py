"""A store whose clock can be set, while the machine's goes on."""

from __future__ import annotations

import functools
import mmap
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from tests.support.stores import Engine

_SOURCE: Final = Path(__file__).with_name("clockstep.c")
_OFF: Final = struct.Struct("q")


@functools.cache
def _library() -> tempfile.TemporaryDirectory[str]:
    """Where it is; removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="codeq-clockstep-")
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", f"{folder.name}/clockstep.so", str(_SOURCE)]
    subprocess.run(command, check=True)
    return folder


class ClockStore(StoreProcess):
    """Its `TIME` is the machine's and `off_ms`."""

    def __init__(self, engine: Engine) -> None:
        self._off = tempfile.NamedTemporaryFile(prefix="codeq-clock-")  # noqa: SIM115 - as long as it
        self._off.write(_OFF.pack(0))
        self._off.flush()
        self._shared = mmap.mmap(self._off.fileno(), _OFF.size)
        library = f"{_library().name}/clockstep.so"
        env = {"LD_PRELOAD": library, "CLOCKSTEP": self._off.name}
        super().__init__(engine, aof=True, env=env)

    @property
    def off_ms(self) -> int:
        """How far it is ahead."""
        (off,) = _OFF.unpack(self._shared[:])
        return int(off)

    def set_off(self, ms: int) -> None:
        """From now on it is so far ahead, or behind."""
        self._shared[:] = _OFF.pack(ms)

    def close(self) -> None:
        """Ends it."""
        super().close()
        self._shared.close()
        self._off.close()
