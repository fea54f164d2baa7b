"""The rules of `codeq import-legacy`: what keys and records mean, and what becomes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.cli.import_telling import Report
from codeq_grpc.legacy.book import BadBook, Book, BookInUse
from codeq_grpc.legacy.keyspace import Keyspace, Place, Queue
from codeq_grpc.legacy.plan import Choices, Decision, Standing, decide
from codeq_grpc.legacy.reader import place_of
from codeq_grpc.legacy.tasks import Unreadable, read

if TYPE_CHECKING:
    from pathlib import Path

P, D, R, X = Place.PENDING, Place.DELAYED, Place.IN_PROGRESS, Place.DEAD


def decided(
    standing: Standing | None = None, choices: Choices | None = None, **fields: Any
) -> Decision:
    record = {"command": "c", "payload": "1", "status": "PENDING", **fields}
    raw = json.dumps(record).encode()
    return decide(raw, b"id", standing or Standing(), choices or Choices())


@pytest.mark.parametrize(
    ("key", "place"),
    [
        (b"codeq:q:c:pending:9", P),
        (b"legacy:q:C:pending", P),
        (b"codeq:q:a:inprog:t:s:2:pending:0", P),
        (b"codeq:q:a:pending:3:delayed", D),
        (b"codeq:q:a:b:dlq:inprog", R),
        (b"codeq:q:c:dlq", X),
        (b"codeq:q:c:pending:10", None),
        (b"codeq:q:c:pending:9\n", None),
        (b"codeq:q:c:stats", None),
    ],
)
def test_the_end_of_a_key_tells_what_it_holds(key: bytes, place: Place | None) -> None:
    queue = Keyspace("codeq:").queue(key)
    assert (queue and queue.place) == place


def test_pending_queues_come_first_higher_priorities_before_lower() -> None:
    keys = [b"q:b:dlq", b"q:b:inprog", b"q:a:pending:0", b"q:b:delayed", b"q:a:pending:9"]
    space = Keyspace("codeq:")
    queues = [queue for key in keys if (queue := space.queue(key))]
    ends = [queue.key for queue in sorted(queues, key=lambda queue: queue.order)]
    assert ends == [keys[4], keys[2], keys[3], keys[1], keys[0]]


@pytest.mark.parametrize(
    ("status", "place", "lease", "state"),
    [
        ("PENDING", P, 0, "pending"),
        ("PENDING", D, 0, "delayed"),
        ("PENDING", P | D, 0, "pending"),
        ("PENDING", R, 0, "retry"),
        ("PENDING", Place.NOWHERE, 0, "orphan"),
        ("PENDING", X, 0, "dead_letter"),
        ("IN_PROGRESS", R, 1, "in_progress"),
        ("IN_PROGRESS", Place.NOWHERE, 1, "in_progress"),
        ("IN_PROGRESS", R, 0, "retry"),
        ("IN_PROGRESS", P, 0, "pending"),
        ("IN_PROGRESS", X | R, 1, "dead_letter"),
        ("COMPLETED", P, 0, "completed"),
        ("COMPLETED", X, 0, "completed"),
        ("FAILED", X, 0, "dead_letter"),
        ("FAILED", P, 0, "failed"),
        ("", P, 0, "pending"),
        ("", Place.NOWHERE, 0, "unknown"),
    ],
)
def test_status_and_place_make_a_state(status: str, place: Place, lease: int, state: str) -> None:
    assert decided(Standing(place, 0, lease), status=status).state == state


@pytest.mark.parametrize(
    ("how", "attempts", "most", "left"),
    [
        *[("intended", 0, 5, 5), ("intended", 1, 5, 4), ("intended", 2, 5, 4)],
        *[("intended", 3, 5, 3), ("intended", 99, 5, 1), ("intended", 0, 1_000, 100)],
        *[("actual", 0, 5, 3), ("actual", 2, 5, 2), ("actual", 0, 1, 1), ("actual", 7, 0, 0)],
    ],
)
def test_attempts_that_are_left(how: Any, attempts: int, most: int, left: int) -> None:
    decision = decided(Standing(P), Choices(attempts=how), attempts=attempts, maxAttempts=most)
    assert decision.move is not None
    assert decision.move.max_attempts == left


def test_dead_letters_have_all_their_attempts_again() -> None:
    decision = decided(Standing(X), attempts=5, maxAttempts=5, error="x" * 5_000)
    assert decision.move is not None
    assert (decision.move.max_attempts, decision.move.is_dead) == (5, True)
    assert len(decision.move.headers["legacy-error"]) == 4_096


@pytest.mark.parametrize(
    ("said", "ms"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1969-12-31T21:00:01.5-03:00", 1_500),
        ("1970-01-01T05:30:00.123456789+05:30", 123),
        ("1970-01-01T00:00:02", 2_000),
        *[("", 0), ("soon", 0), ("0001-01-01T00:00:00Z", -62_135_596_800_000)],
    ],
)
def test_times_have_nanoseconds_and_offsets(said: str, ms: int) -> None:
    assert read(json.dumps({"command": "c", "createdAt": said}).encode()).created_ms == ms


@pytest.mark.parametrize(
    ("payload", "data", "is_json"),
    [
        ('{"a": 1.10}', b'{"a": 1.10}', True),
        (None, b"", True),
        ("", b"", True),
        ("plain", b"plain", False),
        (
            {"a": ["\u00e9", 10**30]},
            '{"a":["\u00e9",1000000000000000000000000000000]}'.encode(),
            True,
        ),
    ],
)
def test_payloads_are_decoded_once(payload: object, data: bytes, is_json: bool) -> None:
    task = read(json.dumps({"command": "c", "payload": payload}).encode())
    assert task.payload == (data, is_json)


@pytest.mark.parametrize(
    "raw",
    [
        *[b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 50_000, b"1" * 5_000, b"{}"],
        *[b'{"command": 1}', b'{"command": " "}', b'{"command": "\\ud800"}'],
        *[b'{"command": "c", "priority": 1.5}', b'{"command": "c", "attempts": true}'],
        *[b'{"command": "c", "tenantId": []}', b'{"command": "c", "payload": NaN}'],
    ],
)
def test_what_is_no_task_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read(raw)


@pytest.mark.parametrize("task_id", [b"", b"\xff", b"a\0b", b"x" * 250])
def test_ids_that_no_key_can_have_are_refused(task_id: bytes) -> None:
    raw = b'{"command": "c", "status": "PENDING"}'
    decision = decide(raw, task_id, Standing(P), Choices())
    assert (decision.verdict, decision.reason) == ("refuse", "BAD_ID")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:secret@Host:7000/3", "redis://host:7000/3"),
        ("rediss://host", "redis://host:6379/0"),
        ("unix:///run/s.sock", "unix:///run/s.sock"),
    ],
)
def test_a_store_is_named_without_its_password(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize("url", ["", "host:6379", "http://host", "redis://"])
def test_what_names_no_store(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        place_of(url)


class TestBook:
    def test_one_run_at_a_time_and_of_one_import(self, tmp_path: Path) -> None:
        path, about = tmp_path / "p", {"source": "a"}
        with Book(path, about, dry=False) as book:
            book.move(b"1", "", "new")
            book.commit()
            with pytest.raises(BookInUse):
                Book(path, about, dry=False)
        with pytest.raises(BadBook, match="source a, not b"):
            Book(path, {"source": "b"}, dry=False)
        with Book(path, about, dry=True) as book:
            assert book.has_moved(b"1")
            book.note_key(b"1", "k", 5)
        with Book(path, about, dry=False) as book:
            assert book.key_of(b"1") is None
            assert book.probes() == {"": ["new"]}

    def test_ids_keep_their_first_place_and_every_queue(self, tmp_path: Path) -> None:
        first, second = Queue(b"a", P), Queue(b"b", D)
        with Book(tmp_path / "p", {}, dry=False) as book:
            assert book.enter(first, "list", [(b"1", None), (b"2", None), (b"1", None)]) == 1
            assert book.enter(second, "zset", [(b"2", 1.5), (b"3", float("inf"))]) == 0
            assert list(book.entered(3)) == [[b"1", b"2", b"2"], [b"3"]]
            assert book.standing(b"2") == Standing(P | D, 1_500)
            assert book.standing(b"3").due_ms > 10**14
            assert book.queues_of(b"2") == [(first, "list"), (second, "zset")]

    def test_the_first_idempotency_key_stays(self, tmp_path: Path) -> None:
        with Book(tmp_path / "p", {}, dry=False) as book:
            book.note_key(b"1", "a", 1)
            book.note_key(b"1", "b", 2)
            assert book.key_of(b"1") == ("a", 1)


def test_a_run_that_came_to_nothing_shows_no_empty_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Book(tmp_path / "book", {"source": "a"}, dry=True) as book:
        assert Report("a", "legacy:", dry=True, as_json=False).close(book) == 1
    assert not capsys.readouterr().out
