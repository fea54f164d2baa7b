"""Which faults come when: all of it follows from one seed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.faults.catalogue import ALL, FAULTS, fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.faults.catalogue import Scene

_STORM: Final = "storm"
_GUSTS: Final = 4


class Step(NamedTuple):
    """One run of one kind of fault."""

    fault: str
    seed: int


def schedule(seed: int, names: Sequence[str]) -> list[Step]:
    """Every fault once, in an order and with seeds that follow from `seed`. One fault alone keeps
    the seed itself: so a run of a longer schedule is repeated.
    """
    if len(names) == 1:
        return [Step(names[0], seed)]
    dice = random.Random(seed)
    steps = [Step(name, dice.randrange(1 << 31)) for name in names]
    dice.shuffle(steps)
    return steps


@fault(_STORM, "several of these, one after the other", blocks=ALL)
async def storm(scene: Scene) -> AsyncIterator[None]:
    """Each is healed before the next one comes."""
    names = sorted(FAULTS.keys() - {_STORM})
    for name in scene.dice.sample(names, _GUSTS):
        print(f"  storm: {name}", flush=True)
        async with scene.suffer(FAULTS[name]):
            pass
        await scene.hold(0.5)
    yield
