"""`codeq import-legacy`: what the old programs left, as codeQ has it then."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.integration.importing import Importer, drain, listed, old_ids
from tests.support.predecessor import Predecessor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.admin import Admin
    from tests.support.server import Server
    from tests.support.stores import StoreProcess

FAILED, SCHEDULED = task_pb2.TASK_STATE_FAILED, task_pb2.TASK_STATE_SCHEDULED


@pytest.fixture
def importer(server: Server, store: StoreProcess, tmp_path: Path) -> Importer:
    return Importer(server, store, tmp_path)


@pytest.fixture
def old(admin: Admin) -> Predecessor:
    """In the very store that codeQ uses."""
    return Predecessor(admin)


@pytest.mark.parametrize("prefix", ["legacy:", "codeq:"])
@pytest.mark.parametrize("sets", [True, False], ids=["sets", "lists"])
async def test_every_state_becomes_what_it_was(
    server: Server, importer: Importer, admin: Admin, prefix: str, sets: bool
) -> None:
    old = Predecessor(admin, prefix, sets=sets)
    ends = [old.create("RENDER", {"n": n}) for n in range(5)]
    for _ in ends:
        old.claim("RENDER")
    old.end(ends[0], "RENDER")
    old.end(ends[1], "RENDER", "FAILED")
    old.bury(ends[2], "RENDER", "no luck")
    old.nack(ends[3], "RENDER", 5_000)
    first = [old.create("RENDER", {"n": n}) for n in range(250)]
    high = [old.create("RENDER", [n], priority=9, webhook="http://x") for n in range(3)]
    late = old.create("RENDER", "later", delay=3_000)
    due = old.create("RENDER", "due", delay=-10)
    lapsed = old.claim("RENDER", lease=0)
    before = old.keys()

    ran = await importer.run()
    assert ran.code == 0, ran
    assert old.keys() == before
    assert ran.count("moved") == 258
    for state in ("completed", "failed"):
        assert ran.count("leave", state=state, command="RENDER") == 1
    assert ran.report["notes"]["webhooks"] == 3

    caller = server.caller()
    claimed = await drain(caller, "RENDER")
    assert old_ids(claimed) == [*high, *first[1:], due, lapsed]
    assert [task.spec.payload.data for task in claimed[3:5]] == [b'{"n": 1}', b'{"n": 2}']
    assert claimed[0].spec.headers["legacy-webhook"] == "http://x"
    assert claimed[0].spec.headers["legacy-created-at"].endswith(".123456789-03:00")
    dead = await listed(caller, "RENDER", FAILED)
    assert list(dead) == [ends[2]]
    assert dead[ends[2]].spec.headers["legacy-error"] == "no luck"
    assert dead[ends[2]].spec.payload.data == b'{"n": 2}'
    assert dead[ends[2]].error.type == "dependency_cancelled"
    waiting = await listed(caller, "RENDER", SCHEDULED)
    now = time.time()
    left = {task_id: task.spec.run_time.ToSeconds() for task_id, task in waiting.items()}
    assert left.keys() == {ends[3], ends[4], late}
    assert left[late] == pytest.approx(now + 3_000, abs=60)
    assert left[ends[3]] == pytest.approx(now + 5_000, abs=60)
    delay = waiting[ends[4]].spec.delay.ToTimedelta().total_seconds()
    assert 200 < delay <= 300, "the rest of its lease"


async def test_dead_letters_can_be_redriven_then(
    server: Server, importer: Importer, old: Predecessor
) -> None:
    ids = [old.create("RENDER", n) for n in range(3)]
    for task_id in ids:
        old.claim("RENDER")
        old.bury(task_id, "RENDER")
    assert (await importer.run()).code == 0
    caller = server.caller()
    assert await caller.claim("RENDER") == []
    dead = await listed(caller, "RENDER", FAILED)
    selector = pb.TaskSelector(task_ids=[task.task_id for task in dead.values()])
    await caller.start("RedriveTasks", pb.RedriveTasksRequest(selector=selector))
    assert sorted(old_ids(await drain(caller, "RENDER"))) == sorted(ids)


async def test_the_very_first_version_had_one_list_and_no_tenants(
    server: Server, importer: Importer, admin: Admin
) -> None:
    old = Predecessor(admin, "legacy:", sets=False, priorities=False)
    ids = [old.create("GENERATE_MASTER", n, priority=n % 2) for n in range(6)]
    held = old.claim("GENERATE_MASTER")
    ran = await importer.run("--in-progress", "end")
    assert ran.code == 0, ran
    claimed = old_ids(await drain(server.caller(), "GENERATE_MASTER"))
    assert claimed == [ids[1], ids[3], ids[5], ids[2], ids[4], held]


async def test_commands_tenants_and_shards_in_keys_are_not_taken_apart(
    server: Server, importer: Importer, admin: Admin, tmp_path: Path
) -> None:
    command = "Img:pending:3:s:X"
    mine = Predecessor(admin, shard="eu:1").create(command, 1)
    theirs = Predecessor(admin, tenant="rival", shard="s").create(command, 2)
    nobodys = Predecessor(admin, tenant="other").create(command, 3)
    token = tmp_path / "token"
    token.write_text("rival.producer.token\n")

    ran = await importer.run("--tenant-map", f"rival={token}")
    assert ran.code == 1
    assert ran.report["refused"] == ran.count("refuse", reason="OTHER_TENANT") == 1
    assert [one["id"] for one in ran.report["examples"]["OTHER_TENANT"]] == [nobodys]
    assert old_ids(await drain(server.caller(), command)) == [mine]
    assert old_ids(await drain(server.caller("rival"), command)) == [theirs]
    ran = await importer.run("--tenant-map", f"rival={token}", "--tenant-map", "*")
    assert ran.code == 0, ran
    assert (ran.count("moved"), ran.count("moved before")) == (1, 2)
    assert old_ids(await drain(server.caller(), command)) == [nobodys]


async def test_what_is_no_task_is_told_and_written(
    server: Server, importer: Importer, old: Predecessor, tmp_path: Path
) -> None:
    good = old.create("RENDER", 0)
    bad = {
        "broken": b'{"id": "broken", "command"',
        "list": b"[1]",
        "bytes": b'"\xff"',
        "deep": b"[" * 100_000,
        "nobody": {"payload": "1", "status": "PENDING"},
        "number": {"command": "RENDER", "priority": "high", "status": "PENDING"},
        "half": b'{"command": "RENDER", "payload": "\\ud800", "status": "PENDING"}',
        "odd": {"command": "RENDER", "status": "SLEEPING"},
        "space": {"command": "no such name", "payload": "1", "status": "PENDING"},
        "large": {"command": "RENDER", "payload": json.dumps("x" * 1_100_000), "status": "PENDING"},
    }
    for task_id, record in bad.items():
        old.put(task_id, record)
    for task_id in ("large", "space", "half", "gone"):
        old.admin.call("LPUSH", old.pending("RENDER"), task_id)
    last = old.create("RENDER", 1)
    done = old.create("RENDER", 2)
    old.claim("RENDER")
    old.admin.call("LPUSH", old.pending("RENDER"), good)
    old.end(good, "RENDER")
    old.admin.call("HSET", "codeq:results", "lost", '{"status":"COMPLETED"}')

    rehearsed = await importer.run("--dry-run")
    ran = await importer.run("--rest", "rest.jsonl")
    for each in (rehearsed, ran):
        assert each.code == 1, each
        rows = [row for row in each.report["counts"] if row["decision"] == "refuse"]
        refused = Counter[str]()
        for row in rows:
            refused[row["reason"]] += row["tasks"]
        assert refused == Counter(
            BAD_RECORD=7, UNKNOWN_STATUS=1, INVALID_FIELD=1, PAYLOAD_TOO_LARGE=1
        )
    assert ran.count("leave", reason="NO_RECORD") == 1
    assert ran.report["notes"]["results_alone"] == 1
    assert old_ids(await drain(server.caller(), "RENDER")) == [last, done]
    lines = [json.loads(line) for line in (tmp_path / "rest.jsonl").read_text().splitlines()]
    assert {line["id"] for line in lines} == {*bad, good, "gone", "lost"}
    (completed,) = [line for line in lines if line["id"] == good]
    assert completed["task"]["status"] == "COMPLETED"
    assert completed["result"]["result"] == {"ok": True}

    ran = await importer.run("--command-map", "no such name=other")
    assert old_ids(await drain(server.caller(), "other")) == ["space"]


async def test_orphans_come_last_oldest_first(
    server: Server, importer: Importer, old: Predecessor
) -> None:
    times = {
        "2026-02-01T10:00:00.000000009-03:00": 3,
        "2026-02-01T12:59:59.999999999Z": 2,
        "2026-02-01T13:59:58.5+01:00": 1,
        "yesterday": 0,
    }
    lost = {
        order: old.create("RENDER", order, queued=False, createdAt=at)
        for at, order in times.items()
    }
    claimed_only = old.create("RENDER", "no lease")
    old.admin.call("RPOP", old.pending("RENDER"))
    old.admin.call("SADD", old.queue("RENDER", "inprog"), claimed_only)
    pending = old.create("RENDER", "pending")
    ran = await importer.run()
    assert ran.count("moved", state="orphan") == 4
    assert ran.count("moved", state="retry") == 1
    claimed = old_ids(await drain(server.caller(), "RENDER"))
    assert claimed == [pending, claimed_only, *(lost[n] for n in range(4))]


async def test_a_rehearsal_needs_no_server_and_changes_nothing(
    server: Server, importer: Importer, old: Predecessor, tmp_path: Path
) -> None:
    for n in range(30):
        old.create("RENDER", n, key=f"k{n}")
    before = old.admin.call("KEYS", "*")
    ran = await importer.run("--dry-run", "--address", "127.0.0.1:1", "--keep-keys")
    assert ran.code == 0, ran
    assert ran.report["dryRun"]
    assert ran.count("move", state="pending") == 30
    assert sorted(old.admin.call("KEYS", "*")) == sorted(before)
    assert list(tmp_path.iterdir()) == []
    await importer.run()
    assert (await importer.run("--dry-run")).count("moved before") == 30
    for line in ("RENDER", "pending", "move", "30"):
        process = await importer.start("--dry-run")
        assert line in (await process.communicate())[0].decode()


async def test_idempotency_keys_are_told_or_kept(
    server: Server, importer: Importer, old: Predecessor
) -> None:
    one = old.create("RENDER", {"n": 1}, key="day:1")
    await importer.run()
    (task,) = await drain(server.caller(), "RENDER")
    assert (old_ids([task]), task.spec.headers["legacy-idempotency-key"]) == ([one], "day:1")
    two = old.create("RENDER", {"n": 2}, key="day:2")
    ran = await importer.run("--keep-keys")
    assert (ran.count("moved"), ran.count("moved before")) == (1, 1)
    caller = server.caller()
    again = await caller.enqueue(data=b'{"n": 2}', idempotency_key="day:2")
    (task,) = await drain(caller, "RENDER")
    assert (old_ids([task]), task.lease.task_id) == ([two], again)
    assert task.spec.idempotency_ttl.ToTimedelta().total_seconds() == 86_400


@pytest.mark.parametrize(("how", "left"), [("intended", 6), ("actual", 2)])
async def test_attempts_that_are_left(
    server: Server, importer: Importer, old: Predecessor, how: str, left: int
) -> None:
    """Claims and their bad ends are both counted there: 5 are three attempts, the last unended."""
    task_id = old.create("RENDER", 1, maxAttempts=9)
    old.claim("RENDER")
    old.nack(task_id, "RENDER", -10)
    old.write(task_id, attempts=5)
    old.create("OTHER", 1, maxAttempts=0)
    await importer.run("--attempts", how)
    (task,) = await drain(server.caller(), "RENDER")
    assert task.max_attempts == left
    (other,) = await drain(server.caller(), "OTHER")
    assert other.max_attempts == 5


@pytest.mark.parametrize("sets", [True, False], ids=["sets", "lists"])
async def test_moved_tasks_are_removed_on_wish_with_all_that_was_known_of_them(
    server: Server, importer: Importer, admin: Admin, sets: bool
) -> None:
    old = Predecessor(admin, sets=sets)
    ids = [old.create("RENDER", n) for n in range(250)]
    for n in range(6):
        old.claim("RENDER", lease=300 * (n % 2))
    old.bury(ids[0], "RENDER")
    old.end(ids[1], "RENDER")
    old.create("RENDER", "later", delay=1_000)
    refused = old.create("no such name", 1)
    ran = await importer.run("--delete-moved")
    assert ran.code == 1, ran
    assert ran.count("moved") == 250
    left = old.keys()
    assert left.pop(b"codeq:tasks").keys() == {ids[1].encode(), refused.encode()}
    assert left.pop(b"codeq:results").keys() == {ids[1].encode()}
    assert len(left.pop(b"codeq:tasks:ttl")) == 4
    assert left == {old.pending("no such name").encode(): [refused.encode()]}
    assert old_ids(await drain(server.caller(), "RENDER"))[:244] == ids[6:]
