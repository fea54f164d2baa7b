"""Loads `lua/*.lua`: resolves includes, reads the keys from the header.

A script's header states purpose, KEYS, ARGV and reply. KEYS are the suffixes of the queue's keys;
behind the header the loader makes a local of each, and of `r` a table of the ten lists by priority.
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
_HEADER: Final = re.compile(r"#!.*\n(--(?! @include).*\n)*")
_LISTS: Final = {"r": tuple(f"r{priority}" for priority in range(10))}
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
    keys, header = _KEYS.search(text), _HEADER.match(text)
    if keys is None or header is None:
        message = f"lua/{name}.lua has no header or no KEYS line"
        raise RuntimeError(message)
    named = keys.group(1).split()
    text = header.group() + _locals(named) + text[header.end() :]
    for include in _INCLUDE.findall(text):
        fragment = (_LUA / "lib" / f"{include}.lua").read_text()
        text = text.replace(f"-- @include {include}\n", fragment)
    source = text.encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return Script(name, source, sha, tuple(s for key in named for s in _LISTS.get(key, (key,))))


def _locals(named: list[str]) -> str:
    """Names for KEYS; `r` stands for ten."""
    places = {key: f"KEYS[{i}]" for i, key in enumerate(named, 1)}
    if "r" in places:
        lists = (f"KEYS[{i}]" for i in range(len(named) + 1, len(named) + 10))
        places["r"] = f"{{ [0] = {places['r']},\n  {', '.join(lists)} }}"
    return "".join(f"local {key} = {place}\n" for key, place in places.items())


ENQUEUE: Final = _load("enqueue")
CLAIM: Final = _load("claim")
RECALL: Final = _load("recall")
HEARTBEAT: Final = _load("heartbeat")
REPORT: Final = _load("report")
CANCEL: Final = _load("cancel")
REDRIVE: Final = _load("redrive")
PROMOTE: Final = _load("promote")
REAP: Final = _load("reap")
PEEK: Final = _load("peek")
PRUNE: Final = _load("prune")
SWEEP: Final = _load("sweep")
PURGE: Final = _load("purge")
CONFIGURE: Final = _load("configure")
SETTINGS: Final = _load("settings")
SCAN: Final = _load("scan")
READ: Final = _load("read")
STATES: Final = _load("states")
STATS: Final = _load("stats")
BACKLOG: Final = _load("backlog")
HELD: Final = _load("held")
AWAIT_END: Final = _load("await_end")
WATCH: Final = _load("watch")
PASS_ON: Final = _load("pass_on")
OWED: Final = _load("owed")
SETTLE: Final = _load("settle")
FOLLOW: Final = _load("follow")
RESOLVE: Final = _load("resolve")
REGISTER: Final = _load("register")
ENTRIES: Final = _load("entries")
FOLLOWS: Final = _load("follows")
VITALS: Final = _load("vitals")
EXAMINE: Final = _load("examine")
SET_ASIDE: Final = _load("set_aside")
EXAMINE_REGISTRY: Final = _load("examine_registry")
MAKE_KEY: Final = _load("make_key")
FIND_KEYS: Final = _load("find_keys")
LIST_KEYS: Final = _load("list_keys")
REVOKE_KEY: Final = _load("revoke_key")
NOTE_KEYS: Final = _load("note_keys")
FORGET_KEYS: Final = _load("forget_keys")
EXAMINE_KEYS: Final = _load("examine_keys")
PRESENT: Final = _load("present")
PRESENCE: Final = _load("presence")
STAMP: Final = _load("stamp")
RECORD: Final = _load("record")
RECORDED: Final = _load("recorded")
PUT_SCHEDULE: Final = _load("put_schedule")
DELETE_SCHEDULE: Final = _load("delete_schedule")
READ_SCHEDULES: Final = _load("read_schedules")
LIST_SCHEDULES: Final = _load("list_schedules")
SCHEDULE_VERSIONS: Final = _load("schedule_versions")
PAUSE_SCHEDULES: Final = _load("pause_schedules")
DUE_SCHEDULES: Final = _load("due_schedules")
FIRE_SCHEDULES: Final = _load("fire_schedules")
OWED_FIRINGS: Final = _load("owed_firings")
SETTLE_FIRINGS: Final = _load("settle_firings")
CONCLUDE_FIRINGS: Final = _load("conclude_firings")
LIST_FIRINGS: Final = _load("list_firings")
PEEK_CALENDAR: Final = _load("peek_calendar")
PRUNE_CALENDAR: Final = _load("prune_calendar")
EXAMINE_CALENDAR: Final = _load("examine_calendar")

ALL: Final = (
    ENQUEUE,
    CLAIM,
    RECALL,
    HEARTBEAT,
    REPORT,
    CANCEL,
    REDRIVE,
    PROMOTE,
    REAP,
    PEEK,
    PRUNE,
    SWEEP,
    PURGE,
    CONFIGURE,
    SETTINGS,
    SCAN,
    READ,
    STATES,
    STATS,
    BACKLOG,
    HELD,
    AWAIT_END,
    WATCH,
    PASS_ON,
    OWED,
    SETTLE,
    FOLLOW,
    RESOLVE,
    REGISTER,
    ENTRIES,
    FOLLOWS,
    VITALS,
    EXAMINE,
    SET_ASIDE,
    EXAMINE_REGISTRY,
    MAKE_KEY,
    FIND_KEYS,
    LIST_KEYS,
    REVOKE_KEY,
    NOTE_KEYS,
    FORGET_KEYS,
    EXAMINE_KEYS,
    PRESENT,
    PRESENCE,
    STAMP,
    RECORD,
    RECORDED,
    PUT_SCHEDULE,
    DELETE_SCHEDULE,
    READ_SCHEDULES,
    LIST_SCHEDULES,
    SCHEDULE_VERSIONS,
    PAUSE_SCHEDULES,
    DUE_SCHEDULES,
    FIRE_SCHEDULES,
    OWED_FIRINGS,
    SETTLE_FIRINGS,
    CONCLUDE_FIRINGS,
    LIST_FIRINGS,
    PEEK_CALENDAR,
    PRUNE_CALENDAR,
    EXAMINE_CALENDAR,
)


def _write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for script in ALL:
        (folder / f"{script.name}.lua").write_bytes(script.source)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
