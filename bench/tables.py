"""Tables of figures, for a terminal and for a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Cell: TypeAlias = str | int | float | None


@dataclass(slots=True)
class Table:
    """What one bench has found."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Why the figures do not count: lost tasks, refused calls."""

    def add(self, *cells: Cell) -> None:
        """One more row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def text(self) -> str:
        """As a terminal shows it."""
        lines = [self.title, *self._lines("  ", "")]
        return "\n".join([*lines, *(f"  {note}" for note in self._remarks())])

    def page(self) -> str:
        """As Markdown has it."""
        lines = [f"### {self.title}", "", *self._lines(" | ", "|"), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self._remarks())]).rstrip() + "\n"

    def _remarks(self) -> list[str]:
        return [*self.notes, *(f"FAILED: {fault}" for fault in self.faults)]

    def _lines(self, between: str, edge: str) -> list[str]:
        texts = [self.columns, *(tuple(map(shown, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        right = [self._is_number(at) for at in range(len(self.columns))]
        lines = []
        for cells in texts:
            padded = [
                cell.rjust(width) if number else cell.ljust(width)
                for cell, width, number in zip(cells, widths, right, strict=True)
            ]
            line = between.join(padded)
            lines.append(f"{edge} {line} {edge}" if edge else line.rstrip())
        if edge:
            rule = "|".join(
                "-" * (w + 1) + (":" if n else "-") for w, n in zip(widths, right, strict=True)
            )
            lines.insert(1, f"|{rule}|")
        return lines

    def _is_number(self, at: int) -> bool:
        cells = [row[at] for row in self.rows if row[at] is not None]
        return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def shown(cell: Cell) -> str:
    """A figure with three significant digits at least, none for what was not measured."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    if abs(cell) >= 10:
        return f"{cell:.1f}"
    return f"{cell:.2f}" if abs(cell) >= 0.1 or cell == 0 else f"{cell:.3f}"
