"""Credentials: exactly one entry counts, in one way only; of tokens only hashes are kept."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, strategies as st

from codeq_grpc.auth.authenticator import Authenticator, check_scope, needed_by
from codeq_grpc.auth.credentials import Credential, hash_token, read_credential
from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.auth.tokens import Tokens
from codeq_grpc.core.clock import now
from codeq_grpc.core.errors import (
    CredentialExpired,
    CredentialInvalid,
    CredentialMissing,
    ScopeMissing,
)
from codeq_grpc.core.principal import ROLES, Principal, Reach, Scope, matches

if TYPE_CHECKING:
    from codeq_grpc.core.errors import CodeQError

TOKEN: Final = "Abc.123_~+/=-"
PRINCIPAL: Final = Principal(subject="s", tenant="acme", scopes=ROLES["worker"])
OTHER: Final = replace(PRINCIPAL, subject="other", tenant="other")
TOKENS: Final = Tokens({hash_token(TOKEN): PRINCIPAL})
GOOD: Final = ("authorization", f"Bearer {TOKEN}")
KEY: Final = ("x-api-key", "key-1")


class Way:
    """Takes what begins with its name; knows one text."""

    def __init__(self, name: str, knows: dict[str, Principal]) -> None:
        self.name = name
        self.knows = knows
        self.asked = 0

    def takes(self, credential: Credential) -> bool:
        """By form."""
        return credential.text.startswith(self.name)

    async def verify(self, credential: Credential) -> Principal:
        """By table."""
        self.asked += 1
        if credential.text not in self.knows:
            raise CredentialInvalid
        return self.knows[credential.text]


async def whose(*metadata: tuple[str, str | bytes], ways: tuple[Way, ...] = ()) -> Principal:
    """Who calls with that metadata."""
    principal, _ = await Authenticator(TOKENS, ways).authenticate(metadata)
    return principal


def test_a_token_is_kept_as_its_sha256() -> None:
    assert hash_token(TOKEN) == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert TOKEN not in repr(vars(TOKENS))


def test_a_credential_does_not_show_itself() -> None:
    assert TOKEN not in repr(read_credential([GOOD]))


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
async def test_a_known_token_is_its_principal(scheme: str) -> None:
    entries = ("x-other", "1"), ("authorization", scheme + TOKEN), ("x-tenant", "rival")
    assert await whose(*entries) is PRINCIPAL


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ([], CredentialMissing),
        ([("Authorization-", GOOD[1])], CredentialMissing),
        ([("authorization-bin", b"Bearer x")], CredentialMissing),
        ([("x-api-key", TOKEN)], CredentialInvalid),
        ([("authorization", "")], CredentialInvalid),
        ([("authorization", TOKEN)], CredentialInvalid),
        ([("authorization", "Bearer")], CredentialInvalid),
        ([("authorization", f"Bearer\t{TOKEN}")], CredentialInvalid),
        ([("authorization", f" Bearer {TOKEN}")], CredentialInvalid),
        ([("authorization", f"Bearer {TOKEN} ")], CredentialInvalid),
        ([("authorization", f"Bearer {TOKEN}\n")], CredentialInvalid),
        ([("authorization", f"Bearer {TOKEN},{TOKEN}")], CredentialInvalid),
        ([("authorization", f"Basic {TOKEN}")], CredentialInvalid),
        ([("authorization", f"Bearer {hash_token(TOKEN)}")], CredentialInvalid),
        ([("authorization", "Bearer " + "x" * 8193)], CredentialInvalid),
        ([("authorization", "Bearer é")], CredentialInvalid),
        ([("authorization", f"Bearer {TOKEN}".encode())], CredentialInvalid),
        ([GOOD, GOOD], CredentialInvalid),
        ([GOOD, KEY], CredentialInvalid),
        ([KEY, GOOD], CredentialInvalid),
        ([KEY, KEY], CredentialInvalid),
        ([("x-api-key", b"key-1")], CredentialInvalid),
        ([("x-api-key", "")], CredentialInvalid),
        ([("x-api-key", "Bearer key-1")], CredentialInvalid),
        ([("x-api-key", "k" * 513)], CredentialInvalid),
        ([("x-api-key-bin", b"key-1")], CredentialMissing),
        ([GOOD, ("authorization", "Bearer other")], CredentialInvalid),
        ([("authorization", "Bearer other"), GOOD], CredentialInvalid),
    ],
)
async def test_anything_else_is_refused(
    metadata: list[tuple[str, str | bytes]], error: type[CodeQError]
) -> None:
    with pytest.raises(error) as caught:
        await whose(*metadata)
    assert TOKEN not in caught.value.message
    assert caught.value.metadata == {}


async def test_a_credential_that_one_way_refuses_is_shown_to_no_other() -> None:
    first, second = Way("key-", {}), Way("key-1", {"key-1": OTHER})
    with pytest.raises(CredentialInvalid):
        await whose(KEY, ways=(first, second))
    assert (first.asked, second.asked) == (1, 0)


async def test_the_form_tells_the_way() -> None:
    first, second = Way("jwt-", {}), Way("key-", {"key-1": OTHER})
    assert await whose(KEY, ways=(first, second)) is OTHER
    assert await whose(("authorization", "Bearer key-1"), ways=(first, second)) is OTHER
    assert first.asked == 0


async def test_a_known_token_is_not_shown_to_any_way() -> None:
    way = Way("", {})
    assert await whose(GOOD, ways=(way,)) is PRINCIPAL
    assert way.asked == 0


async def test_nobody_comes_in_with_what_has_expired() -> None:
    late = replace(OTHER, expires_at=now().timestamp() - 1)
    soon = replace(OTHER, expires_at=now().timestamp() + 60)
    way = Way("", {"late": late, "soon": soon})
    with pytest.raises(CredentialExpired):
        await whose(("x-api-key", "late"), ways=(way,))
    assert await whose(("x-api-key", "soon"), ways=(way,)) is soon


def test_only_what_never_ends_is_lasting() -> None:
    assert PRINCIPAL.lasting
    assert not replace(PRINCIPAL, expires_at=1.0).lasting
    assert not replace(PRINCIPAL, check_again=1.0).lasting
    assert PRINCIPAL.expires_at == math.inf


def test_a_scope_opens_its_methods_and_no_others() -> None:
    for method, needed in PERMISSIONS.items():
        if not isinstance(needed, Scope) or needed in PRINCIPAL.scopes:
            check_scope(method, needed, PRINCIPAL)
            continue
        with pytest.raises(ScopeMissing) as caught:
            check_scope(method, needed, PRINCIPAL)
        assert caught.value.metadata == {"scope": needed.value, "method": method}


@pytest.mark.parametrize("method", ["/codeq.v1.CodeQService/Nothing", "", "/", "Enqueue"])
def test_a_method_that_is_not_in_the_table_needs_a_credential(method: str) -> None:
    assert needed_by(method) is Access.ANY_CREDENTIAL


async def test_without_tokens_nobody_is_known() -> None:
    with pytest.raises(CredentialInvalid):
        await Authenticator(Tokens({})).authenticate([GOOD])


@pytest.mark.parametrize(
    ("pattern", "command", "covered"),
    [
        ("mail", "mail", True),
        ("mail", "mail.in", False),
        ("mail.*", "mail.in", True),
        ("mail.*", "mail.", True),
        ("mail.*", "mail", False),
        ("*", "anything", True),
        ("*.in", "mail.in", True),
        ("*.in", ".in", True),
        ("*.in", "mail.in.x", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "a.b.b.c", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("mail.*", "mail.in.*", True),
        ("mail.in.*", "mail.*", False),
        ("mail.*", "*", False),
        ("a*c", "a*", False),
        ("**", "x", True),
    ],
)
def test_a_pattern_covers_what_it_should(pattern: str, command: str, covered: bool) -> None:
    assert matches(pattern, command) is covered
    assert Reach("acme", ("nothing", pattern)).has(command) is covered


PATTERNS: Final = st.text("ab*", min_size=1, max_size=6)


def _known_matches(pattern: str, command: str) -> bool:
    """The definition, letter by letter."""
    if not pattern:
        return not command
    if pattern[0] == "*":
        return any(_known_matches(pattern[1:], command[at:]) for at in range(len(command) + 1))
    return command[:1] == pattern[0] and _known_matches(pattern[1:], command[1:])


@given(PATTERNS, st.text("ab", max_size=6))
def test_patterns_are_what_their_definition_says(pattern: str, command: str) -> None:
    assert matches(pattern, command) is _known_matches(pattern, command)


@given(PATTERNS, PATTERNS, st.text("ab", max_size=6))
def test_who_covers_a_pattern_covers_all_that_it_covers(
    wide: str, narrow: str, command: str
) -> None:
    if matches(wide, narrow) and matches(narrow, command):
        assert matches(wide, command)
