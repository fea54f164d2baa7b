"""Signed tokens that are forged or wrong, by category, each made from a good one."""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.support.signing import (
    SigningKey,
    b64,
    claims_of,
    encoded,
    header_of,
    signed,
    signing_key,
    unb64,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET: Final = b"shared secret"
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256."""


class Forgery(NamedTuple):
    """What is wrong with a token."""

    category: str
    what: str
    token: str


class World(NamedTuple):
    """An issuer that the server knows, its keys, another one that it knows too, and a third with a
    fixed key.
    """

    issuer: str
    rsa: SigningKey
    ec: SigningKey
    ed: SigningKey
    other: str
    others: SigningKey
    fixed: str
    fixed_key: SigningKey

    @property
    def keys(self) -> tuple[SigningKey, ...]:
        """One of each algorithm."""
        return self.rsa, self.ec, self.ed

    def good(self, key: SigningKey | None = None, **claims: Any) -> str:
        """A token that the server takes."""
        return signed(key or self.ec, claims_of(self.issuer, **claims))


def forgeries(world: World) -> Iterator[Forgery]:
    """All of them."""
    for make in (
        algorithms,
        keys_in_headers,
        kids,
        critical,
        types,
        claims,
        times,
        flipped_bits,
        segments,
        json_tricks,
        ecdsa,
        eddsa,
        strangers,
        other_forms,
    ):
        for what, token in make(world):
            yield Forgery(make.__name__, what, token)


def algorithms(world: World) -> Iterator[tuple[str, str]]:
    body = encoded(claims_of(world.issuer))
    for name in ("none", "None", "NONE", "nOnE", "", " none", "RS256 ", "rs256", "ES256\x00"):
        for key in (world.rsa, world.ec):
            text = f"{encoded(header_of(key, alg=name))}.{body}"
            yield f"alg {name!r}, no signature", f"{text}."
            yield f"alg {name!r}, signed", f"{text}.{b64(key.sign(text))}"
    secrets = [(key, secret) for key in world.keys for secret in (key.pem, key.pem.strip())]
    secrets.append((world.ec, json.dumps(world.ec.jwk()).encode()))
    for name, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        for key, secret in secrets:
            text = f"{encoded(header_of(key, alg=name))}.{body}"
            mac = hmac.digest(secret, text.encode(), digest)
            yield f"{name} with the public key", f"{text}.{b64(mac)}"
    for key in world.keys:
        for name in {"RS256", "ES256", "EdDSA", "PS256", "ES384", "RS512"} - {key.algorithm}:
            token = signed(key, claims_of(world.issuer), alg=name)
            yield f"{name} named for a key of {key.algorithm}", token
    for alg in (None, 5, ["ES256"], {"ES256": 1}, True):
        yield f"alg {alg!r}", signed(world.ec, claims_of(world.issuer), alg=alg)
    text = f"{encoded(header_of(world.rsa))}.{body}"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    mac = world.rsa.private.sign(text.encode(), pss, hashes.SHA256())
    yield "PSS under RS256", f"{text}.{b64(mac)}"
    mac = world.rsa.private.sign(text.encode(), padding.PKCS1v15(), hashes.SHA512())
    yield "SHA-512 under RS256", f"{text}.{b64(mac)}"


def keys_in_headers(world: World) -> Iterator[tuple[str, str]]:
    mine = signing_key("mine", owner="attacker")
    good = claims_of(world.issuer)
    for kid in ("mine", world.ec.kid, None):
        for name, value in {
            "jwk": mine.jwk(),
            "jku": "http://127.0.0.1:1/jwks",
            "x5u": "http://127.0.0.1:1/cert",
            "x5c": [b64(mine.pem)],
            "x5t": "abc",
        }.items():
            yield f"{name} and the kid {kid}", signed(mine, good, kid=kid, **{name: value})


def kids(world: World) -> Iterator[tuple[str, str]]:
    good = claims_of(world.issuer)
    for kid in (
        *("", " ", "unknown", "../../etc/passwd", "/dev/null", "' OR 1=1 --", "a\x00b", "ec-1 "),
        *("EC-1", "x" * 257, "x" * 3000, "\u0435c-1", "ec-1\n", "http://127.0.0.1/", "*", "%"),
        *(None, 1, True, ["ec-1"], {"kid": "ec-1"}, 1e300),
    ):
        yield f"kid {str(kid)[:20]!r}", signed(world.ec, good, kid=kid)
    yield "the kid of a key of another algorithm", signed(world.ec, good, kid=world.rsa.kid)


def critical(world: World) -> Iterator[tuple[str, str]]:
    good = claims_of(world.issuer)
    crit: Any
    for crit in (["exp"], ["b64"], ["x"], [], "exp", None, ["alg"], [1], ["kid", "kid"], {}, True):
        name = {} if crit is None else {"crit": crit}
        yield f"crit {crit}", signed(world.ec, good, **name, b64=True)
        yield f"crit {crit}, x", signed(world.ec, good, **{**name, "crit": crit or ["x"]}, x=1)
    header = encoded(header_of(world.ec, b64=False, crit=["b64"]))
    plain = json.dumps(good)
    for body in (plain, ""):
        text = f"{header}.{plain}"
        yield (
            "b64 false",
            f"{header}.{encoded(plain.encode()) if body else ''}.{b64(world.ec.sign(text))}",
        )
    yield "b64 false, not critical", signed(world.ec, good, b64=False)


def types(world: World) -> Iterator[tuple[str, str]]:
    typ: Any
    for typ in ("JWS", "logout+jwt", "dpop+jwt", "secevent+jwt", "JWE", "", "JWT ", 1, ["JWT"], {}):
        yield f"typ {typ!r}", signed(world.ec, claims_of(world.issuer), typ=typ)


def claims(world: World) -> Iterator[tuple[str, str]]:
    name = world.issuer
    upper = name.replace("http", "HTTP")
    for iss in (
        *(f"{name}/", name[:-1], upper, f" {name}", f"{name}\x00", "", "*", name + "@evil"),
        *(None, 5, [name], {name: 1}, True, world.issuer.replace("127", "\uff11\uff127")),
    ):
        yield f"iss {iss!r}", signed(world.ec, claims_of(name, iss=iss))
    for aud in (
        *("other", "CODEQ", "codeq ", "code", "codeq2", "", "*", "codeq,other", "codeq other"),
        *(None, [], ["other"], [["codeq"]], ["codeq", 5], {"codeq": 1}, 5, True, [None]),
    ):
        yield f"aud {aud!r}", signed(world.ec, claims_of(name, aud=aud))
    for sub in ("", " ", None, 5, ["robot-7"], "x" * 256, "a\nb", "a\x00", "\u202eadmin", " a"):
        yield f"sub {str(sub)[:9]!r}", signed(world.ec, claims_of(name, sub=sub))
    tid: Any
    for tid in (
        *("", "a/b", "a{b}", "acme ", "x" * 65, "\u0430cme", "acme\n", None, 5, ["acme"], {}),
        "*",
    ):
        yield f"tenant {str(tid)[:9]!r}", signed(world.ec, claims_of(name, tid=tid))
    for org in ("rival", "ACME", "", 5, ["acme"], {"id": "acme"}):
        yield f"tenants that differ, {org!r}", signed(world.ec, claims_of(name, org={"id": org}))


def times(world: World) -> Iterator[tuple[str, str]]:
    at = int(time.time())
    for exp in (
        *(at - 1, at - 61, at - 86_400, 0, -1, -(10**12), at + 90_000, 10**12, 10**30, 1e308),
        *(10**400, -(10**400)),
        *(None, str(at + 600), "", [at + 600], {"exp": at + 600}, True, False),
    ):
        yield f"exp {exp!r}", signed(world.ec, claims_of(world.issuer, exp=exp))
    value: Any
    for name in ("nbf", "iat"):
        for value in (at + 120, at + 86_400, 10**30, 10**400, str(at), [at], {}, True, 1e308):
            token = signed(world.ec, claims_of(world.issuer, **{name: value}))
            yield f"{name} {value!r}", token
    yield "a lifetime too long", world.good(iat=at - 86_300, exp=at + 200)
    yield "no iat and too long", world.good(iat=None, exp=at + 90_000)
    raw = json.dumps(claims_of(world.issuer, exp=0)).encode()
    for text in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"1" * 5000):
        yield f"exp {text[:10]!r}", signed(world.ec, raw.replace(b'"exp": 0', b'"exp": ' + text))


def flipped_bits(world: World) -> Iterator[tuple[str, str]]:
    for key in world.keys:
        head, body, signature = world.good(key).split(".")
        raw = unb64(signature)
        places = {0, 1, len(raw) // 2 - 1, len(raw) // 2, len(raw) - 2, len(raw) - 1}
        places |= set(range(0, len(raw), max(1, len(raw) // 8)))
        for place in sorted(places):
            for bit in (0, 7):
                bad = bytearray(raw)
                bad[place] ^= 1 << bit
                yield (
                    f"{key.algorithm} signature, {place}.{bit}",
                    f"{head}.{body}.{b64(bytes(bad))}",
                )
        for size in (0, 1, len(raw) - 1, len(raw) + 1, 2 * len(raw)):
            cut = (raw + raw + b"\x00")[:size]
            yield f"{key.algorithm} signature of {size} bytes", f"{head}.{body}.{b64(cut)}"
        yield f"{key.algorithm} zeros", f"{head}.{body}.{b64(bytes(len(raw)))}"
        changed = {**json.loads(unb64(body)), "sub": "robot-8"}
        yield f"{key.algorithm}, another subject", f"{head}.{encoded(changed)}.{signature}"
        changed = {**json.loads(unb64(head)), "x": 1}
        yield f"{key.algorithm}, another header", f"{encoded(changed)}.{body}.{signature}"


def segments(world: World) -> Iterator[tuple[str, str]]:
    head, body, signature = world.good().split(".")
    other = world.good(sub="robot-9").split(".")
    yield "the signature of another", f"{head}.{body}.{other[2]}"
    for what, parts in {
        "two segments": (head, body),
        "one segment": (body,),
        "four segments": (head, body, signature, signature),
        "five segments": (head, body, signature, body, signature),
        "swapped": (body, head, signature),
        "backwards": (signature, body, head),
        "empty header": ("", body, signature),
        "empty payload": (head, "", signature),
        "empty signature": (head, body, ""),
        "dots": ("", "", ""),
        "padded header": (head + "=" * (-len(head) % 4 or 4), body, signature),
        "padded payload": (head, body + "=" * (-len(body) % 4 or 4), signature),
        "padded signature": (head, body, signature + "=="),
        "one = too many": (head, body, signature + "==="),
        "a char more": (head, body, signature + "A"),
        "standard base64": (head, body, "+/" + signature[2:]),
        "a tilde": (head, body, signature + "~"),
        "prefixed": ("A" + head, body, signature),
    }.items():
        yield what, ".".join(parts)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(signature[-1])
    yield "spare bits set", f"{head}.{body}.{signature[:-1]}{alphabet[last | 1]}"


def json_tricks(world: World) -> Iterator[tuple[str, str]]:
    raw = json.dumps(claims_of(world.issuer)).encode()
    for what, body in {
        "exp twice": raw.replace(b"{", b'{"exp": 1, ', 1),
        "iss twice": raw.replace(b"{", b'{"iss": "other", ', 1),
        "tenant twice": raw.replace(b"{", b'{"tid": "rival", ', 1),
        "roles twice": raw.replace(b"{", b'{"roles": [], ', 1),
        "twice within": raw.replace(b"{", b'{"a": {"b": 1, "b": 2}, ', 1),
        "escaped twice": raw.replace(b"{", b'{"\\u0065xp": 1, ', 1),
        "a BOM": b"\xef\xbb\xbf" + raw,
        "utf-16": raw.decode().encode("utf-16"),
        "utf-32": raw.decode().encode("utf-32"),
        "more behind": raw + b"{}",
        "NUL behind": raw + b"\x00",
        "a list": b"[" + raw + b"]",
        "a text": json.dumps(raw.decode()).encode(),
        "null": b"null",
        "nothing": b"{}",
        "cut": raw[:-1],
        "single quotes": raw.replace(b'"', b"'"),
        "a comment": raw + b"// good",
        "bad utf-8": raw.replace(b"robot-7", b"robot-\xff"),
        "overlong utf-8": raw.replace(b"robot-7", b"robot-\xc0\xb7"),
        "surrogate": raw.replace(b"robot-7", b"robot-\\ud800"),
        "deep": raw[:-1] + b', "x": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        "nested token": world.good().encode(),
    }.items():
        yield what, signed(world.ec, body)
    for what, head in {
        "alg twice": f'{{"alg":"none","alg":"ES256","kid":"{world.ec.kid}","typ":"JWT"}}',
        "kid twice": f'{{"alg":"ES256","kid":"x","kid":"{world.ec.kid}","typ":"JWT"}}',
        "no object": '["ES256"]',
        "header null": "null",
        "header text": "ES256",
    }.items():
        text = f"{encoded(head.encode())}.{encoded(raw)}"
        yield what, f"{text}.{b64(world.ec.sign(text))}"
    yield "nested", signed(world.ec, world.good().encode(), cty="JWT")


def ecdsa(world: World) -> Iterator[tuple[str, str]]:
    head, body, signature = world.good().split(".")
    text = f"{head}.{body}"
    der = world.ec.private.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
    yield "DER", f"{text}.{b64(der)}"
    raw = unb64(signature)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for what, pair in {
        "r zero": (0, s),
        "s zero": (r, 0),
        "both zero": (0, 0),
        "both one": (1, 1),
        "r the order": (ORDER, s),
        "s the order": (r, ORDER),
        "both the order": (ORDER, ORDER),
        "s swapped": (s, r),
        "all ones": ((1 << 256) - 1, (1 << 256) - 1),
        "r more by one": ((r + 1) % (1 << 256), s),
        "s beyond the order": (r, s + ORDER if s + ORDER < 1 << 256 else ORDER + 1),
    }.items():
        numbers = b"".join(one.to_bytes(32, "big") for one in pair)
        yield what, f"{text}.{b64(numbers)}"
    for curve in (ec.SECP384R1(), ec.SECP256K1()):
        private = ec.generate_private_key(curve)
        yield curve.name, f"{text}.{b64(private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))}"


def eddsa(world: World) -> Iterator[tuple[str, str]]:
    head, body, signature = world.good(world.ed).split(".")
    raw = unb64(signature)
    group = (1 << 252) + 27742317777372353535851937790883648493
    scalar = int.from_bytes(raw[32:], "little") + group
    yield "s beyond the order", f"{head}.{body}.{b64(raw[:32] + scalar.to_bytes(32, 'little'))}"
    for point in (b"\x00" * 32, b"\x01" + b"\x00" * 31, b"\xec" + b"\xff" * 30 + b"\x7f"):
        for rest in (b"\x00" * 32, raw[32:]):
            yield f"R of small order {point[:1].hex()}", f"{head}.{body}.{b64(point + rest)}"
    # Under a key of small order this verifies; the issuer publishes such a one.
    anybodys = b64(b"\x01" + bytes(63))
    yield "a key of small order", f"{encoded(header_of(world.ed, kid='small'))}.{body}.{anybodys}"


def strangers(world: World) -> Iterator[tuple[str, str]]:
    good = claims_of(world.issuer)
    for key in world.keys:
        mine = signing_key(key.kid, key.algorithm, "attacker")
        yield f"another {key.algorithm} key", signed(mine, claims_of(world.issuer))
        fixed = signed(key, claims_of(world.fixed))
        yield f"{key.algorithm} key for the issuer with a fixed key", fixed
    yield "the other issuer's key", signed(world.others, claims_of(world.issuer))
    yield "a key for the other issuer", signed(world.ec, claims_of(world.other))
    yield "the other's tenant", signed(world.others, claims_of(world.other, tid="rival"))
    yield "an algorithm that the other does not use", signed(world.rsa, claims_of(world.other))
    yield "an unknown issuer", signed(world.ec, claims_of("https://unknown.example"))
    yield "the fixed key for another", signed(world.fixed_key, claims_of(world.issuer))
    yield "a key of 1024 bits", signed(weak_key(), claims_of(world.issuer))
    yield "a key for encryption", signed(signing_key("enc"), claims_of(world.issuer))
    text = f"{encoded(header_of(world.ec, kid='oct', alg='HS256'))}.{encoded(good)}"
    yield "a shared secret", f"{text}.{b64(hmac.digest(SECRET, text.encode(), 'sha256'))}"


@functools.cache
def weak_key() -> SigningKey:
    """Too short, and published nevertheless."""
    return SigningKey("weak", "RS256", rsa.generate_private_key(65_537, 1024))  # noqa: S505 - yes


def published(world: World) -> list[Any]:
    """The JWKS of an issuer that publishes more than it should."""
    return [
        *(key.jwk() for key in world.keys),
        {"kty": "oct", "kid": "oct", "alg": "HS256", "k": b64(SECRET)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "small", "x": b64(b"\x01" + bytes(31))},
        weak_key().jwk(),
        signing_key("enc").jwk(use="enc"),
        {**world.ec.jwk(), "kid": "private", "d": b64(bytes(32))},
        *({"kty": "EC", "kid": 5}, "no key", None, {}),
    ]


def other_forms(world: World) -> Iterator[tuple[str, str]]:
    good = world.good()
    yield "too large", signed(world.ec, claims_of(world.issuer, x="x" * 6_200))
    yield "much too large", signed(world.ec, claims_of(world.issuer, x="x" * 9_000))
    yield "like an API key", f"cqk_{good}"
    yield "like an API key, short", "cqk_abcdefghijkl_" + "A" * 43
    yield "its payload only", good.split(".")[1]
    yield "twice", good + good
    yield "a dot before", f".{good}"
    yield "a dot behind", f"{good}."
    yield "its hash", hashlib.sha256(good.encode()).hexdigest()
    yield "JSON in base64", b64(json.dumps({"payload": good.split(".")[1]}).encode())
