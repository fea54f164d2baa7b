"""Signed tokens (JWT, RFC 7519, as RFC 8725 advises) of the issuers in the settings.

Until its signature is verified nothing in a token counts but `iss`, `alg` and `kid`, and these are
only looked up in tables. `jku`, `x5u`, `jwk` and `x5c` are not looked at.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jwt

from codeq_grpc.auth.credentials import Source
from codeq_grpc.auth.documents import claimed, read_object
from codeq_grpc.auth.remembered import Remembered
from codeq_grpc.core import clock
from codeq_grpc.core.claims import Refused
from codeq_grpc.core.errors import CredentialExpired, CredentialInvalid
from codeq_grpc.public_keys import KID_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codeq_grpc.auth.credentials import Credential
    from codeq_grpc.auth.issuer_keys import Keys
    from codeq_grpc.core.claims import Issuer
    from codeq_grpc.core.principal import Principal
    from codeq_grpc.public_keys import PublicKey

_log = logging.getLogger(__name__)
_FORM: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_JWS: Final = jwt.PyJWS(
    algorithms=["RS256", "ES256", "EdDSA"], options={"enforce_minimum_key_length": True}
)
_TYPES: Final = frozenset({"jwt", "at+jwt"})
"""Of tokens where the settings name no types; a token without type is taken too then."""
_KEPT: Final = 10_000
_AGAIN: Final = 60.0
"""Seconds for which a verified token is remembered, and after which longer calls look again whether
its key is still good."""


class _Verified(NamedTuple):
    """A token that was good, and the key by which it was."""

    principal: Principal
    keys: Keys
    kid: str
    key: PublicKey


class SignedTokens:
    """The way of tokens that claim to be of one of these issuers, each with its keys."""

    def __init__(self, issuers: Iterable[tuple[Issuer, Keys]]) -> None:
        self._issuers = {issuer.name: (issuer, keys) for issuer, keys in issuers}
        self._verified = Remembered[bytes, _Verified](_KEPT)

    def takes(self, credential: Credential) -> bool:
        """Whether it claims to be of one of the issuers, by the most generous reading: what is
        refused here goes to nobody else.
        """
        if credential.source is not Source.BEARER or "." not in credential.text:
            return False
        if self._verified.get(_digest(credential.text)) is not None:
            return True
        named = claimed(credential.text, "iss")
        return any(isinstance(name, str) and name in self._issuers for name in named)

    async def verify(self, credential: Credential) -> Principal:
        """Whose it is. Raises CredentialInvalid, CredentialExpired, IdentityUnavailable."""
        digest = _digest(credential.text)
        known = self._verified.get(digest)
        if known is not None and known.keys.current(known.kid, known.key.algorithm) == known.key:
            return known.principal
        try:
            found = await self._verify(credential.text)
        except Refused as why:
            _log.debug("a signed token is refused: %s", why)
            raise CredentialInvalid from None
        self._verified.put(digest, found, _AGAIN)
        return found.principal

    async def _verify(self, text: str) -> _Verified:
        match = _FORM.fullmatch(text)
        if match is None:
            raise Refused("it has not the form of a signed token")
        header, unverified = _object(_decoded(match[1])), _object(_decoded(match[2]))
        issuer, keys = self._issuer_of(unverified)
        kid, algorithm = _check_header(header, issuer)
        key = await keys.find(kid, algorithm)
        try:
            payload = _JWS.decode(text, key.key, algorithms=[key.algorithm])
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Refused("its signature is not of that key") from None
        claims = _object(payload)
        ends = _check_claims(claims, issuer)
        principal = issuer.rules.principal(
            claims, credential=f"jwt:{issuer.name}", expires_at=ends, check_again=_AGAIN
        )
        if ends <= clock.now().timestamp():
            raise CredentialExpired.of(principal)
        return _Verified(principal, keys, kid, key)

    def _issuer_of(self, claims: dict[str, Any]) -> tuple[Issuer, Keys]:
        name = claims.get("iss")
        found = self._issuers.get(name) if isinstance(name, str) else None
        if found is None:
            raise Refused("its issuer is not known")
        return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _decoded(segment: str) -> bytes:
    try:
        return jwt.utils.base64url_decode(segment)
    except ValueError:
        raise Refused("a part of it is no base64") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return read_object(raw)
    except ValueError:
        raise Refused("a part of it is no unambiguous JSON object") from None


def _check_header(header: dict[str, Any], issuer: Issuer) -> tuple[str, str]:
    """Its kid and algorithm. Raises Refused."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Refused("its algorithm is not allowed")
    # codeQ knows no extension that could be critical; b64 is one (RFC 7797).
    if "crit" in header or "b64" in header:
        raise Refused("it has a critical extension")
    kind = header.get("typ", None if issuer.token_types else "JWT")
    if not isinstance(kind, str):
        raise Refused("it is of no type")
    if kind.lower().removeprefix("application/") not in (issuer.token_types or _TYPES):
        raise Refused("it is of another type")
    kid = header.get("kid", "" if issuer.public_key else None)
    if not isinstance(kid, str) or len(kid) > KID_CHARS:
        raise Refused("it names no key")
    return kid, algorithm


def _check_claims(claims: dict[str, Any], issuer: Issuer) -> float:
    """When it ends, or has ended. Raises Refused."""
    if claims.get("iss") != issuer.name:
        raise Refused("it is of another issuer")
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        raise Refused("it has no audience")
    if issuer.audiences.isdisjoint(named):
        raise Refused("it is for another audience")
    ends, latest = _time(claims, "exp"), clock.now().timestamp() + issuer.leeway
    if ends is None:
        raise Refused("it has no end")
    issued, begins = _time(claims, "iat"), _time(claims, "nbf")
    if (issued is not None and issued > latest) or (begins is not None and begins > latest):
        raise Refused("it is not good yet")
    if ends - (latest if issued is None else issued) > issuer.max_lifetime:
        raise Refused("it lasts longer than is allowed")
    return ends


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate, None if there is none. Raises Refused."""
    if name not in claims:
        return None
    found = claims[name]
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Refused(f"{name} is no time")
    # In this order: a whole number may be too large to be asked whether it is finite.
    if abs(found) >= 1 << 48 or not math.isfinite(found):
        raise Refused(f"{name} is no time")
    return float(found)
