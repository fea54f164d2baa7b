"""Placeholders like `{{fire_time}}`: filled in, once, by name; nothing is evaluated.

A name that is not known stays as it is, and what is filled in is not looked at again.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXT: Final = re.compile(r"\{\{([a-z_]+)\}\}")
_OPEN: Final = b"{{"
_STRING: Final = re.compile(rb'"((?:[^"\\]++|\\.)*+)("|\\?\Z)([ \t\r\n]*+:)?', re.DOTALL)
"""A string of JSON, and whether it is a key. One that does not end goes on to the end of the text,
so that no input is looked at again and again.
"""
_WITHIN: Final = re.compile(rb"\\.|\{\{([a-z_]+)\}\}", re.DOTALL)
"""An escape is one thing: what follows its backslash begins no placeholder."""


def fill(text: str, values: Mapping[str, str]) -> str:
    """A text with its placeholders filled in."""
    return _TEXT.sub(lambda found: values.get(found[1], found[0]), text)


def fill_json(payload: bytes, values: Mapping[str, str]) -> bytes:
    """A document with the placeholders in its string values filled in; keys and all other bytes
    stay as they are.
    """
    if _OPEN not in payload:
        return payload
    escaped = {name.encode(): _escaped(value) for name, value in values.items()}

    def within(found: re.Match[bytes]) -> bytes:
        return escaped.get(found[1], found[0])

    def string(found: re.Match[bytes]) -> bytes:
        whole = found[0]
        if found[3] is not None or found[2] != b'"' or _OPEN not in whole:
            return whole
        return b'"' + _WITHIN.sub(within, found[1]) + b'"'

    return _STRING.sub(string, payload)


def _escaped(value: str) -> bytes:
    return json.dumps(value)[1:-1].encode()
