"""`codeq top`: a screen that fits, ends on a key, and outlasts its server."""

from __future__ import annotations

import io
import json
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from codeq.v1 import admin_service_pb2 as admin_pb
from codeq.v1.queue_pb2 import QueueStats
from codeq_grpc.cli.screen import Screen, Snapshot
from codeq_grpc.client import ServerUnavailable
from codeq_grpc.core.errors import ScopeMissing, StoreUnavailable
from tests.unit.cli_scripted import Scripted, Served, serving
from tests.unit.cli_terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENTER, _LEAVE = "\x1b[?1049h", "\x1b[?1049l"
_SHOW_CURSOR = "\x1b[?25h"


def queue(number: int) -> QueueStats:
    stats = QueueStats(
        command=f"generate_thumbnail_of_a_long_video_{number}",
        pending=number * 1_234_567,
        scheduled=99_999,
        blocked=12,
        in_progress=3,
        failed=1_000_000,
        enqueue_rate=1234.5,
        complete_rate=0.04,
        attempt_fail_rate=99.96,
        idle_credit=1000,
        paused=number == 0,
    )
    stats.oldest_pending_age.FromSeconds(90_000)
    return stats


def worker(number: int) -> admin_pb.Worker:
    found = admin_pb.Worker(worker_id=f"host-with-a-long-name:1234:abcdef{number}")
    found.commands.extend(f"generate_thumbnail_{n}" for n in range(32))
    found.in_progress, found.max_outstanding = 10_000, 10_000
    return found


def snapshot(queues: int, workers: int) -> Snapshot:
    return Snapshot(
        time=datetime(2026, 7, 1, 12, 34, 56, tzinfo=UTC),
        queues=[queue(n) for n in range(queues)],
        workers=[worker(n) for n in range(workers)],
    )


def drawn(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(screen.fitted(height))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (200, 50), (80, 6)])
@pytest.mark.parametrize(
    ("queues", "workers"), [(0, 0), (1, 1), (100, 0), (0, 100), (100, 100), (3, 100), (100, 2)]
)
@pytest.mark.parametrize("away", [False, True])
def test_it_fits(width: int, height: int, queues: int, workers: int, away: bool) -> None:
    screen = Screen("127.0.0.1:50051")
    screen.take(snapshot(queues, workers))
    if away:
        screen.take(ServerUnavailable("no answer " * 30))
    lines = drawn(screen, width, height)
    assert len(lines) <= max(height, 8)
    assert max(map(len, lines)) <= width


def test_at_80_by_24_numbers_are_whole_and_what_is_left_out_is_counted() -> None:
    screen = Screen("127.0.0.1:50051")
    screen.take(snapshot(100, 100))
    lines = drawn(screen, 80, 24)
    assert len(lines) == 24
    assert lines[0].startswith("codeQ 127.0.0.1:50051  12:34:56 UTC  queues 100, paused (||) 1")
    busiest = lines[3].split()
    assert busiest[0].startswith("generate_")
    assert " ".join(busiest[1:]) == "122M 100k 12 3 1.0M 1.2k 0.0 100 1d 1h 1.0k"
    assert sum("and " in line and " more" in line for line in lines) == 2


def test_a_worker_with_several_streams_is_one_worker() -> None:
    screen = Screen("a")
    look = snapshot(1, 2)
    for held, since in ((3, 5_000), (0, 4_000), (1, 6_000)):
        stream = admin_pb.Worker(
            worker_id="one", commands=["a", "b"], in_progress=held, max_outstanding=4
        )
        stream.connect_time.FromSeconds(since)
        look.workers.append(stream)  # type: ignore[attr-defined]
    screen.take(look)
    lines = drawn(screen, 100, 24)
    assert lines[0].endswith("workers 3")
    (found,) = (line.split() for line in lines if line.startswith("one "))
    assert found[:4] == ["one", "a", "b", "4/12"]


def test_an_outage_keeps_the_numbers_and_says_so() -> None:
    screen = Screen("a")
    screen.take(StoreUnavailable())
    assert "no answer for 0s: STORE_UNAVAILABLE" in drawn(screen, 80, 24)[1]
    screen.take(snapshot(1, 0))
    assert "no answer" not in "".join(drawn(screen, 80, 24))
    screen.take(StoreUnavailable())
    text = "\n".join(drawn(screen, 80, 24))
    assert "no answer for 0s" in text
    assert "generate_" in text


@pytest.fixture
def scripted() -> Scripted:
    """Three queues, two workers."""
    scripted = Scripted()
    scripted.queues += [queue(n) for n in range(3)]
    scripted.workers += [worker(n) for n in range(2)]
    return scripted


@pytest.fixture
def codeq(scripted: Scripted) -> Iterator[Served]:
    with serving(scripted) as served:
        yield served


def test_without_a_terminal_it_is_one_look(codeq: Served) -> None:
    ran = codeq("top")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout.count("codeQ ") == 1
    assert "generate_thumbnail_of_a_long_video_2" in ran.stdout
    assert codeq("top", "--count", "2", "--interval", "100ms").stdout.count("codeQ ") == 2


def test_for_programs_it_is_a_document_a_look(codeq: Served) -> None:
    ran = codeq("top", "--json", "--count", "3", "--interval", "0.1")
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(found) == 3
    assert [stats["inProgress"] for stats in found[0]["queues"]] == [3, 3, 3]
    assert found[0]["workers"][0]["maxOutstanding"] == 10_000
    assert datetime.fromisoformat(found[0]["time"]).tzinfo is not None


def test_without_a_screen_the_first_look_must_succeed(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["ListWorkers"] = StoreUnavailable()
    for words in ((), ("--json",)):
        ran = codeq("top", *words)
        assert (ran.exit_code, ran.stdout) == (1, "")
        assert "STORE_UNAVAILABLE" in ran.stderr


@pytest.mark.parametrize("key", ["q", "\x03"])
def test_a_key_ends_it_and_the_terminal_is_as_before(codeq: Served, key: str) -> None:
    with Terminal("top", env=codeq.env) as terminal:
        terminal.wait_for("HELD")
        assert terminal.mode() != terminal.mode_before
        terminal.press("x\x1b[A\x1a")  # none of these
        terminal.wait_for("HELD", after=len(terminal.text))
        terminal.press(key)
        assert terminal.wait() == 0
        assert terminal.mode() == terminal.mode_before
    assert terminal.written.startswith(_ENTER)
    assert terminal.written.rstrip().endswith(_SHOW_CURSOR + _LEAVE)


def test_a_signal_ends_it_the_same(codeq: Served) -> None:
    with Terminal("top", env=codeq.env) as terminal:
        terminal.wait_for("HELD")
        terminal.send(signal.SIGTERM)
        assert terminal.wait() == 0
        assert terminal.mode() == terminal.mode_before
    assert terminal.written.rstrip().endswith(_LEAVE)


def test_the_screen_outlasts_an_outage(codeq: Served, scripted: Scripted) -> None:
    scripted.refuse["AdminQueues"] = StoreUnavailable()
    with Terminal("top", "--interval", "100ms", env=codeq.env) as terminal:
        terminal.wait_for("no answer for .*STORE_UNAVAILABLE")
        scripted.refuse.clear()
        terminal.wait_for("generate_")
        scripted.refuse["AdminQueues"] = ScopeMissing()
        assert terminal.wait() == 1
        assert terminal.mode() == terminal.mode_before
    after = terminal.written.partition(_LEAVE)[2]
    assert after.strip().startswith("error: SCOPE_MISSING: ")


def test_it_ends_after_so_many_looks(codeq: Served) -> None:
    with Terminal("top", "--count", "2", "--interval", "100ms", env=codeq.env) as terminal:
        assert terminal.wait() == 0
    assert _LEAVE in terminal.written


def test_wrong_intervals_are_told(codeq: Served) -> None:
    for given in ("soon", "0"):
        ran = codeq("top", "--interval", given)
        assert (ran.exit_code, "--interval" in ran.stderr) == (2, True)
