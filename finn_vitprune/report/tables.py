"""Tables as data, and how they look on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finn_vitprune.synth.resources import ESTIMATE, NOT_ESTIMATED

UNBROKEN = 30
"""First columns up to this many characters (node names) are not broken over lines."""


MEASURED, SYNTHESISED, ESTIMATED, COUNTED, GIVEN = "measured", "synthesised", "estimated", "counted", "given"
MARKS = {
    MEASURED: "seen in a simulation of the RTL, or timed",
    SYNTHESISED: "counted by Yosys in the netlists",
    ESTIMATED: "by a formula, before synthesis and placement",
    COUNTED: "exact, from the network and its folding",
    GIVEN: "chosen by the user, or of the data sheet",
}
"""How a figure was found, and what that means."""


def mark_of(method: str) -> str:
    """The mark of a method of :attr:`.Summary.methods`; what is no method (not run) stays as it is."""
    known = {ESTIMATE: ESTIMATED, "planned": ESTIMATED, "simulated": MEASURED, COUNTED: COUNTED}
    return known.get(method, SYNTHESISED if method.startswith("Yosys") else method)


@dataclass(frozen=True)
class TextTable:
    """One table: title, column heads, rows of text (first column left, the others right), a note below.

    ``marks``: by column how its figures were found (of :data:`MARKS`), "" of names and words.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    marks: tuple[str, ...] = ()

    @property
    def mark(self) -> str:
        """The mark of all its figures; "" where they have several, or none."""
        found = set(self.marks) - {""}
        return found.pop() if len(found) == 1 else ""

    @property
    def heading(self) -> str:
        """The title, with the mark of all figures."""
        return f"{self.title} ({self.mark})" if self.mark else self.title

    @property
    def heads(self) -> tuple[tuple[str, str], ...]:
        """The columns, and the mark of each where there are several."""
        own = self.marks if self.marks and not self.mark else ("",) * len(self.columns)
        return tuple(zip(self.columns, own, strict=True))

    def rich(self) -> Table:
        """For a terminal, without the note."""
        table = Table(title=escape(self.heading), title_justify="left", title_style="bold", header_style="bold")
        unbroken = all(len(row[0]) <= UNBROKEN for row in self.rows)
        for i, column in enumerate(f"{head}\n({mark})" if mark else head for head, mark in self.heads):
            left = i == 0
            table.add_column(column, justify="left" if left else "right", overflow="fold", no_wrap=left and unbroken)
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def markdown(self) -> str:
        """Heads and rows, without title and note."""
        alignment = "|--|" + "--:|" * (len(self.columns) - 1)
        return "\n".join([markdown_row(self.columns), alignment, *map(markdown_row, self.rows)])

    def _repr_markdown_(self) -> str:
        """What notebooks show."""
        return "\n\n".join([f"**{self.title}**", self.markdown(), *([self.note] if self.note else [])])


def markdown_row(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("][", "]\\[") for cell in cells) + " |"


def show(tables: Sequence[TextTable], console: Console) -> None:
    """Print tables with their notes."""
    for table in tables:
        console.print(table.rich())
        if table.note:
            console.print(table.note, style="italic", markup=False, highlight=False)
        console.print()


def to_markdown(title: str, text: str, tables: Sequence[TextTable]) -> str:
    """One Markdown page: the title, a paragraph, the tables with their notes."""
    lines = [f"# {title}", "", text, ""]
    for table in tables:
        lines += [f"## {table.title}", "", table.markdown(), "", *([table.note, ""] if table.note else [])]
    return "\n".join(lines)


def percent(share: float) -> str:
    """A share of 0 to 1 in words."""
    return f"{100 * share:.2f} %"


def amount(value: float | None) -> str:
    """A count, perhaps of halves."""
    if value is None:
        return NOT_ESTIMATED
    return f"{value:,.1f}" if value != int(value) else f"{int(value):,}"
