"""Signed tokens and key sets: made up, and made up but signed well."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from codeq_grpc.auth.authenticator import Authenticator
from codeq_grpc.auth.credentials import Credential, Source
from codeq_grpc.auth.issuer_keys import read_jwks
from codeq_grpc.auth.outside import Outside
from codeq_grpc.auth.tokens import Tokens
from codeq_grpc.core.errors import CredentialExpired, CredentialInvalid
from codeq_grpc.core.principal import TENANT_NAME, Principal
from codeq_grpc.settings import Settings
from tests.fuzz.reading import Reader
from tests.support.signing import SigningKey, b64, claims_of, header_of, signed

_ISSUER: Final = "https://id.example"
_KEY: Final = SigningKey("k", "EdDSA", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
_ENTRY: Final = {
    "issuer": _ISSUER,
    "audiences": ["codeq"],
    "algorithms": ["EdDSA"],
    "public_key": _KEY.pem.decode(),
    "tenant_claims": ["tid", "a.b"],
    "roles_claim": "roles",
    "scopes_claim": "scope",
    "commands_claim": "c",
}
_WAYS: Final = Outside(Settings.model_validate({"issuers": [_ENTRY]}).known_issuers(), None).ways


def _whose(text: str) -> Principal | None:
    call = Authenticator(Tokens({}), _WAYS).verify(Credential(Source.BEARER, text))
    try:
        call.send(None)  # with a fixed key nobody is waited for
    except StopIteration as done:
        principal: Principal = done.value
        return principal
    except (CredentialInvalid, CredentialExpired):
        return None
    raise AssertionError("it waits")


def signed_tokens(raw: bytes) -> None:
    """What nobody signed is refused. What is signed is refused, or of one tenant and limited."""
    reader = Reader(raw)
    if reader.number(1):
        assert _whose(reader.rest().decode(errors="replace")) is None
        return
    head = reader.take(reader.number(255))
    text = f"{b64(head)}.{b64(reader.rest())}"
    found = _whose(f"{text}.{b64(_KEY.sign(text))}")
    if found is not None:
        header: dict[str, Any] = json.loads(head)
        assert header["alg"] == "EdDSA"
        assert TENANT_NAME.fullmatch(found.tenant)
        assert found.subject.isprintable()
        assert found.commands or not found.scopes
        assert time.time() < found.expires_at < time.time() + 86_431


def key_sets(raw: bytes) -> None:
    """Whatever an issuer publishes is no JWKS, or keys of one algorithm each."""
    with contextlib.suppress(ValueError):
        for key in read_jwks(raw).values():
            assert key.algorithm in {"RS256", "ES256", "EdDSA"}


def seeds_of_tokens() -> list[bytes]:
    """A good one, signed and to be signed."""
    claims = claims_of(_ISSUER, c=["*"])
    head = json.dumps(header_of(_KEY)).encode()
    made = bytes((0, len(head))) + head + json.dumps(claims).encode()
    return [b"\x01" + signed(_KEY, claims)[:-8].encode(), made]


def seeds_of_sets() -> list[bytes]:
    """One key, and none."""
    return [json.dumps({"keys": [_KEY.jwk()]}).encode(), b'{"keys": []}']
