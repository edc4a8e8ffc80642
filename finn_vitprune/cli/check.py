"""``finn-vitprune check``: what every node of an ONNX file becomes, or why it does not map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.ingest.check.checked import Checked
    from finn_vitprune.ingest.check.texts import RowText

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

    from finn_vitprune.ingest.check.checked import Constant
    from finn_vitprune.ingest.check.texts import row_texts, verdict

    return {
        "model": checked.model,
        "kind": checked.kind.value,
        "opset": checked.opset,
        "passed": checked.passed,
        "verdict": verdict(checked),
        "nodes": len(checked.rows),
        "mapped": checked.mapped,
        "constants": checked.count(Constant),
        "structure": None if checked.structure is None else checked.structure.as_dict(),
        "complexity": None if checked.complexity is None else asdict(checked.complexity),
        "notes": list(checked.notes),
        "refusals": [asdict(r) for r in checked.refusals],
        "rows": [asdict(t) | {"maps": r.maps} for r, t in zip(checked.rows, row_texts(checked), strict=True)],
    }


def show(checked: Checked, every_node: bool, console: Console) -> None:
    """Print the table and the summary."""
    from rich.markup import escape
    from rich.table import Table

    from finn_vitprune.ingest.check.texts import row_texts, summary

    title = f"{checked.model} ({checked.kind.value}, opset {checked.opset})"
    table = Table(title=escape(title), title_justify="left", title_style="bold", header_style="bold")
    table.add_column("where", no_wrap=True)
    table.add_column("node", overflow="fold")
    table.add_column("becomes, or why not", overflow="fold")
    for row in [_node_row(t) for t in row_texts(checked)] if every_node else _part_rows(checked):
        table.add_row(*(escape(cell) for cell in row))
    console.print(table, highlight=False)
    for line in summary(checked):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


# --- rows ----------------------------------------------------------------------------------------


def _node_row(text: RowText, more: int = 0) -> tuple[str, str, str]:
    """A node, and how many more are like it."""
    alike = f" and {more} more" if more else ""
    return text.place, f"{text.node} ({text.op_type}){alike}", text.sentence()


def _part_rows(checked: Checked) -> list[tuple[str, str, str]]:
    """Refused nodes first, then parts of the network; encoders that are alike share their rows."""
    from finn_vitprune.ingest.check.checked import Behind, Rejected
    from finn_vitprune.ingest.check.texts import place_text, row_texts, unit_text

    refused: dict[str, list[RowText]] = {}
    waiting: Counter[str] = Counter()
    places: dict[str | int | None, Counter[str]] = {}
    for row, text in zip(checked.rows, row_texts(checked), strict=True):
        match row.answer:
            case Rejected():
                refused.setdefault(text.reason, []).append(text)
            case Behind(alone=None):
                waiting[text.reason] += 1
            case Behind(alone=alone):
                unit = unit_text(alone, size=False)
                waiting[f"by themselves they would be {unit}, but they depend on what is not taken in"] += 1
            case _:
                places.setdefault(row.place, Counter())[text.becomes] += 1
    alike = list(refused.values())
    shown = [_node_row(texts[0], len(texts) - 1) for texts in alike[:SHOWN]]
    left = sum(len(texts) for texts in alike[SHOWN:])
    if left:
        shown.append(("", f"{left} more {'node' if left == 1 else 'nodes'}", "NO: --all lists them"))
    shown += [("", _count(n), f"NO: {text}") for text, n in waiting.items()]
    for first, last, part in _merged(places):
        where = place_text(first) if first == last else f"{place_text(first)} to {last}"
        shown += [(where, _count(n), becomes) for becomes, n in part.items()]
    return shown


def _count(nodes: int) -> str:
    return "1 node" if nodes == 1 else f"{nodes} nodes"


def _merged(places: dict[str | int | None, Counter[str]]) -> list[tuple[str | int | None, str | int | None, Counter[str]]]:
    """First and last place of equal parts: neighbouring encoders are one; nodes of no place come last."""
    merged = []
    for place, part in places.items():
        first, last, before = merged[-1] if merged else (None, None, None)
        if isinstance(place, int) and isinstance(last, int) and before == part:
            merged[-1] = (first, place, part)
        else:
            merged.append((place, place, part))
    return sorted(merged, key=lambda run: run[0] is None)
