"""Holds a store of its own, until the bench ends it or is gone itself."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import redis

from bench.drivers.talking import job, say
from codeq_grpc.app import embedded_store


async def main() -> None:
    """Starts it, tells where it is, ends it."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin, over.set)  # it is never written to: this is its end
    async with embedded_store(Path(job().folder)) as url:
        with redis.Redis.from_url(url) as store:
            say(url=url, pid=int(store.info("server")["process_id"]))
        await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
