"""Checks that many fields share, at the edges of what is valid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1.task_pb2 import LeaseRef
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.wire.checks import (
    check_command,
    check_commands,
    check_count,
    check_lease,
    check_number,
    check_text,
    check_worker_id,
    duration_ms,
    timestamp_ms,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR: Final = 3_600_000


def refuses(path: str, check: Callable[[], object]) -> str:
    """What is wrong with the field at `path`."""
    with pytest.raises(InvalidField) as caught:
        check()
    assert caught.value.metadata == {"field": path}
    assert caught.value.fields.keys() == {path}
    return caught.value.fields[path]


def test_limits_are_told_as_the_page_has_them() -> None:
    long = Duration(seconds=315_619_201)
    problem = refuses("a.b", lambda: duration_ms(long, "a.b", 500, 315_619_200_000))
    assert problem == "must be 0.5 s to 315619200 s"
    problem = refuses("a.b", lambda: check_number(-1, "a.b", 0.5, 10**12))
    assert problem == "must be 0.5 to 1000000000000"


@pytest.mark.parametrize(
    ("seconds", "nanos", "ms"),
    [
        (0, 0, 0),
        (0, 999_999, 0),
        (0, 1_000_000, 1),
        (0, 999_999_999, 999),
        (3_600, 0, HOUR),
        (3_599, 999_999_999, HOUR - 1),
        (3_600, 999_999, HOUR),
    ],
)
def test_durations_are_milliseconds_rounded_down(seconds: int, nanos: int, ms: int) -> None:
    assert duration_ms(Duration(seconds=seconds, nanos=nanos), "d", 0, HOUR) == ms


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (0, -1),
        (0, 10**9),
        (0, -(10**9)),
        (0, 2**31 - 1),
        (0, -(2**31)),
        (1, -1),
        (-1, 1),
        (-1, 0),
        (3_600, 1_000_000),
        (3_601, -1),
        (2**63 - 1, 999_999_999),
        (-(2**63), -999_999_999),
    ],
)
def test_durations_out_of_range_or_out_of_form_are_refused(seconds: int, nanos: int) -> None:
    problem = refuses(
        "a.b", lambda: duration_ms(Duration(seconds=seconds, nanos=nanos), "a.b", 0, HOUR)
    )
    assert problem in {"is not a valid duration", "must be 0 s to 3600 s"}


@pytest.mark.parametrize(
    ("seconds", "nanos", "ms"),
    [
        (0, 0, 0),
        (0, 999_999_999, 999),
        (-1, 999_999_999, -1),
        (253_402_300_799, 999_999_999, 253_402_300_799_999),
        (-62_135_596_800, 0, -62_135_596_800_000),
    ],
)
def test_times_are_those_of_the_years_1_to_9999(seconds: int, nanos: int, ms: int) -> None:
    assert timestamp_ms(Timestamp(seconds=seconds, nanos=nanos), "t") == ms


@pytest.mark.parametrize(
    ("seconds", "nanos"),
    [
        (253_402_300_800, 0),
        (-62_135_596_801, 999_999_999),
        (0, -1),
        (0, 10**9),
        (2**63 - 1, 0),
        (-(2**63), 0),
    ],
)
def test_other_times_are_refused(seconds: int, nanos: int) -> None:
    refuses("t", lambda: timestamp_ms(Timestamp(seconds=seconds, nanos=nanos), "t"))


@pytest.mark.parametrize("command", ["a", "Z", "0", "._:-", "GENERATE_MASTER", "x" * 128])
def test_commands_have_a_narrow_alphabet(command: str) -> None:
    assert check_command(command, "c") == command


@pytest.mark.parametrize(
    "command",
    [
        "",
        "x" * 129,
        "a b",
        "a\n",
        "\na",
        "a\0",
        "a/b",
        "{a}",
        "a*",
        "a?",
        "ä",
        "a\u200b",
        "\u0663",
        "\uff21",
    ],
)
def test_other_commands_are_refused(command: str) -> None:
    refuses("c", lambda: check_command(command, "c"))


def test_commands_are_named_by_place_and_only_once() -> None:
    assert check_commands(["A", "a", "B"], "commands", 3) == ["A", "a", "B"]
    refuses("commands[1]", lambda: check_commands(["A", "b c"], "commands", 3))
    for commands in ([], ["A"] * 2, ["A", "B", "C", "D"]):
        refuses("commands", lambda given=commands: check_commands(given, "commands", 3))  # type: ignore[misc]


def test_texts_are_counted_in_characters() -> None:
    assert check_text("\N{GRINNING FACE}" * 5, "t", 5)
    assert check_text("", "t", 5) == ""
    assert refuses("t", lambda: check_text("x" * 6, "t", 5)) == "must have at most 5 characters"
    assert refuses("t", lambda: check_text("", "t", 5, 1)) == "must have 1 to 5 characters"


@pytest.mark.parametrize("worker_id", ["w", "host-1 (pid 7)", "工", "x" * 128])
def test_worker_ids_are_printable(worker_id: str) -> None:
    assert check_worker_id(worker_id) == worker_id


@pytest.mark.parametrize(
    "worker_id", ["", "x" * 129, "a\nb", "a\x00", "\x1b[0m", "\u202e", "\u2028"]
)
def test_other_worker_ids_are_refused(worker_id: str) -> None:
    refuses("worker_id", lambda: check_worker_id(worker_id))


def test_a_count_of_0_is_the_default() -> None:
    assert [check_count(count, "n", 9, 4) for count in (0, 1, 9)] == [4, 1, 9]
    for count in (-1, 10, 2**31 - 1, -(2**31)):
        refuses("n", lambda given=count: check_count(given, "n", 9, 4))  # type: ignore[misc]


def test_a_lease_has_an_id_and_a_fence_of_at_most_53_bits() -> None:
    for fence in (1, 2**53 - 1):
        assert check_lease(LeaseRef(task_id="t", fence=fence), "l") == ("t", fence)
    refuses("l.task_id", lambda: check_lease(LeaseRef(fence=1), "l"))
    for fence in (0, 2**53, 2**64 - 1):
        refuses("l.fence", lambda f=fence: check_lease(LeaseRef(task_id="t", fence=f), "l"))  # type: ignore[misc]
