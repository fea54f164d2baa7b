"""Public keys that verify signed tokens: from PEM and from JSON Web Keys (RFC 7517).

A key is for one algorithm, which its kind tells, never a token: RSA of 2048 to 8192 bits for RS256,
P-256 for ES256, Ed25519 for EdDSA.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable

    AnyKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

KID_CHARS: Final = 256
_RSA_BITS: Final = range(2048, 8193)
_MEMBER_CHARS: Final = 1_400
"""Of a number in a JWK: 8192 bits in base64 are 1366."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(one)
    for one in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)
"""Ed25519 keys under which anybody can sign, without the bit of the sign (as in libsodium)."""


class UnusableKey(ValueError):
    """Why a key is not taken."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key and the one algorithm it is for."""

    algorithm: str
    der: bytes
    key: AnyKey = field(compare=False, repr=False)


def from_pem(text: str) -> PublicKey:
    """The one public key in a PEM text. Raises UnusableKey."""
    if "PRIVATE KEY" in text:
        raise UnusableKey("is a private key; give the public one")
    if text.count("-----BEGIN ") != 1:
        raise UnusableKey("must be one public key in PEM form")
    try:
        return _usable(load_pem_public_key(text.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        if isinstance(error, UnusableKey):
            raise
        raise UnusableKey("is no public key in PEM form") from None


def from_jwk(jwk: Any) -> tuple[str, PublicKey]:
    """The kid and the key of one JWK. Raises UnusableKey for all but public keys that verify."""
    if not isinstance(jwk, dict):
        raise UnusableKey("is no JSON object")
    kid, kind = jwk.get("kid"), jwk.get("kty")
    if not isinstance(kid, str) or not 0 < len(kid) <= KID_CHARS:
        raise UnusableKey(f"has no kid of 1 to {KID_CHARS} characters")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise UnusableKey("is of another kind")
    if _PRIVATE & jwk.keys():
        raise UnusableKey("has private members")
    uses = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        raise UnusableKey("is for another use")
    members, read = _KINDS[kind]
    numbers = [jwk.get(name) for name in members]
    if not all(isinstance(one, str) and len(one) <= _MEMBER_CHARS for one in numbers):
        raise UnusableKey("lacks a member, or it is too long")
    try:
        key = _usable(read(jwk))
    except (PyJWTError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm) as error:
        raise UnusableKey(
            str(error) if isinstance(error, UnusableKey) else "is malformed"
        ) from None
    if jwk.get("alg", key.algorithm) != key.algorithm:
        raise UnusableKey("is for another algorithm")
    return kid, key


_KINDS: Final[dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Any]]]] = {
    "RSA": (("n", "e"), RSAAlgorithm.from_jwk),
    "EC": (("crv", "x", "y"), ECAlgorithm.from_jwk),
    "OKP": (("crv", "x"), OKPAlgorithm.from_jwk),
}


def _usable(key: Any) -> PublicKey:
    return PublicKey(_algorithm(key), _der(key), key)


def _algorithm(key: Any) -> str:
    if isinstance(key, RSAPublicKey):
        if key.key_size not in _RSA_BITS:
            raise UnusableKey(f"is an RSA key of {key.key_size} bits; 2048 to 8192 are taken")
        # A large exponent makes verifying as slow as signing.
        if key.public_numbers().e >= 1 << 32:
            raise UnusableKey("is an RSA key with an exponent beyond 32 bits")
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise UnusableKey(f"is on the curve {key.curve.name}; P-256 is taken")
        return "ES256"
    if isinstance(key, Ed25519PublicKey):
        raw = bytearray(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        raw[31] &= 0x7F
        if bytes(raw) in _SMALL_ORDER:
            raise UnusableKey("is an Ed25519 key of small order")
        return "EdDSA"
    raise UnusableKey("is neither RSA, P-256 nor Ed25519")


def _der(key: AnyKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
