"""``finn-vitprune picture``: what a training run learned, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLE = "finn-vitprune picture runs/digits -o tokens.png --what tokens --images 6"


def command(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its checkpoint.pt.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture to write: .png, .svg or .pdf.")],
    what: Annotated[
        Literal["tokens", "masks", "scores", "history"],
        typer.Option(help="Kept patches, kept blocks, their scores, or the epochs."),
    ],
    images: Annotated[int, typer.Option(help="Held-out images of --what tokens.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which held-out images.")] = 0,
) -> None:
    """Draw what a finished training run learned.

    tokens: the patches of held-out images that each token drop leaves. masks: the kept blocks of every
    matrix, live heads and neurons. scores: the learned score of every block. history: accuracy and keep
    rates over the epochs.
    """
    from finn_vitprune.report import pictures

    pictures.check_name(output)
    path = source / "checkpoint.pt" if source.is_dir() else source
    from finn_vitprune.training.pictures import picture

    pictures.save(picture(path, what, images, seed), output)
    typer.echo(f"written: {output}")
