"""docs/security.md: every threat names tests that exist, every advice settings that exist."""

from __future__ import annotations

import re
from typing import Final

import pytest

from codeq_grpc.settings import Settings
from tests.unit.test_house_rules import ROOT, TESTS

TEXT: Final = (ROOT / "docs/security.md").read_text()
ROWS: Final = [
    [cell.strip() for cell in line.strip("|").split(" |")]
    for line in TEXT.splitlines()
    if re.match(r"\| [A-Z]\d+ \|", line)
]
BOUNDARIES: Final = "CDIOTL"
PLACES: Final = {
    f"{path.stem}.{name}"
    for path in TESTS
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}
_SETTING: Final = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")
OTHERS: Final = {"commands", "none", "role_map"}
"""Values, and fields of an entry."""


def test_threats_are_numbered_boundary_by_boundary() -> None:
    numbers: dict[str, list[int]] = {}
    for row in ROWS:
        numbers.setdefault(row[0][0], []).append(int(row[0][1:]))
    assert "".join(numbers) == BOUNDARIES
    for found in numbers.values():
        assert found == list(range(1, len(found) + 1))


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_at_every_boundary_every_kind_of_threat_was_thought_of(boundary: str) -> None:
    kinds = {row[1] for row in ROWS if row[0][0] == boundary}
    assert kinds <= set("STRIDE")
    # What is installed has no name to take and nothing to deny.
    assert set("STRIDE") - kinds == (set("SR") if boundary == "L" else set())


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_threat_has_a_defence_and_tests_that_exist(row: list[str]) -> None:
    _, _, threat, defence, shown = row
    assert threat
    assert defence
    named = re.findall(r"`([\w.]+)`", shown)
    assert named
    modules = {place.partition(".")[0] for place in PLACES}
    assert [name for name in named if name not in PLACES | modules] == []


def test_every_setting_that_is_advised_exists() -> None:
    start = TEXT.index("| | do | how |")
    table = TEXT[start : TEXT.index("With systemd", start)]
    assert set(_SETTING.findall(table)) - OTHERS <= Settings.model_fields.keys()


def test_links_lead_to_headings_and_files() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT + (ROOT / "SECURITY.md").read_text()):
        name, _, heading = target.removeprefix("../").partition("#")
        path = ROOT / name if name in {"SECURITY.md", "CHANGELOG.md"} else ROOT / "docs" / name
        path = ROOT / name if name.startswith("docs/") else path
        assert path.is_file(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}
        assert not heading or heading in slugs, target
