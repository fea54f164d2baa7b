"""What the claims of a verified caller say about it, by rules from the settings.

Unknown values give nothing; what contradicts itself is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codeq_grpc.core.principal import COMMAND_PATTERN, ROLES, TENANT_NAME, Principal, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECT_CHARS: Final = 255
COMMANDS: Final = 64
"""Patterns of one caller."""
_SCOPES: Final[dict[str, Scope]] = {scope.value: scope for scope in Scope}


class Refused(ValueError):
    """Why a credential is refused: for the log of the server, never for the caller."""


def look_up(claims: Any, path: str) -> Any:
    """A claim by its dotted path, or None. Names may have dots themselves (they often are URLs):
    the longest one that is there counts.
    """
    if not isinstance(claims, dict):
        return None
    end = len(path)
    while end > 0:
        if path[:end] in claims:
            found = claims[path[:end]]
            return look_up(found, path[end + 1 :]) if end < len(path) else found
        end = path.rfind(".", 0, end)
    return None


def words(value: Any) -> list[str]:
    """The values of a claim that is a list, or a text with spaces between them (OAuth's scope)."""
    if isinstance(value, str):
        return [word for word in value.split(" ") if word]
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRules:
    """How claims become a principal. Paths are dotted; an empty one stands for no claim.

    `tenant` is fixed, or those of `tenant_claims` that are there agree. `tenants`, unless empty,
    are the only ones to be spoken for. `granted` has everybody; `role_map`, if there is one, makes
    values of the roles claim names of `roles`.
    """

    subject: str
    tenant: str = ""
    tenant_claims: tuple[str, ...] = ()
    tenants: frozenset[str] = frozenset()
    roles: Mapping[str, frozenset[Scope]] = field(default_factory=lambda: ROLES)
    roles_claim: str = ""
    role_map: Mapping[str, str] | None = None
    scopes_claim: str = ""
    granted: frozenset[Scope] = frozenset()
    commands_claim: str = ""
    commands: tuple[str, ...] = ()

    def principal(
        self, claims: Mapping[str, Any], *, credential: str, expires_at: float, check_again: float
    ) -> Principal:
        """Who that is. Raises Refused."""
        scopes, commands = self._scopes(claims), self.commands
        if self.commands_claim:
            commands = self._commands(claims)
            # No patterns would stand for all commands.
            scopes = scopes if commands else frozenset()
        return Principal(
            subject=self._subject(claims),
            tenant=self._tenant(claims),
            scopes=scopes,
            commands=commands,
            credential=credential,
            expires_at=expires_at,
            check_again=check_again,
        )

    def _subject(self, claims: Mapping[str, Any]) -> str:
        found = look_up(claims, self.subject)
        if not isinstance(found, str) or not 0 < len(found) <= SUBJECT_CHARS:
            raise Refused(f"{self.subject} is not 1 to {SUBJECT_CHARS} characters")
        if not found.isprintable() or found != found.strip():
            raise Refused(f"{self.subject} has characters that no subject has")
        return found

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        if self.tenant:
            return self.tenant
        values = (look_up(claims, path) for path in self.tenant_claims)
        found = [value for value in values if value is not None]
        if not found:
            raise Refused("no claim names a tenant")
        tenant = found[0]
        if not isinstance(tenant, str) or not TENANT_NAME.fullmatch(tenant):
            raise Refused("a claim names what cannot be a tenant")
        if any(other != tenant for other in found):
            raise Refused("claims name different tenants")
        if self.tenants and tenant not in self.tenants:
            raise Refused("the tenant is not one of those that this issuer speaks for")
        return tenant

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[Scope]:
        found = set(self.granted)
        if self.roles_claim:
            for word in words(look_up(claims, self.roles_claim)):
                role = word if self.role_map is None else self.role_map.get(word, "")
                found |= self.roles.get(role, frozenset())
        if self.scopes_claim:
            given = words(look_up(claims, self.scopes_claim))
            found |= {_SCOPES[word] for word in given if word in _SCOPES}
        return frozenset(found)

    def _commands(self, claims: Mapping[str, Any]) -> tuple[str, ...]:
        given = words(look_up(claims, self.commands_claim))
        found = tuple(word for word in given if COMMAND_PATTERN.fullmatch(word))
        if len(found) > COMMANDS:
            raise Refused(f"{self.commands_claim} has more than {COMMANDS} commands")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who signs tokens, and what must be in these. Its keys are at `jwks_url`, or the only one is
    `public_key` (PEM). Without `token_types` the usual ones are taken. Times in seconds.
    """

    name: str
    audiences: frozenset[str]
    algorithms: frozenset[str]
    rules: ClaimRules
    jwks_url: str = ""
    public_key: str = ""
    token_types: frozenset[str] = frozenset()
    leeway: int = 30
    max_lifetime: int = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """An identity service that is asked about each token, and what its answers mean."""

    url: str
    api_key: str = field(repr=False)
    rules: ClaimRules
