"""What training, export and evaluation ask of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from finn_vitprune.errors import UserError
from finn_vitprune.labels import draw

READ_BATCH = 64
"""Images that are read at a time."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, in this order.

    ``crop``: timm's default training transform (a random resized crop and colour jitter), image folders
    only. ``shift``: up to so many pixels in each direction, zeros coming in. ``flip``: left to right, with
    probability 1/2.
    """

    shift: int = 0
    flip: bool = False
    crop: bool = False


class Dataset(ABC):
    """Training and held-out images of one size.

    Images are ``[F, H, W, C]`` with values 0 to 255 (float32 of whole numbers where a method gives
    tensors), labels int64. ``mean`` and ``std`` are of pixels / 255, one value a channel.
    """

    name: str
    class_names: tuple[str, ...] | None = None
    """What the classes are called, where the data tells."""
    image_size: tuple[int, int]
    """Height and width."""
    channels: int
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_labels: np.ndarray
    test_labels: np.ndarray
    _pixels: str
    """What the attributes of the images are called, after ``train_`` and ``test_``."""

    def check(self, augmentation: Augmentation) -> None:
        """Raise a UserError for an augmentation that is not for this kind of data set."""

    @abstractmethod
    def epoch(
        self, batches: list[Tensor], generator: torch.Generator, augmentation: Augmentation, part: tuple[int, int] = (0, 1), start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented training images and their labels, batch by batch.

        Args:
            batches: indices into the training set, int64 ``[B]`` each.
            generator: source of all randomness; it advances by as much for every ``part``.
            augmentation: what changes at random.
            part: (rank, world): only the rows ``rank::world`` of each batch, equal to these rows of the
                whole batch (of a batch smaller than ``world`` some parts are empty).
            start: leave out so many batches; the others are what they would be without it.
        Raises:
            UserError: an image cannot be read, or the augmentation is not for this kind of data set.
        """

    @abstractmethod
    def calibration(self, count: int) -> Tensor:
        """``count`` training images, not augmented, always the same, spread over the classes."""

    def calibration_labels(self, count: int) -> Tensor:
        """The labels of :meth:`calibration`."""
        return torch.from_numpy(self.train_labels[balanced(self.train_labels, count)])

    @abstractmethod
    def test_batches(self, batch: int, chosen: np.ndarray | None = None) -> Iterator[Tensor]:
        """The held-out images in the order of ``test_labels``, ``batch`` at a time: all, or those of the indices."""

    def narrow(self, limit: int | None = None, holdout: int | None = None) -> None:
        """Hold out ``holdout`` training images in place of the held-out ones, then train on ``limit`` of the others.

        Both are class-balanced and always the same; mean and standard deviation stay those of all training images.

        Raises:
            UserError: more than there are, or fewer than the classes.
        """
        names = (f"train_{self._pixels}", "train_labels")
        images, labels = (getattr(self, name) for name in names)
        rest = np.arange(len(labels))
        if holdout is not None:
            held = self._subset("holdout", labels, holdout, len(labels) - self.classes)
            setattr(self, f"test_{self._pixels}", images[held])
            self.test_labels, rest = labels[held], np.setdiff1d(rest, held)
        if limit is not None:
            rest = rest[self._subset("train_images", labels[rest], limit, len(rest))]
        for name, value in zip(names, (images, labels)):
            setattr(self, name, value[rest])

    def _subset(self, key: str, labels: np.ndarray, count: int, most: int) -> np.ndarray:
        """Indices of ``count`` of the training images with these labels; ``key`` asked for them."""
        if not self.classes <= count <= most:
            raise UserError(
                f"{key} = {count} does not fit {self.name} ({len(labels)} training images of {self.classes} "
                f"classes): use {self.classes} to {most}"
            )
        return balanced(labels, count)

    def held_out(self, count: int | None, seed: int) -> np.ndarray:
        """Indices of ``count`` held-out images (None: all), drawn with ``seed``, each class in its share."""
        return draw(len(self.test_labels), count, seed, self.test_labels)

    def test_sample(self, count: int | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """The images (uint8) of :meth:`held_out` and their labels."""
        chosen = self.held_out(count, seed)
        images = torch.cat([batch.byte() for batch in self.test_batches(READ_BATCH, chosen)])
        return images.numpy(), self.test_labels[chosen]


def reason(error: Exception) -> str:
    """What a library's error says, in one line."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def spread(total: int, count: int) -> np.ndarray:
    """``count`` of the numbers 0 to ``total`` - 1 at equal distances."""
    return np.arange(count) * total // max(1, count)


def balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Ascending indices of ``count`` labels (at most all), as equally many of each class as there are.

    Always the same choice: at equal distances within a class; classes that give one more than others are
    at equal distances too.
    """
    sizes = np.bincount(labels)
    share = np.zeros_like(sizes)
    while missing := min(count, len(labels)) - int(share.sum()):
        left = np.flatnonzero(share < sizes)
        if missing < len(left):
            share[left[spread(len(left), missing)]] += 1
        else:
            share[left] += np.minimum(sizes[left] - share[left], missing // len(left))
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    return np.sort(np.concatenate([m[spread(len(m), s)] for m, s in zip(members, share, strict=True)]))
