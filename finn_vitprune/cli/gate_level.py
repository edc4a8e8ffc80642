"""``finn-vitprune gate-level``: images through the routed netlist of a build."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune gate-level build/digits --max-images 100 --faults 100 --seed 1"


def command(
    build_dir: Annotated[Path, typer.Argument(metavar="BUILD", help="The folder of a build that has a bitstream.")],
    max_images: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Sends this many images.")] = 10,
    images: Annotated[
        Path | None, typer.Option(help="The images: a folder of image files, or an .npz file with `images`; without it those of the build.")
    ] = None,
    faults: Annotated[
        int,
        typer.Option(
            metavar="NUMBER",
            min=0,
            help="Puts so many faults (nets stuck at 0 or 1) into the netlist and tells how many of them 8 images notice.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="The seed of drawn images and faults.")] = 0,
    bitstream: Annotated[Path | None, typer.Option(help="The folder of the bitstream; by default BUILD/bitstream.")] = None,
    json_output: Json = False,
) -> None:
    """Send images through the routed netlist, by the pins of the board, and compare the logits with the network's integers.

    Exits with 1 when a logit differs or does not come.
    """
    from finn_vitprune.built.record import STITCHED, need_design
    from finn_vitprune.cli.terminal import progress_lines

    need_design(build_dir / STITCHED)
    from finn_vitprune.builds.gate_level import GateLevelOptions, gate_level

    with progress_lines():
        found = gate_level(build_dir, GateLevelOptions(max_images, images, faults, seed), bitstream)
    if answer({"build": str(build_dir), **found.as_dict()}):
        return
    typer.echo(f"{found.values:,} logits of {found.images} images through the routed netlist: {found.mismatches} differ from the network's")
    if found.faults:
        typer.echo(f"{found.noticed} of {found.faults} faults in the netlist were noticed by {found.fault_images} images (seed {seed})")
