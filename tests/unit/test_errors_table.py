"""The one table of errors, both ways, for every class of error there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2, status_pb2

from codeq.v1 import task_pb2
from codeq_grpc.core import errors
from codeq_grpc.wire.errors import (
    CODES,
    DETAILS_KEY,
    code_number,
    from_item,
    from_status,
    to_item,
    to_status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(cls: type[errors.CodeQError] = errors.CodeQError) -> Iterator[type[errors.CodeQError]]:
    """The class and all that derive from it, as core/errors.py has them."""
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


ALL: Final = list(tree())
NEVER_OURS: Final = {"OK", "UNKNOWN", "CANCELLED", "DATA_LOSS", "DEADLINE_EXCEEDED"}


def details(raw: bytes, kind: Any) -> list[Any]:
    """Details of one kind in a serialised status."""
    found = []
    for detail in status_pb2.Status.FromString(raw).details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


def test_every_class_has_one_code_and_a_reason_of_its_own() -> None:
    assert set(CODES) == set(ALL)
    reasons = [cls.reason for cls in ALL]
    assert len(set(reasons)) == len(reasons)
    assert all(reason == reason.upper() and reason.isascii() for reason in reasons)
    assert {code.name for code in CODES.values()}.isdisjoint(NEVER_OURS)


def test_internal_is_for_bugs_only() -> None:
    internal = [cls for cls, code in CODES.items() if code is grpc.StatusCode.INTERNAL]
    assert internal == [errors.CodeQError]


@pytest.mark.parametrize("cls", ALL)
def test_the_default_message_is_the_first_line_of_the_docstring(
    cls: type[errors.CodeQError],
) -> None:
    error = cls()
    assert error.message
    assert error.message == str(error) == (cls.__doc__ or "").splitlines()[0].strip()


@pytest.mark.parametrize("cls", ALL)
def test_what_is_sent_as_a_status_comes_back(cls: type[errors.CodeQError]) -> None:
    sent = cls("what", metadata={"a": "b"}, fields={"x.y[0]": "bad"}, retry_after=1.25)
    code, message, raw = to_status(sent)
    assert code is CODES[cls]
    assert code_number(sent) == code.value[0] == status_pb2.Status.FromString(raw).code
    (info,) = details(raw, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason, dict(info.metadata)) == ("codeq", cls.reason, {"a": "b"})
    found = from_status(message, [("x", "y"), (DETAILS_KEY, raw)])
    assert type(found) is cls
    assert found is not None
    assert (found.message, found.metadata, found.fields, found.retry_after) == (
        *("what", {"a": "b"}, {"x.y[0]": "bad"}, 1.25),
    )


@pytest.mark.parametrize("cls", ALL)
def test_what_is_sent_as_an_item_comes_back(cls: type[errors.CodeQError]) -> None:
    item = to_item(7, cls("what", metadata={"a": "b"}))
    assert (item.index, item.code, item.reason) == (7, CODES[cls].value[0], cls.reason)
    found = from_item(item)
    assert (type(found), found.message, found.metadata) == (cls, "what", {"a": "b"})


@pytest.mark.parametrize("cls", ALL)
def test_details_are_there_only_when_they_say_something(cls: type[errors.CodeQError]) -> None:
    _, _, raw = to_status(cls())
    assert len(details(raw, error_details_pb2.ErrorInfo)) == 1
    assert details(raw, error_details_pb2.BadRequest) == []
    retry = details(raw, error_details_pb2.RetryInfo)
    assert len(retry) == (cls.default_retry_after is not None)


def test_passing_errors_say_when_to_come_again() -> None:
    passing = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert {cls for cls in ALL if cls.default_retry_after} == {
        # Some quotas are such that waiting does not help.
        *(cls for cls in ALL if CODES[cls] in passing and cls is not errors.QuotaExceeded)
    }


def test_a_field_at_fault_is_told_in_all_places() -> None:
    error = errors.InvalidField.at("task.command", "must be set")
    assert error.message == "task.command: must be set"
    assert error.metadata == {"field": "task.command"}
    _, _, raw = to_status(error)
    (bad,) = details(raw, error_details_pb2.BadRequest)
    (violation,) = bad.field_violations
    assert (violation.field, violation.description) == ("task.command", "must be set")


def test_long_texts_are_cut_so_that_metadata_stays_small() -> None:
    smile = "\N{GRINNING FACE}"
    fields = {f"f{i}": smile * 5_000 for i in range(1)}
    _, message, raw = to_status(errors.InvalidField(smile * 5_000, fields=fields))
    assert message == smile * 125 + "..."
    assert len(raw) < 1_200
    _, _, raw = to_status(errors.InvalidField(fields={f"f{i}": "x" for i in range(1_000)}))
    (bad,) = details(raw, error_details_pb2.BadRequest)
    assert len(bad.field_violations) == 20
    assert len(to_item(0, errors.LeaseLost("x" * 5_000)).message) == 503


@pytest.mark.parametrize(
    "trailing",
    [
        [],
        [("other", "x")],
        [(DETAILS_KEY, "text")],
        [(DETAILS_KEY, b"\xff")],
        [(DETAILS_KEY, b"")],
        [(DETAILS_KEY, status_pb2.Status(code=5, message="m").SerializeToString())],
    ],
)
def test_a_status_without_our_details_is_not_ours(trailing: list[tuple[str, str | bytes]]) -> None:
    assert from_status("m", trailing) is None


def test_details_of_others_are_not_ours() -> None:
    status = status_pb2.Status(code=5)
    info = error_details_pb2.ErrorInfo(reason="TASK_NOT_FOUND", domain="example.com")
    status.details.add().Pack(info)
    status.details.append(AnyMessage(type_url="type.googleapis.com/x.Y", value=b"\xff"))
    assert from_status("m", [(DETAILS_KEY, status.SerializeToString())]) is None


def test_details_that_are_no_messages_are_not_ours() -> None:
    whole = status_pb2.Status.FromString(to_status(errors.TaskNotFound())[2])
    whole.details[0].value += b"\xff"
    assert from_status("m", [(DETAILS_KEY, whole.SerializeToString())]) is None


def test_a_reason_of_a_newer_server_is_an_error_of_ours() -> None:
    item = task_pb2.ItemFailure(reason="NOT_INVENTED_YET", message="m", metadata={"a": "b"})
    found = from_item(item)
    assert (type(found), found.message, found.metadata) == (errors.CodeQError, "m", {"a": "b"})
