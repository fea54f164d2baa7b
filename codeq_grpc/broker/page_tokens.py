"""Page tokens: opaque to callers, bound to what they belong to, good on every server.

A token is the place where a list goes on, and before it 8 bytes of digest of the place and of what
the token is bound to. The digest has no key: who forges one must find nothing that is not his, nor
make a script stumble.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

_DIGEST: Final = 8


def page_token(bound_to: bytes, where: bytes) -> str:
    """The token of a place."""
    return urlsafe_b64encode(_digest(bound_to, where) + where).decode().rstrip("=")


def place_of(bound_to: bytes, token: str) -> bytes | None:
    """The place that `page_token` was given; None for whatever it has not made."""
    try:
        raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except ValueError:
        return None
    where = raw[_DIGEST:]
    # Decoding is lenient: only one spelling is a token.
    spelled = urlsafe_b64encode(raw).decode().rstrip("=") == token
    known = spelled and where and raw[:_DIGEST] == _digest(bound_to, where)
    return where if known else None


def _digest(bound_to: bytes, where: bytes) -> bytes:
    return hashlib.blake2b(bound_to + where, digest_size=_DIGEST).digest()
