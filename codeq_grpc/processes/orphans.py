"""No process outlives its parent, however that ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """From now on the end of the parent kills this process, also one that is stuck or stopped. Only
    Linux can do that; who reads the channel learns of it everywhere.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def die() -> None:
    """At once. The port must be free for the parent's successor, who may start this moment; the
    leases live on in the store.
    """
    os.kill(os.getpid(), signal.SIGKILL)
