"""Calls end when their credential does: expired, revoked, changed, or not to be verified."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.core.clock import monotonic, now
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialChanged,
    CredentialExpired,
    CredentialInvalid,
    IdentityUnavailable,
)
from codeq_grpc.core.principal import ROLES, Principal, Scope
from codeq_grpc.rpc import sessions
from codeq_grpc.rpc.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WHO: Final = Principal(subject="s", tenant="acme", scopes=ROLES["worker"], check_again=0.0)
ONE: Final = Credential(Source.API_KEY, "one")
OTHER: Final = Credential(Source.API_KEY, "other")
Answer = Principal | CodeQError | Exception


class Verifier:
    """Says what it is told to, of each credential."""

    def __init__(self) -> None:
        self.answers: dict[Credential, Answer] = {ONE: WHO, OTHER: WHO}
        self.asked: list[Credential] = []
        self.hanging: set[Credential] = set()

    async def verify(self, credential: Credential) -> Principal:
        """What it is told."""
        self.asked.append(credential)
        if credential in self.hanging:
            await asyncio.Event().wait()
        answer = self.answers[credential]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Calls:
    """Calls that would last for ever."""

    def __init__(self, watched: Sessions) -> None:
        self.watched = watched
        self.tasks: set[asyncio.Task[CodeQError | None]] = set()

    def start(self, credential: Credential, who: Principal) -> asyncio.Task[CodeQError | None]:
        """The error that ends one."""
        task = asyncio.create_task(self._last(credential, who))
        self.tasks.add(task)
        return task

    async def _last(self, credential: Credential, who: Principal) -> CodeQError | None:
        ending = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                with self.watched.during(credential, who, limit, monotonic()) as ending:
                    await asyncio.Event().wait()
        assert ending is not None
        return ending.error


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


@pytest.fixture
async def calls(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Calls]:
    monkeypatch.setattr(sessions, "_EVERY", 0.001)
    watched = Sessions(verifier.verify)
    run = asyncio.create_task(watched.run())
    found = Calls(watched)
    yield found
    for task in (run, *found.tasks):
        task.cancel()
    await asyncio.wait((run, *found.tasks))
    assert not watched._open


async def asked(verifier: Verifier, times: int) -> None:
    """Returns once it was asked so often from now on."""
    most = len(verifier.asked) + times
    async with asyncio.timeout(10):
        while len(verifier.asked) < most:
            await asyncio.sleep(0.001)


async def test_what_stays_valid_goes_on(calls: Calls, verifier: Verifier) -> None:
    task = calls.start(ONE, WHO)
    await asked(verifier, 20)
    assert not task.done()


async def test_a_credential_is_verified_once_for_all_its_calls(
    calls: Calls, verifier: Verifier
) -> None:
    calm = replace(WHO, check_again=3_600.0)
    tasks = [calls.start(OTHER, calm) for _ in range(50)]
    busy = calls.start(ONE, WHO)
    await asked(verifier, 20)
    assert set(verifier.asked) == {ONE}
    verifier.answers[ONE] = CredentialInvalid()
    assert isinstance(await busy, CredentialExpired)
    assert not any(task.done() for task in tasks)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CredentialInvalid(), CredentialExpired),
        (CredentialExpired(), CredentialExpired),
        (replace(WHO, scopes=frozenset({Scope.TASKS_READ})), CredentialChanged),
        (replace(WHO, tenant="other"), CredentialChanged),
        (replace(WHO, commands=("a",)), CredentialChanged),
        (replace(WHO, subject="t"), CredentialChanged),
    ],
)
async def test_calls_end_with_their_credential_and_others_do_not(
    calls: Calls, verifier: Verifier, answer: Answer, error: type[CodeQError]
) -> None:
    tasks = [calls.start(ONE, WHO) for _ in range(3)]
    other = calls.start(OTHER, WHO)
    await asked(verifier, 4)
    verifier.answers[ONE] = answer
    assert {type(await task) for task in tasks} == {error}
    await asked(verifier, 4)
    assert not other.done()


async def test_calls_end_at_the_time_of_expiry_unasked(calls: Calls, verifier: Verifier) -> None:
    at = now().timestamp() + 0.05
    task = calls.start(ONE, replace(WHO, expires_at=at, check_again=3_600.0))
    assert isinstance(await task, CredentialExpired)
    assert now().timestamp() >= at
    assert verifier.asked == []


async def test_a_later_expiry_that_verifying_finds_holds(calls: Calls, verifier: Verifier) -> None:
    soon, later = now().timestamp() + 0.2, now().timestamp() + 3_600
    verifier.answers[ONE] = replace(WHO, expires_at=later)
    task = calls.start(ONE, replace(WHO, expires_at=soon))
    await asked(verifier, 2)
    while now().timestamp() < soon:
        await asked(verifier, 2)
    await asked(verifier, 2)
    assert not task.done()


async def test_calls_go_on_for_a_while_when_nobody_can_tell(
    calls: Calls, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    verifier.answers[ONE] = IdentityUnavailable()
    task = calls.start(ONE, WHO)
    await asked(verifier, 20)
    assert not task.done()
    monkeypatch.setattr(sessions, "_PATIENCE", 0.0)
    assert isinstance(await task, IdentityUnavailable)


async def test_who_cannot_be_verified_in_time_holds_up_nobody_of_another_kind(
    calls: Calls, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_AT_ONCE", 2)
    slow = [Credential(Source.BEARER, f"slow{i}") for i in range(9)]
    verifier.hanging.update(slow)
    waiting = [calls.start(one, replace(WHO, credential="identity:x")) for one in slow]
    task = calls.start(ONE, replace(WHO, credential="key:x"))
    await asked(verifier, 20)
    # Two of a kind at once, each once.
    assert len({*verifier.asked} - {ONE}) == len([a for a in verifier.asked if a != ONE]) == 2
    verifier.answers[ONE] = CredentialInvalid()
    assert isinstance(await task, CredentialExpired)
    assert not any(one.done() for one in waiting)


async def test_many_keys_are_verified_together(calls: Calls, verifier: Verifier) -> None:
    keys = [Credential(Source.API_KEY, f"key{i}") for i in range(1_500)]
    verifier.hanging.update(keys)
    for one in keys:
        calls.start(one, replace(WHO, credential=f"key:{one.text}"))
    await asked(verifier, len(keys))
    assert set(verifier.asked) == {*keys}


async def test_a_verifier_that_breaks_ends_nothing_for_a_while(
    calls: Calls,
    verifier: Verifier,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verifier.answers[ONE] = RuntimeError("broken")
    task = calls.start(ONE, WHO)
    await asked(verifier, 5)
    assert not task.done()
    assert "could not be verified anew" in caplog.text
    other = calls.start(OTHER, WHO)
    verifier.answers[ONE] = CredentialInvalid()
    assert isinstance(await task, CredentialExpired)
    verifier.answers[OTHER] = RuntimeError("broken")
    monkeypatch.setattr(sessions, "_PATIENCE", 0.0)
    assert isinstance(await other, IdentityUnavailable)


@pytest.mark.parametrize(
    "other", [{"scopes": ROLES["viewer"]}, {"tenant": "rival"}, {"commands": ("a",)}]
)
async def test_calls_of_one_credential_have_the_same_rights(
    calls: Calls, verifier: Verifier, other: dict[str, Any]
) -> None:
    calm = replace(WHO, check_again=3_600.0)
    before = calls.start(ONE, calm)
    await asyncio.sleep(0)
    async with asyncio.timeout(None) as limit:
        with (
            pytest.raises(CredentialChanged),
            calls.watched.during(ONE, replace(calm, **other), limit, monotonic()),
        ):
            pytest.fail("it began")
    assert isinstance(await before, CredentialChanged)
    again = calls.start(ONE, replace(calm, **other))
    await asyncio.sleep(0)
    assert not again.done()
    assert verifier.asked == []


async def test_what_was_verified_a_moment_ago_is_not_verified_again(verifier: Verifier) -> None:
    watched, at = Sessions(verifier.verify), monotonic()
    assert await watched.confirmed(ONE, replace(WHO, check_again=3_600.0), at) == at
    assert verifier.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (WHO, None),
        (CredentialInvalid(), CredentialExpired),
        (CredentialExpired(), CredentialExpired),
        (IdentityUnavailable(), IdentityUnavailable),
        (replace(WHO, scopes=ROLES["viewer"]), CredentialChanged),
    ],
)
async def test_what_was_verified_long_ago_is_verified_again(
    verifier: Verifier, answer: Answer, error: type[CodeQError] | None
) -> None:
    verifier.answers[ONE] = answer
    who, at = replace(WHO, check_again=5.0), monotonic()
    watched = Sessions(verifier.verify)
    if error is None:
        assert await watched.confirmed(ONE, who, at - 5.0) >= at
    else:
        with pytest.raises(error):
            await watched.confirmed(ONE, who, at - 5.0)
    assert verifier.asked == [ONE]


async def test_what_has_ended_meanwhile_begins_nothing(verifier: Verifier) -> None:
    who = replace(WHO, expires_at=now().timestamp(), check_again=3_600.0)
    with pytest.raises(CredentialExpired) as caught:
        await Sessions(verifier.verify).confirmed(ONE, who, monotonic())
    assert caught.value.who == who
