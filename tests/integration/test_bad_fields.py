"""Every field of every request, made from the descriptors: what is out of range is refused with
the field's path, never as UNKNOWN or INTERNAL, and the store stays as it was.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import task_pb2
from tests.integration.looking import contents
from tests.integration.refusals import told, told_raw
from tests.integration.requests import HEADER, SERVICE, Field, fields, requests

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.support.admin import Admin
    from tests.support.server import Caller

LONG: Final = "x" * 70_000
BAD_UTF8: Final = b"\xed\xa0\x80"
MARK: Final = "@@@"
OF_TYPE: Final[dict[int, tuple[Any, ...]]] = {
    FieldDescriptor.TYPE_INT32: (-1, -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**53, 2**64 - 1),
    FieldDescriptor.TYPE_DOUBLE: (math.nan, math.inf, -math.inf, -1.0, 1e300, -5e-324),
    FieldDescriptor.TYPE_ENUM: (99, -1, -(2**31)),
}
DURATIONS: Final = (
    Duration(nanos=10**9),
    Duration(nanos=-(10**9)),
    Duration(nanos=-1),
    Duration(seconds=1, nanos=-1),
    Duration(seconds=-1, nanos=1),
    Duration(seconds=-1),
    Duration(seconds=2**63 - 1),
    Duration(seconds=-(2**63)),
    Duration(seconds=400_000_000),
)
TIMESTAMPS: Final = (
    Timestamp(nanos=-1),
    Timestamp(nanos=10**9),
    Timestamp(seconds=253_402_300_800),
    Timestamp(seconds=-62_135_596_801),
    Timestamp(seconds=2**63 - 1),
    Timestamp(seconds=-(2**63)),
)


def bad_values(field: Field) -> tuple[Any, ...]:
    """What a field must refuse, whatever its meaning."""
    descriptor = field.descriptor
    if descriptor.message_type is Duration.DESCRIPTOR:
        return DURATIONS
    if descriptor.message_type is Timestamp.DESCRIPTOR:
        return TIMESTAMPS
    if descriptor.type == FieldDescriptor.TYPE_STRING:
        # An id is not checked but looked up: a wrong one is not found.
        return () if descriptor.name == "task_id" else (LONG,)
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        return (bytes((1 << 20) + 1),)
    return OF_TYPE.get(descriptor.type, ())


@pytest.fixture
async def lease(acme: Caller) -> task_pb2.LeaseRef:
    """A live one, beside tasks in other states: whatever a request that is not refused as it
    should be does, it changes the store.
    """
    await acme.enqueue_many(4)
    held, completed, failed = await acme.claim(most=3)
    await acme.complete(completed, b"result")
    await acme.fail(failed, non_retryable=True)
    return held.lease


def test_every_field_of_every_request_is_tried() -> None:
    lease = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    tried: dict[str, set[str]] = {}
    for rpc, request in requests(lease):
        tried.setdefault(rpc, set()).update(_names(request.DESCRIPTOR))
        for field in fields(lease):
            if field.rpc == rpc:
                parts = (part.partition("[")[0] for part in field.path.split("."))
                tried[rpc].discard(".".join(parts))
    assert tried.keys() == set(SERVICE.methods_by_name)
    assert {path for paths in tried.values() for path in paths} == set()


def _names(descriptor: Any, path: str = "") -> set[str]:
    found: set[str] = set()
    for field in descriptor.fields:
        here = f"{path}.{field.name}" if path else field.name
        inner = field.message_type
        if inner is None or inner.GetOptions().map_entry or "google." in inner.full_name:
            found.add(here)
        else:
            found |= _names(inner, here)
    return found


async def test_requests_with_all_fields_are_accepted(
    acme: Caller, lease: task_pb2.LeaseRef
) -> None:
    for rpc, request in requests(lease):
        code, reason, _ = await told(acme, rpc, request)
        # One lease can end in one way only.
        assert code == "OK" or reason == "LEASE_LOST", (rpc, code, reason)


@pytest.mark.parametrize("rpc", SERVICE.methods_by_name)
async def test_values_out_of_range_are_refused_with_the_path_of_the_field(
    acme: Caller, admin: Admin, lease: task_pb2.LeaseRef, rpc: str
) -> None:
    before = contents(admin)
    wrong = []
    for field in fields(lease):
        for value in bad_values(field) if field.rpc == rpc else ():
            seen = await told(acme, rpc, field.with_value(value))
            large = field.descriptor.type == FieldDescriptor.TYPE_BYTES
            reason = "PAYLOAD_TOO_LARGE" if large else "INVALID_FIELD"
            if seen != ("INVALID_ARGUMENT", reason, field.path):
                wrong.append((field.path, str(value)[:40], seen))
    assert wrong == []
    assert contents(admin) == before


@pytest.mark.parametrize("rpc", SERVICE.methods_by_name)
async def test_text_that_is_not_utf8_is_malformed(
    acme: Caller, admin: Admin, lease: task_pb2.LeaseRef, rpc: str
) -> None:
    before = contents(admin)
    wrong = []
    for field in fields(lease):
        if field.rpc != rpc:
            continue
        if field.descriptor.type == FieldDescriptor.TYPE_STRING:
            marked = [field.with_value(MARK)]
        elif field.path.endswith("headers"):
            marked = [_with_header(field, MARK, "value"), _with_header(field, "key", MARK)]
        else:
            continue
        for request in marked:
            raw = request.SerializeToString()
            assert raw.count(MARK.encode()) == 1
            seen = await told_raw(acme, rpc, raw.replace(MARK.encode(), BAD_UTF8))
            if seen != ("INVALID_ARGUMENT", "MALFORMED_MESSAGE"):
                wrong.append((field.path, seen))
    assert wrong == []
    assert contents(admin) == before


def _with_header(field: Field, key: str, value: str) -> Message:
    request = type(field.request)()
    request.CopyFrom(field.request)
    spec = getattr(request, "task", None) or request.tasks[0]  # type: ignore[attr-defined]
    del spec.headers[HEADER]
    spec.headers[key] = value
    return request
