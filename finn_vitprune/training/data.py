"""Data sets by name."""

from __future__ import annotations

from pathlib import Path

from finn_vitprune.errors import UserError
from finn_vitprune.training.array_data import ArrayDataset, augment
from finn_vitprune.training.array_files import digits, fashion_mnist, npz_file
from finn_vitprune.training.dataset import Augmentation, Dataset
from finn_vitprune.training.folder_data import FolderDataset

__all__ = ["ArrayDataset", "Augmentation", "Dataset", "FolderDataset", "augment", "digits", "load_dataset"]

SPECS = "digits, fashion-mnist, fashion-mnist:FOLDER, npz:FILE or imagefolder:PATH"


def load_dataset(
    spec: str, limit: int | None = None, image_size: int | tuple[int, int] | None = None
) -> Dataset:
    """The data set that ``spec`` names.

    ``digits``: scikit-learn's. ``fashion-mnist`` or ``fashion-mnist:FOLDER``: idx files, see
    :func:`fashion_mnist`. ``npz:FILE``: four arrays, see :func:`npz_file`. ``imagefolder:PATH``: see
    :class:`FolderDataset`.

    Args:
        spec: one of the above.
        limit: train on a fixed, class-balanced subset of this size.
        image_size: (height, width), or both in one; image folders need it, other sets have their own.
    Raises:
        UserError: no such data set, a size or ``limit`` that does not fit, or files that are broken.
    """
    kind, _, place = spec.partition(":")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    path = Path(place).expanduser()
    if kind == "imagefolder" and place:
        if size is None:
            raise UserError(f"{spec} needs the size of its images: set model.image_size, for instance 224")
        return FolderDataset(path, size, limit)
    if spec == "digits":
        data = digits(limit)
    elif spec == "fashion-mnist" or (kind == "fashion-mnist" and place):
        data = fashion_mnist(path if place else None, limit)
    elif kind == "npz" and place:
        data = npz_file(path, limit)
    else:
        raise UserError(f"unknown data set {spec!r}: use {SPECS}")
    if size not in (None, data.image_size):
        raise UserError(
            f"model.image_size {size[0]} x {size[1]} is not that of {data.name} ({data.image_size[0]} x "
            f"{data.image_size[1]}): leave it out"
        )
    return data
