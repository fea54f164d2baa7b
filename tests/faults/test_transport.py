"""While somebody attacks by HTTP/2, others are served; then the server is as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.programs import wait_until
from tests.faults.transport_attacks import ATTACKS, Target
from tests.faults.transport_prober import Probed, Prober
from tests.faults.transport_server import TOKENS, Attacked, attacked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.support.stores import Engine

pytestmark = pytest.mark.alone

SECONDS: Final = 0.6
ROUNDS: Final = 10
VOID: Final = 5
"""Calls of others below which an attack has shown nothing: it goes on for more rounds then."""
GROWTH_MB: Final = 512


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[Attacked]:
    with attacked(engine) as server:
        yield server


@pytest.fixture(scope="module")
def prober(server: Attacked) -> Iterator[Prober]:
    with Prober(server.address, TOKENS["victim"]) as prober:
        yield prober


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_others_are_served_and_nothing_is_left(
    server: Attacked, prober: Prober, attack: Callable[[Target], Awaitable[object]]
) -> None:
    before, probed = server.size(), Probed()
    target = Target(port=server.port, token=TOKENS["attacker"], seconds=SECONDS)
    prober.taken()
    for _ in range(ROUNDS):
        await attack(target)
        probed += prober.taken()
        assert server.lives, server.serve.program.report()
        if probed.total >= VOID:
            break
    assert probed.total >= VOID
    assert probed.share >= 0.99, probed
    server.wait_until_quiet(before)
    # Replies that nobody read are given back once their connections are known to be closed.
    most = before.rss_mb + GROWTH_MB
    wait_until(lambda: server.size().rss_mb < most, f"less than {most} MB")
