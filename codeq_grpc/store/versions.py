"""Which engine a store is, and what it can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_OLDEST: Final = {"redis": (7, 0), "valkey": (7, 2)}
_WAITAOF: Final = (7, 2)
_TRUE_WAITAOF: Final = (8, 0)


class Version(NamedTuple):
    """Of a store."""

    engine: str
    text: str

    def __str__(self) -> str:
        return f"{self.engine} {self.text}"

    @property
    def number(self) -> tuple[int, ...]:
        """Major and minor."""
        return tuple(int(part) for part in self.text.split(".")[:2] if part.isdigit())

    @property
    def too_old(self) -> str:
        """The oldest that will do, if this one is older."""
        oldest = _OLDEST[self.engine]
        return ".".join(map(str, oldest)) if self.number < oldest else ""

    @property
    def has_waitaof(self) -> bool:
        """Whether it can be asked to wait for its disc."""
        return self.number >= _WAITAOF

    @property
    def waitaof_is_true(self) -> bool:
        """Whether its answer holds with `appendfsync everysec`, too. Redis 7.4 and every Valkey
        known so far say yes before they have synced (https://github.com/redis/redis/pull/13793).
        """
        return self.engine == "redis" and self.number >= _TRUE_WAITAOF


def version_of(info: Mapping[str, Any]) -> Version:
    """As INFO tells it."""
    engine = "valkey" if "valkey_version" in info else "redis"
    return Version(engine, str(info.get(f"{engine}_version", "0.0")))
