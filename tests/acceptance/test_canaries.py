"""What is secret comes out nowhere: not in logs, errors, the audit trail or health pages.

A real server that logs all it can gets canaries by every way in: every RPC with each of its
requests, good and wrong field by field, cut short and not UTF-8, with credentials of every kind,
while the store is well, damaged and away. Then everything that came out is searched for them, and
for what base64 and hex make of them.

Secret are credentials, whatever header they come in; payloads, results and checkpoints; headers of
tasks; what workers write into errors and progress; fences of leases; keys of the settings. Names,
labels, ids, reasons and what a queue is called are not: they are there to be shown.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import http.client
import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from codeq.v1 import admin_service_pb2 as admin_pb, codeq_service_pb2 as pb, task_pb2
from codeq_grpc.store.keys import trail_keys
from tests.acceptance.programs import wait_until
from tests.acceptance.servers import Serve, is_ready
from tests.integration.auditing import trail
from tests.integration.calling import METHODS, STREAMING, answer, start, start_raw
from tests.integration.requests import _walk, requests
from tests.integration.test_bad_fields import BAD_UTF8, bad_values
from tests.support.admin import Admin
from tests.support.server import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from google.protobuf.message import Message

    from tests.integration.requests import Field
    from tests.support.server import Metadata
    from tests.support.stores import StoreProcess

SECRET_FIELDS: Final = {"data", "detail", "message"}
"""Of messages within requests; beside them the values of `headers`."""
LINE: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]{12}\+00:00 (debug|info|warning|error) ")


class Canaries:
    """Secrets that were made, and all that came out."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}
        self.out: dict[str, str] = {}
        """Where it came out -> what."""
        self.errors: list[str] = []
        self.calls = 0

    def make(self, what: str) -> str:
        """A new one."""
        return self.keep(what, f"canary{secrets.token_hex(20)}")

    def keep(self, what: str, secret: str) -> str:
        """One that somebody else made."""
        self._made[secret] = what
        return secret

    def found(self) -> list[tuple[str, str]]:
        """What came out where."""
        found = set()
        for secret, what in self._made.items():
            spelled = list(spellings(secret))
            for where, text in self.out.items():
                found |= {(what, where) for one in spelled if one in text}
        return sorted(found)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._made)


def spellings(secret: str) -> Iterator[str]:
    """A secret as it may come out; of base64 the middle, wherever it begins."""
    yield secret
    if len(secret) > 20:
        yield secret[4:24]  # a part of it is too much as well
        yield secret.encode().hex()
        for shift in range(3):
            yield base64.b64encode(b"x" * shift + secret.encode()).decode()[4:28]


def poison(message: Message, canaries: Canaries) -> Message:
    """A copy with a canary in every field that is secret."""
    copied = copy.deepcopy(message)
    _poison(copied, canaries, type(message).__name__)
    return copied


def _poison(message: Any, canaries: Canaries, path: str) -> None:
    for field, value in message.ListFields():
        here = f"{path}.{field.name}"
        if field.name == "headers":
            value["traceparent"] = canaries.make(here)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for inner in value if field.is_repeated else (value,):
                _poison(inner, canaries, here)
        elif field.name in SECRET_FIELDS:
            text = canaries.make(here)
            setattr(message, field.name, text.encode() if isinstance(value, bytes) else text)


def credentials(canaries: Canaries) -> Iterator[Metadata]:
    """Of every kind, all of them wrong."""

    def encoded(**claims: str) -> str:
        return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

    def made(what: str) -> str:
        return canaries.make(what)

    jwt = f"{encoded(alg='RS256', kid=made('kid'))}.{encoded(sub=made('sub'))}.{made('signature')}"
    canaries.keep("JWT", jwt)
    yield ()
    yield (("authorization", f"Bearer {made('token')}"),)
    yield (("authorization", f"Bearer {jwt}"),)
    yield (("authorization", f"Bearer {made('long token') * 100}"),)
    yield (("authorization", f"Bearer {made('two')} {made('words')}"),)
    yield (("authorization", f"Basic {base64.b64encode(made('basic').encode()).decode()}"),)
    yield (("authorization", made("no scheme")),)
    yield (("x-api-key", made("api key")),)
    yield (("x-api-key", f"cq_{secrets.token_hex(4)}_{made('secret of a key')}"),)
    yield (("x-api-key", f"not a key {made('bad key')}"),)
    yield (("x-api-key", made("both")), ("authorization", f"Bearer {made('of two')}"))
    yield (("cookie", f"session={made('cookie')}"), ("proxy-authorization", made("proxy")))
    yield (("x-auth-token", made("auth token")), ("x-goog-iam-authorization-token", made("iam")))
    yield (("authorization-bin", made("binary").encode()),)  # type: ignore[misc]


async def tell(canaries: Canaries, rpc: str, call: Any) -> Any:
    """Waits for a call, and keeps what its error tells."""
    canaries.calls += 1
    try:
        return await answer(rpc, call)
    except grpc.aio.AioRpcError as error:
        trailing = [(key, value) for key, value in error.trailing_metadata() or ()]
        raw = b"".join(v if isinstance(v, bytes) else str(v).encode() for _, v in trailing)
        canaries.errors.append(f"{error.details()} {raw.decode(errors='replace')}")
        return None
    finally:
        call.cancel()


def wrong(rpc: str, request: Message) -> Iterator[Message]:
    """One for each field: the same with a value there that is refused."""
    field: Field
    for field in _walk(rpc, request, request, "", ()):
        for value in bad_values(field)[:1]:
            yield field.with_value(value)


async def lease_of(caller: Caller, canaries: Canaries) -> task_pb2.LeaseRef:
    """A live one, whose fence is a secret, too."""
    await caller.enqueue()
    (task,) = await caller.claim(lease=600)
    canaries.keep("fence", str(task.lease.fence))
    return task.lease


async def call_everything(
    caller: Caller, canaries: Canaries, lease: task_pb2.LeaseRef, *, deep: bool
) -> None:
    """Every RPC, and with `deep` with all that can be wrong with a request."""
    for rpc, plain in requests(lease):
        request = poison(plain, canaries)
        await tell(canaries, rpc, start(caller, rpc, request, timeout=3))
        if not deep:
            continue
        for bad in wrong(rpc, request):
            await tell(canaries, rpc, start(caller, rpc, bad))
        raw = request.SerializeToString()
        for cut in (raw[:-1], raw + b"\xff", raw + b"\x0a\x03" + BAD_UTF8):
            await tell(canaries, rpc, start_raw(caller, rpc, cut))


def fetch(port: int, path: str, headers: dict[str, str] | None = None) -> str:
    """A page, whatever its status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers or {})
        response = connection.getresponse()
        return f"{response.headers} {response.read().decode()}"
    finally:
        connection.close()


@pytest.fixture
def canaries() -> Canaries:
    return Canaries()


@pytest.fixture(autouse=True)
def grpc_engine(own_store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Comes with the store: each of the two with one of the two."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", own_store.engine.grpc)
    return own_store.engine.grpc


@pytest.fixture(params=["json", "text"])
def serve(
    request: pytest.FixtureRequest, own_store: StoreProcess, canaries: Canaries
) -> Iterator[Serve]:
    tokens = [
        {
            "sha256": hashlib.sha256(canaries.make(f"token of {role}").encode()).hexdigest(),
            "subject": role,
            "tenant": "acme",
            "roles": [role],
        }
        for role in ("admin", "viewer")
    ]
    settings = {
        "CODEQ_REDIS_URL": own_store.url,
        "CODEQ_TOKENS": json.dumps(tokens),
        "CODEQ_LOG_LEVEL": "debug",
        "CODEQ_LOG_FORMAT": request.param,
        "CODEQ_AUDIT": "all",
        "CODEQ_MAX_FAILURES_PER_SECOND": "1000000",
        "CODEQ_STORE_TIMEOUT_SECONDS": "1",
        "CODEQ_REFLECTION": "true",
        "CODEQ_IDENTITY_SERVICE_API_KEY": canaries.make("identity service's key"),
    }
    with Serve(settings) as serve:
        yield serve.start()


@pytest.fixture
async def channel(serve: Serve) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(serve.address) as channel:
        yield channel


def with_token(channel: grpc.aio.Channel, canaries: Canaries, role: str) -> Caller:
    """The caller with the token that was made for a role."""
    (token,) = [text for text, what in canaries._made.items() if what == f"token of {role}"]
    return Caller(channel, (("authorization", f"Bearer {token}"),))


async def use_a_key(admin: Caller, canaries: Canaries) -> None:
    """Makes a key, calls with it in both headers, and ends it."""
    key = admin_pb.ApiKey(name="canary", scopes=["tasks.read"])
    request = admin_pb.CreateApiKeyRequest(key=key)
    made = await tell(canaries, "CreateApiKey", start(admin, "CreateApiKey", request))
    if made is None:
        return
    secret = canaries.keep("API key", made.secret)
    revoke = admin_pb.RevokeApiKeyRequest(key_id=made.key.key_id)
    for _ in range(2):
        for header, text in (("x-api-key", secret), ("authorization", f"Bearer {secret}")):
            holder = Caller(admin.channel, ((header, text),))
            for rpc in ("GetTask", "PauseQueue"):
                call = start(holder, rpc, GetMessageClass(METHODS[rpc].input_type)())
                await tell(canaries, rpc, call)
        await tell(canaries, "RevokeApiKey", start(admin, "RevokeApiKey", revoke))


def pages(serve: Serve, canaries: Canaries) -> None:
    """What HTTP answers to those who send secrets."""
    headers = {"Authorization": f"Bearer {canaries.make('HTTP header')}", "Cookie": "c=1"}
    for path in ("/health/detailed", "/readyz", "/livez", "/nothing"):
        asked = f"{path}?token={canaries.make('query')}"
        text = fetch(serve.http_port, asked, headers)
        canaries.out[f"page {path}"] = canaries.out.get(f"page {path}", "") + text


async def test_no_secret_comes_out_anywhere(
    serve: Serve, own_store: StoreProcess, channel: grpc.aio.Channel, canaries: Canaries
) -> None:
    admin, viewer = (with_token(channel, canaries, role) for role in ("admin", "viewer"))
    lease, other = [await lease_of(admin, canaries) for _ in range(2)]
    await call_everything(admin, canaries, lease, deep=True)
    await call_everything(viewer, canaries, other, deep=False)
    for metadata in credentials(canaries):
        await call_everything(Caller(channel, metadata), canaries, lease, deep=False)
    await use_a_key(admin, canaries)
    pages(serve, canaries)
    with Admin(own_store.socket_path) as store:
        for suffix in ("m", "s", "b"):
            store.call("RENAME", f"codeq:{{acme/RENDER/0}}:{suffix}", f"kept:{suffix}")
            store.call("SET", f"codeq:{{acme/RENDER/0}}:{suffix}", "of another type")
        store.call("RENAME", trail_keys("acme")[0], "kept:trail")
        store.call("SET", trail_keys("acme")[0], "of another type")
        await call_everything(admin, canaries, lease, deep=False)
        for suffix in ("m", "s", "b"):
            store.call("RENAME", f"kept:{suffix}", f"codeq:{{acme/RENDER/0}}:{suffix}")
        store.call("RENAME", "kept:trail", trail_keys("acme")[0])
    own_store.kill()
    await call_everything(admin, canaries, lease, deep=False)
    await call_everything(viewer, canaries, lease, deep=False)
    pages(serve, canaries)
    own_store.start()
    await asyncio.to_thread(wait_until, lambda: is_ready(serve.http_port), "readiness")
    events = await trail(admin)
    assert len({event.outcome for event in events}) >= 4
    canaries.out["audit trail"] = "".join(str(event) for event in events)
    with Admin(own_store.socket_path) as store:
        kept = [store.call("XRANGE", key, "-", "+") for key in trail_keys("acme")]
        canaries.out["audit trail as stored"] = repr(kept)
    await asyncio.to_thread(serve.program.stop)
    canaries.out["errors"] = "\n".join(canaries.errors)
    canaries.out["log"] = serve.program.stderr.text
    canaries.out["standard output"] = serve.program.stdout.text
    assert canaries.found() == []
    # That there was something to be found, and somewhere to find it.
    assert canaries.count > 300
    assert canaries.calls > 700
    assert len(canaries.errors) > 500
    assert canaries.out["log"].count("not in the audit trail") > 10
    assert canaries.out["log"].count("UNAUTHENTICATED") > 100


HOSTILE: Final = "a\r\nERROR forged line\x1b[2J\x00\u2028\u202e{end}"


async def test_what_callers_write_forges_no_line_of_the_log_or_the_trail(
    serve: Serve, channel: grpc.aio.Channel, canaries: Canaries
) -> None:
    admin, viewer = (with_token(channel, canaries, role) for role in ("admin", "viewer"))
    await admin.enqueue()
    for caller in (admin, viewer):
        for rpc, request in (
            ("PauseQueue", admin_pb.PauseQueueRequest(command="RENDER", reason=HOSTILE)),
            ("PauseQueue", admin_pb.PauseQueueRequest(command=HOSTILE, reason=HOSTILE)),
            ("UpdateQueue", admin_pb.UpdateQueueRequest(queue={"command": HOSTILE})),
            (
                "UpdateQueue",
                admin_pb.UpdateQueueRequest(
                    queue={"command": "RENDER"}, update_mask={"paths": [HOSTILE]}
                ),
            ),
            (
                "CancelTasks",
                pb.CancelTasksRequest(selector={"task_ids": [HOSTILE]}, reason=HOSTILE),
            ),
            (
                "CancelTasks",
                pb.CancelTasksRequest(
                    selector={"filter": {"command": "RENDER", "labels": {HOSTILE: HOSTILE}}}
                ),
            ),
            ("Claim", pb.ClaimRequest(worker_id=HOSTILE, commands=["RENDER"])),
            ("Claim", pb.ClaimRequest(worker_id="w", commands=[HOSTILE])),
            ("GetTask", pb.GetTaskRequest(task_id=HOSTILE)),
        ):
            assert rpc not in STREAMING
            await tell(canaries, rpc, start(caller, rpc, request))
    make: Any = channel.unary_unary("/codeq.v1.CodeQService/ERROR%0aforged\tline")
    await tell(canaries, "GetTask", make(b"", metadata=admin.metadata))
    await asyncio.to_thread(serve.program.stop)
    serve.start()
    await channel.close()
    async with grpc.aio.insecure_channel(serve.address) as again:
        for event in await trail(Caller(again, admin.metadata)):
            texts = [getattr(event, name) for name in ("object", "reason", "action", "peer")]
            assert all(text.isprintable() for text in texts)
    log = serve.programs[0].stderr.text
    assert log.count("forged") >= 2
    for line in log.split("\n")[:-1]:
        assert line.isprintable(), line
        assert LINE.match(line) or json.loads(line)["level"], line
