"""What an import remembers: for ever what it has moved, for one run what it has seen.

SQLite keeps both: a file for the one, its temporary file for the other, so that neither needs
memory. A run begins with another look at the old store, so nothing in the file can be out of date.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from codeq_grpc.legacy.keyspace import Place
from codeq_grpc.legacy.plan import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from codeq_grpc.legacy.keyspace import Queue
    from codeq_grpc.legacy.reader import Entry

_LASTING: Final = """
CREATE TABLE IF NOT EXISTS import (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS moved (id BLOB PRIMARY KEY, tenant TEXT, task_id TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS key (id BLOB PRIMARY KEY, name TEXT, ttl_ms INTEGER) WITHOUT ROWID;
"""
_PASSING: Final = """
CREATE TEMP TABLE entry (
    n INTEGER PRIMARY KEY, id BLOB, queue INTEGER, place INTEGER, score REAL, UNIQUE (id, queue)
);
CREATE TEMP TABLE told (
    id BLOB PRIMARY KEY, command TEXT, state TEXT, verdict TEXT, reason TEXT
) WITHOUT ROWID;
CREATE TEMP TABLE orphan (id BLOB PRIMARY KEY, created INTEGER);
"""
_FOREVER_MS: Final = 253_402_300_799_000
_PROBED: Final = 20


class BookInUse(Exception):
    """Another import writes in this file."""


class BadBook(Exception):
    """The file is of another import, or none; the message says which."""


class Told(NamedTuple):
    """What became of an id, as the report counts it."""

    task_id: bytes
    command: str
    state: str
    verdict: str
    reason: str


class Book:
    """One import."""

    def __init__(self, path: Path, about: Mapping[str, str], *, dry: bool) -> None:
        """`about` says which import this is; with `dry` nothing is written, nor made."""
        there = not dry or path.exists()
        name = f"{path.absolute().as_uri()}?mode={'ro' if dry else 'rwc'}" if there else ":memory:"
        try:
            self._db = sqlite3.connect(name, uri=True, timeout=0)
        except sqlite3.Error as error:
            raise BadBook(f"{path}: {error}") from error
        try:
            self._db.execute("PRAGMA temp_store = FILE")  # before there is any such table
            if dry:
                self._db.execute("CREATE TEMP TABLE key (id BLOB PRIMARY KEY, name TEXT, ttl_ms)")
            else:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            if not (dry and there):
                self._db.executescript(f"BEGIN EXCLUSIVE; {_LASTING} COMMIT;")
            self._claim(about, path, dry=dry)
        except (sqlite3.Error, BadBook) as error:
            self._db.close()
            if "locked" in str(error):
                raise BookInUse(f"another import writes in {path}") from error
            if isinstance(error, sqlite3.Error):
                raise BadBook(f"{path} is not the progress of an import: {error}") from error
            raise
        self._db.executescript(_PASSING)
        self._queues: list[tuple[Queue, str]] = []

    def _claim(self, about: Mapping[str, str], path: Path, *, dry: bool) -> None:
        known = dict(self._db.execute("SELECT name, value FROM main.import"))
        for name, value in about.items():
            if known.get(name, value) != value:
                raise BadBook(f"{path} is of an import with {name} {known[name]}, not {value}")
        if not dry:
            self._db.executemany("INSERT OR IGNORE INTO import VALUES (?, ?)", about.items())
            self._db.commit()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def commit(self) -> None:
        """What was noted stays."""
        self._db.commit()

    def enter(self, queue: Queue, kind: str, steps: Iterable[Entry]) -> int:
        """Notes ids of a queue in their order; how many of them it had already."""
        if not self._queues or self._queues[-1] != (queue, kind):
            self._queues.append((queue, kind))
        number = len(self._queues) - 1
        rows = [(task_id, number, int(queue.place), score) for task_id, score in steps]
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO entry (id, queue, place, score) VALUES (?, ?, ?, ?)", rows
        )
        return len(rows) - (self._db.total_changes - before)

    def entered(self, step: int) -> Iterator[list[bytes]]:
        """All ids in the order of their first entry, some at a time; one may come twice."""
        n = 0
        while rows := self._db.execute(
            "SELECT n, id FROM entry WHERE n > ? ORDER BY n LIMIT ?", (n, step)
        ).fetchall():
            n = rows[-1][0]
            yield [task_id for _, task_id in rows]

    def standing(self, task_id: bytes) -> Standing:
        """Where an id stands."""
        place, due = Place.NOWHERE, 0
        for number, score in self._db.execute(
            "SELECT place, score FROM entry WHERE id = ? ORDER BY n", (task_id,)
        ):
            place |= Place(number)
            if score is not None and not due:
                due = int(min(max(score * 1_000, 0), _FOREVER_MS))
        return Standing(place, due)

    def queues_of(self, task_id: bytes) -> list[tuple[Queue, str]]:
        """The queues with an id, and of what type they are."""
        rows = self._db.execute("SELECT queue FROM entry WHERE id = ?", (task_id,))
        return [self._queues[number] for (number,) in rows]

    def note_key(self, task_id: bytes, name: str, ttl_ms: int) -> None:
        """The idempotency key of a task. The first one stays: a repeat must come with the same."""
        self._db.execute("INSERT OR IGNORE INTO key VALUES (?, ?, ?)", (task_id, name, ttl_ms))

    def key_of(self, task_id: bytes) -> tuple[str, int] | None:
        """The idempotency key of a task, and for how long it had it."""
        row = self._db.execute("SELECT name, ttl_ms FROM key WHERE id = ?", (task_id,)).fetchone()
        return row and (row[0], row[1])

    def note_orphan(self, task_id: bytes, created_ms: int) -> None:
        """To be moved after all others, oldest first."""
        self._db.execute("INSERT OR IGNORE INTO orphan VALUES (?, ?)", (task_id, created_ms))

    def orphans(self, step: int) -> Iterator[list[bytes]]:
        """All of them, some at a time."""
        cursor = self._db.execute("SELECT id FROM orphan ORDER BY created, id")
        while rows := cursor.fetchmany(step):
            yield [task_id for (task_id,) in rows]

    def is_told(self, task_id: bytes) -> bool:
        """Whether it was dealt with in this run."""
        return bool(self._db.execute("SELECT 1 FROM told WHERE id = ?", (task_id,)).fetchone())

    def tell(self, told: Sequence[Told]) -> None:
        """What became of tasks."""
        self._db.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?)", told)

    def has_moved(self, task_id: bytes) -> bool:
        """Whether it is in codeQ."""
        return bool(self._db.execute("SELECT 1 FROM moved WHERE id = ?", (task_id,)).fetchone())

    def move(self, task_id: bytes, tenant: str, new_id: str) -> None:
        """It is in codeQ."""
        self._db.execute("INSERT OR REPLACE INTO moved VALUES (?, ?, ?)", (task_id, tenant, new_id))

    def probes(self) -> dict[str, list[str]]:
        """Tenant -> ids of some tasks that went there."""
        found = {}
        for (tenant,) in self._db.execute("SELECT DISTINCT tenant FROM moved").fetchall():
            rows = self._db.execute(
                "SELECT task_id FROM moved WHERE tenant = ? ORDER BY task_id DESC LIMIT ?",
                (tenant, _PROBED),
            )
            found[tenant] = [new_id for (new_id,) in rows]
        return found

    def counts(self) -> list[tuple[str, str, str, str, int]]:
        """Command, state, verdict, reason, and how many."""
        return self._db.execute(
            "SELECT command, state, verdict, reason, count(*) FROM told"
            " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        ).fetchall()
