"""Python values become payloads and specs, and come back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from codeq.v1.schedule_service_pb2 import OVERLAP_POLICY_BUFFER_ONE
from codeq.v1.task_pb2 import Payload
from codeq_grpc.client import ConflictPolicy, RetryPolicy, decode, encode, names, spec

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(JSON)
def test_json_comes_back(value: object) -> None:
    assert decode(encode(value)) == value


@given(st.binary(min_size=1))
def test_bytes_come_back(value: bytes) -> None:
    payload = encode(value)
    assert payload.content_type == "application/octet-stream"
    assert decode(payload) == value


def test_a_type_that_is_given_is_kept() -> None:
    assert encode("ä", "text/plain").data == "ä".encode()
    assert encode("ä", "application/problem+json").data == '"ä"'.encode()
    assert encode(b"{}", "application/json") == Payload(data=b"{}", content_type="application/json")
    assert encode(Payload(data=b"x"), "ignored") == Payload(data=b"x")


def test_text_is_decoded_by_its_charset() -> None:
    assert decode(Payload(data=b"\xe4", content_type="text/plain; charset=ISO-8859-1")) == "ä"
    assert decode(Payload(data="ä".encode(), content_type="text/csv")) == "ä"
    with pytest.raises(ValueError, match="charset"):
        decode(Payload(data=b"x", content_type="text/plain; charset=nope"))


def test_the_empty_payload_is_none_and_not_sent() -> None:
    assert decode(Payload()) is None
    assert not spec("c").HasField("payload")
    assert spec("c", None).payload.data == b"null"


@pytest.mark.parametrize("value", [float("nan"), "\udcff"])
def test_values_that_json_cannot_carry_are_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two classes of it, the text is json's
        encode(value)


def test_a_spec_has_what_was_asked_for_and_nothing_else() -> None:
    assert spec("c").SerializeToString() == b"\n\x01c"
    full = spec(
        "c",
        {"n": 1},
        priority=0,
        delay=timedelta(milliseconds=1500),
        lease_duration=2.5,
        retry_policy=RetryPolicy(max_attempts=1),
        headers={"a": "b"},
    )
    assert full.HasField("priority")
    assert full.delay.ToMilliseconds() == 1500
    assert full.lease_duration.ToMilliseconds() == 2500
    assert full.retry_policy.max_attempts == 1
    assert dict(full.headers) == {"a": "b"}


def test_a_spec_says_when_to_give_up_what_it_waits_for_and_how_it_is_found() -> None:
    full = spec(
        "c",
        attempt_timeout=timedelta(minutes=1),
        idempotency_key="k",
        idempotency_ttl=60,
        conflict_policy="replace",
        concurrency_key="customer-7",
        depends_on=(task_id for task_id in ("a", "b")),
        labels={"run": "7"},
    )
    assert full.attempt_timeout.ToSeconds() == 60
    assert (full.idempotency_key, full.idempotency_ttl.ToSeconds()) == ("k", 60)
    assert full.conflict_policy == ConflictPolicy.CONFLICT_POLICY_REPLACE
    assert full.concurrency_key == "customer-7"
    assert list(full.depends_on) == ["a", "b"]
    assert dict(full.labels) == {"run": "7"}


def test_policies_go_by_their_value_or_their_name() -> None:
    value = ConflictPolicy.CONFLICT_POLICY_FAIL
    assert spec("c", conflict_policy=value) == spec("c", conflict_policy="fail")
    with pytest.raises(ValueError, match="'nope' is none of use_existing, fail, replace"):
        spec("c", conflict_policy="nope")


def test_one_dependency_is_no_list_of_them() -> None:
    with pytest.raises(TypeError, match="list"):
        spec("c", depends_on="a")


def test_times_are_aware() -> None:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert spec("c", run_time=at).run_time.ToDatetime(UTC) == at
    assert spec("c", expire_time=at).expire_time.ToDatetime(UTC) == at
    with pytest.raises(ValueError, match="run_time must be aware"):
        spec("c", run_time=at.replace(tzinfo=None))
    with pytest.raises(ValueError, match="expire_time must be aware"):
        spec("c", expire_time=at.replace(tzinfo=None))


def test_a_name_that_is_unknown_is_told_with_those_that_are_known() -> None:
    assert names.overlap_policy("Buffer_One") == names.overlap_policy(OVERLAP_POLICY_BUFFER_ONE)
    with pytest.raises(ValueError, match=r"'queue' is none of allow, skip, buffer_one, cancel_pre"):
        names.overlap_policy("queue")
    with pytest.raises(ValueError, match="'unspecified' is none of blocked, scheduled"):
        names.state("unspecified")


def test_a_span_in_words_is_told() -> None:
    with pytest.raises(TypeError, match="seconds or a timedelta, not '1m'"):
        spec("c", lease_duration="1m")  # type: ignore[arg-type]
