"""A worker in a process of its own, to be killed or stopped: `python -m tests.faults.victim`.

It writes its history to standard output call by call, so that whatever happens to it, it is known
which calls it had made.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.acceptance.programs import Program, wait_until
from tests.faults.asking import Asking
from tests.faults.calling import Client
from tests.faults.history import Journal
from tests.faults.reporting import Fences
from tests.faults.working import Desk, Puller, Streamer

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

_ROOT: Final = Path(__file__).parents[2]


class Victim:
    """Two workers, one of each kind, in one process."""

    def __init__(self, addresses: Sequence[str], token: str, asking: Asking, name: str) -> None:
        about = (token, asking.queue, str(asking.seed), name)
        command = [sys.executable, "-m", "tests.faults.victim", *addresses, *about]
        paths = [str(_ROOT), str(_ROOT / "generated"), os.environ.get("PYTHONPATH", "")]
        env = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._program = Program(command, cwd=_ROOT, env=env)

    @property
    def written(self) -> str:
        """Its journal so far."""
        return self._program.stdout.text

    def wait_for_claims(self, least: int) -> None:
        """Returns when it has been given so many tasks."""
        what = f"{least} claims of a victim:\n{self._program.report()}"
        wait_until(lambda: self.written.count('"op": "claim"') >= 2 * least, what)

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self._program.send(number)

    def close(self) -> None:
        """Kills it and waits for the last it wrote."""
        self._program.close()
        self._program.stdout.join()


async def _main(addresses: Sequence[str], token: str, asking: Asking, name: str) -> None:
    desk = Desk(Journal(), Fences(), asking)
    async with asyncio.TaskGroup() as group:
        for i, kind in enumerate((Puller, Streamer)):
            client = Client(f"{name}.{i}", addresses, token, i)
            group.create_task(kind(client, desk).run())


if __name__ == "__main__":
    *_addresses, _token, _queue, _seed, _name = sys.argv[1:]
    asyncio.run(_main(_addresses, _token, Asking(_queue, int(_seed)), _name))
