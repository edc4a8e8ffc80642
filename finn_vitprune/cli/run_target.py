"""``finn-vitprune run``: images through an accelerator, on any target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finn_vitprune.cli.answer import Json, answer

EXAMPLE = "finn-vitprune run build/digits --target serial:/dev/ttyUSB0 --images digits.npz -o logits.npz"


def command(
    build_dir: Annotated[
        Path, typer.Argument(metavar="BUILD", help="The folder of a finished build; for the target integers a QONNX model, too.")
    ],
    target: Annotated[
        str,
        typer.Option(
            metavar="TARGET",
            help="What runs: integers, rtl (in Verilator), netlist (the routed one, in Verilator; netlist:FOLDER of another bitstream), "
            "serial:PORT, pynq:FILE.bit, xrt:FILE.xclbin.",
        ),
    ],
    images: Annotated[Path, typer.Option(help="The images: a folder of image files, or an .npz file with `images` and perhaps `labels`.")],
    max_images: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, help="Draws this many of the images; without it all are taken.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", min=0, help="The seed of --max-images.")] = 0,
    contents: Annotated[
        Path | None, typer.Option(help="Loads this file of `finn-vitprune contents` in place of the network that was built.")
    ] = None,
    baud: Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Bits a second of the serial port.")] = 3_000_000,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file of int32 logits [frames, classes] to write: .npy, or .npz with the classes and labels beside them.",
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """Run images through an accelerator on a target: its integers, a simulation, a board or a card.

    Every target gives the same logits, or an error. Prints the classes, and the accuracy where the images have labels.
    """
    from finn_vitprune.built.record import STITCHED, need_design
    from finn_vitprune.cli.files import check_logits_file
    from finn_vitprune.cli.terminal import progress_lines
    from finn_vitprune.errors import UserError
    from finn_vitprune.files import need_file
    from finn_vitprune.link.target_name import TargetName

    if TargetName.of(target).kind != "integers":
        need_design(build_dir / STITCHED)
    if not images.exists():
        raise UserError(f"--images {images}: no such file or folder")
    need_file(contents)
    if output is not None:
        check_logits_file(output)
    from finn_vitprune.api.run import TargetRunOptions, run_on

    with progress_lines():
        found = run_on(build_dir, TargetRunOptions(target, images, max_images, seed, contents, baud))
    if output is not None:
        found.save(output)
    verdict = found.verdict(build_dir, output)
    document = {"build": str(build_dir), "output": None if output is None else str(output), **found.as_dict(), "verdict": verdict.as_dict()}
    if not answer(document):
        typer.echo(verdict)
