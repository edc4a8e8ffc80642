"""``finn-vitprune evaluate``: the accuracy of the accelerator's integers over a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json, answer
from finn_vitprune.options.texts import Floats

EXAMPLE = "finn-vitprune evaluate build/deit_tiny --data imagefolder:imagenette --float deit_tiny_float.onnx"


def command(
    target: Annotated[Path, typer.Argument(metavar="MODEL_OR_BUILD", help="QONNX model, or the folder of a build.")],
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Images and labels: imagefolder:PATH (PATH/val/CLASS/FILE or PATH/CLASS/FILE), csv:FILE (lines of file,label), "
            "npz:FILE (images, labels), digits, fashion-mnist.",
        ),
    ],
    reference: Annotated[
        Path | None, typer.Option("--float", metavar="FILE.onnx", help="The float network, for its accuracy and where answers differ.")
    ] = None,
    contents: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of a build: the network of this file of `contents`, in place of its own.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="JSON that maps names of classes in the data to the network's numbers.")
    ] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="Draw so many of the images, each class in its share.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="For --max-images.")] = 0,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read, and name them.")] = False,
    mean: Annotated[
        Floats | None,
        typer.Option(parser=params.parser(Floats), metavar="NUMBERS", help="Mean of pixels / 255 that the float network takes."),
    ] = None,
    std: Annotated[
        Floats | None,
        typer.Option(parser=params.parser(Floats), metavar="NUMBERS", help="Their deviation; both from the data where not given."),
    ] = None,
    jobs: params.Jobs = os.cpu_count() or 1,
    scheduler: params.Scheduler = None,
    full: Full = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write one self-contained page, with the worst images.")] = None,
    json_output: Json = False,
) -> None:
    """Tell how accurate the accelerator is: its own integers, bit for bit, over a data set.

    A run that is interrupted goes on where it was.
    """
    from finn_vitprune.builds.evaluate import EvaluationOptions, evaluate
    from finn_vitprune.cli.terminal import console_of_tables, progress_lines
    from finn_vitprune.jobs import on_cluster
    from finn_vitprune.report.tables import show

    options = EvaluationOptions(
        target, data, contents, reference, mean or None, std or None, classes, max_images, seed, skip_damaged, jobs, html
    )
    with progress_lines(), on_cluster(scheduler):
        found = evaluate(options)
    following = f"finn-vitprune report {target} --full" if target.is_dir() else f"finn-vitprune build {target} --fpga-part PART -o FOLDER"
    verdict = found.verdict(str(target), str(html or ""), following)
    if answer(found.model_dump(mode="json", exclude_none=True) | {"verdict": verdict.as_dict()}):
        return
    if full:
        show(found.tables, console_of_tables())
    typer.echo(verdict)
