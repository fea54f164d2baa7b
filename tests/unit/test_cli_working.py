"""`codeq work` counts what ends, and tells programs of each end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from codeq.v1.task_pb2 import ClaimedTask, LeaseRef
from codeq_grpc.cli.connection import Connection
from codeq_grpc.cli.programs import Program
from codeq_grpc.cli.working import Working
from codeq_grpc.worker import Ended, TaskContext, outcomes

if TYPE_CHECKING:
    from codeq.v1.codeq_service_pb2 import Outcome


@pytest.mark.parametrize(
    ("outcome", "cancelled", "end", "counts"),
    [
        (outcomes.completed(LeaseRef(), b"x"), False, "COMPLETED", "done 1, failed attempts 0, "),
        (outcomes.completed(LeaseRef(), b"x"), True, "COMPLETED", "done 1, failed attempts 0, "),
        (
            outcomes.failed(LeaseRef(), ValueError("no")),
            False,
            "ATTEMPT_FAILED",
            "done 0, failed attempts 1, ",
        ),
        (
            outcomes.failed(LeaseRef(), ValueError("no")),
            True,
            "CANCELLED",
            "done 0, failed attempts 0, cancelled 1, ",
        ),
        (
            outcomes.abandoned(LeaseRef()),
            False,
            "ABANDONED",
            "done 0, failed attempts 0, ",
        ),
        (None, False, "LEASE_LOST", "done 0, failed attempts 0, "),
        (None, True, "LEASE_LOST", "done 0, failed attempts 0, "),
    ],
)
def test_ends(
    capsys: pytest.CaptureFixture[str],
    outcome: Outcome | None,
    cancelled: bool,
    end: str,
    counts: str,
) -> None:
    connection = Connection(address="a", token=None, as_json=True)
    working = Working(connection, Program(["true"], timeout=None), 1)
    context = TaskContext(ClaimedTask(attempt=2))
    if cancelled:
        context.cancelled.set("why")
    working.ended(Ended(context=context, outcome=outcome, seconds=1.2345))
    document = json.loads(capsys.readouterr().out)
    assert (document["end"], document["attempt"], document["seconds"]) == (end, 2, 1.234)
    assert ("error" in document) == (end == "ATTEMPT_FAILED")
    assert working._counts().startswith(counts)


def test_the_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("codeq_grpc.cli.working.clock.monotonic", lambda: now)
    working = Working(
        Connection(address="a", token=None, as_json=False), Program(["true"], timeout=None), 1
    )
    end = Ended(
        context=TaskContext(ClaimedTask()), outcome=outcomes.completed(LeaseRef(), b""), seconds=0.1
    )
    rates = []
    for second in range(1, 41):
        now += 1
        for _ in range(3 if second <= 20 else 0):
            working.ended(end)
        rates.append(working._counts().split()[-1])
    assert rates[:20] == ["3.0/s"] * 20
    assert rates[24] == "1.5/s"
    assert rates[30:] == ["0.0/s"] * 10
