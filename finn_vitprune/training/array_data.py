"""Data sets in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from finn_vitprune.errors import UserError
from finn_vitprune.labels import check_labels
from finn_vitprune.training.dataset import Augmentation, Dataset, balanced


class ArrayDataset(Dataset):
    """Images as uint8 arrays ``[F, H, W, C]`` or ``[F, H, W]``, labels 0 to C - 1 as integers.

    Also has ``train_images`` and ``test_images`` (uint8 ``[F, H, W, C]``).

    Args:
        name: what errors call it.
        train: images and labels to train on.
        test: held-out images and labels.
    Raises:
        UserError: arrays of the wrong type or shape, or labels with a gap.
    """

    _pixels = "images"

    def __init__(self, name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> None:
        self.name = name
        self.train_images, self.train_labels = _checked(name, "train", *train)
        self.test_images, self.test_labels = _checked(name, "test", *test)
        shape = self.train_images.shape[1:]
        if self.test_images.shape[1:] != shape:
            raise UserError(
                f"{name}: train_images are {by(shape)} but test_images {by(self.test_images.shape[1:])}: "
                "use one size (height x width x channels)"
            )
        self.image_size, self.channels = shape[:2], shape[2]
        self.classes = _classes(name, self.train_labels, self.test_labels)
        self.mean, self.std = _mean_std(name, self.train_images)

    def check(self, augmentation: Augmentation) -> None:
        """See :meth:`Dataset.check`."""
        if augmentation.crop:
            raise UserError(f"crop is for image folders, not {self.name}: use shift and flip")

    def epoch(
        self, batches: list[Tensor], generator: torch.Generator, augmentation: Augmentation, part: tuple[int, int] = (0, 1), start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :meth:`Dataset.epoch`."""
        self.check(augmentation)
        rows = slice(part[0], None, part[1])
        for number, index in enumerate(batches):
            offsets, flips = _draw(len(index), generator, augmentation.shift, augmentation.flip)
            if number < start:
                continue
            index = index[rows].numpy()
            images = _move(self.train_images[index], augmentation.shift, offsets[:, rows], flips[rows])
            yield torch.from_numpy(images).float(), torch.from_numpy(self.train_labels[index])

    def calibration(self, count: int) -> Tensor:
        """See :meth:`Dataset.calibration`."""
        return torch.from_numpy(self.train_images[balanced(self.train_labels, count)]).float()

    def test_batches(self, batch: int, chosen: np.ndarray | None = None) -> Iterator[Tensor]:
        """See :meth:`Dataset.test_batches`."""
        images = self.test_images if chosen is None else self.test_images[chosen]
        for part in torch.from_numpy(images).split(batch):
            yield part.float()


def augment(images: Tensor, generator: torch.Generator, shift: int, flip: bool = False) -> Tensor:
    """Shift each image ``[B, H, W, C]`` by up to ``shift`` pixels, zeros coming in; mirror each or not."""
    offsets, flips = _draw(len(images), generator, shift, flip)
    return torch.from_numpy(_move(images.numpy(), shift, offsets, flips))


def _draw(count: int, generator: torch.Generator, shift: int, flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Row and column offsets ``[2, count]`` from 0 to 2 ``shift``; whether an image is mirrored ``[count]``."""
    offsets = torch.randint(0, 2 * shift + 1, (2, count), generator=generator) if shift else torch.zeros(2, count).long()
    flips = torch.randint(0, 2, (count,), generator=generator) if flip else torch.zeros(count)
    return offsets.numpy(), flips.numpy().astype(bool)


def _move(images: np.ndarray, shift: int, offsets: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Shifted and mirrored images ``[B, H, W, C]``.

    Every shift is a window of the zero-padded image: of a view of all windows, each image takes one.
    """
    batch, height, width, channels = images.shape
    if shift:
        kinds = 2 * shift + 1
        padded = np.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        image, row, column, value = padded.strides
        shape = (batch, kinds, kinds, height, width * channels)
        windows = as_strided(padded, shape, (image, row, column, row, value), writeable=False)
        images = windows[np.arange(batch), offsets[0], offsets[1]].reshape(images.shape)
    if flips.any():
        images = np.where(flips[:, None, None, None], images[:, :, ::-1], images)
    return images


def _checked(name: str, part: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images with a channel axis and int64 labels ``[F]``."""
    if images.dtype != np.uint8:
        raise UserError(f"{name}: {part}_images are {images.dtype}: use uint8 (0 to 255)")
    if images.ndim not in (3, 4):
        raise UserError(f"{name}: {part}_images have shape {images.shape}: use [F, H, W] or [F, H, W, C]")
    images = images[..., None] if images.ndim == 3 else images
    if 0 in images.shape:
        raise UserError(f"{name}: {part}_images are empty (shape {images.shape})")
    if images.shape[1] <= 4 < images.shape[3]:
        raise UserError(f"{name}: {part}_images of shape {images.shape} have their channels first: use [F, H, W, C]")
    return np.ascontiguousarray(images), check_labels(labels, len(images), f"{name}: {part}_labels")


def _classes(name: str, train: np.ndarray, test: np.ndarray) -> int:
    """Number of classes; every one occurs in training."""
    found = np.unique(train)
    gap = np.flatnonzero(found != np.arange(len(found)))
    if len(gap):
        raise UserError(f"{name}: train_labels go from {found[0]} to {found[-1]} and lack {gap[0]}: use all of 0 to C - 1")
    if len(found) < 2:
        raise UserError(f"{name}: all train_labels are 0: use 2 classes or more")
    strange = test[(test < 0) | (test >= len(found))]
    if len(strange):
        raise UserError(f"{name}: test_labels hold {strange[0]} but train_labels only 0 to {len(found) - 1}: use the same classes")
    return len(found)


def _mean_std(name: str, images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of pixels / 255 of each channel, to 4 digits, exact from a histogram."""
    means, deviations, value = [], [], np.arange(256) / 255.0
    for channel in range(images.shape[3]):
        pixels = torch.from_numpy(images[..., channel].reshape(-1))
        share = torch.bincount(pixels, minlength=256).numpy() / len(pixels)
        mean = float(share @ value)
        means.append(round(mean, 4))
        deviations.append(round(float(share @ (value - mean) ** 2) ** 0.5, 4))
        if deviations[-1] == 0:
            raise UserError(f"{name}: all pixels of channel {channel} of train_images are (nearly) equal")
    return tuple(means), tuple(deviations)


def by(shape: tuple[int, ...]) -> str:
    """A shape in words, as 28 x 28 x 1."""
    return " x ".join(map(str, shape))
