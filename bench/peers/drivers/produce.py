"""The conversation of a producer with the measuring process, by lines on its standard streams.

It says `ready VERSION` once it has its payloads; on `warm FIRST COUNT` and on `go` it enqueues, and
says `done`. It ends when its input does, so that it cannot outlive who measures.
"""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from bench.peers.drivers.tasks import payload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence


def chunks(payloads: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Batches of at most `size`."""
    return (payloads[at : at + size] for at in range(0, len(payloads), size))


def store_port() -> int:
    """Where the store listens."""
    return int(os.environ["BENCH_PORT"])


def store_url() -> str:
    """The store as most peers want it said."""
    return f"redis://127.0.0.1:{store_port()}/0"


def _versions(packages: Sequence[str]) -> str:
    try:
        named = [f"{name} {version(name)}" for name in packages]
    except PackageNotFoundError:
        return "unknown"
    return " + ".join(named).partition(" ")[2]  # whose driver it is need not be said


def serve(packages: Sequence[str], enqueue: Callable[[Sequence[str]], None]) -> None:
    """Does what the measuring process says."""
    bulk = [payload(number) for number in range(int(os.environ["BENCH_TASKS"]))]
    print("ready", _versions(packages), flush=True)
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "go":
            enqueue(bulk)
        else:
            first, count = map(int, numbers)
            enqueue([payload(number) for number in range(first, first + count)])
        print("done", flush=True)


def serve_async(
    packages: Sequence[str],
    start: Callable[[], Awaitable[None]],
    enqueue: Callable[[str], Awaitable[object]],
    in_flight: int,
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """As `serve`, for peers that enqueue one task a call from an event loop."""

    async def lane(waiting: Iterator[str]) -> None:
        for text in waiting:
            await enqueue(text)

    async def everything(payloads: Sequence[str]) -> None:
        waiting = iter(payloads)
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(lane(waiting))

    async def opened() -> None:
        await start()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(opened())
        serve(packages, lambda payloads: runner.run(everything(payloads)))
