"""`codeq bench`: figures only from work that was done, and no harm to the tasks of others."""

from __future__ import annotations

import json
import queue
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq.v1.queue_pb2 import QueueStats
from codeq_grpc.cli import measuring
from codeq_grpc.cli.verifying import LEAST, Ledger
from codeq_grpc.core.errors import QueueFull, QueueNotFound, ScopeMissing
from tests.unit.cli_scripted import Scripted, Served, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.cli_scripted import Context


class Working(Scripted):
    """Hands on what is enqueued, and does something wrong with the tasks in `wrong`."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse["GetQueue"] = QueueNotFound()
        self.wrong: dict[int, str] = {}
        """Which task, from 0 -> drop, double or damage."""
        self.completed = 0
        self.others: list[bytes] = []
        """Payloads of tasks that are there already."""
        self._made = 0
        self._ready: queue.Queue[task_pb2.ClaimedTask] = queue.Queue()

    def _make(self, spec: task_pb2.TaskSpec) -> pb.EnqueueResponse:
        at, self._made = self._made, self._made + 1
        wrong = self.wrong.get(at, "")
        task = task_pb2.ClaimedTask(spec=spec, attempt=1)
        task.lease.task_id = f"t{at}"
        task.lease.fence = 1
        if wrong == "damage":
            data = task.spec.payload.data
            task.spec.payload.data = data[:-1] + bytes((data[-1] ^ 1,))
        for _ in range({"drop": 0, "double": 2}.get(wrong, 1)):
            self._ready.put(task)
            task = task_pb2.ClaimedTask.FromString(task.SerializeToString())
            task.lease.fence = 2
        return pb.EnqueueResponse(task_id=f"t{at}", created=True)

    def Enqueue(self, request: pb.EnqueueRequest, context: Context) -> pb.EnqueueResponse:
        self._heard("Enqueue", request, context)
        return self._make(request.task)

    def BatchEnqueue(
        self, request: pb.BatchEnqueueRequest, context: Context
    ) -> pb.BatchEnqueueResponse:
        self._heard("BatchEnqueue", request, context)
        return pb.BatchEnqueueResponse(results=[self._make(task) for task in request.tasks])

    def StreamClaim(
        self, request: pb.StreamClaimRequest, context: Context
    ) -> Iterator[pb.StreamClaimResponse]:
        self._heard("StreamClaim", request, context)
        yield pb.StreamClaimResponse(opened=pb.StreamOpened(stream_id="s"))
        for at, data in enumerate(self.others):
            task = task_pb2.ClaimedTask(
                lease=task_pb2.LeaseRef(task_id=f"other{at}", fence=1),
                spec=task_pb2.TaskSpec(command=request.commands[0]),
            )
            task.spec.payload.data = data
            yield pb.StreamClaimResponse(batch=pb.ClaimedTasks(tasks=[task]))
        while context.is_active() and not self.over.is_set():
            try:
                task = self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
            yield pb.StreamClaimResponse(batch=pb.ClaimedTasks(tasks=[task]))

    def Report(self, request: pb.ReportRequest, context: Context) -> pb.ReportResponse:
        self._heard("Report", request, context)
        self.completed += sum(one.HasField("complete") for one in request.outcomes)
        return pb.ReportResponse()


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> Working:
    monkeypatch.setattr(measuring, "STALLED", 1.0)
    return Working()


@pytest.fixture
def codeq(working: Working) -> Iterator[Served]:
    with serving(working) as served:
        yield served


def measured(codeq: Served, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and figures."""
    ran = codeq("bench", "--tasks", "50", "--batch", "20", "--json", *words)
    return ran.exit_code, json.loads(ran.stdout)


def test_every_task_is_worked_on_and_counted(codeq: Served, working: Working) -> None:
    code, found = measured(codeq)
    assert code == 0
    assert (found["lost"], found["duplicates"], found["damaged"]) == (0, 0, 0)
    assert (found["tasks"], found["batch"], found["size"]) == (50, 20, 100)
    assert found["enqueuesPerSecond"] > 0
    assert found["cyclesPerSecond"] > 0
    assert 0 < found["pickUpP50Ms"] <= found["pickUpP99Ms"]
    assert working.completed == 100  # 50 one by one, 50 at once
    assert working.count(pb.BatchEnqueueRequest) == 3
    assert {spec.command for spec in working.last(pb.BatchEnqueueRequest).tasks} == {"codeq-bench"}
    assert len(working.last(pb.EnqueueRequest).task.payload.data) == 100


@pytest.mark.parametrize("at", [10, 70])
def test_a_task_that_never_comes_is_lost_and_the_exit_code_says_so(
    codeq: Served, working: Working, at: int
) -> None:
    working.wrong[at] = "drop"
    code, found = measured(codeq)
    assert (code, found["lost"], found["duplicates"]) == (1, 1, 0)


def test_a_damaged_task_is_not_taken_for_done(codeq: Served, working: Working) -> None:
    working.wrong[70] = "damage"
    code, found = measured(codeq)
    assert (code, found["lost"], found["damaged"]) == (1, 1, 1)


def test_a_task_that_comes_twice_is_told(codeq: Served, working: Working) -> None:
    working.wrong[70] = "double"
    code, found = measured(codeq)
    assert (code, found["lost"], found["duplicates"]) == (0, 0, 1)


def test_people_get_a_table(codeq: Served) -> None:
    ran = codeq("bench", "--tasks", "20")
    assert ran.exit_code == 0
    for word in ("enqueues/s", "full cycles/s", "p50 ms", "p99 ms", "lost", "duplicates"):
        assert word in ran.stdout
    assert "codeq-bench within a minute" in ran.stderr


def test_what_it_made_goes_and_nothing_else(codeq: Served, working: Working) -> None:
    measured(codeq, "--queue", "q")
    asked = working.last(admin_pb.UpdateQueueRequest)
    assert (asked.queue.command, asked.queue.retention.ToSeconds()) == ("q", 1)
    assert list(asked.update_mask.paths) == ["retention"]
    assert working.last(admin_pb.PurgeQueueRequest).command == "q"
    assert working.count(pb.AdminCleanupRequest) == 0  # it knows no queues


def test_a_queue_that_was_there_keeps_its_settings_and_its_tasks(
    codeq: Served, working: Working
) -> None:
    del working.refuse["GetQueue"]
    working.settings.retention.FromSeconds(60)
    ran = codeq("bench", "--tasks", "20")
    assert ran.exit_code == 0
    assert "was there before" in ran.stderr
    assert working.count(admin_pb.UpdateQueueRequest) == 0
    assert working.count(admin_pb.PurgeQueueRequest) == 0


def test_kept_tasks_are_kept(codeq: Served, working: Working) -> None:
    assert measured(codeq, "--keep")[0] == 0
    assert working.count(admin_pb.PurgeQueueRequest) == 0
    asked = working.last(admin_pb.UpdateQueueRequest)
    assert not asked.queue.HasField("retention")


def test_who_may_not_clear_away_is_told(codeq: Served, working: Working) -> None:
    working.refuse["UpdateQueue"] = ScopeMissing()
    ran = codeq("bench", "--tasks", "20")
    assert ran.exit_code == 0
    assert "are kept in codeq-bench: SCOPE_MISSING" in ran.stderr


@pytest.mark.parametrize(
    ("retention", "stats", "free"),
    [
        (60, {"pending": 1}, False),
        (60, {"completed": 1}, False),
        (1, {"pending": 1}, False),
        (1, {"completed": 1}, True),  # of a measurement before
    ],
)
def test_a_queue_with_tasks_is_left_alone(
    codeq: Served, working: Working, retention: int, stats: dict[str, int], free: bool
) -> None:
    del working.refuse["GetQueue"]
    working.settings.retention.FromSeconds(retention)
    working.queues = [QueueStats(command="codeq-bench", **stats)]  # type: ignore[arg-type]
    ran = codeq("bench", "--tasks", "20")
    assert ran.exit_code == (0 if free else 1)
    if not free:
        assert "holds 1 tasks" in ran.stderr
        assert "--force" in ran.stderr
        assert working.count(pb.StreamClaimRequest) == 0


def test_tasks_of_others_are_given_back(codeq: Served, working: Working) -> None:
    working.queues = [QueueStats(command="codeq-bench", pending=1)]
    working.others = [b"another's"]
    code, found = measured(codeq, "--force", "--concurrency", "5")
    assert (code, found["lost"], working.completed) == (0, 0, 100)
    reports = [one for one in working.asked if isinstance(one, pb.ReportRequest)]
    ends = {
        one.WhichOneof("outcome")
        for request in reports
        for one in request.outcomes
        if "other" in str(one)
    }
    assert ends == {"abandon"}


def test_a_worker_full_of_others_is_told(codeq: Served, working: Working) -> None:
    working.others = [b"another's", b"another's too"]
    ran = codeq("bench", "--tasks", "20", "--concurrency", "1")
    assert ran.exit_code == 1
    assert "--queue" in ran.stderr


def test_a_refusal_is_one_line(codeq: Served, working: Working) -> None:
    working.refuse["BatchEnqueue"] = QueueFull()
    ran = codeq("bench", "--tasks", "20")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "error: QUEUE_FULL" in ran.stderr


def test_a_worker_that_is_refused_ends_it(codeq: Served, working: Working) -> None:
    working.refuse["StreamClaim"] = ScopeMissing()
    ran = codeq("bench", "--tasks", "20")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "error: SCOPE_MISSING" in ran.stderr


def test_a_payload_has_the_size_that_was_asked_for_and_proves_itself() -> None:
    ledger, other = Ledger(LEAST), Ledger(LEAST)
    number, data = ledger.payload()
    assert (number, len(data)) == (0, LEAST)
    assert ledger.is_ours(data)
    assert not other.is_ours(data)
    assert ledger.came(data) == 0
    assert ledger.came(data[:-1] + b"?") is None
    assert ledger.came(data[:-1]) is None
    assert (ledger.duplicates, ledger.damaged, ledger.open) == (0, 2, 1)
    ledger.ended(data)
    assert ledger.open == 0
