"""Which queues and calendars there are: name <-> number, cached in the process. A calendar has the
name of a queue without a command, and is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core.errors import QuotaExceeded
from codeq_grpc.core.quotas import EVERYBODY
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.keys import Calendar, Queue, parse_prefix, parse_task_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq_grpc.core.principal import Reach
    from codeq_grpc.core.quotas import Tenants
    from codeq_grpc.store.connection import Connection


class Registry:
    """Queues by tenant and command, and by the number that task ids carry; made while their
    `tenants` may have more.
    """

    def __init__(self, connection: Connection, tenants: Tenants = EVERYBODY) -> None:
        self._connection = connection
        self._tenants = tenants
        self._by_name: dict[tuple[str, str], Queue] = {}
        self._by_number: dict[int, Queue] = {}
        self._by_prefix: dict[str, Queue] = {}
        self._calendars: dict[str, Calendar] = {}
        self._calendar_numbers: dict[int, Calendar] = {}
        self._mark: bytes | None = None

    def _learn(self, number: int, name: str) -> None:
        tenant, command = name.split("/", 1)
        if command:
            self._add(tenant, command, number)
        else:
            self._add_calendar(tenant, number)

    def _add(self, tenant: str, command: str, number: int) -> Queue:
        queue = Queue(tenant, command, number)
        self._by_name.setdefault((tenant, command), queue)
        self._by_number[number] = self._by_prefix[queue.prefix] = queue
        return queue

    def _add_calendar(self, tenant: str, number: int) -> Calendar:
        calendar = self._calendar_numbers[number] = Calendar(tenant, number)
        return self._calendars.setdefault(tenant, calendar)

    async def open(self, tenant: str, command: str) -> Queue:
        """The queue, made if it does not exist. Raises QuotaExceeded."""
        known = self._by_name.get((tenant, command))
        if known is not None:
            return known
        return await self._register(tenant, command, 0, self._tenants.of(tenant).queues or 0)

    async def _register(self, tenant: str, command: str, number: int, most: int = 0) -> Queue:
        name = f"{tenant}/{command}"
        reply = await self._connection.run(scripts.REGISTER, keys.REGISTRY, (name, number, most))
        if reply[0] == b"FULL":
            raise QuotaExceeded.of("queues", most)
        return self._add(tenant, command, reply[1])

    async def find(self, tenant: str, command: str) -> Queue:
        """The queue; with number 0 when it has had no task yet. Makes nothing."""
        known = self._by_name.get((tenant, command))
        if known is not None:
            return known
        number = await self._connection.registry_number(f"{tenant}/{command}")
        return self._add(tenant, command, number) if number else Queue(tenant, command)

    async def find_all(self, tenant: str, commands: Iterable[str]) -> list[Queue]:
        """The queues of these commands, existing or not."""
        return [await self.find(tenant, command) for command in commands]

    async def of_task(self, reach: Reach, task_id: str) -> tuple[Queue, bytes] | None:
        """Queue and name of a task; None when the id is none, or beyond reach."""
        parsed = parse_task_id(task_id)
        if parsed is None:
            return None
        prefix, name = parsed
        queue = self._by_prefix.get(prefix)
        if queue is None or not _within(queue, reach):
            # It takes as long, and fails as often, for what is beyond reach as for what is not.
            queue = await self._look_up(prefix)
        return (queue, name) if queue is not None and _within(queue, reach) else None

    async def _look_up(self, prefix: str) -> Queue | None:
        number, shard = parse_prefix(prefix)
        await self._ask(number)
        queue = self._by_number.get(number)
        return queue if queue is not None and queue.shard == shard else None

    async def _ask(self, number: int) -> None:
        row = await self._connection.registry_row(number)
        if row and number not in self._by_number and number not in self._calendar_numbers:
            self._learn(number, row.decode())

    async def calendar(self, tenant: str) -> Calendar:
        """The calendar of a tenant, made if it does not exist."""
        known = self._calendars.get(tenant)
        return known if known is not None else await self._register_calendar(tenant, 0)

    async def _register_calendar(self, tenant: str, number: int) -> Calendar:
        reply = await self._connection.run(
            scripts.REGISTER, keys.REGISTRY, (f"{tenant}/", number, 0)
        )
        return self._add_calendar(tenant, reply[1])

    def calendars(self) -> list[Calendar]:
        """Every calendar known here: after `refresh`, every one."""
        return list(self._calendars.values())

    async def of_firing(self, firing_id: str) -> tuple[Calendar, bytes] | None:
        """Calendar and name of a firing; None when the id is none. No caller's id comes here."""
        parsed = parse_task_id(firing_id)
        if parsed is None:
            return None
        prefix, name = parsed
        number, shard = parse_prefix(prefix)
        if number not in self._calendar_numbers:
            await self._ask(number)
        calendar = self._calendar_numbers.get(number)
        return (calendar, name) if calendar is not None and shard == 0 else None

    async def refresh(self) -> None:
        """Learns of queues other servers made; gives back rows that a store failover lost."""
        mark = await self._connection.registry_mark()
        if mark == self._mark:
            return
        rows = {
            int(n): name.decode() for n, name in (await self._connection.read_registry()).items()
        }
        for number, name in rows.items():
            if number not in self._by_number and number not in self._calendar_numbers:
                self._learn(number, name)
        for lost in [q for n, q in self._by_number.items() if n not in rows]:
            # Should another server have been quicker, the old number leads to the same queue.
            await self._register(lost.tenant, lost.command, lost.number)
        for gone in [c for n, c in self._calendar_numbers.items() if n not in rows]:
            await self._register_calendar(gone.tenant, gone.number)
        self._mark = mark

    def known(self) -> Iterable[Queue]:
        """Every queue known here."""
        return list(self._by_name.values())

    def within(self, reach: Reach) -> Iterable[Queue]:
        """Every queue within reach that is known here."""
        return [queue for queue in self._by_name.values() if _within(queue, reach)]


def _within(queue: Queue, reach: Reach) -> bool:
    return queue.tenant == reach.tenant and reach.has(queue.command)
