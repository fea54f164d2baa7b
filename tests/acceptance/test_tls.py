"""TLS as an operator sets it up and as users of the command line meet it."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.programs import CODEQ, Program, Ran, run_codeq, wait_until
from tests.acceptance.servers import Dev, Serve
from tests.support.authority import SERVER_NAMES, Authority

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.stores import StoreProcess


@pytest.fixture(autouse=True)
def grpc_engine(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """As nobody sets it: with TLS it must be grpcio."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", "auto")
    return "auto"


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def settings(
    store: StoreProcess, credential: tuple[str, Path], tmp_path: Path, authority: Authority
) -> dict[str, str]:
    files = authority.issue(*SERVER_NAMES).write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    listed = {"name": "dns:w.example", "subject": "w", "tenant": "acme", "roles": ["admin"]}
    return {
        "CODEQ_REDIS_URL": store.url,
        "CODEQ_TOKENS_FILE": str(credential[1]),
        "CODEQ_TLS_CERT_FILE": str(files["certificate"]),
        "CODEQ_TLS_KEY_FILE": str(files["key"]),
        "CODEQ_TLS_CLIENT_CA_FILE": str(tmp_path / "ca.pem"),
        "CODEQ_CERTIFICATES": json.dumps([listed]),
        "CODEQ_PLAINTEXT": "http",
    }


@pytest.fixture
def processes() -> int:
    """Tests that it matters to say otherwise."""
    return 1


@pytest.fixture
def serve(settings: dict[str, str], processes: int) -> Iterator[Serve]:
    with Serve({**settings, "CODEQ_PROCESSES": str(processes)}) as serve:
        yield serve.start()


def _logged(program: Program, message: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in program.stderr.text.splitlines() if line[:1] == "{"]
    return [line for line in lines if line["message"] == message]


def _refused(**env: str) -> Ran:
    with Program([CODEQ, "serve"], env=env) as program:
        return Ran(program, program.wait())


def test_nobody_is_served_in_the_clear_by_mistake(settings: dict[str, str]) -> None:
    bare = {name: settings[name] for name in ("CODEQ_REDIS_URL", "CODEQ_TOKENS_FILE")}
    for name in ("GRPC_HOST", "HTTP_HOST"):
        refused = _refused(**bare, **{f"CODEQ_{name}": "0.0.0.0"})  # noqa: S104 - it is refused
        assert refused.code == 2, refused
        assert f"{name.lower()}: other machines reach '0.0.0.0'" in refused.err
        assert "tls_cert_file" in refused.err
        assert "Traceback" not in refused.err


@pytest.mark.parametrize("processes", [1, 2])
def test_a_certificate_that_cannot_be_used_ends_the_start_with_one_line(
    settings: dict[str, str], processes: int, tmp_path: Path
) -> None:
    broken = {**settings, "CODEQ_TLS_KEY_FILE": str(tmp_path / "ca.pem")}
    refused = _refused(
        **broken, CODEQ_PROCESSES=str(processes), CODEQ_GRPC_PORT="0", CODEQ_HTTP_PORT="0"
    )
    assert refused.code == 1, refused
    told = [line for line in refused.err.splitlines() if line[:1] != "{"]
    assert told == [f"Error: tls_key_file {tmp_path}/ca.pem: holds no private key in PEM"]


def test_a_certificate_is_all_that_a_command_needs_and_others_are_told_what_is_missing(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    files = authority.issue("w.example").write(tmp_path, "w")
    (tmp_path / "other.pem").write_bytes(Authority().pem)
    address = {"CODEQ_ADDRESS": serve.address}
    trusting = {**address, "CODEQ_CA_FILE": str(tmp_path / "ca.pem")}
    known = {
        **trusting,
        "CODEQ_CERT_FILE": str(files["certificate"]),
        "CODEQ_KEY_FILE": str(files["key"]),
    }
    enqueued = run_codeq("enqueue", "any", "--payload", "{}", "--json", env=known)
    assert enqueued.code == 0, enqueued
    worked = ["work", "any", "--exec", "cat", "--json"]
    with Program([CODEQ, *worked], env=known) as worker:
        worker.wait_for("COMPLETED")
        assert worker.stop() == 0
    options = ("--ca-file", known["CODEQ_CA_FILE"], "--cert-file", known["CODEQ_CERT_FILE"])
    listed = run_codeq("queues", "list", *options, "--key-file", str(files["key"]), env=address)
    assert (listed.code, "any" in listed.out) == (0, True), listed
    for env, hint in (
        (address, "the server may speak TLS (--tls, --ca-file)"),
        (trusting, "the server may ask for another certificate (--cert-file)"),
        ({**known, "CODEQ_CA_FILE": str(tmp_path / "other.pem")}, "is not of the CA"),
        ({**address, "CODEQ_TLS": "1"}, "is not of the CA"),
    ):
        refused = run_codeq("queues", "list", env=env)
        assert (refused.code, refused.out) == (1, "")
        assert hint in refused.err, refused
        assert refused.err.count("\n") == 1, "nothing of gRPC's own"
    other = {**known, "CODEQ_CA_FILE": str(tmp_path / "other.pem")}
    with Program([CODEQ, "work", "any", "--exec", "cat"], env=other) as waiting:
        waiting.wait_for("^waiting: .*is not of the CA", on="stderr")
        assert waiting.stop() == 0
    for words, told in (
        (("--cert-file", str(files["certificate"])), "go together"),
        (("--ca-file", str(files["key"])), "holds no certificate in PEM"),
        (("--tls", "--address", "unix:///s"), "there is no TLS on a unix socket"),
    ):
        wrong = run_codeq("queues", "list", *words, env=address)
        assert wrong.code == 2, wrong
        assert told in wrong.err
        assert "Traceback" not in wrong.err
    serve.program.stop()
    places = {line["grpc"] for line in _logged(serve.program, "serving")}
    assert places == {f"grpcs://127.0.0.1:{serve.grpc_port}"}
    assert {line["engine"] for line in _logged(serve.program, "serving")} == {"grpcio"}


@pytest.mark.parametrize("processes", [1, 2])
def test_every_process_takes_a_new_certificate(
    serve: Serve, processes: int, tmp_path: Path
) -> None:
    wait_until(lambda: len(_logged(serve.program, "serving")) == processes, "all processes serve")
    new = Authority()
    (tmp_path / "ca.pem").write_bytes(new.pem)
    server = new.issue(*SERVER_NAMES)
    server.write(tmp_path, "server")
    files = new.issue("w.example").write(tmp_path, "new")
    env = {
        "CODEQ_ADDRESS": serve.address,
        "CODEQ_CA_FILE": str(tmp_path / "ca.pem"),
        "CODEQ_CERT_FILE": str(files["certificate"]),
        "CODEQ_KEY_FILE": str(files["key"]),
    }

    def loaded() -> list[dict[str, Any]]:
        lines = _logged(serve.program, "certificate loaded")
        return [line for line in lines if line["serial"] == server.serial]

    wait_until(lambda: len(loaded()) == processes, "every process has the new certificate")
    for _ in range(4):
        assert run_codeq("queues", "list", env=env).code == 0


def test_codeq_dev_stays_on_this_machine_whatever_the_environment_says(
    settings: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = dict.fromkeys(("CODEQ_GRPC_HOST", "CODEQ_HTTP_HOST"), "0.0.0.0")  # noqa: S104 - not taken
    with Dev(tmp_path / "state", env={**settings, **elsewhere, "CODEQ_PLAINTEXT": "all"}) as dev:
        dev.start()
        for port in (dev.grpc_port, dev.http_port):
            with socket.create_connection(("127.0.0.1", port)):
                pass
            # Part of 0.0.0.0, too.
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", port))
        assert run_codeq("queues", "list", env=dev.client_env()).code == 0


def test_several_processes_share_a_unix_socket_for_http(
    settings: dict[str, str], tmp_path: Path
) -> None:
    env = {name: settings[name] for name in ("CODEQ_REDIS_URL", "CODEQ_TOKENS_FILE")}
    env |= {"CODEQ_HTTP_HOST": f"unix://{tmp_path}/h", "CODEQ_GRPC_PORT": "0"}
    with Program([CODEQ, "serve", "--processes", "2"], env=env) as server:
        server.wait_for('"serving"', on="stderr")
        for _ in range(4):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{tmp_path}/h")
                client.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.0 200")
        assert server.stop() == 0
    assert not (tmp_path / "h").exists()


def test_a_server_on_unix_sockets(
    settings: dict[str, str], credential: tuple[str, Path], tmp_path: Path
) -> None:
    env = {name: settings[name] for name in ("CODEQ_REDIS_URL", "CODEQ_TOKENS_FILE")}
    env |= {"CODEQ_GRPC_HOST": f"unix://{tmp_path}/g", "CODEQ_HTTP_HOST": f"unix://{tmp_path}/h"}
    with Program([CODEQ, "serve"], env=env) as server:
        server.wait_for('"serving"', on="stderr")
        client = {"CODEQ_ADDRESS": f"unix://{tmp_path}/g", "CODEQ_TOKEN": credential[0]}
        assert run_codeq("enqueue", "any", "--payload", "{}", env=client).code == 0
        assert "any" in run_codeq("queues", "list", env=client).out
        second = _refused(**env)
        assert second.code == 1
        assert "a server listens there" in second.err
        server.kill()
        with Program([CODEQ, "serve"], env=env) as again:
            again.wait_for('"serving"', on="stderr")
            assert run_codeq("queues", "list", env=client).code == 0
            (line,) = _logged(again, "serving")
            assert (line["grpc"], line["http"]) == (f"unix://{tmp_path}/g", f"unix://{tmp_path}/h")
            assert again.stop() == 0
    assert not (tmp_path / "g").exists()
