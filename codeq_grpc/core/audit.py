"""What the audit trail is made of."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

TEXT_CHARS: Final = 256
"""Of one text of an event; longer ones are cut."""
_MORE: Final = "..."


class Stream(enum.Enum):
    """A part of a tenant's trail, so that no part pushes out another: how many events it keeps at
    most, if they are not too old before.
    """

    CHANGES = 1_000_000
    """Calls of operators that were looked at, whatever came of them."""
    DENIALS = 100_000
    """Calls that were refused before."""
    CALLS = 200_000
    """Calls of producers and workers, where they are audited."""


class Event(NamedTuple):
    """One call: who did what to what, and what came of it. The time, Unix ms of the store, and the
    id come from the store.
    """

    subject: str
    action: str
    object: str
    outcome: str
    request_id: str
    reason: str
    credential: str
    peer: str
    time_ms: int = 0
    event_id: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """What is written."""
        return self[:8]

    def clean(self) -> Event:
        """With texts that are short, in one line, and harmless to a terminal."""
        return _event(map(clean, self.texts))

    def shared(self, other: Event) -> Event:
        """What two have in common."""
        pairs = zip(self.texts, other.texts, strict=True)
        return _event(a if a == b else "" for a, b in pairs)


def _event(texts: Iterable[str]) -> Event:
    return Event._make((*texts, 0, ""))


def clean(text: str) -> str:
    """At most TEXT_CHARS characters, all of them printable."""
    # What is cut off need not be looked at: a character never becomes shorter.
    short = text[: TEXT_CHARS + 1]
    if not short.isprintable():
        short = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in short
        )
    return short if len(short) <= TEXT_CHARS else short[: TEXT_CHARS - len(_MORE)] + _MORE
