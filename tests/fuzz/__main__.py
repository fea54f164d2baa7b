"""`python -m tests.fuzz`: feeds the targets what a coverage-guided fuzzer, atheris, makes up.

python -m tests.fuzz --seconds 300        all targets, which share the time
python -m tests.fuzz requests specs       some of them
python -m tests.fuzz requests --case FILE an input again, without the fuzzer

What it learns stays in build/fuzz/, an input that breaks a target too. Make it a case: a file in
tests/fuzz/cases/<target>/, named after what was wrong.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS

CASES: Final = Path(__file__).parent / "cases"
_MEMORY_MB: Final = 1_024
_HANG_SECONDS: Final = 20
_MOST_BYTES: Final = 4_096


def _fuzz(target: str, seconds: int, seed: int) -> bool:
    """Whether nothing broke."""
    learnt = Path("build/fuzz") / target
    learnt.mkdir(parents=True, exist_ok=True)
    for number, good in enumerate(seeds(target)):
        (learnt / f"seed-{number}").write_bytes(good)
    command = [
        *(sys.executable, "-m", "tests.fuzz.driver", target),
        *(f"-max_total_time={seconds}", f"-seed={seed}", f"-timeout={_HANG_SECONDS}"),
        *(f"-rss_limit_mb={_MEMORY_MB}", f"-max_len={_MOST_BYTES}"),
        *("-print_final_stats=1", f"-artifact_prefix=build/fuzz/{target}-"),
        str(learnt),
        *map(str, (CASES / target,) if (CASES / target).is_dir() else ()),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    told = done.stdout + done.stderr
    runs = re.findall(r"number_of_executed_units: (\d+)", told)
    reached = re.findall(r"cov: (\d+)", told)
    sys.stdout.write(
        f"{target:12} {int(runs[-1]) if runs else 0:>9,} inputs"
        f" {reached[-1] if reached else '?':>6} edges  seed {seed}"
        f"  {'broke' if done.returncode else 'held'}\n"
    )
    if done.returncode:
        sys.stdout.writelines(re.findall("^(?!INFO|#).*\n", told, re.MULTILINE)[-60:])
    sys.stdout.flush()
    return done.returncode == 0


def main() -> int:
    """The exit code: 1 if any target broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=300, help="in all (300)")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 2**31))
    parser.add_argument("--case", type=Path, help="an input to try again")
    options = parser.parse_args()
    chosen = options.targets or list(TARGETS)
    if unknown := set(chosen) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if options.case:
        for target in chosen:
            TARGETS[target](options.case.read_bytes())
        return 0
    seconds = max(1, options.seconds // len(chosen))
    # Every one is tried, whatever the others do.
    held = [_fuzz(target, seconds, options.seed) for target in chosen]
    return int(not all(held))


if __name__ == "__main__":
    sys.exit(main())
