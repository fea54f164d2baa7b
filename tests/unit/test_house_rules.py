"""What CONTRIBUTING.md and ARCHITECTURE.md ask of the code and no other tool checks."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Final

import pytest

import codeq_grpc
from codeq_grpc import core
from codeq_grpc.core import errors
from codeq_grpc.wire.errors import CODES

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "codeq_grpc"
OURS: Final = sorted(PACKAGE.rglob("*.py"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))
SCRIPTS: Final = sorted((PACKAGE / "store" / "lua").rglob("*.lua"))
VAGUE: Final = {"util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "tools"}


def name_of(path: Path) -> str:
    """Of a file, within the repository."""
    return str(path.relative_to(ROOT))


def lines_of(path: Path) -> int:
    """How long a file is."""
    return len(path.read_text().splitlines())


def test_there_is_something_to_look_at() -> None:
    assert len(OURS) > 40
    assert len(SCRIPTS) > 15


def test_modules_are_short() -> None:
    assert {name_of(path): lines_of(path) for path in [*OURS, *TESTS] if lines_of(path) > 400} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in [*OURS, *TESTS]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > 70:
                    long[f"{name_of(path)}:{node.name}"] = length
    assert long == {}


def test_scripts_are_short() -> None:
    assert {name_of(path): lines_of(path) for path in SCRIPTS if lines_of(path) > 120} == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    names = {
        part for path in [*OURS, *TESTS] for part in path.relative_to(ROOT).with_suffix("").parts
    }
    assert names & VAGUE == set()


def test_every_script_is_a_transition_that_says_what_it_does() -> None:
    """Fragments in lib/ say it too, but have neither shebang nor keys of their own."""
    for path in SCRIPTS:
        text = path.read_text()
        if path.parent.name == "lib":
            assert text.startswith("-- "), name_of(path)
            continue
        shebang, purpose, *_ = text.splitlines()
        assert re.fullmatch(r"#!lua( flags=[a-z,-]+)?", shebang), name_of(path)
        assert purpose.startswith("-- "), name_of(path)
        for header in ("KEYS: ", "ARGV: ", "Reply: "):
            assert f"\n-- {header}" in text, (name_of(path), header)


def test_scripts_touch_only_keys_that_they_declare() -> None:
    """A key made up within a script would break on a cluster."""
    for path in SCRIPTS:
        for line in path.read_text().splitlines():
            code = line.partition("--")[0]
            assert not re.search(r"redis\.call\('\w+',\s*'", code) or "PUBLISH" in code, line


def test_scripts_order_no_strings() -> None:
    """Lua compares them by the locale of the store; ids are compared as numbers."""
    text = r"(?:ids?|names?|keys?|from|to|last|cursor|member|label|entry|found)(?:\[\w+\])?"
    ordered = re.compile(rf"(?<![\w.#]){text} [<>]=? |[<>]=? {text}(?![\w.(])")
    for path in SCRIPTS:
        for line in path.read_text().splitlines():
            code = line.partition("--")[0]
            assert not ordered.search(code), (name_of(path), line)
            assert "table.sort" not in code, (name_of(path), line)


def test_rooms_are_packages_with_a_line_about_them() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), name_of(path)


def modules(package: object) -> list[str]:
    """Names of the modules of a package."""
    path, prefix = package.__path__, package.__name__ + "."  # type: ignore[attr-defined]
    return [found.name for found in pkgutil.walk_packages(path, prefix)]


def test_every_module_can_be_imported() -> None:
    for name in modules(codeq_grpc):
        if not name.endswith("__main__"):
            importlib.import_module(name)


def test_data_in_core_cannot_be_changed_and_has_no_spare_attributes() -> None:
    found = []
    for name in modules(core):
        module = importlib.import_module(name)
        for _, cls in inspect.getmembers(module, dataclasses.is_dataclass):
            if isinstance(cls, type) and cls.__module__ == name:
                found.append(cls)
    assert found
    for cls in found:
        assert cls.__dataclass_params__.frozen, cls  # type: ignore[attr-defined]
        assert "__slots__" in vars(cls), cls


def test_errors_live_in_one_place_and_in_the_table() -> None:
    classes = {
        cls
        for name in modules(codeq_grpc)
        for _, cls in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if issubclass(cls, errors.CodeQError)
        # What a client makes of having no answer at all is no error of the server.
        and cls.__module__ != "codeq_grpc.client.errors"
    }
    assert classes == set(CODES)
    assert {cls.__module__ for cls in classes} == {errors.__name__}
    assert len({cls.reason for cls in classes}) == len(classes)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md"]
)
def test_pages_name_only_files_that_exist(path: Path) -> None:
    """Paths in backticks that look like ours."""
    for found in re.findall(
        r"`((?:codeq_grpc|proto|tests|docs|generated)/[\w./-]+)`", path.read_text()
    ):
        assert (ROOT / found).exists(), found
