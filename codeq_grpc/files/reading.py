"""Files of settings as they are read: what is wrong with them is told by line and field."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError

from codeq_grpc.files import yaml_text
from codeq_grpc.files.model import VERSION, File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codeq_grpc.files.yaml_text import Document, Path

_PART: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_KINDS: Final = {
    "string_type": "must be a text; one that looks like something else needs quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must have names and values",
    "model_type": "must have names and values",
    "missing": "is missing",
    "greater_than_equal": "must not be negative",
    "less_than_equal": "is too large a number",
}
"""What pydantic calls it -> what people are told."""


class Problem(NamedTuple):
    """What is wrong, and where; the field may be empty."""

    line: int
    field: str
    told: str

    def text(self, name: str) -> str:
        """As compilers write it, of a file of this name."""
        return ": ".join(filter(None, (f"{name}:{self.line}", self.field, self.told)))


class BadSettings(ValueError):
    """A file cannot be used; `problems` has all that is wrong with it."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("the file cannot be used")
        self.problems = problems


class Settings(NamedTuple):
    """What a file says, and where."""

    file: File
    document: Document

    def problem(self, path: Path, told: str) -> Problem:
        """Something that is wrong with a value, as a server has found out."""
        return Problem(self.document.line(path), field_of(path), told)


def read(text: str) -> Settings:
    """Reads a file.

    Raises:
        BadSettings: It is not YAML, or not settings.
    """
    try:
        document = yaml_text.read(text)
    except yaml_text.BadFile as error:
        raise BadSettings([Problem(error.line, "", error.problem)]) from None
    value = document.value
    if not isinstance(value, dict):
        problem = f"has no settings; they begin with `version: {VERSION}`"
        raise BadSettings([Problem(1, "", problem)])
    if (version := value.get("version")) != VERSION:
        told = "is missing" if version is None else f"{version!r} is of another codeQ"
        problem = f"{told}: this one knows version {VERSION}"
        raise BadSettings([Problem(document.line(("version",)), "version", problem)])
    try:
        return Settings(File.model_validate(value), document)
    except ValidationError as error:
        raise BadSettings(sorted(_problems(error, document))) from None


def field_of(path: Path) -> str:
    """A path as people write it: `schedules.nightly.spec.crons[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def path_of(field: str) -> Path:
    """The path of a field that a server names, without its first word, which is the message."""
    parts = [name or int(index) for name, index in _PART.findall(field)]
    return tuple(parts[1:])


def _problems(error: ValidationError, document: Document) -> Iterator[Problem]:
    for one in error.errors(include_url=False):
        path = tuple(part for part in one["loc"] if part != "[key]")
        line = document.line(path)
        yield Problem(line, field_of(path), _told(one["type"], path, one))


def _told(kind: str, path: Path, one: Any) -> str:
    if kind == "value_error":
        return str(one["ctx"]["error"])
    if kind == "literal_error":
        expected: str = one["ctx"]["expected"]
        return f"must be {expected.replace(chr(39), '')}"
    if kind == "extra_forbidden":
        near = get_close_matches(str(path[-1]), _fields(path[:-1]), n=1)
        return "there is no such field" + (f"; is it {near[0]}?" if near else "")
    return _KINDS.get(kind, str(one["msg"]))


def _fields(path: Path) -> list[str]:
    """Names that fit at a path, of which the second part is the name of an entry."""
    model: type[BaseModel] = File
    for part in (*path[:1], *path[2:]):
        found = _models(model.model_fields[part].annotation) if part in model.model_fields else []
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models within an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for each in getattr(annotation, "__args__", ()) for found in _models(each)]
