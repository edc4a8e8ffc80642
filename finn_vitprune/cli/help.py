"""The help of a command: options under headings, in order of use, as wide as the terminal."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from typer.core import TyperCommand

REST = "Output"
"""The heading of options that stand under no other, where there are others."""
LEAST, MOST = 40, 100
"""Columns of help."""


def columns() -> int:
    """Of the terminal, within bounds."""
    return min(MOST, max(LEAST, shutil.get_terminal_size().columns))


class GroupedCommand(TyperCommand):
    """A command whose parameters name the headings that they stand under in the help."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the headings in the order of their first parameters; what stands under none comes last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        last: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            heading = getattr(parameter, "rich_help_panel", None)
            if record is not None:
                (last if heading is None else groups.setdefault(heading, [])).append(record)
        for heading, records in [*groups.items(), (REST if groups else "Options", last)]:
            with formatter.section(heading):
                formatter.write_dl(records, col_max=24)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the example, whose words stay whole."""
        lines = textwrap.wrap(self.epilog or "", formatter.width - 2, break_on_hyphens=False, break_long_words=False)
        formatter.write("\n" + "".join(f"  {line}\n" for line in lines))
