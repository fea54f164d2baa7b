"""`codeq serve` in front of a store that somebody else runs: starts, logs, drains."""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.api import Api
from tests.acceptance.programs import CODEQ, Program, Ran, free_port, run_codeq, wait_until
from tests.acceptance.servers import ENTRY, Serve, is_ready
from tests.support.stores import StoreProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.stores import Engine

_DRAIN_SECONDS = 8


@pytest.fixture(autouse=True)
def grpc_engine(store: StoreProcess, monkeypatch: pytest.MonkeyPatch) -> str:
    """Comes with the store: each of the two with one of the two."""
    monkeypatch.setenv("CODEQ_GRPC_ENGINE", store.engine.grpc)
    return store.engine.grpc


@pytest.fixture
def settings(store: StoreProcess, credential: tuple[str, Path]) -> dict[str, str]:
    return {
        "CODEQ_REDIS_URL": store.url,
        "CODEQ_TOKENS_FILE": str(credential[1]),
        "CODEQ_DRAIN_SECONDS": str(_DRAIN_SECONDS),
        "CODEQ_LOG_LEVEL": "debug",
    }


@pytest.fixture
def serve(settings: dict[str, str]) -> Iterator[Serve]:
    with Serve(settings) as serve:
        yield serve.start()


@pytest.fixture
def api(serve: Serve, credential: tuple[str, Path]) -> Iterator[Api]:
    with Api(serve.address, credential[0]) as api:
        yield api


def _logged(serve: Serve) -> list[dict[str, str]]:
    lines = "".join(program.stderr.text for program in serve.programs).splitlines()
    return [json.loads(line) for line in lines]


def _refused(**env: str) -> Ran:
    with Program([CODEQ, "serve"], env=env) as program:
        return Ran(program, program.wait())


def test_without_a_token_it_does_not_start_and_says_how_to_make_one(tmp_path: Path) -> None:
    empty = tmp_path / "tokens.yaml"
    empty.touch()
    for refused in (_refused(), _refused(CODEQ_TOKENS_FILE=str(empty))):
        assert refused.code == 2
        assert "codeq token" in refused.err
        assert "CODEQ_TOKENS_FILE" in refused.err
        assert "Traceback" not in refused.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- sha256: short\n  subject: a\n  tenant: b\n  roles: [admin]\n", "sha256"),
        ("- {sha256: [", "tokens file"),
        ("just: a mapping\n", "tokens"),
    ],
)
def test_a_tokens_file_that_is_not_valid_is_told_without_a_traceback(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text)
    refused = _refused(CODEQ_TOKENS_FILE=str(path))
    assert refused.code == 2
    assert told in refused.err
    assert "Traceback" not in refused.err


@pytest.mark.parametrize("command", [["serve"], ["dev", "--state-dir", "state"]])
def test_a_misspelt_variable_is_told_with_the_name_that_was_meant(
    tmp_path: Path, command: list[str]
) -> None:
    with Program([CODEQ, *command], env={"CODEQ_MAX_CALL": "5"}, cwd=tmp_path) as program:
        refused = Ran(program, program.wait())
    assert refused.code == 2
    told = "CODEQ_MAX_CALL: there is no such setting, did you mean CODEQ_MAX_CALLS?"
    assert told in " ".join(refused.err.split())
    assert "Traceback" not in refused.err


def test_what_codeq_token_prints_is_a_tokens_file_and_the_secret_is_beside_it(
    settings: dict[str, str], tmp_path: Path
) -> None:
    made = run_codeq("token", *ENTRY)
    path = tmp_path / "tokens.yaml"
    path.write_text(made.out)
    secrets = [word for word in made.err.split() if word.startswith("cq_")]
    assert len(secrets) == 1, made
    with (
        Serve({**settings, "CODEQ_TOKENS_FILE": str(path)}) as serve,
        Api(serve.start().address, secrets[0]) as api,
    ):
        assert len(api.enqueue("any", [b"1"])) == 1
        assert secrets[0] not in json.dumps(_logged(serve))


def test_it_is_reached_by_redis_addr_and_goes_on_when_its_store_comes_later(
    engine: Engine, credential: tuple[str, Path]
) -> None:
    port = free_port()
    store = StoreProcess(engine, options=("--port", str(port)))
    env = {"REDIS_ADDR": f"127.0.0.1:{port}", "CODEQ_TOKENS_FILE": str(credential[1])}
    with Serve(env) as serve:
        serve.start_unready()
        assert not is_ready(serve.http_port)
        with store, Api(serve.address, credential[0]) as api:
            wait_until(lambda: is_ready(serve.http_port), "readiness with a store")
            assert len(api.enqueue("any", [b"1"])) == 1
            assert serve.program.stop() == 0


def test_a_store_that_is_less_durable_than_promised_is_told_of_in_the_log(
    settings: dict[str, str],
) -> None:
    with Serve({**settings, "CODEQ_DURABILITY": "D1"}) as serve:
        serve.start_unready()
        assert not is_ready(serve.http_port)
        assert serve.program.stop() == 0
        (line,) = [line for line in _logged(serve) if line.get("check") == "durability"]
    assert line["level"] == "warning"
    assert line["message"] == "the store is not fit: appendonly is no, D1 needs yes"


def test_every_line_of_the_log_is_json_and_calls_carry_their_request_id(
    serve: Serve, api: Api
) -> None:
    request_id = f"probe-{uuid.uuid4()}"
    assert api.request_id_of_failure(request_id) == request_id
    assert serve.program.stop() == 0
    lines = _logged(serve)
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert [line["message"] for line in lines if "serving" in line["message"]] == ["serving"]
    assert lines[-1]["message"] == "stopped"
    (call,) = [line for line in lines if line.get("request_id") == request_id]
    assert (call["method"], call["code"]) == ("/codeq.v1.CodeQService/GetTask", "NOT_FOUND")
    assert (call["reason"], call["subject"], call["tenant"]) == (
        "TASK_NOT_FOUND",
        "acceptance",
        "acme",
    )


class _Waiting:
    """Something that blocks, in a thread; its result."""

    def __init__(self, call: Callable[[], list[str]]) -> None:
        self.results: list[list[str]] = []
        self.thread = threading.Thread(target=lambda: self.results.append(call()), daemon=True)
        self.thread.start()


def test_sigterm_answers_who_waits_and_a_worker_carries_on_after_the_restart(
    serve: Serve, api: Api, credential: tuple[str, Path], tmp_path: Path, command: str
) -> None:
    gate = tmp_path / "gate"
    script = f"while [ ! -e {gate} ]; do sleep 0.02; done; cat"
    env = {"CODEQ_TOKEN": credential[0], "CODEQ_ADDRESS": serve.address}
    words = [CODEQ, "work", command, "--concurrency", "2", "--json", "--exec", f"sh -c '{script}'"]
    waiting = _Waiting(lambda: api.claim("nothing-comes", wait=50))
    with Program(words, env=env) as worker:
        ids = api.enqueue(command, [b"%d" % n for n in range(20)])
        wait_until(lambda: api.queue(command).in_progress == 2, "two tasks are worked on")

        began = time.monotonic()
        assert serve.program.stop() == 0
        assert time.monotonic() - began < _DRAIN_SECONDS
        waiting.thread.join(5)
        assert waiting.results == [[]], "the waiting claim was not answered"
        gate.touch()
        serve.start()

        wait_until(lambda: api.queue(command).completed == 20, "all tasks are completed")
        assert worker.stop() == 0
    ended = [json.loads(line) for line in worker.stdout.text.splitlines()]
    assert sorted(line["taskId"] for line in ended) == sorted(ids)
    assert {(line["end"], line["attempt"]) for line in ended} == {("COMPLETED", 1)}
    assert api.queue(command).lease_expired_total == 0, "a task waited for its lease"
