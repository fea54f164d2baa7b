"""The options that say which tasks of a queue are meant."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from codeq_grpc.cli.values import pair, past, state, text

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from codeq_grpc.client import FilterOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks of a queue; all that is set must hold."""

    states: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    worker_id: str = ""
    error_type: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> bool:
        """Whether anything is set."""
        return self != Filter()

    @property
    def by_state_only(self) -> bool:
        """Whether the counts of the queue tell how many match."""
        return self == Filter(states=self.states)

    def options(self) -> FilterOptions:
        """For the client."""
        return {
            "states": self.states,
            "labels": dict(self.labels),
            "worker_id": self.worker_id,
            "error_type": self.error_type,
            "created_after": self.since,
            "created_before": self.until,
        }


_OPTIONS = (
    click.option(
        "--state",
        "states",
        type=state,
        multiple=True,
        metavar="STATE",
        help="In this state, e.g. failed; may be repeated for any of several.",
    ),
    click.option(
        "--label",
        "labels",
        type=pair,
        multiple=True,
        metavar="KEY=VALUE",
        help="With this label; may be repeated for all of several.",
    ),
    click.option(
        "--worker", "worker_id", type=text, default="", help="Held or last held by this worker."
    ),
    click.option(
        "--error-type", type=text, default="", metavar="TYPE", help="Of the latest error."
    ),
    click.option("--since", type=past, metavar="TIME", help="Enqueued since a time or age: 1h."),
    click.option("--until", type=past, metavar="TIME", help="Enqueued before a time or age."),
)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a filter to a command, which gets them as `chosen`."""

    @functools.wraps(command)
    def wrapper(*args: Any, **options: Any) -> None:
        given = {name: options.pop(name) for name in Filter.__dataclass_fields__}
        if len(dict(given["labels"])) < len(given["labels"]):
            raise click.UsageError("--label: no task has two values for one key")
        given["states"] = tuple(dict.fromkeys(given["states"]))
        command(*args, chosen=Filter(**given), **options)

    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper
