"""The identity service, spoken to over real HTTP: what it says, for how long that counts, and what
it costs when it is down, slow, lying or flooded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.auth import asking, identity_service
from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.auth.outside import Outside
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CodeQError, IdentityUnavailable
from codeq_grpc.core.principal import ROLES, Principal, Scope
from codeq_grpc.settings import Settings
from tests.support.issuer import (
    MODES,
    Ahead,
    FakeIdentityService,
    running_identity_service,
    running_issuer,
)
from tests.support.server import eventually
from tests.support.signing import claims_of, signed, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN: Final = "token-of-anna"
API_KEY: Final = "s3cr3t/canary+key&x=1"
ANNA: Final = {"localId": "anna", "email": "anna@acme.example", "tenantId": "acme"}


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    found = Ahead()
    monkeypatch.setattr(clock, "monotonic", found)
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)
    return found


@pytest.fixture
async def service(ahead: Ahead) -> AsyncIterator[FakeIdentityService]:
    async with running_identity_service() as running:
        running.users[TOKEN] = ANNA
        yield running


@contextlib.asynccontextmanager
async def asked(
    service: FakeIdentityService, path: str = "", **settings: Any
) -> AsyncIterator[Outside]:
    """What a server asks that knows the service."""
    url = {"identity_service_url": service.url + path, "identity_service_api_key": API_KEY}
    known = Settings.model_validate({**url, **settings})
    outside = Outside(known.known_issuers(), known.lookup())
    task = asyncio.create_task(outside.run())
    await asyncio.sleep(0)
    try:
        yield outside
    finally:
        task.cancel()
        await asyncio.wait([task])


async def whose(outside: Outside, token: str) -> Principal:
    """Who that is, by the first way that takes it."""
    credential = Credential(Source.BEARER, token)
    for way in outside.ways:
        if way.takes(credential):
            return await way.verify(credential)
    raise AssertionError("nobody takes it")


async def answer_to(outside: Outside, token: str = TOKEN) -> str:
    """Reason of a refusal, or OK."""
    try:
        await whose(outside, token)
    except CodeQError as error:
        return error.reason
    return "OK"


async def test_it_is_asked_as_by_the_scheduler_before(service: FakeIdentityService) -> None:
    async with asked(service, "/id/") as outside:
        found = await whose(outside, TOKEN)
    (request,) = service.seen
    assert request.method == "POST"
    assert request.path == "/id/v1/accounts/lookup"
    assert dict(request.query) == {"key": API_KEY}
    assert json.loads(await request.read()) == {"idToken": TOKEN}
    assert (found.subject, found.tenant) == ("anna", "acme")
    assert found.scopes == ROLES["producer"] | ROLES["worker"]
    assert found.credential == "identity-service"


async def test_nobody_becomes_an_admin_unless_the_settings_say_how(
    service: FakeIdentityService,
) -> None:
    service.users["boss"] = {**ANNA, "role": "ADMIN", "roles": ["admin"], "scope": "keys.admin"}
    async with asked(service) as outside:
        assert Scope.KEYS_ADMIN not in (await whose(outside, "boss")).scopes
    claims = {"roles_claim": "role", "role_map": {"ADMIN": "admin", "USER": "producer"}}
    async with asked(service, identity_claims=claims) as outside:
        assert (await whose(outside, "boss")).scopes == ROLES["admin"]
        assert (await whose(outside, TOKEN)).scopes == frozenset()


async def test_custom_attributes_are_json_within_json(service: FakeIdentityService) -> None:
    claims = {
        "tenant_claims": ["customAttributes.org.id"],
        "roles_claim": "customAttributes.roles",
        "commands_claim": "customAttributes.commands",
        "subject_claim": "email",
    }
    custom = {"org": {"id": "rival"}, "roles": ["worker"], "commands": ["mail.*"]}
    service.users["good"] = {**ANNA, "customAttributes": json.dumps(custom)}
    for name, text in {
        "cut": "{",
        "twice": '{"org": {"id": "a", "id": "b"}}',
        "list": "[]",
    }.items():
        service.users[name] = {**ANNA, "customAttributes": text}
    async with asked(service, identity_claims=claims) as outside:
        found = await whose(outside, "good")
        assert (found.tenant, found.commands) == ("rival", ("mail.*",))
        assert (found.subject, found.scopes) == ("anna@acme.example", ROLES["worker"])
        for name in ("cut", "twice", "list", TOKEN):
            assert await answer_to(outside, name) == "CREDENTIAL_INVALID"


async def test_users_who_are_none_or_suspended_are_refused(service: FakeIdentityService) -> None:
    more: Any
    bad: dict[str, list[Any]] = {
        "disabled": [True, 1, 0, "", [], [True], {}],
        "status": ["SUSPENDED", "inactive", False, 0, [], {}, ["ACTIVE"]],
    }
    for number, more in enumerate({name: value} for name in bad for value in bad[name]):
        service.users[f"bad-{number}"] = {**ANNA, **more}
    for number, more in enumerate(
        ({"localId": ""}, {"localId": 5}, {"localId": None}, {"tenantId": "a/b"}, {"tenantId": ""})
    ):
        service.users[f"odd-{number}"] = {**ANNA, **more}
    fine: dict[str, Any] = {"active": {"disabled": False, "status": "Active"}}
    fine["told nothing"] = {"status": None}
    service.users.update({name: {**ANNA, "disabled": None, **more} for name, more in fine.items()})
    async with asked(service) as outside:
        for name in service.users:
            expected = "OK" if name in {*fine, TOKEN} else "CREDENTIAL_INVALID"
            assert await answer_to(outside, name) == expected, name
        assert await answer_to(outside, "nobody") == "CREDENTIAL_INVALID"


ANSWERS: Final[dict[str, tuple[int, Any, str]]] = {
    "no users": (200, {"users": []}, "CREDENTIAL_INVALID"),
    "not a word of users": (200, {}, "IDENTITY_UNAVAILABLE"),
    "two users": (200, {"users": [ANNA, ANNA]}, "IDENTITY_UNAVAILABLE"),
    "users that are none": (200, {"users": ["anna"]}, "IDENTITY_UNAVAILABLE"),
    "users in an object": (200, {"users": {"0": ANNA}}, "IDENTITY_UNAVAILABLE"),
    "a list": (200, [ANNA], "IDENTITY_UNAVAILABLE"),
    "a user alone": (200, ANNA, "IDENTITY_UNAVAILABLE"),
    "201": (201, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "202": (202, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "302": (302, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "400": (400, {"users": [ANNA]}, "CREDENTIAL_INVALID"),
    "401": (401, {"users": [ANNA]}, "CREDENTIAL_INVALID"),
    "403": (403, {"users": [ANNA]}, "CREDENTIAL_INVALID"),
    "404": (404, {"users": [ANNA]}, "CREDENTIAL_INVALID"),
    "408": (408, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "429": (429, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "500": (500, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
    "503": (503, {"users": [ANNA]}, "IDENTITY_UNAVAILABLE"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_every_answer_has_one_meaning(service: FakeIdentityService, what: str) -> None:
    status, found, expected = ANSWERS[what]
    service.answer = lambda token: (status, found)
    async with asked(service) as outside:
        assert await answer_to(outside) == expected


@pytest.mark.parametrize("mode", [*MODES, "down"])
async def test_what_is_no_answer_is_never_a_yes(
    service: FakeIdentityService,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.5 if mode in {"silent", "dripping"} else 60.0)
    caplog.set_level(logging.DEBUG, "codeq_grpc")
    service.mode = mode
    if mode == "down":
        await service.stop()
    invalid = mode in {"403", "404"}
    async with asked(service) as outside:
        expected = "CREDENTIAL_INVALID" if invalid else "IDENTITY_UNAVAILABLE"
        for _ in range(3):
            assert await answer_to(outside) == expected
        assert caplog.text.count("cannot be asked") == int(not invalid)
        monkeypatch.setattr(asking, "TIMEOUT", 60.0)
        service.mode = "good"
        if mode == "down":
            await service.start()
        assert invalid or await answer_to(outside) == "OK"
    assert "canary" not in caplog.text
    assert TOKEN not in caplog.text


async def test_what_it_says_counts_for_a_minute(service: FakeIdentityService, ahead: Ahead) -> None:
    async with asked(service) as outside:
        for _ in range(3):
            assert await answer_to(outside) == "OK"
        del service.users[TOKEN]
        ahead.seconds += 59
        found = await whose(outside, TOKEN)
        assert found.check_again <= 1
        assert len(service.tokens) == 1
        ahead.seconds += 1
        assert await answer_to(outside) == "CREDENTIAL_INVALID"
        service.users[TOKEN] = ANNA
        for _ in range(3):
            assert await answer_to(outside) == "CREDENTIAL_INVALID"
        assert len(service.tokens) == 2
        ahead.seconds += 5
        assert await answer_to(outside) == "OK"


async def test_an_outage_does_not_prolong_what_it_said(
    service: FakeIdentityService, ahead: Ahead
) -> None:
    async with asked(service) as outside:
        assert await answer_to(outside) == "OK"
        service.mode = "500"
        ahead.seconds += 59
        assert await answer_to(outside) == "OK"
        ahead.seconds += 1
        assert await answer_to(outside) == "IDENTITY_UNAVAILABLE"


async def test_a_token_that_tells_its_end_counts_no_longer(
    service: FakeIdentityService, ahead: Ahead
) -> None:
    at = time.time()
    token = signed(signing_key("any"), claims_of("https://elsewhere", exp=int(at) + 20))
    past = signed(signing_key("any"), claims_of("https://elsewhere", exp=int(at) - 1))
    service.users |= {token: ANNA, past: ANNA}
    async with asked(service) as outside:
        assert (await whose(outside, token)).expires_at == int(at) + 20
        ahead.seconds += 21
        assert await answer_to(outside, token) == "OK"
        assert len(service.tokens) == 2
        assert (await whose(outside, past)).expires_at <= at


@pytest.mark.parametrize(
    ("exp", "expected"), [(10**400, math.inf), (1e400, math.inf), (-(10**400), 0), (-1e400, 0)]
)
async def test_an_end_beyond_all_times_is_read(
    service: FakeIdentityService, exp: float, expected: float
) -> None:
    token = signed(signing_key("any"), claims_of("https://elsewhere", exp=exp))
    service.users[token] = ANNA
    async with asked(service) as outside:
        assert (await whose(outside, token)).expires_at == expected


async def test_all_with_one_token_wait_for_one_look_up(service: FakeIdentityService) -> None:
    service.mode = "held"
    async with asked(service) as outside:
        tasks = [asyncio.create_task(answer_to(outside)) for _ in range(500)]
        await eventually(lambda: service.asked)
        tasks[0].cancel()
        service.gate.set()
        await asyncio.wait(tasks)
        assert {task.result() for task in tasks[1:]} == {"OK"}
    assert service.asked == 1


async def test_a_flood_of_made_up_tokens_neither_piles_up_nor_shuts_others_out(
    service: FakeIdentityService, ahead: Ahead
) -> None:
    service.users["token-of-bert"] = {**ANNA, "localId": "bert"}
    async with asked(service) as outside:
        assert await answer_to(outside, "token-of-bert") == "OK"
        ahead.seconds += 60
        assert await answer_to(outside) == "OK"
        service.mode = "held"
        flood = [asyncio.create_task(answer_to(outside, f"made-up-{n}")) for n in range(5_000)]
        await eventually(lambda: service.asked == 2 + identity_service._STRANGERS)
        turned_away = [task for task in flood if task.done()]
        assert len(turned_away) == 5_000 - identity_service._STRANGERS
        assert {task.result() for task in turned_away} == {"IDENTITY_UNAVAILABLE"}
        assert await answer_to(outside) == "OK"
        known = asyncio.create_task(answer_to(outside, "token-of-bert"))
        await eventually(lambda: service.asked == 3 + identity_service._STRANGERS)
        service.gate.set()
        assert await known == "OK"
        await asyncio.wait(flood)
        assert "OK" not in {task.result() for task in flood}


async def test_what_is_remembered_is_bounded(service: FakeIdentityService) -> None:
    service.answer = lambda token: (400, {})
    async with asked(service) as outside:
        (way,) = outside.ways
        assert isinstance(way, identity_service.IdentityService)
        way._refused._most = 50
        for number in range(200):
            assert await answer_to(outside, f"made-up-{number}") == "CREDENTIAL_INVALID"
        assert len(way._refused) == 50
        assert len(way._known) == len(way._asking) == 0


async def test_api_keys_are_not_shown_to_it(service: FakeIdentityService) -> None:
    async with asked(service) as outside:
        (way,) = outside.ways
        assert not way.takes(Credential(Source.BEARER, "cqk_abc"))
        assert not way.takes(Credential(Source.API_KEY, TOKEN))
        assert not way.takes(Credential(Source.CERTIFICATE, "CN=anna"))


async def test_tokens_of_an_issuer_that_is_known_are_not_shown_to_it(
    service: FakeIdentityService,
) -> None:
    async with running_issuer() as issuer, asked(service, issuers=[issuer.entry()]) as outside:
        good = issuer.token()
        assert (await whose(outside, good)).tenant == "acme"
        head, body, signature = good.split(".")
        for bad in (
            issuer.token(exp=1),
            signed(signing_key("ec-1", "ES256", "attacker"), claims_of(issuer.name)),
            f"{head}.{body}.{signature[:-2]}",
            f"{head}.{body}==.{signature}",
            f"{head}.{body}",
            f"{head}.{body}.{signature}.{signature}",
        ):
            service.users[bad] = ANNA
            assert await answer_to(outside, bad) in {"CREDENTIAL_INVALID", "CREDENTIAL_EXPIRED"}
        assert service.tokens == []
        foreign = signed(signing_key("any"), claims_of("https://elsewhere"))
        service.users[foreign] = ANNA
        assert (await whose(outside, foreign)).subject == "anna"


async def test_a_service_that_was_never_reached_leaves_nothing_behind(
    service: FakeIdentityService,
) -> None:
    service.mode = "silent"
    async with asked(service) as outside:
        tasks = [asyncio.create_task(whose(outside, f"t-{n}")) for n in range(10)]
        await eventually(lambda: service.asked == 10)
    done, _ = await asyncio.wait(tasks, timeout=10)
    assert len(done) == 10
    assert all(isinstance(task.exception(), IdentityUnavailable) for task in done)


async def test_before_it_runs_nobody_is_believed(service: FakeIdentityService) -> None:
    known = Settings.model_validate({"identity_service_url": service.url})
    outside = Outside((), known.lookup())
    with pytest.raises(IdentityUnavailable):
        await whose(outside, TOKEN)
