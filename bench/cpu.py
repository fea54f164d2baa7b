"""What processes use: CPU seconds, children, resident memory; from /proc, so on Linux only."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def _fields(pid: int) -> list[str]:
    # The name in parentheses may have spaces; the state is the field behind it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def seconds(pids: Iterable[int]) -> float:
    """CPU seconds that processes have used so far, in user and kernel, over all threads."""
    total = 0.0
    for pid in pids:
        fields = _fields(pid)
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if int(_fields(int(path.name))[1]) == pid:
                found.append(int(path.name))
    return found


def resident(pids: Iterable[int]) -> int:
    """Bytes of memory that processes have now."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE for pid in pids)
