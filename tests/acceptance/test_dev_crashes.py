"""`codeq dev` under kill -9, with the very commands that it prints."""

from __future__ import annotations

import itertools
import json
import shlex
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path

import grpc
import pytest

from codeq.v1.task_pb2 import TASK_STATE_COMPLETED
from tests.acceptance.api import Api
from tests.acceptance.programs import Program, kill, run_codeq, wait_until
from tests.acceptance.servers import Dev

_FILES = 1_100
_EVERY = 20
"""One file in so many is counted by wc once more, without codeQ."""
_SHORT_LEASE = {"CODEQ_DEFAULT_LEASE_SECONDS": "5"}
"""What a killed server has claimed and not yet sent waits for its lease."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real files: sources of Python's standard library, the empty ones too."""
    folder = tmp_path_factory.mktemp("library")
    sources = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    small = (path for path in sources if path.stat().st_size < 500_000)
    for n, path in enumerate(itertools.islice(small, _FILES)):
        shutil.copyfile(path, folder / f"{n:04} {path.name}")
    assert len(list(folder.iterdir())) == _FILES
    return folder


@pytest.fixture
def dev(tmp_path: Path) -> Dev:
    return Dev(tmp_path / "state", env=_SHORT_LEASE)


def _paste(*lines: str, cwd: Path) -> Program:
    """What a user does with printed commands, in another terminal."""
    return Program(["bash", "-c", "\n".join(lines)], cwd=cwd)


def _wc(path: Path) -> str:
    with path.open("rb") as file:
        return subprocess.run(["wc"], stdin=file, check=True, capture_output=True, text=True).stdout


@pytest.mark.timeout(120)
def test_the_printed_commands_take_1100_files_through_a_kill_of_the_server(
    dev: Dev, library: Path
) -> None:
    with dev, Api(dev.address, dev.start().token) as api:
        with _paste(dev.export, dev.enqueue, cwd=library) as enqueuing:
            assert enqueuing.wait() == 0, enqueuing.report()
            ids = enqueuing.stdout.text.split()
        assert len(set(ids)) == _FILES
        assert api.queue("count").pending == _FILES

        with _paste(dev.export, dev.work, cwd=library) as worker:
            wait_until(lambda: api.queue("count").completed >= 100, "a hundred are counted")
            dev.program.kill()
            dev.start()
            left = api.queue("count")
            assert left.pending > 0, "the kill came too late to show anything"
            wait_until(lambda: api.queue("count").completed == _FILES, "all are counted", 60)
            worker.interrupt()
            assert worker.wait() == 0, worker.report()

        with _paste(dev.export, f"{dev.queues} --json", cwd=library) as looking:
            assert looking.wait() == 0, looking.report()
            (queue,) = json.loads(looking.stdout.text)["queues"]
        assert (queue["command"], queue["completed"]) == ("count", _FILES)
        assert (queue["pending"], queue["inProgress"], queue["failed"]) == (0, 0, 0)

        tasks = [api.task(task_id) for task_id in ids]
        assert {task.state for task in tasks} == {TASK_STATE_COMPLETED}
        files = [library / task.spec.headers["file"] for task in tasks]
        assert sorted(files) == sorted(library.iterdir())
        for task, path in itertools.islice(zip(tasks, files, strict=True), 0, None, _EVERY):
            assert not task.spec.HasField("payload")
            assert task.result.data.decode().split() == _wc(path).split()

        show = run_codeq("tasks", "show", "--full", "--json", ids[0], env=dev.client_env())
        assert json.loads(show.out)["state"] == "COMPLETED", show


class _Producer:
    """Enqueues without a pause until the server is gone, and remembers what was acknowledged."""

    def __init__(self, dev: Dev) -> None:
        self.acked: dict[str, bytes] = {}
        self._dev = dev
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with Api(self._dev.address, self._dev.token) as api:
            for n in itertools.count():
                payloads = [b'{"n": %d}' % (n * 7 + i) for i in range(7)]
                try:
                    ids = api.enqueue("acked", payloads)
                except grpc.RpcError:
                    return
                self.acked.update(zip(ids, payloads, strict=True))

    def join(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_what_was_acknowledged_outlives_a_kill_of_server_and_store(dev: Dev) -> None:
    with dev:
        dev.start()
        store = dev.running_store()
        producer = _Producer(dev)
        wait_until(lambda: len(producer.acked) >= 500, "500 tasks are acknowledged")
        kill(store)
        dev.program.kill()
        producer.join()

        dev.start()
        assert dev.running_store() != store
        with Api(dev.address, dev.token) as api:
            assert len(producer.acked) <= api.queue("acked").pending <= len(producer.acked) + 7
            for task_id, payload in producer.acked.items():
                assert api.task(task_id).spec.payload.data == payload


def test_a_worker_waits_for_a_server_that_is_not_there_yet(dev: Dev, tmp_path: Path) -> None:
    with dev:
        dev.start()
        words = [*shlex.split(dev.work), "--json"]
        with Api(dev.address, dev.token) as api:
            api.enqueue("count", [b"one two\n"])
        assert dev.program.stop() == 0
        with Program(words, env=dev.client_env(), cwd=tmp_path) as worker:
            worker.wait_for("no server answers", on="stderr")
            dev.start()
            ended = json.loads(worker.wait_for(r"^\{.*\}$").group())
            assert (ended["command"], ended["end"]) == ("count", "COMPLETED")
            assert worker.stop() == 0
