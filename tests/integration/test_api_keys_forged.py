"""What is not a key opens nothing, whatever is known of one; and nothing tells of its secret."""

from __future__ import annotations

import itertools
import logging
import random
import string
from typing import TYPE_CHECKING, Final

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.core.api_keys import new_key, sealed
from codeq_grpc.store.keys import API_KEYS
from tests.integration.api_keys import (
    HEADERS,
    INVALID,
    create,
    holder,
    revoke,
)
from tests.integration.calling import start
from tests.integration.looking import contents
from tests.integration.refusals import refused, told
from tests.support.server import Caller, Server, token_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.support.admin import Admin

CHARS: Final = string.digits + string.ascii_letters
CHECKSUM: Final = 6

log = logging.getLogger(__name__)


async def test_what_the_store_keeps_is_no_key(acme: Caller, server: Server, admin: Admin) -> None:
    """Nothing of a dump is taken for a key, in no spelling of it."""
    made = await create(acme, commands=["RENDER"])
    secret = made.secret.rpartition("_")[2]
    await holder(server, made.secret).enqueue("RENDER")
    kept = repr(contents(admin)).encode()
    kept += b"".join(admin.call("DUMP", key) for key in admin.call("KEYS", "*"))
    for piece in (secret, secret[:12], secret[-12:], secret[:43]):
        assert piece.encode() not in kept
    row = admin.call("HGET", API_KEYS["rows"], made.key.key_id)
    digest = row[24:56]
    head = f"cqk_{made.key.key_id}_"
    for found in (
        digest.hex(),
        digest.hex()[:49],
        row.hex(),
        digest.decode("latin-1").encode().hex(),
    ):
        for header in HEADERS:
            for text in (found, head + found):
                refusal = await refused(holder(server, text[:512], header).enqueue("RENDER"))
                assert refusal.kind == INVALID


def forgeries(good: str, others: list[str]) -> Iterator[str]:
    """Texts near to a key that is good, most of them with the checksum that belongs to them."""
    for place in range(len(good) - CHECKSUM):
        other = random.choice(CHARS.replace(good[place], ""))
        yield good[:place] + other + good[place + 1 :]
        if good[place] != "_":
            yield sealed(good[:place] + other + good[place + 1 : -CHECKSUM])
    prefix, key_id, secret = good[:-CHECKSUM].split("_")
    yield from (good[:-1], good + "0", good[:17], sealed(good[:17]), f"{good}.{good}", "cqk_")
    yield from (sealed(good), good.swapcase(), good[4:], f"{prefix}_{key_id}", f"x{good}")
    for other in others:
        _, other_id, other_secret = other[:-CHECKSUM].split("_")
        yield sealed(f"{prefix}_{other_id}_{secret}")
        yield sealed(f"{prefix}_{key_id}_{other_secret}")
    for _ in range(20):
        yield new_key()[1]
        guess = "".join(random.choices(CHARS, k=len(secret)))
        yield sealed(f"{prefix}_{key_id}_{guess}")


async def test_forged_keys_open_nothing(acme: Caller, rival: Caller, server: Server) -> None:
    seed = random.randrange(1 << 32)
    log.warning("seed %d", seed)
    random.seed(seed)
    made = await create(acme)
    others = [(await create(who)).secret for who in (acme, rival)]
    tried = 0
    for text in forgeries(made.secret, others):
        assert text not in {made.secret, *others}
        for header in HEADERS:
            code, reason, _ = await told(holder(server, text, header), "Claim", pb.ClaimRequest())
            assert (code, reason) == INVALID, text
            tried += 1
    log.warning("%d forged keys, 0 accepted", tried)
    assert tried > 300
    await holder(server, made.secret).enqueue()


async def test_a_key_and_another_credential_are_refused_together(
    acme: Caller, server: Server
) -> None:
    """Also the same one twice; nothing is tried in turn."""
    made = (await create(acme)).secret
    bearers = [("authorization", f"Bearer {one}") for one in (made, token_of("acme", "admin"), "x")]
    for first, second in itertools.permutations([*bearers, ("x-api-key", made)], 2):
        stranger = server.stranger(first, second)
        assert (await refused(stranger.enqueue())).kind == INVALID
    for text in (f"Bearer {made}", f"{made},{made}", f"{made} ", token_of("acme", "admin")):
        assert (await refused(server.stranger(("x-api-key", text)).enqueue())).kind == INVALID


async def test_no_part_of_a_secret_is_logged(
    acme: Caller, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await create(acme)
    secret = made.secret.rpartition("_")[2]
    wrong = made.secret[:-7] + ("a" if made.secret[-7] != "a" else "b") + made.secret[-6:]
    for text, header in itertools.product((made.secret, wrong, made.secret + "x"), HEADERS):
        call = start(holder(server, text, header), "Claim", pb.ClaimRequest())
        await refused(call)
    await revoke(acme, made.key.key_id)
    logged = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert "RevokeApiKey" in logged
    for piece in (secret[:20], secret[10:30], secret[-20:]):
        assert piece not in logged
