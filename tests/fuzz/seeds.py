"""What the fuzzer begins with: good inputs, from which it finds its way to others."""

from __future__ import annotations

from typing import Final

from codeq.v1.codeq_service_pb2 import EnqueueRequest
from codeq.v1.task_pb2 import LeaseRef
from codeq_grpc.core.errors import InvalidField, StoreUnavailable, TaskNotFound
from codeq_grpc.wire.errors import to_status
from tests.fuzz.asking import RPCS
from tests.fuzz.timing import seeds_of_crons, seeds_of_fillings
from tests.fuzz.vouching import seeds_of_sets, seeds_of_tokens
from tests.integration.requests import requests

_LEASE: Final = LeaseRef(task_id="AAAAAAECAAZ7yVXwAw", fence=7)


def _of_requests() -> list[bytes]:
    return [
        bytes((RPCS.index(rpc),)) + request.SerializeToString() for rpc, request in requests(_LEASE)
    ]


def _of_specs() -> list[bytes]:
    found = [request for _, request in requests(_LEASE) if isinstance(request, EnqueueRequest)]
    return [request.task.SerializeToString() for request in found]


def _of_statuses() -> list[bytes]:
    errors = (InvalidField.at("a.b", "is wrong"), TaskNotFound(), StoreUnavailable())
    return [to_status(error)[2] for error in errors]


def seeds(target: str) -> list[bytes]:
    """Good inputs of a target; for some any bytes are good."""
    made = {
        "requests": _of_requests,
        "specs": _of_specs,
        "statuses": _of_statuses,
        "signed_tokens": seeds_of_tokens,
        "key_sets": seeds_of_sets,
        "crons": seeds_of_crons,
        "fillings": seeds_of_fillings,
    }
    if target in made:
        return made[target]()
    if target == "task_ids":
        return [_LEASE.task_id.encode()]
    if target == "page_tokens":
        return [b"\x00\x01\x00", b"\x01\x01\x00" + b"1234567" + b"99", b"\x03\x01\x00" + b"1234567"]
    if target == "metadata":
        return [bytes((at, 0, start, 0)) for at in range(3) for start in range(5)]
    return [bytes(range(256)), bytes(64)]
