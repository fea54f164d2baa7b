"""Placeholders are filled in where they may be, and nothing else changes."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, settings, strategies as st

from codeq_grpc.rules.filling import fill, fill_json

VALUES: Final = {"fire_time": "2025-11-21T13:00:00Z", "schedule_id": 'a"b\\c\n{{fire_time}}é'}


def test_known_names_are_filled_in_once() -> None:
    assert fill("at {{fire_time}}, {{fire_time}}", VALUES) == "at " + ", ".join(
        [VALUES["fire_time"]] * 2
    )
    # What is filled in is not looked at again.
    assert fill("{{schedule_id}}", VALUES) == VALUES["schedule_id"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "plain",
            "{{",
            "{{}}",
            "{{ fire_time }}",
            "{fire_time}",
            "{{fire_time}",
            "{{Fire_Time}}",
        ),
        *(
            "{{unknown}}",
            "{{fire_time.year}}",
            "{{fire_time!r}}",
            "{{__class__}}",
            "{% x %}",
            "%s {0}",
        ),
    ],
)
def test_all_else_stays(text: str) -> None:
    assert fill(text, VALUES) == text
    quoted = json.dumps({"key": text}).encode()
    assert fill_json(quoted, VALUES) == quoted


def test_only_string_values_of_json_change() -> None:
    payload = (
        b'{ "{{fire_time}}" : "{{fire_time}}", "n": [1.0, "x{{fire_time}}y" ,true, {} ],\n'
        b' "{{fire_time}}"\n:"\\"{{fire_time}}\\u00e9", "q\\"{{fire_time}}":null, "e": "{{fire"}'
    )
    time = VALUES["fire_time"].encode()
    assert fill_json(payload, VALUES) == (
        b'{ "{{fire_time}}" : "' + time + b'", "n": [1.0, "x' + time + b'y" ,true, {} ],\n'
        b' "{{fire_time}}"\n:"\\"' + time + b'\\u00e9", "q\\"{{fire_time}}":null, "e": "{{fire"}'
    )


def test_a_document_may_be_one_string() -> None:
    assert fill_json(b'"{{fire_time}}"', VALUES) == b'"2025-11-21T13:00:00Z"'


def test_values_cannot_leave_their_string() -> None:
    filled = fill_json(b'["{{schedule_id}}", 1]', VALUES)
    assert json.loads(filled) == [VALUES["schedule_id"], 1]
    assert filled.isascii()


@pytest.mark.parametrize(
    "payload",
    [
        b'"{{fire_time}}',
        b'"{{fire_time}}\\',
        b'"{{fire_time}}\\"',
        b"{{fire_time}}",
        b'["a\\{{fire_time}}"]',
        '"{{fire_time}}"'.encode("utf-16"),
        b'\\"{{fire_time}}',
    ],
)
def test_what_is_no_json_stays_where_it_is_not_a_string(payload: bytes) -> None:
    assert fill_json(payload, VALUES) == payload


@pytest.mark.parametrize(
    "piece", [b'\\"', b'"', b"{{fire_time", b'"{{', b'""\n', b'"\\{{fire_time}}']
)
def test_no_payload_takes_long(piece: bytes) -> None:
    """A megabyte of it; a scan that went back again and again would take hours."""
    payload = b'{{"' + piece * ((1 << 20) // len(piece))
    assert len(fill_json(payload, VALUES)) >= len(payload)


_TEXTS: Final = st.lists(
    st.sampled_from(
        ["{{fire_time}}", "{{schedule_id}}", "{{no}}", "{", "}", '"', "\\", "\n", "é", "x"]
    )
).map("".join)
_DOCUMENTS: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, database=None, deadline=None)
@given(_DOCUMENTS, st.booleans(), st.sampled_from([None, 1]))
def test_json_is_filled_as_its_values_are(
    document: Any, ascii_only: bool, indent: int | None
) -> None:
    payload = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert json.loads(fill_json(payload, VALUES)) == _filled(document)


def _filled(document: Any) -> Any:
    if isinstance(document, str):
        return fill(document, VALUES)
    if isinstance(document, list):
        return [_filled(one) for one in document]
    if isinstance(document, dict):
        return {key: _filled(one) for key, one in document.items()}
    return document
