"""Which commands a script can come to, read off its text."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codeq_grpc.store.scripts import Script

_FUNCTION: Final = re.compile(r"^local function (\w+)\(.*?^end$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"--.*")
_COMMAND: Final = re.compile(r"\b(?:redis\.call|write)\('(\w+)'")
_WORD: Final = re.compile(r"\w+")


@functools.cache
def reachable_code(script: Script) -> str:
    """A script with its fragments, without comments and functions that nothing leads to."""
    text = _COMMENT.sub("", script.source.decode())
    functions = {found.group(1): found.group() for found in _FUNCTION.finditer(text)}
    reached, fresh = _FUNCTION.sub("", text), _FUNCTION.sub("", text)
    while fresh:
        called = functions.keys() & set(_WORD.findall(fresh))
        fresh = "\n".join(functions.pop(name) for name in called)
        reached += fresh
    return reached


@functools.cache
def commands_of(script: Script) -> frozenset[str]:
    """They stand in `redis.call('X'` and `write('X'`."""
    return frozenset(_COMMAND.findall(reachable_code(script)))
