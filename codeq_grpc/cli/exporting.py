"""Schedules and settings of queues as a file has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli.connection import Failure
from codeq_grpc.core.errors import QueueNotFound
from codeq_grpc.files import messages
from codeq_grpc.files.model import VERSION

if TYPE_CHECKING:
    from codeq.v1.schedule_service_pb2 import Schedule
    from codeq_grpc.client import Client

_PAGE: Final = 1_000
HEAD: Final = "# Written by `codeq export`; `codeq apply -f` makes a server so.\n"


async def export(client: Client, *, queues: bool, schedules: bool) -> dict[str, Any]:
    """What stands in the file, in the order in which it stands there.

    Raises:
        CodeQError: A call failed.
    """
    document: dict[str, Any] = {"version": VERSION}
    if queues:
        document["queues"] = await queues_of(client)
    if schedules:
        document["schedules"] = await schedules_of(client)
    return document


def document_of(schedule: Schedule) -> dict[str, Any]:
    """A schedule as an entry of a file.

    Raises:
        Failure: It cannot be one.
    """
    try:
        return messages.schedule_entry(schedule).document()
    except ValueError as error:
        raise Failure(str(error)) from None


async def queues_of(client: Client) -> dict[str, dict[str, Any]]:
    """Queues of which anything was set, by name.

    Raises:
        CodeQError: A call failed.
    """
    found = {}
    for command in sorted(queue.command for queue in (await client.queues()).queues):
        try:
            queue = await client.get_queue(command, only_set=True)
        except QueueNotFound:
            continue
        if entry := messages.queue_entry(queue).document():
            found[command] = entry
    return found


async def schedules_of(client: Client) -> dict[str, dict[str, Any]]:
    """All schedules but those of codeQ itself, by name.

    Raises:
        CodeQError: A call failed.
    """
    found = {}
    async for schedule in client.schedules(page_size=_PAGE):
        if schedule.system:
            continue
        found[schedule.schedule_id] = document_of(schedule)
        if missing := messages.left_out(schedule):
            fields = ", ".join(missing)
            click.echo(f"left out of {schedule.schedule_id}: {fields}", err=True)
    return dict(sorted(found.items()))
