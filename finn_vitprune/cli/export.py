"""``finn-vitprune export``: a trained checkpoint as QONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune export runs/digits/checkpoint.pt -o model.onnx"


def command(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The checkpoint.pt of a training run.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The QONNX file to write.")],
    json_output: Json = False,
) -> None:
    """Export a checkpoint as QONNX; a file that does not compute what PyTorch computes is not written."""
    from finn_vitprune.files import need_file

    need_file(checkpoint)
    from finn_vitprune import progress
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.training.train import export_checkpoint

    with progress_lines():
        progress.status("exporting, and comparing every quantiser with PyTorch")
        result = export_checkpoint(checkpoint, output)
    if not answer({"output": str(output), **result.as_dict()}):
        typer.echo(f"written: {output} ({result.summary})")
