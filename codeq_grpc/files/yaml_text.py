"""YAML as text and as values, with the place of each value.

It is the YAML of version 1.2, of which JSON is a part: only true and false are booleans, and a time
is a text. What is written is read alike by parsers of version 1.1.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]
"""Keys and indexes from the outermost value to the one that is meant."""

_MORE_MAX: Final = 100_000
"""Values beyond one a letter: an alias stands for all that it names, and few lines could become
more than memory."""
_DEPTH_MAX: Final = 100
_PREFIX: Final = "tag:yaml.org,2002:"
_SCALARS: Final[dict[str, tuple[str, str]]] = {
    "null": (r"~|null|Null|NULL|", "~nN"),
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
}
"""What is no text: its form, and the letters that it may begin with. JSON knows no infinity."""


class BadFile(ValueError):
    """The text cannot be read; `line` and `column` begin with 1."""

    def __init__(self, problem: str, line: int, column: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.column = column


class Document(NamedTuple):
    """What a text says, and in which line each of its values begins."""

    value: object
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """Where a value stands, or what would hold it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}  # noqa: RUF012 - as yaml has it


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Puts in quotes what either version of YAML would not take for text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as yaml has it
        first: list(found) for first, found in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - yaml's signature
        return True


for _name, (_form, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            _PREFIX + _name,
            re.compile(f"(?:{_form})\\Z"),
            [*_first, ""] if _name == "null" else list(_first),
        )


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    node: yaml.ScalarNode = dumper.represent_scalar(f"{_PREFIX}str", text, style=style)
    return node


_Dumper.add_representer(str, _represent_text)


def read(text: str) -> Document:
    """Reads one document.

    Raises:
        BadFile: It is not YAML, or uses what is not wanted here: tags, keys that are no text, the
            same key twice.
    """
    try:
        _check_depth(text)
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = ", ".join(filter(None, (error.context, error.problem))) or "cannot be read"
        line, column = _at(mark)
        line = min(line, len(text.splitlines()))  # the end of the text is not in a line
        raise BadFile(f"is not YAML: {told}", line, column) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise BadFile(f"is not YAML: {error.reason}", line, 1) from None
    if node is None:
        return Document(None, {(): 1})
    building = _Building(len(text) + _MORE_MAX)
    return Document(building.value(node, ()), building.lines)


def _check_depth(text: str) -> None:
    """What makes nodes of deeper text would end the process."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEPTH_MAX:
                raise BadFile("is too deep", *_at(event.start_mark))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def write(value: object) -> str:
    """Text of a value: keys in their order, one line for each, long texts as they are."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=100,
    )
    return text


class _Building:
    """Makes values of nodes."""

    def __init__(self, most: int) -> None:
        self.lines: dict[Path, int] = {}
        self._left = most

    def value(self, node: yaml.Node, path: Path) -> object:
        self.lines[path] = node.start_mark.line + 1
        self._left -= 1
        if self._left < 0 or len(path) > _DEPTH_MAX:
            raise _bad(node, "has too much in it; does an alias name what it stands in?")
        if isinstance(node, yaml.MappingNode):
            _check_tag(node, "map")
            return dict(self._pairs(node, path))
        if isinstance(node, yaml.SequenceNode):
            _check_tag(node, "seq")
            return [self.value(each, (*path, at)) for at, each in enumerate(node.value)]
        return _scalar(node)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        seen = set()
        for key_node, value_node in node.value:
            key = _key(key_node)
            if key in seen:
                raise _bad(key_node, f"{key!r} is there twice")
            seen.add(key)
            found = self.value(value_node, (*path, key))
            self.lines[*path, key] = key_node.start_mark.line + 1
            yield key, found


def _key(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        raise _bad(node, "a text with {{...}} needs quotes: '{{fire_time}}'")
    if not isinstance(node, yaml.ScalarNode) or node.tag != f"{_PREFIX}str":
        raise _bad(node, f"{node.value!r} as a name needs quotes")
    key: str = node.value
    return key


def _scalar(node: yaml.Node) -> object:
    content: str = node.value
    kind = node.tag.removeprefix(_PREFIX)
    if kind == "null":
        return None
    if kind == "bool":
        return content.lower() == "true"
    if kind in {"int", "float"}:
        try:
            return _number(content, whole=kind == "int")
        except ValueError as error:
            raise _bad(node, str(error)) from None
    _check_tag(node, "str")
    return content


def _number(content: str, *, whole: bool) -> float:
    if whole:
        return int(content, 0 if content[:2] in {"0o", "0x"} else 10)
    number = float(content)
    if not math.isfinite(number):
        raise ValueError(f"{content} is too large a number")
    return number


def _check_tag(node: yaml.Node, kind: str) -> None:
    if node.tag != _PREFIX + kind:
        raise _bad(node, f"the tag {node.tag!r} is not known here")


def _bad(node: yaml.Node, problem: str) -> BadFile:
    return BadFile(problem, node.start_mark.line + 1, node.start_mark.column + 1)
