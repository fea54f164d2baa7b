"""What one call looks at is bounded, however few of the tasks match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.broker.selecting import Place, Search, Searches
from codeq_grpc.core.records import Filter
from codeq_grpc.core.task import TaskState
from codeq_grpc.store.keys import Queue
from codeq_grpc.store.reads import Scanned

if TYPE_CHECKING:
    from collections.abc import Sequence

QUEUE: Final = Queue("acme", "RENDER", 7)
WANTED: Final = Filter("RENDER", states=frozenset({TaskState.FAILED}))
LOOK: Final = 10_000
"""As docs/protocol.md has it."""


class Endless:
    """Reads of a queue without end, in which one task of each script's look matches."""

    def __init__(self) -> None:
        self.looked = 0

    async def scan(self, *_: Any, most: int, budget: int) -> Scanned:
        assert most > 0
        assert budget > 0
        assert self.looked < 2 * LOOK
        self.looked += budget
        return Scanned([b"%07d" % self.looked], b"%07d1" % self.looked, budget)

    async def read(self, queue: Queue, names: Sequence[bytes], **_: Any) -> list[None]:
        return [None] * len(names)


class OneQueue:
    """A registry that knows it."""

    async def find(self, *_: Any) -> Queue:
        return QUEUE


async def test_a_page_of_few_matches_ends_with_a_place_to_go_on() -> None:
    reads: Any = Endless()
    search = Search(reads, "acme", QUEUE, WANTED)
    records, place = await search.read(Place(), 1_000, full=False)
    assert (records, reads.looked) == ([], LOOK)
    assert place == Place(0, b"0010000" + b"1")


async def test_a_bulk_call_of_few_matches_ends_with_a_token() -> None:
    reads: Any = Endless()
    registry: Any = OneQueue()
    searches = Searches(registry, reads)
    pages = [page async for page in searches.pages("acme", WANTED, "", "x", 1_000)]
    assert reads.looked == LOOK
    search, _, token = pages[-1]
    assert sum(len(names) for _, names, _ in pages) == LOOK // 50
    assert search.place(token, "x") == Place(0, b"00100001")
