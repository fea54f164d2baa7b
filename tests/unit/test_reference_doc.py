"""docs/reference.md is what proto/ says, and says something of everything."""

from __future__ import annotations

from tests.unit import reference_doc


def test_the_page_is_as_made_from_the_comments() -> None:
    page = (reference_doc.ROOT / "docs" / "reference.md").read_text()
    assert page == reference_doc.text(), "run make docs"


def test_no_line_of_a_table_lacks_its_comment() -> None:
    lines = reference_doc.text().splitlines()
    assert [line for line in lines if line.endswith("|  |")] == []
