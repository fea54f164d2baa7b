"""docs/protocol.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from codeq_grpc.auth.permissions import PERMISSIONS
from codeq_grpc.core import limits
from codeq_grpc.core.principal import Scope
from codeq_grpc.core.retry import RetryPolicy
from codeq_grpc.wire.errors import CODES
from codeq_grpc.wire.specs import SpecChecker

SPEC_BYTES = SpecChecker(payload_bytes=limits.PAYLOAD_BYTES, retry=RetryPolicy()).spec_bytes
PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()


def _rows() -> dict[str, str]:
    cells = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in cells if len(row) == 2}


def test_every_limit_is_documented_with_its_value() -> None:
    rows = _rows()
    expected = {
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
        "limit of AdminCleanup": f"{limits.CLEANUP_MAX}, default {limits.CLEANUP_DEFAULT}",
        "specs in one reply or stream message": f"{limits.BATCH_BYTES} bytes",
    }
    assert {what: rows.get(what) for what in expected} == expected


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
