"""Servers on unix sockets: as all others, for this machine only, one on each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import grpc
import pytest

from codeq_grpc.app import App
from codeq_grpc.client import Client
from codeq_grpc.client.sync import SyncClient
from codeq_grpc.processes.ports import listen
from codeq_grpc.transport import sockets
from tests.support.authority import SERVER_NAMES, Authority
from tests.support.server import Caller, bearer, settings_for, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from codeq_grpc.app import Ports
    from tests.support.stores import StoreProcess


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A short one."""
    return tmp_path


@contextlib.asynccontextmanager
async def serving(store: StoreProcess, place: Path, **more: Any) -> AsyncIterator[Ports]:
    given = {"grpc_host": f"unix://{place}/g", "http_host": f"unix://{place}/h"}
    app = App(settings_for(store, **{**given, **more}))
    assert app.engine.name in {store.engine.grpc, "grpcio"}
    async with app.running() as ports:
        yield ports


async def livez(path: Path, page: str = "/readyz") -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.get(f"http://localhost{page}") as response,
    ):
        return response.status


async def test_grpc_and_http_are_served_on_sockets_for_owner_and_group(
    store: StoreProcess, place: Path
) -> None:
    async with serving(store, place) as ports:
        assert (ports.grpc, ports.http) == (0, 0)
        for name in ("g", "h"):
            mode = (place / name).stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o660
        for target in (f"unix://{place}/g", f"unix:{place}/g"):
            async with grpc.aio.insecure_channel(target) as channel:
                caller = Caller(channel, bearer("acme", "admin"))
                assert await caller.state(await caller.enqueue()) == "PENDING"
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await Caller(channel, ()).enqueue()
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await livez(place / "h") == 200
        assert await livez(place / "h", "/health/detailed") == 200
    assert not (place / "g").exists()
    assert not (place / "h").exists()


async def test_the_sdk_takes_its_target(store: StoreProcess, place: Path) -> None:
    token = token_of("acme", "admin")
    async with serving(store, place):
        async with Client(f"unix://{place}/g", token=token) as client:
            assert (await client.enqueue("RENDER", b"1")).task_id
        with SyncClient(f"unix://{place}/g", token=token) as sync:
            reply = await asyncio.to_thread(sync.enqueue, "RENDER", b"1")
            assert reply.task_id


async def test_http_by_tls_beside_grpc_on_a_socket(store: StoreProcess, place: Path) -> None:
    authority = Authority()
    files = authority.issue(*SERVER_NAMES).write(place, "server")
    given: Any = {"tls_cert_file": files["certificate"], "tls_key_file": files["key"]}
    async with (
        serving(store, place, http_host="127.0.0.1", **given) as ports,
        aiohttp.ClientSession() as session,
        session.get(
            f"https://localhost:{ports.http}/readyz", ssl=authority.client_context()
        ) as page,
    ):
        assert page.status == 200


async def test_where_a_server_lives_no_other_one_listens(store: StoreProcess, place: Path) -> None:
    async with serving(store, place):
        for taken in ({"http_host": "127.0.0.1"}, {"grpc_host": "127.0.0.1"}):
            with pytest.raises(OSError, match=r"cannot listen on .*: a server listens there"):
                async with serving(store, place, **taken):
                    pass
        assert await livez(place / "h") == 200
        async with grpc.aio.insecure_channel(f"unix:{place}/g") as channel:
            assert await Caller(channel, bearer("acme", "admin")).enqueue()


_LEAVES_ITS_SOCKET = """
import os, socket, sys
socket.socket(socket.AF_UNIX).bind(sys.argv[1])
os._exit(0)
"""


async def test_the_socket_of_a_dead_server_is_replaced(store: StoreProcess, place: Path) -> None:
    for name in ("g", "h"):
        subprocess.run([sys.executable, "-c", _LEAVES_ITS_SOCKET, str(place / name)], check=True)
        assert (place / name).exists()
    async with serving(store, place):
        assert await livez(place / "h") == 200


async def test_the_socket_of_somebody_else_is_left_alone(store: StoreProcess, place: Path) -> None:
    for name in ("g", "h"):
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(place / name))
            other.listen()
            with pytest.raises(OSError, match="a server listens there"):
                async with serving(store, place):
                    pass
            assert (place / name).exists()
            (place / name).unlink()


async def test_nothing_but_a_socket_is_removed(store: StoreProcess, place: Path) -> None:
    (place / "kept").write_text("kept")
    obstacles: Any = {
        "a file": lambda path: path.write_text("kept"),
        "a folder": lambda path: path.mkdir(),
        "a link to a file": lambda path: path.symlink_to(place / "kept"),
        "a link to nothing": lambda path: path.symlink_to(place / "nothing"),
    }
    for what, make in obstacles.items():
        make(place / "g")
        with pytest.raises(OSError, match="what is there is no socket"):
            async with serving(store, place):
                pass
        assert os.path.lexists(place / "g"), what
        (place / "g").rmdir() if what == "a folder" else (place / "g").unlink()
    assert (place / "kept").read_text() == "kept"
    with pytest.raises(OSError, match=r"cannot listen on .*/none/g for gRPC: No such file"):
        async with serving(store, place, grpc_host=f"unix://{place}/none/g"):
            pass


def test_who_comes_at_the_same_time_comes_too_late(place: Path) -> None:
    path = str(place / "s")
    with (
        sockets.held(path, "gRPC"),
        pytest.raises(OSError, match="a server listens there"),
        sockets.held(path, "gRPC"),
    ):
        pass
    with sockets.held(path, "gRPC"):
        pass


def test_a_folder_for_a_socket_of_ours_has_a_short_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(OSError, match="TMPDIR is too long"), sockets.private_path():
        pass
    assert list(long.iterdir()) == []


def test_all_processes_accept_on_one_socket_for_http(place: Path) -> None:
    path = place / "h"
    with listen(f"unix://{path}", 8080) as (port, (sock,)):
        assert port == 0
        assert sock.getsockname() == str(path)
        with pytest.raises(OSError, match="for HTTP: a server listens there"):
            listen(f"unix://{path}", 0).__enter__()
    assert not path.exists()
