"""Servers as the user of the store that docs/operations.md describes: all works, and no more is
allowed than that.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, queue_pb2, task_pb2
from codeq_grpc.app import doctor
from codeq_grpc.core.durability import Level
from codeq_grpc.core.findings import Mode
from codeq_grpc.store import rights, scripts
from codeq_grpc.store.connection import Connection
from codeq_grpc.store.durability import Durability
from codeq_grpc.store.health import check_store
from tests.integration.api_keys import create
from tests.integration.calling import METHODS, SCHEDULES, ask
from tests.integration.looking import page
from tests.integration.requests_of_schedules import of_schedules
from tests.integration.streaming import StreamReader, WatchReader, stream_request
from tests.support.admin import Admin
from tests.support.lua import commands_of
from tests.support.server import eventually, running_server, settings_for
from tests.support.store_user import StoreUser, commands, documented

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

DOCTORS: Final = {
    *(scripts.ENTRIES, scripts.FOLLOWS, scripts.VITALS),
    *(scripts.EXAMINE, scripts.SET_ASIDE, scripts.EXAMINE_REGISTRY, scripts.EXAMINE_KEYS),
    scripts.EXAMINE_CALENDAR,
}
PLUMBING: Final = {
    *("evalsha", "eval", "script|load", "info", "config|get", "cluster|info", "set", "hgetall"),
    *("get", "hget", "publish", "subscribe", "unsubscribe", "ping", "select"),
}
"""What servers send beside scripts."""
ALL: Final = pb.TaskSelector(filter={"command": "RENDER"})


@pytest.fixture
def user(store: StoreProcess) -> Iterator[StoreUser]:
    with StoreUser(store) as user:
        yield user


@pytest.fixture
async def server(store: StoreProcess, user: StoreUser) -> AsyncIterator[Server]:
    async with running_server(store, redis_url=user.url) as running:
        yield running


def _of(chosen: set[scripts.Script]) -> set[str]:
    return {command.lower() for script in chosen for command in commands_of(script)}


def test_the_page_allows_exactly_what_scripts_contain_and_servers_send() -> None:
    server, waiting, doctoring = documented()
    assert commands(server) == PLUMBING | _of(set(scripts.ALL) - DOCTORS)
    assert commands(waiting) == {"wait", "waitaof"}
    assert commands(doctoring) == (_of(DOCTORS) | {"scan"}) - commands(server)
    assert server[:7] == ["ACL", "SETUSER", "codeq", "reset", "on", ">PASSWORD", "~codeq:*"]
    assert server[7] == "&codeq:*"
    assert all(word[0] == "+" and "@" not in word for word in server[8:])


def test_all_of_it_is_tried_beforehand() -> None:
    tried = {str(command[0]).lower().replace(" ", "|") for command in rights.TRIED}
    untried = {"subscribe", "unsubscribe", "ping", "select", "info", "config|get", "cluster|info"}
    assert tried | untried | {"set"} == commands(documented()[0])


async def test_what_is_tried_changes_nothing(store: StoreProcess, user: StoreUser) -> None:
    connection = Connection(user.url)
    await connection.probe_write()
    try:
        assert await rights.missing_rights(connection) == ""
    finally:
        await connection.close()
    redis = Redis(unix_socket_path=store.socket_path, protocol=2)
    assert await redis.keys() == [b"codeq:{probe}:writable"]
    assert await redis.get("codeq:{probe}:writable") == b"1"
    await redis.aclose()


async def every_transition(acme: Caller) -> None:
    """Tasks of every kind, and every way that they can go."""
    waited = await acme.enqueue(labels={"a": "b"}, idempotency_key="k")
    assert await acme.enqueue(labels={"a": "b"}, idempotency_key="k") == waited
    await acme.enqueue(depends_on=[waited], concurrency_key="c")
    await acme.enqueue(delay={"nanos": 100_000_000}, priority=9, concurrency_key="c")
    policy = {"max_attempts": 2, "initial_backoff": {"nanos": 1_000_000}}
    await acme.enqueue_many(6, retry_policy=policy)
    one, two, three, four, _ = await acme.claim(most=5, lease=1)
    beat = pb.HeartbeatRequest(leases=[{"lease": one.lease, "progress": {"fraction": 0.5}}])
    beat.leases[0].progress.checkpoint.data = b"half"
    await ask(acme, "Heartbeat", beat)
    await acme.complete(one, b"result")
    await acme.fail(two, type="t", message="m")
    await acme.abandon(three, delay=0.1)
    outcome = {"fail": {"lease": four.lease, "error": {"non_retryable": True}}}
    await ask(acme, "Report", pb.ReportRequest(outcomes=[outcome]))
    # The lease of the fifth ends by itself.
    await eventually(lambda: _expired(acme))
    await ask(acme, "RedriveTasks", pb.RedriveTasksRequest(selector=ALL))
    await ask(acme, "ListTasks", pb.ListTasksRequest(filter={"command": "RENDER"}))
    labelled = pb.TaskFilter(command="RENDER", labels={"a": "b"})
    await ask(acme, "ListTasks", pb.ListTasksRequest(filter=labelled))
    async with (
        WatchReader(acme, ALL) as watch,
        StreamReader(acme, stream_request(credit=2)) as stream,
    ):
        await stream.take(1)
        await acme.complete(stream.tasks[0])
        await watch.until(lambda reader: reader.tasks)
    assert await acme.claim("NOTHING", wait=0.3) == []


async def _expired(acme: Caller) -> bool:
    return (await acme.stats()).lease_expired_total > 0


async def every_call(acme: Caller) -> None:
    """Every RPC of every service once."""
    task_id = await acme.enqueue()
    (task,) = await acme.claim()
    lease = task.lease
    made = await create(acme)
    requests: dict[str, Any] = {
        "RevokeApiKey": admin_pb.RevokeApiKeyRequest(key_id=made.key.key_id),
        "GetTask": pb.GetTaskRequest(task_id=task_id, wait={"nanos": 1_000_000}),
        "BatchEnqueue": pb.BatchEnqueueRequest(tasks=[{"command": "RENDER"}]),
        "AdminQueues": pb.AdminQueuesRequest(),
        "GetQueue": admin_pb.GetQueueRequest(command="RENDER"),
        "UpdateQueue": admin_pb.UpdateQueueRequest(
            queue=queue_pb2.Queue(command="RENDER", max_backlog=1000, max_claims_per_second=100)
        ),
        "PauseQueue": admin_pb.PauseQueueRequest(command="RENDER"),
        "ResumeQueue": admin_pb.ResumeQueueRequest(command="RENDER"),
        "ListWorkers": admin_pb.ListWorkersRequest(),
        "CancelTasks": pb.CancelTasksRequest(selector=ALL),
        "AdminCleanup": pb.AdminCleanupRequest(),
        "PurgeQueue": admin_pb.PurgeQueueRequest(command="RENDER"),
        "Complete": pb.CompleteRequest(lease=lease),
        "Fail": pb.FailRequest(lease=lease),
        "Abandon": pb.AbandonRequest(lease=lease),
    }
    for rpc, message in of_schedules(task_pb2.RetryPolicy()):
        with contextlib.suppress(grpc.aio.AioRpcError):
            await ask(acme, rpc, message)
    for rpc, method in METHODS.items():
        if rpc in SCHEDULES.methods_by_name:
            continue
        request = requests.get(rpc)
        if request is None:
            request = getattr(admin_pb, method.input_type.name, None) or getattr(
                pb, method.input_type.name
            )
            request = request()
        # What it answers is the matter of other tests.
        with contextlib.suppress(grpc.aio.AioRpcError):
            await ask(acme, rpc, request)


async def test_everything_works_and_nothing_was_refused(server: Server, user: StoreUser) -> None:
    acme = server.caller()
    await every_transition(acme)
    await every_call(acme)
    status, found = await page(server, "/health/detailed")
    assert (status, found["reasons"]) == (200, {})
    assert user.refused() == []


async def test_at_d3_too(own_store: StoreProcess) -> None:
    level = "D3" if own_store.engine.version[:3] != "7.0" else "D2"
    with StoreUser(own_store, waits=True) as user:
        with Admin(own_store.socket_path) as admin:
            admin.call("CONFIG", "SET", "appendfsync", "always")
        async with running_server(own_store, redis_url=user.url, durability=level) as server:
            await every_call(server.caller())
            assert (await page(server, "/readyz"))[0] == 200
        assert user.refused() == []


async def test_the_doctor_has_what_it_needs(store: StoreProcess) -> None:
    async with running_server(store) as running:
        await every_transition(running.caller())
    with StoreUser(store, doctor=True) as user:
        settings = settings_for(store, redis_url=user.url)
        async with doctor(settings, Mode.RESTORE) as looking:
            findings = [f async for look in looking.examine_registry() for f in look.findings]
            findings += [f async for look in looking.examine_keys() for f in look.findings]
            for queue in await looking.queues():
                findings += [f async for look in looking.examine(queue) for f in look.findings]
        assert findings == []
        assert user.refused() == []


DANGEROUS: Final = (
    *("CONFIG SET dir /tmp", "CONFIG REWRITE", "CONFIG RESETSTAT", "DEBUG SLEEP 0", "DEBUG JMAP"),
    *("FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE"),
    *("SCRIPT FLUSH", "SCRIPT KILL", "FUNCTION FLUSH", "FUNCTION LIST", "SHUTDOWN", "SAVE"),
    *("BGSAVE", "BGREWRITEAOF", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "FAILOVER", "PSYNC ? -1"),
    *("SYNC", "MODULE LIST", "ACL LIST", "ACL WHOAMI", "ACL SETUSER x"),
    *("MONITOR", "CLIENT LIST", "CLIENT KILL TYPE normal", "CLIENT PAUSE 1", "SLOWLOG GET"),
    *("LATENCY RESET", "MEMORY DOCTOR", "CLUSTER RESET", "CLUSTER NODES", "MULTI", "OBJECT HELP"),
    *("DEL codeq:{probe}:x", "UNLINK codeq:{probe}:x", "RENAME codeq:{probe}:x codeq:{probe}:y"),
    *("EXPIRE codeq:{probe}:x 1", "DUMP codeq:{probe}:x", "RESTORE codeq:{probe}:x 0 x"),
    *("MIGRATE 127.0.0.1 1 codeq:{probe}:x 0 1", "COPY codeq:{probe}:x codeq:{probe}:y"),
    *("SORT codeq:{probe}:x", "GETDEL codeq:{probe}:x", "APPEND codeq:{probe}:x y"),
    *("GET other", "SET other x", "GET codeq", "HGETALL session:1", "ZADD other 0 m", "LPUSH q x"),
    *("PUBLISH other x", "PSUBSCRIBE *", "PSUBSCRIBE codeq:*", "SUBSCRIBE other"),
)
IN_SCRIPTS: Final = (
    *(
        "redis.call('FLUSHALL')",
        "redis.call('CONFIG','SET','dir','/tmp')",
        "redis.call('KEYS','*')",
    ),
    *("redis.call('GET','other')", "redis.call('DEL','codeq:{probe}:x')"),
    *("redis.call('PUBLISH','other','x')", "redis.call('SCRIPT','FLUSH')"),
)


async def test_nothing_else_is_allowed(store: StoreProcess, user: StoreUser) -> None:
    redis = Redis.from_url(user.url, protocol=2, driver_info=None, single_connection_client=True)
    async with redis:
        assert await redis.set("codeq:{probe}:x", "1")
        for command in DANGEROUS:
            with pytest.raises(NoPermissionError):
                await redis.execute_command(*command.split())
        for script in IN_SCRIPTS:
            with pytest.raises(Exception, match=r"executing the script|not allowed|permission"):
                await redis.execute_command("EVAL", f"return {script}", 0)
        assert await redis.get("codeq:{probe}:x") == b"1"


@pytest.mark.parametrize("missing", sorted(commands(documented()[0]) - {"select", "cluster|info"}))
async def test_a_right_that_is_missing_is_named(
    store: StoreProcess, user: StoreUser, missing: str
) -> None:
    connection = Connection(user.url)
    user.allow(but=missing)
    try:
        problems = await check_store(connection, Durability(connection, Level.D1))
    finally:
        await connection.close()
    problems.pop("durability", None)  # of a store of tests
    if missing in {"subscribe", "unsubscribe", "ping"}:
        assert problems == {}  # told in the log: the server looks by itself, less often
    elif missing == "config|get":
        assert problems.keys() == {"settings"}
        assert "the store does not allow CONFIG GET" in problems["settings"]
    else:
        (check,) = problems
        assert check in {"rights", "writable", "reachable"}
        assert missing.replace("|", " ") in problems[check].lower(), problems


async def test_a_server_that_may_not_listen_says_so_and_works(
    store: StoreProcess, user: StoreUser, caplog: pytest.LogCaptureFixture
) -> None:
    user.allow(but="subscribe")
    async with running_server(store, redis_url=user.url) as server:
        acme = server.caller()
        await acme.enqueue()
        assert len(await acme.claim(wait=5)) == 1
        told = [r.getMessage() for r in caplog.records if "no wake-ups" in r.getMessage()]
    assert told
    assert "subscribe" in told[0]


async def test_a_server_without_a_right_is_not_ready(store: StoreProcess, user: StoreUser) -> None:
    user.allow(but="zpopmin")
    async with running_server(store, redis_url=user.url) as server:
        status, found = await page(server, "/readyz")
        assert status == 503
        assert found["reasons"] == {"store.rights": "the store's user may not run ZPOPMIN"}
        user.allow()

        async def is_ready() -> bool:
            return (await page(server, "/readyz"))[0] == 200

        await eventually(is_ready)
