"""Everything that can go wrong by contract. Each class carries its reason.

A class's docstring is its default message. `metadata` travels to the caller in
`google.rpc.ErrorInfo`; `fields` (path -> what is wrong) in `google.rpc.BadRequest`;
`retry_after` (seconds) in `google.rpc.RetryInfo`. The status code of each reason stands in
`codeq_grpc.wire.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from codeq_grpc.core.principal import Principal


class CodeQError(Exception):
    """An internal error; the log has it under the request id."""

    reason: ClassVar[str] = "INTERNAL"
    default_retry_after: ClassVar[float | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        metadata: dict[str, str] | None = None,
        fields: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.metadata = metadata or {}
        self.fields = fields or {}
        self.retry_after = self.default_retry_after if retry_after is None else retry_after
        super().__init__(self.message)


class InvalidField(CodeQError):
    """A field of the request is not valid."""

    reason = "INVALID_FIELD"

    @classmethod
    def at(cls, path: str, problem: str) -> InvalidField:
        """The usual form: one field at fault, named by its path in the request."""
        return cls(f"{path}: {problem}", fields={path: problem}, metadata={"field": path})


class PayloadTooLarge(InvalidField):
    """The payload is too large."""

    reason = "PAYLOAD_TOO_LARGE"


class PayloadInvalid(InvalidField):
    """The payload is not what the queue's payload schema allows."""

    reason = "PAYLOAD_INVALID"


class SchemaUnavailable(CodeQError):
    """Payloads cannot be checked now, as too many others are; call again in a moment."""

    reason = "SCHEMA_UNAVAILABLE"
    default_retry_after = 1.0


class MalformedMessage(CodeQError):
    """The request is not a valid protobuf message of its type."""

    reason = "MALFORMED_MESSAGE"


class TaskNotFound(CodeQError):
    """There is no such task."""

    reason = "TASK_NOT_FOUND"


class QueueNotFound(CodeQError):
    """There is no such queue."""

    reason = "QUEUE_NOT_FOUND"


class KeyNotFound(CodeQError):
    """There is no such API key."""

    reason = "KEY_NOT_FOUND"


class ScheduleNotFound(CodeQError):
    """There is no such schedule."""

    reason = "SCHEDULE_NOT_FOUND"


class VersionNotFound(CodeQError):
    """There is no such version of the schedule."""

    reason = "VERSION_NOT_FOUND"


class ScheduleExists(CodeQError):
    """There is a schedule of this name already."""

    reason = "SCHEDULE_EXISTS"


class ScheduleChanged(CodeQError):
    """The schedule is not, or no longer, the one that the etag stands for; read it again."""

    reason = "SCHEDULE_CHANGED"


class ScheduleProtected(CodeQError):
    """The schedule is a part of codeQ: it can be paused and triggered, not changed or deleted."""

    reason = "SCHEDULE_PROTECTED"


class TaskExists(CodeQError):
    """The idempotency key belongs to a task already."""

    reason = "TASK_EXISTS"


class IdempotencyMismatch(CodeQError):
    """The idempotency key belongs to a task with another payload."""

    reason = "IDEMPOTENCY_MISMATCH"


class InvalidState(CodeQError):
    """The task is in a state that does not allow this."""

    reason = "INVALID_STATE"


class LeaseLost(CodeQError):
    """The lease is not, or no longer, the current one of its task; nothing was changed."""

    reason = "LEASE_LOST"


class StoreFull(CodeQError):
    """The store is out of memory; ended and drained tasks free it."""

    reason = "STORE_FULL"
    default_retry_after = 5.0


class QueueFull(CodeQError):
    """The queue holds as many unfinished tasks as it may."""

    reason = "QUEUE_FULL"
    default_retry_after = 5.0


class TooManyKeys(CodeQError):
    """The tenant has as many API keys as it may; revoke some."""

    reason = "TOO_MANY_KEYS"
    default_retry_after = 60.0


class QuotaExceeded(CodeQError):
    """The tenant has as much as it may."""

    reason = "QUOTA_EXCEEDED"

    @classmethod
    def of(cls, quota: str, limit: int, retry_after: float | None = None) -> QuotaExceeded:
        """The usual form; with `retry_after` if it may have more by then."""
        return cls(
            f"the tenant's quota of {quota} is {limit}",
            metadata={"quota": quota, "limit": str(limit)},
            retry_after=retry_after,
        )


class TenantUnknown(CodeQError):
    """This server does not serve the credential's tenant."""

    reason = "TENANT_UNKNOWN"


class TooManyCalls(CodeQError):
    """As many calls are under way as may be; call another server or later."""

    reason = "TOO_MANY_CALLS"
    default_retry_after = 1.0


class TooManyStreams(CodeQError):
    """As many streams are open as may be; open it on another server or later."""

    reason = "TOO_MANY_STREAMS"
    default_retry_after = 1.0


class TooManyFailures(CodeQError):
    """Too many calls without a valid credential came from this address."""

    reason = "TOO_MANY_FAILURES"
    default_retry_after = 1.0


class RequestLate(CodeQError):
    """The request did not come soon enough after its headers; nothing was done."""

    reason = "REQUEST_LATE"
    default_retry_after = 0.5


class StoreUnavailable(CodeQError):
    """The store cannot be reached or does not accept commands now."""

    reason = "STORE_UNAVAILABLE"
    default_retry_after = 0.5


class NotDurable(StoreUnavailable):
    """The change is made, and not yet as durable as this server promises; repeat the call."""

    reason = "NOT_DURABLE"


class Draining(CodeQError):
    """This server is shutting down; call another one or again in a moment."""

    reason = "DRAINING"
    default_retry_after = 0.2


class IdentityUnavailable(CodeQError):
    """The credential cannot be verified now: who would tell does not answer."""

    reason = "IDENTITY_UNAVAILABLE"
    default_retry_after = 1.0


class CredentialMissing(CodeQError):
    """Send `authorization: Bearer <token>` or `x-api-key: <key>`."""

    reason = "CREDENTIAL_MISSING"


class CredentialInvalid(CodeQError):
    """The credential is not valid."""

    reason = "CREDENTIAL_INVALID"


class CredentialExpired(CodeQError):
    """The credential was valid, and is no longer."""

    reason = "CREDENTIAL_EXPIRED"
    who: Principal | None = None
    """Whose it was, if that is verified; for the audit trail, not for the caller."""

    @classmethod
    def of(cls, who: Principal) -> CredentialExpired:
        """Of somebody who is known."""
        error = cls()
        error.who = who
        return error


class CredentialChanged(CodeQError):
    """What the credential allows has changed; call again."""

    reason = "CREDENTIAL_CHANGED"
    default_retry_after = 0.1


class ScopeMissing(CodeQError):
    """The credential does not allow this call."""

    reason = "SCOPE_MISSING"


class CommandForbidden(CodeQError):
    """The credential does not allow this command."""

    reason = "COMMAND_FORBIDDEN"

    @classmethod
    def of(cls, command: str) -> CommandForbidden:
        """The usual form, the same whether there is such a queue or not."""
        return cls(
            f"the credential does not allow the command {command!r}", metadata={"command": command}
        )
