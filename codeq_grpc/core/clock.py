"""The process's clocks. About tasks only the store's clock counts (see `store`).

`now` is for log lines and credentials; `monotonic` for measuring and waiting.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

monotonic = time.monotonic


def now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)
