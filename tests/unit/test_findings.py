"""What scripts call a finding, what it means, and what operators read, are of one list."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from codeq_grpc.core.findings import KINDS
from codeq_grpc.store.examining import PARTS
from codeq_grpc.store.keys import SUFFIXES

ROOT = Path(__file__).parents[2]
LUA = Path(str(files("codeq_grpc.store") / "lua"))


def test_kinds_are_those_that_scripts_tell() -> None:
    told = {"unregistered"}
    for path in LUA.rglob("*.lua"):
        for call in re.findall(r"\b(?:tell|drop_flag|give_up)\([^\n]*", path.read_text()):
            told |= set(re.findall(r"'([a-z_]{4,})'", call))
    assert told == KINDS.keys()


def test_operators_can_read_of_every_kind() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for kind, (severity, meaning, remedy, hint) in KINDS.items():
        does = f"nothing; {hint}" if hint else remedy
        assert f"| `{kind}` | {severity} | {meaning} | {does} |" in page


def test_every_key_is_looked_at() -> None:
    """Settings and lists in a way of their own; who waits for work is no more than a hint."""
    lists = {f"r{priority}" for priority in range(10)}
    assert {*PARTS, *lists, "s", "w"} == set(SUFFIXES)
