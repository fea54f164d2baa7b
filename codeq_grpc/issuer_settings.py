"""Issuers of signed tokens and the identity service, as people write them in settings."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from codeq_grpc.core.claims import ClaimRules, Issuer, Lookup
from codeq_grpc.core.principal import ROLES
from codeq_grpc.identity_settings import Rights, check_tenant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.identity_settings import Roles

_Name = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s\x00-\x1f\x7f]+$")]
_Claim = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^.\s]([^\s]*[^.\s])?$")]
_OLD_SCOPE: Final = ("producer", "worker")
"""What every user of the identity service may do where the settings do not say: what the scheduler
before codeQ let all of them do. No claim, and no header, makes one an admin."""


class Claims(Rights):
    """What the claims of an issuer's users mean; the rights that stand here have all of them."""

    subject_claim: _Claim = "sub"
    tenant: str = ""
    tenant_claims: tuple[_Claim, ...] = Field(default=(), max_length=8)
    tenants: tuple[str, ...] = ()
    roles_claim: _Claim | None = None
    role_map: dict[str, str] | None = None
    scopes_claim: _Claim | None = None
    commands_claim: _Claim | None = None

    @field_validator("tenant")
    @classmethod
    def _tenant(cls, value: str) -> str:
        return check_tenant(value) if value else value

    @field_validator("tenants")
    @classmethod
    def _tenants(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_tenant(one) for one in value)

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if self.tenant and (self.tenant_claims or self.tenants):
            raise ValueError("tenant: is fixed, so tenant_claims and tenants mean nothing")
        if self.role_map is not None and self.roles_claim is None:
            raise ValueError("role_map: of which roles_claim?")
        if self.commands and self.commands_claim:
            raise ValueError("commands: they come from commands_claim")
        return self

    def problem(self, roles: Roles) -> str | None:
        """What is wrong with it among these roles, if anything: the field and why."""
        if not self.tenant and not self.tenant_claims:
            return "tenant_claims: must be given, or tenant"
        unknown = self.unknown_role(roles)
        if unknown is not None:
            return f"roles: unknown role {unknown!r}, known are {', '.join(roles)}"
        mapped = (self.role_map or {}).values()
        unknown = next((role for role in mapped if role not in roles), None)
        if unknown is not None:
            return f"role_map: unknown role {unknown!r}, known are {', '.join(roles)}"
        if not (self.granted(roles) or self.roles_claim or self.scopes_claim):
            return "roles: must be given, or scopes, roles_claim or scopes_claim: nobody could call"
        return None

    def rules(self, roles: Roles = ROLES) -> ClaimRules:
        """The same for the server."""
        return ClaimRules(
            subject=self.subject_claim,
            tenant=self.tenant,
            tenant_claims=self.tenant_claims,
            tenants=frozenset(self.tenants),
            roles=roles,
            roles_claim=self.roles_claim or "",
            role_map=self.role_map,
            scopes_claim=self.scopes_claim or "",
            granted=self.granted(roles),
            commands_claim=self.commands_claim or "",
            commands=self.commands,
        )


class IssuerEntry(Claims):
    """One issuer of signed tokens."""

    issuer: _Name
    audiences: tuple[_Name, ...] = Field(min_length=1)
    algorithms: tuple[Literal["RS256", "ES256", "EdDSA"], ...] = Field(min_length=1)
    jwks_url: str = ""
    public_key: str = ""
    token_types: tuple[_Name, ...] = ()
    leeway_seconds: int = Field(30, ge=0, le=60)
    max_lifetime_seconds: int = Field(86_400, ge=60, le=2_678_400)

    @model_validator(mode="before")
    @classmethod
    def _read_key(cls, given: Any) -> Any:
        """`public_key_file` is read once, and by the parent of several servers only."""
        if not isinstance(given, dict) or not given.get("public_key_file"):
            return given
        rest = {name: value for name, value in given.items() if name != "public_key_file"}
        path = given["public_key_file"]
        if rest.get("public_key"):
            raise ValueError("public_key: either the key or its file")
        try:
            return {**rest, "public_key": Path(path).read_text(encoding="ascii")}
        except (OSError, ValueError, TypeError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise ValueError(f"public_key_file: cannot be read: {reason}") from None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.jwks_url) == bool(self.public_key):
            raise ValueError("jwks_url: must be given, or public_key, and not both")
        if self.public_key:
            # Only who names a key needs to load what reads it.
            from codeq_grpc.public_keys import UnusableKey, from_pem  # noqa: PLC0415

            try:
                algorithm = from_pem(self.public_key).algorithm
            except UnusableKey as error:
                raise ValueError(f"public_key: {error}") from None
            if set(self.algorithms) != {algorithm}:
                raise ValueError(f"algorithms: the public key is for {algorithm}")
        return self

    def known(self, roles: Roles) -> Issuer:
        """The same for the server."""
        return Issuer(
            name=self.issuer,
            audiences=frozenset(self.audiences),
            algorithms=frozenset(self.algorithms),
            rules=self.rules(roles),
            jwks_url=self.jwks_url,
            public_key=self.public_key,
            token_types=frozenset(one.lower() for one in self.token_types),
            leeway=self.leeway_seconds,
            max_lifetime=self.max_lifetime_seconds,
        )


class IdentityClaims(Claims):
    """What the answers of the identity service mean. Its users are those of one tenant, or
    `tenantId` tells; they are producers and workers, if nothing else is said.
    """

    subject_claim: _Claim = "localId"

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        more: dict[str, Any] = {}
        if not given.get("tenant") and not given.get("tenant_claims"):
            more["tenant_claims"] = ("tenantId",)
        if not any(given.get(one) for one in ("roles", "scopes", "roles_claim", "scopes_claim")):
            more["roles"] = _OLD_SCOPE
        return {**given, **more}

    def lookup(self, url: str, api_key: str, roles: Roles) -> Lookup:
        """The same for the server."""
        return Lookup(url=url, api_key=api_key, rules=self.rules(roles))


def check_identities(
    issuers: Sequence[IssuerEntry],
    service: tuple[str, IdentityClaims],
    roles: Roles,
    *,
    allow_http: bool,
) -> None:
    """Raises ValueError for what only shows when all is known; names the place."""
    seen = set()
    for i, entry in enumerate(issuers):
        place = f"issuers.{i}"
        if entry.issuer in seen:
            raise ValueError(f"{place}.issuer: is there twice")
        seen.add(entry.issuer)
        problem = entry.problem(roles)
        if problem is not None:
            raise ValueError(f"{place}.{problem}")
        if entry.jwks_url:
            _check_url(f"{place}.jwks_url", entry.jwks_url, allow_http=allow_http)
    url, claims = service
    problem = claims.problem(roles)
    if problem is not None:
        raise ValueError(f"identity_claims.{problem}")
    if url:
        _check_url("identity_service_url", url, allow_http=allow_http)
        if urlsplit(url).query:
            raise ValueError("identity_service_url: must not have a query")


def _check_url(place: str, url: str, *, allow_http: bool) -> None:
    # Not shown: it may hold a password.
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"{place}: must be https://HOST/PATH") from None
    plain = all("!" <= character <= "~" for character in url)
    if parts.scheme not in {"https", "http"} or not host or not plain or port == 0:
        raise ValueError(f"{place}: must be https://HOST/PATH")
    if "@" in parts.netloc or "#" in url:
        raise ValueError(f"{place}: must not have user, password or fragment")
    if parts.scheme == "http" and not (allow_http or _is_loopback(host)):
        raise ValueError(f"{place}: must be https, unless it is this machine")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
