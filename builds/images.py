"""The images a build is verified with, and their way into the accelerator's input stream."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden

RANDOM_IMAGES = 16


@dataclass(frozen=True)
class Images:
    """``pixels`` uint8 ``[F, H, W, C]``; ``labels`` ``[F]`` and PyTorch ``logits`` ``[F, classes]`` or None."""

    pixels: np.ndarray
    labels: np.ndarray | None
    logits: np.ndarray | None
    source: str


def load_images(settings: BuildSettings, shape: list[int]) -> Images:
    """The images of the settings, else random ones (the report says so).

    Args:
        shape: ``[1, H, W, C]`` of the model's input.
    Raises:
        UserError: file missing, keys missing, or images of another shape.
    """
    if settings.images is None:
        rng = np.random.default_rng(settings.seed)
        count = min(RANDOM_IMAGES, settings.max_images or RANDOM_IMAGES)
        return Images(rng.integers(0, 256, (count, *shape[1:]), dtype=np.uint8), None, None, "random")
    path = settings.images
    if not path.is_file():
        raise UserError(f"images file {path} does not exist")
    try:
        with np.load(path) as data:
            arrays = {k: data[k] for k in ("images", "labels", "logits") if k in data}
    except (OSError, ValueError) as error:
        raise UserError(f"images file {path} is not an npz of arrays: {error}") from None
    if "images" not in arrays:
        raise UserError(f"images file {path} has no array `images` (uint8 [frames, H, W, C])")
    pixels = check_pixels(arrays["images"], shape, str(path))[: settings.max_images]
    cut = {k: arrays[k][: len(pixels)] for k in ("labels", "logits") if k in arrays}
    return Images(pixels, cut.get("labels"), cut.get("logits"), path.name)


def input_shape(model: ModelWrapper) -> list[int]:
    """``[1, H, W, C]`` of the image that a QONNX model or a parent graph takes."""
    return model.get_tensor_shape(model.graph.input[0].name)


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
