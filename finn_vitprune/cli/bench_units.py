"""``finn-vitprune bench-units``: the hardware units alone, at given shapes, masks and folds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Json, answer
from finn_vitprune.cli.params import parser
from finn_vitprune.errors import UserError
from finn_vitprune.options.texts import pair_of_bits
from finn_vitprune.pruning.choices import Share

if TYPE_CHECKING:
    from rich.console import Console

    from finn_vitprune.bench.results import BenchResults
    from finn_vitprune.bench.run import Measured

EXAMPLE = "finn-vitprune bench-units --quick --json-file units.json"


def command(
    quick: Annotated[bool, typer.Option("--quick", help="Measures two shapes, one fold, four masks of each kind.")] = False,
    json_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The results are kept in this file; what is in it already is not run again.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Writes the tables to this Markdown file, too.")
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="MWxMH", help="Measures this matrix alone, as 384x1152. It may be given again.")
    ] = None,
    block_size: Annotated[list[int] | None, typer.Option(min=1, help="Measures this block size alone. It may be given again.")] = None,
    fold: Annotated[list[int] | None, typer.Option(min=1, help="Measures this many products a cycle alone. It may be given again.")] = None,
    block_keep: Annotated[
        list[Share] | None,
        typer.Option(parser=parser(Share), metavar="SHARE", help="Measures this kept share of blocks alone. It may be given again."),
    ] = None,
    bits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BITS",
            help="Weights and activations have these bits, as 4/8, or one number for both; without it 8. It may be given again.",
        ),
    ] = None,
    mac_style: Annotated[str | None, typer.Option(help="Units multiply so: portable, dsp48e2 or lut; without it dsp48e2.")] = None,
    ram_style: Annotated[
        str | None, typer.Option(help="The weights are in this memory: auto, block, distributed or ultra; without it auto.")
    ] = None,
    masks: Annotated[int | None, typer.Option(min=1, help="Measures this many masks of each kind; without it 20.")] = None,
    masks_from: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="The masks are those of this pruned model (.onnx); without it of the bundled example."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="WHAT", help="Measures this alone: cycles, resources, token-drop or finn. It may be given again."),
    ] = None,
    jobs: params.Jobs = 1,
    scheduler: params.Scheduler = None,
    json_output: Json = False,
) -> None:
    """Measure matrix and token-drop units: cycles and utilisation in Verilator, resources and depth in Yosys.

    One table a question, each figure against its limit. Exit code 1 when a limit is missed.
    """
    from finn_vitprune.bench.plan import BenchPlan, Measurement
    from finn_vitprune.bench.plan import quick as quick_plan
    from finn_vitprune.bench.results import BenchResults
    from finn_vitprune.bench.run import run
    from finn_vitprune.builds.build import EXAMPLE as BUNDLED
    from finn_vitprune.cli.terminal import console_of_tables, progress_lines
    from finn_vitprune.custom_ops.mvau.estimate import RAM_STYLES
    from finn_vitprune.custom_ops.mvau.mac import known_mac_style
    from finn_vitprune.jobs import on_cluster

    given = {
        "shapes": tuple(_pair("--shape", s, "384x1152") for s in shape or ()),
        "blocks": tuple(block_size or ()),
        "products": tuple(fold or ()),
        "keeps": tuple(sorted({float(k) for k in block_keep or ()}, reverse=True)),
        "bits": tuple(map(_bits, bits or ())),
        "mac_style": known_mac_style(mac_style),
        "ram_style": _known("--ram-style", ram_style, RAM_STYLES),
        "number": masks,
        "parts": tuple(Measurement(_known("--measure", m, [known.value for known in Measurement])) for m in measure or ()),
        "jobs": jobs,
    }
    plan = BenchPlan(masks_from or BUNDLED / "deit_digits.onnx")
    plan = replace(quick_plan(plan) if quick else plan, **{name: value for name, value in given.items() if value})
    results = BenchResults(json_file)
    with progress_lines(), on_cluster(scheduler):
        found = run(plan, results)
    good = _show(found, results, markdown, console_of_tables())
    raise typer.Exit(0 if good else 1)


def _show(found: Measured, results: BenchResults, markdown: Path | None, console: Console) -> bool:
    """Answer with the tables and what misses its limit, write them to ``markdown`` too; whether all is within its limits."""
    from finn_vitprune.bench.limits import Checks
    from finn_vitprune.bench.table import tables
    from finn_vitprune.files import write_text
    from finn_vitprune.report.tables import show, to_markdown

    checks = Checks()
    made = tables(found.rows, found.drops, found.finn, checks)
    results.about |= {"limits_held": checks.held, "limits_missed": checks.missed}
    results.write()
    verdict = f"{checks.held} figures within their limits, {len(checks.missed)} not"
    missed = [f"missed: {text}" for text in checks.missed]
    if not answer(results.content):
        show(made, console)
        for line in missed:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print(verdict, highlight=False)
    if markdown is not None:
        text = "\n".join([f"{results.about['tool']}. {verdict}.", "", *(f"- {line}" for line in missed)])
        write_text(markdown, to_markdown("Matrix and token-drop units", text, made))
    return not checks.missed


# --- flags ---------------------------------------------------------------------------------------


def _pair(option: str, text: str, example: str) -> tuple[int, int]:
    """Two positive numbers with an x between them."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if match is None or not all(map(int, match.groups())):
        raise UserError(f"{option} {text}: expected two positive numbers, for example {example}")
    return int(match[1]), int(match[2])


def _bits(text: str) -> tuple[int, int]:
    """Bits of activations and of weights, in the order of the tables."""
    weights, activations = pair_of_bits(text)
    return activations, weights


def _known(option: str, name: str | None, names: Sequence[str]) -> str | None:
    """``name``, which must be one of ``names`` where it is given."""
    if name is not None and name not in names:
        raise UserError(f"{option} {name} is unknown: use {', '.join(names)}")
    return name
