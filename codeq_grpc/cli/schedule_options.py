"""The options that say when a schedule fires and what it enqueues."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from codeq_grpc.cli.values import duration, moment, pair, priority, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq.v1.task_pb2 import TaskSpec
    from codeq_grpc.client import RuleOptions, ScheduleOptions

_RULES: Final = (
    click.option(
        "--cron",
        "crons",
        type=text,
        multiple=True,
        metavar="CRON",
        help="'MIN HOUR DAY MONTH WEEKDAY', seconds may lead, or @daily; may be repeated.",
    ),
    click.option("--every", type=duration, help="Every so often, e.g. 5m."),
    click.option(
        "--at",
        "times",
        type=text,
        multiple=True,
        metavar="TIME",
        help="Once at this time, e.g. 2026-07-01T12:00:00Z; may be repeated.",
    ),
    click.option(
        "--zone",
        "time_zone",
        type=text,
        help="Time zone of --cron, e.g. Europe/Berlin; UTC by default.",
    ),
    click.option("--start", "start_time", type=text, metavar="TIME", help="Not before this time."),
    click.option("--end", "end_time", type=text, metavar="TIME", help="Before this time only."),
    click.option("--jitter", type=duration, help="Later by a random time up to this."),
)
_RULE_NAMES: Final = (
    *("crons", "every", "times", "time_zone", "start_time", "end_time", "jitter"),
)

_TASK: Final = (
    click.option("--command", type=text, help="Kind of the task; names its queue."),
    click.option(
        "--payload",
        type=text,
        metavar="JSON",
        help="Payload; {{fire_time}}, {{previous_fire_time}} and {{schedule_id}} are filled in.",
    ),
    click.option("--content-type", type=text, metavar="TYPE", help="Media type of the payload."),
    click.option(
        "--priority", type=priority, metavar="LEVEL", help="low, normal, high, critical, or 0 to 9."
    ),
    click.option("--lease", "lease_duration", type=duration, help="How long a worker has for it."),
    click.option("--attempt-timeout", type=duration, help="Longest attempt."),
    click.option("--max-attempts", type=click.IntRange(1, 100), help="Attempts allowed."),
    click.option("--concurrency-key", type=text, metavar="KEY", help="Few of one key at once."),
    click.option(
        "--header",
        "headers",
        type=pair,
        multiple=True,
        metavar="KEY=VALUE",
        help="Carried to the worker; filled in like the payload; may be repeated.",
    ),
    click.option(
        "--task-label",
        "task_labels",
        type=pair,
        multiple=True,
        metavar="KEY=VALUE",
        help="To find its tasks by; may be repeated.",
    ),
)
_TASK_NAMES: Final = (
    *("command", "payload", "content_type", "priority", "lease_duration", "attempt_timeout"),
    *("max_attempts", "concurrency_key", "headers", "task_labels"),
)

_POLICIES: Final = (
    click.option("--description", type=text, help="For people."),
    click.option(
        "--overlap",
        "overlap_policy",
        type=click.Choice(["allow", "skip", "buffer_one", "cancel_previous"]),
        help="While the task before has not ended; allow by default.",
    ),
    click.option(
        "--misfire",
        "misfire_policy",
        type=click.Choice(["fire_once", "skip", "fire_all"]),
        help="After an outage; fire_once by default.",
    ),
    click.option(
        "--grace",
        "misfire_grace",
        type=duration,
        help="Later than this is a misfire; 5m by default.",
    ),
    click.option("--max-firings", type=click.IntRange(min=0), help="So many in all; 0 no limit."),
    click.option(
        "--pause-after-failures",
        type=click.IntRange(min=0),
        metavar="N",
        help="Pause after so many failed tasks in a row; 0 never.",
    ),
    click.option(
        "--label",
        "labels",
        type=pair,
        multiple=True,
        metavar="KEY=VALUE",
        help="To find the schedule by; may be repeated.",
    ),
)
_POLICY_NAMES: Final = (
    *("description", "overlap_policy", "misfire_policy", "misfire_grace", "max_firings"),
    *("pause_after_failures", "labels"),
)
CLEARABLE: Final = (
    *(name for name in _RULE_NAMES),
    *(name for name in _TASK_NAMES if name not in {"command", "content_type", "max_attempts"}),
    *_POLICY_NAMES,
)
"""What `--clear` takes."""


class Given:
    """What somebody has asked for on the command line."""

    def __init__(self, options: dict[str, Any]) -> None:
        for name in ("headers", "task_labels", "labels"):
            if len(dict(options.get(name) or ())) < len(options.get(name) or ()):
                raise click.UsageError(f"--{name.replace('_', '-')[:-1]}: a key is there twice")
        self._options: dict[str, Any] = {
            name: dict(value) if name in {"headers", "task_labels", "labels"} else value
            for name, value in options.items()
            if value is not None and value != ()
        }
        for name, option in (("start_time", "--start"), ("end_time", "--end")):
            if name in self._options:
                self._options[name] = self._moment(self._options[name], option)
        if "times" in self._options:
            self._options["times"] = [self._moment(one, "--at") for one in self._options["times"]]

    @property
    def names(self) -> set[str]:
        """What was given, by the names of `CLEARABLE`."""
        return set(self._options)

    def rules(self) -> RuleOptions:
        """When to fire."""
        return self._some(_RULE_NAMES)  # type: ignore[return-value]

    def schedule(self) -> ScheduleOptions:
        """All but the task."""
        return self._some((*_RULE_NAMES, *_POLICY_NAMES))  # type: ignore[return-value]

    @property
    def has_task(self) -> bool:
        """Whether there is a word about the task."""
        return any(name in self._options for name in _TASK_NAMES)

    def change_task(self, task: TaskSpec) -> None:
        """Makes of a task what was asked for."""
        from codeq_grpc.cli import inputs
        from codeq_grpc.client import duration as message

        given = self._some(_TASK_NAMES)
        payload, content_type = given.pop("payload", None), given.pop("content_type", None)
        if payload is not None:
            one = inputs.from_payload(payload, content_type)
            task.payload.data, task.payload.content_type = one.data, one.content_type or ""
        elif content_type is not None:
            raise click.UsageError("--content-type goes with --payload")
        for name in ("lease_duration", "attempt_timeout"):
            if name in given:
                getattr(task, name).CopyFrom(message(given.pop(name)))
        if "max_attempts" in given:
            task.retry_policy.max_attempts = given.pop("max_attempts")
        for name, option in (("headers", "headers"), ("labels", "task_labels")):
            if option in given:
                held = getattr(task, name)
                held.clear()
                held.update(given.pop(option))
        for name, value in given.items():
            setattr(task, name, value)

    def _some(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._options[name] for name in names if name in self._options}

    def _moment(self, given: str, option: str) -> datetime:
        if "time_zone" in self._options and not _says_zone(given):
            raise click.UsageError(
                f"{option}: {given} is in which zone? --zone is for --cron; add Z or +02:00"
            )
        try:
            return moment(given)
        except click.BadParameter as error:
            raise click.UsageError(f"{option}: {error.message}") from None


def _says_zone(given: str) -> bool:
    """False for a time without an offset."""
    if given.endswith(" UTC"):
        return True
    try:
        return datetime.fromisoformat(given.strip()).tzinfo is not None
    except ValueError:
        return True  # it is told what is wrong with it


def _given(names: tuple[Any, ...]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def wrapper(*args: Any, **options: Any) -> None:
            known = {*_RULE_NAMES, *_TASK_NAMES, *_POLICY_NAMES}
            given = Given({name: options.pop(name) for name in list(options) if name in known})
            command(*args, given=given, **options)

        for option in reversed(names):
            wrapper = option(wrapper)
        return wrapper

    return decorate


ruled = _given(_RULES)
"""Adds the options of rules to a command, which gets them as `given`."""
described = _given((*_RULES, *_TASK, *_POLICIES))
"""The same with those of the task and of policies."""
