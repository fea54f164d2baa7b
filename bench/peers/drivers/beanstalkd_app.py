"""beanstalkd: the worker, and the producer, each on one connection.

Its Python packages wait for an answer before they send the next command. The protocol need not:
commands of a connection are answered in order, so a few lines that send several at once do better.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from bench.peers.drivers import produce, tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

BATCH = 100
WINDOW = 16


def _connect() -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", produce.store_port()))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _reserved(replies: BinaryIO, count: int) -> list[bytes]:
    """Reads `count` answers, works on the jobs among them, and gives their ids."""
    ids: list[bytes] = []
    for _ in range(count):
        words = replies.readline().split() or [b"the end of the connection"]
        if words[0] == b"RESERVED":
            tasks.handle(replies.read(int(words[2]) + 2)[:-2].decode())
            ids.append(words[1])
        elif words[0] not in {b"DELETED", b"TIMED_OUT"}:
            raise SystemExit(f"beanstalkd says {words}")
    return ids


def work() -> None:
    """Deletes what is done, then waits for one job and takes what else there is, in one message.

    Only the first reserve waits: the server would not look at a delete behind one that does.
    """
    sock = _connect()
    replies = sock.makefile("rb")
    more = b"reserve\r\n" + b"reserve-with-timeout 0\r\n" * (WINDOW - 1)
    done: list[bytes] = []
    while True:
        sock.sendall(b"".join(b"delete %s\r\n" % job for job in done) + more)
        done = _reserved(replies, len(done) + WINDOW)


def main() -> None:
    """Produces, or consumes."""
    if sys.argv[1:] == ["work"]:
        work()
        return
    sock = _connect()
    replies = sock.makefile("rb")

    def enqueue(payloads: Sequence[str]) -> None:
        for part in produce.chunks(payloads, BATCH):
            puts = [b"put 0 0 60 %d\r\n%s\r\n" % (len(text), text.encode()) for text in part]
            sock.sendall(b"".join(puts))
            for _ in part:
                line = replies.readline()
                if not line.startswith(b"INSERTED"):
                    raise SystemExit(f"beanstalkd says {line!r}")

    produce.serve([], enqueue)


if __name__ == "__main__":
    main()
