"""``finn-vitprune check``: what every node of an ONNX file becomes, or why it does not map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli.answer import Json, answer

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.ingest.check.checked import Checked
    from finn_vitprune.options.check import CheckOptions

EXAMPLE = "finn-vitprune check deit_small.onnx --json"
OPTIONS = "finn_vitprune.options.check:CheckOptions"


def command(options: CheckOptions, json_output: Json = False) -> None:
    """Say for every node what it becomes in hardware, or why not and what would help.

    Exit code 0 is a promise: a QONNX file builds, a float or QDQ file imports and then builds. 1 when not.
    With --fpga-part a QONNX file must fit the part too, by estimate.
    """
    from finn_vitprune import progress
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.ingest.check.check import check
    from finn_vitprune.ingest.check.texts import as_dict

    with progress_lines():
        progress.status(f"checking {options.model}")
        checked = check(options.model, options.fpga_part, options.budget, options.shell, options.part_resources)
    if not answer(as_dict(checked)):
        from rich.console import Console

        show(checked, options.nodes, Console())
    raise typer.Exit(0 if checked.passed else 1)


def show(checked: Checked, every_node: bool, console: Console) -> None:
    """Print the table and the summary."""
    from rich.markup import escape
    from rich.table import Table

    from finn_vitprune.ingest.check.texts import node_rows, part_rows, summary

    title = f"{checked.model} ({checked.kind.value}, opset {checked.opset})"
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    table.add_column("where", no_wrap=True)
    table.add_column("node", overflow="fold")
    table.add_column("becomes, or why not", overflow="fold")
    for row in node_rows(checked) if every_node else part_rows(checked):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table, highlight=False)
    for line in summary(checked):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
