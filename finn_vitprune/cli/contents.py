"""``finn-vitprune contents``: what a design is loaded with to be another network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune contents other.onnx --for build/mine -o contents.bin"


def command(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The QONNX model.")],
    build_dir: Annotated[Path, typer.Option("--for", help="The folder of a finished build with --loadable or --reserve.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The file of contents to write, for the load port.")],
    json_output: Json = False,
) -> None:
    """Write the file with which an existing design becomes another network: other weights, masks, heads, neurons, keep rates of tokens.

    Says what does not fit where the design is not made for the network.
    """
    from finn_vitprune.built.record import STITCHED, need_design
    from finn_vitprune.files import need_file

    need_file(model)
    need_design(build_dir / STITCHED)
    from finn_vitprune.sim.contents import check_replaceable

    check_replaceable(output)
    from finn_vitprune import progress
    from finn_vitprune.builds.networks import contents_of
    from finn_vitprune.cli.terminal import progress_lines

    with progress_lines():
        progress.status(f"comparing every unit of {model} with the design's")
        found = contents_of(model, build_dir)
    found.write(output)
    contents, scale = found.contents, found.network.logit_scale
    document = {"model": str(model), "build": str(build_dir), "output": str(output)}
    document |= {"design": contents.design, "words": len(contents.data), "logit_scale": scale}
    if not answer(document):
        typer.echo(f"{len(contents.data):,} data words for design {contents.design:#010x} -> {output}; a logit of 1 is then {scale:g}")
