"""The images a build is verified with, and their way into the accelerator's input stream."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.arrays import names_of, read_arrays
from finn_vitprune.errors import UserError
from finn_vitprune.evaluation.sources import FileImages, NetworkShape
from finn_vitprune.execute import golden
from finn_vitprune.files import BROKEN_ARRAYS
from finn_vitprune.labels import check_labels, draw, drawn_text
from finn_vitprune.options.build import NPZ
from finn_vitprune.training.folder_data import EXTENSIONS, image_files

RANDOM, RANDOM_IMAGES = "random", 16
MOST_IMAGES = 1_000_000
"""All images of a file are verified with up to so many; of more, ``--max-images`` has to say how many."""


@dataclass(frozen=True)
class Images:
    """The images of a build, in the order of its results.

    ``pixels`` uint8 ``[F, H, W, C]``; ``labels`` ``[F]`` and PyTorch ``logits`` ``[F, classes]`` or None. ``source``
    names the file, or is "random". ``index`` ``[F]`` says which of the ``total`` images of the file they are:
    all, or some drawn with ``seed``.
    """

    pixels: np.ndarray
    labels: np.ndarray | None
    logits: np.ndarray | None
    source: str
    index: np.ndarray
    total: int
    seed: int

    def some(self, count: int) -> np.ndarray:
        """Ascending places of ``count`` of the images, always the same, each class in its share."""
        return draw(len(self.pixels), count, self.seed, self.labels)

    def only(self, index: np.ndarray) -> Images:
        """Those that have these numbers in the file."""
        places = np.flatnonzero(np.isin(self.index, index))
        chosen = {name: getattr(self, name) for name in ("pixels", "labels", "logits", "index")}
        return replace(self, **{name: None if values is None else values[places] for name, values in chosen.items()})

    @property
    def text(self) -> str:
        """Which images these are, in words."""
        if self.source == RANDOM:
            return f"{len(self.pixels)} random images of seed {self.seed}"
        return f"{drawn_text(len(self.pixels), self.total, self.seed, self.labels is not None)}, of {self.source}"


@dataclass(frozen=True)
class BuildImages:
    """Where the images of a build are from: a file, a folder of image files, or None for random ones (the report says so).

    Where ``most`` asks for fewer than there are, they are drawn with ``seed``: each class in its share where there are labels.
    """

    path: Path | None = None
    most: int | None = None
    seed: int = 0

    def load(self, shape: list[int], classes: int) -> Images:
        """The images.

        Args:
            shape: ``[1, H, W, C]`` of the model's input; classes: of its output.
        Raises:
            UserError: file missing, keys missing, or images, labels or logits that do not fit; an image file is damaged.
        """
        path = self.path
        if path is not None and path.is_dir():
            height, width, channels = shape[1:]
            return self._of_folder(path, NetworkShape(height, width, channels, classes))
        if path is None:
            count = min(RANDOM_IMAGES, self.most or RANDOM_IMAGES)
            pixels = np.random.default_rng(self.seed).integers(0, 256, (count, *shape[1:]), dtype=np.uint8)
            return Images(pixels, None, None, RANDOM, np.arange(count), count, self.seed)
        if not path.is_file():
            raise UserError(f"images file {path} does not exist")
        try:
            arrays = read_arrays(path, ("images", "labels", "logits"))
        except BROKEN_ARRAYS as error:
            raise UserError(f"images file {path} cannot be read ({error}): {NPZ}") from None
        if "images" not in arrays:
            raise UserError(f"images file {path} has {', '.join(names_of(path)) or 'no arrays'} and no `images`: {NPZ}")
        pixels, labels, logits = check_pixels(arrays["images"], shape, str(path)), arrays.get("labels"), arrays.get("logits")
        total = _few_enough(path, len(pixels), self.most)
        if labels is not None:
            labels = check_labels(labels, total, f"{path}: labels", classes)
        if logits is not None and (logits.shape != (total, classes) or logits.dtype.kind != "f" or np.isnan(logits).any()):
            raise UserError(
                f"{path}: logits are {logits.dtype} of shape {list(logits.shape)}: use floats (no NaN) of shape [{total}, {classes}]"
            )
        index = draw(total, self.most, self.seed, labels)
        chosen = (None if values is None else values[index] for values in (pixels, labels, logits))
        return Images(*chosen, path.name, index, total, self.seed)

    def _of_folder(self, path: Path, shape: NetworkShape) -> Images:
        """Those of all image files below a folder, in the order of their names, without labels."""
        files = image_files(path)
        if not files:
            raise UserError(f"images folder {path} has no image files: use {', '.join(EXTENSIONS)}")
        source = FileImages(f"--images {path}", files, None, shape)
        index = draw(_few_enough(path, len(files), self.most), self.most, self.seed)
        pixels, damaged = source.read(index)
        if damaged:
            source.open(damaged[0])  # says why it cannot be read
            raise UserError(f"image {source.image_name(damaged[0])} changed while it was read: start again")
        return Images(pixels, None, None, path.name, index, len(files), self.seed)

    def check(self, model: ModelWrapper) -> None:
        """Read the images before any step runs; a model file that leaves its sizes open has to wait for its first step.

        Raises:
            UserError: see :meth:`load`.
        """
        sizes = [model.get_tensor_shape(value.name) for value in (model.graph.input[0], model.graph.output[0])]
        if all(shape and all(shape) for shape in sizes):
            self.load(sizes[0], sizes[1][-1])


def _few_enough(path: Path, total: int, most: int | None) -> int:
    """The ``total`` images of a file or folder.

    Raises:
        UserError: it is more than a build verifies with, and ``most`` asks for all.
    """
    if most is None and total > MOST_IMAGES:
        raise UserError(
            f"{path} holds {total:,} images, and a build verifies with all of up to {MOST_IMAGES:,}: draw some, as with --max-images 1000"
        )
    return total


def given_images(pixels: np.ndarray, shape: list[int]) -> Images:
    """Images that a program gives.

    Raises:
        UserError: they do not fit ``shape``, ``[1, H, W, C]``.
    """
    pixels = check_pixels(np.asarray(pixels), shape, "the input")
    return Images(pixels, None, None, "the program", np.arange(len(pixels)), len(pixels), 0)


def input_shape(model: ModelWrapper) -> list[int]:
    """``[1, H, W, C]`` of the image that a QONNX model or a parent graph takes."""
    return model.get_tensor_shape(model.graph.input[0].name)


def output_classes(model: ModelWrapper) -> int:
    """Classes that a QONNX model or a parent graph answers with."""
    return model.get_tensor_shape(model.graph.output[0].name)[-1]


def check_pixels(pixels: np.ndarray, shape: list[int], source: str) -> np.ndarray:
    """``pixels`` as uint8 ``[F, H, W, C]``; a :class:`UserError` tells what does not fit."""
    if pixels.ndim == 3 and shape[-1] == 1:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or list(pixels.shape[1:]) != list(shape[1:]):
        raise UserError(f"{source} has shape {list(pixels.shape)}; the model takes [frames, {', '.join(map(str, shape[1:]))}]")
    if pixels.dtype != np.uint8:
        raise UserError(f"{source} is {pixels.dtype}; pixels are uint8")
    if not len(pixels):
        raise UserError(f"{source} holds no images")
    return pixels


def to_patches(parent: ModelWrapper, pixels: np.ndarray) -> np.ndarray:
    """``pixels`` in the order of the accelerator's input, by the host nodes of ``parent``.

    Returns:
        int64 ``[F, patches, pixels per patch]``.
    """
    partition = parent.get_nodes_by_op_type("StreamingDataflowPartition")[0]
    return golden.run(parent, {parent.graph.input[0].name: pixels.astype(np.int64)})[partition.input[0]]
