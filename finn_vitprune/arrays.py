"""Arrays in ``.npy`` and ``.npz`` files: what a header promises is checked before memory is taken for it."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from finn_vitprune import progress
from finn_vitprune.errors import UserError

LARGE = 1 << 30
"""Bytes of an array from which on a line says that it is read."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file.

    Raises:
        UserError: its header promises more than the file holds, or the array is larger than the memory.
        ValueError: it is an archive of arrays; others of ``BROKEN_ARRAYS``: it is damaged.
    """
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            raise ValueError("it is an archive of arrays")
        file.seek(0)
        return _read(file, path.stat().st_size, str(path))


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` that an ``.npz`` file has, without ``names`` all.

    Raises:
        UserError: a header promises more than the file holds, or an array is larger than the memory.
        ValueError: it is one ``.npy`` array; others of ``BROKEN_ARRAYS``: it is damaged.
    """
    found = {}
    with _archive(path) as archive:
        for name, member in _members(archive).items():
            if names is None or name in names:
                with archive.open(member) as file:
                    found[name] = _read(file, member.file_size, f"array {name} of {path}")
    return found


def names_of(path: Path) -> list[str]:
    """The names of the arrays of an ``.npz`` file; errors are those of :func:`read_arrays`."""
    with _archive(path) as archive:
        return list(_members(archive))


def _archive(path: Path) -> zipfile.ZipFile:
    with path.open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            raise ValueError("it is one npy array")
    return zipfile.ZipFile(path)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {member.filename.removesuffix(".npy"): member for member in archive.infolist()}


def _read(file: IO[bytes], size: int, what: str) -> np.ndarray:
    version = npy.read_magic(file)
    if version in _HEADERS:
        shape, _, kind = _HEADERS[version](file)
        needed, held = math.prod(shape) * kind.itemsize, size - file.tell()
        if not kind.hasobject and needed > held:
            raise UserError(f"{what} is damaged: it should have shape {list(shape)}, {needed:,} bytes, and the file holds {held:,}")
        if needed >= LARGE:
            progress.line(f"reading {what}: shape {list(shape)}, {needed / LARGE:,.1f} GiB")
    else:
        needed = size
    file.seek(0)
    try:
        return npy.read_array(file, allow_pickle=False)
    except MemoryError:
        raise UserError(f"{what} takes {needed / LARGE:,.1f} GiB, more memory than there is: give a smaller file") from None
