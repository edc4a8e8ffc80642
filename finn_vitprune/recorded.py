"""Results in a build folder, read only where they are as the build wrote them: its record has their digests."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256

RECORD = "build_record.json"
"""Where a build folder holds its record."""


class _StepFiles(BaseModel):
    files: dict[str, str] = {}


class _Digests(BaseModel):
    """What of a record is needed here: the digest of each file, by the step that wrote it."""

    steps: dict[str, _StepFiles] = {}


def check_recorded(folder: Path, name: str | Path) -> None:
    """Check that a result is as its build wrote it, where the folder has a record that knows the file.

    Args:
        folder: of a build. name: the file's path in it.
    Raises:
        UserError: the file has changed, or the record is broken.
    """
    record, path = folder / RECORD, folder / name
    if not record.is_file() or not path.is_file():
        return
    try:
        steps = _Digests.model_validate_json(record.read_bytes()).steps
    except ValidationError as error:
        raise UserError(f"{record} is not a record of this version: {error.errors()[0]['msg']}") from None
    known = {step.files[str(name)] for step in steps.values() if str(name) in step.files}
    if known and sha256(path) not in known:
        raise UserError(f"{path} is not as the build wrote it: build again")
