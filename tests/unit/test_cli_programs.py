"""Programs as handlers: what goes in, what comes out, and that nothing of them stays."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import pytest

from codeq.v1.task_pb2 import ClaimedTask
from codeq_grpc.cli.programs import Program
from codeq_grpc.core import limits
from codeq_grpc.worker import Reject, Retry, TaskContext

if TYPE_CHECKING:
    from pathlib import Path

    from codeq.v1.task_pb2 import Payload


async def run(
    code: str,
    payload: bytes = b"",
    *,
    timeout: float | None = None,
    headers: dict[str, str] | None = None,
) -> Payload | None:
    task = ClaimedTask(attempt=2)
    task.lease.task_id, task.lease.fence = "t1", 7
    task.spec.command = "c"
    task.spec.payload.data = payload
    task.spec.headers.update(headers or {})
    return await Program([sys.executable, "-c", code], timeout=timeout)(TaskContext(task))


async def test_payload_in_result_out() -> None:
    code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])"
    result = await run(code, b"abc")
    assert result is not None
    assert (result.data, result.content_type) == (b"cba", "text/plain; charset=utf-8")
    result = await run(code, b"\0\xff")
    assert result is not None
    assert (result.data, result.content_type) == (b"\xff\0", "application/octet-stream")
    assert await run("pass") is None


async def test_the_task_stands_in_the_environment() -> None:
    code = "import os; print(*[os.environ[k] for k in sorted(os.environ) if k[:6] == 'CODEQ_'])"
    result = await run(code, headers={"trace-id": "x", "bad": "a\0b"})
    assert result is not None
    assert result.data == b"2 c 7 x t1\n"


async def test_a_program_need_not_read_its_input() -> None:
    assert await run("import os; os.close(0)", bytes(limits.PAYLOAD_BYTES)) is None


async def test_an_exit_code_fails_with_the_last_words() -> None:
    with pytest.raises(Retry) as caught:
        await run("import sys; print('one\\ntwo \\n', file=sys.stderr); sys.exit(3)")
    error = caught.value
    assert (str(error), error.kind, error.detail) == ("two", "exit.3", "one\ntwo \n\n")
    with pytest.raises(Retry, match="exit code 4"):
        await run("import sys; sys.exit(4)")


async def test_a_signal_fails() -> None:
    with pytest.raises(Retry, match="SIGKILL") as caught:
        await run("import os; os.kill(os.getpid(), 9)")
    assert caught.value.kind == "signal.9"


async def test_a_flood_of_output_is_cut() -> None:
    with pytest.raises(Reject, match=str(limits.PAYLOAD_BYTES + 1)) as caught:
        await run(f"print('x' * {limits.PAYLOAD_BYTES})")
    assert caught.value.kind == "PAYLOAD_TOO_LARGE"
    with pytest.raises(Retry) as failed:
        await run("import sys; sys.stderr.write('x' * 10_000_000 + 'end'); sys.exit(1)")
    assert len(str(failed.value.detail)) == limits.ERROR_DETAIL_CHARS
    assert str(failed.value.detail).endswith("xend")


async def test_a_program_that_takes_too_long_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, subprocess, sys, time; child = subprocess.Popen(['sleep', '60']);"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}'); time.sleep(60)"
    )
    with pytest.raises(Retry, match="1 s") as caught:
        await run(code, timeout=1)
    assert caught.value.kind == "timeout"
    await _gone(pids)


async def test_a_cancelled_program_is_ended_even_if_it_ignores_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codeq_grpc.cli.programs._KILL_AFTER", 0.1)
    pids = tmp_path / "pids"
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(pids)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    task = asyncio.create_task(run(code))
    while not (pids.exists() and pids.read_text()):
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _gone(pids)


async def test_a_cancelled_program_is_asked_to_end_and_may_clean_up(tmp_path: Path) -> None:
    begun, cleaned = tmp_path / "begun", tmp_path / "cleaned"
    code = (
        "import pathlib, signal, sys, time;"
        f"signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(cleaned)!r}).touch(),"
        f" sys.exit(0))); pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )
    task = asyncio.create_task(run(code))
    while not begun.exists():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.exists()


async def _gone(pids: Path) -> None:
    for pid in map(int, pids.read_text().split()):
        async with asyncio.timeout(5):
            while _lives(pid):
                await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that nobody has collected yet has ended all the same.
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - not a path of ours
        return stat.read().rpartition(")")[2].split()[0] != "Z"
