"""JSON that strangers wrote, and the form of signed tokens."""

from __future__ import annotations

import base64
import json
from typing import Any, Final, NoReturn

_TO_URL_SAFE: Final = str.maketrans("+/", "-_", "=")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def read_object(raw: bytes) -> dict[str, Any]:
    """The one object of a text in UTF-8, without doubt about its meaning: no member twice, no NaN.
    Raises ValueError.
    """
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - as all else that is wrong with it
    return found


class _Members(list[tuple[str, Any]]):
    """Of an object, in order, as often as they stand there."""


def claimed(text: str, name: str) -> list[Any]:
    """All values that a member has in the second segment of what may be a signed token, by the most
    generous reading. For telling whose it claims to be and when it claims to end, not for belief.
    """
    segments = text.split(".", 2)
    if len(segments) < 2:
        return []
    segment = segments[1].translate(_TO_URL_SAFE)
    try:
        raw = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        found = json.loads(raw, object_pairs_hook=_Members)
    except (ValueError, RecursionError):
        return []
    return [value for key, value in found if key == name] if isinstance(found, _Members) else []
