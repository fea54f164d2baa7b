"""Dramatiq: the broker and actor of workers, and the producer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import dramatiq  # type: ignore[import-not-found]
from dramatiq.brokers.redis import RedisBroker  # type: ignore[import-not-found]

from bench.peers.drivers import produce, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

THREADS = 2

broker = RedisBroker(url=produce.store_url())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench", max_retries=0)  # type: ignore[untyped-decorator]
def handle(text: str) -> None:
    """One task."""
    tasks.handle(text)


def _send(payloads: Sequence[str]) -> None:
    for text in payloads:
        handle.send(text)


def main() -> None:
    """Produces from a few threads: there is no bulk call, and a thread waits for each answer."""
    with ThreadPoolExecutor(THREADS) as pool:

        def enqueue(payloads: Sequence[str]) -> None:
            list(pool.map(_send, produce.chunks(payloads, -(-len(payloads) // THREADS))))

        produce.serve(["dramatiq"], enqueue)


if __name__ == "__main__":
    main()
