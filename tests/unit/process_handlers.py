"""Handlers that tests run in processes, which find them here by their names."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codeq_grpc.worker import Reject, Retry

if TYPE_CHECKING:
    from collections.abc import Callable

    from codeq_grpc.worker import TaskContext

MAIN = threading.main_thread()


def pid(task: TaskContext) -> int:
    """Where it runs, if that is the main thread."""
    return os.getpid() if threading.current_thread() is MAIN else 0


def everything(task: TaskContext) -> dict[str, Any]:
    """What a handler can know of its task."""
    return {
        "task_id": task.task_id,
        "fence": task.fence,
        "command": task.command,
        "attempt": [task.attempt, task.max_attempts],
        "json": task.json(),
        "content_type": task.content_type,
        "headers": dict(task.headers),
        "checkpoint": task.checkpoint_value(),
        "flags": [task.cancelled.is_set(), task.lost.is_set()],
    }


def end(task: TaskContext) -> object:
    """As the payload says."""
    return ENDS[task.payload.decode()]()


def _retry() -> None:
    raise Retry("later", delay=7) from OSError("disk")


def _reject() -> None:
    raise Reject("never", kind="bad")


def _leave_a_child() -> None:
    """One that keeps the socket open behind us."""
    if os.fork() == 0:
        time.sleep(60)
    os._exit(4)


ENDS: dict[str, Callable[[], object]] = {
    "retry": _retry,
    "reject": _reject,
    "error": lambda: ENDS["no"],
    "system exit": lambda: exec("raise SystemExit(3)"),  # noqa: S102 - raises
    "interrupt": lambda: exec("raise KeyboardInterrupt"),  # noqa: S102 - raises
    "no json": object,
    "large": lambda: b"x" * (1 << 20) + b"x",
    "largest": lambda: b"x" * (1 << 20),
    "nothing": lambda: None,
    "exit": lambda: os._exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "segfault": lambda: ctypes.string_at(0),
    "child": _leave_a_child,
}


def hold(task: TaskContext) -> str:
    """Computes until there is a file `go` in the folder that the payload names, or cancelled."""
    folder = _begun(task)
    while not (folder / "go").exists():
        task.cancelled.raise_if_cancelled()
    return "done"


def stubborn(task: TaskContext) -> str:
    """As `hold`, but does not look whether it is cancelled, and has a child of its own."""
    folder = Path(json.loads(task.payload)["folder"])
    with subprocess.Popen(["sleep", "300"]) as sleeping:
        (folder / "child").write_text(str(sleeping.pid))
        _begun(task)
        while not (folder / "go").exists():
            pass
        sleeping.kill()
    return f"kept: {task.cancelled.reason}"


def _begun(task: TaskContext) -> Path:
    folder = Path(json.loads(task.payload)["folder"])
    partial = folder / f"partial.{task.fence}"
    partial.write_text(str(os.getpid()))
    partial.rename(folder / f"begun.{task.fence}")
    return folder


def tell(task: TaskContext) -> None:
    """Tells progress, and fails."""
    task.tell_progress(0.5, "half", {"row": 7})
    raise Retry("later")


def tell_nonsense(task: TaskContext) -> None:
    """Is refused where it tells."""
    task.tell_progress(7)


async def asynchronous(task: TaskContext) -> None:
    """Not for processes."""


class Asynchronous:
    """Nor this."""

    async def __call__(self, task: TaskContext) -> None:
        """Does nothing."""


class Adder:
    """A handler with something of its own."""

    def __init__(self, term: int) -> None:
        self.term = term

    def __call__(self, task: TaskContext) -> int:
        """Adds it."""
        return self.term + int(task.payload)


def _hidden(task: TaskContext) -> None:
    """Found by its name, until something else has that name."""


hidden = _hidden
_hidden = pid  # type: ignore[assignment]
