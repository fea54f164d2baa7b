"""Signed tokens made by hand, good ones and any others; not by the library under test."""

from __future__ import annotations

import base64
import functools
import json
import time
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUDIENCE: Final = "codeq"
LIFETIME: Final = 600


def b64(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The other way round."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded(thing: Any) -> str:
    """A segment: of bytes, or of what becomes JSON."""
    return b64(thing if isinstance(thing, bytes) else json.dumps(thing).encode())


def number(value: int, size: int | None = None) -> str:
    """A number of a JWK."""
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class SigningKey(NamedTuple):
    """A private key, its algorithm, and the name under which it is published."""

    kid: str
    algorithm: str
    private: Any

    def sign(self, text: str) -> bytes:
        """The signature of a JWS over its first two segments."""
        raw = text.encode()
        if self.algorithm == "RS256":
            signature: bytes = self.private.sign(raw, padding.PKCS1v15(), hashes.SHA256())
        elif self.algorithm == "ES256":
            r, s = decode_dss_signature(self.private.sign(raw, ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        else:
            signature = self.private.sign(raw)
        return signature

    @property
    def pem(self) -> bytes:
        """The public key."""
        pem: bytes = self.private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        return pem

    def jwk(self, **more: Any) -> dict[str, Any]:
        """The public key as issuers publish it."""
        public = self.private.public_key()
        jwk = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        if self.algorithm == "RS256":
            numbers = public.public_numbers()
            jwk |= {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
        elif self.algorithm == "ES256":
            at = public.public_numbers()
            jwk |= {"kty": "EC", "crv": "P-256", "x": number(at.x, 32), "y": number(at.y, 32)}
        else:
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            jwk |= {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
        return jwk | more


@functools.cache
def signing_key(kid: str, algorithm: str = "ES256", owner: str = "") -> SigningKey:
    """The same key for the same names: RSA keys take long to make."""
    if algorithm == "RS256":
        return SigningKey(kid, algorithm, rsa.generate_private_key(65_537, 2048))
    if algorithm == "ES256":
        return SigningKey(kid, algorithm, ec.generate_private_key(ec.SECP256R1()))
    return SigningKey(kid, algorithm, ed25519.Ed25519PrivateKey.generate())


def claims_of(issuer: str, **more: Any) -> dict[str, Any]:
    """Those of a good token; None takes one away."""
    at = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": "robot-7",
        "iat": at,
        "exp": at + LIFETIME,
        "tid": "acme",
        "roles": ["admin"],
        **more,
    }
    return {name: value for name, value in claims.items() if value is not None}


def header_of(key: SigningKey, **more: Any) -> dict[str, Any]:
    """That of a good token; None takes a member away."""
    header = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid, **more}
    return {name: value for name, value in header.items() if value is not None}


def signed(key: SigningKey, claims: Any, **header: Any) -> str:
    """A token. Claims may be bytes, to be exact."""
    text = f"{encoded(header_of(key, **header))}.{encoded(claims)}"
    return f"{text}.{b64(key.sign(text))}"
