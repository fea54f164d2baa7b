"""The scripts as they are written: headers, keys, size."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from codeq_grpc.store import keys, scripts
from tests.support.aborting import writes_of

FOLDER = Path(str(files("codeq_grpc.store") / "lua"))
SCRIPTS = sorted(FOLDER.glob("*.lua"))
FRAGMENTS = sorted((FOLDER / "lib").glob("*.lua"))
LISTS = tuple(f"r{priority}" for priority in range(10))
OTHER_KEYS = {
    "register": {"last", "numbers", "names", "order"},
    "examine_registry": {"last", "numbers", "names", "order"},
    **{
        name: {"rows", "tenants", "ends", "used"}
        for name in ("make_key", "find_keys", "list_keys", "revoke_key")
    },
    **{
        name: {"rows", "tenants", "ends", "used"}
        for name in ("note_keys", "forget_keys", "examine_keys")
    },
    **{
        script.name: set(keys.CALENDAR)
        for script in scripts.ALL
        if re.search(r"schedule|firings|calendar", script.name)
    },
    "set_aside": {"key", "aside"},
    "present": {"live"},
    "presence": {"live"},
    "stamp": {"stamp"},
    "record": {"changes", "denials", "calls"},
    "recorded": {"changes", "denials", "calls"},
}

every_script = pytest.mark.parametrize("script", scripts.ALL, ids=lambda script: script.name)


def header(path: Path) -> str:
    """The comment lines at the top."""
    lines = path.read_text().splitlines()
    first = 1 if lines[0].startswith("#!") else 0
    end = next(i for i in range(first, len(lines)) if not lines[i].startswith("--"))
    return "\n".join(lines[first:end])


def name_in_folder(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def text_of(script: scripts.Script) -> str:
    return (FOLDER / f"{script.name}.lua").read_text()


def test_every_script_is_loaded() -> None:
    assert sorted(script.name for script in scripts.ALL) == [path.stem for path in SCRIPTS]


@pytest.mark.parametrize("path", [*SCRIPTS, *FRAGMENTS], ids=name_in_folder)
def test_file_is_short_and_its_lines_fit(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_header_tells_purpose_keys_arguments_and_reply(path: Path) -> None:
    assert path.read_text().startswith("#!lua")
    text = header(path)
    assert re.match(r"-- [A-Z][^.]+\.", text)
    for part in ("KEYS", "ARGV", "Reply"):
        assert len(re.findall(rf"^-- {part}: \S", text, re.MULTILINE)) == 1, part


@pytest.mark.parametrize("path", FRAGMENTS, ids=lambda path: path.stem)
def test_fragment_tells_its_purpose(path: Path) -> None:
    assert re.match(r"-- [A-Z][^.]+", header(path))


@every_script
def test_includes_are_resolved_once_each(script: scripts.Script) -> None:
    assert b"@include" not in script.source
    for path in FRAGMENTS:
        included = text_of(script).count(f"-- @include {path.stem}\n")
        assert script.source.decode().count(path.read_text()) == included <= 1


@every_script
def test_keys_are_known_suffixes_without_a_double(script: scripts.Script) -> None:
    known = OTHER_KEYS.get(script.name, set(keys.SUFFIXES))
    assert set(script.suffixes) <= known
    assert len(set(script.suffixes)) == len(script.suffixes)


@every_script
def test_keys_have_the_names_of_the_header_in_its_order(script: scripts.Script) -> None:
    """The lists, which `r` names, come last: its places are counted from the end."""
    named = re.findall(r"^-- KEYS: (.+)$", text_of(script), re.MULTILINE)[0].split()
    assert "r" not in named[:-1]
    lists = LISTS if named[-1] == "r" else ()
    assert script.suffixes == (*(key for key in named if key != "r"), *lists)
    made = script.source.decode().replace(",\n  ", ", ")
    for place, key in enumerate(named, 1):
        value = f"KEYS[{place}]"
        if key == "r":
            value = f"{{ [0] = {', '.join(f'KEYS[{place + i}]' for i in range(10))} }}"
        assert f"\nlocal {key} = {value}\n" in made
    assert text_of(script).count("KEYS") == 1


@every_script
def test_every_key_declared_is_used(script: scripts.Script) -> None:
    """By its name, somewhere in the script or in one of its fragments."""
    code = re.sub(r"--.*|'[^']*'", "", script.source.decode())
    for key in {re.sub(r"^r\d$", "r", suffix) for suffix in script.suffixes}:
        assert len(re.findall(rf"(?<![.\w]){key}\b", code)) > 1, key


@every_script
def test_keys_that_fragments_need_are_declared(script: scripts.Script) -> None:
    for path in FRAGMENTS:
        if f"-- @include {path.stem}\n" in text_of(script):
            for needed in re.findall(r"Needs ([\w ]+)\.", header(path)):
                declared = {re.sub(r"^r\d$", "r", suffix) for suffix in script.suffixes}
                assert set(needed.split()) <= declared, path.stem


@every_script
def test_every_reply_begins_with_a_word(script: scripts.Script) -> None:
    text = text_of(script)
    returned = re.findall(r"return (\{.*|reply\b)", text.split("-- Reply:")[1])
    made = re.findall(r"\breply\b[\w, ]* = .*?(\{ '.*)", text)
    assert returned
    for value in [value for value in returned if value != "reply"] + made:
        assert re.match(r"\{$|\{ '[A-Z]+'", value), value
    assert ("reply" in returned) == bool(made)


@every_script
def test_only_scripts_that_add_are_refused_when_memory_is_short(script: scripts.Script) -> None:
    flags = set(script.source.split(b"\n", 1)[0].removeprefix(b"#!lua").strip().split(b"flags="))
    adding = {
        *(scripts.ENQUEUE, scripts.REDRIVE, scripts.REGISTER, scripts.MAKE_KEY),
        *(scripts.PUT_SCHEDULE, scripts.FIRE_SCHEDULES),
    }
    reading = {script for script in scripts.ALL if not writes_of(script)}
    expected = b"" if script in adding else b"no-writes" if script in reading else b"allow-oom"
    assert flags - {b""} == {expected} - {b""}
