"""What workers say and get: outcomes, heartbeats, claimed tasks."""

from __future__ import annotations

from typing import Final

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.records import Beat, Outcome
from codeq_grpc.core.task import Ending
from codeq_grpc.wire.checks import FENCE_MAX, check_lease, check_number, check_text, duration_ms
from codeq_grpc.wire.specs import check_payload, is_harmless

_NO_PROGRESS: Final = b"\x09" + bytes(8)
"""Progress of fraction 0 with the field spelled out, since empty means that nothing is told."""

_ID_CHARS: Final = 64
"""Of what was taken for a task id and is told again."""


def _prefix(path: str) -> str:
    return f"{path}." if path else ""


def completed(request: pb.CompleteRequest, payload_bytes: int, path: str = "") -> Outcome:
    """A checked CompleteRequest."""
    task_id, fence = check_lease(request.lease, f"{_prefix(path)}lease")
    check_payload(request.result, f"{_prefix(path)}result", payload_bytes)
    return Outcome(task_id, fence, Ending.COMPLETE, request.result.SerializeToString())


def failed(request: pb.FailRequest, path: str = "") -> Outcome:
    """A checked FailRequest."""
    task_id, fence = check_lease(request.lease, f"{_prefix(path)}lease")
    error, at = request.error, f"{_prefix(path)}error"
    check_text(error.type, f"{at}.type", limits.ERROR_TYPE_CHARS)
    check_text(error.message, f"{at}.message", limits.ERROR_MESSAGE_CHARS)
    check_text(error.detail, f"{at}.detail", limits.ERROR_DETAIL_CHARS)
    delay = None
    if error.HasField("retry_delay"):
        delay = duration_ms(error.retry_delay, f"{at}.retry_delay", 0, limits.RETRY_DELAY_MAX_MS)
    text = error.SerializeToString()
    if len(text) > limits.ERROR_BYTES:
        raise InvalidField.at(at, f"must have at most {limits.ERROR_BYTES} bytes")
    return Outcome(
        task_id, fence, Ending.FAIL, text, delay, error.non_retryable, error.type, _short(error)
    )


def _short(error: task_pb2.TaskError) -> bytes:
    """What the history keeps of an error; empty when that is all of it."""
    message = error.message[: limits.HISTORY_MESSAGE_CHARS]
    if not error.detail and message == error.message:
        return b""
    return task_pb2.TaskError(type=error.type, message=message).SerializeToString()


def abandoned(request: pb.AbandonRequest, path: str = "") -> Outcome:
    """A checked AbandonRequest."""
    task_id, fence = check_lease(request.lease, f"{_prefix(path)}lease")
    delay = 0
    if request.HasField("delay"):
        delay = duration_ms(request.delay, f"{_prefix(path)}delay", 0, limits.RETRY_DELAY_MAX_MS)
    return Outcome(task_id, fence, Ending.ABANDON, b"", delay)


def outcome(request: pb.Outcome, index: int, payload_bytes: int) -> Outcome:
    """One checked item of a ReportRequest."""
    kind = request.WhichOneof("outcome")
    if kind == "complete":
        # Nearly all of them, and nearly all are right: their paths are written for errors only.
        end = request.complete
        task_id, fence, result = end.lease.task_id, end.lease.fence, end.result
        if task_id and 1 <= fence <= FENCE_MAX and is_harmless(result, payload_bytes):
            return Outcome(task_id, fence, Ending.COMPLETE, result.SerializeToString())
    path = f"outcomes[{index}].{kind}"
    if kind == "complete":
        return completed(request.complete, payload_bytes, path)
    if kind == "fail":
        return failed(request.fail, path)
    if kind == "abandon":
        return abandoned(request.abandon, path)
    raise InvalidField.at(f"outcomes[{index}]", "must be complete, fail or abandon")


def heartbeat(request: pb.LeaseHeartbeat, index: int) -> Beat:
    """One checked heartbeat."""
    path = f"leases[{index}]"
    task_id, fence = check_lease(request.lease, f"{path}.lease")
    extend = 0
    if request.HasField("extend"):
        extend = duration_ms(
            request.extend, f"{path}.extend", limits.LEASE_MIN_MS, limits.LEASE_MAX_MS
        )
    progress = checkpoint = b""
    if request.HasField("progress"):
        progress, checkpoint = _progress(request.progress, f"{path}.progress")
    return Beat(task_id, fence, extend, progress, checkpoint)


def _progress(progress: task_pb2.Progress, path: str) -> tuple[bytes, bytes]:
    """Progress without checkpoint, and the checkpoint; each empty if it is not told."""
    fraction = check_number(progress.fraction, f"{path}.fraction", 0, 1)
    check_text(progress.message, f"{path}.message", limits.PROGRESS_MESSAGE_CHARS)
    checkpoint = b""
    if progress.HasField("checkpoint"):
        at = f"{path}.checkpoint"
        check_payload(progress.checkpoint, at, limits.CHECKPOINT_BYTES)
        checkpoint = progress.checkpoint.SerializeToString()
    told = task_pb2.Progress(fraction=fraction, message=progress.message)
    return told.SerializeToString() or _NO_PROGRESS, checkpoint


def lease_lost(task_id: str, fence: int, reason: str) -> pb.Directive:
    """The order to stop working on a lease."""
    return pb.Directive(
        lease=task_pb2.LeaseRef(task_id=task_id, fence=fence),
        kind=pb.DIRECTIVE_KIND_LEASE_LOST,
        reason=reason,
    )


def cancel_asked(task_id: str, fence: int, reason: str) -> pb.Directive:
    """The order to stop and report."""
    return pb.Directive(
        lease=task_pb2.LeaseRef(task_id=task_id, fence=fence),
        kind=pb.DIRECTIVE_KIND_CANCEL,
        reason=reason,
    )


def told(task_id: str, fence: int, word: bytes, error: bytes) -> pb.Directive:
    """The order that a heartbeat brought."""
    if word == b"CANCEL":
        return cancel_asked(task_id, fence, task_pb2.TaskError.FromString(error).message)
    # What is no id at all may be so long that the answer would not fit into a message.
    return lease_lost(task_id[:_ID_CHARS], fence, word.decode())
