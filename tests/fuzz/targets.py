"""What the fuzzer feeds: functions of bytes that raise when the product does what it must not.

They need no fuzzer: a test gives them the cases that are kept in `cases/` and some random ones.
"""

from __future__ import annotations

import contextlib
import re
import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.auth.authenticator import Authenticator, check_scope, needed_by
from codeq_grpc.auth.credentials import hash_token
from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.auth.tokens import Tokens
from codeq_grpc.broker.selecting import Place, Search
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialInvalid,
    CredentialMissing,
    InvalidField,
    ScopeMissing,
)
from codeq_grpc.core.principal import ROLES, Principal
from codeq_grpc.core.records import Filter, Lease
from codeq_grpc.core.task import TaskState
from codeq_grpc.rpc.interceptors import request_id_of
from codeq_grpc.store import rows
from codeq_grpc.store.keys import Queue, parse_prefix, parse_task_id
from codeq_grpc.wire import encoding
from codeq_grpc.wire.errors import DETAILS_KEY, from_status
from codeq_grpc.wire.specs import SpecChecker
from tests.fuzz import asking, timing, vouching
from tests.fuzz.reading import Reader
from tests.unit.test_wire_encoding import built

if TYPE_CHECKING:
    from collections.abc import Callable

_PAYLOAD: Final = 64


def specs(raw: bytes) -> None:
    """A spec is stored as it was sent, and checked alike whatever was checked before."""
    try:
        sent = task_pb2.TaskSpec.FromString(raw)
    except DecodeError:
        return
    if not sent.payload.ByteSize():
        sent.ClearField("payload")  # an empty one is none
    other = task_pb2.TaskSpec()
    other.CopyFrom(sent)
    other.payload.data = sent.payload.data[:-1] + b"x"
    used = SpecChecker(payload_bytes=_PAYLOAD)
    for spec in (sent, sent, other):
        assert _checked(used, spec) == _checked(SpecChecker(payload_bytes=_PAYLOAD), spec)


def _checked(checker: SpecChecker, sent: task_pb2.TaskSpec) -> object:
    spec = task_pb2.TaskSpec()
    spec.CopyFrom(sent)
    try:
        task = checker.check(spec, "task")
    except InvalidField as error:
        return error.message, error.metadata
    assert task_pb2.TaskSpec.FromString(task.spec + task.payload) == sent
    rows.pack_new(task)
    return task


def task_ids(raw: bytes) -> None:
    """What is taken for an id is the one spelling of what it stands for."""
    text = raw.decode(errors="replace")
    parsed = parse_task_id(text)
    if parsed is None:
        assert re.fullmatch("[A-Za-z0-9_-]{17}[AQgw]", text) is None
    else:
        prefix, name = parsed
        number, shard = parse_prefix(prefix)
        assert len(name) == 7
        assert Queue("t", "C", number, shard).task_id(name) == text


_FILTERS: Final = (
    Filter("C"),
    Filter("C", frozenset({TaskState.PENDING})),
    Filter("C", frozenset({TaskState.FAILED, TaskState.PENDING}), worker_id="w"),
    Filter("C", labels=(("key", "value"),)),
)


def page_tokens(raw: bytes) -> None:
    """Only what a search gave leads anywhere, and to where it led; also with a forged digest."""
    reader = Reader(raw)
    nothing: Any = None
    search = Search(nothing, "t", Queue("t", "C", 1), reader.pick(_FILTERS))
    forged = reader.number(1)
    place = Place(reader.number(255), reader.rest())
    token = search.token(place) if forged else place.cursor.decode(errors="replace")
    try:
        found = search.place(token, "page_token")
    except InvalidField:
        return
    assert found == (place if forged else Place())
    assert not found.cursor or _is_cursor(search._places[found.at], found.cursor)


def _is_cursor(state: int, cursor: bytes) -> bool:
    """A name of 7 bytes for labels; priority, name and place in a list, or a concurrency key; name
    and time.
    """
    head, end = (1, 12) if state == TaskState.PENDING else (0, 16)
    number = cursor[head + 7 :]
    if state == 0:
        return len(cursor) == 7
    if state == TaskState.PENDING and cursor[:1] == b"k":
        return True
    return cursor[:head].isdigit() == bool(head) and number.isdigit() and len(number) <= end


_GOOD: Final = "acme.admin.token"
_ADMIN: Final = Principal(subject="a", tenant="acme", scopes=ROLES["admin"])
_VIEWER: Final = Principal(subject="v", tenant="acme", scopes=ROLES["viewer"])
_AUTHENTICATOR: Final = Authenticator(
    Tokens({hash_token(_GOOD): _ADMIN, hash_token("viewer"): _VIEWER})
)
_METHODS: Final = [*sorted(PERMISSIONS), "/other.Service/Method", ""]
_KEYS: Final = (
    *("authorization", "x-api-key", "x-request-id"),
    *("Authorization", "authorization-bin", "x-tenant"),
)
_STARTS: Final = ("", "Bearer ", f"Bearer {_GOOD}", f"bearer  {_GOOD}", "Bearer viewer")


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


def metadata(raw: bytes) -> None:
    """Nobody becomes who he is not, whatever the metadata; request ids are harmless."""
    reader = Reader(raw)
    method = reader.pick(_METHODS)
    entries: list[tuple[str, str | bytes]] = []
    while reader and len(entries) < 8:
        key = reader.pick(_KEYS)
        value = reader.pick(_STARTS) + reader.text(40)
        entries.append((key, value.encode() if key.endswith("-bin") else value))
    found: Any = _Details(method, tuple(entries))
    assert re.fullmatch(r"[A-Za-z0-9._:-]{1,128}", request_id_of(found))
    given = [(key, value) for key, value in entries if key in {"authorization", "x-api-key"}]
    single = given[0] if len(given) == 1 else ("", "")
    words = str(single[1]).partition(" ")
    is_bearer = single[0] == "authorization" and words[0].lower() == "bearer"
    who = {_GOOD: _ADMIN, "viewer": _VIEWER}.get(words[2].lstrip(" ") if is_bearer else "")
    needed = needed_by(method)
    if needed is Access.OPEN:
        return
    try:
        assert _authenticated(entries) is who
    except CredentialMissing:
        assert given == []
        return
    except CredentialInvalid:
        assert who is None
        assert given
        return
    assert who is not None
    try:
        check_scope(method, needed, who)
    except ScopeMissing:
        assert who is _VIEWER


def _authenticated(entries: list[tuple[str, str | bytes]]) -> Principal:
    call = _AUTHENTICATOR.authenticate(entries)
    try:
        call.send(None)
    except StopIteration as done:
        principal: Principal = done.value[0]
        return principal
    raise AssertionError("with tokens alone nobody is asked: it does not wait")


def stored(raw: bytes) -> None:
    """Rows and histories are read as they were written; of what is broken no reading is endless."""
    reader = Reader(raw)
    state, flags, ending = reader.pick(list(TaskState)), reader.number(1023), reader.number(7)
    attempt, most = reader.number(255), reader.number(255)
    numbers = [reader.number(2**53) for _ in range(4)]
    fixed, owner, worker = reader.some(300), reader.text(40), reader.text(200)
    fence, time_ms, changed, start = numbers
    row = rows.HEAD.pack(state, flags, 5, attempt, most, ending, 9, 9, 9, *numbers[:3])
    row += len(fixed).to_bytes(2, "big") + fixed if flags & 255 else b""
    claimed = bool(flags & rows.HAS_CLAIM)
    if claimed:
        name = owner.encode()
        row += rows._CLAIM.pack(0, 0, start, len(name)) + name + worker.encode()
    assert rows.read_row(row) == rows.Row(
        *(state, attempt, most, ending, fence, time_ms, changed, bool(flags & rows.CANCELLING)),
        *((start, owner, worker) if claimed else (0, "", "")),
    )
    assert rows.lease_of(row) == (fence, attempt, most, time_ms)
    broken = reader.rest()
    for read in (rows.read_row, rows.lease_of, lambda raw: list(rows._read_history(raw))):
        with contextlib.suppress(struct.error, UnicodeDecodeError):
            read(broken)


def encodings(raw: bytes) -> None:
    """Golden: claimed tasks as bytes are what the generated code makes of the message."""
    reader = Reader(raw)
    leases: list[Lease] = []
    while reader and len(leases) < 4:
        spec = reader.some(400)
        try:
            task_pb2.TaskSpec.FromString(spec)
        except DecodeError:
            spec = task_pb2.TaskSpec(command="C", payload={"data": spec}).SerializeToString()
        checkpoint = task_pb2.Payload(data=reader.some(300)).SerializeToString()
        expire, length, create = (
            reader.number(253_402_300_799_999) >> reader.number(40) for _ in range(3)
        )
        attempt, most = reader.number(255), reader.number(255)
        fence = reader.number(2**53 - 1) >> reader.number(52)
        leases.append(
            Lease("x" * 18, b"", fence, attempt, most, expire, length, create, spec, checkpoint)
        )
    expected = pb.ClaimResponse(tasks=map(built, leases))
    assert pb.ClaimResponse.FromString(encoding.claimed(leases)) == expected
    batch = pb.StreamClaimResponse.FromString(encoding.stream_batch(leases))
    assert list(batch.batch.tasks) == list(expected.tasks)


def statuses(raw: bytes) -> None:
    """The SDK makes an error of whatever a server tells, or none."""
    error = from_status("message", [(DETAILS_KEY, raw)])
    assert error is None or isinstance(error, CodeQError)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "requests": asking.requests,
    "specs": specs,
    "task_ids": task_ids,
    "page_tokens": page_tokens,
    "metadata": metadata,
    "stored": stored,
    "encodings": encodings,
    "statuses": statuses,
    "signed_tokens": vouching.signed_tokens,
    "key_sets": vouching.key_sets,
    "crons": timing.crons,
    "fillings": timing.fillings,
}
"""Name -> target."""
