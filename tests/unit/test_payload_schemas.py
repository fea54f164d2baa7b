"""What schemas say of payloads.

The table is after the test suite of JSON Schema (github.com/json-schema-org/JSON-Schema-Test-Suite,
draft 2020-12): for every keyword what it takes and what it refuses.
"""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st

from codeq_grpc.schemas.judging import NotJson, Problem, compiled, judge, read

KEYWORDS: Final[list[tuple[Any, list[Any], list[Any]]]] = [
    (True, [None, 1, {}], []),
    (False, [], [None, 1, {}]),
    ({}, [None, "x", [1]], []),
    ({"type": "integer"}, [1, 1.0, -(10**30)], [1.5, "1", True, None]),
    ({"type": "number"}, [1, 1.5], ["1", True]),
    ({"type": "boolean"}, [True], [0, 1, "true"]),
    ({"type": "null"}, [None], [0, "", False]),
    ({"type": ["string", "null"]}, ["", None], [1]),
    ({"enum": [1, "a", {"b": [2]}]}, [1, 1.0, "a", {"b": [2]}], [True, {"b": [3]}, "b"]),
    ({"const": {"a": 1, "b": 2}}, [{"b": 2, "a": 1}], [{"a": 1}]),
    ({"const": False}, [False], [0, None]),
    ({"multipleOf": 0.01}, [19.99, 4.35, 3], [0.015]),
    ({"maximum": 3}, [3, -1, "x"], [3.1, 10**30]),
    ({"exclusiveMaximum": 3}, [2.9], [3]),
    ({"minimum": 2**63}, [2**63, 2**64], [2**63 - 1]),
    ({"exclusiveMinimum": 0}, [1e-9], [0, -0.0]),
    ({"maxLength": 2}, ["ab", "\U0001f600\U0001f600", 100], ["abc"]),
    ({"minLength": 2}, ["ab"], ["a", "\U0001f600"]),
    ({"pattern": "^a+$"}, ["aa", 5], ["ab", ""]),
    ({"pattern": "b"}, ["abc"], ["ac"]),
    ({"pattern": "^\\d$"}, ["5"], ["x"]),
    ({"items": {"type": "integer"}}, [[], [1, 2], "x"], [[1, "x"]]),
    ({"prefixItems": [{"type": "string"}], "items": False}, [[], ["x"]], [["x", 1], [1]]),
    ({"maxItems": 1}, [[1], {}], [[1, 2]]),
    ({"minItems": 1}, [[1]], [[]]),
    ({"uniqueItems": True}, [[1, "1", True], [[1], [True]]], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    ({"contains": {"const": 1}}, [[0, 1]], [[], [0]]),
    ({"contains": {"const": 1}, "minContains": 0}, [[]], []),
    ({"contains": {"const": 1}, "maxContains": 1}, [[1, 2]], [[1, 1]]),
    ({"required": ["a"]}, [{"a": None}, []], [{}, {"b": 1}]),
    ({"properties": {"a": {"type": "string"}}}, [{}, {"a": "x", "b": 1}], [{"a": 1}]),
    ({"patternProperties": {"^n": {"type": "number"}}}, [{"x": "x", "n1": 1}], [{"n": "x"}]),
    (
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
        [{"a": 1, "xy": 2}],
        [{"b": 1}],
    ),
    ({"propertyNames": {"maxLength": 1}}, [{"a": 1}], [{"ab": 1}]),
    ({"maxProperties": 1}, [{"a": 1}], [{"a": 1, "b": 2}]),
    ({"minProperties": 1}, [{"a": 1}, []], [{}]),
    ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 1}, {}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"b": 1}], [{"a": 1}]),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1, 2], [0, 3]),
    ({"anyOf": [{"type": "string"}, {"minimum": 2}]}, ["x", 2], [1]),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, [1, 2.5], [3, 1.5]),
    ({"not": {"type": "string"}}, [1], ["x"]),
    (
        {"if": {"properties": {"a": {"const": 1}}}, "then": {"required": ["b"]}, "else": False},
        [{"a": 1, "b": 2}],
        [{"a": 1}, {"a": 2}],
    ),
    (
        {"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False},
        [{"a": 1}],
        [{"a": 1, "b": 2}],
    ),
    ({"prefixItems": [{}], "unevaluatedItems": False}, [[1]], [[1, 2]]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, ["x"], [1]),
    ({"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "string"}}}, ["x"], [1]),
    (
        {"$id": "https://acme.test/", "$ref": "x", "$defs": {"x": {"$id": "x", "maximum": 1}}},
        [1],
        [2],
    ),
    (
        {"$dynamicRef": "#n", "$dynamicAnchor": "n", "items": {"$dynamicRef": "#n"}, "maxItems": 1},
        [[[[]]]],
        [[[1, 2]]],
    ),
    ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, [{"type": "string"}], [{"type": 1}]),
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "maximum": 1}, [1], [2]),
    ({"format": "email"}, ["no address"], []),
    ({"contentMediaType": "application/json", "unknown": 1}, ["{"], []),
]


def verdict(schema: Any, value: Any) -> Problem | None:
    found = compiled(json.dumps(schema).encode())
    assert not isinstance(found, Problem), found
    return judge(found, json.dumps(value).encode())


@pytest.mark.parametrize(("schema", "good", "bad"), KEYWORDS, ids=lambda one: str(one)[:40])
def test_keywords_mean_what_the_draft_says(schema: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert verdict(schema, value) is None, value
    for value in bad:
        assert isinstance(verdict(schema, value), Problem), value


@pytest.mark.parametrize(
    ("schema", "value", "pointer", "message"),
    [
        ({"type": "string"}, 5, "", 'the value is not of type "string"'),
        ({"properties": {"a/b": {"items": {"maximum": 1}}}}, {"a/b": [0, 7]}, "/a~1b/1", "maximum"),
        ({"properties": {"~": {"const": 1}}}, {"~": 2}, "/~0", "1 was expected"),
        ({"required": ["id"]}, {}, "", '"id" is a required property'),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    schema: Any, value: Any, pointer: str, message: str
) -> None:
    found = verdict(schema, value)
    assert found is not None
    assert found.pointer == pointer
    assert message in found.message


def test_no_value_is_shown_whatever_keyword_it_breaks() -> None:
    for schema, _, bad in KEYWORDS:
        for value in bad:
            shown = verdict(schema, value)
            assert shown is not None
            assert not isinstance(value, str) or len(value) < 3 or value not in shown.message
    for schema in ({"pattern": "^a$"}, {"enum": ["a"]}, {"const": "a"}, {"maxLength": 1}, False):
        assert "canary" not in str(verdict(schema, "canary"))


def test_what_is_told_has_an_end() -> None:
    wide = {"additionalProperties": {"enum": ["x" * 9_999] * 5}}
    found = verdict(wide, {"n" * 9_999: 1})
    assert found is not None
    assert len(found.pointer) <= 203
    assert len(found.message) <= 303


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"{", b"[1,]", b"{'a': 1}", b"01", b"+1", b"1.", b".5", b"0x10", b"nul"),
        *(b"NaN", b"-Infinity", b"1e400", b"-1e400", b'"\x01"', b'"\\x"', b"\xff", b"\xc0\x80"),
        *(b'{"a": 1, "a": 1}', b'[{"b": {"a": 1, "a": 2}}]', b'{"a": 1, "\\u0061": 2}'),
        *(b'"\\ud800"', b'["\\uDFFF"]', b'{"\\ud83d": 1}', b'{"a": {"b": "\\ude00\\ud83d"}}'),
        *(b"9" * 5_000, b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"{}{}", b"[" * 90_000),
    ],
    ids=lambda text: repr(text[:16]),
)
def test_what_readers_could_read_differently_is_no_json(text: bytes) -> None:
    with pytest.raises(NotJson):
        read(text)


@pytest.mark.parametrize("text", [b'{"\\ud800": 1}', b'{"a": [{"b": "\\ud800"}]}'])
def test_half_a_surrogate_pair_is_refused_wherever_the_schema_looks(text: bytes) -> None:
    for schema in (b"{}", b"true", b'{"type": "object"}', b'{"properties": {"x": {}}}'):
        found = compiled(schema)
        assert not isinstance(found, Problem)
        assert "surrogate" in str(judge(found, text))


def test_json_is_read() -> None:
    assert read(b' {"a": [1, 2.5, -0, 1e3, "\\u00e9\\ud83d\\ude00", true, null]} ') == {
        "a": [1, 2.5, 0, 1000.0, "é\U0001f600", True, None]
    }


VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab/~"), inner, max_size=3)
    ),
    max_leaves=6,
)
ANY_SCHEMAS: Final = st.recursive(
    st.booleans() | st.fixed_dictionaries({"type": st.sampled_from(["object", "integer", "x"])}),
    lambda inner: st.dictionaries(
        st.sampled_from(
            sorted({keyword for one, _, _ in KEYWORDS if isinstance(one, dict) for keyword in one})
        ),
        inner
        | st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        | VALUES
        | st.sampled_from(["#", "#/$defs/a", "#n", "http://127.0.0.1/"]),
        max_size=3,
    ),
    max_leaves=6,
)


@given(schemas=ANY_SCHEMAS, values=st.lists(VALUES, max_size=4), raw=st.binary(max_size=40))
def test_whatever_comes_is_a_schema_or_not_and_valid_or_not(
    schemas: Any, values: list[Any], raw: bytes
) -> None:
    """No other end: and what is valid is valid again, in another order of its members."""
    found = compiled(json.dumps(schemas).encode())
    if isinstance(found, Problem):
        return
    for value in values:
        text = json.dumps(value).encode()
        assert judge(found, text) == judge(found, b" " + json.dumps(read(text)).encode())
    assert isinstance(judge(found, raw), Problem | None)
    assert isinstance(compiled(raw), Problem | type(found))
