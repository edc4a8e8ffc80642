"""``finn-vitprune simulate``: run arrays through the RTL of a built accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune simulate build/demo --images images.npy -o logits.npy"


def command(
    build_dir: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished build.")],
    images: Annotated[Path, typer.Option(metavar="FILE", help="The images, a .npy file: uint8 [frames, H, W, C].")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The .npy file to write: int32 logits [frames, classes].")],
    contents: Annotated[
        Path | None, typer.Option(help="Loads this file of `finn-vitprune contents` in place of the network that was built.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Run images through the accelerator's RTL in Verilator and write its logits."""
    from finn_vitprune.built.record import STITCHED, need_design
    from finn_vitprune.cli.files import load_array, save_array
    from finn_vitprune.cli.terminal import progress_lines

    pixels = load_array(images)
    need_design(build_dir / STITCHED)
    from finn_vitprune.builds.simulate import simulate

    with progress_lines():
        logits = simulate(build_dir, pixels, contents)
    save_array(output, logits)
    classes = logits.argmax(-1).tolist()
    document = {"build": str(build_dir), "output": str(output), "images": len(logits), "shape": list(logits.shape), "classes": classes}
    if not answer(document):
        typer.echo(f"{len(logits)} images -> {output}, int32 {list(logits.shape)}")
