"""Celery: the application of workers, and the producer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from celery import Celery  # type: ignore[import-not-found]
from kombu import Connection  # type: ignore[import-not-found]

from bench.peers.drivers import produce, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = os.environ.get("BENCH_RESULTS") == "1"

app = Celery("bench", broker=produce.store_url())
app.conf.update(
    task_acks_late=True,
    task_ignore_result=not RESULTS,
    task_store_errors_even_if_ignored=False,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=64,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
)
if RESULTS and __name__ != "__main__":
    # Only workers know of the backend: a producer that did would subscribe to every result.
    app.conf.result_backend = produce.store_url()


@app.task(name="bench.handle")  # type: ignore[untyped-decorator]
def handle(text: str) -> None:
    """One task."""
    tasks.handle(text)


def main() -> None:
    """Produces on one connection, which is what Celery has for many tasks; it has no bulk call."""
    with Connection(produce.store_url()) as connection, app.amqp.Producer(connection) as producer:

        def enqueue(payloads: Sequence[str]) -> None:
            for text in payloads:
                handle.apply_async((text,), producer=producer, retry=False, add_to_parent=False)

        produce.serve(["celery", "redis"], enqueue)


if __name__ == "__main__":
    main()
