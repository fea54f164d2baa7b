"""Loads `lua/*.lua`: resolves includes, reads the keys from the header.

A script's header states purpose, KEYS (suffixes of the queue's keys, in order), ARGV and reply.
`-- @include name` is replaced by `lua/lib/name.lua`. `python -m codeq_grpc.store.scripts DIR`
writes the scripts as the store gets them, for the linter.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

_INCLUDE: Final = re.compile(r"^-- @include (\w+)$", re.MULTILINE)
_KEYS: Final = re.compile(r"^-- KEYS: (.+)$", re.MULTILINE)
_LUA: Final = files("codeq_grpc.store") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One transition: what is sent to the store and which keys it touches."""

    name: str
    source: bytes
    sha: bytes
    suffixes: tuple[str, ...]


def _load(name: str) -> Script:
    text = (_LUA / f"{name}.lua").read_text()
    keys = _KEYS.search(text)
    if keys is None:
        message = f"lua/{name}.lua has no KEYS line"
        raise RuntimeError(message)
    for include in _INCLUDE.findall(text):
        fragment = (_LUA / "lib" / f"{include}.lua").read_text()
        text = text.replace(f"-- @include {include}\n", fragment)
    source = text.encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(name, source, sha, tuple(keys.group(1).split()))


ENQUEUE: Final = _load("enqueue")
CLAIM: Final = _load("claim")
HEARTBEAT: Final = _load("heartbeat")
REPORT: Final = _load("report")
PROMOTE: Final = _load("promote")
REAP: Final = _load("reap")
PRUNE: Final = _load("prune")
GET: Final = _load("get")
AWAIT_END: Final = _load("await_end")
HELD: Final = _load("held")
PASS_ON: Final = _load("pass_on")
STATS: Final = _load("stats")
REGISTER: Final = _load("register")

ALL: Final = (
    ENQUEUE,
    CLAIM,
    HEARTBEAT,
    REPORT,
    PROMOTE,
    REAP,
    PRUNE,
    GET,
    AWAIT_END,
    HELD,
    PASS_ON,
    STATS,
    REGISTER,
)


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for script in ALL:
        (folder / f"{script.name}.lua").write_bytes(script.source)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
