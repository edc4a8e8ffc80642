"""``finn-vitprune export``: a trained checkpoint as QONNX, and a QONNX file packed small or unpacked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune export runs/digits/checkpoint.pt -o model.onnx"


def command(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The checkpoint.pt of a training run, or a QONNX file, packed or not.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The QONNX file to write; with the ending .xz it is packed.")],
    json_output: Json = False,
) -> None:
    """Export a checkpoint as QONNX; a file that does not compute what PyTorch computes is not written.

    A QONNX file is written again: packed, a quarter of its size, where the name ends in .xz, else unpacked. A packed file has
    the same weights as integers, and every command takes it.
    """
    from finn_vitprune.errors import UserError
    from finn_vitprune.files import is_checkpoint, need_file

    need_file(source)
    if is_checkpoint(source):
        if output.suffix == ".xz":
            raise UserError(f"-o {output}: a checkpoint is exported as .onnx: give such a name, then export that file to {output}")
        _export(source, output)
    else:
        _write(source, output)


def _export(checkpoint: Path, output: Path) -> None:
    from finn_vitprune import progress
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.training.train import export_checkpoint

    with progress_lines():
        progress.status("exporting, and comparing every quantiser with PyTorch")
        result = export_checkpoint(checkpoint, output)
    if not answer({"output": str(output), **result.as_dict()}):
        typer.echo(f"written: {output} ({result.summary})")


def _write(source: Path, output: Path) -> None:
    from finn_vitprune.graph.packed import write_model
    from finn_vitprune.graph.reading import read_qonnx

    size = write_model(read_qonnx(source), output)
    if not answer({"output": str(output), "bytes": size}):
        typer.echo(f"written: {output} ({size:,} bytes)")
