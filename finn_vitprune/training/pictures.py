"""Pictures of a finished training run, from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from finn_vitprune.errors import UserError
from finn_vitprune.models.evaluate import logits_of
from finn_vitprune.report import pictures, tokens
from finn_vitprune.training import checkpoint
from finn_vitprune.training.config import TrainConfig, saved_config
from finn_vitprune.training.run import TrainingRun
from finn_vitprune.training.train import small_network

POOL = 256
"""Images are drawn from at least so many held-out ones, however few are shown."""


def picture(path: Path, what: str, images: int | None = None, seed: int = 0) -> Figure:
    """What a training run learned.

    Args:
        path: its folder or its checkpoint.
        what: ``tokens``, ``masks``, ``scores`` or ``history``.
        images: held-out images of ``tokens``, drawn with ``seed``.
    Raises:
        UserError: no checkpoint of a finished run, or one that has nothing of this kind to show.
    """
    path, content, config = _finished(path, what)
    if what == "history":
        return pictures.history_figure(content["progress"] | {"config": content["config"]})
    run = _restored(path, content, config)
    if what == "tokens":
        return _tokens(run, images, seed)
    masks = run.scores.final_masks()
    if what == "masks":
        return pictures.mask_figure(masks, config.prune.block_size)
    return pictures.score_figure(run.scores, masks)


def kept_patches(path: Path, images: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Which patches of images each token drop of a trained network leaves.

    Args:
        path: folder of the training run, or its checkpoint.
        images: uint8 ``[F, H, W, C]``.
    Returns:
        For each encoder that drops tokens its number, from 1, and bool ``[F, patches]`` (row by row).
    Raises:
        UserError: no checkpoint of a finished run, or the network drops no tokens.
    """
    return pictures.kept_patches(small_network(_restored(*_finished(path, "tokens"))), images)


def _finished(path: Path, what: str) -> tuple[Path, dict, TrainConfig]:
    """The checkpoint of a run that is over and has ``what`` to show: its path, what it holds, and its configuration."""
    path = Path(path) / checkpoint.FILE if Path(path).is_dir() else Path(path)
    content = checkpoint.load(path)
    config = saved_config(content["config"], str(path))
    _check(path, what, config, checkpoint.TrainingProgress(**content["progress"]))
    return path, content, config


def _restored(path: Path, content: dict, config: TrainConfig) -> TrainingRun:
    run = TrainingRun(config, path.parent)
    run.restore(content)
    return run


def _check(path: Path, what: str, config: TrainConfig, progress: checkpoint.TrainingProgress) -> None:
    """Check that training is over and left something to show.

    Raises:
        UserError: it is not, or did not.
    """
    missing = {"teacher": config.teacher.epochs - progress.teacher_epochs, "student": config.student.epochs - progress.student_epochs}
    if any(missing.values()):
        left = " and ".join(f"{epochs} {phase}" for phase, epochs in missing.items() if epochs)
        raise UserError(f"{path}: training is not finished ({left} epochs to go): use train --resume")
    if what != "history" and not config.student.epochs:
        raise UserError(f"--what {what}: {path} has no student (student.epochs = 0): use --what history")
    if what == "tokens" and not config.prune.drop_at:
        raise UserError(
            f"--what tokens: the model of {path} has no token drop (prune.drop_at is empty): use --what masks, scores or history"
        )


def _tokens(run: TrainingRun, count: int | None, seed: int) -> Figure:
    """Kept patches of ``count`` held-out images drawn with ``seed``."""
    total = len(run.data.test_labels)
    count = tokens.some_of(count, total, f"the held-out part of {run.data.name}")
    images, labels = run.data.test_sample(min(total, max(POOL, count)))
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), count, replace=False))
    network = small_network(run)
    predicted = np.argmax(logits_of(network, images[chosen]), -1)
    return tokens.token_figure(images[chosen], pictures.kept_patches(network, images[chosen]), tokens.captions(predicted, labels[chosen]))
