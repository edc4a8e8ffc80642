"""Data sets by name: uint8 images, channel last, with a fixed split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """Training and held-out images (uint8 ``[F, H, W, C]``), int64 labels, mean and std of pixels / 255."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def digits() -> Dataset:
    """scikit-learn's 8x8 digits: 1,437 training and 360 held-out images, stratified, always the same split.

    Pixels 0 to 16 become round(pixel 255 / 16). Mean and standard deviation are those of the training set.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.rint(source.images * (255.0 / 16.0)).astype(np.uint8)[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        images, source.target.astype(np.int64), test_size=360, random_state=0, stratify=source.target
    )
    pixels = x_train.astype(np.float64) / 255.0
    mean, std = round(float(pixels.mean()), 4), round(float(pixels.std()), 4)
    return Dataset("digits", x_train, y_train, x_test, y_test, 10, (mean,), (std,))


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}
"""Data set name to loader."""


def load_dataset(name: str) -> Dataset:
    """The data set called ``name``.

    Raises:
        UserError: there is none of that name.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}: use {', '.join(sorted(DATASETS))}")
    return DATASETS[name]()


def augment(images: Tensor, generator: torch.Generator, shift: int) -> Tensor:
    """Shift each image ``[B, H, W, C]`` by up to ``shift`` pixels, zeros coming in."""
    if shift == 0:
        return images
    batch, height, width, channels = images.shape
    padded = F.pad(images, (0, 0, shift, shift, shift, shift))
    offset = torch.randint(0, 2 * shift + 1, (2, batch), generator=generator)
    rows = offset[0].view(-1, 1, 1) + torch.arange(height).view(1, -1, 1)
    columns = offset[1].view(-1, 1, 1) + torch.arange(width).view(1, 1, -1)
    return padded[torch.arange(batch).view(-1, 1, 1), rows, columns]
