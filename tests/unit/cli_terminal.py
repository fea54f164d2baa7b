"""`codeq` on a terminal of its own, 80 columns by 24 lines unless said otherwise."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

_PATIENCE = 20.0
_CODE = "from codeq_grpc.cli.main import main; main()"
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A running `codeq`; `with` ends it."""

    def __init__(
        self, *words: str, env: Mapping[str, str], width: int = 80, height: int = 24
    ) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
        self._theirs = theirs
        self.mode_before = self.mode()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color", **env},
        )
        self._written = b""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._own, 65536):
                self._written += chunk
        except OSError:
            pass  # the terminal was closed

    @property
    def written(self) -> str:
        """Everything so far, control sequences among it."""
        return self._written.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """Everything so far, as letters only."""
        return _SEQUENCE.sub("", self.written)

    def mode(self) -> list[Any]:
        """How the terminal is set."""
        return termios.tcgetattr(self._theirs)

    def wait_for(self, pattern: str, *, after: int = 0) -> None:
        """Returns when it has written that, beyond the first `after` letters."""
        until = time.monotonic() + _PATIENCE
        while not re.search(pattern, self.text[after:]):
            assert time.monotonic() < until, f"no {pattern!r} in {self.text[after:]!r}"
            time.sleep(0.02)

    def press(self, keys: str) -> None:
        """Types them."""
        os.write(self._own, keys.encode())

    def send(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        code = self._process.wait(_PATIENCE)
        time.sleep(0.1)  # for what it wrote last
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._theirs)
        os.close(self._own)
