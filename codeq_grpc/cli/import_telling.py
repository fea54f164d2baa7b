"""What an import tells in the end."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections import Counter
from typing import IO, TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli import documents, tables
from codeq_grpc.legacy.plan import REFUSE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codeq_grpc.legacy.book import Book

_EXAMPLES: Final = 10
_LINES: Final = 500
"""More are for programs: `--json` has all of them."""
_NOTES: Final = {
    "unknown_keys": "queue keys of a type or name that is not known",
    "repeated": "ids that stood in one list several times",
    "results_alone": "results whose tasks are gone",
    "webhooks": "moved tasks with a webhook: codeQ calls none; the header legacy-webhook has it",
    "subscriptions": "subscriptions of workers: there are none in codeQ",
    "topics": "topics: what they say of retries and retention is for `codeq queues set`",
    "keys_as_headers": "moved tasks with an idempotency key (--keep-keys keeps them)",
}


class Report:
    """Counts, and examples of what was refused."""

    def __init__(self, source: str, prefix: str, *, dry: bool, as_json: bool) -> None:
        self._about = {"source": source, "prefix": prefix, "dryRun": dry}
        self._as_json = as_json
        self.finished = False
        self.notes: Counter[str] = Counter()
        self._examples: dict[str, list[dict[str, str]]] = {}

    def example(self, reason: str, task_id: bytes, detail: str) -> None:
        """One of those that were not moved."""
        kept = self._examples.setdefault(reason, [])
        if len(kept) < _EXAMPLES:
            kept.append({"id": task_id.decode(errors="backslashreplace"), "detail": detail})

    def close(self, book: Book) -> int:
        """Writes the report; the exit code."""
        rows = book.counts()
        refused = sum(row[-1] for row in rows if row[2] == REFUSE)
        if self._as_json:
            names = ("command", "state", "decision", "reason", "tasks")
            counts = [dict(zip(names, row, strict=True)) for row in rows]
            document = {
                **self._about,
                "finished": self.finished,
                "counts": counts,
                "refused": refused,
                "examples": self._examples,
                "notes": {name: self.notes[name] for name in _NOTES},
            }
            click.echo(documents.line(document))
        elif rows:
            self._show(rows)
        return 1 if refused or not self.finished else 0

    def _show(self, rows: Sequence[tuple[str, str, str, str, int]]) -> None:
        columns = {
            "COMMAND": tables.Column.FOLDED,
            "STATE": tables.Column.FIXED,
            "DECISION": tables.Column.FIXED,
            "TASKS": tables.Column.NUMBER,
        }
        table = tables.table(columns)
        for command, state, verdict, reason, count in rows[:_LINES]:
            decision = ": ".join(filter(None, (verdict, reason)))
            table.add_row(tables.plain(command or "-"), state, decision, str(count))
        tables.show(table)
        if len(rows) > _LINES:
            click.echo(f"and {len(rows) - _LINES} more lines; --json has all")
        totals: Counter[str] = Counter()
        for _, _, verdict, _, count in rows:
            totals[verdict] += count
        click.echo(", ".join(f"{count} {verdict}" for verdict, count in totals.most_common()))
        for name, note in _NOTES.items():
            if self.notes[name]:
                click.echo(f"note: {self.notes[name]} {note}")
        for reason, some in self._examples.items():
            for one in some:
                shown = documents.harmless(f"{one['id']}: {reason}: {one['detail']}")
                click.echo(shown)


class Rest:
    """The file with what was not moved, one JSON document a line; it has its name when it is
    complete.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._file: IO[str] = self._part.open("w", encoding="utf-8")

    def add(self, task_id: bytes, decision: str, task: bytes | None, result: bytes | None) -> None:
        """One task with its result, as they stood there."""
        self._file.write(
            documents.line(
                {
                    "id": task_id.decode(errors="backslashreplace"),
                    "decision": decision,
                    **_shown("task", task),
                    **_shown("result", result),
                }
            )
            + "\n"
        )

    def close(self, *, finished: bool) -> None:
        """Ends the file, under its name if it is finished."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if finished:
            self._part.replace(self._path)


def _shown(name: str, raw: bytes | None) -> dict[str, Any]:
    """A record as the JSON that it is, or its bytes."""
    if raw is None:
        return {}
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(raw)
        documents.line({name: found}).encode()
        return {name: found}
    return {f"{name}Bytes": base64.b64encode(raw).decode()}
