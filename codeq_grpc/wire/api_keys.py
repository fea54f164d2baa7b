"""API keys as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from codeq.v1 import admin_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.api_keys import Wanted
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.principal import COMMAND_PATTERN, Scope
from codeq_grpc.wire.checks import check_text, duration_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codeq_grpc.core.api_keys import ApiKey

T = TypeVar("T")

_SCOPES: Final = {scope.value: scope for scope in Scope}
_GIVEN: Final = frozenset({"name", "scopes", "commands"})
_KEY_ID_CHARS: Final = 128


def wanted_of(request: pb.CreateApiKeyRequest, roles: Mapping[str, frozenset[Scope]]) -> Wanted:
    """What a checked request asks for. `roles` are those of this server."""
    key = request.key
    check_text(key.name, "key.name", limits.API_KEY_NAME_CHARS, 1)
    if not key.name.isprintable():
        raise InvalidField.at("key.name", "must be printable")
    for field, _ in key.ListFields():
        if field.name not in _GIVEN:
            # Whoever sets an end here must not get a key without one.
            raise InvalidField.at(f"key.{field.name}", "must not be set: the server tells it")
    scopes = {
        _known(name, _SCOPES, f"key.scopes[{i}]")
        for i, name in enumerate(_few(key.scopes, "key.scopes"))
    }
    for i, name in enumerate(_few(request.roles, "roles")):
        scopes |= _known(name, roles, f"roles[{i}]")
    if not scopes:
        raise InvalidField.at("key.scopes", "must have an entry, if roles has none")
    for i, command in enumerate(_few(key.commands, "key.commands")):
        if not COMMAND_PATTERN.fullmatch(command):
            problem = f"must be 1 to {limits.COMMAND_CHARS} letters, digits and ._:-* characters"
            raise InvalidField.at(f"key.commands[{i}]", problem)
    life = 0
    if request.HasField("ttl"):
        least, most = limits.API_KEY_LIFE_MIN_MS, limits.API_KEY_LIFE_MAX_MS
        life = duration_ms(request.ttl, "ttl", least, most)
    return Wanted(key.name, frozenset(scopes), tuple(key.commands), life)


def _few(entries: Sequence[str], path: str) -> Sequence[str]:
    if len(entries) > limits.API_KEY_RIGHTS:
        raise InvalidField.at(path, f"must have at most {limits.API_KEY_RIGHTS} entries")
    return entries


def _known(name: str, table: Mapping[str, T], path: str) -> T:
    found = table.get(name)
    if found is None:
        raise InvalidField.at(path, f"must be one of {', '.join(table)}")
    return found


def check_key_id(key_id: str) -> str:
    """What may name a key."""
    return check_text(key_id, "key_id", _KEY_ID_CHARS, 1)


def key_message(key: ApiKey) -> pb.ApiKey:
    """A key as people see it."""
    message = pb.ApiKey(
        key_id=key.key_id,
        name=key.name,
        scopes=sorted(key.scopes),
        commands=key.commands,
        revoked=key.revoked_ms > 0,
        created_by=key.created_by,
    )
    times = (
        *((message.create_time, key.created_ms), (message.expire_time, key.expires_ms)),
        *((message.revoke_time, key.revoked_ms), (message.last_used_time, key.used_ms)),
    )
    for time, ms in times:
        if ms:
            time.FromMilliseconds(ms)
    return message
