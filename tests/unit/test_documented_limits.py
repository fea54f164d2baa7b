"""docs/protocol.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.core import limits
from codeq_grpc.core.audit import TEXT_CHARS
from codeq_grpc.core.principal import Scope
from codeq_grpc.settings import Settings
from codeq_grpc.wire.errors import CODES
from codeq_grpc.wire.specs import SpecChecker

SPEC_BYTES = SpecChecker(payload_bytes=limits.PAYLOAD_BYTES).spec_bytes
DEFAULTS = Settings.model_validate({})
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def _rows() -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in cells if len(row) == 2}


def _span(least_ms: int, most_ms: int) -> str:
    return f"{least_ms // 1000} to {most_ms // 1000} s"


def _places(name: str) -> str:
    return ", ".join(map(str, DEFAULTS.places(name))) + " (settings)"


def _of_api_keys() -> dict[str, str]:
    return {
        "name of an API key": f"{limits.API_KEY_NAME_CHARS} characters, printable",
        "roles, scopes, commands of an API key": f"{limits.API_KEY_RIGHTS} entries each",
        "ttl of an API key": _span(limits.API_KEY_LIFE_MIN_MS, limits.API_KEY_LIFE_MAX_MS),
        "API keys of a tenant": f"{limits.API_KEYS}, those of the last "
        f"{limits.API_KEY_KEPT_MS // limits.DAY} days included",
        "reason of RevokeApiKey": f"{limits.REASON_CHARS} characters",
    }


def _of_callers() -> dict[str, str]:
    return {
        "calls under way: of one server, principal, address": _places("max_calls"),
        "streams: of one server, principal, address": _places("max_streams"),
        "watches: of one server, principal, address": _places("max_watches"),
        "health checks of one address": f"{limits.HEALTH_CHECKS_PER_ADDRESS}",
        "health watches: of one server, address": f"{limits.HEALTH_WATCHES}, "
        f"{limits.HEALTH_WATCHES_PER_ADDRESS}",
        "failed authentications of one address in a second": f"{DEFAULTS.max_failures_per_second}"
        " (setting)",
    }


def _of_schedules() -> dict[str, str]:
    grace = _span(limits.MISFIRE_GRACE_MIN_MS, limits.MISFIRE_GRACE_MAX_MS)
    every = _span(limits.SCHEDULE_EVERY_MIN_MS, limits.SCHEDULE_EVERY_MAX_MS)
    return {
        "schedule_id": f"{limits.SCHEDULE_ID_CHARS} characters of `A-Za-z0-9._:-`",
        "schedule in all, payload of its task": f"{limits.SCHEDULE_BYTES} bytes",
        "description of a schedule": f"{limits.DESCRIPTION_CHARS} characters",
        "crons of a schedule": f"{limits.SCHEDULE_CRONS} entries of {limits.CRON_CHARS} characters",
        "every of a schedule": f"{every}, in whole ms",
        "times of a schedule": f"{limits.SCHEDULE_TIMES} entries",
        "jitter of a schedule": _span(0, limits.SCHEDULE_JITTER_MAX_MS),
        "misfire_grace": f"{grace}, default {limits.MISFIRE_GRACE_DEFAULT_MS // 1000} s",
        "max_firings": f"0 to {limits.FIRINGS_MAX}",
        "pause_after_failures": f"0 to {limits.FAILURES_MAX}",
        "request_key": f"{limits.REQUEST_KEY_CHARS} characters, known for "
        f"{limits.REQUEST_KEY_MS // 1000} s",
        "schedules in a batch": f"{limits.BATCH_SCHEDULES}",
        "fire times of a backfill": f"{limits.BACKFILLED}",
        "count of PreviewSchedule": f"{limits.PREVIEW_MAX}, default {limits.PREVIEW_DEFAULT}",
        "next fire times of a schedule": f"{limits.NEXT_TIMES}",
        "reason of a change of a schedule": f"{limits.REASON_CHARS} characters",
    }


def test_every_limit_is_documented_with_its_value() -> None:
    rows = _rows()
    expected = {
        **_of_schedules(),
        **_of_api_keys(),
        **_of_callers(),
        "message": f"{limits.MESSAGE_BYTES} bytes",
        "metadata of a call": f"{limits.METADATA_BYTES} bytes",
        "payload, result": f"{limits.PAYLOAD_BYTES} bytes (setting)",
        "spec of a task in all": f"{SPEC_BYTES} bytes (less with a larger payload setting)",
        "error of an attempt in all": f"{limits.ERROR_BYTES} bytes",
        "command": f"{limits.COMMAND_CHARS} characters of `A-Za-z0-9._:-`",
        "worker_id": f"{limits.WORKER_ID_CHARS} characters",
        "content_type": f"{limits.CONTENT_TYPE_CHARS} characters",
        "headers": f"{limits.HEADERS} entries",
        "header key": f"{limits.HEADER_KEY_CHARS} characters",
        "header value": f"{limits.HEADER_VALUE_CHARS} characters",
        "error type": f"{limits.ERROR_TYPE_CHARS} characters",
        "error message": f"{limits.ERROR_MESSAGE_CHARS} characters",
        "error detail": f"{limits.ERROR_DETAIL_CHARS} characters",
        "checkpoint": f"{limits.CHECKPOINT_BYTES} bytes",
        "message of progress": f"{limits.PROGRESS_MESSAGE_CHARS} characters",
        "attempts kept of a task": f"{limits.HISTORY_ATTEMPTS}",
        "message of a kept attempt": f"{limits.HISTORY_MESSAGE_CHARS} characters",
        "idempotency_key, concurrency_key": f"{limits.IDEMPOTENCY_KEY_CHARS} characters, no NUL",
        "idempotency_ttl": _span(limits.IDEMPOTENCY_TTL_MIN_MS, limits.IDEMPOTENCY_TTL_MAX_MS),
        "text of an audit event": f"{TEXT_CHARS} characters",
        "depends_on": f"{limits.DEPENDENCIES} entries",
        "labels": f"{limits.LABELS} entries",
        "label key": f"{limits.LABEL_KEY_CHARS} characters, no NUL",
        "label value": f"{limits.LABEL_VALUE_CHARS} characters, no NUL",
        "non_retryable_error_types": f"{limits.ERROR_TYPES} entries",
        "attempt_timeout": _span(limits.ATTEMPT_TIMEOUT_MIN_MS, limits.ATTEMPT_TIMEOUT_MAX_MS),
        "priority": f"0 to {limits.PRIORITY_MAX}, default {limits.PRIORITY_DEFAULT}",
        "max_attempts": f"1 to {limits.ATTEMPTS_MAX}, default 5",
        "back-off": f"0 to {limits.BACKOFF_MAX_MS // 1000} s",
        "backoff_multiplier": f"1 to {limits.MULTIPLIER_MAX:g}",
        "lease": f"{limits.LEASE_MIN_MS // 1000} to {limits.LEASE_MAX_MS // 1000} s, "
        "default 300 s (setting)",
        "delay": f"0 to {limits.DELAY_MAX_MS // 1000} s",
        "retry_delay, delay of Abandon": f"0 to {limits.RETRY_DELAY_MAX_MS // 1000} s",
        "tasks, leases or outcomes in a batch": f"{limits.BATCH_TASKS}",
        "commands of a claim": f"{limits.COMMANDS_PER_CLAIM}",
        "commands of AdminQueues": f"{limits.COMMANDS_PER_ADMIN_QUEUES}",
        "max_outstanding": f"{limits.MAX_OUTSTANDING}",
        "max_batch_size": f"{limits.BATCH_TASKS}, default {limits.STREAM_BATCH_DEFAULT}",
        "wait": f"{limits.WAIT_MAX_MS // 1000} s",
        "idle_interval": f"{limits.IDLE_INTERVAL_MIN_MS // 1000} to "
        f"{limits.IDLE_INTERVAL_MAX_MS // 1000} s, "
        f"default {limits.IDLE_INTERVAL_DEFAULT_MS // 1000} s",
        "page_size": f"{limits.PAGE_TASKS}, default {limits.PAGE_DEFAULT}",
        "page_token": f"{limits.PAGE_TOKEN_CHARS} characters",
        "tasks in a selector, limit of a selector": f"{limits.SELECTED_TASKS}",
        "states of a filter, of AdminCleanup": f"{limits.STATES} entries",
        "reason of a cancel": f"{limits.REASON_CHARS} characters",
        "spread": _span(0, limits.SPREAD_MAX_MS),
        "pause_reason": f"{limits.PAUSE_REASON_CHARS} characters",
        "max_claims_per_second": f"0 to {limits.CLAIM_RATE_MAX:.0f}",
        "max_in_progress": f"0 to {limits.IN_PROGRESS_MAX}",
        "max_in_progress_per_key": f"0 to {limits.IN_PROGRESS_PER_KEY_MAX}",
        "max_backlog": f"0 to {limits.BACKLOG_MAX}",
        "retention": f"{_span(limits.RETENTION_MIN_MS, limits.RETENTION_MAX_MS)}, "
        "default 86400 s (setting)",
        "limit of AdminCleanup": f"{limits.CLEANUP_MAX}, default {limits.CLEANUP_DEFAULT}",
        "specs in one reply or stream message": f"{limits.BATCH_BYTES} bytes",
    }
    assert {what: rows.get(what) for what in expected} == expected


def test_room_for_requests_is_documented() -> None:
    rows, one = _rows(), "requests being read or worked on: of one server, principal"
    rooms = DEFAULTS.max_request_bytes, DEFAULTS.max_request_bytes_per_principal
    assert rows[one] == "{} and {} bytes (settings)".format(*rooms)
    rooms = limits.HEALTH_BYTES, limits.HEALTH_BYTES_PER_ADDRESS
    assert rows["the same of health: of one server, address"] == "{} and {} bytes".format(*rooms)


def test_every_reason_is_documented_with_its_code() -> None:
    rows = _rows()
    documented = {
        (reason, code) for reasons, code in rows.items() for reason in reasons.split(", ")
    }
    for error, code in CODES.items():
        assert (error.reason, code.name) in documented


def test_every_rpc_is_documented_with_its_scope() -> None:
    documented = {(rpc, scope) for rpcs, scope in _rows().items() for rpc in rpcs.split(", ")}
    for method, needed in PERMISSIONS.items():
        if isinstance(needed, Scope):
            assert (method.rpartition("/")[2], needed.value) in documented
