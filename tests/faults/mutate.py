"""Seeded bugs: `make mutants ARGS="NAME..."` shows that each of them is caught.

Every patch of `mutants/` is applied to a copy of the project, in which the fault or the test that
its header names is run: it must find violations. One that finds none is worth nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

ROOT: Final = Path(__file__).parents[2]
PATCHES: Final = Path(__file__).parent / "mutants"
_COPIED: Final = ("codeq_grpc", "generated", "tests", "pyproject.toml")
_SECONDS: Final = 300


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug."""

    name: str
    what: str
    promise: str
    by: str
    """A fault of the catalogue, or a file of tests."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the header of its patch."""
        head = dict(re.findall(r"^(What|Promise|By): (.+)$", path.read_text(), re.MULTILINE))
        return cls(path.stem, head["What"], head["Promise"], head["By"])

    def plant(self, tree: Path) -> None:
        """Makes the tree a copy of the project with this bug in it."""
        for name in _COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "node_modules")
                shutil.copytree(source, tree / name, ignore=ignored)
            else:
                shutil.copy(source, tree / name)
        with (PATCHES / f"{self.name}.patch").open() as patch:
            subprocess.run(
                ["patch", "-p1", "--quiet", "--no-backup-if-mismatch", "--fuzz=0"],
                cwd=tree,
                stdin=patch,
                check=True,
            )

    def hunt(self, seed: int, tasks: int) -> str:
        """What found it; empty when nothing did."""
        with tempfile.TemporaryDirectory(prefix="codeq-mutant-") as folder:
            tree = Path(folder)
            self.plant(tree)
            if self.by.startswith("tests/"):
                words = ["pytest", "-q", "-x", "-p", "no:cacheprovider", self.by]
            else:
                words = ["tests.faults", "--faults", self.by, "--seed", str(seed)]
                words += ["--tasks", str(tasks), "--rounds", "1", "--patience", "10"]
            env = {**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'generated'}"}
            command = [sys.executable, "-m", *words]
            with subprocess.Popen(
                command,
                cwd=tree,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as program:
                printed, problems = _wait(program)
        found = _finders(printed)
        if not found and program.returncode:
            print(f"{self.name}: {printed}\n{problems}")
        return found


def _wait(program: subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote; one that does not end is told to, so that it ends what it started."""
    try:
        return program.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        program.send_signal(signal.SIGINT)
        return program.communicate()
    except BaseException:
        program.send_signal(signal.SIGINT)
        program.communicate()
        raise


def _finders(printed: str) -> str:
    """Checkers and how much they found, or the test that failed."""
    failed = re.search(r"^FAILED (\S+)", printed, re.MULTILINE)
    if failed is not None:
        return failed.group(1).rpartition("::")[2]
    found: Counter[str] = Counter()
    for violations in re.findall(r"^F\d+ --seed \d+: \{(.*?)\}", printed, re.MULTILINE):
        for name, count in re.findall(r"'([^']+)': (\d+)", violations):
            found[name] += int(count)
    late = re.findall(r"^TOO LATE: (.+)$", printed, re.MULTILINE)
    return ", ".join([*(f"{name} {count}" for name, count in found.items()), *late])


def mutants() -> list[Mutant]:
    """All, by name."""
    return [Mutant.read(path) for path in sorted(PATCHES.glob("*.patch"))]


def main() -> int:
    """Hunts for them; 0 when all were found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--write", type=Path, help="a file for the table, as Markdown")
    given = parser.parse_args()
    lines = ["| mutant | promise | what is wrong | run | found by |", "|---|---|---|---|---|"]
    survivors = []
    for mutant in mutants():
        if given.names and mutant.name not in given.names:
            continue
        found = mutant.hunt(given.seed, given.tasks)
        run = mutant.by if mutant.by.startswith("tests/") else f"{mutant.by} --seed {given.seed}"
        row = (mutant.name, mutant.promise, mutant.what, run, found or "**nothing**")
        lines.append("| " + " | ".join(row) + " |")
        print(lines[-1], flush=True)
        if not found:
            survivors.append(mutant.name)
    if given.write is not None:
        given.write.write_text("\n".join(lines) + "\n")
    print(f"not found: {', '.join(survivors)}" if survivors else "all found")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
