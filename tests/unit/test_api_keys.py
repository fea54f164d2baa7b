"""API keys: their form, what covers what, and how readings are shared and remembered."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final, cast

import pytest
from hypothesis import given, strategies as st

from codeq_grpc.auth import api_keys
from codeq_grpc.auth.api_keys import ApiKeys, Readings
from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.broker import api_keys as broker_keys
from codeq_grpc.core.api_keys import (
    ApiKey,
    digest_of,
    id_of,
    is_within,
    new_key,
    uncovered,
)
from codeq_grpc.core.clock import now
from codeq_grpc.core.errors import (
    CodeQError,
    CredentialExpired,
    CredentialInvalid,
    StoreUnavailable,
)
from codeq_grpc.core.principal import ROLES, Principal, matches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codeq_grpc.store.api_keys import ApiKeyStore

ID, TEXT = new_key()
NOW_MS: Final = 1_760_000_000_000
CHARS: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
names = st.text("ab:", max_size=6)
patterns = st.text("ab*", min_size=1, max_size=6)


def test_a_key_has_256_random_bits_and_a_form_that_scanners_know() -> None:
    made = [new_key() for _ in range(200)]
    assert len({text for _, text in made}) == len({key_id for key_id, _ in made}) == 200
    for key_id, text in made:
        assert re.fullmatch(r"cqk_[0-9a-z]{12}_[0-9A-Za-z]{49}", text)
        assert id_of(text) == key_id
    assert 62**43 >= 2**256
    # Every character at every place of the secret: none of it is fixed.
    secrets = [text[17:60] for _, text in (*made, *[new_key() for _ in range(2_000)])]
    assert all(len({secret[i] for secret in secrets}) == 62 for i in range(43))


def test_every_single_wrong_character_is_noticed_unseen() -> None:
    """A checksum of 32 bits: no store is asked about a key that was mistyped."""
    for place, char in enumerate(TEXT):
        for other in CHARS + "_-.":
            if other != char:
                assert id_of(TEXT[:place] + other + TEXT[place + 1 :]) is None


def test_what_has_another_form_is_no_key() -> None:
    for text in (
        *("", "cqk_", TEXT[:-1], TEXT[1:], TEXT + "x", f" {TEXT}", f"{TEXT}\n", TEXT * 2),
        *(TEXT.upper(), TEXT.lower(), TEXT.replace("_", "-"), TEXT.replace("cqk", "cq")),
        TEXT.translate({ord("0") + digit: 0x660 + digit for digit in range(10)}) + "\u0660",
    ):
        assert id_of(text) is None


@given(st.text(max_size=100))
def test_random_text_is_no_key(text: str) -> None:
    assert id_of(text) is None
    assert id_of("cqk_" + text) is None


def test_the_way_takes_what_begins_as_a_key_and_nothing_else() -> None:
    async def read(_: Sequence[str]) -> tuple[int, list[ApiKey | None]]:
        raise AssertionError("nobody is to be asked")

    way = ApiKeys(read, lambda _: None)
    for source, text, expected in (
        (Source.BEARER, TEXT, True),
        (Source.API_KEY, TEXT, True),
        (Source.CERTIFICATE, TEXT, False),
        # Misspelled: shown to no other way, which might send it somewhere.
        (Source.BEARER, "cqk_", True),
        (Source.API_KEY, TEXT[:-3], True),
        (Source.BEARER, "cq_" + TEXT, False),
        (Source.BEARER, "eyJhbGciOiJSUzI1NiJ9.e30.x", False),
        (Source.API_KEY, "CQK" + TEXT[3:], False),
    ):
        assert way.takes(Credential(source, text)) is expected


@given(st.lists(patterns, max_size=3), st.lists(patterns, max_size=3), names)
def test_what_is_within_patterns_lets_nobody_at_more_than_they_do(
    inner: list[str], outer: list[str], command: str
) -> None:
    if is_within(tuple(inner), tuple(outer)):
        allowed = not inner or any(matches(one, command) for one in inner)
        assert not allowed or not outer or any(matches(one, command) for one in outer)


def test_no_commands_are_all_of_them_and_within_no_limits_only() -> None:
    assert is_within((), ())
    assert is_within(("a",), ())
    assert not is_within((), ("*",))
    assert uncovered(["ab", "b"], ("a*",)) == 1
    assert uncovered(["ab", "a"], ("a*",)) is None


def key_of(key_id: str, text: str, **given: int) -> ApiKey:
    """One that may do what an admin may."""
    times = {"created_ms": NOW_MS, "expires_ms": 0, "revoked_ms": 0, "used_ms": 0, **given}
    return ApiKey(
        key_id=key_id,
        tenant="acme",
        name="ci",
        scopes=ROLES["admin"],
        commands=("A*",),
        created_by="ann",
        digest=digest_of(text),
        **times,
    )


class Shelf:
    """Keys, and what is asked of them; `gate` holds readings up."""

    def __init__(self, *keys: ApiKey) -> None:
        self.keys = {key.key_id: key for key in keys}
        self.asked: list[list[str]] = []
        self.used: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.way = ApiKeys(self.read, self.used.append)

    async def read(self, key_ids: Sequence[str]) -> tuple[int, list[ApiKey | None]]:
        self.asked.append(list(key_ids))
        await self.gate.wait()
        if self.error:
            raise self.error
        return NOW_MS, [self.keys.get(key_id) for key_id in key_ids]

    async def verify(self, text: str) -> Principal:
        return await self.way.verify(Credential(Source.API_KEY, text))


async def test_a_key_is_who_it_was_made_for() -> None:
    shelf = Shelf(key_of(ID, TEXT))
    found = await shelf.verify(TEXT)
    assert (found.subject, found.tenant, found.credential) == ("key ci", "acme", f"key:{ID}")
    assert (found.scopes, found.commands) == (ROLES["admin"], ("A*",))
    assert not found.lasting
    assert shelf.used == [ID]


async def test_a_wrong_secret_and_an_unknown_id_are_refused_alike() -> None:
    _, other = new_key()
    shelf = Shelf(key_of(ID, other))
    refusals = []
    for text in (TEXT, new_key()[1], "cqk_nonsense"):
        with pytest.raises(CredentialInvalid) as told:
            await shelf.verify(text)
        refusals.append((told.value.message, told.value.metadata))
    assert len(set(map(str, refusals))) == 1
    assert shelf.used == []


async def test_revoked_and_expired_keys_are_told_to_who_has_them_only() -> None:
    shelf = Shelf(key_of(ID, TEXT, revoked_ms=NOW_MS))
    with pytest.raises(CredentialExpired):
        await shelf.verify(TEXT)
    shelf = Shelf(key_of(ID, new_key()[1], revoked_ms=NOW_MS))
    with pytest.raises(CredentialInvalid):
        await shelf.verify(TEXT)
    assert shelf.used == []


async def test_what_is_left_of_a_life_is_by_the_stores_clock() -> None:
    shelf = Shelf(key_of(ID, TEXT, expires_ms=NOW_MS + 60_000))
    left = (await shelf.verify(TEXT)).expires_at - now().timestamp()
    assert 50 < left <= 60


async def test_callers_share_a_reading_and_what_comes_meanwhile_goes_together() -> None:
    others = [new_key() for _ in range(3)]
    shelf = Shelf(key_of(ID, TEXT), *[key_of(*one) for one in others])
    shelf.gate.clear()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(shelf.verify(TEXT)) for _ in range(50)]
        while not shelf.asked:
            await asyncio.sleep(0)
        tasks += [group.create_task(shelf.verify(text)) for _, text in others * 2]
        for _ in range(5):
            await asyncio.sleep(0)
        shelf.gate.set()
    assert len(tasks) == 56
    assert shelf.asked == [[ID], [key_id for key_id, _ in others]]


async def test_a_caller_who_leaves_takes_the_reading_from_nobody() -> None:
    shelf = Shelf(key_of(ID, TEXT))
    shelf.gate.clear()
    first, second = [asyncio.create_task(shelf.verify(TEXT)) for _ in range(2)]
    while not shelf.asked:
        await asyncio.sleep(0)
    first.cancel()
    shelf.gate.set()
    assert (await second).tenant == "acme"
    assert len(shelf.asked) == 1


async def test_a_key_is_read_again_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr(api_keys, "monotonic", lambda: at)
    unknown = new_key()[1]
    shelf = Shelf(key_of(ID, TEXT))

    async def look() -> None:
        await shelf.verify(TEXT)
        with pytest.raises(CredentialInvalid):
            await shelf.verify(unknown)

    await look()
    at += api_keys._FRESH - 0.01
    await look()
    assert len(shelf.asked) == 2
    at += 0.02
    shelf.keys[ID] = key_of(ID, TEXT, revoked_ms=NOW_MS)
    with pytest.raises(CredentialExpired):
        await shelf.verify(TEXT)
    assert len(shelf.asked) == 3


@pytest.mark.parametrize("error", [StoreUnavailable(), CodeQError("a bug"), ValueError("another")])
async def test_an_error_is_told_and_not_remembered(error: Exception) -> None:
    shelf = Shelf(key_of(ID, TEXT))
    shelf.error = error
    for _ in range(2):
        with pytest.raises(type(error)):
            await shelf.verify(TEXT)
    shelf.error = None
    await shelf.verify(TEXT)
    assert len(shelf.asked) == 3


async def test_a_reading_that_takes_too_long_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "_PATIENCE", 0.01)
    shelf = Shelf(key_of(ID, TEXT))
    shelf.gate.clear()
    with pytest.raises(StoreUnavailable):
        await shelf.verify(TEXT)
    assert len(shelf.asked) == api_keys._TRIES
    shelf.gate.set()
    await shelf.verify(TEXT)


@pytest.mark.parametrize(("begun", "answered"), [(1, 0), (2, 0), (2, 1), (4, 0)])
async def test_a_reading_without_an_answer_is_begun_again_and_the_first_answer_counts(
    monkeypatch: pytest.MonkeyPatch, begun: int, answered: int
) -> None:
    monkeypatch.setattr(api_keys, "_PATIENCE", 0.05)
    shelf = Shelf(key_of(ID, TEXT))
    answers: list[asyncio.Future[None]] = []

    async def read(key_ids: Sequence[str]) -> tuple[int, list[ApiKey | None]]:
        answers.append(asyncio.get_running_loop().create_future())
        await answers[-1]
        return await shelf.read(key_ids)

    looking = asyncio.create_task(Readings(read).find(ID))
    while len(answers) < begun:
        await asyncio.sleep(0)
    answers[answered].set_result(None)
    assert await looking
    assert shelf.asked == [[ID]]
    await asyncio.sleep(0)
    assert all(one.done() for one in answers)


async def test_a_flood_of_unknown_keys_is_read_in_few_goes_and_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_keys, "_MOST", 1_200)
    monkeypatch.setattr(api_keys, "_BATCH", 500)
    shelf = Shelf()
    readings = Readings(shelf.read)
    shelf.gate.clear()

    async def look(key_id: str) -> str:
        try:
            return "found" if await readings.find(key_id) else "unknown"
        except StoreUnavailable:
            return "refused"

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(look(f"k{i}")) for i in range(3_000)]
        while not shelf.asked:
            await asyncio.sleep(0)
        shelf.gate.set()
    told = [task.result() for task in tasks]
    assert (told.count("unknown"), told.count("refused")) == (1_200, 1_800)
    assert [len(batch) for batch in shelf.asked] == [500, 500, 200]
    for i in range(3_000):
        await readings.find(f"other{i}")
    assert len(readings._seen) <= 1_200
    assert readings._waiting == {}


async def test_what_was_read_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr(api_keys, "monotonic", lambda: at)
    readings = Readings(Shelf().read)
    for i in range(50):
        await readings.find(f"k{i}")
    at += 2 * api_keys._FRESH
    await readings.find("last")
    assert list(readings._seen) == ["last"]


def test_nothing_secret_is_shown() -> None:
    key = key_of(ID, TEXT)
    assert repr(key.digest) not in repr(key)
    assert TEXT not in repr(Credential(Source.API_KEY, TEXT))


async def test_a_store_that_is_away_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0
    enough = asyncio.Event()

    class Away:
        async def forget(self, *_: object) -> int:
            nonlocal tries
            tries += 1
            if tries == 5:
                enough.set()
            raise StoreUnavailable("away" if tries < 4 else "refused")

    monkeypatch.setattr(broker_keys, "_EVERY", 0.0)
    running = asyncio.create_task(broker_keys.ApiKeys(cast("ApiKeyStore", Away())).run())
    await enough.wait()
    running.cancel()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"cannot note the use of API keys: {why}" for why in ("away", "refused")]
