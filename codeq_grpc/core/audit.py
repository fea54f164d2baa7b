"""What the audit trail is made of."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple

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
    """One call: who did what to what, and what came of it. Times are Unix ms of the store; 0 when
    it is still to be written.
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

    def clean(self) -> Event:
        """With texts that are short, in one line, and harmless to a terminal."""
        return Event._make((*map(clean, self[:-1]), self.time_ms))

    def shared(self, other: Event) -> Event:
        """What two have in common."""
        texts = (a if a == b else "" for a, b in zip(self[:-1], other[:-1], strict=True))
        return Event._make((*texts, self.time_ms))


def clean(text: str) -> str:
    """At most TEXT_CHARS characters, all of them printable."""
    # What is cut off need not be looked at: a character never becomes shorter.
    short = text[: TEXT_CHARS + 1]
    if not short.isprintable():
        short = "".join(
            c if c.isprintable() else c.encode("unicode_escape").decode() for c in short
        )
    return short if len(short) <= TEXT_CHARS else short[: TEXT_CHARS - len(_MORE)] + _MORE
