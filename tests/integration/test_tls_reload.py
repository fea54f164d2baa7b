"""A certificate is replaced while the server runs: nobody who is connected notices, and whoever
comes next sees the new one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.integration.streaming import StreamReader, stream_request
from tests.support.authority import SERVER_NAMES, Authority, tls_server
from tests.support.server import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.authority import TlsServer
    from tests.support.stores import StoreProcess


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def tls(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> AsyncIterator[TlsServer]:
    async with tls_server(store, tmp_path, authority.issue(*SERVER_NAMES)) as server:
        yield server


async def shown(port: int, name: str | None = "localhost") -> bytes:
    """The certificate that a new connection gets, which asks for no name if `name` is None."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    server_hostname = name if name is not None else ""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=server_hostname
    )
    certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return certificate


async def lets_in(tls: TlsServer, credentials: grpc.ChannelCredentials) -> bool:
    """Whether a new connection comes about."""
    async with tls.connected(credentials) as caller:
        try:
            return bool(await caller.enqueue())
        except grpc.aio.AioRpcError:
            return False


async def all_shown(tls: TlsServer) -> set[bytes]:
    ports = (tls.ports.grpc, tls.ports.http)
    return {await shown(port, name) for port in ports for name in ("localhost", None)}


async def test_open_streams_go_on_and_new_connections_see_the_new_certificate(
    tls: TlsServer, authority: Authority
) -> None:
    second, third = authority.issue(*SERVER_NAMES), authority.issue("localhost")
    async with (
        tls.connected(authority.credentials()) as old,
        StreamReader(old, stream_request()) as stream,
    ):
        for count, replacement in enumerate((second, third), 1):
            tls.replace(replacement)

            async def is_there(der: bytes = replacement.der) -> bool:
                return await all_shown(tls) == {der}

            await eventually(is_there)
            await old.enqueue()
            assert len(await stream.take(count)) == count
        assert not stream.ended
    async with tls.connected(authority.credentials()) as new:
        assert await new.enqueue()


async def test_another_authority_replaces_the_old_one(tls: TlsServer, authority: Authority) -> None:
    other = Authority()
    tls.replace(other.issue(*SERVER_NAMES))
    await eventually(lambda: lets_in(tls, other.credentials()))
    assert not await lets_in(tls, authority.credentials())


async def test_what_is_broken_is_told_once_and_the_certificate_before_goes_on(
    tls: TlsServer, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (before,) = await all_shown(tls)
    new, stranger = authority.issue(*SERVER_NAMES), Authority().issue("localhost")
    broken = {
        "is not the certificate of the key": (new.chain, stranger.key),
        "holds no certificate in PEM": (new.chain[:-40], new.key),
        "ended at": (authority.issue_ended("localhost").chain, b""),
        "holds no private key in PEM": (new.chain, b"-----BEGIN"),
    }
    ended = authority.issue_ended("localhost")
    broken["ended at"] = (ended.chain, ended.key)

    def told(what: str) -> list[str]:
        texts = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
        return [text for text in texts if what in text]

    certificate: Any = tls.app._entrances._certificate
    for what, (chain, key) in broken.items():
        (tmp_path / "server.pem").write_bytes(chain)
        (tmp_path / "server.key").write_bytes(key)
        await eventually(functools.partial(told, what))
        for _ in range(3):
            certificate.look()
        assert await all_shown(tls) == {before}
    (tmp_path / "server.key").unlink()
    await eventually(lambda: told("No such file"))
    assert await all_shown(tls) == {before}
    lines = told("the new certificate is not used, the one before is")
    assert len({*lines}) == len(lines)
    assert not any(key.decode()[30:80] in "".join(lines) for _, key in broken.values() if key[60:])

    tls.replace(new)

    async def is_there() -> bool:
        return await all_shown(tls) == {new.der}

    await eventually(is_there)


async def test_one_that_is_put_there_before_its_day_is_used_from_then_on(
    tls: TlsServer, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    early = authority.issue_early(*SERVER_NAMES, days=4 / 86_400)
    tls.replace(early)
    await eventually(lambda: any("is not valid before" in text for text in caplog.messages))

    async def is_there() -> bool:
        return await all_shown(tls) == {early.der}

    await eventually(is_there, within=30)


async def test_who_vouches_for_clients_is_replaced_too(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    second = Authority()
    old, new = authority.issue("w.example"), second.issue("w.example")
    server = authority.issue(*SERVER_NAMES)
    async with tls_server(store, tmp_path, server, authority.pem) as tls:
        by_old, by_new = authority.credentials(old), authority.credentials(new)
        assert await lets_in(tls, by_old)
        assert not await lets_in(tls, by_new)
        async with tls.connected(by_old) as open_before:
            await open_before.enqueue()
            (tmp_path / "clients.pem").write_bytes(authority.pem + second.pem)
            await eventually(lambda: lets_in(tls, by_new))
            assert await lets_in(tls, by_old)
            (tmp_path / "clients.pem").write_bytes(second.pem)

            async def shuts_out() -> bool:
                return not await lets_in(tls, by_old)

            await eventually(shuts_out)
            assert await lets_in(tls, by_new)
            assert await open_before.enqueue()


async def test_one_that_ends_soon_and_a_key_that_all_can_read_are_told_of(
    store: StoreProcess, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    certificate = authority.issue_short(*SERVER_NAMES, days=3)
    async with tls_server(store, tmp_path, certificate) as tls:
        assert not any("everybody" in message for message in caplog.messages)
        (tmp_path / "server.key").chmod(0o604)
        tls.replace(authority.issue(*SERVER_NAMES))
        await eventually(lambda: any("everybody" in message for message in caplog.messages))
    assert "the certificate ends in less than 3 days" in caplog.messages
