"""What is written down can be read again, also when its writer was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.history import Journal, read_history, read_journal
from tests.faults.telling import good_tale

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    history = good_tale().history
    history.mark("fault")
    history.write(tmp_path / "history.jsonl")
    read = read_history(tmp_path / "history.jsonl")
    assert read.operations == history.operations
    assert (read.marks, read.wall_ms) == (history.marks, history.wall_ms)


def test_outcomes_are_known_refused_or_open() -> None:
    history = good_tale().history

    def outcome(code: str) -> tuple[bool, bool, bool]:
        ended = history.begin("complete", "c")
        if code:
            history.end(ended, code)
        assert (ended.last_ns == float("inf")) is ended.unknown
        return ended.ok, ended.refused, ended.unknown

    assert outcome("OK") == (True, False, False)
    assert outcome("FAILED_PRECONDITION") == (False, True, False)
    assert outcome("UNAVAILABLE") == outcome("CANCELLED") == outcome("") == (False, False, True)


def test_a_journal_tells_calls_that_never_ended(capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal()
    first, second = journal.begin("claim", "v"), journal.begin("complete", "v", task="t")
    journal.end(first, "OK", fence=7)
    text = capsys.readouterr().out
    assert read_journal(text) == [first, second]
    assert read_journal(text + '3 {"op": "cla') == [first, second]
