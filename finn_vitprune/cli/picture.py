"""``finn-vitprune picture``: what a training run learned, as a picture."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from finn_vitprune.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from finn_vitprune.training.checkpoint import Progress
    from finn_vitprune.training.config import TrainConfig
    from finn_vitprune.training.run import Run

NAME = "picture"
EXAMPLE = "finn-vitprune picture runs/digits -o tokens.png --what tokens --images 6"
POOL = 256
"""Images are drawn from at least so many held-out ones, however few are shown."""


class What(str, Enum):
    """What is shown."""

    TOKENS = "tokens"
    MASKS = "masks"
    SCORES = "scores"
    HISTORY = "history"


def command(
    source: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or its checkpoint.pt.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Picture to write: .png, .svg or .pdf.")],
    what: Annotated[What, typer.Option(help="Kept patches, kept blocks, their scores, or the epochs.")],
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
    figure = _figure(path, what, images, seed)
    pictures.save(figure, output)
    typer.echo(f"written: {output}")


def _figure(path: Path, what: What, images: int, seed: int) -> Figure:
    """The figure of a checkpoint.

    Raises:
        UserError: no checkpoint of a finished run, or one that has nothing of this kind to show.
    """
    from finn_vitprune.report import pictures
    from finn_vitprune.training import checkpoint
    from finn_vitprune.training.config import parse_config
    from finn_vitprune.training.run import Run

    content = checkpoint.load(path)
    config = parse_config(content["config"], str(path))
    progress = checkpoint.Progress(**content["progress"])
    _check(path, what, config, progress)
    if what is What.HISTORY:
        return pictures.history_figure(content["progress"] | {"config": content["config"]})
    run = Run(config, path.parent)
    run.restore(content)
    if what is What.TOKENS:
        return _tokens(run, images, seed)
    masks = run.final_masks()
    if what is What.MASKS:
        return pictures.mask_figure(masks, config.prune.block_size)
    return pictures.score_figure(run.scores, masks)


def _check(path: Path, what: What, config: TrainConfig, progress: Progress) -> None:
    """Check that training is over and left something to show.

    Raises:
        UserError: it is not, or did not.
    """
    missing = {
        "teacher": config.teacher.epochs - progress.teacher_epochs,
        "student": config.student.epochs - progress.student_epochs,
    }
    if any(missing.values()):
        left = " and ".join(f"{epochs} {phase}" for phase, epochs in missing.items() if epochs)
        raise UserError(f"{path}: training is not finished ({left} epochs to go): use train --resume")
    if what is not What.HISTORY and not config.student.epochs:
        raise UserError(
            f"--what {what.value}: {path} has no student (student.epochs = 0): use --what history"
        )
    if what is What.TOKENS and not config.prune.token_drop_layers:
        raise UserError(
            f"--what tokens: the model of {path} has no token drop (prune.token_drop_layers is empty): "
            "use --what masks, scores or history"
        )


def _tokens(run: Run, count: int, seed: int) -> Figure:
    """Kept patches of ``count`` held-out images drawn with ``seed``."""
    import numpy as np

    from finn_vitprune.report import pictures
    from finn_vitprune.training.train import small_network

    total = len(run.data.test_labels)
    if not 1 <= count <= total:
        raise UserError(f"--images {count}: {run.data.name} has {total} held-out images, use 1 to {total}")
    images, labels = run.data.test_sample(min(total, max(POOL, count)))
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), count, replace=False))
    kept = pictures.kept_patches(small_network(run), images[chosen])
    return pictures.token_figure(images[chosen], kept, [f"class {label}" for label in labels[chosen]])
