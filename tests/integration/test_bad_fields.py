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
from tests.integration.calling import METHODS
from tests.integration.limit_cases import CASES
from tests.integration.limit_cases_schedules import FORBIDDEN
from tests.integration.looking import contents
from tests.integration.refusals import told, told_raw
from tests.integration.requests import Field, fields, leaves, requests

if TYPE_CHECKING:
    from tests.support.admin import Admin
    from tests.support.server import Caller

LONG: Final = "x" * 70_000
BAD_UTF8: Final = b"\xed\xa0\x80"
MARK: Final = "@@@"
OF_TYPE: Final[dict[int, tuple[Any, ...]]] = {
    FieldDescriptor.TYPE_INT32: (-1, -(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-1, -(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**53, 2**64 - 1),
    FieldDescriptor.TYPE_DOUBLE: (math.nan, math.inf, -math.inf, -1.0, 1e300, -5e-324),
    FieldDescriptor.TYPE_ENUM: (99, -1, -(2**31)),
    FieldDescriptor.TYPE_STRING: (LONG,),
    FieldDescriptor.TYPE_BYTES: (bytes((1 << 20) + 1),),
}
TOLD_BY_THE_SERVER: Final = (
    *("system", "created_by", "create_time", "update_time", "version"),
    *(
        path.removeprefix("schedule.")
        for path, _ in leaves(METHODS["GetSchedule"].output_type)
        if path.startswith("schedule.status.")
    ),
)
CANNOT_BE_WRONG: Final = {
    "allow_missing": "a boolean",
    "only_set": "a boolean",
    "atomic": "a boolean",
    "non_retryable": "a boolean",
    "paused": "a boolean",
    "retain_payload": "a boolean",
    "task_ids": "looked up, not checked: an unknown one is told as not found",
}
"""Name of a field -> why no value of it is refused."""
NOT_LOOKED_AT: Final = {
    *(("CreateSchedule", f"schedule.{name}") for name in ("etag", *TOLD_BY_THE_SERVER)),
    *(("UpdateSchedule", f"schedule.{name}") for name in TOLD_BY_THE_SERVER),
}
"""What a schedule may have that was read before; see test_schedules."""
MUST_BE_UNSET: Final = {
    *(
        (f"{verb}Schedule", f"schedule.task.{name}")
        for verb in ("Create", "Update")
        for name in FORBIDDEN
    ),
    ("WatchTasks", "selector.limit"),
    ("WatchTasks", "selector.page_token"),
    *(("CreateApiKey", f"key.{name}") for name in ("key_id", "created_by", "revoked")),
    *(("CreateApiKey", f"key.{name}_time") for name in ("create", "expire", "revoke", "last_used")),
}
"""What no good request can have. These, and tokens, are in the table of limits."""
ENDED: Final = ("LEASE_LOST", "INVALID_STATE")
"""One lease can end in one way only, and its task is not to be cancelled or redriven then."""
NOT_THERE: Final = {*ENDED, "KEY_NOT_FOUND", "SCHEDULE_CHANGED"}
"""Names of what a server makes cannot be known before: of tasks, keys, and versions."""
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
    if descriptor.name in CANNOT_BE_WRONG:
        return ()
    if field.is_map:
        return ({LONG: ""},)
    if descriptor.message_type is Duration.DESCRIPTOR:
        return DURATIONS
    if descriptor.message_type is Timestamp.DESCRIPTOR:
        return TIMESTAMPS
    # An id is looked up, not checked, but it must be there.
    return ("",) if descriptor.name == "task_id" else OF_TYPE[descriptor.type]


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


def test_every_field_of_every_request_is_tried_or_cannot_be_wrong() -> None:
    """Made from the descriptors: a field that is new fails here until it is in a table."""
    tried = {
        (field.rpc, field.plain_path)
        for field in fields(task_pb2.LeaseRef(task_id="x" * 18, fence=1))
        if bad_values(field)
    }
    listed = {(case.rpc, _plain(case.path)) for case in CASES if case.bad}
    harmless, missing = set(), set()
    for rpc, method in METHODS.items():
        for path, descriptor in leaves(method.input_type):
            if (rpc, path) in NOT_LOOKED_AT:
                continue
            if descriptor.name in CANNOT_BE_WRONG:
                harmless.add(descriptor.name)
            elif (rpc, path) not in tried | listed:
                missing.add((rpc, path))
    assert missing == set()
    assert harmless == CANNOT_BE_WRONG.keys()
    assert listed >= MUST_BE_UNSET


def test_every_field_of_every_request_is_set_in_one_that_is_accepted() -> None:
    lease = task_pb2.LeaseRef(task_id="x" * 18, fence=1)
    is_set = {(field.rpc, field.plain_path) for field in fields(lease)}
    known = {
        (rpc, path) for rpc, method in METHODS.items() for path, _ in leaves(method.input_type)
    }
    unset = {(rpc, path) for rpc, path in known - is_set if not path.endswith("page_token")}
    must = {one for one in MUST_BE_UNSET if not one[1].endswith("page_token")}
    assert unset == must | NOT_LOOKED_AT


def _plain(path: str) -> str:
    return ".".join(part.partition("[")[0] for part in path.split("."))


async def test_requests_with_all_fields_are_accepted(
    acme: Caller, lease: task_pb2.LeaseRef
) -> None:
    for rpc, request in requests(lease):
        code, reason, _ = await told(acme, rpc, request)
        assert code == "OK" or reason in NOT_THERE, (rpc, code, reason)


@pytest.mark.parametrize("rpc", METHODS)
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


@pytest.mark.parametrize("rpc", METHODS)
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
        elif field.is_map:
            marked = [field.with_value({MARK: "value"}), field.with_value({"key": MARK})]
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
