"""`codeq bench` against a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.acceptance.programs import CODEQ, Program, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.api import Api
    from tests.acceptance.conftest import Codeq
    from tests.acceptance.servers import Dev


def test_a_server_is_measured(codeq: Codeq, api: Api, command: str) -> None:
    ran = codeq("bench", "--tasks", "500", "--batch", "50", "--queue", command, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)
    assert (found["tasks"], found["lost"], found["duplicates"]) == (500, 0, 0)
    assert api.queue(command).completed_total == 700
    assert api.queue(command).pending == api.queue(command).in_progress == 0
    assert codeq("bench", "--tasks", "20", "--queue", command).code == 0


def test_tasks_of_others_stay_as_they_are(codeq: Codeq, api: Api, command: str) -> None:
    api.enqueue(command, [b"a", b"b"])
    refused = codeq("bench", "--tasks", "20", "--queue", command)
    assert refused.code == 1
    assert "holds 2 tasks" in refused.err
    assert codeq("bench", "--tasks", "20", "--queue", command, "--force").code == 0
    queue = api.queue(command)
    assert (queue.pending, queue.in_progress, queue.attempt_failed_total) == (2, 0, 0)


def test_ctrl_c_ends_it_and_clears_away(
    codeq: Codeq, api: Api, server: Dev, command: str, tmp_path: Path
) -> None:
    words = [CODEQ, "bench", "--tasks", "1000000", "--queue", command]
    with Program(words, env=server.client_env(), cwd=tmp_path) as program:
        wait_until(lambda: api.queue(command).completed > 500, "tasks that have ended")
        program.interrupt()
        assert program.wait() == 130
    queue = api.queue(command)
    assert (queue.pending, queue.in_progress) == (0, 0)
