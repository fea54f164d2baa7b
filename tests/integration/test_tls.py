"""Who is let into a server with TLS, who is not, and what its operator sees."""

from __future__ import annotations

import asyncio
import logging
import ssl
import stat
import warnings
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from codeq.v1 import codeq_service_pb2 as pb
from codeq_grpc.app import App, BadCertificate
from tests.integration.looking import calls_under_way
from tests.integration.refusals import refused
from tests.support.authority import SERVER_NAMES, Authority, tls_server
from tests.support.server import Caller, running_server, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import TlsServer
    from tests.support.stores import StoreProcess


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    """Another one, which nobody trusts."""
    return Authority()


@pytest.fixture
async def tls(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> AsyncIterator[TlsServer]:
    async with tls_server(store, tmp_path, authority.issue(*SERVER_NAMES)) as server:
        yield server


@pytest.fixture
async def mutual(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> AsyncIterator[TlsServer]:
    """Clients must have a certificate of the same authority."""
    certificate = authority.issue(*SERVER_NAMES)
    async with tls_server(store, tmp_path, certificate, authority.pem) as server:
        yield server


async def why_not(tls: TlsServer, credentials: Any, **how: Any) -> str:
    """What gRPC tells somebody who is not let in."""
    async with tls.connected(credentials, **how) as caller:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await caller.enqueue()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return caught.value.details() or ""


async def get(tls: TlsServer, path: str, scheme: str = "https", **how: Any) -> int:
    url = f"{scheme}://localhost:{tls.ports.http}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, **how) as response:
        return response.status


async def test_grpc_and_http_are_served_by_tls_and_the_log_says_so(
    store: StoreProcess, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "codeq_grpc")
    async with tls_server(store, tmp_path, authority.issue(*SERVER_NAMES)) as tls:
        assert tls.app.engine.name == "grpcio"  # the other one knows no TLS
        async with tls.connected(authority.credentials()) as caller:
            assert await caller.state(await caller.enqueue()) == "PENDING"
        for page in ("/livez", "/readyz", "/health/detailed"):
            assert await get(tls, page, ssl=authority.client_context()) == 200
    (line,) = [record for record in caplog.records if record.getMessage() == "serving"]
    told = vars(line)
    assert told["grpc"] == f"grpcs://127.0.0.1:{tls.ports.grpc}"
    assert told["http"] == f"https://127.0.0.1:{tls.ports.http}"


async def test_a_token_is_as_necessary_as_without_tls(tls: TlsServer, authority: Authority) -> None:
    async with tls.connected(authority.credentials(), ()) as nobody:
        refusal = await refused(nobody.start("Enqueue", pb.EnqueueRequest()))
    assert refusal.kind == ("UNAUTHENTICATED", "CREDENTIAL_MISSING")


async def handshake(port: int, authority: Authority, version: ssl.TLSVersion) -> str:
    """The version that was agreed on, or what the server said."""
    context = authority.client_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the old versions
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")  # else OpenSSL would not even offer them
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        _, writer = await asyncio.open_connection("localhost", port, ssl=context)
    except ssl.SSLError as error:
        return str(error.reason)
    except ConnectionResetError:
        return "reset"
    agreed = writer.get_extra_info("ssl_object").version()
    writer.close()
    return str(agreed)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
async def test_versions_before_1_2_are_refused(
    tls: TlsServer, authority: Authority, version: str
) -> None:
    for port in (tls.ports.grpc, tls.ports.http):
        answer = await handshake(port, authority, ssl.TLSVersion[version])
        assert answer in {"TLSV1_ALERT_PROTOCOL_VERSION", "reset"}, answer
    for good in ("TLSv1_2", "TLSv1_3"):
        for port in (tls.ports.grpc, tls.ports.http):
            answer = await handshake(port, authority, ssl.TLSVersion[good])
            assert answer == good.replace("_", ".")


async def test_who_trusts_another_authority_does_not_call(
    tls: TlsServer, stranger: Authority
) -> None:
    assert "CERTIFICATE_VERIFY_FAILED" in await why_not(tls, stranger.credentials())
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await get(tls, "/livez", ssl=stranger.client_context())


async def test_a_name_that_is_not_in_the_certificate_is_noticed(
    tls: TlsServer, authority: Authority
) -> None:
    other: Any = {"grpc.ssl_target_name_override": "queue.example"}
    assert "Hostname Verification" in await why_not(tls, authority.credentials(), **other)


async def test_plain_text_gets_nothing_from_a_port_with_tls(tls: TlsServer) -> None:
    assert await why_not(tls, None)
    with pytest.raises(aiohttp.ClientError):
        await get(tls, "/livez", "http")
    reader, writer = await asyncio.open_connection("127.0.0.1", tls.ports.grpc)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"HTTP/2" not in await reader.read()
    writer.close()


async def test_tls_gets_nothing_from_a_port_without(
    store: StoreProcess, authority: Authority
) -> None:
    async with running_server(store) as server:
        credentials = authority.credentials()
        async with grpc.aio.secure_channel(server.address, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Caller(channel, ()).enqueue()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "WRONG_VERSION_NUMBER" in (caught.value.details() or "")


async def test_health_pages_may_stay_in_the_clear(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    certificate = authority.issue(*SERVER_NAMES)
    async with tls_server(store, tmp_path, certificate, plaintext="http") as tls:
        assert await get(tls, "/readyz", "http") == 200
        assert await why_not(tls, None)


async def test_with_a_client_ca_nobody_calls_without_its_certificate(
    mutual: TlsServer, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    async with mutual.connected(authority.credentials(authority.issue("w.example"))) as caller:
        assert await caller.state(await caller.enqueue()) == "PENDING"
    bad = {
        "none": None,
        "of another authority": stranger.issue("w.example"),
        "ended": authority.issue_ended("w.example"),
        "not yet valid": authority.issue_early("w.example"),
        "self-signed": Authority.self_signed(),
    }
    for what, certificate in bad.items():
        assert await why_not(mutual, authority.credentials(certificate)), what
    assert calls_under_way() == 0
    # Probes of a platform have no certificate, and learn nothing but health.
    assert await get(mutual, "/readyz", ssl=authority.client_context()) == 200


async def test_the_gateway_needs_neither_the_name_nor_a_certificate(
    store: StoreProcess, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    certificate = authority.issue("queue.example")
    async with tls_server(store, tmp_path, certificate, authority.pem) as tls:
        (inside,) = tmp_path.glob("codeq-*/s")
        assert stat.S_IMODE(inside.parent.stat().st_mode) == 0o700
        url = f"https://127.0.0.1:{tls.ports.http}/readyz"
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                url, ssl=authority.client_context(), server_hostname="queue.example"
            ) as page,
        ):
            assert page.status == 200
        # Whoever comes in there is as much a stranger as elsewhere.
        async with grpc.aio.insecure_channel(f"unix:{inside}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await Caller(channel, ()).enqueue()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert not inside.parent.exists()


def _cases(authority: Authority, stranger: Authority) -> dict[str, tuple[bytes, bytes, str]]:
    good, other = authority.issue("localhost"), stranger.issue("localhost")
    ended, early = authority.issue_ended("localhost"), authority.issue_early("localhost")
    others = {
        name: authority.issue_of(key, "localhost")
        for name, key in {
            "Ed25519": ed25519.Ed25519PrivateKey.generate(),
            "P-521": ec.generate_private_key(ec.SECP521R1()),
            "secp256k1": ec.generate_private_key(ec.SECP256K1()),
        }.items()
    }
    kind = "its key is neither RSA nor on P-256 or P-384"
    return {
        **{name: (other.chain, other.key, kind) for name, other in others.items()},
        "no certificate": (b"", good.key, "holds no certificate in PEM"),
        "not PEM": (b"\x30\x82", good.key, "holds no certificate in PEM"),
        "the key instead": (good.key, good.key, "holds no certificate in PEM"),
        "cut short": (good.chain[:200], good.key, "holds no certificate in PEM"),
        "no key": (good.chain, b"", "holds no private key in PEM"),
        "the certificate instead": (good.chain, good.chain, "holds no private key in PEM"),
        "another key": (good.chain, other.key, "is not the certificate of the key"),
        "ended": (ended.chain, ended.key, "ended at"),
        "not yet valid": (early.chain, early.key, "is not valid before"),
    }


USABLE: Final[dict[str, Any]] = {
    "RSA 2048": rsa.generate_private_key(65_537, 2048),
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}


@pytest.mark.parametrize("kind", USABLE)
async def test_what_can_be_used_has_clients(
    store: StoreProcess, tmp_path: Path, authority: Authority, kind: str
) -> None:
    certificate = authority.issue_of(USABLE[kind], *SERVER_NAMES)
    async with (
        tls_server(store, tmp_path, certificate) as server,
        server.connected(authority.credentials()) as caller,
    ):
        assert await caller.enqueue()


async def test_a_server_does_not_start_with_what_no_client_would_accept(
    store: StoreProcess, tmp_path: Path, authority: Authority, stranger: Authority
) -> None:
    paths = {"tls_cert_file": tmp_path / "c.pem", "tls_key_file": tmp_path / "k.pem"}
    settings = settings_for(store, grpc_engine="auto", **paths)
    with pytest.raises(BadCertificate, match=r"tls_cert_file .*c\.pem: No such file"):
        App(settings)
    for what, (certificate, key, told) in _cases(authority, stranger).items():
        paths["tls_cert_file"].write_bytes(certificate)
        paths["tls_key_file"].write_bytes(key)
        with pytest.raises(BadCertificate) as caught:
            App(settings)
        assert told in str(caught.value), what
        assert key.decode()[30:90] not in str(caught.value) or not key
        assert key.decode()[30:90] not in repr(caught.value.__cause__) or not key
