"""Data sets by name: scikit-learn's digits, Fashion-MNIST's idx files, npz files, image folders."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np

from finn_vitprune.arrays import read_arrays
from finn_vitprune.errors import UserError
from finn_vitprune.files import BROKEN_ARRAYS
from finn_vitprune.training.array_data import ArrayDataset, augment
from finn_vitprune.training.dataset import Augmentation, Dataset, reason
from finn_vitprune.training.folder_data import FolderDataset

__all__ = ["ArrayDataset", "Augmentation", "Dataset", "FolderDataset", "augment", "digits", "load_dataset"]

SPECS = "digits, fashion-mnist, fashion-mnist:FOLDER, npz:FILE or imagefolder:PATH"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TORCHVISION_ROOT = "~/.cache/finn_vitprune"
RAW = "FashionMNIST/raw"
"""Where torchvision puts the files below its root."""
IDX_FILES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}
NPZ_ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def load_dataset(
    spec: str, limit: int | None = None, image_size: int | tuple[int, int] | None = None, holdout: int | None = None
) -> Dataset:
    """The data set that ``spec`` names.

    ``digits``: scikit-learn's. ``fashion-mnist`` or ``fashion-mnist:FOLDER``: idx files, see
    :func:`fashion_mnist`. ``npz:FILE``: four arrays, see :func:`npz_file`. ``imagefolder:PATH``: see
    :class:`FolderDataset`.

    Args:
        spec: one of the above.
        limit: train on a fixed, class-balanced subset of this size.
        image_size: (height, width), or both in one; image folders need it, other sets have their own.
        holdout: hold out so many training images, class-balanced, in place of the set's held-out ones.
    Raises:
        UserError: no such data set, a size, ``limit`` or ``holdout`` that does not fit, or files that are broken.
    """
    kind, _, place = spec.partition(":")
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    path = Path(place).expanduser()
    if kind == "imagefolder" and place:
        if size is None:
            raise UserError(f"{spec} needs the size of its images: set model.image_size, for instance 224")
        data: Dataset = FolderDataset(path, size)
    elif spec == "digits":
        data = digits()
    elif spec == "fashion-mnist" or (kind == "fashion-mnist" and place):
        data = fashion_mnist(path if place else None)
    elif kind == "npz" and place:
        data = npz_file(path)
    else:
        raise UserError(f"unknown data set {spec!r}: use {SPECS}")
    if size not in (None, data.image_size):
        raise UserError(
            f"model.image_size {size[0]} x {size[1]} is not that of {data.name} ({data.image_size[0]} x {data.image_size[1]}): leave it out"
        )
    data.narrow(limit, holdout)
    return data


def digits() -> ArrayDataset:
    """scikit-learn's 8x8 digits: 1,437 training and 360 held-out images, stratified, always the same split.

    Pixels 0 to 16 become round(pixel 255 / 16).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.rint(source.images * (255.0 / 16.0)).astype(np.uint8)[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        images, source.target.astype(np.int64), test_size=360, random_state=0, stratify=source.target
    )
    return ArrayDataset("digits", (x_train, y_train), (x_test, y_test))


def fashion_mnist(folder: Path | None) -> ArrayDataset:
    """Fashion-MNIST (28 x 28, 10 classes) from its four idx files, plain or ``.gz``.

    Args:
        folder: that of the files, or torchvision's root; None: where Debian or torchvision put them.
    Raises:
        UserError: no such files, or files that are not what they should be.
    """
    folder = _find_fashion_mnist(folder)
    train, test = ((_images(folder / i), _read_idx(folder / k, 1)) for i, k in IDX_FILES.values())
    return ArrayDataset("fashion-mnist", train, test)


def _find_fashion_mnist(folder: Path | None) -> Path:
    """The folder that holds the idx files."""
    places = [DEBIAN_FOLDER, Path(TORCHVISION_ROOT).expanduser() / RAW] if folder is None else [folder, folder / RAW]
    for place in places:
        if _existing(place / IDX_FILES["train"][0]):
            return place
    raise UserError(
        f"fashion-mnist: no {IDX_FILES['train'][0]}[.gz] in {' or '.join(map(str, places))}: "
        "apt install dataset-fashion-mnist, or give fashion-mnist:FOLDER, or download it with python -c "
        f"\"from torchvision.datasets import FashionMNIST as F; F('{TORCHVISION_ROOT}', download=True)\""
    )


def _existing(path: Path) -> Path | None:
    """``path``, else ``path`` with .gz, else None."""
    return next((p for p in (path, path.with_name(path.name + ".gz")) if p.is_file()), None)


def _images(path: Path) -> np.ndarray:
    images = _read_idx(path, 3)
    if images.shape[1:] != (28, 28):
        raise UserError(
            f"{path}: images of {images.shape[1]} x {images.shape[2]}, those of Fashion-MNIST are 28 x 28: use npz:FILE for other sets"
        )
    return images


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of an idx file: a magic number, big-endian sizes, then the bytes."""
    found = _existing(path)
    if found is None:
        raise UserError(f"missing {path} (or {path.name}.gz): use the four files of Fashion-MNIST")
    try:
        content = gzip.decompress(found.read_bytes()) if found.suffix == ".gz" else found.read_bytes()
    except BROKEN_ARRAYS as error:
        raise UserError(f"cannot read {found}: {reason(error)}") from error
    start = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    if len(content) < start or content[:4] != magic:
        raise UserError(
            f"{found} is not an idx file of bytes in {dimensions} dimension(s): it starts with "
            f"{content[:4].hex() or 'nothing'} and has {len(content)} bytes, expected {magic.hex()} and at "
            f"least {start}"
        )
    shape = np.frombuffer(content, ">u4", dimensions, 4).tolist()
    if len(content) - start != math.prod(shape):
        raise UserError(
            f"{found}: the header announces {' x '.join(map(str, shape))} bytes, the file has {len(content) - start}: get it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()


def npz_file(path: Path) -> ArrayDataset:
    """Any set as an npz file of four arrays.

    ``train_images``, ``test_images``: uint8 ``[F, H, W, C]`` or ``[F, H, W]``. ``train_labels``,
    ``test_labels``: integers 0 to C - 1, ``[F]`` or ``[F, 1]`` (so files of MedMNIST fit).

    Raises:
        UserError: no such file, no npz file, or arrays that are missing or do not fit.
    """
    try:
        found = read_arrays(path, NPZ_ARRAYS)
    except BROKEN_ARRAYS as error:
        raise UserError(f"cannot read npz:{path}: {reason(error)}: use np.savez and plain arrays") from error
    if missing := [a for a in NPZ_ARRAYS if a not in found]:
        raise UserError(f"npz:{path} has no {', '.join(missing)}: use {', '.join(NPZ_ARRAYS)}")
    arrays = [found[a] for a in NPZ_ARRAYS]
    return ArrayDataset(f"npz:{path}", tuple(arrays[:2]), tuple(arrays[2:]))
