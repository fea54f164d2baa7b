"""What the whole is for, shown with real programs.

Everything runs as a user runs it: the `codeq` of this environment, a shell, `wc`, Node.js.
Whatever a test has started is ended by its process id when the test ends, however it ends.
"""

from __future__ import annotations

import json
import shutil
import signal
import uuid
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.acceptance.api import Api
from tests.acceptance.programs import CODEQ, Program, Ran, run_codeq
from tests.acceptance.servers import ENTRY, Dev

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HAS_NODE = all(shutil.which(program) for program in ("node", "npm"))

# In the background of a shell script these are ignored, by what we start, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

collect_ignore = [] if _HAS_NODE else ["test_foreign_client.py"]


def pytest_report_collectionfinish(config: pytest.Config, start_path: Path) -> str:
    # Not in the header: pytest writes it before it knows of this file.
    runs = "runs" if _HAS_NODE else "is left out: node and npm are not both on the PATH"
    return f"foreign client: {runs}"


class Codeq(Protocol):
    """Runs `codeq` to its end."""

    def __call__(self, *words: str, stdin: bytes | None = None, **env: str) -> Ran: ...


@pytest.fixture(scope="package", autouse=True, params=["native", "grpcio"])
def grpc_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """What speaks HTTP/2 in every server that a test of this folder starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CODEQ_GRPC_ENGINE", request.param)
        yield request.param


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """Not yet started."""
    with Dev(tmp_path / "state") as dev:
        yield dev


@pytest.fixture(scope="package")
def server(grpc_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """One for all tests that only use it, each with a queue of its own."""
    with Dev(tmp_path_factory.mktemp("shared") / "state") as dev:
        yield dev.start()


@pytest.fixture
def api(server: Dev) -> Iterator[Api]:
    with Api(server.address, server.token) as api:
        yield api


@pytest.fixture
def codeq(server: Dev, tmp_path: Path) -> Codeq:
    """`codeq` with `server` in its environment, in a folder of its own."""

    def run(*words: str, stdin: bytes | None = None, **env: str) -> Ran:
        return run_codeq(*words, stdin=stdin, env={**server.client_env(), **env}, cwd=tmp_path)

    return run


class Working(Protocol):
    """Starts `codeq work`, for a `with` statement that ends it."""

    def __call__(self, *words: str) -> Program: ...


@pytest.fixture
def working(server: Dev, tmp_path: Path) -> Working:
    """`codeq work` for `server`; its programs run in the folder of the test."""

    def start(*words: str) -> Program:
        return Program([CODEQ, "work", *words], env=server.client_env(), cwd=tmp_path)

    return start


@pytest.fixture(scope="session")
def credential(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A token, and the tokens file that knows it."""
    made = json.loads(run_codeq("token", *ENTRY, "--json").out)
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    path.write_text(json.dumps([made["entry"]]))
    return made["token"], path


@pytest.fixture
def command() -> str:
    """A queue that no other test uses."""
    return f"c:{uuid.uuid4().hex}"
