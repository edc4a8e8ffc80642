"""``finn-vitprune build``: the whole flow from a QONNX model to verified, synthesised RTL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json

if TYPE_CHECKING:
    from finn_vitprune.options.build import BuildOptions

EXAMPLE = "finn-vitprune build model.onnx --fpga-part xcu250-figd2104-2L-e --clk-ns 4 --target-fps 20000 -o build/mine"
OPTIONS = "finn_vitprune.options.build:BuildOptions"


def command(options: BuildOptions, scheduler: params.Scheduler = None, full: Full = False, json_output: Json = False) -> None:
    """Build an accelerator: lower, fold, generate HDL, size FIFOs, stitch, simulate, synthesise, report.

    Exits with 1 when the hardware graph differs from the model by more than ties of rounding, or the RTL from it, or when the
    design does not fit the part or cannot reach --target-fps.
    """
    from finn_vitprune.cli.shown import show_build, summary_stamp
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.graph.reading import need_qonnx

    for path in (options.model, *options.reserve):
        if isinstance(path, Path):
            need_qonnx(path)

    from finn_vitprune.builds.build import build
    from finn_vitprune.jobs import on_cluster

    output = options.output_dir
    before = summary_stamp(output)
    with progress_lines(), on_cluster(scheduler):
        build(options)
    show_build(output, full, new=summary_stamp(output) not in (None, before))
