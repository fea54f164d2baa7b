"""Shows when rules fire next."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import click

from codeq_grpc.cli import documents, fire_times, schedule_documents
from codeq_grpc.client import rules

if TYPE_CHECKING:
    from codeq_grpc.cli.stepwise import StepwiseClient
    from codeq_grpc.client import RuleOptions


async def preview_them(
    client: StepwiseClient,
    schedule_id: str | None,
    options: RuleOptions,
    count: int,
    *,
    as_json: bool,
) -> None:
    """Prints fire times of a schedule, or else of rules.

    Raises:
        CodeQError: A call failed.
    """
    if schedule_id is None:
        spec = rules.rule(**options)
    else:
        spec = (await client.get_schedule(schedule_id)).spec
    found = await client.preview_spec(spec, count)
    times = [time.ToDatetime(UTC) for time in found.times]
    if as_json:
        told = fire_times.FireTimes(spec)
        click.echo(documents.line(schedule_documents.fire_times(told.zone_name, told.told(times))))
    elif times:
        fire_times.show(spec, times)
    else:
        click.echo("no fire time is left", err=True)
