"""`codeq serve` whose callers an issuer vouches for, and no tokens file at all."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.acceptance.api import Api
from tests.acceptance.programs import CODEQ, Program, Ran
from tests.acceptance.servers import Serve
from tests.support.issuer import running_identity_service, running_issuer
from tests.support.server import eventually
from tests.support.signing import claims_of, signed, signing_key

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import StoreProcess


def code_of_call(address: str, token: str) -> str:
    """Of a call with that token."""
    with Api(address, token) as api:
        try:
            api.queue("MAIL")
        except grpc.RpcError as error:
            code: Any = error.code()
            return str(code.name)
    return "OK"


async def test_two_processes_believe_issuers_and_the_identity_service(
    store: StoreProcess, tmp_path: Path
) -> None:
    fixed = signing_key("", "EdDSA", "fixed")
    path = tmp_path / "issuer.pem"
    path.write_bytes(fixed.pem)
    async with running_issuer() as issuer, running_identity_service() as service:
        service.users["of-anna"] = {"localId": "anna", "role": "VIEWER"}
        entry = issuer.entry(issuer="https://fixed.example", algorithms=["EdDSA"])
        entries = [issuer.entry(), {**entry, "jwks_url": "", "public_key_file": str(path)}]
        claims = {"tenant": "acme", "roles_claim": "role", "role_map": {"VIEWER": "viewer"}}
        settings = {
            "CODEQ_REDIS_URL": store.url,
            "CODEQ_PROCESSES": "2",
            "CODEQ_ISSUERS": json.dumps(entries),
            "IDENTITY_SERVICE_URL": service.url,
            "IDENTITY_SERVICE_API_KEY": "s3cr3t-canary",
            "CODEQ_IDENTITY_CLAIMS": json.dumps(claims),
            "CODEQ_LOG_LEVEL": "debug",
        }
        with Serve(settings) as serve:
            await asyncio.to_thread(serve.start)
            tokens = {
                issuer.token(): "OK",
                signed(fixed, claims_of("https://fixed.example")): "OK",
                "of-anna": "OK",
                issuer.token(roles=[]): "PERMISSION_DENIED",
                issuer.token(exp=1): "UNAUTHENTICATED",
                signed(fixed, claims_of(issuer.name)): "UNAUTHENTICATED",
                "of-nobody": "UNAUTHENTICATED",
            }
            for token, expected in tokens.items():
                for _ in range(4):
                    assert await asyncio.to_thread(code_of_call, serve.address, token) == expected
            await eventually(lambda: issuer.asked == 2)
            log = serve.program.stderr.text
    assert "an issuer has other keys" in log
    for secret in ("s3cr3t", "of-anna", *(token for token in tokens if "." in token)):
        assert secret not in log


@pytest.mark.parametrize(
    ("issuers", "told"),
    [
        ([{"issuer": "https://id.example"}], "issuers.0.audiences"),
        ([{"issuer": "https://id.example", "audiences": ["x"], "algorithms": ["none"]}], "algo"),
        ("no list", "issuers"),
    ],
)
def test_an_issuer_that_cannot_be_is_told_and_nothing_starts(issuers: Any, told: str) -> None:
    env = {"CODEQ_ISSUERS": json.dumps(issuers)}
    with Program([CODEQ, "serve"], env=env) as program:
        refused = Ran(program, program.wait())
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err
