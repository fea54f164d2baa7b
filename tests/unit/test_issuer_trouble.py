"""Keys of an issuer that rotates and removes them, is down, slow or lying: over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

import pytest
import trustme

from codeq_grpc.auth import asking, issuer_keys
from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.auth.issuer_keys import AGAIN, STALE, TTL, PublishedKeys
from codeq_grpc.auth.outside import Outside
from codeq_grpc.core import clock
from codeq_grpc.core.errors import CredentialInvalid, IdentityUnavailable
from codeq_grpc.settings import Settings
from tests.support.issuer import MODES, Ahead, FakeIssuer, running_issuer
from tests.support.server import eventually
from tests.support.signing import claims_of, signed, signing_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from codeq_grpc.core.principal import Principal
    from codeq_grpc.public_keys import PublicKey

OLD: Final = signing_key("old")
NEW: Final = signing_key("new", "EdDSA")
HANGING: Final = {"silent", "dripping"}


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """The clock of everything in codeq_grpc.auth, which is looked at often."""
    found = Ahead()
    monkeypatch.setattr(issuer_keys, "_LOOK", 0.02)
    for module in (asking, issuer_keys):
        monkeypatch.setattr(module, "TIMEOUT", 60.0)
    monkeypatch.setattr(clock, "monotonic", found)
    return found


@pytest.fixture
async def issuer(ahead: Ahead) -> AsyncIterator[FakeIssuer]:
    async with running_issuer(OLD) as running:
        yield running


@contextlib.asynccontextmanager
async def asked(issuer: FakeIssuer, **more: Any) -> AsyncIterator[Outside]:
    """What a server asks that knows the issuer."""
    settings = Settings.model_validate({"issuers": [issuer.entry(**more)]})
    outside = Outside(settings.known_issuers(), settings.lookup())
    task = asyncio.create_task(outside.run())
    try:
        yield outside
    finally:
        task.cancel()
        await asyncio.wait([task])


async def whose(outside: Outside, token: str) -> Principal:
    """Who that is."""
    credential = Credential(Source.BEARER, token)
    (way,) = outside.ways
    assert way.takes(credential)
    return await way.verify(credential)


async def believed(outside: Outside, token: str) -> bool:
    """Whether it is believed; if not, that cannot be told now."""
    with contextlib.suppress(IdentityUnavailable):
        await whose(outside, token)
        return True
    return False


async def refused(outside: Outside, token: str) -> bool:
    """Whether it is refused."""
    try:
        await whose(outside, token)
    except CredentialInvalid:
        return True
    return False


async def fetched(issuer: FakeIssuer, times: int) -> None:
    """Returns once it was asked so often."""
    await eventually(lambda: issuer.asked >= times)


async def test_a_new_key_is_fetched_when_a_token_names_it(issuer: FakeIssuer, ahead: Ahead) -> None:
    async with asked(issuer) as outside:
        await whose(outside, issuer.token())
        issuer.keys.append(NEW)
        with pytest.raises(CredentialInvalid):
            await whose(outside, issuer.token(NEW))
        assert issuer.asked == 1
        ahead.seconds += AGAIN
        assert (await whose(outside, issuer.token(NEW))).subject == "robot-7"
        await whose(outside, issuer.token(OLD))
        assert issuer.asked == 2


async def test_a_removed_key_is_refused_within_the_ttl(issuer: FakeIssuer, ahead: Ahead) -> None:
    issuer.keys.append(NEW)
    async with asked(issuer) as outside:
        token = issuer.token(OLD)
        await whose(outside, token)
        issuer.keys.remove(OLD)
        await whose(outside, token)
        ahead.seconds += TTL
        await fetched(issuer, 2)
        await eventually(lambda: refused(outside, token))
        assert await refused(outside, issuer.token(OLD))
        await whose(outside, issuer.token(NEW))


async def test_another_key_under_the_same_kid_ends_tokens_of_the_first(
    issuer: FakeIssuer, ahead: Ahead
) -> None:
    async with asked(issuer) as outside:
        token = issuer.token()
        await whose(outside, token)
        issuer.keys[:] = [signing_key("old", "ES256", "again")]
        ahead.seconds += TTL
        await eventually(lambda: refused(outside, token))
        await whose(outside, issuer.token())


async def test_no_keys_at_all_are_no_outage(issuer: FakeIssuer, ahead: Ahead) -> None:
    async with asked(issuer) as outside:
        token = issuer.token()
        await whose(outside, token)
        issuer.keys.clear()
        ahead.seconds += TTL
        await eventually(lambda: refused(outside, token))


async def test_ten_thousand_made_up_kids_cost_the_issuer_a_fetch_in_30_s(
    issuer: FakeIssuer, ahead: Ahead
) -> None:
    async with asked(issuer) as outside:
        good, began = issuer.token(), ahead()
        await whose(outside, good)
        forged = claims_of(issuer.name)
        for number in range(10_000):
            token = signed(NEW, forged, kid=secrets.token_urlsafe(8))
            assert await refused(outside, token)
            ahead.seconds += 0.01
            if number % 500 == 0:
                await whose(outside, issuer.token(sub=f"robot-{number}"))
        await whose(outside, good)
        assert 3 <= issuer.asked <= 1 + (ahead() - began) / AGAIN


async def test_all_who_wait_for_keys_wait_for_one_fetch(issuer: FakeIssuer) -> None:
    issuer.mode = "held"
    async with asked(issuer) as outside:
        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(whose(outside, issuer.token(sub=f"robot-{number}")))
            await fetched(issuer, 1)
            issuer.gate.set()
        assert issuer.asked == 1


async def test_more_than_a_thousand_do_not_wait(issuer: FakeIssuer) -> None:
    issuer.mode = "held"
    async with asked(issuer) as outside:
        tasks = [
            asyncio.create_task(whose(outside, issuer.token(sub=f"robot-{number}")))
            for number in range(1_200)
        ]
        await eventually(lambda: sum(task.done() for task in tasks) == 200)
        issuer.gate.set()
        found = await asyncio.wait_for(asyncio.wait(tasks), 30)
        errors = [task.exception() for task in found[0]]
        assert sum(isinstance(error, IdentityUnavailable) for error in errors) == 200
        assert errors.count(None) == 1_000


@pytest.mark.parametrize("mode", [*MODES, "down"])
async def test_good_keys_stay_good_whatever_the_issuer_does(
    issuer: FakeIssuer,
    ahead: Ahead,
    mode: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "codeq_grpc.auth")
    async with asked(issuer) as outside:
        token = issuer.token()
        await whose(outside, token)
        monkeypatch.setattr(asking, "TIMEOUT", 0.5 if mode in HANGING else 60.0)
        issuer.mode = mode
        if mode == "down":
            await issuer.stop()
        for _ in range(3):
            ahead.seconds += TTL
            await whose(outside, issuer.token(sub="another"))
        await eventually(lambda: "cannot be asked" in caplog.text)
        await whose(outside, token)
        with pytest.raises(IdentityUnavailable):
            await whose(outside, issuer.token(NEW))
        issuer.keys.append(NEW)
        monkeypatch.setattr(asking, "TIMEOUT", 60.0)
        issuer.mode = "good"
        if mode == "down":
            await issuer.start()
        ahead.seconds += AGAIN
        await eventually(lambda: "answers again" in caplog.text)
        await whose(outside, issuer.token(NEW))
        ahead.seconds += STALE / 2
        await whose(outside, token)
    lines = [record.getMessage() for record in caplog.records]
    assert sum("cannot be asked" in line for line in lines) == 1
    assert sum("answers again" in line for line in lines) == 1
    assert token.split(".")[2] not in caplog.text


@pytest.mark.parametrize("mode", [*MODES, "down"])
async def test_without_keys_nobody_is_believed_and_nobody_is_refused_for_good(
    issuer: FakeIssuer, ahead: Ahead, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.5 if mode in HANGING else 60.0)
    issuer.mode = mode
    if mode == "down":
        await issuer.stop()
    async with asked(issuer) as outside:
        for token in (issuer.token(), issuer.token(NEW)):
            with pytest.raises(IdentityUnavailable):
                await whose(outside, token)
        monkeypatch.setattr(asking, "TIMEOUT", 60.0)
        issuer.mode = "good"
        if mode == "down":
            await issuer.start()
        ahead.seconds += AGAIN
        await eventually(lambda: believed(outside, issuer.token()))


async def test_after_a_day_without_the_issuer_its_keys_are_good_no_longer(
    issuer: FakeIssuer, ahead: Ahead
) -> None:
    async with asked(issuer) as outside:
        token = issuer.token()
        await whose(outside, token)
        issuer.mode = "500"
        ahead.seconds += STALE - 100
        await fetched(issuer, 2)
        await whose(outside, token)
        ahead.seconds += 200
        for one in (token, issuer.token(sub="another")):
            with pytest.raises(IdentityUnavailable):
                await whose(outside, one)
        issuer.mode = "good"
        ahead.seconds += AGAIN
        await eventually(lambda: believed(outside, token))


@pytest.mark.parametrize("said", ["text/html", "text/plain", "application/octet-stream"])
async def test_a_jwks_of_another_content_type_is_one(issuer: FakeIssuer, said: str) -> None:
    issuer.content_type = said
    async with asked(issuer) as outside:
        await whose(outside, issuer.token())


async def test_proxies_and_redirects_are_not_followed(
    issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with asked(issuer) as outside:
        await whose(outside, issuer.token())
        issuer.mode = "redirect"
        keys: PublishedKeys = outside._published[0]
        keys._wanted.set()
        await fetched(issuer, 2)
        await eventually(lambda: keys._outage.lasts)
        assert [request.path for request in issuer.seen] == ["/jwks", "/jwks"]


async def test_a_certificate_that_nobody_vouches_for_is_an_outage(
    ahead: Ahead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority, issuer = trustme.CA(), FakeIssuer(OLD)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    await issuer.start(context)
    issuer.name = issuer.url
    try:
        async with asked(issuer) as outside:
            with pytest.raises(IdentityUnavailable):
                await whose(outside, issuer.token())
        trusted = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(trusted)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        async with asked(issuer) as outside:
            await whose(outside, issuer.token())
    finally:
        await issuer.stop()


async def test_the_loop_goes_on_while_an_issuer_hangs(
    issuer: FakeIssuer, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = [0.0]

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0)
            at = time.monotonic()
            gaps.append(at - last)
            last = at

    async with asked(issuer) as outside:
        await whose(outside, issuer.token())
        issuer.jwks = [signing_key("rsa", "RS256").jwk(kid=f"k{number}") for number in range(100)]
        ticking = asyncio.create_task(tick())
        ahead.seconds += TTL
        await fetched(issuer, 2)
        monkeypatch.setattr(asking, "TIMEOUT", 1.0)
        issuer.mode = "silent"
        ahead.seconds += TTL
        await fetched(issuer, 3)
        with pytest.raises(IdentityUnavailable):
            await whose(outside, issuer.token(NEW))
        ticking.cancel()
    print(f"largest gap between two turns of the loop: {max(gaps) * 1000:.0f} ms")  # noqa: T201
    assert max(gaps) < 3


async def test_an_answer_that_nobody_foresaw_ends_the_keys_of_nobody(
    issuer: FakeIssuer, ahead: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(body: bytes) -> dict[str, PublicKey]:
        raise TypeError(f"{len(body)} bytes")

    async with asked(issuer) as outside:
        await whose(outside, issuer.token())
        monkeypatch.setattr(issuer_keys, "read_jwks", broken)
        issuer.keys.append(NEW)
        for times in (2, 3):
            ahead.seconds += TTL
            await fetched(issuer, times)
            assert await believed(outside, issuer.token())
