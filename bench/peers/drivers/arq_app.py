"""arq: the worker, and the producer."""

from __future__ import annotations

import sys
from typing import Any

import uvloop  # type: ignore[import-not-found]
from arq import create_pool  # type: ignore[import-not-found]
from arq.connections import RedisSettings  # type: ignore[import-not-found]
from arq.worker import Worker  # type: ignore[import-not-found]

from bench.peers.drivers import produce, tasks

IN_FLIGHT = 30
POLL_SECONDS = 0.01

settings = RedisSettings(port=produce.store_port())


async def handle(_: dict[str, Any], text: str) -> None:
    """One task."""
    tasks.handle(text)


class Producer:
    """The pool of connections, made inside the event loop."""

    pool: Any

    async def start(self) -> None:
        """Connects."""
        self.pool = await create_pool(settings)

    async def enqueue(self, text: str) -> None:
        """Adds a task; arq has no bulk call."""
        await self.pool.enqueue_job("handle", text)


def work() -> None:
    """Consumes. arq polls; its half second between polls is far from its best."""
    uvloop.install()
    Worker(
        [handle],
        redis_settings=settings,
        poll_delay=POLL_SECONDS,
        keep_result=0,
        log_results=False,
    ).run()


def main() -> None:
    """Produces with many calls in flight, or consumes."""
    if sys.argv[1:] == ["work"]:
        work()
        return
    producer = Producer()
    produce.serve_async(["arq"], producer.start, producer.enqueue, IN_FLIGHT, uvloop.new_event_loop)


if __name__ == "__main__":
    main()
