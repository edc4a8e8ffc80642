"""Images to import with: a data set of training, or images without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finn_vitprune.arrays import names_of, read_arrays
from finn_vitprune.errors import UserError
from finn_vitprune.files import BROKEN_ARRAYS
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.options.importing import MIN_IMAGES
from finn_vitprune.training.array_data import ArrayDataset, by
from finn_vitprune.training.data import NPZ_ARRAYS, SPECS, load_dataset
from finn_vitprune.training.dataset import Dataset, balanced, reason, spread
from finn_vitprune.training.folder_data import (
    EXTENSIONS,
    TEST_FOLDERS,
    FolderDataset,
    class_folders,
    image_files,
    imagenet_mean_std,
    open_image,
)

HELD_OUT = 5
"""Of images without labels every fifth is held out."""


@dataclass(frozen=True)
class ImportData:
    """A data set, and whether its labels are those of the model; ``note`` says why not.

    Where they are not, ``data`` carries labels that mean nothing (the methods of a data set need some).
    """

    data: Dataset
    labelled: bool
    note: str = ""

    def calibration(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """``count`` training images at most (uint8) and their labels, None where there are none."""
        labels = self.data.train_labels
        count = min(count, len(labels))
        images = self.data.calibration(count).numpy().astype(np.uint8)
        return images, labels[balanced(labels, count)] if self.labelled else None


def load_data(spec: str, vit: RecognisedViT, limit: int | None = None) -> ImportData:
    """The data set that ``spec`` names, checked against the model.

    Besides what training takes: ``npz:FILE`` with an array ``images`` alone, and ``imagefolder:PATH`` with
    image files but no folders of classes. These have no labels.

    Args:
        limit: use a fixed subset of this size of the training images, class-balanced where there are labels.
    Raises:
        UserError: no such data set, broken files, or images of another shape than the model takes.
    """
    kind, _, place = spec.partition(":")
    path = Path(place).expanduser()
    data: Dataset | None = None
    note = "the data has no labels: accuracy is left out"
    if kind == "npz" and place:
        data = _images_alone(path, limit)
    elif kind == "imagefolder" and place:
        data = _flat_folder(path, vit, limit)
    if data is not None:
        return _checked(ImportData(data, False, note), vit)
    size = (vit.config.image_size, vit.config.image_size) if kind == "imagefolder" else None
    try:
        data = load_dataset(spec, limit, size)
    except UserError as error:
        unknown = str(error).startswith("unknown data set")
        raise UserError(f"--data {spec}: unknown data set, use {SPECS}" if unknown else str(error)) from error
    if data.classes == vit.config.classes:
        return _checked(ImportData(data, True), vit)
    note = f"{data.name} has {data.classes} classes, the model {vit.config.classes}: its labels are not used and accuracy is left out"
    return _checked(ImportData(data, False, note), vit)


def _checked(found: ImportData, vit: RecognisedViT) -> ImportData:
    """The same with images of the model's shape.

    Raises:
        UserError: they have another one.
    """
    data = found.data
    if isinstance(data, FolderDataset) and data.channels != vit.config.channels:
        _set_channels(data, vit.config.channels)
    have, want = (*data.image_size, data.channels), (vit.config.image_size, vit.config.image_size, vit.config.channels)
    if have != want:
        raise UserError(
            f"{data.name} has images of {by(have)}, the model takes {by(want)}: give images of that size (imagefolder:PATH is resized)"
        )
    return found


def _set_channels(data: FolderDataset, channels: int) -> None:
    """Image files are decoded in grey or in colour, as the model takes them.

    Raises:
        UserError: the model takes neither.
    """
    if channels not in (1, 3):
        raise UserError(f"{data.name}: the model takes {channels} channels, image files have 1 or 3: use npz:FILE")
    data.channels = channels
    data.mean, data.std = imagenet_mean_std(channels)


def _split(name: str, items: np.ndarray, limit: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Items to calibrate with (``limit`` at most, at equal distances), and the held-out ones.

    Raises:
        UserError: too few.
    """
    if len(items) < MIN_IMAGES:
        raise UserError(f"{name} has {len(items)} image{'s' * (len(items) != 1)}: give at least {MIN_IMAGES}")
    held = np.arange(len(items)) % HELD_OUT == HELD_OUT - 1
    train = items[~held]
    return train if limit is None else train[spread(len(train), min(limit, len(train)))], items[held]


def _stand_in(items: np.ndarray) -> np.ndarray:
    """Labels that mean nothing: 0 and 1 in turn."""
    return np.arange(len(items), dtype=np.int64) % 2


def _images_alone(path: Path, limit: int | None) -> ArrayDataset | None:
    """The images of an npz file without labels, or whose labels are all the same; None for every other file.

    Raises:
        UserError: it cannot be read, has no images, or they do not fit.
    """
    name = f"npz:{path}"
    try:
        names = names_of(path)
        if not {"images", "train_images"} & set(names):
            raise UserError(f"{name} has {', '.join(names) or 'no arrays'}: use `images`, or {', '.join(NPZ_ARRAYS)}")
        arrays = read_arrays(path, ["images"] if "train_images" not in names else ["train_images", "test_images", "train_labels"])
    except BROKEN_ARRAYS as error:
        raise UserError(f"cannot read {name}: {reason(error)}: use np.savez and plain arrays") from error
    labels = arrays.get("train_labels")
    if "images" in arrays:
        train, test = _split(name, arrays["images"], limit)
    elif "test_images" not in arrays or (labels is not None and len(np.unique(labels)) > 1):
        return None
    else:
        train, test = arrays["train_images"][:limit], arrays["test_images"]
    return ArrayDataset(name, (train, _stand_in(train)), (test, _stand_in(test)))


def _flat_folder(path: Path, vit: RecognisedViT, limit: int | None) -> ImageFiles | None:
    """The image files below a folder that has neither train and val nor folders of classes; None for one that has."""
    if (path / "train").is_dir() or any((path / f).is_dir() for f in TEST_FOLDERS) or not path.is_dir() or class_folders(path):
        return None
    return ImageFiles(path, (vit.config.image_size, vit.config.image_size), vit.config.channels, limit)


class ImageFiles(FolderDataset):
    """All image files below a folder, without labels; resized and cropped as :class:`FolderDataset` does.

    Raises:
        UserError: too few image files.
    """

    def __init__(self, path: Path, image_size: tuple[int, int], channels: int, limit: int | None = None) -> None:
        self.name, self.image_size, self.classes = f"imagefolder:{path}", image_size, 2
        files = np.array(image_files(path))
        if not len(files):
            raise UserError(f"{self.name} has no image files: use {', '.join(EXTENSIONS)}")
        if len(files) < MIN_IMAGES:
            for file in files:
                open_image(file, "RGB")  # a broken one is the better reason
        self.train_files, self.test_files = _split(self.name, files, limit)
        self.train_labels, self.test_labels = _stand_in(self.train_files), _stand_in(self.test_files)
        _set_channels(self, channels)
