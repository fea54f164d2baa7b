"""Checks payloads: `python -m codeq_grpc.schemas.child SECONDS`, started by a server only.

What a payload and a schema do to a validator is bounded here, whatever they are: a process that
computes for longer than so many seconds in one turn, or needs too much memory, is ended by the
kernel, and its parent starts another. It opens neither files nor connections.

A request is `>BI`: 0 for a turn, 1 for a schema, 2 for a payload; length. Of this length is what
follows but for a turn, which has none and is not answered: the label of the schema in 16 bytes, and
the text. The answer is `>I` length and, unless all is well, JSON: pointer and message.
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
from typing import TYPE_CHECKING, Final

from codeq_grpc.schemas.judging import Problem, compiled, judge

if TYPE_CHECKING:
    from codeq_grpc.schemas.judging import Validator

REQUEST: Final = struct.Struct(">BI")
ANSWER: Final = struct.Struct(">I")
TURN: Final = 0
SCHEMA: Final = 1
PAYLOAD: Final = 2
LABEL_BYTES: Final = 16

_MEMORY: Final = 1 << 30
_LIMITS: Final = (
    (resource.RLIMIT_AS, _MEMORY),
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_FSIZE, 0),
    (resource.RLIMIT_NOFILE, 0),
)


def main() -> None:
    """Answers until its input ends."""
    seconds = float(sys.argv[1])
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _warm_up()
    for kind, limit in _LIMITS:
        resource.setrlimit(kind, (limit, limit))
    known: dict[bytes, Validator | Problem] = {}
    while len(head := requests.read(REQUEST.size)) == REQUEST.size:
        kind, length = REQUEST.unpack(head)
        if kind == TURN:
            signal.setitimer(signal.ITIMER_PROF, seconds)
            continue
        body = requests.read(length)
        problem = _answer(kind, body[:LABEL_BYTES], body[LABEL_BYTES:], known)
        raw = b"" if problem is None else json.dumps(problem).encode()
        answers.write(ANSWER.pack(len(raw)) + raw)
        answers.flush()


def _answer(
    kind: int, label: bytes, text: bytes, known: dict[bytes, Validator | Problem]
) -> Problem | None:
    if kind == SCHEMA:
        known[label] = found = compiled(text)
    else:
        found = known[label]
    if isinstance(found, Problem):
        return found
    return None if kind == SCHEMA else judge(found, text)


def _warm_up() -> None:
    """Loads whatever is loaded when it is first needed: later nothing can be opened."""
    for text in (b'{"type": "string", "pattern": "^.$"}', b'{"type": 1}'):
        found = compiled(text)
        if not isinstance(found, Problem):
            judge(found, b'{"a": 1.5}')
            judge(found, b'"\\ud800"')
            judge(found, b"\xff")


if __name__ == "__main__":
    main()
