"""Which tasks are meant: filters, selectors, and whether a task that changed is one of them."""

from __future__ import annotations

from typing import Any, Final

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from codeq.v1 import codeq_service_pb2 as pb, task_pb2
from codeq_grpc.core import limits
from codeq_grpc.core.errors import InvalidField
from codeq_grpc.core.task import TERMINAL, TaskState
from codeq_grpc.wire.filters import check_selector, filter_of, matches, selected, states_of

ALL: Final = frozenset(map(int, TaskState))


def wanted(**fields: Any) -> pb.TaskFilter:
    """Of one queue."""
    return pb.TaskFilter(command="C", **fields)


def refused(selector: pb.TaskSelector) -> str:
    """The field at fault."""
    with pytest.raises(InvalidField) as caught:
        check_selector(selector)
    return caught.value.metadata["field"]


def test_a_filter_without_conditions_means_every_task() -> None:
    assert filter_of(wanted(), "filter") == ("C", ALL, (), "", 0, 0, b"")


def test_a_filter_without_states_means_those_that_are_allowed() -> None:
    assert filter_of(wanted(), "filter", TERMINAL).states == frozenset(map(int, TERMINAL))
    assert filter_of(wanted(states=[6, 6]), "filter", TERMINAL).states == {6}
    with pytest.raises(InvalidField) as caught:
        filter_of(wanted(states=[6, 3]), "filter", TERMINAL)
    assert caught.value.metadata == {"field": "filter.states[1]"}


def test_states_are_those_known_and_allowed() -> None:
    assert states_of([5, 6, 5], "states", TERMINAL) == {TaskState.COMPLETED, TaskState.FAILED}
    assert states_of([], "states", TERMINAL) == frozenset()
    for bad in (0, 4, 9, -1):
        with pytest.raises(InvalidField) as caught:
            states_of([5, bad], "states", TERMINAL)
        assert caught.value.metadata == {"field": "states[1]"}


def test_times_before_1970_are_bounds_too() -> None:
    found = filter_of(
        wanted(
            create_time_after=Timestamp(seconds=-9), create_time_before=Timestamp(nanos=2_000_000)
        ),
        "filter",
    )
    assert (found.created_from_ms, found.created_before_ms) == (1, 2)


def test_labels_are_in_order_whatever_the_callers_was() -> None:
    found = filter_of(wanted(labels={"b": "2", "a": "1"}), "filter")
    assert found.labels == (("a", "1"), ("b", "2"))


def test_an_error_type_is_met_whole_and_not_by_its_beginning() -> None:
    prefix = filter_of(wanted(error_type="Time"), "filter").error_prefix
    for kind, meets in (("Time", True), ("Timeout", False), ("Tim", False), ("", False)):
        error = task_pb2.TaskError(type=kind, message="m", detail="d").SerializeToString()
        assert error.startswith(prefix) == meets


def test_a_selector_is_by_ids_or_by_filter() -> None:
    check_selector(pb.TaskSelector(task_ids=["x"] * limits.SELECTED_TASKS))
    check_selector(pb.TaskSelector(filter=wanted(), limit=1, page_token="x"))
    assert refused(pb.TaskSelector()) == "selector.task_ids"
    assert refused(pb.TaskSelector(task_ids=["x"] * 1_001)) == "selector.task_ids"
    assert refused(pb.TaskSelector(task_ids=["x"], filter=wanted())) == "selector.filter"
    assert refused(pb.TaskSelector(task_ids=["x"], limit=1)) == "selector.limit"
    assert refused(pb.TaskSelector(task_ids=["x"], page_token="x")) == "selector.page_token"


def test_a_selector_by_filter_takes_a_thousand_unless_it_says_less() -> None:
    for limit, most in ((0, 1_000), (1, 1), (1_000, 1_000)):
        found = selected(pb.TaskSelector(filter=wanted(), limit=limit, page_token="t"), TERMINAL)
        assert found[1:] == ("t", most)


TASK: Final = task_pb2.Task(
    spec={"command": "C", "labels": {"a": "1", "empty": ""}},
    state=task_pb2.TASK_STATE_FAILED,
    worker_id="w",
    error={"type": "T"},
)
TASK.create_time.FromMilliseconds(5_000)


@pytest.mark.parametrize(
    ("fields", "meets"),
    [
        ({}, True),
        ({"states": [6]}, True),
        ({"states": [5, 7]}, False),
        ({"labels": {"a": "1"}}, True),
        ({"labels": {"a": "1", "empty": ""}}, True),
        ({"labels": {"a": "2"}}, False),
        ({"labels": {"a": "1", "none": ""}}, False),
        ({"worker_id": "w"}, True),
        ({"worker_id": "W"}, False),
        ({"error_type": "T"}, True),
        ({"error_type": "Ti"}, False),
        ({"create_time_after": Timestamp(seconds=5)}, True),
        ({"create_time_after": Timestamp(seconds=5, nanos=1_000_000)}, False),
        ({"create_time_before": Timestamp(seconds=5)}, False),
        ({"create_time_before": Timestamp(seconds=5, nanos=1_000_000)}, True),
        ({"states": [6], "labels": {"a": "1"}, "worker_id": "other"}, False),
    ],
)
def test_all_that_a_filter_says_must_hold(fields: dict[str, Any], meets: bool) -> None:
    assert matches(TASK, filter_of(wanted(**fields), "filter")) == meets
