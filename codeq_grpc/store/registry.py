"""Which queues there are: name <-> number, cached in the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.core.errors import QuotaExceeded
from codeq_grpc.core.quotas import EVERYBODY
from codeq_grpc.store import keys, scripts
from codeq_grpc.store.keys import Queue, parse_prefix, parse_task_id

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
        self._mark: bytes | None = None

    def _add(self, number: int, name: str) -> Queue:
        tenant, command = name.split("/", 1)
        queue = Queue(tenant, command, number)
        self._by_name.setdefault((tenant, command), queue)
        self._by_number[number] = self._by_prefix[queue.prefix] = queue
        return queue

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
        return self._add(reply[1], name)

    async def find(self, tenant: str, command: str) -> Queue:
        """The queue; with number 0 when it has had no task yet. Makes nothing."""
        known = self._by_name.get((tenant, command))
        if known is not None:
            return known
        number = await self._connection.registry_number(f"{tenant}/{command}")
        return self._add(number, f"{tenant}/{command}") if number else Queue(tenant, command)

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
        row = await self._connection.registry_row(number)
        queue = self._by_number.get(number)
        if queue is None:
            queue = self._add(number, row.decode()) if row else None
        return queue if queue is not None and queue.shard == shard else None

    async def refresh(self) -> None:
        """Learns of queues other servers made; gives back rows that a store failover lost."""
        mark = await self._connection.registry_mark()
        if mark == self._mark:
            return
        rows = {
            int(n): name.decode() for n, name in (await self._connection.read_registry()).items()
        }
        for number, name in rows.items():
            if number not in self._by_number:
                self._add(number, name)
        for lost in [q for n, q in self._by_number.items() if n not in rows]:
            # Should another server have been quicker, the old number leads to the same queue.
            await self._register(lost.tenant, lost.command, lost.number)
        self._mark = mark

    def known(self) -> Iterable[Queue]:
        """Every queue known here."""
        return list(self._by_name.values())

    def within(self, reach: Reach) -> Iterable[Queue]:
        """Every queue within reach that is known here."""
        return [queue for queue in self._by_name.values() if _within(queue, reach)]


def _within(queue: Queue, reach: Reach) -> bool:
    return queue.tenant == reach.tenant and reach.has(queue.command)
