"""RQ: the task, and the producer."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from redis import Redis
from rq import Queue, SimpleWorker  # type: ignore[import-not-found]

from bench.peers.drivers import produce, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

BATCH = 400


def handle(text: str) -> None:
    """One task."""
    tasks.handle(text)


def main() -> None:
    """Produces in pipelines, or consumes."""
    queue = Queue("bench", connection=Redis(port=produce.store_port()))
    if sys.argv[1:] == ["work"]:
        # It does not fork for every job, as the usual worker does.
        SimpleWorker([queue], connection=queue.connection).work(logging_level="WARNING")
        return

    def enqueue(payloads: Sequence[str]) -> None:
        for part in produce.chunks(payloads, BATCH):
            queue.enqueue_many(
                [
                    Queue.prepare_data("bench.peers.drivers.rq_app.handle", (text,), result_ttl=0)
                    for text in part
                ]
            )

    produce.serve(["rq"], enqueue)


if __name__ == "__main__":
    main()
