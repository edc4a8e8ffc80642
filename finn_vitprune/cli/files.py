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


LOGITS_FILES = (".npy", ".npz")


def check_logits_file(path: Path) -> None:
    """Check a name for logits.

    Raises:
        UserError: another suffix than :data:`LOGITS_FILES`; a file of something else has the name, and only logits are written anew.
    """
    import numpy as np

    from finn_vitprune.arrays import names_of, read_array

    if path.suffix not in LOGITS_FILES:
        raise UserError(f"-o {path}: give a name that ends in {' or '.join(LOGITS_FILES)}")
    if path.is_dir():
        raise UserError(f"-o {path} is a folder: give the name of a file, for instance {path / 'logits.npz'}")
    if not path.exists():
        return
    try:
        if path.suffix == ".npy":
            array = read_array(path)
            ours = array.dtype == np.int32 and array.ndim == 2
        else:
            ours = {"logits", "classes", "index"} <= set(names_of(path))
    except BROKEN_ARRAYS:
        ours = False
    if not ours:
        raise UserError(f"-o {path} is there already and holds no logits of `run`: give another name")


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file whole or not at all."""
    import numpy as np

    with whole_file(path) as partial, partial.open("wb") as file:
        np.save(file, array)
