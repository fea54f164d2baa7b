"""No key may do more than who made it, nor reach what its holder may not."""

from __future__ import annotations

import pytest

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb
from codeq_grpc.core import limits
from codeq_grpc.core.principal import ROLES, Scope
from tests.integration.api_keys import (
    NOT_FOUND,
    SCOPE_MISSING,
    create,
    create_request,
    holder,
    is_over,
    listed,
    revoke,
)
from tests.integration.calling import ask
from tests.integration.operating import matching
from tests.integration.refusals import refused
from tests.support.server import LIMITED, Caller, Server, eventually


@pytest.fixture
async def clerk(acme: Caller, server: Server) -> Caller:
    """Makes keys, reads tasks of some commands, and no more."""
    made = await create(
        acme, "clerk", scopes=["keys.admin", "tasks.read"], commands=["REN*", "a*b"], ttl=3_600
    )
    return holder(server, made.secret)


async def test_a_scope_that_the_maker_lacks_is_refused_by_its_name(
    clerk: Caller, acme: Caller
) -> None:
    for scope in set(Scope) - {Scope.KEYS_ADMIN, Scope.TASKS_READ}:
        wanted = create_request(scopes=["tasks.read", scope], commands=["REN"], ttl=60)
        refusal = await refused(ask(clerk, "CreateApiKey", wanted))
        assert refusal.kind == SCOPE_MISSING
        assert refusal.metadata == {"scope": scope}
        assert scope in refusal.message
    for role in ROLES:
        wanted = create_request(roles=[role], commands=["REN"], ttl=60)
        assert (await refused(ask(clerk, "CreateApiKey", wanted))).kind == SCOPE_MISSING
    assert len(await listed(acme)) == 1


@pytest.mark.parametrize(
    ("commands", "field"),
    [
        ([], "key.commands"),
        (["*"], "key.commands[0]"),
        (["REN*", "OTHER"], "key.commands[1]"),
        (["RE*"], "key.commands[0]"),
        (["*REN*"], "key.commands[0]"),
        (["ab", "a*"], "key.commands[1]"),
        (["a*b*"], "key.commands[0]"),
        (["render"], "key.commands[0]"),
    ],
)
async def test_a_command_beyond_the_makers_is_refused(
    clerk: Caller, acme: Caller, commands: list[str], field: str
) -> None:
    wanted = create_request(scopes=["tasks.read"], commands=commands, ttl=60)
    refusal = await refused(ask(clerk, "CreateApiKey", wanted))
    assert refusal.kind == ("PERMISSION_DENIED", "COMMAND_FORBIDDEN")
    assert refusal.fields == (field,)
    assert len(await listed(acme)) == 1


@pytest.mark.parametrize("ttl", [None, 3_601, limits.API_KEY_LIFE_MAX_MS / 1000])
async def test_a_key_does_not_outlive_its_maker(
    clerk: Caller, acme: Caller, ttl: float | None
) -> None:
    wanted = create_request(scopes=["tasks.read"], commands=["REN"], ttl=ttl)
    refusal = await refused(ask(clerk, "CreateApiKey", wanted))
    assert refusal.kind == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert refusal.fields == ("ttl",)
    assert len(await listed(acme)) == 1


async def test_what_is_within_is_given_and_no_more_by_whoever_gets_it(
    clerk: Caller, server: Server
) -> None:
    wanted = create_request(
        "narrow",
        scopes=["keys.admin", "tasks.read"],
        commands=["REN*ER", "a*b*b", "ab"],
        ttl=600,
    )
    narrow = await ask(clerk, "CreateApiKey", wanted)
    assert narrow.key.created_by == "key clerk"
    next_one = holder(server, narrow.secret)
    for commands, ttl in ((["REN*"], 60), (["RENDER"], 601), ([], 60)):
        wanted = create_request(scopes=["tasks.read"], commands=commands, ttl=ttl)
        await refused(ask(next_one, "CreateApiKey", wanted))


async def test_a_limited_credential_sees_and_revokes_what_is_within_its_reach(
    clerk: Caller, acme: Caller
) -> None:
    within, beyond = await create(acme, "in", commands=["RENDER"]), await create(acme, "out")
    assert {key.name for key in await listed(clerk)} == {"in", "clerk"}
    assert (await refused(revoke(clerk, beyond.key.key_id))).kind == NOT_FOUND
    await revoke(clerk, within.key.key_id)
    revoked = {key.name for key in await listed(acme) if key.revoked}
    assert revoked == {"in"}


async def test_keys_live_on_when_their_maker_is_revoked(
    clerk: Caller, acme: Caller, server: Server
) -> None:
    wanted = create_request(scopes=["tasks.read"], commands=["REN*"], ttl=60)
    child = await ask(clerk, "CreateApiKey", wanted)
    await revoke(acme, next(k.key_id for k in await listed(acme) if k.name == "clerk"))

    await eventually(lambda: is_over(clerk))
    page = pb.ListTasksRequest(filter=matching("RENDER"))
    await ask(holder(server, child.secret), "ListTasks", page)


async def test_only_who_may_make_keys_does(server: Server, acme: Caller) -> None:
    made = await create(acme, "victim")
    request = admin_pb.RevokeApiKeyRequest(key_id=made.key.key_id)
    for role in set(ROLES) - {"admin"}:
        for name in (role, role + LIMITED):
            caller = server.caller("acme", name)
            assert (await refused(create(caller, roles=[role]))).kind == SCOPE_MISSING
            assert (await refused(listed(caller))).kind == SCOPE_MISSING
            assert (await refused(ask(caller, "RevokeApiKey", request))).kind == SCOPE_MISSING
    (key,) = await listed(acme)
    assert not key.revoked
