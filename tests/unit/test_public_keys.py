"""Public keys: one algorithm each, none that is weak, private or for something else."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from codeq_grpc.auth.issuer_keys import read_jwks
from codeq_grpc.public_keys import UnusableKey, from_jwk, from_pem
from tests.support.signing import b64, number, signing_key

KEYS: Final = [signing_key("k", name) for name in ("RS256", "ES256", "EdDSA")]
RSA, EC, ED = (key.jwk() for key in KEYS)


def pem_of(public: Any) -> str:
    """Of any key of `cryptography`."""
    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.algorithm)
def test_a_key_is_for_one_algorithm_however_it_is_written(key: Any) -> None:
    kid, found = from_jwk(key.jwk())
    assert kid == "k"
    assert found.algorithm == key.algorithm
    assert from_pem(key.pem.decode()) == found
    for less in ("use", "alg"):
        assert from_jwk({n: v for n, v in key.jwk().items() if n != less}) == (kid, found)
    assert from_jwk(key.jwk(key_ops=["verify", "sign"], x5c=["no"], extra={})) == (kid, found)


BAD: Final[dict[str, Any]] = {
    "no object": "key",
    "null": None,
    "no kid": {**EC, "kid": None},
    "empty kid": {**EC, "kid": ""},
    "a number as kid": {**EC, "kid": 5},
    "a long kid": {**EC, "kid": "x" * 257},
    "no kty": {**EC, "kty": None},
    "a shared secret": {"kty": "oct", "kid": "k", "k": b64(b"secret"), "alg": "HS256"},
    "another kind": {**EC, "kty": "ec"},
    "a list as kty": {**EC, "kty": ["EC"]},
    "for encryption": {**EC, "use": "enc"},
    "use null": {**EC, "use": None},
    "to sign only": {**EC, "key_ops": ["sign"]},
    "key_ops null": {**EC, "key_ops": None},
    "key_ops a number": {**RSA, "key_ops": 5},
    "key_ops a text": {**ED, "key_ops": "verify"},
    "private EC": {**EC, "d": b64(bytes(32))},
    "private RSA": {**RSA, "d": "AQAB", "p": "AQAB"},
    "private Ed25519": {**ED, "d": b64(bytes(32))},
    "RSA for PSS": {**RSA, "alg": "PS256"},
    "RSA for HS256": {**RSA, "alg": "HS256"},
    "RSA for none": {**RSA, "alg": "none"},
    "RSA for encryption": {**RSA, "alg": "RSA-OAEP"},
    "EC for ES384": {**EC, "alg": "ES384"},
    "EC as RSA": {**EC, "alg": "RS256"},
    "alg null": {**EC, "alg": None},
    "P-384": {**EC, "crv": "P-384"},
    "secp256k1": {**EC, "crv": "secp256k1"},
    "no curve": {**EC, "crv": None},
    "off the curve": {**EC, "y": EC["x"]},
    "at infinity": {**EC, "x": b64(bytes(32)), "y": b64(bytes(32))},
    "short x": {**EC, "x": b64(bytes(31))},
    "x a number": {**EC, "x": 5},
    "no y": {**EC, "y": None},
    "X25519": {**ED, "crv": "X25519"},
    "Ed448": {**ED, "crv": "Ed448", "x": b64(bytes(57))},
    "short Ed25519": {**ED, "x": b64(bytes(31))},
    "order 1": {**ED, "x": b64(b"\x01" + bytes(31))},
    "order 1, signed": {**ED, "x": b64(b"\x01" + bytes(30) + b"\x80")},
    "order 2": {**ED, "x": b64(b"\xec" + b"\xff" * 30 + b"\x7f")},
    "order 4": {**ED, "x": b64(bytes(32))},
    "order 8": {
        **ED,
        "x": b64(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")),
    },
    "not canonical": {**ED, "x": b64(b"\xee" + b"\xff" * 30 + b"\x7f")},
    "no n": {**RSA, "n": None},
    "n zero": {**RSA, "n": "AA"},
    "n too large": {**RSA, "n": number((1 << 8200) + 1)},
    "n huge": {**RSA, "n": "A" * 200_000},
    "n no base64": {**RSA, "n": "\u00e9" * 300},
    "e zero": {**RSA, "e": "AA"},
    "e one": {**RSA, "e": "AQ"},
    "e even": {**RSA, "e": "Ag"},
    "e large": {**RSA, "e": number((1 << 40) + 1)},
    "e as large as n": {**RSA, "e": RSA["n"]},
}


@pytest.mark.parametrize("what", BAD)
def test_a_jwk_that_should_not_verify_is_passed_over(what: str) -> None:
    with pytest.raises(UnusableKey):
        from_jwk(BAD[what])
    listed = [BAD[what], {**EC, "kid": "good"}]
    assert read_jwks(json.dumps({"keys": listed}).encode()).keys() == {"good"}


@pytest.mark.parametrize("bits", [1024, 1536, 2047])
def test_rsa_keys_of_less_than_2048_bits_are_refused(bits: int) -> None:
    public = rsa.generate_private_key(65_537, bits).public_key()
    numbers = public.public_numbers()
    with pytest.raises(UnusableKey, match=f"{bits} bits"):
        from_jwk({**RSA, "n": number(numbers.n)})
    with pytest.raises(UnusableKey, match=f"{bits} bits"):
        from_pem(pem_of(public))


def test_pem_is_one_public_key() -> None:
    key = KEYS[1]
    private = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(UnusableKey, match="private key") as caught:
        from_pem(private.decode())
    assert private.decode().split("\n")[1] not in str(caught.value)
    pem = key.pem.decode()
    for text in (
        "",
        "key",
        pem + pem,
        pem[:60],
        pem.replace("PUBLIC KEY", "CERTIFICATE"),
        pem_of(ec.generate_private_key(ec.SECP384R1()).public_key()),
        pem_of(ed448.Ed448PrivateKey.generate().public_key()),
    ):
        with pytest.raises(UnusableKey):
            from_pem(text)


def test_of_several_keys_under_one_kid_the_first_counts() -> None:
    found = read_jwks(json.dumps({"keys": [ED, EC, RSA]}).encode())
    assert found["k"].algorithm == "EdDSA"
    with pytest.raises(ValueError, match="too many"):
        read_jwks(json.dumps({"keys": [EC] * 101}).encode())
    assert (
        len(read_jwks(json.dumps({"keys": [{**EC, "kid": str(n)} for n in range(100)]}).encode()))
        == 100
    )


def test_a_jwks_of_a_hundred_keys_is_read_soon() -> None:
    began = time.perf_counter()
    read_jwks(json.dumps({"keys": [{**RSA, "kid": str(n)} for n in range(100)]}).encode())
    print(f"100 RSA keys in {(time.perf_counter() - began) * 1000:.1f} ms")  # noqa: T201
