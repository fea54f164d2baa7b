"""Static bearer tokens. Only their SHA-256 is kept, which suffices for random tokens."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.core.errors import CredentialInvalid, CredentialMissing, ScopeMissing
from codeq_grpc.core.principal import Principal, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/=-]{1,512})", re.IGNORECASE)


def hash_token(token: str) -> str:
    """How a token is kept: hex of the SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens:
    """Known tokens: hash -> principal."""

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        self._principals = dict(principals)

    def authenticate(self, metadata: Iterable[tuple[str, str | bytes]]) -> Principal:
        """The caller. Nothing but the one `authorization` entry counts; two are refused."""
        values = [value for key, value in metadata if key == "authorization"]
        if not values:
            raise CredentialMissing
        match = _BEARER.fullmatch(values[0]) if isinstance(values[0], str) else None
        if len(values) > 1 or match is None:
            raise CredentialInvalid
        principal = self._principals.get(hash_token(match.group(1)))
        if principal is None:
            raise CredentialInvalid
        return principal

    def authorize(
        self, method: str, metadata: Iterable[tuple[str, str | bytes]]
    ) -> Principal | None:
        """The caller, None for open methods; raises when the credential does not allow it. A
        method that is not in the table needs a credential too: what exists stays hidden.
        """
        needed = PERMISSIONS.get(method, Access.ANY_CREDENTIAL)
        if needed is Access.OPEN:
            return None
        principal = self.authenticate(metadata)
        if isinstance(needed, Scope) and needed not in principal.scopes:
            raise ScopeMissing(
                f"this call needs the scope {needed.value}",
                metadata={"scope": needed.value, "method": method},
            )
        return principal
