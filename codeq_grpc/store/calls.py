"""How the stores of this room run their scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.connection import Connection
    from codeq_grpc.store.keys import Calendar, Queue
    from codeq_grpc.store.scripts import Script


class Calls:
    """Runs scripts on queues and calendars. Subclasses may raise StoreUnavailable or StoreFull."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def _run(self, script: Script, place: Queue | Calendar, args: Sequence[Any] = ()) -> Any:
        return await self._connection.run(script, [place.keys[s] for s in script.suffixes], args)
