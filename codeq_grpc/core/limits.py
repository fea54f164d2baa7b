"""Every limit of the API in one place; docs/protocol.md is held against it by a test.

Durations are milliseconds, sizes bytes, texts characters.
"""

from __future__ import annotations

from typing import Final

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MESSAGE_BYTES: Final = 4 << 20
BATCH_BYTES: Final = 3 << 20
MORE_BYTES: Final = MESSAGE_BYTES - BATCH_BYTES - (128 << 10)
"""Specs in a reply beyond which no further queue is asked: it may give one of BATCH_BYTES."""
PAYLOAD_BYTES: Final = 1 << 20
SCHEMA_BYTES: Final = 64 << 10
ERROR_BYTES: Final = 160 << 10
CHECKPOINT_BYTES: Final = 256 << 10
HISTORY_BYTES: Final = 160 << 10
"""Room for the attempts of a task in a message: 20 of them, each error cut."""
METADATA_BYTES: Final = 16 << 10

COMMAND_CHARS: Final = 128
WORKER_ID_CHARS: Final = 128
CONTENT_TYPE_CHARS: Final = 128
ERROR_TYPE_CHARS: Final = 256
ERROR_MESSAGE_CHARS: Final = 4_096
ERROR_DETAIL_CHARS: Final = 32_768

ERROR_TYPES: Final = 32
"""Of `RetryPolicy.non_retryable_error_types`."""
HISTORY_ATTEMPTS: Final = 20
HISTORY_MESSAGE_CHARS: Final = 1_024
PROGRESS_MESSAGE_CHARS: Final = 1_024
REASON_CHARS: Final = 1_024
PAUSE_REASON_CHARS: Final = 256
PAGE_TOKEN_CHARS: Final = 2_048
"""One may hold a whole concurrency key."""

IDEMPOTENCY_KEY_CHARS: Final = 256
IDEMPOTENCY_TTL_MIN_MS: Final = 1 * SECOND
IDEMPOTENCY_TTL_MAX_MS: Final = 30 * DAY
CONCURRENCY_KEY_CHARS: Final = IDEMPOTENCY_KEY_CHARS
DEPENDENCIES: Final = 100
LABELS: Final = 16
LABEL_KEY_CHARS: Final = 63
LABEL_VALUE_CHARS: Final = 255

HEADERS: Final = 64
HEADER_KEY_CHARS: Final = 128
HEADER_VALUE_CHARS: Final = 4_096

PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 5

ATTEMPTS_MAX: Final = 100
BACKOFF_MAX_MS: Final = DAY
MULTIPLIER_MAX: Final = 100.0

LEASE_MIN_MS: Final = 1 * SECOND
LEASE_MAX_MS: Final = DAY
ATTEMPT_TIMEOUT_MIN_MS: Final = 1 * SECOND
ATTEMPT_TIMEOUT_MAX_MS: Final = 30 * DAY
DELAY_MAX_MS: Final = 3_653 * DAY
RETRY_DELAY_MAX_MS: Final = 366 * DAY

BATCH_TASKS: Final = 1_000
COMMANDS_PER_CLAIM: Final = 32
COMMANDS_PER_ADMIN_QUEUES: Final = 1_000
MAX_OUTSTANDING: Final = 10_000
STREAM_BATCH_DEFAULT: Final = 100
WAIT_MAX_MS: Final = 60 * SECOND
IDLE_INTERVAL_MIN_MS: Final = 1 * SECOND
IDLE_INTERVAL_MAX_MS: Final = 60 * SECOND
IDLE_INTERVAL_DEFAULT_MS: Final = 15 * SECOND

HEALTH_CHECKS_PER_ADDRESS: Final = 128
HEALTH_WATCHES: Final = 256
HEALTH_WATCHES_PER_ADDRESS: Final = 192
HEALTH_BYTES: Final = 32 << 20
HEALTH_BYTES_PER_ADDRESS: Final = 8 << 20
"""Health answers anybody: these are not for settings to take away."""

CLAIM_RATE_MAX: Final = 1_000_000.0
IN_PROGRESS_MAX: Final = 1_000_000
IN_PROGRESS_PER_KEY_MAX: Final = 1_000
BACKLOG_MAX: Final = 10**12
RETENTION_MIN_MS: Final = 1 * SECOND
RETENTION_MAX_MS: Final = 366 * DAY

PAGE_TASKS: Final = 1_000
PAGE_EVENTS: Final = 1_000
"""A thousand events are less than 4 MiB: their texts are cut."""
PAGE_DEFAULT: Final = 50
SELECTED_TASKS: Final = 1_000
STATES: Final = 100
"""Of a filter; more than there are, so that it does not matter who names one twice."""
SPREAD_MAX_MS: Final = 7 * DAY

CLEANUP_DEFAULT: Final = 1_000
CLEANUP_MAX: Final = 10_000

API_KEYS: Final = 1_000
"""Of a tenant, those that have ended and are still kept among them."""
API_KEY_KEPT_MS: Final = 30 * DAY
"""After their end; less if the tenant needs the place."""
API_KEY_NAME_CHARS: Final = 128
API_KEY_RIGHTS: Final = 64
"""Scopes, roles and commands: so many of each."""
API_KEY_LIFE_MIN_MS: Final = 1 * SECOND
API_KEY_LIFE_MAX_MS: Final = 3_653 * DAY

SCHEDULE_CRONS: Final = 16
CRON_CHARS: Final = 256
SCHEDULE_EVERY_MIN_MS: Final = 1 * SECOND
SCHEDULE_EVERY_MAX_MS: Final = 366 * DAY
SCHEDULE_TIMES: Final = 1_000
SCHEDULE_JITTER_MAX_MS: Final = DAY

BULK_BATCH: Final = 50
"""Items per script call of a bulk operation, which workers' calls have to wait for."""
SCRIPT_BATCH: Final = 500
"""Items per script call, but for an atomic batch, which is one call of up to BATCH_TASKS."""

SCHEDULE_ID_CHARS: Final = 128
SCHEDULE_BYTES: Final = 256 << 10
"""Of a whole schedule, and of its task's payload: twenty versions of it are kept."""
DESCRIPTION_CHARS: Final = 1_024
MISFIRE_GRACE_MIN_MS: Final = 1 * SECOND
MISFIRE_GRACE_MAX_MS: Final = 366 * DAY
MISFIRE_GRACE_DEFAULT_MS: Final = 5 * MINUTE
FIRINGS_MAX: Final = 10**12
FAILURES_MAX: Final = 1_000_000
REQUEST_KEY_CHARS: Final = 128
REQUEST_KEY_MS: Final = DAY
"""For so long a repeat of TriggerSchedule gives the same firing."""
FIRING_KEY_MS: Final = DAY
"""How long after its enqueue the task of a firing is known by its idempotency key."""
BATCH_SCHEDULES: Final = 1_000
PAGE_SCHEDULES: Final = 1_000
PAGE_FIRINGS: Final = 1_000
BACKFILLED: Final = 1_000
PREVIEW_MAX: Final = 100
PREVIEW_DEFAULT: Final = 10
NEXT_TIMES: Final = 5
"""That a schedule tells."""
FIRING_PLACE_BYTES: Final = 16
"""Of a place among firings: number of the schedule, fire time, kind."""
