"""Attacks every engine by HTTP/2 and tells in a table what others noticed:
`python -m tests.faults.transport --seconds 30`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, Final

from tests.faults.transport_attacks import ATTACKS, Target
from tests.faults.transport_prober import Prober
from tests.faults.transport_server import TOKENS, Attacked, attacked
from tests.support.stores import engines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_HEAD: Final = (
    "| attack | calls of others | went well | median, p99 ms | memory MB | what was done |\n"
    "|---|---|---|---|---|---|"
)


async def row(
    server: Attacked,
    prober: Prober,
    attack: Callable[[Target], Awaitable[object]],
    seconds: float,
) -> str:
    """One attack; raises when the server ended or keeps something."""
    before = server.size()
    server.forget_peak()
    prober.taken()
    done = await attack(Target(port=server.port, token=TOKENS["attacker"], seconds=seconds))
    probed, during = prober.taken(), server.size()
    assert server.lives, server.serve.program.report()
    server.wait_until_quiet(before)
    time.sleep(1.0)
    after = server.size()
    failed = f" {probed.failed}" if probed.failed else ""
    ms = ", ".join(f"{one:g}" for one in probed.ms)
    memory = f"{before.rss_mb:.0f}, at most {during.peak_mb:.0f}, then {after.rss_mb:.0f}"
    name = attack.__name__.replace("_", " ")
    well = f"{probed.share:.1%}{failed}"
    return f"| {name} | {probed.total} | {well} | {ms} | {memory} | {done} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each attack")
    parser.add_argument("--engine", choices=[one.grpc for one in engines()], action="append")
    parser.add_argument("--attack", choices=[one.__name__ for one in ATTACKS], action="append")
    given = parser.parse_args()
    for engine in engines():
        if engine.grpc not in (given.engine or [engine.grpc]):
            continue
        with attacked(engine) as server, Prober(server.address, TOKENS["victim"]) as prober:
            print(f"\n{engine.grpc}, {engine.name} {engine.version}\n\n{_HEAD}", flush=True)
            for attack in ATTACKS:
                if attack.__name__ in (given.attack or [attack.__name__]):
                    print(asyncio.run(row(server, prober, attack, given.seconds)), flush=True)


if __name__ == "__main__":
    main()
