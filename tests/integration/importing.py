"""Runs `codeq import-legacy` against a server of tests."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from tests.support.server import token_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import Caller, Server
    from tests.support.stores import StoreProcess

_CODE = "from codeq_grpc.cli.main import main; main()"


class Imported(NamedTuple):
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Of a run with --json."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def count(self, decision: str, **where: str) -> int:
        """How many tasks the report has of that."""
        return sum(
            row["tasks"]
            for row in self.report["counts"]
            if row["decision"] == decision and all(row[k] == v for k, v in where.items())
        )


class Importer:
    """One folder, one old store, one server."""

    def __init__(self, server: Server, store: StoreProcess, folder: Path) -> None:
        self._server = server
        self._store = store
        self.folder = folder

    async def start(self, *words: str, tenant: str = "acme") -> asyncio.subprocess.Process:
        """A run that goes on."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _CODE, "import-legacy", "--from", self._store.url),
            *("--address", self._server.address, "--token", token_of(tenant, "producer")),
            *("--rate", "100000", *words),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, tenant: str = "acme") -> Imported:
        """A whole run, with its report as JSON."""
        process = await self.start("--json", *words, tenant=tenant)
        out, err = await process.communicate()
        assert process.returncode is not None
        return Imported(process.returncode, out.decode(), err.decode())


async def drain(caller: Caller, *commands: str) -> list[task_pb2.ClaimedTask]:
    """Claims and completes what is claimable, in the order in which it comes."""
    found: list[task_pb2.ClaimedTask] = []
    while tasks := await caller.claim(*commands, most=1_000):
        found += tasks
        for task in tasks:
            await caller.complete(task)
    return found


def old_ids(tasks: list[task_pb2.ClaimedTask]) -> list[str]:
    """What they were called before."""
    return [task.spec.labels["legacy.id"] for task in tasks]


async def listed(
    caller: Caller, command: str, state: task_pb2.TaskState
) -> dict[str, task_pb2.Task]:
    """All tasks of a state, by their old ids."""
    request = pb.ListTasksRequest(
        filter=pb.TaskFilter(command=command, states=[state]),
        page_size=1_000,
        view=task_pb2.TASK_VIEW_FULL,
    )
    found: dict[str, task_pb2.Task] = {}
    while True:
        page = await caller.start("ListTasks", request)
        found.update({task.spec.labels["legacy.id"]: task for task in page.tasks})
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token
