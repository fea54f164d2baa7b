"""A store that comes back without its latest writes: what was given out then is not given again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.driver import task

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.driver import QueueDriver

pytestmark = pytest.mark.usefixtures("consistent")


class Past:
    """All of the store, as it was."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        names = admin.call("KEYS", "*")
        self._kept = {name: admin.call("DUMP", name) for name in names}

    def restore(self) -> None:
        """What was written since is gone."""
        self._admin.call("FLUSHALL")
        for name, content in self._kept.items():
            self._admin.call("RESTORE", name, 0, content)


@pytest.mark.parametrize("later_ms", [1, 5_000])
async def test_a_fence_that_was_lost_proves_nothing(
    driver: QueueDriver, admin: Admin, later_ms: int
) -> None:
    await driver.enqueue(task(), task())
    past = Past(admin)
    lost = await driver.take(2)
    past.restore()
    driver.clock.advance(later_ms)
    given = await driver.take(2)
    assert {lease.name for lease in given} == {lease.name for lease in lost}
    assert min(lease.fence for lease in given) > max(lease.fence for lease in lost)
    for lease in lost:
        assert (await driver.complete(lease)).word == b"LOST"
    for lease in given:
        assert (await driver.complete(lease)).word == b"DONE"


async def test_the_id_of_a_task_that_was_lost_is_given_to_no_other(
    driver: QueueDriver, admin: Admin
) -> None:
    await driver.enqueue(task())
    past = Past(admin)
    lost = await driver.enqueue(*[task()] * 3)
    past.restore()
    driver.clock.advance(1)
    assert not set(lost) & set(await driver.enqueue(*[task()] * 3))


async def test_while_the_clock_is_behind_numbers_go_on_from_what_is_left(
    driver: QueueDriver, admin: Admin
) -> None:
    """Then, and only then, those that were lost come again: below D2, where any can be lost."""
    await driver.enqueue(task())
    past = Past(admin)
    lost = await driver.take_one()
    past.restore()
    driver.clock.advance(-3_600_000)
    again = await driver.take_one()
    assert again.fence <= lost.fence
