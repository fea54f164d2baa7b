"""The table of RPCs and scopes against the descriptors: what exists is in it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from codeq.v1 import (
    admin_service_pb2,
    codeq_service_pb2,
    queue_pb2,
    schedule_service_pb2,
    task_pb2,
)
from codeq_grpc.auth.permissions import ALSO, PERMISSIONS, Access
from codeq_grpc.core.principal import ROLES, TENANT_NAME, Scope

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

OURS: Final = (
    *(admin_service_pb2.DESCRIPTOR, codeq_service_pb2.DESCRIPTOR),
    *(queue_pb2.DESCRIPTOR, schedule_service_pb2.DESCRIPTOR, task_pb2.DESCRIPTOR),
)
PROTO: Final = Path(__file__).parents[2] / "proto"


def methods(*files: FileDescriptor) -> set[str]:
    """Paths of all RPCs of these files."""
    return {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }


def test_every_file_of_ours_is_looked_at() -> None:
    names = {str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto")}
    assert {file.name for file in OURS} == names


def test_every_rpc_has_an_entry_and_every_entry_an_rpc() -> None:
    reflection = methods(reflection_pb2.DESCRIPTOR)
    newer = {path.replace("v1alpha", "v1") for path in reflection}
    known = methods(*OURS) | methods(health_pb2.DESCRIPTOR) | reflection | newer
    assert known == PERMISSIONS.keys()


def test_no_rpc_of_ours_is_open() -> None:
    assert all(isinstance(PERMISSIONS[path], Scope) for path in methods(*OURS))


def test_only_health_is_open() -> None:
    opened = {path for path, needed in PERMISSIONS.items() if needed is Access.OPEN}
    assert opened == methods(health_pb2.DESCRIPTOR)


def test_every_scope_is_asked_for_and_given() -> None:
    asked = {needed for needed in PERMISSIONS.values() if isinstance(needed, Scope)}
    assert asked == set(Scope)
    given = {scope for role, scopes in ROLES.items() if role != "admin" for scope in scopes}
    assert set(Scope) - given == {Scope.KEYS_ADMIN}


def test_roles_have_what_their_work_needs_and_no_more() -> None:
    may = {
        role: {
            path.rpartition("/")[2]
            for path, needed in PERMISSIONS.items()
            if {needed, ALSO.get(path, needed)} <= scopes
        }
        for role, scopes in ROLES.items()
    }
    reports = {"Complete", "Fail", "Abandon", "Report"}
    reads = {"GetTask", "ListTasks", "WatchTasks"}
    looks = {"GetSchedule", "ListSchedules", "ListFirings", "ListScheduleVersions"}
    looks |= {"PreviewSchedule"}
    steers = {"DeleteSchedule", "BatchSchedules", "TriggerSchedule", "BackfillSchedule"} | looks
    makes = {"CreateSchedule", "UpdateSchedule", "RollbackSchedule"} | steers
    assert may["producer"] == {"Enqueue", "BatchEnqueue", "CancelTasks"} | reads | makes
    assert may["worker"] == {"Claim", "StreamClaim", "Heartbeat"} | reports | reads
    assert may["viewer"] == {"AdminQueues", "GetQueue", "ListWorkers"} | reads | looks
    operates = {
        *("UpdateQueue", "PauseQueue", "ResumeQueue", "PurgeQueue"),
        *("CancelTasks", "RedriveTasks", "AdminCleanup", "ListAuditEvents"),
    }
    assert may["operator"] == may["viewer"] | operates | steers
    assert may["admin"] == {path.rpartition("/")[2] for path in methods(*OURS)}


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a{b", "a}", "a:b", "é", "a\n", "x" * 65])
def test_no_tenant_name_breaks_out_of_a_key(name: str) -> None:
    assert TENANT_NAME.fullmatch(name) is None


@pytest.mark.parametrize("name", ["a", "Acme-1_2.3", "x" * 64])
def test_ordinary_tenant_names_are_fine(name: str) -> None:
    assert TENANT_NAME.fullmatch(name)
