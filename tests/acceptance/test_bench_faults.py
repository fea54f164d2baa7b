"""The drivers of `python -m bench` with a fault each: no figure comes out of work not done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.programs import PATIENCE

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package", autouse=True)
def grpc_engine() -> str:
    """The one that the bench chooses."""
    return "native"


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("", ""),
        ("drop", "1 lost"),
        ("hang", "1 lost"),
        ("damage", "1 damaged"),
        ("double", "501 of 500 tasks made"),
    ],
)
def test_no_figure_comes_out_of_work_that_was_not_done(fault: str, told: str) -> None:
    """A run of producer, server, store and worker, without and with a fault."""
    code = (
        "import sys; from bench.cycling import Variant, measured;"
        "from bench.session import Session;"
        "found = measured(Session(runs=1, fault=sys.argv[1]), Variant(500, batch=50));"
        "print(found.lost, found.duplicates, *found.faults, sep='; ')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, fault],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=4 * PATIENCE,
    )
    lost, duplicates, *faults = done.stdout.strip().split("; ")
    assert int(lost) == (fault in {"drop", "hang", "damage"})
    assert int(duplicates) == (fault == "double")
    assert bool(faults) == bool(fault)
    assert told in done.stdout
