"""Schedules: what both clients ask for, and what they make of the answers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import schedule_service_pb2 as pb
from codeq_grpc.client import ScheduleChanges, SyncClient, rules, spec
from codeq_grpc.client.rules import RuleOptions, rule, schedule
from codeq_grpc.core import limits
from codeq_grpc.core.errors import ScheduleChanged, ScheduleNotFound
from codeq_grpc.wire.errors import to_item
from tests.unit.scripted import Answering, serving

if TYPE_CHECKING:
    from codeq_grpc.client import Client

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
TASK = spec("report", {"day": "{{fire_time}}"})


def stamp(time: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(time)
    return made


def stored(**fields: Any) -> pb.Schedule:
    return pb.Schedule(schedule_id="s", etag="e1", spec=pb.ScheduleSpec(crons=["@daily"]), **fields)


def test_every_field_that_people_set_is_an_option() -> None:
    output = {"schedule_id", "system", "status", "etag", "created_by", "create_time", "version"}
    output |= {"update_time", "paused", "pause_reason", "spec"}
    theirs = set(pb.Schedule.DESCRIPTOR.fields_by_name) - output
    assert set(RuleOptions.__annotations__) == set(pb.ScheduleSpec.DESCRIPTOR.fields_by_name)
    assert set(ScheduleChanges.__annotations__) == theirs | set(RuleOptions.__annotations__)


def test_values_become_messages() -> None:
    east = NOON.astimezone(timezone(timedelta(hours=2)))
    made = schedule(
        "s",
        crons="0 3 * * *",
        every=timedelta(minutes=90),
        times=[east],
        time_zone="Europe/Berlin",
        start_time=NOON,
        jitter=2.5,
        overlap_policy="buffer_one",
        misfire_policy="fire_all",
        misfire_grace=60,
        max_firings=3,
        labels={"team": "a"},
        task=TASK,
    )
    assert (list(made.spec.crons), made.spec.every.ToSeconds()) == (["0 3 * * *"], 5_400)
    assert (made.spec.times[0], made.spec.start_time) == (stamp(NOON), stamp(NOON))
    assert made.spec.jitter.ToMilliseconds() == 2_500
    assert made.overlap_policy == pb.OVERLAP_POLICY_BUFFER_ONE
    assert made.misfire_policy == pb.MISFIRE_POLICY_FIRE_ALL
    assert (made.misfire_grace.ToSeconds(), made.max_firings, made.task) == (60, 3, TASK)
    assert (dict(made.labels), made.spec.time_zone) == ({"team": "a"}, "Europe/Berlin")


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"cron": "@daily"}, TypeError, "crons"),
        ({"start_time": datetime(2026, 7, 1)}, ValueError, "start_time"),  # noqa: DTZ001
        ({"times": [datetime(2026, 7, 1)]}, ValueError, "times"),  # noqa: DTZ001
    ],
)
def test_a_mistake_is_told_here(options: Any, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        rule(**options)
    with pytest.raises(kind):
        schedule("s", **options)
    with pytest.raises(ValueError, match="'whatever' is none of allow"):
        schedule("s", overlap_policy="whatever")


async def test_one_is_made_read_and_listed_page_by_page() -> None:
    answering = Answering(
        CreateSchedule=[pb.CreateScheduleResponse(schedule=stored())],
        GetSchedule=[grpc.StatusCode.UNAVAILABLE, pb.GetScheduleResponse(schedule=stored())],
        ListSchedules=[
            pb.ListSchedulesResponse(schedules=[stored()], next_page_token="t"),
            pb.ListSchedulesResponse(schedules=[stored(), stored()]),
        ],
    )
    async with serving(answering) as client:
        assert await client.create_schedule("s", TASK, crons=["@daily"]) == stored()
        assert await client.get_schedule("s") == stored()  # a lost reply is asked for again
        found = client.schedules(labels={"a": "b"}, command="c", id_prefix="p", page_size=3)
        assert len([one async for one in found]) == 3
    (made,) = answering.requests["CreateSchedule"]
    assert made.schedule == schedule("s", task=TASK, crons=["@daily"])
    first, second = answering.requests["ListSchedules"]
    assert first == pb.ListSchedulesRequest(
        labels={"a": "b"}, command="c", id_prefix="p", page_size=3
    )
    assert second.page_token == "t"


async def test_what_is_named_changes_and_the_rest_is_not_sent() -> None:
    answering = Answering(UpdateSchedule=[pb.UpdateScheduleResponse(schedule=stored())] * 2)
    async with serving(answering) as client:
        await client.update_schedule(
            "s", reason="why", etag="e", max_firings=None, description="d", task=TASK
        )
        await client.update_schedule("s", allow_missing=True, crons="@hourly", task=TASK)
        with pytest.raises(ValueError, match="nothing"):
            await client.update_schedule("s")
    first, second = answering.requests["UpdateSchedule"]
    assert list(first.update_mask.paths) == ["max_firings", "description", "task"]
    assert (first.reason, first.schedule.etag, first.schedule.max_firings) == ("why", "e", 0)
    assert (list(second.update_mask.paths), second.allow_missing) == (["spec", "task"], True)
    assert "GetSchedule" not in answering.requests


async def test_a_part_of_the_rules_changes_whatever_others_change_meanwhile() -> None:
    newer = stored()
    newer.etag = "e2"
    newer.spec.time_zone = "Asia/Tokyo"
    answering = Answering(
        GetSchedule=[
            pb.GetScheduleResponse(schedule=stored()),
            pb.GetScheduleResponse(schedule=newer),
        ],
        UpdateSchedule=[ScheduleChanged(), pb.UpdateScheduleResponse(schedule=newer)],
    )
    async with serving(answering) as client:
        await client.update_schedule("s", every=60)
    sent = answering.requests["UpdateSchedule"]
    assert [request.schedule.etag for request in sent] == ["e1", "e2"]
    assert list(sent[1].update_mask.paths) == ["spec"]
    wanted = rule(crons="@daily", time_zone="Asia/Tokyo", every=60)
    assert sent[1].schedule.spec == wanted


async def test_with_an_etag_nobody_is_overwritten() -> None:
    answering = Answering(
        GetSchedule=[pb.GetScheduleResponse(schedule=stored())], UpdateSchedule=[ScheduleChanged()]
    )
    async with serving(answering) as client:
        with pytest.raises(ScheduleChanged):
            await client.update_schedule("s", etag="e0", every=None)
    assert answering.requests["UpdateSchedule"][0].schedule.etag == "e0"


async def test_many_are_changed_in_parts_with_their_failures_by_name() -> None:
    names = [f"s{number}" for number in range(limits.BATCH_SCHEDULES + 2)]
    answering = Answering(
        BatchSchedules=[
            pb.BatchSchedulesResponse(failures=[to_item(1, ScheduleNotFound())]),
            pb.BatchSchedulesResponse(failures=[to_item(1, ScheduleNotFound())]),
            pb.BatchSchedulesResponse(),
            pb.BatchSchedulesResponse(),
        ],
    )
    async with serving(answering) as client:
        failures = await client.pause_schedules(names, "why")
        assert await client.resume_schedules("s1") == {}
        assert await client.delete_schedules(["s1"]) == {}
    assert set(failures) == {"s1", names[-1]}
    assert all(isinstance(error, ScheduleNotFound) for error in failures.values())
    first, second, resumed, deleted = answering.requests["BatchSchedules"]
    assert (len(first.schedule_ids), len(second.schedule_ids)) == (limits.BATCH_SCHEDULES, 2)
    assert (first.operation, first.reason) == (pb.SCHEDULE_OPERATION_PAUSE, "why")
    assert (resumed.operation, list(resumed.schedule_ids)) == (
        pb.SCHEDULE_OPERATION_RESUME,
        ["s1"],
    )
    assert deleted.operation == pb.SCHEDULE_OPERATION_DELETE


async def test_a_trigger_whose_reply_was_lost_is_repeated_with_its_key() -> None:
    firing = pb.Firing(task_id="t")
    answer = pb.TriggerScheduleResponse(firing=firing)
    answering = Answering(TriggerSchedule=[grpc.StatusCode.UNAVAILABLE, answer, answer])
    async with serving(answering) as client:
        assert await client.trigger_schedule("s") == firing
        await client.trigger_schedule("s", request_key="k")
    lost, again, own = answering.requests["TriggerSchedule"]
    assert lost.request_key == again.request_key != ""
    assert own.request_key == "k"


async def _all(client: Client) -> list[Any]:
    await client.delete_schedule("s")
    return [
        await client.backfill_schedule("s", NOON, NOON + timedelta(hours=1)),
        await client.preview_schedule(count=2, crons="@daily"),
        [firing async for firing in client.firings("s", page_size=2)],
        await client.schedule_versions("s"),
        await client.rollback_schedule("s", 2, etag="e", reason="why"),
    ]


def _all_sync(client: SyncClient) -> list[Any]:
    client.delete_schedule("s")
    return [
        client.backfill_schedule("s", NOON, NOON + timedelta(hours=1)),
        client.preview_schedule(count=2, crons="@daily"),
        list(client.firings("s", page_size=2)),
        client.schedule_versions("s"),
        client.rollback_schedule("s", 2, etag="e", reason="why"),
    ]


@pytest.mark.parametrize("sync", [False, True])
async def test_the_rest_is_the_same_in_both_clients(sync: bool) -> None:
    version = pb.ScheduleVersion(schedule=stored(), changed_by="ann")
    answering = Answering(
        BackfillSchedule=[pb.BackfillScheduleResponse(fired_count=3)],
        PreviewSchedule=[pb.PreviewScheduleResponse(times=[stamp(NOON)])],
        ListFirings=[
            pb.ListFiringsResponse(firings=[pb.Firing(task_id="a")], next_page_token="t"),
            pb.ListFiringsResponse(firings=[pb.Firing(task_id="b")]),
        ],
        ListScheduleVersions=[pb.ListScheduleVersionsResponse(versions=[version])],
        RollbackSchedule=[pb.RollbackScheduleResponse(schedule=stored())],
        DeleteSchedule=[pb.DeleteScheduleResponse()],
    )
    async with serving(answering) as client:
        if sync:
            with SyncClient(client.target, wait_for_ready=True) as other:
                found = await asyncio.to_thread(_all_sync, other)
        else:
            found = await _all(client)
    fired = [pb.Firing(task_id="a"), pb.Firing(task_id="b")]
    assert found == [3, [NOON], fired, [version], stored()]
    sent = {method: requests[0] for method, requests in answering.requests.items()}
    assert sent["BackfillSchedule"].start_time == stamp(NOON)
    assert sent["PreviewSchedule"] == pb.PreviewScheduleRequest(spec=rule(crons="@daily"), count=2)
    assert sent["RollbackSchedule"] == pb.RollbackScheduleRequest(
        schedule_id="s", version=2, etag="e", reason="why"
    )


async def test_the_other_client_makes_changes_and_fires_them() -> None:
    answering = Answering(
        CreateSchedule=[pb.CreateScheduleResponse(schedule=stored())],
        GetSchedule=[pb.GetScheduleResponse(schedule=stored())] * 2,
        UpdateSchedule=[pb.UpdateScheduleResponse(schedule=stored())],
        ListSchedules=[
            pb.ListSchedulesResponse(schedules=[stored()], next_page_token="t"),
            pb.ListSchedulesResponse(schedules=[stored()]),
        ],
        BatchSchedules=[pb.BatchSchedulesResponse()] * 3,
        TriggerSchedule=[pb.TriggerScheduleResponse(firing=pb.Firing(task_id="t"))],
    )

    def work(client: SyncClient) -> None:
        assert client.create_schedule("s", TASK, crons="@daily") == stored()
        assert client.get_schedule("s") == stored()
        assert client.update_schedule("s", every=1) == stored()
        assert len(list(client.schedules())) == 2
        for change in (client.pause_schedules, client.resume_schedules, client.delete_schedules):
            assert change(["s"]) == {}
        assert client.trigger_schedule("s").task_id == "t"

    async with serving(answering) as beside:
        with SyncClient(beside.target, wait_for_ready=True) as client:
            await asyncio.to_thread(work, client)


def test_a_mask_names_the_rules_as_one() -> None:
    assert list(rules.mask(["crons", "labels", "every"]).paths) == ["spec", "labels"]
