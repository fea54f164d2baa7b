"""Shows when rules fire next."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

import click

from codeq_grpc.cli import documents, fire_times, schedule_documents
from codeq_grpc.client import rules
from codeq_grpc.core import clock

if TYPE_CHECKING:
    from datetime import datetime

    from codeq.v1.schedule_service_pb2 import ScheduleSpec
    from codeq_grpc.cli.stepwise import StepwiseClient
    from codeq_grpc.client import RuleOptions


class Wanted(NamedTuple):
    """What somebody wants to see."""

    schedule_id: str | None
    options: RuleOptions
    """Of rules, without a schedule."""
    since: datetime | None
    most: int


async def preview_them(client: StepwiseClient, wanted: Wanted, *, as_json: bool) -> None:
    """Prints fire times of a schedule, or else of rules.

    Raises:
        CodeQError: A call failed.
    """
    if wanted.schedule_id is None:
        spec = rules.rule(**wanted.options)
    else:
        spec = (await client.get_schedule(wanted.schedule_id)).spec
    if wanted.since is not None:
        _begin(spec, wanted.since)
    found = await client.preview_spec(spec, wanted.most)
    times = [time.ToDatetime(UTC) for time in found.times]
    if as_json:
        told = fire_times.FireTimes(spec)
        click.echo(documents.line(schedule_documents.fire_times(told.zone_name, told.told(times))))
    elif times:
        fire_times.show(spec, times)
    else:
        click.echo("no fire time is left", err=True)


def _begin(spec: ScheduleSpec, since: datetime) -> None:
    """Has rules begin at a time, unless they begin later or end before.

    Raises:
        UsageError: They have ended by then.
    """
    if since < clock.now():
        click.echo("times that are over are not shown", err=True)
    if spec.HasField("end_time") and spec.end_time.ToDatetime(UTC) <= since:
        raise click.UsageError("--from: the rules have ended by then")
    if spec.start_time.ToDatetime(UTC) < since:
        spec.start_time.FromDatetime(since)
