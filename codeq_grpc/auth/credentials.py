"""The one credential of a call, read from its metadata.

Nothing else in the metadata says who calls: roles, tenants and users that a header names are not
looked at.
"""

from __future__ import annotations

import enum
import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from codeq_grpc.core.errors import CredentialInvalid, CredentialMissing

if TYPE_CHECKING:
    from collections.abc import Iterable

TOKEN_CHARS: Final = 8_192
_BEARER: Final = re.compile(rf"Bearer +([A-Za-z0-9._~+/=-]{{1,{TOKEN_CHARS}}})", re.IGNORECASE)
_API_KEY: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,512}")
_HEADERS: Final = frozenset({"authorization", "x-api-key"})


class Source(enum.Enum):
    """Where a credential stood."""

    BEARER = "authorization"
    API_KEY = "x-api-key"
    CERTIFICATE = "client certificate"


class Credential(NamedTuple):
    """What a caller showed. The text is a secret, unless it is the subject of a certificate."""

    source: Source
    text: str

    def __repr__(self) -> str:
        return f"Credential({self.source.value})"


def read_credential(metadata: Iterable[tuple[str, str | bytes]]) -> Credential:
    """The one credential. Raises CredentialMissing, and CredentialInvalid for several or for what
    cannot be one.
    """
    found = [(key, value) for key, value in metadata if key in _HEADERS]
    if not found:
        raise CredentialMissing
    if len(found) > 1:
        raise CredentialInvalid("send one credential, not several")
    key, value = found[0]
    if isinstance(value, str):
        if key == "authorization":
            match = _BEARER.fullmatch(value)
            if match is not None:
                return Credential(Source.BEARER, match.group(1))
        elif _API_KEY.fullmatch(value):
            return Credential(Source.API_KEY, value)
    raise CredentialInvalid


def shows_credential(metadata: Iterable[tuple[str, str | bytes]]) -> bool:
    """Whether there is anything that would be one, valid or not."""
    return any(key in _HEADERS for key, _ in metadata)


def hash_token(token: str) -> str:
    """How a token is kept: hex of the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(token.encode()).hexdigest()
