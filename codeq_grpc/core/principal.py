"""Who calls, and what that caller may do."""

from __future__ import annotations

import enum
import math
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

TENANT_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Tenants stand in key names and log lines, hence the narrow alphabet."""


class Scope(enum.StrEnum):
    """A right. RPCs ask for one each (`codeq_grpc.auth.permissions`)."""

    TASKS_ENQUEUE = "tasks.enqueue"
    TASKS_READ = "tasks.read"
    TASKS_CANCEL = "tasks.cancel"
    LEASES_CLAIM = "leases.claim"
    QUEUES_READ = "queues.read"
    QUEUES_ADMIN = "queues.admin"
    KEYS_ADMIN = "keys.admin"
    AUDIT_READ = "audit.read"
    SCHEDULES_READ = "schedules.read"
    SCHEDULES_WRITE = "schedules.write"
    SCHEDULES_TRIGGER = "schedules.trigger"


ROLES: Final[dict[str, frozenset[Scope]]] = {
    "producer": frozenset(
        {
            *(Scope.TASKS_ENQUEUE, Scope.TASKS_READ, Scope.TASKS_CANCEL),
            *(Scope.SCHEDULES_READ, Scope.SCHEDULES_WRITE, Scope.SCHEDULES_TRIGGER),
        }
    ),
    "worker": frozenset({Scope.LEASES_CLAIM, Scope.TASKS_READ}),
    "viewer": frozenset({Scope.TASKS_READ, Scope.QUEUES_READ, Scope.SCHEDULES_READ}),
    "operator": frozenset(
        {
            *(Scope.TASKS_READ, Scope.TASKS_CANCEL, Scope.AUDIT_READ),
            *(Scope.QUEUES_READ, Scope.QUEUES_ADMIN),
            *(Scope.SCHEDULES_READ, Scope.SCHEDULES_WRITE, Scope.SCHEDULES_TRIGGER),
        }
    ),
    "admin": frozenset(Scope),
}
"""Role -> scopes."""


COMMAND_PATTERN: Final = re.compile(r"[A-Za-z0-9._:*-]{1,128}")
"""A command, or a pattern of commands: `*` stands for any characters, or none."""


def matches(pattern: str, command: str) -> bool:
    """Whether a pattern covers a command; as text, another pattern it covers is one of which it
    covers every command. Takes time linear in the command for each `*`.
    """
    head, *parts = pattern.split("*")
    if not parts:
        return pattern == command
    if not command.startswith(head):
        return False
    at = len(head)
    *middle, tail = parts
    for part in middle:
        found = command.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(command) - len(tail) >= at and command.endswith(tail)


class Reach(NamedTuple):
    """Whose tasks, and of which commands: beyond it a caller sees and changes nothing. Without
    patterns, of all commands.
    """

    tenant: str
    patterns: tuple[str, ...] = ()

    def has(self, command: str) -> bool:
        """Whether a command is within."""
        return not self.patterns or any(matches(pattern, command) for pattern in self.patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified caller. All of it comes from the credential, never from other headers.

    `credential` tells which one it was, for people: its kind, and its public name if it has one.
    `expires_at` is by this server's clock, in Unix seconds. `check_again`, in seconds, is how old
    what was verified may become: calls that last longer have the credential verified anew.
    """

    subject: str
    tenant: str
    scopes: frozenset[Scope]
    commands: tuple[str, ...] = ()
    credential: str = "token"
    expires_at: float = math.inf
    check_again: float = math.inf

    @property
    def reach(self) -> Reach:
        """What it sees."""
        return Reach(self.tenant, self.commands)

    @property
    def lasting(self) -> bool:
        """Whether it is good for as long as the server runs."""
        return self.expires_at == self.check_again == math.inf
