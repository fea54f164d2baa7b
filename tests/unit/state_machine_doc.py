"""Writes docs/state-machine.md from the table in `core/task.py`; `make docs` runs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codeq_grpc.core.task import TERMINAL, TRANSITIONS, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.core.task import Transition

_HEAD: Final = """\
# The state machine

Every way of a task from one state to the next, made from the table in `codeq_grpc/core/task.py` by
`make docs`. The tests drive a real store beside a model and allow no other.
"""
_COUNTS: Final = {None: "from 0", 0: "", 1: "+1", -1: "-1"}


def _name(state: TaskState | None) -> str:
    return "[*]" if state is None else state.name


def _arrows() -> Iterator[str]:
    """One line for each pair of states; the events that lead from one to the other."""
    events: dict[tuple[str, str], list[str]] = {}
    for one in TRANSITIONS:
        events.setdefault((_name(one.source), _name(one.target)), []).append(one.event)
    for (source, target), names in events.items():
        yield f"    {source} --> {target}: {' / '.join(names)}\n"


def _row(one: Transition) -> str:
    source = "none" if one.source is None else one.source.name
    target = "deleted" if one.target is None else one.target.name
    return f"| {source} | {one.event} | {target} | {_COUNTS[one.counts]} |\n"


def text() -> str:
    """A diagram and a table."""
    diagram = "".join(_arrows())
    table = "".join(_row(one) for one in TRANSITIONS)
    ended = ", ".join(sorted(state.name for state in TERMINAL))
    return (
        f"{_HEAD}\n```mermaid\nstateDiagram-v2\n{diagram}```\n\nTerminal states: {ended}.\n\n"
        f"| from | event | to | attempt |\n|---|---|---|---|\n{table}"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(text())
