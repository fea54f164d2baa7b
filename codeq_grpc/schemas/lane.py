"""A process that checks payloads, as the server sees it: one question at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.errors import SchemaUnavailable
from codeq_grpc.schemas.child import ANSWER, PAYLOAD, REQUEST, SCHEMA, TURN
from codeq_grpc.schemas.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)
_PROGRAM: Final = ("-P", "-m", "codeq_grpc.schemas.child")
"""-P: not from whatever stands in the current directory."""
_SCHEMAS: Final = 256
"""That one process knows; then another is started, so that they do not pile up."""


_KILLED: Final = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""By somebody: not by what it was given."""


class Schema(NamedTuple):
    """A JSON text, and 16 bytes that stand for it."""

    label: bytes
    text: bytes


class Answer(NamedTuple):
    """What is wrong, if anything is; `gone` if the process ended instead of saying it."""

    pointer: str = ""
    message: str = ""
    gone: bool = False


_GOOD: Final = Answer()
_GONE: Final = Answer(gone=True)
_TURN: Final = REQUEST.pack(TURN, 0)


class Lane:
    """At most one process; it is started when it is needed, and anew when it has ended."""

    def __init__(self, seconds: float, most: int) -> None:
        """Of computing for a schema, and for the texts of one call; and how many of each tenant
        may wait.
        """
        self._seconds = seconds
        self._turn = Turn(most)
        self._process: asyncio.subprocess.Process | None = None
        self._told: set[bytes] = set()
        self._asking: asyncio.Task[list[Answer]] | None = None
        self._closed = False

    async def ask(self, schema: Schema, texts: Sequence[bytes], tenant: str = "") -> list[Answer]:
        """An answer about the schema, and one about each text, by turns with other tenants. Who is
        cancelled leaves it be: what was asked is answered before the next is. Raises
        SchemaUnavailable.
        """
        if self._turn.is_full(tenant):
            raise SchemaUnavailable
        await self._turn.take(tenant)
        self._asking = asyncio.get_running_loop().create_task(self._ask(schema, texts))
        self._asking.add_done_callback(self._asked)
        return await asyncio.shield(self._asking)

    def _asked(self, task: asyncio.Task[list[Answer]]) -> None:
        self._turn.give()
        if not task.cancelled():
            task.exception()  # its caller may have left by now

    async def close(self) -> None:
        """Ends the process."""
        self._closed = True
        await self._end()
        if self._asking is not None:
            await asyncio.wait([self._asking])

    async def _ask(self, schema: Schema, texts: Sequence[bytes]) -> list[Answer]:
        if len(self._told) >= _SCHEMAS:
            await self._end()
        about, *answers = await self._exchange(schema, texts)
        while not about.gone and len(answers) < len(texts):
            # It ended over the last of them; the others are for the next one.
            about, *more = await self._exchange(schema, texts[len(answers) :])
            answers += more
        return [about, *answers]

    async def _exchange(self, schema: Schema, texts: Sequence[bytes]) -> list[Answer]:
        """Answers, up to the first that did not come."""
        process = await self._running()
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - it has pipes
        knows = schema.label in self._told
        answers = [_GOOD] if knows else []
        requests = [] if knows else [_TURN, _request(SCHEMA, schema.label, schema.text)]
        requests += [_TURN, *(_request(PAYLOAD, schema.label, text) for text in texts)]
        try:
            process.stdin.writelines(requests)
            await process.stdin.drain()
            while len(answers) <= len(texts):
                answers.append(await _answer(process.stdout))
                self._told.add(schema.label)
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self._left()
            _log.warning("a process that checks payloads ended over one", extra={"code": code})
            if code in _KILLED:
                raise SchemaUnavailable from None
            answers.append(_GONE)
        return answers

    async def _running(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise SchemaUnavailable
        if self._process is not None and self._process.returncode is not None:
            await self._left()
        if self._process is None:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *_PROGRAM,
                    str(self._seconds),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    # What it says of itself might show what it was given.
                    stderr=asyncio.subprocess.DEVNULL,
                    # Secrets of the server are none of its business.
                    env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
                    start_new_session=True,
                )
            except OSError as error:
                _log.warning("cannot start a process that checks payloads: %s", error)
                raise SchemaUnavailable from error
        return self._process

    async def _end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._left()

    async def _left(self) -> int:
        """When it has ended; what it ended with."""
        process, self._process = self._process, None
        self._told.clear()
        if process is None:
            return 0
        assert process.stdin is not None  # noqa: S101 - it has pipes
        process.stdin.close()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
        return await process.wait()


def _request(kind: int, label: bytes, text: bytes) -> bytes:
    return REQUEST.pack(kind, len(label) + len(text)) + label + text


async def _answer(stream: asyncio.StreamReader) -> Answer:
    (length,) = ANSWER.unpack(await stream.readexactly(ANSWER.size))
    return Answer(*json.loads(await stream.readexactly(length))) if length else _GOOD
