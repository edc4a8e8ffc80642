"""``finn-vitprune picture``: what a training run learned, or a build is made of, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLE = "finn-vitprune picture runs/digits -o tokens.png --what tokens --max-images 6"


def command(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its checkpoint.pt; folder of a build, or its summary.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture to write: .png, .svg or .pdf.")],
    what: Annotated[
        Literal["tokens", "masks", "scores", "history", "memory", "cycles"],
        typer.Option(help="Kept patches, kept blocks, their scores, or the epochs; of a build what fills its memories, or its cycles."),
    ],
    max_images: Annotated[int, typer.Option(help="Held-out images of --what tokens.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out images.")] = 0,
) -> None:
    """Draw what a finished training run learned, or what a build is made of.

    tokens: the patches of held-out images that each token drop leaves. masks: the kept blocks of every
    matrix, live heads and neurons. scores: the learned score of every block. history: accuracy and keep
    rates over the epochs. memory: what fills the block RAMs and UltraRAMs of each encoder. cycles: cycles of
    the units against the interval.
    """
    from finn_vitprune.report import figures

    figures.check_name(output)
    if what in ("memory", "cycles"):
        from finn_vitprune.report.build_pictures import build_picture
        from finn_vitprune.report.summary import Summary

        figure = build_picture(Summary.load(source), what)
    else:
        from finn_vitprune.training.pictures import picture

        figure = picture(source / "checkpoint.pt" if source.is_dir() else source, what, max_images, seed)
    figures.save(figure, output)
    typer.echo(f"written: {output}")
