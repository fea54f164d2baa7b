"""The audit trail of API keys: who made and ended one, what was done with it, and after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeq.v1 import admin_service_pb2 as admin_pb
from tests.integration import operating
from tests.integration.auditing import some
from tests.integration.calling import ask
from tests.integration.refusals import refused
from tests.support.server import eventually

if TYPE_CHECKING:
    from tests.support.server import Caller, Server


async def test_a_key_can_be_followed_from_its_making_beyond_its_end(
    server: Server, acme: Caller, rival: Caller
) -> None:
    key = admin_pb.ApiKey(name="nightly", scopes=["queues.admin"])
    made = await ask(acme, "CreateApiKey", admin_pb.CreateApiKeyRequest(key=key))
    key_id = made.key.key_id
    holder = server.stranger(("x-api-key", made.secret))
    await operating.update(holder)
    await refused(operating.settings(holder))
    await some(acme, 3)
    revoke = admin_pb.RevokeApiKeyRequest(key_id=key_id, reason="leaked\n")
    await refused(ask(rival, "RevokeApiKey", revoke))
    await ask(acme, "RevokeApiKey", revoke)

    async def ended() -> bool:
        try:
            await operating.update(holder)
        except Exception:  # noqa: BLE001 - which one, the trail tells
            return True
        return False

    await eventually(ended)
    events = [e for e in await some(acme, 5) if e.request_id]
    told = [(e.action.rpartition("/")[2], e.outcome, e.reason) for e in events]
    assert told[:2] == [("CreateApiKey", "OK", ""), ("UpdateQueue", "OK", "")]
    assert told[2] == ("GetQueue", "PERMISSION_DENIED", "SCOPE_MISSING")
    assert ("RevokeApiKey", "OK", "leaked\\n") in told
    assert told[-1] == ("UpdateQueue", "UNAUTHENTICATED", "CREDENTIAL_EXPIRED")
    assert events[0].object == f"{key_id} (nightly)"
    (revoked,) = [e for e in events if e.action.endswith("RevokeApiKey")]
    assert revoked.object == key_id
    by_key = [events[1], events[2], events[-1]]
    assert {e.credential for e in by_key} == {f"key:{key_id}"}
    assert {e.subject for e in by_key} != {"admin of acme"}
    assert made.secret not in str(await some(acme, 5))
    (theirs,) = await some(rival)
    assert (theirs.object, theirs.outcome) == (key_id, "NOT_FOUND")
