"""How a driver talks to the bench: a job on the command line, lines of JSON in between."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from types import SimpleNamespace
from typing import Any


def job() -> Any:
    """What is to be done."""
    return json.loads(sys.argv[1], object_hook=lambda found: SimpleNamespace(**found))


def say(**facts: Any) -> None:
    """Tells the bench."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def told() -> str:
    """The next line from the bench; ends the process when the bench has gone."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        sys.exit("the bench has gone")
    return line.strip()


def cpu_seconds() -> float:
    """What this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
