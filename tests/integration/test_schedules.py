"""Schedules as people make, see, change and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq.v1 import schedule_service_pb2 as pb, task_pb2
from tests.integration import scheduling
from tests.integration.calling import ask
from tests.integration.refusals import item_kind, refused
from tests.support.server import eventually, running_server

if TYPE_CHECKING:
    from codeq.v1.schedule_service_pb2 import Schedule
    from tests.support.admin import Admin
    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

YEAR_MS: Final = 366 * 86_400_000


async def test_a_schedule_of_every_second_fires_and_hears_of_its_tasks(acme: Caller) -> None:
    await scheduling.create(acme, every=1)
    first = await acme.claim_one(wait=5)
    await acme.complete(first)
    second = await acme.claim_one(wait=5)
    await acme.fail(second, non_retryable=True)

    async def told() -> bool:
        status = (await scheduling.get(acme)).status
        return (status.completed_count, status.failed_count) == (1, 1)

    await eventually(told)
    one, two, *_ = await scheduling.firings(acme)
    assert (one.task_id, two.task_id) == (first.lease.task_id, second.lease.task_id)
    assert (one.state, two.state) == (task_pb2.TASK_STATE_COMPLETED, task_pb2.TASK_STATE_FAILED)
    assert two.fire_time.ToMilliseconds() - one.fire_time.ToMilliseconds() == 1_000
    assert one.cause == pb.FIRING_CAUSE_TIME


async def test_what_is_told_of_a_new_schedule(acme: Caller) -> None:
    made = await scheduling.create(
        acme,
        "backup",
        "0 3 * * *",
        description="Every night.",
        labels={"team": "ops"},
        misfire_policy=pb.MISFIRE_POLICY_SKIP,
        max_firings=7,
    )
    assert made == await scheduling.get(acme, "backup")
    assert (made.schedule_id, made.version, made.created_by) == ("backup", 1, "admin of acme")
    assert (made.description, made.labels["team"], made.max_firings) == ("Every night.", "ops", 7)
    assert made.etag
    assert made.create_time == made.update_time
    status = made.status
    assert len(status.next_times) == 5
    assert {time.ToMilliseconds() % 86_400_000 for time in status.next_times} == {3 * 3_600_000}
    status.ClearField("next_times")
    assert status == pb.ScheduleStatus()


async def test_next_times_end_with_the_firings_that_are_left(acme: Caller) -> None:
    made = await scheduling.create(acme, max_firings=2)
    assert len(made.status.next_times) == 2
    made = await scheduling.create(acme, "paused", paused=True, pause_reason="not yet")
    assert (made.paused, made.pause_reason, len(made.status.next_times)) == (True, "not yet", 0)


async def test_a_name_is_made_for_one_that_has_none(acme: Caller) -> None:
    made = await scheduling.create(acme, "")
    assert made == await scheduling.get(acme, made.schedule_id)
    assert await scheduling.listed(acme) == [made.schedule_id]


async def test_a_name_is_given_once(acme: Caller, rival: Caller) -> None:
    await scheduling.create(acme)
    refusal = await refused(scheduling.create(acme))
    assert refusal.kind == ("ALREADY_EXISTS", "SCHEDULE_EXISTS")
    assert refusal.metadata == {"schedule_id": "nightly"}
    await scheduling.create(rival)


async def test_what_only_the_server_sets_counts_for_nothing(acme: Caller) -> None:
    made = await scheduling.create(
        acme,
        etag="x",
        version=9,
        created_by="somebody",
        system=True,
        status={"fired_count": 9},
        create_time=scheduling.at(1),
        update_time=scheduling.at(1),
    )
    assert (made.version, made.created_by, made.system) == (1, "admin of acme", False)
    assert made.status.fired_count == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda caller: scheduling.get(caller, "gone"),
        lambda caller: scheduling.delete(caller, "gone"),
        lambda caller: scheduling.update(caller, "gone", description="new"),
        lambda caller: scheduling.trigger(caller, "gone"),
        lambda caller: scheduling.backfill(caller, "gone", 0, 1_000),
        lambda caller: scheduling.firings(caller, "gone"),
        lambda caller: scheduling.versions(caller, "gone"),
        lambda caller: scheduling.rollback(caller, 1, "gone"),
    ],
    ids=["get", "delete", "update", "trigger", "backfill", "firings", "versions", "rollback"],
)
async def test_what_there_is_not_is_not_found(acme: Caller, rival: Caller, call: object) -> None:
    await scheduling.create(rival, "gone")
    refusal = await refused(call(acme))  # type: ignore[operator]
    assert refusal.kind == ("NOT_FOUND", "SCHEDULE_NOT_FOUND")
    assert refusal.metadata == {"schedule_id": "gone"}


async def test_an_update_changes_what_its_mask_names(acme: Caller) -> None:
    made = await scheduling.create(acme, description="old", labels={"a": "1"}, max_firings=5)
    changed = await scheduling.update(
        acme, mask=["description", "labels"], labels={"b": "2"}, reason="tidy", max_firings=9
    )
    assert (changed.description, dict(changed.labels), changed.max_firings) == ("", {"b": "2"}, 5)
    assert (changed.version, changed.created_by) == (2, made.created_by)
    assert changed.etag != made.etag
    assert changed.create_time == made.create_time
    assert await scheduling.listed(acme, labels={"a": "1"}) == []
    assert await scheduling.listed(acme, labels={"b": "2"}) == ["nightly"]


async def test_an_update_without_a_mask_changes_what_is_set(acme: Caller) -> None:
    await scheduling.create(acme, description="old", max_firings=5)
    changed = await scheduling.update(acme, max_firings=9)
    assert (changed.description, changed.max_firings) == ("old", 9)


async def test_what_was_read_can_be_written_back(acme: Caller) -> None:
    made = await scheduling.create(acme, description="old")
    made.description = "new"
    response = await ask(acme, "UpdateSchedule", pb.UpdateScheduleRequest(schedule=made))
    assert (response.schedule.description, response.schedule.version) == ("new", 2)
    refusal = await refused(ask(acme, "UpdateSchedule", pb.UpdateScheduleRequest(schedule=made)))
    assert refusal.kind == ("ABORTED", "SCHEDULE_CHANGED")


async def test_an_etag_is_of_one_schedule_only(acme: Caller) -> None:
    """Not of another one that has its name later."""
    before = await scheduling.create(acme)
    await scheduling.delete(acme)
    await scheduling.create(acme)
    refusal = await refused(scheduling.update(acme, etag=before.etag, description="lost"))
    assert refusal.kind == ("ABORTED", "SCHEDULE_CHANGED")
    refusal = await refused(scheduling.rollback(acme, 1, etag=before.etag))
    assert refusal.kind == ("ABORTED", "SCHEDULE_CHANGED")


async def test_an_update_makes_one_if_it_may(acme: Caller) -> None:
    given = scheduling.schedule("new", "0 3 * * *")
    fields: dict[str, Any] = {"spec": given.spec, "task": given.task, "description": "made"}
    made = await scheduling.update(acme, "new", ["description"], make=True, **fields)
    assert (made.version, made.description) == (1, "made")
    again = await scheduling.update(acme, "new", make=True, **fields)
    assert again.version == 2


async def test_another_rule_counts_from_now(acme: Caller) -> None:
    await scheduling.create(acme, "old", times=[YEAR_MS])
    ended = await scheduling.get(acme, "old")
    assert (ended.status.ended, len(ended.status.next_times)) == (True, 0)
    changed = await scheduling.update(acme, "old", spec=scheduling.spec("@yearly"))
    assert (changed.status.ended, len(changed.status.next_times)) == (False, 5)


async def test_versions_are_kept_and_can_come_back(acme: Caller) -> None:
    await scheduling.create(acme, description="one")
    await scheduling.update(acme, description="two", reason="why two")
    await scheduling.update(acme, description="three", labels={"x": "y"})
    three, two, one = await scheduling.versions(acme)
    assert [v.schedule.description for v in (one, two, three)] == ["one", "two", "three"]
    assert [v.schedule.version for v in (one, two, three)] == [1, 2, 3]
    assert (two.changed_by, two.reason) == ("admin of acme", "why two")
    await scheduling.batch(acme, "PAUSE", "nightly")
    back = await scheduling.rollback(acme, 1, reason="it was better")
    assert (back.version, back.description, dict(back.labels)) == (4, "one", {})
    assert back.paused  # this is no part of a version
    newest, *_ = await scheduling.versions(acme)
    assert (newest.reason, newest.schedule.version) == ("it was better", 4)
    refusal = await refused(scheduling.rollback(acme, 9))
    assert refusal.kind == ("NOT_FOUND", "VERSION_NOT_FOUND")


async def test_the_last_twenty_versions_are_kept(acme: Caller) -> None:
    await scheduling.create(acme)
    for number in range(2, 25):
        await scheduling.update(acme, description=str(number))
    kept = [version.schedule.version for version in await scheduling.versions(acme)]
    assert kept == list(range(24, 4, -1))


async def test_lists_are_by_label_command_and_prefix(acme: Caller, rival: Caller) -> None:
    await scheduling.create(rival, "a-0")
    for number in range(6):
        await scheduling.create(
            acme,
            f"{'ab'[number % 2]}-{number}",
            labels={"team": "ops" if number < 3 else "dev", "all": ""},
            task=task_pb2.TaskSpec(command="MAIL" if number == 5 else "RENDER"),
        )
    everything = ["a-0", "a-2", "a-4", "b-1", "b-3", "b-5"]
    for size in (0, 1, 4):
        assert await scheduling.listed(acme, size) == everything
        assert await scheduling.listed(acme, size, id_prefix="b-") == ["b-1", "b-3", "b-5"]
        assert await scheduling.listed(acme, size, labels={"team": "ops"}) == ["a-0", "a-2", "b-1"]
        assert await scheduling.listed(acme, size, command="MAIL") == ["b-5"]
        both = {"team": "dev", "all": ""}
        assert await scheduling.listed(acme, size, labels=both, command="RENDER") == ["a-4", "b-3"]


async def test_a_page_token_is_of_one_list(acme: Caller, rival: Caller) -> None:
    for name in ("a", "b"):
        await scheduling.create(acme, name)
    request = pb.ListSchedulesRequest(page_size=1)
    token = (await ask(acme, "ListSchedules", request)).next_page_token
    for caller, labels in ((rival, {}), (acme, {"x": "y"})):
        request = pb.ListSchedulesRequest(page_token=token, labels=labels)
        refusal = await refused(ask(caller, "ListSchedules", request))
        assert refusal.fields == ("page_token",)


async def test_a_page_has_as_many_as_a_message_holds(acme: Caller) -> None:
    task = task_pb2.TaskSpec(command="RENDER", payload={"data": bytes(250_000)})
    for number in range(15):
        await scheduling.create(acme, f"{number:02}", task=task)
    assert await scheduling.listed(acme) == [f"{number:02}" for number in range(15)]


async def test_a_batch_pauses_resumes_and_deletes(acme: Caller) -> None:
    names = [f"s{number}" for number in range(60)]
    for name in names:
        await scheduling.create(acme, name)

    async def all_of_them() -> list[Schedule]:
        return [await scheduling.get(acme, name) for name in names]

    response = await scheduling.batch(acme, "PAUSE", "gone", *names, reason="outage")
    assert [item_kind(one) for one in response.failures] == [(0, "NOT_FOUND", "SCHEDULE_NOT_FOUND")]
    assert {(one.paused, one.pause_reason, one.version) for one in await all_of_them()} == {
        (True, "outage", 1)
    }
    await scheduling.batch(acme, "RESUME", *names)
    found = await all_of_them()
    assert {(one.paused, one.pause_reason) for one in found} == {(False, "")}
    assert {len(one.status.next_times) for one in found} == {5}
    response = await scheduling.batch(acme, "DELETE", *names, "gone")
    assert [one.index for one in response.failures] == [60]
    assert await scheduling.listed(acme) == []


async def test_preview_stores_nothing(acme: Caller) -> None:
    rule = scheduling.spec("0 12 * * *", time_zone="Europe/Berlin")
    times = await scheduling.preview(acme, rule)
    assert len(times) == 10
    assert {one % 86_400_000 // 3_600_000 for one in times} <= {10, 11}
    assert len(await scheduling.preview(acme, rule, 100)) == 100
    assert await scheduling.listed(acme) == []


async def test_quotas_of_the_tenant_and_of_each_creator(store: StoreProcess) -> None:
    quotas = {"acme": {"schedules": 4, "schedules_per_creator": 2}}
    async with running_server(store, tenants=quotas) as server:
        admin, producer = server.caller(), server.caller(role="producer")
        for name in ("a", "b"):
            await scheduling.create(admin, name)
        refusal = await refused(scheduling.create(admin, "c"))
        assert refusal.kind == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
        assert refusal.metadata == {"quota": "schedules_per_creator", "limit": "2"}
        for name in ("c", "d"):
            await scheduling.create(producer, name)
        limited = server.caller(role="producer-of-render")
        refusal = await refused(scheduling.create(limited, "e"))
        assert refusal.metadata == {"quota": "schedules", "limit": "4"}
        await scheduling.delete(admin, "c")
        await scheduling.create(limited, "e")
        await scheduling.update(admin, "a", description="changes are no new ones")


async def test_who_is_limited_to_commands_sees_and_makes_those_schedules(acme: Caller) -> None:
    mail = task_pb2.TaskSpec(command="MAIL")
    await scheduling.create(acme, "mail", task=mail)
    await scheduling.create(acme, "render")
    limited = type(acme)(acme.channel, (("authorization", "Bearer acme.admin-of-render.token"),))
    assert await scheduling.listed(limited) == ["render"]
    for call in (scheduling.get(limited, "mail"), scheduling.trigger(limited, "mail")):
        assert (await refused(call)).kind == ("NOT_FOUND", "SCHEDULE_NOT_FOUND")
    refusal = await refused(scheduling.create(limited, "new", task=mail))
    assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")
    refusal = await refused(scheduling.update(limited, "render", task=mail))
    assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")
    response = await scheduling.batch(limited, "DELETE", "mail", "render")
    assert [one.index for one in response.failures] == [0]
    assert await scheduling.listed(acme) == ["mail"]


async def test_what_many_deleted_schedules_left_goes_soon(
    server: Server, acme: Caller, admin: Admin
) -> None:
    names = [f"s{number}" for number in range(20)]
    for name in names:
        await scheduling.create(acme, name)
        await scheduling.update(acme, name, description="again")
    await scheduling.batch(acme, "DELETE", *names)
    cleaning = server.app._scheduling.scheduler._clean
    (calendar,) = server.app._registry.calendars()
    rounds = 0
    while await cleaning(calendar) is not None:  # it is called again at once
        rounds += 1
    assert rounds <= 2 * len(names)
    for suffix in ("w", "h", "d"):
        assert admin.call("EXISTS", f"codeq:{{acme}}:schedules:{suffix}") == 0


async def test_who_is_limited_to_commands_sees_those_versions(server: Server, acme: Caller) -> None:
    await scheduling.create(acme, task=task_pb2.TaskSpec(command="PAY", headers={"to": "secret"}))
    await scheduling.update(acme, task=task_pb2.TaskSpec(command="RENDER"))
    limited = server.caller(role="admin-of-render")
    assert (await scheduling.get(limited)).version == 2
    assert [one.schedule.version for one in await scheduling.versions(limited)] == [2]
    assert [one.schedule.version for one in await scheduling.versions(acme)] == [2, 1]
    refusal = await refused(scheduling.rollback(limited, 1))
    assert refusal.kind == ("NOT_FOUND", "VERSION_NOT_FOUND")


async def test_who_may_not_enqueue_makes_no_schedule(server: object, acme: Caller) -> None:
    operator = server.caller(role="operator")  # type: ignore[attr-defined]
    refusal = await refused(scheduling.create(operator))
    assert refusal.kind == ("PERMISSION_DENIED", "SCOPE_MISSING")
    await scheduling.create(acme)
    refusal = await refused(scheduling.update(operator, description="new"))
    assert refusal.kind == ("PERMISSION_DENIED", "SCOPE_MISSING")
    await scheduling.batch(operator, "PAUSE", "nightly")
    assert (await scheduling.trigger(operator)).task_id


async def test_an_average_run_time_is_told(acme: Caller) -> None:
    await scheduling.create(acme)
    for _ in range(2):
        await scheduling.trigger(acme)
        await acme.complete(await acme.claim_one(wait=5))

    async def told() -> bool:
        return (await scheduling.get(acme)).status.completed_count == 2

    await eventually(told)
    status = (await scheduling.get(acme)).status
    assert 0 <= status.average_run_time.ToMilliseconds() < 60_000
    assert (status.fired_count, status.open_count) == (2, 0)
