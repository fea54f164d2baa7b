"""What the peers need, made in `build/peers`: once, and anew when a file that pins it changes.

What a machine lacks is said, and is no error: the peer is then not measured.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.peers.results import NotMeasured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
BUILD: Final = ROOT / "build" / "peers"
BULLMQ: Final = HERE / "drivers" / "bullmq"
ASYNQ: Final = HERE / "drivers" / "asynq"

VENV: Final = BUILD / "venv"
VENV_ARQ: Final = BUILD / "venv-arq"
NODE_MODULES: Final = BUILD / "node_modules"
ASYNQ_PROGRAM: Final = BUILD / "bin" / "asynq"
_BEANSTALKD: Final = BUILD / "beanstalkd"

# Nothing to set up, so nothing to drive: a driver that never ran would prove nothing.
FAKTORY: Final = "its Go module could not be had where the drivers were written"

_LIMIT: Final = 600.0


def _call(
    command: Sequence[str], folder: Path = BUILD, env: Mapping[str, str] | None = None
) -> None:
    environment = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"not installed: {command[0]} took more than {_LIMIT:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing said"]
        what = " ".join([Path(command[0]).name, *command[1:3]])
        raise NotMeasured(f"not installed: `{what} ...` failed: {said[-1]}")


def _tool(name: str, advice: str) -> str:
    found = shutil.which(name)
    if not found:
        raise NotMeasured(f"not installed: {name} was not found; {advice}")
    return found


def _venv(folder: Path, requirements: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _call([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps"]
    _call([*pip, "--disable-pip-version-check", "-r", str(HERE / requirements)])


def _python() -> None:
    _venv(VENV, "requirements.txt")


def _arq() -> None:
    _venv(VENV_ARQ, "requirements-arq.txt")


def _node() -> None:
    _tool("node", "BullMQ needs Node.js 20 or newer")
    npm = _tool("npm", "it comes with Node.js")
    shutil.copy(BULLMQ / "package.json", BUILD)
    # Without a lock file: it would record addresses of a registry. package.json pins all there is.
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    _call([npm, "install", *quiet])


def _go() -> None:
    go = _tool("go", "asynq needs Go 1.25 or newer")
    command = [go, "build", "-trimpath", "-o", str(ASYNQ_PROGRAM), "."]
    _call(command, ASYNQ, {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"})


def _beanstalkd() -> None:
    """Unpacks the Debian package here, unless one is installed: that needs no rights."""
    if shutil.which("beanstalkd"):
        return
    advice = "install the package beanstalkd of your system"
    apt, unpack = _tool("apt-get", advice), _tool("dpkg-deb", advice)
    shutil.rmtree(_BEANSTALKD, ignore_errors=True)
    _BEANSTALKD.mkdir()
    _call([apt, "download", "-q", "beanstalkd"], _BEANSTALKD)
    (package,) = _BEANSTALKD.glob("*.deb")
    _call([unpack, "-x", str(package), str(_BEANSTALKD)])


def beanstalkd() -> Path:
    """The server's program."""
    return Path(shutil.which("beanstalkd") or _BEANSTALKD / "usr" / "bin" / "beanstalkd")


# How to make each part, what there must be then, and which files pin it.
PARTS: Final[dict[str, tuple[Callable[[], None], Callable[[], Path], tuple[Path, ...]]]] = {
    "python": (_python, lambda: VENV, (HERE / "requirements.txt",)),
    "arq": (_arq, lambda: VENV_ARQ, (HERE / "requirements-arq.txt",)),
    "node": (_node, lambda: NODE_MODULES, (BULLMQ / "package.json",)),
    "go": (
        _go,
        lambda: ASYNQ_PROGRAM,
        (ASYNQ / "go.mod", ASYNQ / "go.sum", ASYNQ / "main.go"),
    ),
    "beanstalkd": (_beanstalkd, beanstalkd, ()),
}


def ensure(part: str) -> None:
    """Makes a part unless it is there as the files say; raises NotMeasured where that fails."""
    make, made, pins = PARTS[part]
    wanted = hashlib.sha256(b"\0".join(path.read_bytes() for path in pins)).hexdigest()
    stamp = BUILD / f"{part}.stamp"
    if made().exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    BUILD.mkdir(parents=True, exist_ok=True)
    print(f"setting up {part} for the peers ...", file=sys.stderr, flush=True)
    make()
    stamp.write_text(wanted)
