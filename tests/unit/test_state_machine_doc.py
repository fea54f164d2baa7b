"""docs/state-machine.md is what the table says, and the table has every state of the API."""

from __future__ import annotations

from codeq.v1.task_pb2 import TaskState as WireState
from codeq_grpc.core.task import TERMINAL, TRANSITIONS, TaskState
from tests.unit import reference_doc, state_machine_doc


def test_the_page_is_as_made_from_the_table() -> None:
    page = (reference_doc.ROOT / "docs" / "state-machine.md").read_text()
    assert page == state_machine_doc.text(), "run make docs"


def test_table_has_every_state_of_the_api() -> None:
    wire = {name.removeprefix("TASK_STATE_"): number for name, number in WireState.items()}
    assert wire.pop("UNSPECIFIED") == 0
    assert wire == {state.name: state.value for state in TaskState}
    assert {one.target for one in TRANSITIONS} == {*TaskState, None}
    assert {one.source for one in TRANSITIONS} == {*TaskState, None}


def test_only_a_redrive_leads_out_of_an_end() -> None:
    out = {(one.event, one.target) for one in TRANSITIONS if one.source in TERMINAL}
    assert out == {
        ("redrive", TaskState.PENDING),
        ("redrive later", TaskState.SCHEDULED),
        ("prune", None),
    }
