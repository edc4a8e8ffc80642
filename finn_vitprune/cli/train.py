"""``finn-vitprune train``: trains a pruned quantised DeiT and exports it."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer
from finn_vitprune.options.configs import ConfigKind, config_file

EXAMPLE = "finn-vitprune train --config deit_digits --set prune.block_keep=0.4 -o runs/digits"


def command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder of checkpoint.pt, metrics.json, model.onnx.")],
    config: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME", help="The training config (YAML), or the name of one of the package; without it the defaults."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed in place of the config's.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data set in place of the config's: imagefolder:PATH (PATH/train and PATH/val), npz:FILE (`train_images`, `train_labels`, `test_images`, `test_labels`), digits, fashion-mnist[:FOLDER]."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Changes a value of the config, as prune.block_keep=0.4. It may be given again."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continues from the checkpoint in the output folder.")] = False,
    teacher_from: Annotated[
        Path | None, typer.Option(metavar="TEACHER.pt", help="Takes the same teacher, trained, from another run.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Train teacher and pruned student, measure, and export QONNX.

    More than one GPU or machine: accelerate launch -m finn_vitprune train ...
    """
    from finn_vitprune.files import output_path

    source = None if config is None else config_file(config, ConfigKind.TRAIN)
    from finn_vitprune.training.config import load_config, parse_config, with_changes

    top = {k: v for k, v in (("seed", seed), ("data", data)) if v is not None}
    name = output_path(output).name or "deit"
    base = {"name": name} if source is None else load_config(source, name).model_dump(mode="json")
    settings = parse_config(with_changes(base | top, changes or []), "training config" if source is None else str(source))

    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.complexity.formulas import operations_text
    from finn_vitprune.training.train import train

    speaks = os.environ.get("RANK", "0") == "0"  # of several processes one
    with progress_lines() if speaks else nullcontext():
        metrics = train(settings, output, resume=resume, teacher_from=teacher_from)
    if not speaks or answer({"output": str(output), **metrics}):
        return
    text = f"dense float accuracy {metrics['accuracy_teacher']:.4f}"
    if "accuracy" in metrics:
        c = metrics["complexity"]
        text += (
            f", pruned and quantised {metrics['accuracy']:.4f} ({metrics['accuracy_exported']:.4f} exported); "
            f"{operations_text(c['macs_dense'], c['macs_pruned'], c['macs'])}, "
            f"parameters {c['params_dense']:,} -> {c['params']:,}"
        )
    typer.echo(f"{text}; everything is in {output}")
