"""Makes a credential a principal, in one way only: which one, its form tells.

A credential that one way refuses is refused; no other way is tried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from codeq_grpc.auth.credentials import Credential, Source, read_credential
from codeq_grpc.auth.permissions import ALSO, PERMISSIONS, Access
from codeq_grpc.core.clock import now
from codeq_grpc.core.errors import CredentialExpired, CredentialInvalid, ScopeMissing
from codeq_grpc.core.principal import Principal, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codeq_grpc.auth.tokens import Tokens

    Metadata = Iterable[tuple[str, str | bytes]]


class Way(Protocol):
    """One kind of credential."""

    def takes(self, credential: Credential) -> bool:
        """Whether a credential has the form of this kind: quick, and without asking anybody."""

    async def verify(self, credential: Credential) -> Principal:
        """Whose it is. Raises CredentialInvalid, CredentialExpired, or IdentityUnavailable or
        StoreUnavailable when that cannot be told now. Soon cancelled if the caller leaves.
        """


class Authenticator:
    """Verifies credentials, and holds RPCs against the table of permissions.

    A credential goes to the first of `ways` that takes it; what is left over is a static token.
    """

    def __init__(self, tokens: Tokens, ways: Sequence[Way] = ()) -> None:
        self._tokens = tokens
        self._ways = tuple(ways)

    async def verify(self, credential: Credential) -> Principal:
        """Whose it is. Raises CredentialInvalid, CredentialExpired, IdentityUnavailable or
        StoreUnavailable.
        """
        if credential.source is Source.BEARER:
            principal = self._tokens.find(credential.text)
            if principal is not None:
                return principal
        for way in self._ways:
            if way.takes(credential):
                principal = await way.verify(credential)
                if principal.expires_at <= now().timestamp():
                    raise CredentialExpired.of(principal)
                return principal
        raise CredentialInvalid

    async def authenticate(self, metadata: Metadata) -> tuple[Principal, Credential]:
        """The caller, and by what."""
        credential = read_credential(metadata)
        return await self.verify(credential), credential


def needed_by(method: str) -> Scope | Access:
    """What a method asks for. One that is not in the table needs a credential too: what exists
    stays hidden.
    """
    return PERMISSIONS.get(method, Access.ANY_CREDENTIAL)


def check_scope(method: str, needed: Scope | Access, principal: Principal) -> None:
    """Raises ScopeMissing when a principal may not call a method."""
    for scope in (needed, ALSO.get(method)):
        if isinstance(scope, Scope) and scope not in principal.scopes:
            raise ScopeMissing(
                f"this call needs the scope {scope.value}",
                metadata={"scope": scope.value, "method": method},
            )
