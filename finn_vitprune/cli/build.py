"""``finn-vitprune build``: the whole flow from a QONNX model to verified, synthesised RTL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Json, answer

if TYPE_CHECKING:
    from finn_vitprune.options.build import BuildOptions

EXAMPLE = "finn-vitprune build model.onnx --fpga-part xcu250-figd2104-2L-e --clk-ns 4 --target-fps 20000 -o build/mine"
OPTIONS = "finn_vitprune.options.build:BuildOptions"


def command(options: BuildOptions, scheduler: params.Scheduler = None, json_output: Json = False) -> None:
    """Build an accelerator: lower, fold, generate HDL, size FIFOs, stitch, simulate, synthesise, report.

    Exits with 1 when the hardware graph differs from the model by more than ties of rounding, or the RTL from it, or when the
    design does not fit the part or cannot reach --target-fps.
    """
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.graph.reading import need_qonnx

    for path in (options.model, *options.reserve):
        if isinstance(path, Path):
            need_qonnx(path)

    from finn_vitprune.builds.build import build
    from finn_vitprune.jobs import on_cluster

    output = options.output_dir
    before = _stamp(output)
    with progress_lines(), on_cluster(scheduler):
        build(options)
    _finish(output, new=_stamp(output) not in (None, before))


def _stamp(output: Path) -> int | None:
    """When the summary of a build folder was written; ``None`` without one."""
    from finn_vitprune.report.summary import FILE

    path = output / FILE
    return path.stat().st_mtime_ns if path.is_file() else None


def _finish(output: Path, new: bool) -> None:
    """Answer with the summary if this build wrote one; exit 1 if it found mismatches, a part that is too small, or a target out of reach."""
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.report.builds import build_tables
    from finn_vitprune.report.summary import Summary
    from finn_vitprune.report.tables import show

    if not new:
        if not answer({"folder": str(output), "summary": None, "no": []}):
            typer.echo(f"Stopped before the summary. What there is so far is in {output}, estimates in {output}/report.")
        return
    summary = Summary.load(output)
    no = summary.no
    if summary.verify is not None and (summary.verify.rtl_mismatches or summary.verify.class_changes):
        no.append("The RTL differs from the hardware graph.")
    if not answer({"folder": str(output), "summary": summary.model_dump(mode="json", by_alias=True), "no": no}):
        show(build_tables(summary), console_of_tables())
        typer.echo(f"Everything is in {output}; `finn-vitprune report {output}` shows this again.")
    if summary.timing is not None and not summary.timing.holds:
        typer.echo(f"Warning: {summary.timing.text}.", err=True)
    for line in no:
        typer.echo(line, err=True)
    if no:
        raise typer.Exit(1)
