"""What to enqueue: files, standard input, a payload on the command line."""

from __future__ import annotations

import json
import mimetypes
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from codeq_grpc.core import limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

STDIN: Final = "-"
_BYTES: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One task to be: the file to read, or `data` when it is at hand."""

    name: str | None = None
    data: bytes = b""
    content_type: str | None = None

    @property
    def label(self) -> str | None:
        """The file's name as text: names need not be UTF-8."""
        if self.name is None:
            return None
        return os.fsencode(self.name).decode("utf-8", "backslashreplace")

    def read(self) -> bytes:
        """The payload. A file that no call can carry is not read to its end."""
        if self.name is None:
            return self.data
        with open(self.name, "rb") as file:  # noqa: PTH123 - names stay what the shell gave
            return file.read(limits.BATCH_BYTES + 1)


def from_payload(payload: str | None, content_type: str | None) -> Input:
    """The task of a command line without files."""
    if payload is None:
        return Input(content_type=content_type)
    if content_type is None or content_type.partition(";")[0].endswith("json"):
        try:
            json.loads(payload)
        except ValueError as error:
            raise click.UsageError(
                f"--payload is not JSON: {error}; for plain text add --content-type text/plain"
            ) from None
    return Input(data=payload.encode(), content_type=content_type or "application/json")


def from_files(names: Sequence[str], content_type: str | None) -> list[Input]:
    """A task for each file; directories are left out, and anything else wrong is told at once.

    Raises:
        UsageError: A file is not there or cannot be read, or `-` stands twice.
    """
    if names.count(STDIN) > 1:
        raise click.UsageError("standard input can be read only once")
    found = [one for name in names if (one := _from_file(name, content_type)) is not None]
    if left_out := len(names) - len(found):
        click.echo(f"left out {left_out} director{'y' if left_out == 1 else 'ies'}", err=True)
    if not found:
        raise click.UsageError("there is no file to enqueue")
    return found


def names_from(source: str) -> Iterator[str]:
    """File names, one a line, from a file or standard input."""
    if source == STDIN:
        yield from _lines(sys.stdin)
        return
    try:
        with open(source, errors="surrogateescape") as file:  # noqa: PTH123 - as above
            yield from _lines(file)
    except OSError as error:
        raise click.UsageError(f"{source}: {error.strerror}") from None


def _lines(file: Iterable[str]) -> Iterator[str]:
    for line in file:
        if name := line.rstrip("\r\n"):
            yield name


def _from_file(name: str, content_type: str | None) -> Input | None:
    if name == STDIN:
        return Input(data=sys.stdin.buffer.read(limits.BATCH_BYTES + 1), content_type=content_type)
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 - a Path a file costs much for many
    except OSError as error:
        hint = " (a payload goes with --payload)" if name[:1] in {"{", "[", '"'} else ""
        raise click.UsageError(f"{name}: {error.strerror}{hint}") from None
    if stat.S_ISDIR(mode):
        return None
    if not os.access(name, os.R_OK):
        raise click.UsageError(f"{name}: cannot be read")
    return Input(name=name, content_type=content_type or _guess(name))


def _guess(name: str) -> str:
    kind, encoding = mimetypes.guess_type(name)
    return _BYTES if kind is None or encoding is not None else kind
