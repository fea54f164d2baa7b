"""What comes from others is pinned and under a licence we may use; ruff's security rules are on."""

from __future__ import annotations

import re
import tomllib
from typing import Final

import pytest

from tests.unit.licences_doc import ALLOWED, installed
from tests.unit.test_house_rules import OURS, ROOT, TESTS, name_of

PINNED: Final = {
    re.sub("[-_.]+", "-", line.partition("==")[0]).lower()
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if re.match(r"[A-Za-z0-9._-]+==[^;\s]+", line)
}
PYPROJECT: Final = (ROOT / "pyproject.toml").read_text()


def test_all_that_a_server_installs_is_looked_at() -> None:
    assert {"grpcio", "protobuf", "redis", "aiohttp", "yarl"} <= installed().keys()


@pytest.mark.parametrize(("name", "licence"), installed().items())
def test_every_dependency_has_a_licence_that_we_may_use(name: str, licence: str) -> None:
    parts = [part.split(" OR ") for part in licence.split(" AND ")]
    assert all(any(one in ALLOWED for one in choice) for choice in parts), licence
    assert f"| {name} | {licence} |" in (ROOT / "docs/licences.md").read_text().splitlines()


def test_every_dependency_is_pinned() -> None:
    assert installed().keys() - PINNED == set()
    extras = tomllib.loads(PYPROJECT)["project"]["optional-dependencies"]
    named = {re.split("[^A-Za-z0-9._-]", text)[0] for group in extras.values() for text in group}
    assert {re.sub("[-_.]+", "-", name).lower() for name in named} - PINNED == set()


def test_the_rules_about_security_are_on() -> None:
    lint = tomllib.loads(PYPROJECT)["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    off = [rule for rule in lint["ignore"] if re.fullmatch("S[0-9]+", rule)]
    # `S311`: random numbers are for jitter.
    assert off == ["S311"]


def test_no_rule_about_security_is_passed_over_without_a_reason() -> None:
    places = []
    for path in [*OURS, *TESTS]:
        for line in path.read_text().splitlines():
            passed = re.search(r"# noqa: [A-Z0-9, ]*\bS[0-9]{3}\b(.*)", line)
            if passed and not passed[1].startswith(" - "):
                places.append(name_of(path))
    assert places == []
    for line in PYPROJECT.splitlines():
        assert "#" in line or not re.match(r'\s+"S[0-9]{3}"', line), line
