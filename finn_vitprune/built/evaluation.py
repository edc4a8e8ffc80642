"""The evaluation that a build folder keeps."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.built.result_file import ResultFile
from finn_vitprune.files import sha256
from finn_vitprune.report.accuracy import Evaluation

LOWERED = Path("intermediate_models") / "step_lower.onnx"
"""The network of a build: where a folder holds it."""


def evaluation_file(folder: Path) -> ResultFile[Evaluation]:
    """Where a folder holds what the last ``evaluate`` found."""
    return ResultFile(folder / "report" / "evaluation.json", Evaluation)


def evaluation_of(build_dir: Path) -> Evaluation | None:
    """What the last evaluation of a build's own network found; None where there was none, or the folder holds another network now.

    Raises:
        UserError: the file is damaged.
    """
    found, hardware = evaluation_file(build_dir).load() if build_dir.is_dir() else None, build_dir / LOWERED
    return found if found is not None and hardware.is_file() and sha256(hardware) == found.digest else None
