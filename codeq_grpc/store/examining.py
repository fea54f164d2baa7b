"""Looks at what a queue's keys hold, and mends it: one bounded script call each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codeq_grpc.core.findings import Finding, Mode
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.calls import Calls
from codeq_grpc.store.keys import Calendar, Queue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.scripts import Script

PARTS: Final = (
    *("m", "b", "z", "l", "y", "t", "d", "c", "a", "e", "o", "v"),
    *("u", "ux", "k", "kw", "p", "f", "x", "g", "h"),
)
"""Keys to look at, in an order in which what mends one is seen in the next."""
_COUNTS: Final = {"m": 100, "b": 20, "o": 20, "k": 5}
"""How much to look at in one call, where an entry may be large or means several looks."""
_COUNT: Final = 200
ENTRIES: Final = 1_000
"""Of a list in one call; with fewer its head is reached."""
_NAMES: Final = {"o": (0, 7), "v": (-7, None), "kw": (-7, None), "f": (0, 7), "x": (1, None)}
"""Where in an entry the name of its task stands."""
_KEYED: Final = frozenset({"u", "ux", "k", "h"})
"""Their entries are keys of producers, or names of servers."""
_NAME_BYTES: Final = 7
CALENDAR_PARTS: Final = ("m", "b", "d", "h", "t", "v", "f", "g", "o", "p", "x", "k", "kx", "w")
_PATTERN: Final = "codeq:{*}:*m"
_OWNER: Final = re.compile(r"codeq:{(?:(?P<queue>.+/.+)/\d+}:|(?P<tenant>[^/]+)}:schedules:)m")


class Pending(NamedTuple):
    """A task that must stand in a list, since when it has not changed, whether it may twice."""

    name: bytes
    priority: int
    changed_ms: int
    twice: bool


class Blocked(NamedTuple):
    """A task that waits for others to tell it, and which those are."""

    name: bytes
    changed_ms: int
    parents: list[str]


class Suspect(NamedTuple):
    """A task of which several looks say that something is wrong, if it has not changed since."""

    name: bytes
    changed_ms: int
    parent: str = ""


class Seen(NamedTuple):
    """A reply: the store's time; where to go on, empty at the end; how many entries it met."""

    now_ms: int
    cursor: bytes
    looked: int
    findings: list[Finding]
    pending: list[Pending]
    blocked: list[Blocked]


class Examining(Calls):
    """Whoever repeats any of it finds less, never more. A body without a row, of which nothing
    shows that it ever was a task, becomes one or goes only in a mode that says so.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        mode: Mode,
        max_attempts: int,
        error: bytes,
    ) -> None:
        super().__init__(connection)
        self._mode = mode
        self.mends = mode is not Mode.LOOK
        self._options = (int(self.mends), mode.upper(), max_attempts, error)

    def only_looking(self) -> Examining:
        """The same, mending nothing."""
        _, _, max_attempts, error = self._options
        return Examining(self._connection, mode=Mode.LOOK, max_attempts=max_attempts, error=error)

    async def vitals(self, queue: Queue) -> list[Finding]:
        """Types of keys, and fields on which every script would break."""
        reply = await self._run(scripts.VITALS, queue, self._options[:1])
        found = self._findings(queue, reply[1:])
        return [await self._set_aside(queue.keys[one.where], one) for one in found]

    async def _set_aside(self, key: bytes, one: Finding) -> Finding:
        if one.kind != "wrong_type" or not self.mends:
            return one
        aside = key.removesuffix(one.where.encode()) + b"aside:" + one.where.encode()
        (word,) = await self._connection.run(scripts.SET_ASIDE, (key, aside), (one.entry,))
        return one._replace(mended=word != b"TAKEN")

    async def part(self, queue: Queue, part: str, cursor: bytes) -> Seen:
        """Some of what one key holds; `cursor` is 0 at first."""
        return await self._examine(queue, part, (cursor, _COUNTS.get(part, _COUNT)))

    async def confirm(self, queue: Queue, what: str, suspects: Sequence[Suspect]) -> Seen:
        """Which suspects are UNLISTED, TWICE or UNFOLLOWED in truth."""
        return await self._examine(queue, what, [part for one in suspects for part in one])

    async def _examine(self, queue: Queue, what: str, args: Sequence[Any]) -> Seen:
        reply = await self._run(scripts.EXAMINE, queue, (*self._options, what, *args))
        _, now, cursor, looked, found, pending, blocked = reply
        ps, bs = iter(pending), iter(blocked)
        return Seen(
            now,
            b"" if cursor == b"0" else cursor,
            looked,
            self._findings(queue, found),
            [Pending(n, p, at, twice == 1) for n, p, at, twice in zip(ps, ps, ps, ps, strict=True)],
            [Blocked(n, at, _ids(raw)) for n, at, raw in zip(bs, bs, bs, strict=True)],
        )

    def _findings(self, queue: Queue, found: Sequence[bytes]) -> list[Finding]:
        it, name, findings = iter(found), f"{queue.tenant}/{queue.command}", []
        for kind, where, entry in zip(it, it, it, strict=True):
            mended = self.mends and (kind != b"orphan" or self._mode is Mode.DISCARD)
            about = _about(queue, where.decode(), entry)
            findings.append(Finding(kind.decode(), name, where.decode(), *about, mended))
        return findings

    async def entries(self, queue: Queue, priority: int, skip: int) -> tuple[int, list[bytes]]:
        """The store's time, and a piece of a list that ends `skip` entries before its tail."""
        _, now, names = await self._run(scripts.ENTRIES, queue, (priority, skip, ENTRIES))
        return now, names

    async def follows(self, queue: Queue, pairs: Sequence[tuple[bytes, str]]) -> list[bool]:
        """Whether tasks know of those (by id) that wait for them."""
        members = [name + follower.encode() for name, follower in pairs]
        return [known == 1 for known in (await self._run(scripts.FOLLOWS, queue, members))[1:]]

    async def registry(self, part: str, cursor: bytes) -> tuple[bytes, list[Finding]]:
        """The `keys` of the registry as such, or some of its `numbers`, `names` or `order`."""
        cursor, found = await self._elsewhere(scripts.EXAMINE_REGISTRY, keys.REGISTRY, part, cursor)
        key = keys.REGISTRY[0].removesuffix("last")
        return cursor, [await self._set_aside(f"{key}{one.where}".encode(), one) for one in found]

    async def api_keys(self, part: str, cursor: bytes) -> tuple[bytes, list[Finding]]:
        """Some `rows`, `tenants`, `ends` or `used` of API keys."""
        names = tuple(keys.API_KEYS.values())
        return await self._elsewhere(scripts.EXAMINE_KEYS, names, part, cursor)

    async def _elsewhere(
        self, script: Script, names: Sequence[bytes | str], part: str, cursor: bytes
    ) -> tuple[bytes, list[Finding]]:
        args = (int(self.mends), part, cursor, _COUNT)
        _, cursor, *told = await self._connection.run(script, names, args)
        it = iter(told)
        return b"" if cursor == b"0" else cursor, [
            Finding(kind.decode(), "", where.decode(), "", _shown(entry), self.mends)
            for kind, where, entry in zip(it, it, it, strict=True)
        ]

    async def calendar(
        self, calendar: Calendar, part: str, cursor: bytes
    ) -> tuple[bytes, list[Finding]]:
        """The `keys` of a calendar as such, or some entries of one of them."""
        script = scripts.EXAMINE_CALENDAR
        names = [calendar.keys[suffix] for suffix in script.suffixes]
        cursor, told = await self._elsewhere(script, names, part, cursor)
        found = [one._replace(queue=f"{calendar.tenant}/") for one in told]
        return cursor, [await self._set_aside(calendar.keys[one.where], one) for one in found]

    async def calendars(self) -> list[Calendar]:
        """Every calendar that has a number."""
        return [Calendar(one[0], one[2]) for one in await self._registered() if not one[1]]

    async def queues(self) -> list[Queue]:
        """Every queue that has a number; one whose row cannot be read is left out."""
        return [Queue(*one) for one in await self._registered() if one[1]]

    async def _registered(self) -> list[tuple[str, str, int]]:
        """Tenant, command and number, by name."""
        found = {}
        for number, name in (await self._connection.read_registry()).items():
            tenant, slash, command = name.decode(errors="replace").partition("/")
            if slash and number.isdigit() and int(number) < keys.QUEUES:
                found[name] = (tenant, command, int(number))
        return [found[name] for name in sorted(found)]

    async def live(self, tenant: str) -> list[Finding]:
        """What servers tell of a tenant's workers, as a key: calls that list them break on it."""
        key = keys.live_key(tenant)
        found = await self._connection.type_of(key)
        if found in {"hash", "none"}:
            return []
        told = Finding("wrong_type", "", key.removeprefix("codeq:"), "", found, self.mends)
        return [await self._set_aside(key.encode(), told)]

    async def unregistered(self, cursor: int) -> tuple[int, list[Finding]]:
        """Queues with tasks and calendars among some keys of the store that have no number."""
        cursor, found = await self._connection.scan(cursor, _PATTERN, _COUNT)
        findings = []
        for key in found:
            owner = _OWNER.fullmatch(key.decode(errors="replace"))
            if owner is None:
                continue
            name = owner["queue"] or owner["tenant"] + "/"
            if await self._connection.registry_number(name) == 0:
                findings.append(Finding("unregistered", name, "names", "", name, self.mends))
                if self.mends:
                    await self._connection.run(scripts.REGISTER, keys.REGISTRY, (name, 0, 0))
        return cursor, findings


def _ids(raw: bytes) -> list[str]:
    text = raw.decode()
    return [text[at : at + 18] for at in range(0, len(text), 18)]


def _about(queue: Queue, where: str, entry: bytes) -> tuple[str, str]:
    """Id of the task if it is about one, and the entry, printable."""
    start, end = _NAMES.get(where, (0, None))
    task = entry if len(entry) == _NAME_BYTES else entry[start:end]
    is_task = len(task) == _NAME_BYTES and where not in _KEYED
    return queue.task_id(task) if is_task else "", _shown(entry)


def _shown(entry: bytes) -> str:
    text = entry.decode(errors="backslashreplace")
    return text if text.isprintable() else entry.hex()
