"""One task a fire time, whatever number of servers there is and wherever they die."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import task_pb2
from tests.integration import operating, scheduling
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

SCHEDULES: Final = 20
TIMES: Final = 4
TASK: Final = task_pb2.TaskSpec(
    command="RENDER", labels={"kind": "fired"}, headers={"of": "{{schedule_id}} {{fire_time}}"}
)


async def made(caller: Caller) -> Counter[str]:
    """How many tasks there are of each schedule and fire time."""
    found = await operating.listed(caller, 1_000, labels={"kind": "fired"})
    return Counter(task.spec.headers["of"] for task in found)


async def is_one_to_one(caller: Caller, *schedule_ids: str) -> None:
    """Every firing of these has its task, and there are no others."""
    expected = {
        f"{schedule_id} {firing.fire_time.ToJsonString()}": 1
        for schedule_id in schedule_ids
        for firing in await scheduling.firings(caller, schedule_id)
    }
    assert await made(caller) == expected


async def test_many_servers_make_one_task_a_fire_time(
    store: StoreProcess, server: Server, peer: Server
) -> None:
    names = [f"s{number}" for number in range(SCHEDULES)]
    acme = server.caller()
    for number, name in enumerate(names):
        caller = peer.caller() if number % 2 else acme
        await scheduling.create(caller, name, every=1, task=TASK, max_firings=TIMES)

    async def all_fired() -> bool:
        return (await made(acme)).total() >= SCHEDULES * TIMES

    await eventually(all_fired, 20)
    await is_one_to_one(acme, *names)
    for name in names:
        found = [one.fire_time.seconds for one in await scheduling.firings(acme, name)]
        assert found == list(range(found[0], found[0] + TIMES))  # none is missing
        assert all(
            one.fire_time.ToNanoseconds() <= one.actual_time.ToNanoseconds()
            for one in await scheduling.firings(acme, name)
        )


def _hangs(reached: asyncio.Event) -> Any:
    async def hang(*_: Any, **__: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    return hang


@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("_firings", "carry_out"),  # it is written down, and there is no task
        ("_ends", "follow"),  # there is a task that nobody follows
        ("_store", "settle"),  # it is followed, and the calendar does not know it
    ],
)
async def test_what_a_server_left_that_died_another_carries_out(
    store: StoreProcess, server: Server, monkeypatch: pytest.MonkeyPatch, part: str, method: str
) -> None:
    acme = server.caller()
    reached = asyncio.Event()
    firings = server.app._scheduling._firings
    dying = firings if part == "_firings" else getattr(firings, part)
    monkeypatch.setattr(dying, method, _hangs(reached))
    await scheduling.create(acme, "nightly", every=1, task=TASK, max_firings=1)
    async with asyncio.timeout(10):
        await reached.wait()
    async with running_server(store) as other:
        rescuer = other.caller()

        async def is_settled() -> bool:
            found = await scheduling.firings(rescuer)
            return [bool(one.task_id) for one in found] == [True]

        await eventually(is_settled, 20)
        await is_one_to_one(rescuer, "nightly")
        task = await rescuer.claim_one(wait=5)
        await rescuer.complete(task)

        async def told() -> bool:
            return (await scheduling.get(rescuer)).status.completed_count == 1

        await eventually(told, 20)


async def test_an_end_that_a_server_did_not_tell_another_tells(
    store: StoreProcess, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = server.caller()
    await scheduling.create(acme)
    await scheduling.trigger(acme)
    reached = asyncio.Event()
    monkeypatch.setattr(server.app._scheduling.ends._store, "conclude", _hangs(reached))
    await acme.complete(await acme.claim_one(wait=5))
    async with asyncio.timeout(10):
        await reached.wait()
    async with running_server(store) as other:
        rescuer = other.caller()

        async def told() -> bool:
            status = (await scheduling.get(rescuer)).status
            return (status.completed_count, status.open_count) == (1, 0)

        await eventually(told, 20)


async def test_schedules_outlive_a_restart_of_the_store(
    own_store: StoreProcess, own_server: Server
) -> None:
    acme = own_server.caller()
    await scheduling.create(acme, "nightly", every=1, task=TASK)
    await acme.claim_one(wait=10)
    own_store.kill()
    own_store.start()

    async def goes_on() -> bool:
        return len(await made(acme)) >= 4

    async def answers() -> bool:
        try:
            return await goes_on()
        except Exception:  # noqa: BLE001 - the store comes back
            return False

    await eventually(answers, 30)
    await scheduling.batch(acme, "PAUSE", "nightly")

    async def nothing_is_owed() -> bool:
        found = await scheduling.firings(acme)
        return all(one.task_id or one.skip_reason for one in found)

    await eventually(nothing_is_owed, 20)
    await is_one_to_one(acme, "nightly")
