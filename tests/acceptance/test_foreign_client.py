"""The API is usable from its .proto files alone: a client in another language, no SDK.

Collected only where Node.js and npm are; see conftest.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.programs import Program
from tests.acceptance.servers import Dev

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]
_SOURCES = Path(__file__).parent / "node"

pytestmark = pytest.mark.timeout(180)  # the first time, packages come over the network


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The packages that package.json names, installed once for each of its contents."""
    wanted = (_SOURCES / "package.json").read_bytes()
    cache = _ROOT / "build" / "node"
    folder = cache / hashlib.sha256(wanted).hexdigest()[:16]
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=cache))
        (made / "package.json").write_bytes(wanted)
        install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        told = subprocess.run(
            [*install, "--ignore-scripts"], cwd=made, check=False, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        try:
            made.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(made)
    return folder / "node_modules"


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    with Dev(tmp_path / "state", env={"CODEQ_MAX_STREAM_AGE_SECONDS": "2"}) as dev:
        yield dev.start()


@pytest.fixture
def client(tmp_path: Path, node_modules: Path, dev: Dev) -> Iterator[Program]:
    folder = Path(shutil.copytree(_SOURCES, tmp_path / "client"))
    (folder / "node_modules").symlink_to(node_modules)
    env = {**os.environ, **dev.client_env(), "PROTOS": str(_ROOT / "proto")}
    with Program(["node", "client.mjs"], cwd=folder, env=env) as program:
        yield program


def test_a_node_client_completes_1000_tasks_exactly_once_through_drains_and_a_restart(
    dev: Dev, client: Program
) -> None:
    client.wait_for("half is done", on="stderr", patience=60)
    assert dev.program.stop() == 0
    dev.start()
    assert client.wait(patience=60) == 0, client.report()
    told: dict[str, Any] = json.loads(client.stdout.text)

    assert told["problems"] == []
    assert told["enqueued"] == told["completedOnce"] == told["completed"] == 1000
    assert told["unknown"] == told["corrupt"] == 0
    assert told["droppedPayloads"] == told["rightResults"] == 1000
    assert (told["failed"], told["abandoned"]) == (10, 10)
    assert told["claims"] == told["fences"] == 1000 + 10 + 10 + 1

    assert told["unbeaten"] == [500], "every lease but the neglected one had a heartbeat"
    lost = told["leaseLost"]
    assert (lost["code"], lost["reason"], lost["domain"]) == (9, "LEASE_LOST", "codeq")
    assert lost["inReport"] == [{"index": 0, "code": 9, "reason": "LEASE_LOST"}]
    assert lost["inHeartbeat"] == ["DIRECTIVE_KIND_LEASE_LOST"]

    assert told["unsafeFences"] == 0
    assert told["fencesAreText"]
    assert told["drains"] >= 2, "of age, and of the restart"
    assert told["streams"] > told["drains"]

    queue = told["queue"]
    assert (queue["pending"], queue["scheduled"], queue["in_progress"]) == ("0", "0", "0")
    assert (queue["completed"], queue["enqueued_total"]) == ("1000", "1000")
    assert (queue["attempt_failed_total"], queue["lease_expired_total"]) == ("10", "1")
