"""The table of what is audited against the descriptors, and what it says of any request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import pytest
from google.protobuf import message_factory

from codeq.v1 import (
    admin_service_pb2,
    codeq_service_pb2,
    schedule_service_pb2,
    task_pb2,
)
from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.core import limits
from codeq_grpc.core.principal import Scope
from codeq_grpc.rpc.audited import AUDITED, When
from codeq_grpc.rpc.durability import PROMISES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import MethodDescriptor

METHODS: Final[dict[str, MethodDescriptor]] = {
    f"/{service.full_name}/{method.name}": method
    for file in (admin_service_pb2, codeq_service_pb2, schedule_service_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
OF_WORKERS_AND_PRODUCERS: Final = {Scope.TASKS_ENQUEUE, Scope.LEASES_CLAIM}
READING: Final = {Scope.TASKS_READ, Scope.QUEUES_READ, Scope.AUDIT_READ, Scope.SCHEDULES_READ}


def test_of_every_rpc_it_is_settled_whether_it_is_audited() -> None:
    assert AUDITED.keys() == PERMISSIONS.keys()


def test_what_nobody_is_denied_is_not_audited_and_everything_else_is() -> None:
    never = {path for path, audited in AUDITED.items() if audited.when is When.NEVER}
    assert never == {path for path, needed in PERMISSIONS.items() if needed is Access.OPEN}


def test_every_promised_change_is_audited() -> None:
    assert {AUDITED[path].when for path in PROMISES} == {When.ALWAYS, When.DATA}
    for path, needed in PERMISSIONS.items():
        when = AUDITED[path].when
        assert (when is When.DATA) == (needed in OF_WORKERS_AND_PRODUCERS), path
        if needed in READING:
            assert when is When.DENIALS, path
        if when is When.DENIALS and needed not in READING:
            assert needed is Access.ANY_CREDENTIAL or path.endswith("/ListApiKeys"), path


@pytest.mark.parametrize("path", METHODS)
def test_an_empty_request_and_an_empty_response_can_be_told_of(path: str) -> None:
    method, audited = METHODS[path], AUDITED[path]
    request = message_factory.GetMessageClass(method.input_type)()
    response = message_factory.GetMessageClass(method.output_type)()
    assert isinstance(audited.tell(request, None), str)
    if audited.when is When.ALWAYS:
        assert isinstance(audited.tell(request, response), str)
    elif audited.when is When.DATA:  # these come as bytes already, or not at all
        assert isinstance(audited.tell(request, b""), str)


class _Endless:
    """Entries of a request that is refused for their number: nobody may look at them all."""

    def __init__(self, entry: object) -> None:
        self.entry = entry
        self.left = limits.BATCH_TASKS

    def __len__(self) -> int:
        return 2_000_000

    def __getitem__(self, index: int) -> object:
        return next(iter(self))

    def __iter__(self) -> Iterator[object]:
        while True:
            assert self.left, "too many were looked at"
            self.left -= 1
            yield self.entry


@pytest.mark.parametrize(
    ("rpc", "name", "entry"),
    [
        ("BatchEnqueue", "tasks", task_pb2.TaskSpec()),
        ("Claim", "commands", "C"),
        ("StreamClaim", "commands", "C"),
        ("Heartbeat", "leases", codeq_service_pb2.LeaseHeartbeat()),
        ("Report", "outcomes", codeq_service_pb2.Outcome()),
        ("AdminCleanup", "states", 5),
    ],
)
def test_of_a_request_with_too_many_entries_few_are_looked_at(
    rpc: str, name: str, entry: object
) -> None:
    """All is told of in the loop that serves everybody."""
    request = SimpleNamespace(**{name: _Endless(entry)})
    assert AUDITED[f"/codeq.v1.CodeQService/{rpc}"].tell(request, None)
