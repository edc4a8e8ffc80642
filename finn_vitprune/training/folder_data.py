"""Data sets as folders of image files, read as they are needed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from finn_vitprune.errors import UserError
from finn_vitprune.training.array_data import augment
from finn_vitprune.training.dataset import READ_BATCH, Augmentation, Dataset, balanced, reason

TEST_FOLDERS = ("val", "validation", "test")
ANNOTATIONS = "val_annotations.txt"
"""Beside a folder ``images`` in the held-out folder: lines of a file and its class, as Tiny-ImageNet has them."""
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
HELD_OUT, SPLIT_SEED = 5, 0
"""Of a folder of classes that is not split into train and val one image of so many is held out, drawn with the seed."""
GREY_MODES = ("1", "L", "LA", "La")
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
MAX_WORKERS = 16


class FolderDataset(Dataset):
    """``PATH/train/<class>/...`` and ``PATH/val/<class>/...`` (or validation, or test), or ``PATH/<class>/...``, which is split.

    Tiny-ImageNet's layout is one of these, too: ``PATH/val/images/<file>``, whose classes ``PATH/val/val_annotations.txt`` tells.

    A split holds out one image of :data:`HELD_OUT` of every class, drawn with :data:`SPLIT_SEED`; the name of the data set says so. Classes
    are the sorted folder names. Held-out images are resized and cropped at the centre as timm does
    (bicubic); training images too, unless ``crop`` augments them. One channel if the first training image
    of every class is grey, else three. Mean and deviation are ImageNet's (grey: averaged over colours).
    Worker processes decode the images, one a core.

    Args:
        path: the folder that holds train and val.
        image_size: height and width.
    Raises:
        UserError: folders missing, empty or with different classes, or an image that cannot be read.
    """

    _pixels = "files"

    def __init__(self, path: Path, image_size: tuple[int, int]) -> None:
        self.name, self.image_size = f"imagefolder:{path}", image_size
        if names := class_folders(path):
            self.name += f" (one image of {HELD_OUT} of every class is held out, drawn with seed {SPLIT_SEED})"
            files, labels = _scan(path, names)
            held = _held_out(labels)
            self.train_files, self.train_labels, self.test_files, self.test_labels = files[~held], labels[~held], files[held], labels[held]
        else:
            train, test = path / "train", _test_folder(path)
            annotated = annotated_files(test)
            names = _same_classes(train, test) if annotated is None else _folders_in(train)
            if len(names) < 2:
                raise UserError(f"{train} has {len(names)} class folder(s): use 2 or more")
            self.train_files, self.train_labels = _scan(train, names)
            if annotated is None:
                self.test_files, self.test_labels = _scan(test, names)
            else:
                self.test_files, self.test_labels = annotated[0], _numbers(annotated[1], names, test / ANNOTATIONS)
        self.class_names, self.classes = tuple(names), len(names)
        first = self.train_files[np.unique(self.train_labels, return_index=True)[1]]
        self.channels = 1 if all(open_image(f).mode in GREY_MODES for f in first) else 3
        self.mean, self.std = imagenet_mean_std(self.channels)

    def epoch(
        self, batches: list[Tensor], generator: torch.Generator, augmentation: Augmentation, part: tuple[int, int] = (0, 1), start: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See :meth:`Dataset.epoch`. Every image has a seed of its own."""
        rank, world = part
        drawn = [torch.randint(0, 2**62, (len(b),), generator=generator) for b in batches]
        seeds = [d[rank::world].tolist() for d in drawn[start:]]
        rows = [b[rank::world].numpy() for b in batches[start:]]
        images = self._read([self.train_files[r] for r in rows], seeds, augmentation, world)
        for row, batch in zip(rows, images, strict=True):
            yield batch.float(), torch.from_numpy(self.train_labels[row])

    def calibration(self, count: int) -> Tensor:
        """See :meth:`Dataset.calibration`."""
        files = self.train_files[balanced(self.train_labels, count)]
        return torch.cat(list(self._read(_chunks(files, READ_BATCH)))).float()

    def test_batches(self, batch: int, chosen: np.ndarray | None = None) -> Iterator[Tensor]:
        """See :meth:`Dataset.test_batches`."""
        files = self.test_files if chosen is None else self.test_files[chosen]
        for images in self._read(_chunks(files, batch)):
            yield images.float()

    def _read(
        self, batches: list[np.ndarray], seeds: list[list[int]] | None = None, augmentation: Augmentation = Augmentation(), world: int = 1
    ) -> Iterator[Tensor]:
        """uint8 images ``[B, H, W, C]`` of each batch of files, decoded ahead by worker processes."""
        reader = _Reader(batches, seeds, augmentation, self.image_size, self.channels)
        workers = min(MAX_WORKERS, max(1, len(os.sched_getaffinity(0)) // world), len(batches))
        own = torch.Generator()  # the loader draws a seed: not from the global generator
        for images in DataLoader(reader, batch_size=None, num_workers=workers, generator=own):
            if isinstance(images, UserError):
                raise images
            yield images


class _Reader:
    """Batches of decoded images by number, as PyTorch's loader wants them.

    A worker cannot raise a one-line error, so an unreadable image gives the error in place of its batch.
    """

    def __init__(
        self, batches: list[np.ndarray], seeds: list[list[int]] | None, augmentation: Augmentation, size: tuple[int, int], channels: int
    ) -> None:
        from timm.data import create_transform

        self.batches, self.seeds, self.augmentation = batches, seeds, augmentation
        self.shape, self.mode = (*size, channels), "L" if channels == 1 else "RGB"
        self.transform = create_transform((channels, *size), augmentation.crop, hflip=0.0, interpolation="bicubic", use_prefetcher=True)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Tensor | UserError:
        files = self.batches[number]
        seeds = [0] * len(files) if self.seeds is None else self.seeds[number]
        images = torch.empty((len(files), *self.shape), dtype=torch.uint8)
        try:
            for row, (file, seed) in enumerate(zip(files, seeds, strict=True)):
                images[row] = self._image(file, seed)
        except UserError as error:
            return error
        return images

    def _image(self, file: bytes, seed: int) -> Tensor:
        """One image ``[H, W, C]``, its randomness from ``seed`` alone."""
        image = open_image(file, self.mode)
        random.seed(seed)  # timm's transforms draw from the global generators
        torch.default_generator.manual_seed(seed)
        pixels = self.transform(image).permute(1, 2, 0)
        a, generator = self.augmentation, torch.default_generator
        return augment(pixels[None], generator, a.shift, a.flip)[0]


def open_image(file: bytes, mode: str | None = None) -> Image.Image:
    """An image file, decoded to ``mode`` (None: only its header is read)."""
    name = os.fsdecode(file)
    try:
        with Image.open(name) as image:
            deep = image.mode in DEEP_MODES
            opened = image if mode is None or deep else image.convert(mode)
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise UserError(f"cannot read image {name}: {reason(error)}: remove or replace it") from error
    if deep:
        raise UserError(f"image {name} has more than 8 bits a channel (mode {opened.mode}): convert it to 8")
    return opened


def _test_folder(path: Path) -> Path:
    """The folder of the held-out images."""
    if not path.is_dir():
        raise UserError(f"imagefolder:{path}: there is no such folder")
    found = next((path / f for f in TEST_FOLDERS if (path / f).is_dir()), None)
    if found is None or not (path / "train").is_dir():
        lacks = "train" if found is not None else f"{', '.join(TEST_FOLDERS[:-1])} or {TEST_FOLDERS[-1]}"
        raise UserError(
            f"imagefolder:{path} has no folder {lacks}: use PATH/train/<class>/*.jpg and PATH/val/<class>/*.jpg, or PATH/<class>/*.jpg"
        )
    return found


def class_folders(path: Path) -> list[str]:
    """Sorted names of the classes of ``PATH/<class>/...``; empty where the folder has train or val, or fewer than two classes."""
    if not path.is_dir() or any((path / name).is_dir() for name in ("train", *TEST_FOLDERS)):
        return []
    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
    folders = sorted(p.name for p in inside if p.is_dir())
    mixed = any(p.name.lower().endswith(EXTENSIONS) for p in inside if p.is_file())
    return folders if len(folders) > 1 and not mixed and all(any(_images_below(path / name)) for name in folders) else []


def _held_out(labels: np.ndarray) -> np.ndarray:
    """Which of the images are held out, bool."""
    held, rng = np.zeros(len(labels), bool), np.random.default_rng(SPLIT_SEED)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        held[own[: -(-len(own) // HELD_OUT) if len(own) > 1 else 0]] = True
    return held


def annotated_files(folder: Path) -> tuple[np.ndarray, list[str]] | None:
    """Image files and the names of their classes, as the annotations in ``folder`` tell them; None: there are none.

    Raises:
        UserError: annotations that cannot be read, are empty, or name a file that is not there.
    """
    path = folder / ANNOTATIONS
    if not path.is_file():
        return None
    try:
        lines = [line.split() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from error
    short = next((i for i, line in enumerate(lines, start=1) if len(line) < 2), None)
    if short is not None or not lines:
        raise UserError(f"{path}: line {short or 1} is not FILE CLASS: use a line for each image below {folder / 'images'}")
    files = [folder / "images" / line[0] for line in lines]
    if missing := [file for file in files if not file.is_file()]:
        raise UserError(f"{path} names {missing[0].name}, which is not in {missing[0].parent} ({len(missing)} are missing)")
    return np.array([os.fsencode(file) for file in files]), [line[1] for line in lines]


def _numbers(names: list[str], classes: list[str], path: Path) -> np.ndarray:
    """The number of each name among the classes."""
    number = {name: i for i, name in enumerate(classes)}
    if unknown := sorted(set(names) - set(classes)):
        raise UserError(f"{path}: there is no training folder of class {unknown[0]} ({len(unknown)} are missing)")
    return np.array([number[name] for name in names], np.int64)


def _folders_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _same_classes(train: Path, test: Path) -> list[str]:
    """Sorted class folders, the same in both."""
    names, others = _folders_in(train), _folders_in(test)
    for here, there, folder in ((names, others, test), (others, names, train)):
        lacking = sorted(set(here) - set(there))
        if lacking:
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            raise UserError(
                f"{folder} lacks the class folder(s) {', '.join(lacking[:3])}{more}: use the same classes in {train.name} and {test.name}"
            )
    return names


def _scan(folder: Path, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Image files (class by class, sorted) and labels.

    Names are one array of bytes: worker processes would copy a long list of Python strings.
    """
    files, labels = [], []
    for label, name in enumerate(names):
        found = image_files(folder / name)
        if not found:
            raise UserError(f"no image files in {folder / name}: use {', '.join(EXTENSIONS)}")
        files += found
        labels += [label] * len(found)
    return np.array(files), np.array(labels, np.int64)


def image_files(folder: Path) -> list[bytes]:
    """Names of all image files below a folder, sorted."""
    return [os.fsencode(f) for f in sorted(_images_below(folder))]


def _images_below(folder: Path) -> Iterator[str]:
    for parent, _, inside in os.walk(folder, followlinks=True):
        for file in inside:
            if file.lower().endswith(EXTENSIONS) and not file.startswith("."):
                yield os.path.join(parent, file)


def imagenet_mean_std(channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """ImageNet's mean and deviation of pixels / 255: of the three colours, or for 1 channel averaged over them."""
    from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    pair = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    return pair if channels == 3 else tuple((round(float(np.mean(v)), 4),) for v in pair)


def _chunks(files: np.ndarray, size: int) -> list[np.ndarray]:
    return [files[i : i + size] for i in range(0, len(files), size)]
