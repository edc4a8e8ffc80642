"""Checkpoints that are whole or absent, and runs that resume exactly where they stopped."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from finn_vitprune.errors import UserError

FILE = "checkpoint.pt"
FORMAT = 2


@dataclass
class Progress:
    """Where a run stands: finished epochs of each phase, and what each epoch measured."""

    teacher_epochs: int = 0
    student_epochs: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    teacher_history: list[dict[str, float]] = field(default_factory=list)
    student_history: list[dict[str, float]] = field(default_factory=list)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when complete."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(data)
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint atomically."""
    partial = path.with_name(path.name + ".partial")
    torch.save({"format": FORMAT, **content}, partial)
    os.replace(partial, path)


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
