"""Fields in another form than the .proto has them, and what is nested without end."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor

from codeq.v1 import task_pb2
from codeq_grpc.wire.encoding import varint
from tests.integration.calling import METHODS
from tests.integration.looking import contents
from tests.integration.refusals import told_raw
from tests.integration.requests import Field, fields, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.admin import Admin
    from tests.support.server import Caller

VALUES: Final = {0: b"\x01", 1: b"12345678", 2: b"\x01a", 5: b"1234"}
"""Wire type -> a value of it."""
VARINT: Final = {
    FieldDescriptor.TYPE_BOOL,
    FieldDescriptor.TYPE_ENUM,
    FieldDescriptor.TYPE_INT32,
    FieldDescriptor.TYPE_INT64,
    FieldDescriptor.TYPE_UINT64,
}
LEASE: Final = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
MALFORMED: Final = ("INVALID_ARGUMENT", "MALFORMED_MESSAGE")
SOMEWHERE: Final = 2_000
"""Number of a field that no message has."""


def fitting(field: FieldDescriptor) -> set[int]:
    """The wire types that a field may have; numbers in lists come packed or one by one."""
    if field.type in VARINT:
        return {0, 2} if field.is_repeated else {0}
    return {1} if field.type == FieldDescriptor.TYPE_DOUBLE else {2}


def without(field: Field) -> tuple[Any, Any]:
    """The request without the field, and the message within it that had it."""
    request = copy.deepcopy(field.request)
    found: Any = request
    for name, index in field.steps:
        found = getattr(found, name) if index is None else getattr(found, name)[index]
    found.ClearField(field.descriptor.name)
    return request, found


def misfits(field: Field) -> Iterator[bytes]:
    """The request with the field in every form that it cannot have."""
    for wire_type in VALUES.keys() - fitting(field.descriptor):
        request, message = without(field)
        tag = varint(field.descriptor.number << 3 | wire_type)
        message.MergeFromString(tag + VALUES[wire_type])
        yield request.SerializeToString()


@pytest.mark.parametrize("rpc", METHODS)
async def test_a_field_in_another_form_counts_as_one_that_is_not_there(
    acme: Caller, rpc: str
) -> None:
    wrong = []
    for field in fields(LEASE):
        if field.rpc != rpc:
            continue
        unset = without(field)[0].SerializeToString()
        await told_raw(acme, rpc, unset)  # may change what the others find
        expected = await told_raw(acme, rpc, unset)
        for raw in misfits(field):
            seen = await told_raw(acme, rpc, raw)
            if seen not in {expected, MALFORMED}:
                wrong.append((field.path, expected, seen))
    assert wrong == []


@pytest.mark.parametrize("rpc", METHODS)
async def test_what_is_nested_too_deeply_is_malformed(acme: Caller, admin: Admin, rpc: str) -> None:
    begin, end = varint(SOMEWHERE << 3 | 3), varint(SOMEWHERE << 3 | 4)
    (request, *_) = [request for name, request in requests(LEASE) if name == rpc]
    raw = request.SerializeToString()
    await told_raw(acme, rpc, raw)  # may change what the others find
    plain = await told_raw(acme, rpc, raw)
    assert await told_raw(acme, rpc, raw + begin * 50 + end * 50) == plain
    before = contents(admin)
    for depth in (101, 1_000, 100_000):
        assert await told_raw(acme, rpc, raw + begin * depth + end * depth) == MALFORMED
    assert contents(admin) == before
