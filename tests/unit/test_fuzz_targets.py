"""The targets of the fuzzer hold for what they begin with, for what once broke them, and for some
random bytes. `make fuzz` looks further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings, strategies as st

from tests.fuzz import asking
from tests.fuzz.__main__ import CASES
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import TARGETS
from tests.integration.calling import METHODS

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = sorted(path for path in CASES.glob("*/*") if path.is_file())


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_target_holds(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_targets_hold_for_what_they_begin_with(target: str) -> None:
    for good in seeds(target):
        TARGETS[target](good)


def test_good_requests_pass_all_checks() -> None:
    """Otherwise the fuzzer would look at refusals only."""
    asked = set()
    for good in seeds("requests"):
        rpc = asking.RPCS[good[0]]
        asked.add(rpc)
        assert asking.ask(rpc, good[1:]) == "OK", rpc
    assert asked == METHODS.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_targets_hold_for_random_bytes(target: str) -> None:
    @settings(max_examples=100, derandomize=True, database=None, deadline=None)
    @given(st.binary(max_size=200))
    def hold(raw: bytes) -> None:
        TARGETS[target](raw)

    hold()
