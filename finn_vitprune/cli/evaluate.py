"""``finn-vitprune evaluate``: the accuracy of the accelerator's integers over a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json, answer

if TYPE_CHECKING:
    from finn_vitprune.options.evaluate import EvaluateOptions

EXAMPLE = "finn-vitprune evaluate build/deit_tiny --data imagefolder:imagenette --float deit_tiny_float.onnx"
OPTIONS = "finn_vitprune.options.evaluate:EvaluateOptions"


def command(options: EvaluateOptions, scheduler: params.Scheduler = None, full: Full = False, json_output: Json = False) -> None:
    """Tell how accurate the accelerator is: its own integers, bit for bit, over a data set.

    A run that is interrupted goes on where it was.
    """
    from finn_vitprune.builds.evaluate import evaluate
    from finn_vitprune.cli.terminal import console_of_tables, progress_lines
    from finn_vitprune.jobs import on_cluster
    from finn_vitprune.report.tables import show

    with progress_lines(), on_cluster(scheduler):
        found = evaluate(options)
    target = options.target
    following = f"finn-vitprune report {target} --full" if target.is_dir() else f"finn-vitprune build {target} --fpga-part PART -o FOLDER"
    verdict = found.verdict(str(target), str(options.html or ""), following)
    if answer(found.model_dump(mode="json", exclude_none=True) | {"verdict": verdict.as_dict()}):
        return
    if full:
        show(found.tables, console_of_tables())
    typer.echo(verdict)
