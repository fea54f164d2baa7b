"""Limits of what producers ask for."""

from __future__ import annotations

import math
from typing import Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core import limits
from tests.integration.limit_values import (
    BATCH,
    COMMANDS,
    LEASE_MS,
    SMILE,
    Case,
    keyed,
    ms,
    policy,
    spec,
    upto,
)

BAD_COMMANDS: Final = (
    "a b",
    "a/b",
    "a{b}",
    "a*",
    "\x00",
    "a\n",
    "é",
    "A\u0301",
    "a\u202e",
    " ",
    "a,b",
)

SPECS: Final = [
    Case("Enqueue", lambda n: spec(command="c" * n), *COMMANDS, "task.command"),
    Case("Enqueue", lambda c: spec(command=c), ("aZ09._:-",), BAD_COMMANDS, "task.command"),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "c" * n}]),
        *COMMANDS,
        "tasks[0].command",
    ),
    Case(
        "Enqueue",
        lambda n: spec(payload={"data": bytes(n)}),
        (0, limits.PAYLOAD_BYTES),
        (limits.PAYLOAD_BYTES + 1,),
        "task.payload.data",
    ),
    Case(
        "Enqueue",
        lambda n: spec(payload={"content_type": SMILE * n}),
        *upto(limits.CONTENT_TYPE_CHARS),
        "task.payload.content_type",
    ),
    Case(
        "Enqueue",
        lambda text: spec(payload={"content_type": text}),
        ("", "text/plain; charset=utf-8"),
        ("a\nb", "\x00", "\x7f", "\u2028"),
        "task.payload.content_type",
    ),
    Case(
        "Enqueue",
        lambda n: spec(priority=n),
        *upto(limits.PRIORITY_MAX, 0),
        "task.priority",
    ),
    Case("Enqueue", lambda n: spec(delay=ms(n)), *upto(limits.DELAY_MAX_MS, 0), "task.delay"),
    Case("Enqueue", lambda n: spec(lease_duration=ms(n)), *LEASE_MS, "task.lease_duration"),
    Case(
        "Enqueue",
        lambda n: policy(max_attempts=n),
        *upto(limits.ATTEMPTS_MAX, 1),
        "task.retry_policy.max_attempts",
    ),
    Case(
        "Enqueue",
        lambda n: policy(initial_backoff=ms(n)),
        *upto(limits.BACKOFF_MAX_MS, 0),
        "task.retry_policy.initial_backoff",
    ),
    Case(
        "Enqueue",
        lambda n: policy(max_backoff=ms(n)),
        *upto(limits.BACKOFF_MAX_MS, 0),
        "task.retry_policy.max_backoff",
    ),
    Case(
        "Enqueue",
        lambda x: policy(backoff_multiplier=x),
        (1.0, limits.MULTIPLIER_MAX),
        (math.nextafter(1, 0), math.nextafter(limits.MULTIPLIER_MAX, math.inf), 0.0),
        "task.retry_policy.backoff_multiplier",
    ),
    Case(
        "Enqueue",
        lambda x: policy(jitter=x),
        (0.0, 1.0, -0.0),
        (math.nextafter(0, -1), math.nextafter(1, 2)),
        "task.retry_policy.jitter",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={f"k{i}": "" for i in range(n)}),
        *upto(limits.HEADERS),
        "task.headers",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={SMILE * n: ""}),
        *upto(limits.HEADER_KEY_CHARS, 1),
        "task.headers",
    ),
    Case(
        "Enqueue",
        lambda n: spec(headers={"key": SMILE * n}),
        (0, limits.HEADER_VALUE_CHARS),
        (limits.HEADER_VALUE_CHARS + 1,),
        "task.headers[key]",
    ),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "C"}] * n),
        *BATCH,
        "tasks",
    ),
    Case(
        "BatchEnqueue",
        lambda n: pb.BatchEnqueueRequest(tasks=[{"command": "C"}] * n, atomic=True),
        *BATCH,
        "tasks",
    ),
    Case(
        "Enqueue",
        lambda n: spec(idempotency_key=SMILE * n),
        (0, 1, limits.IDEMPOTENCY_KEY_CHARS),
        (limits.IDEMPOTENCY_KEY_CHARS + 1,),
        "task.idempotency_key",
    ),
    Case(
        "Enqueue", lambda t: spec(idempotency_key=t), (" ", "\n"), ("a\0b",), "task.idempotency_key"
    ),
    Case(
        "Enqueue",
        lambda n: keyed(idempotency_ttl=ms(n)),
        *upto(limits.IDEMPOTENCY_TTL_MAX_MS, limits.IDEMPOTENCY_TTL_MIN_MS),
        "task.idempotency_ttl",
    ),
    Case("Enqueue", lambda n: spec(idempotency_ttl=ms(n)), (), (1_000,), "task.idempotency_ttl"),
    Case("Enqueue", lambda p: keyed(conflict_policy=p), (0, 1), (4, -1), "task.conflict_policy"),
    Case("Enqueue", lambda p: spec(conflict_policy=p), (0,), (1, 2, 3), "task.conflict_policy"),
    Case(
        "Enqueue",
        lambda p: keyed(conflict_policy=p, depends_on=["x" * 18]),
        (),
        (3,),
        "task.conflict_policy",
    ),
    Case(
        "Enqueue",
        lambda n: spec(concurrency_key=SMILE * n),
        *upto(limits.CONCURRENCY_KEY_CHARS),
        "task.concurrency_key",
    ),
    Case("Enqueue", lambda t: spec(concurrency_key=t), ("",), ("a\0",), "task.concurrency_key"),
    Case(
        "Enqueue",
        lambda n: spec(depends_on=["x" * 18] * n),
        (0,),
        (limits.DEPENDENCIES + 1,),
        "task.depends_on",
    ),
    Case(
        "Enqueue",
        lambda task_id: spec(depends_on=[task_id]),
        (),
        ("", "x" * 18, "x" * 17, "é", "\0", "A" * 18),
        "task.depends_on[0]",
    ),
    Case(
        "Enqueue",
        lambda n: spec(labels={f"k{i}": "" for i in range(n)}),
        *upto(limits.LABELS),
        "task.labels",
    ),
    Case(
        "Enqueue",
        lambda n: spec(labels={SMILE * n: ""}),
        *upto(limits.LABEL_KEY_CHARS, 1),
        "task.labels",
    ),
    Case(
        "Enqueue",
        lambda n: spec(labels={"key": SMILE * n}),
        (0, limits.LABEL_VALUE_CHARS),
        (limits.LABEL_VALUE_CHARS + 1,),
        "task.labels[key]",
    ),
    Case("Enqueue", lambda kv: spec(labels=kv), (), ({"a\0": ""}, {"a": "\0"}), "task.labels"),
    Case(
        "Enqueue",
        lambda n: spec(attempt_timeout=ms(n)),
        *upto(limits.ATTEMPT_TIMEOUT_MAX_MS, limits.ATTEMPT_TIMEOUT_MIN_MS),
        "task.attempt_timeout",
    ),
    Case(
        "Enqueue",
        lambda n: policy(non_retryable_error_types=["T"] * n),
        *upto(limits.ERROR_TYPES),
        "task.retry_policy.non_retryable_error_types",
    ),
    Case(
        "Enqueue",
        lambda n: policy(non_retryable_error_types=["T", SMILE * n]),
        *upto(limits.ERROR_TYPE_CHARS, 1),
        "task.retry_policy.non_retryable_error_types[1]",
    ),
    Case(
        "Enqueue",
        lambda t: policy(non_retryable_error_types=[t]),
        ("a b",),
        ("\0", "a\0b"),
        "task.retry_policy.non_retryable_error_types[0]",
    ),
    Case(
        "Enqueue",
        lambda n: spec(run_time={"seconds": 4_000_000_000}, delay=ms(n)),
        (),
        (0, 1),
        "task.delay",
    ),
]
