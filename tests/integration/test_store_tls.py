"""A store by TLS: its certificate is verified, and ours is shown. Redis speaks TLS itself; before
the Valkey of the wheel, which knows none, stands a program that does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from codeq_grpc.app import App, BadCertificate, doctor
from codeq_grpc.core.findings import Mode
from tests.acceptance.programs import free_port
from tests.integration.looking import page
from tests.support.authority import SERVER_NAMES, Authority
from tests.support.server import running_server, settings_for
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.stores import Engine


@pytest.fixture
def authority() -> Authority:
    return Authority()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def _before(store: StoreProcess, files: dict[str, Path], ca: Path) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(store.socket_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass_on(reader, ours))
            group.create_task(_pass_on(theirs, writer))

    hosts, port = ("127.0.0.1", "127.0.0.2"), free_port()
    server = await asyncio.start_server(serve, hosts, port, ssl=context)
    async with server:
        yield port


@pytest.fixture
async def tls_port(
    engine: Engine, authority: Authority, tmp_path: Path
) -> AsyncIterator[tuple[StoreProcess, int]]:
    """A store, and where it is reached by TLS, with a certificate of our authority only."""
    files = authority.issue(*SERVER_NAMES).write(tmp_path, "store")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.pem)
    if engine.name == "redis":
        words = [
            *("--tls-port", str(port := free_port()), "--tls-cert-file", str(files["certificate"])),
            *("--tls-key-file", str(files["key"]), "--tls-ca-cert-file", str(ca)),
            *("--bind", "127.0.0.1", "127.0.0.2"),
        ]
        with StoreProcess(engine, options=tuple(words)) as store:
            yield store, port
    else:
        with StoreProcess(engine) as store:
            async with _before(store, files, ca) as port:
                yield store, port


def given(port: int, tmp_path: Path, authority: Authority, **more: Any) -> dict[str, Any]:
    """Settings that work."""
    files = authority.issue("codeq.example").write(tmp_path, "codeq")
    return {
        "redis_url": f"rediss://localhost:{port}/0",
        "redis_ca_file": tmp_path / "ca.pem",
        "redis_cert_file": files["certificate"],
        "redis_key_file": files["key"],
        **more,
    }


async def test_a_server_and_the_doctor_reach_a_store_by_tls(
    tls_port: tuple[StoreProcess, int], tmp_path: Path, authority: Authority
) -> None:
    store, port = tls_port
    settings = given(port, tmp_path, authority)
    async with running_server(store, **settings) as server:
        acme = server.caller()
        task_id = await acme.enqueue()
        await acme.complete(await acme.claim_one())
        assert await acme.state(task_id) == "COMPLETED"
        assert (await page(server, "/readyz"))[0] == 200
    async with doctor(settings_for(store, **settings), Mode.LOOK) as looking:
        assert [queue.command for queue in await looking.queues()] == ["RENDER"]


async def test_a_store_that_is_not_the_right_one_is_not_spoken_to(
    tls_port: tuple[StoreProcess, int], tmp_path: Path, authority: Authority
) -> None:
    store, port = tls_port
    other = Authority()
    (tmp_path / "other.pem").write_bytes(other.pem)
    strange = other.issue("codeq.example").write(tmp_path, "strange")
    good = given(port, tmp_path, authority)
    bad: dict[str, dict[str, Any]] = {
        "another CA": {"redis_ca_file": tmp_path / "other.pem"},
        "the system's CAs": {"redis_ca_file": None},
        "no certificate": {"redis_cert_file": None, "redis_key_file": None},
        "another's certificate": {
            "redis_cert_file": strange["certificate"],
            "redis_key_file": strange["key"],
        },
        "plain text": {
            "redis_url": f"redis://localhost:{port}/0",
            **dict.fromkeys(("redis_ca_file", "redis_cert_file", "redis_key_file")),
        },
        "another name": {"redis_url": f"rediss://127.0.0.2:{port}/0"},
    }
    for what, change in bad.items():
        async with running_server(
            store, **{**good, **change, "store_timeout_seconds": 2}
        ) as server:
            status, found = await page(server, "/readyz")
            assert status == 503, what
            assert found["reasons"].keys() == {"store.reachable"}, what


async def test_files_that_cannot_be_used_are_told_at_the_start(
    store: StoreProcess, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    good = given(1, tmp_path, authority)
    for name, told in (
        ("redis_ca_file", "redis_ca_file .*none: No such file"),
        ("redis_key_file", "redis_key_file .*none: No such file"),
    ):
        with pytest.raises(BadCertificate, match=told):
            App(settings_for(store, **{**good, name: tmp_path / "none"}))
    for name in ("redis_ca_file", "redis_cert_file"):
        with pytest.raises(BadCertificate, match=r"redis_key_file: cannot be used together"):
            App(settings_for(store, **{**good, name: good["redis_key_file"]}))
