"""docs/bad-input.md names tests that exist, for every group once."""

from __future__ import annotations

import re
from typing import Final

from tests.unit.test_house_rules import ROOT, TESTS

ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split(" |")]
    for line in (ROOT / "docs/bad-input.md").read_text().splitlines()
    if line.startswith("| B")
]
NOT_YET: Final = {"B39", "B40"}
"""What codeQ does not have yet: webhooks."""


def test_every_group_stands_there_once() -> None:
    assert [group for group, *_ in ROWS] == [f"B{number}" for number in range(1, 46)]


def test_every_group_has_a_test_or_nothing_to_test() -> None:
    places = {
        f"{path.stem}.{name}"
        for path in TESTS
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    empty = set()
    for group, _, _, shown in ROWS:
        named = re.findall(r"`([\w.]+)`", shown)
        if not named:
            empty.add(group)
        for name in named:
            assert any(place.startswith(name) for place in places), (group, name)
    assert empty == NOT_YET
