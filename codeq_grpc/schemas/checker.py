"""Holds payloads against schemas, none of which holds up the others for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codeq_grpc.core.clock import monotonic
from codeq_grpc.core.errors import SchemaUnavailable
from codeq_grpc.schemas.lane import Answer, Lane, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("Answer", "Checker", "Schema")

_QUICK: Final = 0.1
_SLOW: Final = 1.0
"""Seconds of computing: of those payloads of a call that are asked about together, beyond which the
schema goes to a lane with its like; and of one payload there, beyond which that is refused."""
_STAY: Final = 60.0
"""Seconds for which a schema keeps to the slow lane ..."""
_MARKED: Final = 10_000
"""... and how many are remembered."""
_WAITING: Final = 10_000
_WAITING_SLOWLY: Final = 64
PART: Final = 32
PART_BYTES: Final = 256 << 10
"""Of one question, after which it is another tenant's turn."""

TOO_LONG: Final = f"cannot be checked within {_SLOW:g} s of computing"


class Checker:
    """Two processes at most."""

    def __init__(self) -> None:
        self._quick = Lane(_QUICK, _WAITING)
        self._slow = Lane(_SLOW, _WAITING_SLOWLY)
        self._slow_until: dict[bytes, float] = {}

    async def close(self) -> None:
        """Ends them."""
        await self._quick.close()
        await self._slow.close()

    async def fault(self, schema: Schema, tenant: str = "") -> str:
        """What is wrong with a schema itself, or nothing. Raises SchemaUnavailable."""
        (answer,) = await self._slow.ask(schema, (), tenant)
        return TOO_LONG if answer.gone else told(answer)

    async def judge(
        self, schema: Schema, payloads: Sequence[bytes], tenant: str = ""
    ) -> list[Answer]:
        """What is wrong with each; `gone` if that takes too long to tell. Raises
        SchemaUnavailable, too, when the schema cannot be used here.
        """
        answers: list[Answer] = []
        for part in _parts(payloads):
            answers += await self._judge(schema, part, tenant)
        return answers

    async def _judge(self, schema: Schema, part: Sequence[bytes], tenant: str) -> list[Answer]:
        if self._is_slow(schema.label):
            return await self._judge_slowly(schema, part, tenant)
        about, *answers = await self._quick.ask(schema, part, tenant)
        if about.gone or any(one.gone for one in answers):
            self._mark(schema.label)
            return await self._judge_slowly(schema, part, tenant)
        _usable(about)
        return answers

    async def _judge_slowly(
        self, schema: Schema, part: Sequence[bytes], tenant: str
    ) -> list[Answer]:
        answers = []
        for payload in part:
            about, *rest = await self._slow.ask(schema, [payload], tenant)
            _usable(about)
            answers += rest
        return answers

    def _is_slow(self, label: bytes) -> bool:
        return self._slow_until.get(label, 0.0) > monotonic()

    def _mark(self, label: bytes) -> None:
        if len(self._slow_until) >= _MARKED:
            self._slow_until.clear()
        self._slow_until[label] = monotonic() + _STAY


def told(answer: Answer) -> str:
    """What is wrong, after the place."""
    return f"{answer.pointer}: {answer.message}" if answer.pointer else answer.message


def _usable(about: Answer) -> None:
    if about.gone or about.message:
        why = TOO_LONG if about.gone else told(about)
        raise SchemaUnavailable(f"the payload schema of the queue cannot be used here: {why}")


def _parts(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    part: list[bytes] = []
    size = 0
    for payload in payloads:
        if part and (len(part) >= PART or size + len(payload) > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(payload)
        size += len(payload)
    if part:
        yield part
