"""taskiq: the broker and task of workers, and the producer."""

from __future__ import annotations

import uvloop  # type: ignore[import-not-found]
from taskiq_redis import RedisStreamBroker  # type: ignore[import-not-found]

from bench.peers.drivers import produce, tasks

IN_FLIGHT = 100

# Of the brokers for one server this is the one that acknowledges. From "0" on: a group made after
# the first task must not miss it.
broker = RedisStreamBroker(produce.store_url(), queue_name="bench", consumer_id="0")


@broker.task(task_name="bench.handle")  # type: ignore[untyped-decorator]
async def handle(text: str) -> None:
    """One task."""
    tasks.handle(text)


def main() -> None:
    """Produces with many calls in flight."""
    produce.serve_async(
        ["taskiq", "taskiq-redis"], broker.startup, handle.kiq, IN_FLIGHT, uvloop.new_event_loop
    )


if __name__ == "__main__":
    main()
