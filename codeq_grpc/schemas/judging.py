"""What a JSON Schema says of a text.

Draft 2020-12, as it is by default: `format` is a note and no check. Patterns are matched in linear
time; they have no look-around and no back references. References lead nowhere outside the schema:
nothing is ever fetched or read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Never

import jsonschema_rs

if TYPE_CHECKING:
    from collections.abc import Iterable

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_REGEX_BYTES: Final = 1 << 20
"""Of a pattern when it is compiled, and of what is kept while it is matched."""
_HALVES: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""What halves of surrogate pairs are written by, and whole pairs: nothing else makes any."""
_POINTER_CHARS: Final = 200
_MESSAGE_CHARS: Final = 300
_PATTERNS: Final = "patterns have no look-around and no back references, and are not huge"

Validator = jsonschema_rs.Draft202012Validator


class Problem(NamedTuple):
    """Where, as a JSON pointer, and what is wrong. Values are not shown, names may be."""

    pointer: str
    message: str

    def __str__(self) -> str:
        return f"{self.pointer}: {self.message}" if self.pointer else self.message


class NotJson(ValueError):
    """The text is not JSON, or not such as everybody reads alike."""


def read(text: bytes) -> Any:
    """JSON in UTF-8, as RFC 8259 has it; two members of one name would be read differently by
    different readers, who could be shown different payloads. Raises NotJson.
    """
    if not text:
        raise NotJson("is empty, which is not JSON")
    try:
        value = json.loads(
            text.decode(),
            object_pairs_hook=_members,
            parse_float=_number,
            parse_constant=_no_constant,
        )
        # The validator itself notices those only which it comes to.
        if _HALVES.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJson("has half of a surrogate pair, which is no character") from None
    except UnicodeDecodeError:
        raise NotJson("is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise NotJson(f"is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise NotJson("is nested too deeply") from None
    except NotJson:
        raise
    except ValueError:
        raise NotJson("has a number of too many digits") from None
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise NotJson("has an object with two members of one name")
    return members


def _number(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise NotJson("has a number that is out of range")
    return number


def _no_constant(name: str) -> Never:
    raise NotJson(f"has {name}, which is not JSON")


def compiled(text: bytes) -> Validator | Problem:
    """A schema that can be asked, or what is wrong with it."""
    try:
        schema = read(text)
    except NotJson as error:
        return Problem("", str(error))
    if not isinstance(schema, dict | bool):
        return Problem("", "must be an object, or true or false")
    if isinstance(schema, dict) and schema.get("$schema", _DRAFT) not in (_DRAFT, f"{_DRAFT}#"):
        return Problem("/$schema", f"must be {_DRAFT}, or not be there")
    options = jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)
    try:
        return Validator(
            schema,
            offline=True,
            validate_formats=False,
            pattern_options=options,
            mask="the value",
        )
    except jsonschema_rs.ValidationError as error:
        problem = _problem(error)
        if error.kind.name == "format":
            problem = problem._replace(message=f"{problem.message}; {_PATTERNS}")
        return problem
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        return Problem("", _clip(str(error), _MESSAGE_CHARS))


def judge(validator: Validator, text: bytes) -> Problem | None:
    """What is wrong with a payload; the first of it."""
    try:
        value = read(text)
        if validator.is_valid(value):
            return None
        validator.validate(value)
    except NotJson as error:
        return Problem("", str(error))
    except jsonschema_rs.ValidationError as error:
        return _problem(error)
    return Problem("", "is not valid")


def _problem(error: jsonschema_rs.ValidationError) -> Problem:
    return Problem(
        _clip(_pointer(error.instance_path), _POINTER_CHARS), _clip(error.message, _MESSAGE_CHARS)
    )


def _pointer(path: Iterable[str | int]) -> str:
    """As RFC 6901 writes it."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _clip(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "..."
