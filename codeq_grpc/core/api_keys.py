"""API keys: their form, what is known of one, and what its maker may give away.

A key reads `cqk_<id>_<secret><checksum>`: 12 characters that name it, 43 that nobody can guess (256
bits), 6 by which a mistyped or invented one is refused unseen, and found by scanners for secrets.
The whole of it is hashed; SHA-256 will do for what has so many random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.principal import matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq_grpc.core.principal import Scope

PREFIX: Final = "cqk_"
_LOWER: Final = string.digits + string.ascii_lowercase
_CHARS: Final = _LOWER + string.ascii_uppercase
_ID_CHARS: Final = 12
_SECRET_CHARS: Final = 43
_CHECKSUM_CHARS: Final = 6
_KEY: Final = re.compile(
    rf"{PREFIX}([0-9a-z]{{{_ID_CHARS}}})_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECKSUM_CHARS}}}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it is stored. Times by the store's clock, in ms, 0 for never; `used_ms` to the
    minute; no commands are all commands.
    """

    key_id: str
    tenant: str
    name: str
    scopes: frozenset[Scope]
    commands: tuple[str, ...]
    created_by: str
    created_ms: int
    expires_ms: int
    revoked_ms: int
    used_ms: int
    digest: bytes = field(repr=False)


class Wanted(NamedTuple):
    """What somebody wants a new key to be like; a life of 0 ms has no end."""

    name: str
    scopes: frozenset[Scope]
    commands: tuple[str, ...]
    life_ms: int


def new_key() -> tuple[str, str]:
    """Id and text of a new key."""
    key_id = _random(_LOWER, _ID_CHARS)
    return key_id, sealed(f"{PREFIX}{key_id}_{_random(_CHARS, _SECRET_CHARS)}")


def sealed(text: str) -> str:
    """A text and its checksum."""
    left, chars = zlib.crc32(text.encode()), []
    for _ in range(_CHECKSUM_CHARS):
        left, at = divmod(left, len(_CHARS))
        chars.append(_CHARS[at])
    return text + "".join(chars)


def id_of(text: str) -> str | None:
    """The id of a text that can be a key."""
    found = _KEY.fullmatch(text)
    if found is None or sealed(text[:-_CHECKSUM_CHARS]) != text:
        return None
    return found.group(1)


def digest_of(text: str) -> bytes:
    """What is stored of a key's text."""
    return hashlib.sha256(text.encode()).digest()


def uncovered(commands: Iterable[str], patterns: tuple[str, ...]) -> int | None:
    """The place of the first command, or pattern of them, that no pattern covers. Without patterns
    all are covered.
    """
    for i, command in enumerate(commands):
        if patterns and not any(matches(pattern, command) for pattern in patterns):
            return i
    return None


def is_within(commands: tuple[str, ...], patterns: tuple[str, ...]) -> bool:
    """Whether patterns allow all that `commands` do, where none are all."""
    return not patterns or (bool(commands) and uncovered(commands, patterns) is None)


def _random(alphabet: str, count: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))
