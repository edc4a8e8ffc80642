"""``finn-vitprune check``: what every node of an ONNX file becomes, or why it does not map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.ingest.checked import Checked, Row

NAME = "check"
EXAMPLE = "finn-vitprune check deit_small.onnx --json"
SHOWN = 20
"""Refused nodes that are listed without ``--all``."""


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="ONNX file: float, QDQ or QONNX.")],
    fpga_part: Annotated[
        Optional[str], typer.Option(help="Part or board to compare the file with.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON, with a row per node.")] = False,
    every_node: Annotated[bool, typer.Option("--all", help="A row per node, not per part.")] = False,
) -> None:
    """Say for every node what it becomes in hardware, or why not and what would help.

    Exit code 0 is a promise: a QONNX file builds, a float or QDQ file imports and then builds. 1 when not.
    """
    from finn_vitprune.cli.files import need_file

    need_file(model)
    from finn_vitprune.ingest.check import check

    checked = check(model, fpga_part)
    if json_output:
        import json

        typer.echo(json.dumps(as_dict(checked), indent=2))
    else:
        from rich.console import Console

        show(checked, every_node, Console())
    raise typer.Exit(0 if checked.passed else 1)


def as_dict(checked: Checked) -> dict:
    """The JSON form."""
    from dataclasses import asdict

    return {
        "model": checked.model,
        "kind": checked.kind,
        "opset": checked.opset,
        "passed": checked.passed,
        "verdict": checked.verdict(),
        "nodes": len(checked.rows),
        "mapped": checked.mapped,
        "structure": None if checked.structure is None else asdict(checked.structure),
        "complexity": None if checked.complexity is None else asdict(checked.complexity),
        "notes": list(checked.notes),
        "refusals": [asdict(r) for r in checked.refusals],
        "rows": [asdict(r) | {"maps": r.maps} for r in checked.rows],
    }


def show(checked: Checked, every_node: bool, console: Console) -> None:
    """Print the table and the summary."""
    from rich.markup import escape
    from rich.table import Table

    title = f"{checked.model} ({checked.kind}, opset {checked.opset})"
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    table.add_column("where", no_wrap=True)
    table.add_column("node", overflow="fold")
    table.add_column("becomes, or why not", overflow="fold")
    for row in [_node_row(r) for r in checked.rows] if every_node else _part_rows(checked.rows):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table, highlight=False)
    for line in summary(checked):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(checked: Checked) -> list[str]:
    """The lines under the table, the verdict last."""
    lines = [f"{checked.mapped} of {len(checked.rows)} nodes map."]
    if checked.structure is not None:
        lines.append(f"Found: {checked.structure.sentence()}.")
    if checked.complexity is not None:
        c = checked.complexity
        lines.append(f"Operations (MACs per image): {c.macs_dense:,} dense, {c.macs:,} now.")
        lines.append(f"Parameters: {c.params_dense:,} dense, {c.params:,} now.")
    lines += [f"Note: {note}." for note in checked.notes]
    return [*lines, checked.verdict()]


# --- rows ----------------------------------------------------------------------------------------


def _text(row: Row) -> str:
    if row.maps:
        return row.becomes
    return f"NO: {row.reason}" + (f"; {row.help}" if row.help else "")


def _node_row(row: Row) -> tuple[str, str, str]:
    return row.place, f"{row.node} ({row.op_type})", _text(row)


def _part_rows(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Refused nodes first, then parts of the network; encoders that are alike share their rows."""
    refused = [r for r in rows if not r.maps and not r.reason.startswith("depends on")]
    shown = [_node_row(r) for r in refused[:SHOWN]]
    if len(refused) > SHOWN:
        shown.append(("", f"{len(refused) - SHOWN} more nodes", "NO: --all lists them"))
    waiting: dict[str, int] = {}
    for row in rows:
        if row.reason.startswith("depends on"):
            waiting[row.reason] = waiting.get(row.reason, 0) + 1
    shown += [("", _count(n), f"NO: {reason}") for reason, n in waiting.items()]
    places: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.maps:
            part = places.setdefault(row.place, {})
            part[row.becomes] = part.get(row.becomes, 0) + 1
    return shown + [
        (place, _count(n), becomes) for place, part in _merged(places) for becomes, n in part.items()
    ]


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _merged(places: dict[str, dict[str, int]]) -> list[tuple[str, dict[str, int]]]:
    """Neighbouring encoders with equal parts as one, "encoder 1 to 12"; nodes of no place last."""
    merged: list[tuple[str, dict[str, int]]] = []
    first = ""
    for place, part in places.items():
        alike = bool(merged) and merged[-1][0].startswith("encoder") and merged[-1][1] == part
        if alike and place.startswith("encoder"):
            merged[-1] = (f"{first} to {place.split()[1]}", part)
        else:
            merged.append((place, part))
            first = place
    return sorted(merged, key=lambda item: item[0] == "")
