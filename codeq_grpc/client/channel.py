"""How the SDK speaks HTTP/2: options of the channel and the retries that gRPC does itself."""

from __future__ import annotations

import json
import re
import uuid
from typing import TYPE_CHECKING, Final

import grpc

from codeq.v1 import admin_service_pb2, codeq_service_pb2, schedule_service_pb2
from codeq_grpc import __version__
from codeq_grpc.core import limits

_SCHEME: Final = re.compile(r"^[a-z][a-z0-9+.-]*:/*")
_HERE: Final = re.compile(
    r"(?:dns:(?:///)?|ipv4:|ipv6:)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?"
)
"""One target, and it is on this machine."""

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

    from codeq_grpc.client.flows import Response

    Options = Sequence[tuple[str, str | int]]
    Metadata = tuple[tuple[str, str], ...]

_SERVICES: Final = (
    codeq_service_pb2.DESCRIPTOR.services_by_name["CodeQService"],
    admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"],
    schedule_service_pb2.DESCRIPTOR.services_by_name["ScheduleService"],
)

SERVICE_OF: Final = {
    method.name: service.full_name for service in _SERVICES for method in service.methods
}
"""Method -> service: no two services have a method of the same name."""

IDEMPOTENT: Final = (
    "GetTask",
    "ListTasks",
    "AdminQueues",
    "GetQueue",
    "UpdateQueue",
    "PauseQueue",
    "ResumeQueue",
    "ListWorkers",
    "ListAuditEvents",
    "GetSchedule",
    "ListSchedules",
    "PreviewSchedule",
    "ListFirings",
    "ListScheduleVersions",
    "Heartbeat",
    "Complete",
    "Fail",
    "Abandon",
    "Report",
)
"""Calls that may be repeated when their reply was lost. Reports are: same fence, same end."""

SERVICE_CONFIG: Final = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE_OF[method], "method": method} for method in IDEMPOTENT],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                # A server that stops answers CANCELLED to calls it had received and not begun.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # A server in trouble is not asked four times by everybody.
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.2},
}

OPTIONS: Final = (
    ("grpc.primary_user_agent", f"codeq-python/{__version__}"),
    ("grpc.max_send_message_length", limits.MESSAGE_BYTES),
    # A full task carries its payload and its result; responses are cut by bytes, not exactly.
    ("grpc.max_receive_message_length", 2 * limits.MESSAGE_BYTES),
    ("grpc.max_metadata_size", limits.METADATA_BYTES),
    # The server allows a ping every 10 s: twice that finds a dead peer within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # gRPC's own pauses grow to two minutes: too long for a worker after a deploy.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
)


def open_channel(
    target: str, credentials: grpc.ChannelCredentials | None = None, options: Options = ()
) -> grpc.aio.Channel:
    """A channel to `target`, in plain text without `credentials`; `options` override ours."""
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=_merged(target, options))
    return grpc.aio.secure_channel(target, credentials, options=_merged(target, options))


def open_sync_channel(
    target: str, credentials: grpc.ChannelCredentials | None = None, options: Options = ()
) -> grpc.Channel:
    """The same in gRPC's synchronous API."""
    if credentials is None:
        return grpc.insecure_channel(target, options=_merged(target, options))
    return grpc.secure_channel(target, credentials, options=_merged(target, options))


def path(method: str) -> str:
    """Where a method is called."""
    return f"/{SERVICE_OF[method]}/{method}"


def checked(token: str | None) -> str | None:
    """A token that a header can carry.

    Raises:
        ValueError: It cannot; gRPC itself would end the first call with a fault of its own.
    """
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ValueError(
            "the token has characters that none has, such as the end of a line; was it read with"
            " all of its file?"
        )
    return token


def metadata(token: str | None) -> tuple[Metadata, str]:
    """What goes along with a call, and the request id in it."""
    request_id = uuid.uuid4().hex
    own = (("x-request-id", request_id),)
    return ((("authorization", f"Bearer {token}"), *own) if token else own), request_id


def serialize(message: Message) -> bytes:
    """A request as bytes."""
    return message.SerializeToString()


def parser(response: Callable[[], Response]) -> Callable[[bytes], Response]:
    """What makes a response of bytes."""
    parse: Callable[[bytes], Response] = response.FromString  # type: ignore[attr-defined]
    return parse


def _merged(target: str, options: Options) -> list[tuple[str, str | int]]:
    merged: dict[str, str | int] = dict(OPTIONS)
    if "," in target:
        # gRPC would make the whole list the name of the server, which HTTP/2 does not allow and
        # some servers refuse (RFC 9113, 8.3.1).
        merged["grpc.default_authority"] = _SCHEME.sub("", target).split(",")[0]
    if _HERE.fullmatch(target):
        # gRPC would show the proxy of the environment the credential, to come back to this machine.
        merged["grpc.enable_http_proxy"] = 0
    merged.update(options)
    return list(merged.items())
