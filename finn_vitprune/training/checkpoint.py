"""Checkpoints that are whole or absent, and runs that resume exactly where they stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file

FILE = "checkpoint.pt"
SECONDS = 180
"""An epoch that goes on for longer is saved within, so that an interruption costs a few minutes."""
FORMAT = 4


@dataclass
class TrainingProgress:
    """Where a run stands: finished epochs of each phase, what each epoch measured, and how far the present epoch is.

    step: batches of the present epoch that are done; losses: theirs. measured: batches of held-out images that have been
    measured after them; right: images of these that were right.
    """

    teacher_epochs: int = 0
    student_epochs: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    measured: int = 0
    right: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    teacher_history: list[dict[str, float]] = field(default_factory=list)
    student_history: list[dict[str, float]] = field(default_factory=list)

    def end_epoch(self) -> float:
        """Begin the next epoch; returns the mean loss of the one that is over."""
        loss = float(np.mean(self.losses))
        self.step, self.losses, self.measured, self.right = 0, [], 0, 0.0
        return loss


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    with whole_file(path) as partial:
        torch.save({"format": FORMAT, **content}, partial)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of :func:`save`.

    Raises:
        UserError: no such file, or not a checkpoint of this program.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint at {path}")
    content = tensors_of(path, "checkpoint")
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}")
    return content


def tensors_of(path: Path, what: str) -> Any:
    """What ``torch.save`` wrote into a file, on the CPU; ``what`` the file should be.

    Raises:
        OSError: the file cannot be read.
        UserError: it is no such file, is damaged, or holds code; PyTorch's own text, which speaks of pickles, stays out.
    """
    path.open("rb").close()
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # OSErrors, too: PyTorch seeks where a damaged file says
        wanted = "a file of torch.save is needed, undamaged, of tensors and plain values alone"
        raise UserError(f"{path} is not a {what}: {wanted}") from error
