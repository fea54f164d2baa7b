"""`codeq dev`: it does what it was told, and leaves nothing behind but the tasks."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.api import Api
from tests.acceptance.programs import (
    Program,
    Ran,
    alive,
    free_port,
    kill,
    run_codeq,
    wait_until,
)
from tests.acceptance.servers import Dev, is_ready

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PAYLOADS = [b'"%d"' % n for n in range(100)]


def _try(state_dir: Path, grpc_port: int, http_port: int) -> Ran:
    """A start that ends by itself."""
    ports = ("--grpc-port", str(grpc_port), "--http-port", str(http_port))
    return run_codeq("dev", "--state-dir", str(state_dir), *ports)


@pytest.mark.parametrize("stop", [Program.interrupt, Program.terminate], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_ends_server_and_store_and_the_next_start_finds_the_tasks(
    dev: Dev, stop: Callable[[Program], None]
) -> None:
    dev.start()
    store = dev.running_store()
    with Api(dev.address, dev.token) as api:
        ids = api.enqueue("kept", _PAYLOADS)
    stop(dev.program)
    assert dev.program.wait() == 0
    assert dev.program.stderr.text == "stopped; the tasks are kept\n"
    assert not alive(store)

    dev.start()
    with Api(dev.address, dev.token) as api:
        assert api.queue("kept").pending == len(_PAYLOADS)
        assert [api.task(task_id).spec.payload.data for task_id in ids] == _PAYLOADS


def test_a_second_one_on_the_same_state_is_refused_and_the_first_goes_on(dev: Dev) -> None:
    dev.start()
    store = dev.running_store()
    refused = _try(dev.state_dir, free_port(), free_port())
    assert refused.code == 1
    assert refused.err == f"Error: another codeq dev keeps its state in {dev.state_dir}\n"
    assert dev.running_store() == store
    assert is_ready(dev.http_port)


@pytest.mark.parametrize("which", ["gRPC", "HTTP"])
def test_a_port_that_is_taken_is_named_and_no_store_is_left(dev: Dev, which: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        taken = listener.getsockname()[1]
        ports = (taken, free_port()) if which == "gRPC" else (free_port(), taken)
        refused = _try(dev.state_dir, *ports)
    assert refused.code == 1
    lines = refused.err.splitlines()
    told = f"is it in use? --{which.lower()}-port names another"
    assert lines[0] == f"Error: cannot listen on 127.0.0.1:{taken} for {which}: {told}", refused
    log = (dev.state_dir / "valkey.log").read_text()
    store = re.search(r"pid=(\d+), just started", log)
    assert store is not None, log
    assert not alive(int(store.group(1)))


def test_a_state_directory_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = _try(tmp_path / "file" / "state", 0, 0)
    assert refused.code == 1
    assert re.fullmatch(r"Error: .*/file/state'?\n", refused.err), refused


def test_settings_that_are_not_valid_are_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEQ_RETENTION_HOURS", "soon")
    refused = _try(tmp_path / "state", 0, 0)
    assert refused.code == 2
    assert "\nError: settings are not valid: retention_hours: " in refused.err
    assert "Traceback" not in refused.err


def test_the_given_token_and_ports_are_used_and_the_token_is_not_kept(tmp_path: Path) -> None:
    with Dev(tmp_path / "state", "--token", "chosen-by-hand") as dev:
        dev.start()
        assert dev.token == "chosen-by-hand"
        printed = dev.program.stdout.text
        assert f"gRPC  127.0.0.1:{dev.grpc_port}\n" in printed
        assert f"HTTP  http://127.0.0.1:{dev.http_port}/" in printed
        assert is_ready(dev.http_port)
        assert not (dev.state_dir / "token").exists()


def test_without_a_state_directory_it_is_one_below_the_current_one(tmp_path: Path) -> None:
    command = ("dev", "--grpc-port", "0", "--http-port", "0")
    with Dev(tmp_path / ".codeq", cwd=tmp_path) as dev:
        dev.start_as(*command)
        assert "the tasks are kept in .codeq\n" in dev.program.stdout.text
        assert dev.running_store()
        assert dev.program.stop() == 0


def test_the_token_is_for_the_owner_alone_and_stays_the_same(dev: Dev) -> None:
    tokens = set()
    for _ in range(2):
        dev.start()
        tokens.add(dev.token)
        assert dev.program.stop() == 0
    assert tokens == {(dev.state_dir / "token").read_text().strip()}
    assert stat.S_IMODE((dev.state_dir / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE(dev.state_dir.stat().st_mode) == 0o700


def test_a_path_too_long_for_a_socket_works_and_leaves_nothing_elsewhere(tmp_path: Path) -> None:
    with Dev(tmp_path / ("long" * 30) / "state") as dev:
        dev.start()
        elsewhere = dev.socket.parent
        assert elsewhere not in (dev.state_dir, tmp_path)
        with Api(dev.address, dev.token) as api:
            api.enqueue("kept", _PAYLOADS)
        dev.program.kill()
        dev.start()
        with Api(dev.address, dev.token) as api:
            assert api.queue("kept").pending == len(_PAYLOADS)
        assert dev.program.stop() == 0
        assert not elsewhere.exists()


def test_a_killed_server_leaves_its_store_to_the_next_one(dev: Dev) -> None:
    dev.start()
    store = dev.running_store()
    dev.program.kill()
    dev.start()
    assert dev.running_store() == store
    assert dev.program.stop(signal.SIGINT) == 0
    assert not alive(store)


def test_its_store_is_set_up_for_the_level_asked_for_also_one_that_runs(dev: Dev) -> None:
    dev.start()
    assert _told(dev) == ("D1", "everysec")
    dev.program.kill()
    with Dev(dev.state_dir, "--durability", "D3") as careful:
        careful.start()
        assert _told(careful) == ("D3", "always")
        assert is_ready(careful.http_port)
        with Api(careful.address, careful.token) as api:
            api.enqueue("kept", _PAYLOADS)
        assert careful.program.stop() == 0


def _told(dev: Dev) -> tuple[str, str]:
    """The level that it promises, and how its store syncs."""
    url = f"http://127.0.0.1:{dev.http_port}/health/detailed"
    with urllib.request.urlopen(url, timeout=5) as response:
        page = json.load(response)
    return page["durability"], page["store"]["fsync"]


def test_a_killed_store_does_not_keep_the_server_from_ending_and_starting_again(dev: Dev) -> None:
    dev.start()
    with Api(dev.address, dev.token) as api:
        api.enqueue("kept", _PAYLOADS)
        kill(dev.running_store())
        wait_until(lambda: not is_ready(dev.http_port), "the server notices")
        assert dev.program.stop() == 0
        dev.start()
        assert is_ready(dev.http_port)
        assert api.queue("kept").pending == len(_PAYLOADS)
