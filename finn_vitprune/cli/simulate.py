"""``finn-vitprune simulate``: run arrays through the RTL of a built accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

EXAMPLE = "finn-vitprune simulate build/demo --input images.npy -o logits.npy"


def command(
    build_dir: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished build.")],
    input_file: Annotated[Path, typer.Option("--input", help="uint8 images [F, H, W, C] as .npy.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="int32 logits [F, classes] as .npy.")],
    contents: Annotated[
        Optional[Path], typer.Option(help="Load this file of `finn-vitprune contents` in place of the network that was built.")
    ] = None,
) -> None:
    """Run images through the accelerator's RTL in Verilator and write its logits."""
    from finn_vitprune.cli.files import load_array, save_array
    from finn_vitprune.cli.terminal import progress_lines

    images = load_array(input_file)
    from finn_vitprune.builds.simulate import simulate

    with progress_lines():
        logits = simulate(build_dir, images, contents)
    save_array(output, logits)
    typer.echo(f"{len(logits)} images -> {output}, int32 {list(logits.shape)}")
