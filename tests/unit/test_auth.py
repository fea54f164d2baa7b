"""Tokens: exactly one `authorization` entry counts, and only hashes are kept."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import pytest

from codeq_grpc.auth.permissions import PERMISSIONS, Access
from codeq_grpc.auth.tokens import Tokens, hash_token
from codeq_grpc.core.errors import CredentialInvalid, CredentialMissing, ScopeMissing
from codeq_grpc.core.principal import ROLES, Principal, Scope

if TYPE_CHECKING:
    from codeq_grpc.core.errors import CodeQError

TOKEN: Final = "Abc.123_~+/=-"
PRINCIPAL: Final = Principal(subject="s", tenant="acme", scopes=ROLES["worker"])
TOKENS: Final = Tokens({hash_token(TOKEN): PRINCIPAL})
GOOD: Final = ("authorization", f"Bearer {TOKEN}")


def test_a_token_is_kept_as_its_sha256() -> None:
    assert hash_token(TOKEN) == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert TOKEN not in repr(vars(TOKENS))


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_a_known_token_is_its_principal(scheme: str) -> None:
    metadata = [("x-other", "1"), ("authorization", scheme + TOKEN), ("x-tenant", "rival")]
    assert TOKENS.authenticate(metadata) is PRINCIPAL


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ([], CredentialMissing),
        ([("Authorization-", GOOD[1])], CredentialMissing),
        ([("authorization-bin", b"Bearer x")], CredentialMissing),
        ([("x-api-key", TOKEN)], CredentialMissing),
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
        ([("authorization", "Bearer " + "x" * 513)], CredentialInvalid),
        ([("authorization", "Bearer é")], CredentialInvalid),
        ([("authorization", f"Bearer {TOKEN}".encode())], CredentialInvalid),
        ([GOOD, GOOD], CredentialInvalid),
        ([GOOD, ("authorization", "Bearer other")], CredentialInvalid),
        ([("authorization", "Bearer other"), GOOD], CredentialInvalid),
    ],
)
def test_anything_else_is_refused(
    metadata: list[tuple[str, str | bytes]], error: type[CodeQError]
) -> None:
    with pytest.raises(error) as caught:
        TOKENS.authenticate(metadata)
    assert TOKEN not in caught.value.message
    assert caught.value.metadata == {}


def test_open_methods_do_not_even_look_at_the_credential() -> None:
    for method, needed in PERMISSIONS.items():
        if needed is Access.OPEN:
            assert TOKENS.authorize(method, [("authorization", "nonsense")]) is None


def test_a_scope_opens_its_methods_and_no_others() -> None:
    for method, needed in PERMISSIONS.items():
        if not isinstance(needed, Scope):
            continue
        if needed in PRINCIPAL.scopes:
            assert TOKENS.authorize(method, [GOOD]) is PRINCIPAL
            continue
        with pytest.raises(ScopeMissing) as caught:
            TOKENS.authorize(method, [GOOD])
        assert caught.value.metadata == {"scope": needed.value, "method": method}


@pytest.mark.parametrize("method", ["/codeq.v1.CodeQService/Nothing", "", "/", "Enqueue"])
def test_a_method_that_is_not_in_the_table_needs_a_credential(method: str) -> None:
    with pytest.raises(CredentialMissing):
        TOKENS.authorize(method, [])
    assert TOKENS.authorize(method, [GOOD]) is PRINCIPAL


def test_without_tokens_nobody_is_known() -> None:
    with pytest.raises(CredentialInvalid):
        Tokens({}).authenticate([GOOD])
