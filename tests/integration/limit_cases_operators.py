"""Limits of what operators ask."""

from __future__ import annotations

import math
from typing import Final

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from tests.integration.limit_values import (
    COMMANDS,
    LEASE_MS,
    SMILE,
    Case,
    listing,
    ms,
    names,
    selector,
    update,
    upto,
)

TOKENS: Final = ("x", "!", "x" * limits.PAGE_TOKEN_CHARS, "x" * (limits.PAGE_TOKEN_CHARS + 1))
IDS: Final = "selector.task_ids"
POLICY: Final = "queue.retry_policy"

LISTS: Final = [
    Case("ListTasks", lambda n: listing(command="c" * n), *COMMANDS, "filter.command"),
    Case(
        "ListTasks",
        lambda s: listing(states=s),
        ([], [1, 8], [5, 5]),
        ([0], [9]),
        "filter.states[0]",
    ),
    Case("ListTasks", lambda n: listing(states=[5] * n), *upto(limits.STATES), "filter.states"),
    Case(
        "ListTasks",
        lambda n: listing(labels={f"k{i}": "" for i in range(n)}),
        *upto(limits.LABELS),
        "filter.labels",
    ),
    Case(
        "ListTasks",
        lambda n: listing(labels={SMILE * n: ""}),
        *upto(limits.LABEL_KEY_CHARS, 1),
        "filter.labels",
    ),
    Case(
        "ListTasks",
        lambda n: listing(labels={"key": SMILE * n}),
        *upto(limits.LABEL_VALUE_CHARS),
        "filter.labels[key]",
    ),
    Case(
        "ListTasks",
        lambda n: listing(worker_id=SMILE * n),
        *upto(limits.WORKER_ID_CHARS),
        "filter.worker_id",
    ),
    Case(
        "ListTasks",
        lambda n: listing(error_type=SMILE * n),
        *upto(limits.ERROR_TYPE_CHARS),
        "filter.error_type",
    ),
    Case(
        "ListTasks",
        lambda n: pb.ListTasksRequest(filter={"command": "C"}, page_size=n),
        (0, 1, limits.PAGE_TASKS),
        (-1, limits.PAGE_TASKS + 1),
        "page_size",
    ),
    Case(
        "ListTasks",
        lambda t: pb.ListTasksRequest(filter={"command": "C"}, page_token=t),
        ("",),
        TOKENS,
        "page_token",
    ),
    Case(
        "ListAuditEvents",
        lambda n: admin_pb.ListAuditEventsRequest(page_size=n),
        (0, 1, limits.PAGE_EVENTS),
        (-1, limits.PAGE_EVENTS + 1),
        "page_size",
    ),
    Case(
        "ListAuditEvents",
        lambda t: admin_pb.ListAuditEventsRequest(page_token=t),
        ("",),
        TOKENS,
        "page_token",
    ),
    Case(
        "WatchTasks",
        lambda n: pb.WatchTasksRequest(selector=selector(limit=n)),
        (0,),
        (1, -1),
        "selector.limit",
    ),
    Case(
        "WatchTasks",
        lambda t: pb.WatchTasksRequest(selector=selector(page_token=t)),
        ("",),
        ("x",),
        "selector.page_token",
    ),
    Case(
        "WatchTasks",
        lambda n: pb.WatchTasksRequest(selector={"task_ids": ["x" * 18] * n}),
        *upto(limits.SELECTED_TASKS, 1),
        IDS,
    ),
    Case(
        "CancelTasks",
        lambda n: pb.CancelTasksRequest(selector={"task_ids": ["x" * 18] * n}),
        *upto(limits.SELECTED_TASKS, 1),
        IDS,
    ),
    Case(
        "CancelTasks",
        lambda n: pb.CancelTasksRequest(selector=selector(limit=n)),
        (0, 1, limits.SELECTED_TASKS),
        (-1, limits.SELECTED_TASKS + 1),
        "selector.limit",
    ),
    Case(
        "CancelTasks",
        lambda t: pb.CancelTasksRequest(selector=selector(page_token=t)),
        ("",),
        TOKENS,
        "selector.page_token",
    ),
    Case(
        "CancelTasks",
        lambda s: pb.CancelTasksRequest(selector={"filter": {"command": "C", "states": s}}),
        ([], [1, 2, 3, 4]),
        ([5], [6], [7], [8], [0]),
        "selector.filter.states[0]",
    ),
    Case(
        "CancelTasks",
        lambda n: pb.CancelTasksRequest(selector=selector(), reason=SMILE * n),
        *upto(limits.REASON_CHARS),
        "reason",
    ),
    Case(
        "RedriveTasks",
        lambda n: pb.RedriveTasksRequest(selector={"task_ids": ["x" * 18] * n}),
        *upto(limits.SELECTED_TASKS, 1),
        IDS,
    ),
    Case(
        "RedriveTasks",
        lambda n: pb.RedriveTasksRequest(selector=selector(limit=n)),
        (0, 1, limits.SELECTED_TASKS),
        (-1, limits.SELECTED_TASKS + 1),
        "selector.limit",
    ),
    Case(
        "RedriveTasks",
        lambda t: pb.RedriveTasksRequest(selector=selector(page_token=t)),
        ("",),
        TOKENS,
        "selector.page_token",
    ),
    Case(
        "RedriveTasks",
        lambda s: pb.RedriveTasksRequest(selector={"filter": {"command": "C", "states": s}}),
        ([], [6, 7, 8]),
        ([1], [2], [3], [4], [5], [0]),
        "selector.filter.states[0]",
    ),
    Case(
        "RedriveTasks",
        lambda n: pb.RedriveTasksRequest(selector=selector(), spread=ms(n)),
        *upto(limits.SPREAD_MAX_MS, 0),
        "spread",
    ),
    Case(
        "AdminQueues",
        lambda n: pb.AdminQueuesRequest(commands=["c" * n]),
        *COMMANDS,
        "commands[0]",
    ),
    Case(
        "AdminQueues",
        lambda n: pb.AdminQueuesRequest(commands=names(n)),
        *upto(limits.COMMANDS_PER_ADMIN_QUEUES),
        "commands",
    ),
    Case(
        "AdminCleanup",
        lambda n: pb.AdminCleanupRequest(limit=n),
        (0, 1, limits.CLEANUP_MAX),
        (-1, limits.CLEANUP_MAX + 1),
        "limit",
    ),
    Case(
        "AdminCleanup",
        lambda states: pb.AdminCleanupRequest(states=states),
        ([], [5], [6], [7], [8], [5, 6, 5]),
        ([1], [2], [3], [4], [0], [9]),
        "states[0]",
    ),
    Case(
        "AdminCleanup",
        lambda n: pb.AdminCleanupRequest(states=[task_pb2.TASK_STATE_COMPLETED] * n),
        *upto(limits.STATES),
        "states",
    ),
]

QUEUES: Final = [
    Case("GetQueue", lambda n: admin_pb.GetQueueRequest(command="c" * n), *COMMANDS, "command"),
    Case("PauseQueue", lambda n: admin_pb.PauseQueueRequest(command="c" * n), *COMMANDS, "command"),
    Case(
        "ResumeQueue", lambda n: admin_pb.ResumeQueueRequest(command="c" * n), *COMMANDS, "command"
    ),
    Case("PurgeQueue", lambda n: admin_pb.PurgeQueueRequest(command="c" * n), *COMMANDS, "command"),
    Case(
        "ListWorkers",
        lambda n: admin_pb.ListWorkersRequest(command="c" * n),
        (0, 1, limits.COMMAND_CHARS),
        (limits.COMMAND_CHARS + 1,),
        "command",
    ),
    Case(
        "PauseQueue",
        lambda n: admin_pb.PauseQueueRequest(command="C", reason=SMILE * n),
        *upto(limits.PAUSE_REASON_CHARS),
        "reason",
    ),
    Case("UpdateQueue", lambda n: update(command="c" * n), *COMMANDS, "queue.command"),
    Case(
        "UpdateQueue",
        lambda n: update(default_priority=n),
        *upto(limits.PRIORITY_MAX, 0),
        "queue.default_priority",
    ),
    Case("UpdateQueue", lambda n: update(lease_duration=ms(n)), *LEASE_MS, "queue.lease_duration"),
    Case("UpdateQueue", lambda n: update(lease_duration=ms(n)), (), (0,), "queue.lease_duration"),
    Case(
        "UpdateQueue",
        lambda n: update(retention=ms(n)),
        *upto(limits.RETENTION_MAX_MS, limits.RETENTION_MIN_MS),
        "queue.retention",
    ),
    Case(
        "UpdateQueue",
        lambda x: update(max_claims_per_second=x),
        (0.0, 0.001, limits.CLAIM_RATE_MAX),
        (math.nextafter(0, -1), math.nextafter(limits.CLAIM_RATE_MAX, math.inf), math.nan),
        "queue.max_claims_per_second",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(max_in_progress=n),
        *upto(limits.IN_PROGRESS_MAX, 0),
        "queue.max_in_progress",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(max_in_progress_per_key=n),
        *upto(limits.IN_PROGRESS_PER_KEY_MAX, 0),
        "queue.max_in_progress_per_key",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(max_backlog=n),
        *upto(limits.BACKLOG_MAX, 0),
        "queue.max_backlog",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(paused=True, pause_reason=SMILE * n),
        *upto(limits.PAUSE_REASON_CHARS),
        "queue.pause_reason",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(payload_schema="{}" + " " * (n - 2)),
        *upto(limits.SCHEMA_BYTES),
        "queue.payload_schema",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(retry_policy={"max_attempts": n}),
        *upto(limits.ATTEMPTS_MAX, 1),
        f"{POLICY}.max_attempts",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(retry_policy={"initial_backoff": ms(n)}),
        *upto(limits.BACKOFF_MAX_MS, 0),
        f"{POLICY}.initial_backoff",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(retry_policy={"max_backoff": ms(n)}),
        *upto(limits.BACKOFF_MAX_MS, 0),
        f"{POLICY}.max_backoff",
    ),
    Case(
        "UpdateQueue",
        lambda x: update(retry_policy={"backoff_multiplier": x}),
        (1.0, limits.MULTIPLIER_MAX),
        (math.nextafter(1, 0), math.nextafter(limits.MULTIPLIER_MAX, math.inf)),
        f"{POLICY}.backoff_multiplier",
    ),
    Case(
        "UpdateQueue",
        lambda x: update(retry_policy={"jitter": x}),
        (0.0, 1.0),
        (math.nextafter(0, -1), math.nextafter(1, 2)),
        f"{POLICY}.jitter",
    ),
    Case(
        "UpdateQueue",
        lambda n: update(retry_policy={"non_retryable_error_types": ["T"] * n}),
        *upto(limits.ERROR_TYPES),
        f"{POLICY}.non_retryable_error_types",
    ),
    Case(
        "UpdateQueue",
        lambda name: admin_pb.UpdateQueueRequest(
            queue={"command": "C"}, update_mask={"paths": ["paused", name]}
        ),
        ("retention", "retry_policy", "retry_policy.jitter"),
        (
            "",
            "command",
            "no_such",
            "Paused",
            "retention.seconds",
            "*",
            "queue.paused",
            "retry_policy.",
        ),
        "update_mask.paths[1]",
    ),
]
