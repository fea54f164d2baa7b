"""The seeded bugs still fit the code. That they are caught is for `make mutants` to show."""

from __future__ import annotations

import subprocess

import pytest

from tests.faults.catalogue import FAULTS
from tests.faults.mutate import PATCHES, ROOT, Mutant, mutants
from tests.faults.run import ROOMS


def test_there_are_enough() -> None:
    assert len(mutants()) >= 15


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_it_can_be_planted(mutant: Mutant) -> None:
    patch = PATCHES / f"{mutant.name}.patch"
    subprocess.run(["git", "apply", "--check", str(patch)], cwd=ROOT, check=True)


@pytest.mark.parametrize("mutant", mutants(), ids=lambda mutant: mutant.name)
def test_it_is_hunted_by_something_that_exists(mutant: Mutant) -> None:
    assert ROOMS
    assert mutant.by in FAULTS or (ROOT / mutant.by.partition("::")[0]).is_file()
