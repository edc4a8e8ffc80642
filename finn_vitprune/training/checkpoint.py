"""Checkpoints that are whole or absent, and runs that resume exactly where they stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file

FILE = "checkpoint.pt"
FORMAT = 3


@dataclass
class TrainingProgress:
    """Where a run stands: finished epochs of each phase, and what each epoch measured."""

    teacher_epochs: int = 0
    student_epochs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    teacher_history: list[dict[str, float]] = field(default_factory=list)
    student_history: list[dict[str, float]] = field(default_factory=list)


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
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path} is not a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}")
    return content
