"""The Python SDK for producers and operators; workers find theirs in `codeq_grpc.worker`."""

from __future__ import annotations

from codeq.v1.task_pb2 import Payload, RetryPolicy, TaskSpec
from codeq_grpc.client.client import Client
from codeq_grpc.client.errors import CallFailed, DeadlineExceeded, ServerUnavailable, code_of
from codeq_grpc.client.payloads import decode, encode
from codeq_grpc.client.specs import Span, SpecOptions, duration, spec

__all__ = [
    "CallFailed",
    "Client",
    "DeadlineExceeded",
    "Payload",
    "RetryPolicy",
    "ServerUnavailable",
    "Span",
    "SpecOptions",
    "TaskSpec",
    "code_of",
    "decode",
    "duration",
    "encode",
    "spec",
]
