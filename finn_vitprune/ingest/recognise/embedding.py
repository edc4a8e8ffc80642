"""Patch embedding, prefix tokens and positions, matched on the normal form."""

from __future__ import annotations

from math import isqrt

import numpy as np

from finn_vitprune.ingest.normal_form.terms import Embedded, Linear, Patches, Pixels
from finn_vitprune.ingest.recognise.network import Embedding, InputScaling, NotRecognised

MAX_PREFIX = 2
PATCHES = "square images in square patches, row by row, as a convolution or as reshapes"


def match_embedding(embedded: Embedded) -> Embedding:
    """The parts of the token embedding.

    Raises:
        NotRecognised: patches are not square or not in order, or prefix tokens do not come first.
    """
    layer = embedded.x
    patches = layer.x.term
    assert isinstance(patches, Patches)
    pixels = patches.pixels
    prefix = _prefix(embedded, patches.rows)
    for channels_last in (False, True):
        shape = pixels.shape if not channels_last else (pixels.shape[0], pixels.shape[3], *pixels.shape[1:3])
        order = _order(patches, shape[1:], channels_last)
        if order is not None:
            break
    else:
        raise NotRecognised.at(layer, f"the patches of an input of shape {list(pixels.shape)} are in another order", PATCHES)
    channels, size, _ = shape[1:]
    patch = size // isqrt(patches.rows)
    weight = layer.weight[order].T.reshape(-1, channels, patch, patch)
    bias = np.zeros(layer.columns, np.float32) if layer.bias is None else layer.bias
    scaling = _scaling(pixels, layer, channels, channels_last)
    return Embedding(embedded, layer, patches, size, channels, patch, channels_last, prefix, weight, bias, scaling)


def _prefix(embedded: Embedded, patches: int) -> int:
    source = embedded.source
    prefix = int((source == -1).sum())
    if not np.array_equal(source, np.r_[np.full(prefix, -1), np.arange(patches)]):
        raise NotRecognised.at(embedded, "prefix tokens and patches are in another order", "class token first, then patches")
    if prefix > MAX_PREFIX:
        raise NotRecognised.at(
            embedded,
            f"register tokens: {prefix} tokens stand before the patches",
            "the hardware takes a class token and a distillation token: use a model without registers",
        )
    return prefix


def _order(patches: Patches, shape: tuple[int, ...], channels_last: bool) -> np.ndarray | None:
    """Where each pixel of timm's order (channel, y, x) stands among the columns, or None."""
    channels, height, width = shape
    side = isqrt(patches.rows)
    if height != width or side * side != patches.rows or not side or height % side:
        return None
    p = height // side
    if patches.columns != channels * p * p:
        return None
    number = np.arange(channels * height * width, dtype=np.int64)
    grid = number.reshape(shape)
    if channels_last:
        grid = number.reshape(height, width, channels).transpose(2, 0, 1)
    expected = grid.reshape(channels, side, p, side, p).transpose(1, 3, 0, 2, 4).reshape(patches.rows, -1)
    place = np.empty(patches.columns, np.int64)
    place[np.argsort(expected[0])] = np.argsort(patches.index[0])
    return place if np.array_equal(patches.index[:, place], expected) else None


def _scaling(pixels: Pixels, layer: Linear, channels: int, channels_last: bool) -> InputScaling | None:
    if pixels.scale is None and pixels.offset is None:
        return None
    parts = []
    for array, default in ((pixels.scale, 1.0), (pixels.offset, 0.0)):
        full = np.full(pixels.columns, default, np.float32) if array is None else array
        by_channel = full.reshape(-1, channels).T if channels_last else full.reshape(channels, -1)
        if not np.all(by_channel == by_channel[:, :1]):
            raise NotRecognised.at(layer, "pixels are scaled by other numbers from place to place", "one number a channel")
        parts.append(tuple(float(v) for v in by_channel[:, 0]))
    return InputScaling(*parts)
