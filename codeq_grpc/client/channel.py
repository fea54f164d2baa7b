"""How the SDK speaks HTTP/2: options of the channel and the retries that gRPC does itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import grpc

from codeq_grpc import __version__
from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICE: Final = "codeq.v1.CodeQService"

IDEMPOTENT: Final = (
    "GetTask",
    "AdminQueues",
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
            "name": [{"service": SERVICE, "method": method} for method in IDEMPOTENT],
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
    target: str,
    credentials: grpc.ChannelCredentials | None = None,
    options: Sequence[tuple[str, str | int]] = (),
) -> grpc.aio.Channel:
    """A channel to `target`, in plain text without `credentials`; `options` override ours."""
    merged = list({**dict(OPTIONS), **dict(options)}.items())
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=merged)
    return grpc.aio.secure_channel(target, credentials, options=merged)
