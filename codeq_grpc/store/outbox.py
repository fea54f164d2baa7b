"""What a transition in one queue owes tasks of others: kept where it arose until delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.store import scripts
from codeq_grpc.store.calls import Calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.keys import Queue

_ID_CHARS: Final = 18


class Entry(NamedTuple):
    """`B` of a task blocked by `others`, or `E` of one in `state` that `others` depend on, and
    whether these are only some of them; taken till a time in ms.
    """

    kind: str
    name: bytes
    state: int
    others: list[str]
    more: bool
    till_ms: int


class Resolution(NamedTuple):
    """What a blocked task is told: who ended, and the error to fail with unless they completed."""

    name: bytes
    ended: list[str]
    error: bytes


class Outbox(Calls):
    """Delivery is at least once: repeating any of it changes nothing."""

    async def take(self, queue: Queue, limit: int, *, for_ms: int, most: int) -> list[Entry]:
        """Entries that are due, kept from others for a while; each with at most `most` others."""
        reply = await self._run(scripts.OWED, queue, (limit, for_ms, most))
        it, till_ms = iter(reply[2:]), reply[1] + for_ms
        return [
            Entry(chr(raw[0]), raw[1:], state, _ids(others), more == 1 and raw[:1] == b"E", till_ms)
            for raw, state, others, more in zip(it, it, it, it, strict=True)
        ]

    async def settle(self, queue: Queue, entries: Sequence[Entry]) -> None:
        """Takes out what was delivered."""
        args: list[bytes | int] = []
        for entry in entries:
            told = "".join(entry.others).encode() if entry.kind == "E" else b""
            args += (entry.kind.encode() + entry.name, told, int(entry.more), entry.till_ms)
        await self._run(scripts.SETTLE, queue, args)

    async def follow(self, queue: Queue, pairs: Sequence[tuple[str, bytes]]) -> list[int]:
        """Notes of each pair that its first, a task or a firing, waits for its second to end; the
        state of each of these, 0 if there is none.
        """
        args = [part for pair in pairs for part in pair]
        states: list[int] = (await self._run(scripts.FOLLOW, queue, args))[2:]
        return states

    async def resolve(self, queue: Queue, resolutions: Sequence[Resolution]) -> int:
        """Tells blocked tasks of others' ends; how many entries the outbox got."""
        args: list[bytes] = []
        for name, ended, error in resolutions:
            args += (name, "".join(ended).encode(), error)
        owed: int = (await self._run(scripts.RESOLVE, queue, args))[2]
        return owed


def _ids(raw: bytes) -> list[str]:
    text = raw.decode()
    return [text[at : at + _ID_CHARS] for at in range(0, len(text), _ID_CHARS)]
