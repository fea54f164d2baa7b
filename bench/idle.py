"""P4: what waiting costs: queues without tasks, each with streams that wait for some."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench import waiting
from bench.consuming import Consumer, request
from bench.machine import store_version
from bench.servers import Server, started
from bench.session import NotMeasured
from bench.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

_QUEUES: Final = 100
_STREAMS: Final = 2
_SECONDS: Final = 20.0
_SETTLE: Final = 3.0
_SENT: Final = frozenset(
    ("evalsha", "eval", "get", "set", "hgetall", "publish", "subscribe", "ping")
)
"""What the server sends while it waits; whatever else the store counts is done by scripts."""


def _commands(server: Server) -> dict[str, int]:
    """How often the store was asked each command, without what we ask ourselves."""
    with server.store() as store:
        stats: dict[str, Any] = store.info("commandstats")
    return {
        name.removeprefix("cmdstat_"): int(row["calls"])
        for name, row in stats.items()
        if not name.removeprefix("cmdstat_").startswith(("info", "hello", "client"))
    }


def _unexpected(_: bytes, __: float) -> int | None:
    raise NotMeasured("a task came where there is none")


async def _measure(server: Server, queues: int, seconds: float) -> tuple[dict[str, int], Any, Any]:
    """Commands, and CPU seconds of server and store before and after."""
    commands = [f"idle-{at}" for at in range(queues)]
    consumer = Consumer(_unexpected, lambda _: None)
    async with waiting.clients(server, 4) as through:
        # A queue exists from its first task or setting on.
        for command in commands:
            await through[0].update_queue(command, max_in_progress=1_000)
        requests = [request([command], 100) for command in commands for _ in range(_STREAMS)]
        async with waiting.streams(consumer, through, requests):
            await asyncio.sleep(_SETTLE)
            before, first = server.cpu_seconds(), _commands(server)
            await asyncio.sleep(seconds)
            after, last = server.cpu_seconds(), _commands(server)
    return {name: last[name] - first.get(name, 0) for name in last}, before, after


def run(session: Session) -> Iterator[Table]:
    """One server, watched for a while."""
    seconds = max(2.0, _SECONDS * min(1.0, session.scale))
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), engine="native") as server:
        session.store = session.store or store_version(server.store_url)
        asked, before, after = asyncio.run(_measure(server, _QUEUES, seconds))
    each = seconds * _QUEUES
    table = Table(
        f"idle (P4): {_QUEUES} queues, {_STREAMS} waiting streams each, {seconds:.0f} s, native",
        ("what", "a second", "a second and queue", "% of a core"),
    )
    for name, calls in sorted(asked.items(), key=lambda item: (item[0] not in _SENT, -item[1])):
        if calls:
            by = "sent" if name in _SENT else "by scripts"
            table.add(f"store: {name}, {by}", calls / seconds, calls / each, None)
    sent = sum(calls for name, calls in asked.items() if name in _SENT)
    table.add(
        "store: all that is sent",
        sent / seconds,
        sent / each,
        (after[1] - before[1]) / seconds * 100,
    )
    table.add("server", None, None, (after[0] - before[0]) / seconds * 100)
    yield table
