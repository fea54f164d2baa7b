"""Static bearer tokens. Only their SHA-256 is kept, which suffices for random tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq_grpc.auth.credentials import hash_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codeq_grpc.core.principal import Principal


class Tokens:
    """Known tokens: hash -> principal."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = dict(principals)

    def find(self, token: str) -> Principal | None:
        """Who has this token."""
        return self._principals.get(hash_token(token))
