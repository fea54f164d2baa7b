"""The Python SDK for workers.

A worker holds leases, keeps them alive with heartbeats, and reports how each attempt ended;
see `Worker`.
"""

from __future__ import annotations

from codeq_grpc.worker.cancellation import CancelToken
from codeq_grpc.worker.context import TaskContext
from codeq_grpc.worker.outcomes import Cancelled, Reject, Retry
from codeq_grpc.worker.processes import InProcess, in_process
from codeq_grpc.worker.reports import Ended
from codeq_grpc.worker.worker import Worker, default_worker_id

__all__ = [
    "CancelToken",
    "Cancelled",
    "Ended",
    "InProcess",
    "Reject",
    "Retry",
    "TaskContext",
    "Worker",
    "default_worker_id",
    "in_process",
]
