"""Arrays in and out of files, with clear errors and whole results only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from finn_vitprune.errors import UserError
from finn_vitprune.files import BROKEN_ARRAYS, whole_file

if TYPE_CHECKING:
    import numpy as np


def load_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file.

    Raises:
        UserError: no such file, or no ``.npy`` file (archives and pickles are rejected).
    """
    from finn_vitprune.arrays import read_array

    try:
        return read_array(path)
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror or e}") from e
    except BROKEN_ARRAYS as e:
        raise UserError(f"{path} is not a .npy file of numbers: save one array with numpy.save") from e


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file whole or not at all."""
    import numpy as np

    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)
