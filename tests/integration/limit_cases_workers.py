"""Limits of what workers say."""

from __future__ import annotations

import math
from typing import Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from tests.integration.limit_values import (
    BATCH,
    LEASE,
    LEASE_MS,
    SMILE,
    Case,
    claim,
    complete,
    fail,
    ms,
    names,
    progress,
    stream,
    upto,
)

WORKERS: Final = [
    Case(
        "Claim",
        lambda n: claim(commands=["C", "c" * n]),
        (2, limits.COMMAND_CHARS),
        (0, limits.COMMAND_CHARS + 1),
        "commands[1]",
    ),
    Case("Claim", lambda n: claim(lease_duration=ms(n)), *LEASE_MS, "lease_duration"),
    Case("StreamClaim", lambda n: stream(lease_duration=ms(n)), *LEASE_MS, "lease_duration"),
    Case(
        "Heartbeat",
        lambda n: pb.HeartbeatRequest(leases=[{"lease": LEASE, "extend": ms(n)}]),
        *LEASE_MS,
        "leases[0].extend",
    ),
    Case(
        "Heartbeat",
        lambda n: pb.HeartbeatRequest(leases=[{"lease": LEASE}] * n),
        *BATCH,
        "leases",
    ),
    Case(
        "Report",
        lambda n: pb.ReportRequest(outcomes=[{"abandon": {"lease": LEASE}}] * n),
        *BATCH,
        "outcomes",
    ),
    Case(
        "Claim",
        lambda n: claim(worker_id=SMILE * n),
        *upto(limits.WORKER_ID_CHARS, 1),
        "worker_id",
    ),
    Case(
        "Claim",
        lambda t: claim(worker_id=t),
        (" ",),
        ("a\nb", "\x1b[1m", "\x00"),
        "worker_id",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(worker_id=SMILE * n),
        *upto(limits.WORKER_ID_CHARS, 1),
        "worker_id",
    ),
    Case(
        "Claim",
        lambda n: claim(commands=names(n)),
        *upto(limits.COMMANDS_PER_CLAIM, 1),
        "commands",
    ),
    Case(
        "Claim",
        lambda c: claim(commands=c),
        (["A", "a"],),
        (["A", "B", "A"],),
        "commands",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(commands=names(n)),
        *upto(limits.COMMANDS_PER_CLAIM, 1),
        "commands",
    ),
    Case("StreamClaim", lambda c: stream(commands=c), (), (["A", "A"],), "commands"),
    Case(
        "Claim",
        lambda n: claim(max_tasks=n),
        (0, limits.BATCH_TASKS),
        (-1, limits.BATCH_TASKS + 1),
        "max_tasks",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(max_outstanding=n),
        *upto(limits.MAX_OUTSTANDING, 1),
        "max_outstanding",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(max_batch_size=n),
        (0, limits.BATCH_TASKS),
        (-1, limits.BATCH_TASKS + 1),
        "max_batch_size",
    ),
    Case(
        "StreamClaim",
        lambda n: stream(idle_interval=ms(n)),
        *upto(limits.IDLE_INTERVAL_MAX_MS, limits.IDLE_INTERVAL_MIN_MS),
        "idle_interval",
    ),
    Case(
        "Complete",
        lambda n: complete(data=bytes(n)),
        (0, limits.PAYLOAD_BYTES),
        (limits.PAYLOAD_BYTES + 1,),
        "result.data",
    ),
    Case(
        "Complete",
        lambda n: complete(content_type=SMILE * n),
        *upto(limits.CONTENT_TYPE_CHARS),
        "result.content_type",
    ),
    Case(
        "Fail",
        lambda n: fail(type=SMILE * n),
        *upto(limits.ERROR_TYPE_CHARS),
        "error.type",
    ),
    Case(
        "Fail",
        lambda n: fail(message=SMILE * n),
        *upto(limits.ERROR_MESSAGE_CHARS),
        "error.message",
    ),
    Case(
        "Fail",
        lambda n: fail(detail=SMILE * n),
        *upto(limits.ERROR_DETAIL_CHARS),
        "error.detail",
    ),
    Case(
        "Fail",
        lambda n: fail(retry_delay=ms(n)),
        *upto(limits.RETRY_DELAY_MAX_MS, 0),
        "error.retry_delay",
    ),
    Case(
        "Abandon",
        lambda n: pb.AbandonRequest(lease=LEASE, delay=ms(n)),
        *upto(limits.RETRY_DELAY_MAX_MS, 0),
        "delay",
    ),
    Case(
        "Abandon",
        lambda n: pb.AbandonRequest(lease={"task_id": "x" * 18, "fence": n}),
        *upto((1 << 53) - 1, 1),
        "lease.fence",
    ),
    Case(
        "Heartbeat",
        lambda x: progress(fraction=x),
        (0.0, 0.5, 1.0, -0.0),
        (math.nextafter(0, -1), math.nextafter(1, 2), math.nan),
        "leases[0].progress.fraction",
    ),
    Case(
        "Heartbeat",
        lambda n: progress(message=SMILE * n),
        *upto(limits.PROGRESS_MESSAGE_CHARS),
        "leases[0].progress.message",
    ),
    Case(
        "Heartbeat",
        lambda n: progress(checkpoint={"data": bytes(n)}),
        (0, limits.CHECKPOINT_BYTES),
        (limits.CHECKPOINT_BYTES + 1,),
        "leases[0].progress.checkpoint.data",
    ),
    Case(
        "Heartbeat",
        lambda n: progress(checkpoint={"content_type": SMILE * n}),
        *upto(limits.CONTENT_TYPE_CHARS),
        "leases[0].progress.checkpoint.content_type",
    ),
]
