"""``finn-vitprune evaluate``: the accuracy of the accelerator's integers over a data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Json, answer

if TYPE_CHECKING:
    from finn_vitprune.builds.evaluate import Evaluation
    from finn_vitprune.report.tables import TextTable

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
        Optional[Path], typer.Option("--float", metavar="FILE.onnx", help="The float network, for its accuracy and where answers differ.")
    ] = None,
    classes: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="JSON that maps names of classes in the data to the network's numbers.")
    ] = None,
    max_images: Annotated[Optional[int], typer.Option(min=1, help="Draw so many of the images, each class in its share.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="For --max-images.")] = 0,
    skip_damaged: Annotated[bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read, and name them.")] = False,
    mean: Annotated[
        Optional[params.Floats], typer.Option(parser=params.Floats.parse, metavar="NUMBERS", help="Mean of pixels / 255 that the float network takes.")
    ] = None,
    std: Annotated[
        Optional[params.Floats], typer.Option(parser=params.Floats.parse, metavar="NUMBERS", help="Their deviation; both from the data where not given.")
    ] = None,
    jobs: params.Jobs = os.cpu_count() or 1,
    scheduler: params.Scheduler = None,
    full: Annotated[bool, typer.Option("--full", help="Also print a row for each class, and the worst images.")] = False,
    json_output: Json = False,
) -> None:
    """Tell how accurate the accelerator is: its own integers, bit for bit, over a data set.

    A run that is interrupted goes on where it was.
    """
    from finn_vitprune.builds.evaluate import EvaluationOptions, evaluate
    from finn_vitprune.cli.terminal import progress_lines, console_of_tables
    from finn_vitprune.jobs import on_cluster

    options = EvaluationOptions(target, data, reference, mean or None, std or None, classes, max_images, seed, skip_damaged, jobs)
    with progress_lines(), on_cluster(scheduler):
        found = evaluate(options)
    if answer(found.model_dump(mode="json", exclude_none=True)):
        return
    for line in verdict(found):
        typer.echo(line)
    if full:
        console = console_of_tables()
        for table in tables(found):
            console.print(table.rich())


def verdict(found: Evaluation) -> list[str]:
    """What was found, in at most 12 lines."""
    of_float = "" if found.accuracy_float is None else f"   float {found.accuracy_float:.2%}"
    top5_float = "" if found.accuracy_float_top5 is None else f"   float {found.accuracy_float_top5:.2%}"
    rows = {
        "accuracy": None if found.accuracy is None else f"{found.accuracy:.2%}{of_float}",
        "top 5": None if found.accuracy_top5 is None else f"{found.accuracy_top5:.2%}{top5_float}",
        "same class": None if found.agreement is None else f"{found.agreement:.2%} of the images, as the float network",
        "cosine": None if found.cosine is None else f"{found.cosine:.4f} mean, {found.cosine_worst:.4f} worst, of the logits",
        "images": f"{found.chosen} of {found.data}",
        "labels": found.note or None,
        "left out": f"{len(found.damaged)} damaged images: {', '.join(found.damaged[:3])}" if found.damaged else None,
        "speed": f"{found.images_per_second:,.1f} images/s in one process",
    }
    return [f"{found.model.text}, in the integers of the accelerator", *(f"  {name:<12}{text}" for name, text in rows.items() if text)]


def tables(found: Evaluation) -> list[TextTable]:
    """A row for each class, and the worst images."""
    from finn_vitprune.report.tables import TextTable

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2%}"

    made = []
    if found.classes:
        rows = tuple((str(c.label), f"{c.images:,}", share(c.accuracy), share(c.accuracy_float)) for c in found.classes)
        made.append(TextTable("Classes", ("class", "images", "accuracy", "float"), rows))
    if found.worst:
        rows = tuple(
            (w.image, str(w.answer), "-" if w.label is None else str(w.label), "-" if w.answer_float is None else str(w.answer_float),
             "-" if w.cosine is None else f"{w.cosine:.4f}")
            for w in found.worst
        )  # fmt: skip
        made.append(TextTable("Worst images", ("image", "answer", "label", "float", "cosine"), rows))
    return made
