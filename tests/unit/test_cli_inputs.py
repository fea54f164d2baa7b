"""Files, standard input and --payload become tasks."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest

from codeq_grpc.cli.inputs import from_files, from_payload, names_from
from codeq_grpc.core import limits


def test_a_file_is_a_task_with_its_bytes_name_and_type(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"{}")
    (tmp_path / "b.unknown").write_bytes(b"\0")
    (tmp_path / "c.tar.gz").write_bytes(b"")
    names = [str(tmp_path / name) for name in ("a.json", "b.unknown", "c.tar.gz")]
    found = from_files(names, None)
    assert [one.label for one in found] == names
    assert [one.read() for one in found] == [b"{}", b"\0", b""]
    assert [one.content_type for one in found] == [
        "application/json",
        "application/octet-stream",
        "application/octet-stream",
    ]
    assert from_files(names[:1], "x/y")[0].content_type == "x/y"


def test_directories_are_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a"
    file.touch()
    assert len(from_files([str(tmp_path), str(file)], None)) == 1
    assert "1 directory" in capsys.readouterr().err
    with pytest.raises(click.UsageError, match="no file"):
        from_files([str(tmp_path)], None)


def test_a_file_that_is_not_there_is_told_before_anything_is_sent(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="No such file"):
        from_files([__file__, str(tmp_path / "nope")], None)
    with pytest.raises(click.UsageError, match="--payload"):
        from_files(['{"a": 1}'], None)


def test_a_name_need_not_be_utf_8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff"
    Path(os.fsdecode(name)).write_bytes(b"x")
    (found,) = from_files([os.fsdecode(name)], None)
    assert found.read() == b"x"
    assert str(found.label).endswith("/\\xff")


def test_a_huge_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    (found,) = from_files([str(huge)], None)
    assert len(found.read()) == limits.BATCH_BYTES + 1


def test_standard_input_is_one_payload_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\0in")))
    (found,) = from_files(["-"], None)
    assert (found.read(), found.label) == (b"\0in", None)
    with pytest.raises(click.UsageError, match="once"):
        from_files(["-", "-"], None)


def test_names_come_one_a_line(tmp_path: Path) -> None:
    names = tmp_path / "names"
    names.write_bytes(b"a b\n\nc\r\nd")
    assert list(names_from(str(names))) == ["a b", "c", "d"]
    with pytest.raises(click.UsageError, match="No such file"):
        list(names_from(str(tmp_path / "nope")))


def test_a_payload_is_json_unless_said_otherwise() -> None:
    assert from_payload('{"a": 1.0}', None).read() == b'{"a": 1.0}'
    assert from_payload("1", None).content_type == "application/json"
    assert from_payload("hello", "text/plain").read() == b"hello"
    assert from_payload(None, None).read() == b""
    for content_type in (None, "application/problem+json"):
        with pytest.raises(click.UsageError, match="not JSON"):
            from_payload("hello", content_type)
