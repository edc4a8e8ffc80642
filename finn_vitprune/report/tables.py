"""Tables as data, and how they look on a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finn_vitprune.synth.resources import NOT_ESTIMATED

UNBROKEN = 30
"""First columns up to this many characters (node names) are not broken over lines."""


@dataclass(frozen=True)
class TextTable:
    """One table: title, column heads, rows of text (first column left, the others right), a note below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def rich(self) -> Table:
        """For a terminal, without the note."""
        table = Table(title=escape(self.title), title_justify="left", title_style="bold", header_style="bold")
        unbroken = all(len(row[0]) <= UNBROKEN for row in self.rows)
        for i, column in enumerate(self.columns):
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
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


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
