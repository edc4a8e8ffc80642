"""``finn-vitprune check``: what every node of an ONNX file becomes, or why it does not map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.ingest.check.checked import Checked, Row

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
    from finn_vitprune.ingest.check.check import check

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
        "constants": checked.constants,
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
    lines = [_nodes(checked)]
    if checked.structure is not None:
        lines.append(f"Found: {checked.structure.sentence()}.")
    if checked.complexity is not None:
        c = checked.complexity
        lines.append(f"Operations (MACs per image): {c.macs_dense:,} dense, {c.macs:,} now.")
        lines.append(f"Parameters: {c.params_dense:,} dense, {c.params:,} now.")
    lines += [f"Note: {note}." for note in checked.notes]
    return [*lines, checked.verdict()]


def _nodes(checked: Checked) -> str:
    """How many nodes map; where not all do, how many of these are constants, and why the others do not."""
    text = f"{checked.mapped} of {len(checked.rows)} nodes map."
    if checked.mapped == len(checked.rows):
        return text if checked.passed else f"{text[:-1]} by themselves, but not together."
    own = [r.op_type for r in checked.rows if not r.maps and not r.depends]
    waiting = sum(r.depends for r in checked.rows)
    ops = ", ".join(f"{n} {op}" for op, n in Counter(own).most_common())
    constants = f"{checked.constants} of them are constants. " if checked.constants else ""
    refused = f"Refused for what they are: {ops}. " if own else ""
    behind = f"Refused for what they depend on: {waiting}." if waiting else ""
    return f"{text} {constants}{refused}{behind}".strip()


# --- rows ----------------------------------------------------------------------------------------


def _text(row: Row) -> str:
    if row.maps:
        return row.becomes
    alone = f"; by itself: {row.alone}" if row.alone else ""
    return f"NO: {row.reason}{alone}" + (f"; {row.help}" if row.help else "")


def _node_row(row: Row) -> tuple[str, str, str]:
    return row.place, f"{row.node} ({row.op_type})", _text(row)


def _part_rows(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Refused nodes first, then parts of the network; encoders that are alike share their rows."""
    refused: dict[str, list[Row]] = {}
    waiting: dict[str, int] = {}
    places: dict[str, dict[str, int]] = {}
    for row in rows:
        if row.maps:
            part = places.setdefault(row.place, {})
            part[row.becomes] = part.get(row.becomes, 0) + 1
        elif row.depends:
            waiting[_waits(row)] = waiting.get(_waits(row), 0) + 1
        else:
            refused.setdefault(row.reason, []).append(row)
    shown = [_refused_row(alike) for alike in list(refused.values())[:SHOWN]]
    left = sum(len(alike) for alike in list(refused.values())[SHOWN:])
    if left:
        shown.append(("", f"{left} more {'node' if left == 1 else 'nodes'}", "NO: --all lists them"))
    shown += [("", _count(n), f"NO: {text}") for text, n in waiting.items()]
    return shown + [
        (place, _count(n), becomes) for place, part in _merged(places) for becomes, n in part.items()
    ]


def _refused_row(alike: list[Row]) -> tuple[str, str, str]:
    """Nodes that are refused for one reason, under the name of the first."""
    place, name, text = _node_row(alike[0])
    more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
    return place, name + more, text


def _waits(row: Row) -> str:
    if not row.alone:
        return row.reason
    size = row.alone.startswith("BlockSparseMVAU")
    alone = row.alone.split(" (")[0] if size else row.alone
    return f"by themselves they would be {alone}, but they depend on what is not taken in"


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
