"""Labelled or unlabelled images to evaluate on: folders, csv files, npz files, data sets by name."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from finn_vitprune.errors import UserError
from finn_vitprune.files import BROKEN_ARRAYS, sha256
from finn_vitprune.labels import check_labels
from finn_vitprune.training.array_data import ArrayDataset
from finn_vitprune.training.data import load_dataset
from finn_vitprune.training.dataset import reason
from finn_vitprune.training.folder_data import EXTENSIONS, TEST_FOLDERS, annotated_files, image_files, imagenet_mean_std, open_image

SPECS = "imagefolder:PATH, csv:FILE, npz:FILE, digits or fashion-mnist[:FOLDER]"
KEYS = (("images", "labels"), ("test_images", "test_labels"))
"""Arrays of an npz file: of images alone, or of a data set to train with, whose held-out part counts."""
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class NetworkShape:
    """What the network takes, and how many classes it answers with."""

    height: int
    width: int
    channels: int
    classes: int


class ImageSource(ABC):
    """Images by number; data that can be pickled, so that workers read them.

    name: what was asked for. labels: int64 ``[F]`` of the network's classes, or None. note: how labels were found, or why there are none.
    normalisation: mean and deviation of pixels / 255 that float networks of such images expect, if known.
    """

    name: str
    labels: np.ndarray | None
    note: str = ""
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image_name(self, index: int) -> str:
        """What a report calls an image."""

    @abstractmethod
    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[int]]:
        """Pixels uint8 ``[n, H, W, C]``, and the indices of images that are damaged, whose pixels are 0."""

    @property
    @abstractmethod
    def identity(self) -> str:
        """A digest of what the images are: changed files are other images."""


class ArrayImages(ImageSource):
    """Images in memory, uint8 ``[F, H, W, C]``."""

    def __init__(self, name: str, pixels: np.ndarray, labels: np.ndarray | None, identity: str, note: str = "") -> None:
        self.name, self.pixels, self.labels, self.note, self._identity = name, pixels, labels, note, identity

    def __len__(self) -> int:
        return len(self.pixels)

    def image_name(self, index: int) -> str:
        return f"image {index}"

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[int]]:
        return self.pixels[np.asarray(indices)], []

    @property
    def identity(self) -> str:
        return self._identity


class FileImages(ImageSource):
    """Image files, resized and cropped at the centre as timm does (bicubic, 87.5 % of the shorter side)."""

    def __init__(self, name: str, files: Sequence[bytes], labels: np.ndarray | None, shape: NetworkShape, note: str = "") -> None:
        if shape.channels not in (1, 3):
            raise UserError(f"{name}: the network takes {shape.channels} channels, image files have 1 or 3: use an .npz file")
        self.name, self.files, self.labels, self.shape, self.note = name, np.array(files), labels, shape, note
        self.normalisation = imagenet_mean_std(shape.channels)

    def __len__(self) -> int:
        return len(self.files)

    def image_name(self, index: int) -> str:
        return os.fsdecode(self.files[index])

    def open(self, index: int) -> Image.Image:
        """An image as it is in its file.

        Raises:
            UserError: it cannot be read; the text says why.
        """
        return open_image(self.files[index], "L" if self.shape.channels == 1 else "RGB")

    @cached_property
    def _transform(self):
        from timm.data import create_transform

        return create_transform(
            (self.shape.channels, self.shape.height, self.shape.width), interpolation="bicubic", crop_pct=0.875, use_prefetcher=True
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, list[int]]:
        s, damaged = self.shape, []
        pixels = np.zeros((len(indices), s.height, s.width, s.channels), np.uint8)
        for row, index in enumerate(indices):
            try:
                pixels[row] = np.asarray(self._transform(self.open(index))).transpose(1, 2, 0)
            except UserError:
                damaged.append(int(index))
        return pixels, damaged

    @property
    def identity(self) -> str:
        stats = (os.stat(file) for file in self.files)
        return _digest(*(f"{os.fsdecode(f)} {s.st_size} {s.st_mtime_ns}".encode() for f, s in zip(self.files, stats)))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def read_source(spec: str, shape: NetworkShape, classes: Path | None = None) -> ImageSource:
    """The images that ``spec`` names.

    Args:
        spec: ``imagefolder:PATH``: PATH/val (or validation, test) or PATH itself, in it a folder for each class, or images alone, or
            images and their classes as Tiny-ImageNet has them.
            ``csv:FILE``: lines of file and label. ``npz:FILE``: ``images`` and perhaps ``labels``, or a training set, of which
            the held-out part counts. ``digits``, ``fashion-mnist``: their held-out images.
        classes: a JSON file that maps names of classes to the network's numbers.
    Raises:
        UserError: no such data, nothing in it, images of another shape, or labels that are not the network's classes.
    """
    kind, _, place = spec.partition(":")
    path = Path(place).expanduser()
    source: ImageSource
    numbers = None if classes is None else _class_numbers(classes, shape.classes)
    if kind == "imagefolder" and place:
        source = _folder(spec, path, shape, numbers)
    elif kind == "csv" and place:
        source = _csv(spec, path, shape, numbers)
    elif numbers is not None:
        raise UserError(f"--classes is for folders and csv files, the labels of {spec} are numbers: leave it out")
    elif kind == "npz" and place:
        source = _npz(spec, path, shape)
    elif kind in ("digits", "fashion-mnist"):
        data = load_dataset(spec)
        assert isinstance(data, ArrayDataset)
        source = _array(spec, data.test_images, data.test_labels, shape, _digest(spec.encode(), data.test_images.tobytes()))
        source.normalisation = data.mean, data.std
    else:
        raise UserError(f"--data {spec}: unknown data set, use {SPECS}")
    return source


def _array(name: str, pixels: np.ndarray, labels: np.ndarray | None, shape: NetworkShape, identity: str) -> ArrayImages:
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    wanted = (shape.height, shape.width, shape.channels)
    if pixels.dtype != np.uint8:
        raise UserError(f"{name}: images are {pixels.dtype}: use uint8 (0 to 255)")
    if pixels.shape[1:] != wanted:
        raise UserError(f"{name}: images have shape {list(pixels.shape)}, the network takes [F, {', '.join(map(str, wanted))}]")
    if not len(pixels):
        raise UserError(f"{name} holds no images")
    if labels is not None:
        labels = check_labels(labels, len(pixels), f"{name}: labels", shape.classes)
    return ArrayImages(name, pixels, labels, identity, "" if labels is not None else "no labels: accuracy is left out")


def _npz(spec: str, path: Path, shape: NetworkShape) -> ArrayImages:
    try:
        with np.load(path, allow_pickle=False) as file:
            images, labels = next((keys for keys in KEYS if keys[0] in file), KEYS[0])
            if images not in file:
                raise UserError(f"{spec} has no array `images`, it has {', '.join(sorted(file)) or 'none'}: use images and labels")
            pixels, numbers = file[images], file.get(labels)
    except AttributeError:
        raise UserError(f"{spec} is one npy array: use np.savez with images and labels") from None
    except BROKEN_ARRAYS as error:
        raise UserError(f"cannot read {spec}: {reason(error)}: use np.savez and plain arrays") from error
    return _array(spec, pixels, numbers, shape, sha256(path))


def _folder(spec: str, path: Path, shape: NetworkShape, numbers: dict[str, int] | None) -> FileImages:
    if not path.is_dir():
        raise UserError(f"{spec}: there is no such folder")
    root = next((path / name for name in TEST_FOLDERS if (path / name).is_dir()), path)
    if root == path and (path / "train").is_dir():
        raise UserError(
            f"{spec} has train but no {', '.join(TEST_FOLDERS[:-1])} or {TEST_FOLDERS[-1]}: give the folder whose images are to be answered"
        )
    if (annotated := annotated_files(root)) is not None:
        labels, note = _labels(spec, annotated[1], sorted(set(annotated[1])), shape, numbers)
        return FileImages(spec, annotated[0].tolist(), labels, shape, note)
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    files, names = [], []
    for folder in folders:
        found = image_files(root / folder)
        files += found
        names += [folder] * len(found)
    if not files:
        files = image_files(root)
        if not files:
            raise UserError(f"{spec}: no image files below {root}: use {', '.join(EXTENSIONS)}")
        return FileImages(spec, files, None, shape, "no folders of classes: accuracy is left out")
    labels, note = _labels(spec, names, folders, shape, numbers)
    return FileImages(spec, files, labels, shape, note)


def _labels(
    spec: str, names: list[str], classes: list[str], shape: NetworkShape, numbers: dict[str, int] | None
) -> tuple[np.ndarray | None, str]:
    """A label for each name of a class, and how it was found: by a given map, as ImageNet's class, or by the order of all names."""
    if numbers is not None:
        if missing := sorted(set(names) - set(numbers)):
            raise UserError(f"{spec}: class {missing[0]} is not in the file of --classes ({len(missing)} are missing): add it")
        return np.array([numbers[name] for name in names], np.int64), f"labels by --classes, {len(set(names))} classes of {shape.classes}"
    if shape.classes == IMAGENET_CLASSES:
        from timm.data import ImageNetInfo

        imagenet = {name: i for i, name in enumerate(ImageNetInfo("imagenet-1k").label_names())}
        if set(names) <= set(imagenet):
            return np.array([imagenet[name] for name in names], np.int64), f"labels by ImageNet's names, {len(set(names))} classes of 1,000"
    if len(classes) == shape.classes:
        place = {name: i for i, name in enumerate(classes)}
        return np.array([place[name] for name in names], np.int64), "labels by the order of the folders' names"
    raise UserError(
        f"{spec} has {len(classes)} classes, the network {shape.classes}: say which is which with --classes FILE "
        f'(JSON, as {{"{classes[0]}": 0}})'
    )


def _class_numbers(path: Path, classes: int) -> dict[str, int]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--classes {path}: {reason(error)}: use JSON that maps names of classes to numbers") from None
    whole = isinstance(found, dict) and all(isinstance(n, int) and not isinstance(n, bool) for n in found.values())
    if not whole:
        raise UserError(f'--classes {path} does not map names to numbers: use JSON as {{"n01440764": 0}}')
    if outside := [name for name, n in found.items() if not 0 <= n < classes]:
        raise UserError(f"--classes {path}: {outside[0]} is {found[outside[0]]}, the network's classes are 0 to {classes - 1}")
    return found


def _csv(spec: str, path: Path, shape: NetworkShape, numbers: dict[str, int] | None) -> FileImages:
    """Lines ``file,label``; the label is a number, or with ``numbers`` a name. Files lie relative to the csv file's folder."""
    try:
        with path.open(newline="") as file:
            rows = [(i, row) for i, row in enumerate(csv.reader(file), 1) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {spec}: {reason(error)}: use lines of file,label") from None
    if rows and not rows[0][1][0].lower().endswith(EXTENSIONS):
        rows = rows[1:]  # a header
    if not rows:
        raise UserError(f"{spec} names no images: use lines of file,label")
    files = [path.parent / row[0] for _, row in rows]
    if missing := [(i, file) for (i, _), file in zip(rows, files) if not file.is_file()]:
        raise UserError(f"{spec}, line {missing[0][0]}: no such file {missing[0][1]} ({len(missing)} are missing)")
    given = [row[1].strip() if len(row) > 1 else "" for _, row in rows]
    named = [os.fsencode(file) for file in files]
    if not any(given):
        return FileImages(spec, named, None, shape, "no labels: accuracy is left out")
    if numbers is not None:
        labels, note = _labels(spec, given, sorted(set(given)), shape, numbers)
        return FileImages(spec, named, labels, shape, note)
    for (line, _), text in zip(rows, given):
        if not text.isdigit() or int(text) >= shape.classes:
            raise UserError(
                f"{spec}, line {line}: label {text or 'is missing'}: use a number from 0 to {shape.classes - 1}, or --classes FILE"
            )
    return FileImages(spec, named, np.array(given, np.int64), shape)
