"""Payload schemas of queues: what a payload must satisfy to be enqueued.

A server holds payloads against the schema that it knows, and hands its label to the store, which
adds nothing if the queue has another by then. So no payload gets in past a schema once the call
that set it has returned, whatever server it goes to, and a queue without one costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.errors import (
    InvalidField,
    PayloadInvalid,
    SchemaUnavailable,
    StoreUnavailable,
)
from codeq_grpc.core.queues import schema_label
from codeq_grpc.schemas.checker import PART, PART_BYTES, TOO_LONG, Answer, Checker, Schema, told
from codeq_grpc.store.coalescer import Bounds, Coalescer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codeq_grpc.core.errors import CodeQError
    from codeq_grpc.core.records import NewTask
    from codeq_grpc.store.keys import Queue
    from codeq_grpc.store.queues import QueueStore

_KNOWN: Final = 512
"""Queues with a schema that are remembered: 32 MiB at most."""
_JSON: Final = "application/json"
_TOGETHER: Final = Bounds(items=PART, size=PART_BYTES, timeout=30.0)


class Known(NamedTuple):
    """A queue's schema, and the label under which the store has it."""

    label: bytes = b""
    schema: Schema | None = None


_NONE: Final = Known()


class Schemas:
    """Of all queues. `schema_of` finds the schema among stored settings, `opened` data and media
    type in the payload of a task.
    """

    def __init__(
        self,
        store: QueueStore,
        schema_of: Callable[[bytes], str],
        opened: Callable[[bytes], tuple[bytes, str]],
    ) -> None:
        self._store = store
        self._schema_of = schema_of
        self._opened = opened
        self._checker = Checker()
        # Calls of a tenant that come while others are checked against the same schema go together.
        self._judging = Coalescer(self._judge, len, _TOGETHER)
        self._known: dict[Queue, Known] = {}

    async def close(self) -> None:
        """Ends the processes that check."""
        await self._checker.close()

    def known(self, queue: Queue) -> Known:
        """The schema as far as this server knows."""
        return self._known.get(queue, _NONE)

    async def learn(self, queue: Queue) -> None:
        """Reads it from the store."""
        _, message, label = await self._store.settings(queue)
        self._known.pop(queue, None)
        if not label:
            return
        if len(self._known) >= _KNOWN:
            self._known.clear()
        text = self._schema_of(message)
        self._known[queue] = Known(label, Schema(schema_label(text), text.encode()))

    async def check(self, tenant: str, schema: str, path: str) -> None:
        """Raises InvalidField if it is none, or SchemaUnavailable."""
        if schema:
            asked = Schema(schema_label(schema), schema.encode())
            problem = await self._checker.fault(asked, tenant)
            if problem:
                raise InvalidField.at(path, problem)

    async def faults(
        self, tenant: str, known: Known, tasks: Sequence[NewTask]
    ) -> dict[int, CodeQError]:
        """What is wrong with payloads, by index. Raises SchemaUnavailable."""
        if known.schema is None:
            return {}
        faults: dict[int, CodeQError] = {}
        payloads: dict[int, bytes] = {}
        for i, task in enumerate(tasks):
            data, content_type = self._opened(task.payload)
            if _is_json(content_type):
                payloads[i] = data
            else:
                problem = f"must be empty, {_JSON} or end in +json: the queue has a payload schema"
                faults[i] = _invalid(f"{task.path}.payload.content_type", problem)
        answers: Sequence[Answer] = ()
        if payloads:
            answers = await self._answers((tenant, known.schema), list(payloads.values()))
        for i, answer in zip(payloads, answers, strict=True):
            problem = TOO_LONG if answer.gone else told(answer)
            if problem:
                path = f"{tasks[i].path}.payload.data"
                faults[i] = _invalid(path, problem, answer.pointer)
        return faults

    async def _answers(
        self, asked: tuple[str, Schema], payloads: Sequence[bytes]
    ) -> Sequence[Answer]:
        try:
            answers, _ = await self._judging(asked, payloads)
        except StoreUnavailable:  # what waits for too long, as the coalescer calls it
            raise SchemaUnavailable from None
        return answers

    async def _judge(
        self, asked: tuple[str, Schema], payloads: Sequence[bytes], _seconds: float
    ) -> tuple[Sequence[Answer], None]:
        tenant, schema = asked
        return await self._checker.judge(schema, payloads, tenant), None


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return not content_type or kind == _JSON or (kind.endswith("+json") and "/" in kind)


def _invalid(path: str, problem: str, pointer: str = "") -> PayloadInvalid:
    metadata = {"field": path, "pointer": pointer} if pointer else {"field": path}
    return PayloadInvalid(f"{path}: {problem}", fields={path: problem}, metadata=metadata)
