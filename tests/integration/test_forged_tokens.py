"""No forged or wrong token is taken by a real server that knows three issuers (B42)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from codeq.v1 import codeq_service_pb2 as pb
from tests.integration.forgeries import World, forgeries, published
from tests.integration.looking import contents
from tests.integration.refusals import refused
from tests.support.issuer import running_issuer
from tests.support.server import running_server
from tests.support.signing import claims_of, signed, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.admin import Admin
    from tests.support.server import Server
    from tests.support.stores import StoreProcess

FIXED = "https://fixed.example"


@pytest.fixture
async def world(store: StoreProcess) -> AsyncIterator[tuple[World, Server]]:
    """Two issuers over HTTP, of which the second speaks for one tenant only, and a fixed key."""
    keys = signing_key("rsa-1", "RS256"), signing_key("ec-1"), signing_key("ed-1", "EdDSA")
    others, fixed = signing_key("ec-1", "ES256", "other"), signing_key("", "EdDSA", "fixed")
    async with running_issuer(*keys) as one, running_issuer(others) as other:
        found = World(one.name, *keys, other.name, others, FIXED, fixed)
        one.jwks = published(found)
        other.keys.append(found.rsa)
        entries: list[dict[str, Any]] = [
            one.entry(tenant_claims=["tid", "org.id"]),
            other.entry(tenants=["acme"], algorithms=["ES256"]),
            {
                **other.entry(issuer=FIXED, algorithms=["EdDSA"], jwks_url=""),
                "public_key": fixed.pem.decode(),
            },
        ]
        async with running_server(store, issuers=entries) as server:
            yield found, server


def bearing(server: Server, token: str) -> Any:
    """A call with that token."""
    caller = server.stranger(("authorization", f"Bearer {token}"))
    return caller.start("AdminQueues", pb.AdminQueuesRequest())


async def test_tokens_of_each_issuer_and_algorithm_are_good(world: tuple[World, Server]) -> None:
    found, server = world
    good = [found.good(key) for key in found.keys]
    good.append(found.good(org={"id": "acme"}))
    good.append(found.good(aud=["other", "codeq"], iat=None, typ="x"))
    good.append(signed(found.ec, claims_of(found.issuer), typ="application/at+jwt"))
    good.append(signed(found.ec, claims_of(found.issuer), typ=None))
    good.append(signed(found.others, claims_of(found.other)))
    good.append(signed(found.fixed_key, claims_of(found.fixed), kid=None))
    good.append(signed(found.fixed_key, claims_of(found.fixed), kid="any"))
    for token in good:
        await bearing(server, token)


async def test_no_forged_token_is_taken(world: tuple[World, Server], admin: Admin) -> None:
    found, server = world
    await bearing(server, found.good())
    before, made, answers = contents(admin), Counter[str](), Counter[str]()
    for forgery in forgeries(found):
        refusal = await refused(bearing(server, forgery.token))
        code, reason = refusal.kind
        assert code == "UNAUTHENTICATED", forgery
        may_have_ended = forgery.category == "times" and reason == "CREDENTIAL_EXPIRED"
        assert reason == "CREDENTIAL_INVALID" or may_have_ended, forgery
        assert found.issuer not in refusal.message
        assert refusal.metadata == {}
        made[forgery.category] += 1
        answers[reason] += 1
    told = f"{made.total()} forged tokens, 0 taken: {dict(made)}, {dict(answers)}"
    print(told)  # noqa: T201 - the evidence, with -s
    assert made.total() >= 300
    assert min(made.values()) >= 8
    assert contents(admin) == before
    await bearing(server, found.good())


async def test_a_token_counts_only_where_and_how_credentials_stand(
    world: tuple[World, Server],
) -> None:
    found, server = world
    token = found.good()
    good = ("authorization", f"Bearer {token}")
    for metadata in (
        (good, good),
        (good, ("x-api-key", "cqk_abcdefghijkl_" + "A" * 43)),
        (("x-api-key", token[:512]),),
        (("authorization", token),),
        (("authorization", f"Basic {token}"),),
        (("authorization", f"Bearer {token} {token}"),),
        (("authorization", f"Bearer {token}, Bearer {token}"),),
        (("authorization", f"DPoP {token}"),),
        (good, ("authorization", "Bearer acme.admin.token")),
    ):
        call = server.stranger(*metadata).start("AdminQueues", pb.AdminQueuesRequest())
        assert (await refused(call)).kind == ("UNAUTHENTICATED", "CREDENTIAL_INVALID"), metadata
    for metadata in (
        (("cookie", f"token={token}"),),
        (("x-authorization", f"Bearer {token}"),),
        (("proxy-authorization", f"Bearer {token}"),),
        (("access_token", token),),
    ):
        call = server.stranger(*metadata).start("AdminQueues", pb.AdminQueuesRequest())
        assert (await refused(call)).kind == ("UNAUTHENTICATED", "CREDENTIAL_MISSING"), metadata
