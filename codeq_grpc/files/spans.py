"""Durations as people write them: `1h30m`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_SIZES: Final = {
    "d": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
}
"""In nanoseconds, the largest first."""
_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?|\.\d{1,9})(ms|[smhd])", re.ASCII)


def nanoseconds(text: str) -> int:
    """What is written: `10s`, `500ms`, `1h30m`.

    Raises:
        ValueError: It is none.
    """
    given = text.strip().lower()
    parts = _PART.findall(given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        raise ValueError(f"{text!r} is not a duration such as 10s, 500ms, 5m, 2h or 1d")
    return int(sum(Decimal(number) * _SIZES[unit] for number, unit in parts))


def text_of(nanoseconds: int) -> str:
    """How one writes it, in as few units as it needs; `0s` for nothing."""
    parts = []
    for unit, size in _SIZES.items():
        count, nanoseconds = divmod(nanoseconds, size)
        if count:
            parts.append([count, unit])
    if not nanoseconds:
        return "".join(f"{count}{unit}" for count, unit in parts) or "0s"
    rest = f"{nanoseconds:06d}".rstrip("0")
    if not parts or parts[-1][1] != "ms":
        parts.append([0, "ms"])
    parts[-1][0] = f"{parts[-1][0]}.{rest}"
    return "".join(f"{count}{unit}" for count, unit in parts)
