"""Files of settings on the command line: read with all that is wrong told, and what a server finds
wrong told by line, too.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.cli import documents
from codeq_grpc.cli.connection import Failure, describe
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.files import messages, reading
from codeq_grpc.files.model import QueueEntry
from codeq_grpc.wire.checks import check_command
from codeq_grpc.wire.firings import Bodies
from codeq_grpc.wire.queues import settings_of
from codeq_grpc.wire.schedules import ScheduleChecker, check_schedule_id
from codeq_grpc.wire.specs import SpecChecker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from codeq_grpc.core.errors import CodeQError
    from codeq_grpc.files.model import ScheduleEntry
    from codeq_grpc.files.reading import Problem, Settings
    from codeq_grpc.files.yaml_text import Path as Place

_CHECKER: Final = ScheduleChecker(Bodies(SpecChecker(payload_bytes=limits.PAYLOAD_BYTES)).check)
_STDIN: Final = Path("-")
_SHOWN: Final = 50


class SettingsFile:
    """A file that was read, and what was found wrong with it since."""

    def __init__(self, path: Path) -> None:
        """Reads it.

        Raises:
            Failure: It cannot be read or used; why was told.
        """
        self.name = "standard input" if path == _STDIN else str(path)
        self.problems = 0
        try:
            data = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
            self._settings: Settings = reading.read(data.decode("utf-8-sig"))
        except OSError as error:
            raise Failure(f"{self.name}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Failure(f"{self.name} is not UTF-8") from None
        except reading.BadSettings as error:
            self._tell(error.problems)
            raise self.useless() from None
        self.file = self._settings.file
        self._check()
        if self.problems:
            raise self.useless()

    def useless(self) -> Failure:
        """What to raise when something was wrong."""
        return Failure(f"{self.name} cannot be used; nothing was changed")

    def _check(self) -> None:
        """What a server checks, before anything is changed: a mistake in the last entry is no
        reason for half a file.
        """
        for name, queue in (self.file.queues or {}).items():
            self._try(("queues", name), partial(_check_queue, name, queue or QueueEntry()))
        for name, entry in (self.file.schedules or {}).items():
            self._try(("schedules", name), partial(_check_schedule, name, entry))

    def _try(self, place: Place, check: Callable[[], None]) -> None:
        try:
            check()
        except InvalidField as error:
            self.refused(place, error)

    def _tell(self, problems: Iterable[Problem]) -> None:
        """Prints what is wrong, by line and field."""
        for problem in problems:
            self.problems += 1
            if self.problems <= _SHOWN:
                click.echo(documents.harmless(problem.text(self.name)), err=True)
            elif self.problems == _SHOWN + 1:
                click.echo("and more like these", err=True)

    def refused(self, entry: Place, error: CodeQError) -> None:
        """Tells what a server does not like about an entry."""
        self._tell(self._found(entry, error))

    def wrong(self, entry: Place, told: str) -> None:
        """Tells that an entry cannot be."""
        self._tell([self._settings.problem(entry, told)])

    def _found(self, entry: Place, error: CodeQError) -> Iterator[Problem]:
        for field, told in error.fields.items():
            yield self._settings.problem((*entry, *reading.path_of(field)), told)
        if not error.fields:
            yield self._settings.problem(entry, describe(error))


def _check_queue(command: str, entry: QueueEntry) -> None:
    check_command(command, "queue")
    settings_of(messages.queue_message(command, entry), "queue")


def _check_schedule(schedule_id: str, entry: ScheduleEntry) -> None:
    check_schedule_id(schedule_id, "schedule")
    _CHECKER.created(messages.schedule_message(schedule_id, entry), schedule_id, "")
