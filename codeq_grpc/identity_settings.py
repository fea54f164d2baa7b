"""Who may call, as people write it in settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from codeq_grpc.core.principal import COMMAND_PATTERN, ROLES, TENANT_NAME, Principal, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    Roles = Mapping[str, frozenset[Scope]]


class Entry(BaseModel):
    """What all entries are like: frozen, and nothing in them that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rights(Entry):
    """What somebody may do. No commands are all commands."""

    roles: tuple[str, ...] = ()
    scopes: tuple[Scope, ...] = ()
    commands: tuple[str, ...] = Field(default=(), max_length=64)

    @field_validator("commands")
    @classmethod
    def _commands(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = next((one for one in value if not COMMAND_PATTERN.fullmatch(one)), None)
        if wrong is not None:
            message = f"{wrong!r} must be 1 to 128 letters, digits and ._:-* characters"
            raise ValueError(message)
        return value

    def unknown_role(self, roles: Roles) -> str | None:
        """The first role that is none."""
        return next((role for role in self.roles if role not in roles), None)

    def granted(self, roles: Roles) -> frozenset[Scope]:
        """All scopes together."""
        return frozenset(self.scopes).union(*(roles[role] for role in self.roles))


class TokenEntry(Rights):
    """One known token."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    subject: str = Field(min_length=1, max_length=128)
    tenant: str

    @field_validator("tenant")
    @classmethod
    def _tenant(cls, value: str) -> str:
        return check_tenant(value)

    def principal(self, roles: Roles = ROLES) -> Principal:
        """Who this token is."""
        return Principal(
            subject=self.subject,
            tenant=self.tenant,
            scopes=self.granted(roles),
            commands=self.commands,
        )


def check_tenant(value: str) -> str:
    """A tenant's name."""
    if not TENANT_NAME.fullmatch(value):
        message = "must be 1 to 64 letters, digits and ._- characters"
        raise ValueError(message)
    return value
