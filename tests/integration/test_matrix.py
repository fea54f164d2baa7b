"""Every RPC x every role x objects that are one's own, another tenant's, not allowed, or unknown.

The RPCs and their fields come from the descriptors: one that is new fails until it stands here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq.v1.schedule_service_pb2 import CreateScheduleRequest, UpdateScheduleRequest
from codeq_grpc.auth.permissions import ALSO, PERMISSIONS
from codeq_grpc.core.principal import ROLES
from tests.integration import scheduling
from tests.integration.calling import METHODS, PATHS, ask
from tests.integration.looking import contents
from tests.integration.refusals import read_refusal
from tests.integration.requests import fields, leaves, requests
from tests.support.server import LIMITED, Caller, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message

    from tests.integration.requests import Field
    from tests.support.admin import Admin
    from tests.support.server import Server

QUEUE, TASK, KEY, SCHEDULE = "queue", "task", "key", "schedule"
_TASKS: Final = {"selector.task_ids": TASK, "selector.filter.command": QUEUE}

OBJECTS: Final[dict[str, dict[str, str]]] = {
    "Enqueue": {"task.command": QUEUE, "task.depends_on": TASK},
    "BatchEnqueue": {"tasks.command": QUEUE, "tasks.depends_on": TASK},
    "Claim": {"commands": QUEUE},
    "StreamClaim": {"commands": QUEUE},
    "Heartbeat": {"leases.lease.task_id": TASK},
    "Complete": {"lease.task_id": TASK},
    "Fail": {"lease.task_id": TASK},
    "Abandon": {"lease.task_id": TASK},
    "Report": {
        f"outcomes.{outcome}.lease.task_id": TASK for outcome in ("complete", "fail", "abandon")
    },
    "GetTask": {"task_id": TASK},
    "ListTasks": {"filter.command": QUEUE},
    "WatchTasks": _TASKS,
    "CancelTasks": _TASKS,
    "RedriveTasks": _TASKS,
    "AdminQueues": {"commands": QUEUE},
    "AdminCleanup": {},
    "GetQueue": {"command": QUEUE},
    "UpdateQueue": {"queue.command": QUEUE},
    "PauseQueue": {"command": QUEUE},
    "ResumeQueue": {"command": QUEUE},
    "PurgeQueue": {"command": QUEUE},
    "ListWorkers": {"command": QUEUE},
    "CreateApiKey": {},
    "ListApiKeys": {},
    "RevokeApiKey": {"key_id": KEY},
    "ListAuditEvents": {},
    "CreateSchedule": {"schedule.task.command": QUEUE},
    "GetSchedule": {"schedule_id": SCHEDULE},
    "ListSchedules": {"command": QUEUE},
    "UpdateSchedule": {"schedule.schedule_id": SCHEDULE, "schedule.task.command": QUEUE},
    "DeleteSchedule": {"schedule_id": SCHEDULE},
    "BatchSchedules": {"schedule_ids": SCHEDULE},
    "TriggerSchedule": {"schedule_id": SCHEDULE},
    "BackfillSchedule": {"schedule_id": SCHEDULE},
    "PreviewSchedule": {},
    "ListFirings": {"schedule_id": SCHEDULE},
    "ListScheduleVersions": {"schedule_id": SCHEDULE},
    "RollbackSchedule": {"schedule_id": SCHEDULE},
}
"""RPC -> plain path of each field that names an object -> its kind."""

NAMES: Final = {"command", "commands", "task_id", "task_ids", "depends_on", "key_id"}
"""Names of fields that name objects."""
NOT_OBJECTS: Final = {
    "schedule.task.depends_on": "of a schedule: must not be set",
    "CreateSchedule schedule.schedule_id": "a name for what there is not yet",
    "worker_id": "what a worker calls itself",
    "key.key_id": "of CreateApiKey: the server makes it",
    "key.commands": "of CreateApiKey: patterns, held against the caller's own",
}

UNKNOWN_ID: Final = "AAAAAAAAAAAAAAAAAA"
UNKNOWN_KEY: Final = "AAAAAAAAAAAAAAAA"
SCOPE_MISSING: Final = "PERMISSION_DENIED SCOPE_MISSING"
FORBIDDEN: Final = "PERMISSION_DENIED COMMAND_FORBIDDEN"
MISSING: Final = "UNAUTHENTICATED CREDENTIAL_MISSING"


def test_every_rpc_has_an_entry() -> None:
    assert OBJECTS.keys() == METHODS.keys()


@pytest.mark.parametrize("rpc", METHODS)
def test_every_field_that_names_an_object_has_an_entry(rpc: str) -> None:
    named = {
        path
        for path, _ in leaves(METHODS[rpc].input_type)
        if re.search(r"(^|\.|_)ids?$", path) or path.rpartition(".")[2] in NAMES
    }
    others = {
        path
        for path in named
        if {path, path.rpartition(".")[2], f"{rpc} {path}"} & NOT_OBJECTS.keys()
    }
    assert named - others == OBJECTS[rpc].keys()


def test_every_request_of_the_matrix_can_be_made() -> None:
    made = {(rpc, one.plain_path) for rpc in METHODS for one, _ in objects_of(rpc, _nothing())}
    assert made == {(rpc, path) for rpc, paths in OBJECTS.items() for path in paths}
    assert {rpc for rpc, _ in requests(_nothing())} == METHODS.keys()


def _nothing() -> task_pb2.LeaseRef:
    return task_pb2.LeaseRef(task_id=UNKNOWN_ID, fence=1)


def objects_of(rpc: str, lease: task_pb2.LeaseRef) -> Iterator[tuple[Field, str]]:
    """Every field of requests of an RPC that names an object, and what kind of object it is."""
    for one in fields(lease):
        if one.rpc == rpc and one.plain_path in OBJECTS[rpc]:
            yield one, OBJECTS[rpc][one.plain_path]


class Things(NamedTuple):
    """What there is, by kind: one's own, another tenant's, one's own that a limited credential is
    not allowed, and what never was.
    """

    own: Mapping[str, str]
    foreign: Mapping[str, str]
    withheld: Mapping[str, str]
    unknown: Mapping[str, str]
    lease: task_pb2.LeaseRef


async def make(rpc: str, acme: Caller, rival: Caller) -> Things:
    """Things of two tenants; the lease is of a task of one's own."""
    await acme.enqueue_many(2)
    (claimed,) = await acme.claim()
    lease = claimed.lease
    own = await acme.enqueue()
    withheld = await acme.enqueue("WITHHELD")
    foreign = await rival.enqueue("SECRET")
    await rival.enqueue("SECRET")
    (held,) = await rival.claim("SECRET", lease=3_600)
    assert held.lease.task_id == foreign
    own_key = foreign_key = ""
    if KEY in OBJECTS[rpc].values():
        own_key, foreign_key = await _key(acme), await _key(rival)
    if SCHEDULE in OBJECTS[rpc].values():
        await scheduling.create(acme, "own")
        await scheduling.create(acme, "withheld", task=task_pb2.TaskSpec(command="WITHHELD"))
        await scheduling.create(rival, "foreign")
    return Things(
        own={QUEUE: "RENDER", TASK: own, KEY: own_key, SCHEDULE: "own"},
        foreign={QUEUE: "SECRET", TASK: foreign, KEY: foreign_key, SCHEDULE: "foreign"},
        withheld={QUEUE: "WITHHELD", TASK: withheld, SCHEDULE: "withheld"},
        unknown={QUEUE: "NEVER", TASK: UNKNOWN_ID, KEY: UNKNOWN_KEY, SCHEDULE: "never"},
        lease=lease,
    )


async def _key(caller: Caller) -> str:
    key = admin_pb.ApiKey(name="k", scopes=["tasks.read"])
    response = await ask(caller, "CreateApiKey", admin_pb.CreateApiKeyRequest(key=key))
    found: str = response.key.key_id
    return found


async def told(caller: Caller, rpc: str, request: Message, named: str) -> str:
    """All that is told, without what was asked for and without what is new each time."""
    if isinstance(request, CreateScheduleRequest):
        request.schedule.ClearField("schedule_id")  # each has one of its own
    if isinstance(request, UpdateScheduleRequest):
        request.allow_missing = False  # that a name is taken is told to whoever would give it
    try:
        found = str(await ask(caller, rpc, request))
    except grpc.aio.AioRpcError as error:
        refusal = read_refusal(error)
        assert refusal.fields == ((refusal.metadata["field"],) if refusal.fields else ())
        more = sorted(refusal.metadata.items()), refusal.retry_after
        found = f"{refusal.code.name} {refusal.reason} {refusal.message} {more}"
    found = re.sub(rf"\b{re.escape(named)}\b", "OBJECT", found)
    found = re.sub(
        r"(task_id|stream_id|key_id|secret|schedule_id|etag): \"[^\"]+\"", r"\1: NEW", found
    )
    return re.sub(r"(seconds|nanos): \d+", r"\1: N", found)


@pytest.mark.parametrize("rpc", METHODS)
async def test_what_is_another_tenants_is_unknown_to_every_role(
    server: Server, acme: Caller, rival: Caller, admin: Admin, rpc: str
) -> None:
    things = await make(rpc, acme, rival)
    before = of_rival(admin)
    compared = 0
    for one, kind in objects_of(rpc, things.lease):
        for role in ROLES:
            caller = server.caller("acme", role)
            foreign, unknown, own = [
                await told(caller, rpc, one.with_value(some[kind]), some[kind])
                for some in (things.foreign, things.unknown, things.own)
            ]
            assert foreign == unknown, (role, one.path)
            may = is_allowed(rpc, role)
            for answer in (foreign, own):
                assert answer.startswith(SCOPE_MISSING) is not may, (role, one.path, answer)
            compared += 1
        stranger = await told(server.stranger(), rpc, one.with_value(things.own[kind]), "-")
        assert stranger.startswith(MISSING)
    assert compared == len(ROLES) * len(list(objects_of(rpc, things.lease)))
    assert of_rival(admin) == before


def is_allowed(rpc: str, role: str) -> bool:
    """Whether a role has the scopes that a call needs."""
    path = PATHS[rpc]
    return {PERMISSIONS[path], ALSO.get(path, PERMISSIONS[path])} <= ROLES[role]


def of_rival(admin: Admin) -> dict[bytes, bytes]:
    """Every key of that tenant and its value."""
    return {name: value for name, value in contents(admin).items() if b"{rival/" in name}


@pytest.mark.parametrize("rpc", METHODS)
async def test_what_a_credential_is_not_allowed_is_closed_to_it_in_every_role(
    server: Server, acme: Caller, rival: Caller, rpc: str
) -> None:
    things = await make(rpc, acme, rival)
    for one, kind in objects_of(rpc, things.lease):
        if kind == KEY:
            continue
        for role in ROLES:
            if not is_allowed(rpc, role):
                continue
            limited = server.caller("acme", f"{role}{LIMITED}")
            withheld, unknown, own = [
                await told(limited, rpc, one.with_value(some[kind]), some[kind])
                for some in (things.withheld, things.unknown, things.own)
            ]
            assert withheld == unknown, (role, one.path)
            assert (FORBIDDEN.split()[1] in withheld) is (kind == QUEUE), (role, withheld)
            assert FORBIDDEN.split()[1] not in own, (role, own)


async def seen(caller: Caller) -> list[str]:
    """Commands that the workers serve."""
    workers = (await ask(caller, "ListWorkers", admin_pb.ListWorkersRequest())).workers
    return sorted({command for worker in workers for command in worker.commands})


async def test_lists_leave_out_what_is_not_allowed(server: Server, acme: Caller) -> None:
    for command in ("RENDER", "WITHHELD"):
        await acme.enqueue(command)
        await acme.complete(await acme.claim_one(command))
        await acme.enqueue(command)
    waits = pb.ClaimRequest(worker_id="w", commands=["OTHER", "REND"], wait={"seconds": 30})
    waiting = acme.start("Claim", waits, timeout=None)
    limited = server.caller("acme", f"admin{LIMITED}")
    numbers = await ask(limited, "AdminQueues", pb.AdminQueuesRequest())
    assert [one.command for one in numbers.queues] == ["RENDER"]
    await eventually(lambda: seen(acme))
    assert await seen(acme) == ["OTHER", "REND"]
    assert await seen(limited) == ["REND"]
    waiting.cancel()
    while not (await ask(limited, "AdminCleanup", pb.AdminCleanupRequest())).deleted:
        pass
    assert (await acme.stats("WITHHELD")).completed == 1
    assert (await acme.stats("RENDER")).completed == 0
