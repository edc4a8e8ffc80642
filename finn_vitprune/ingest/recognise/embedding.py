"""Patch embedding, prefix tokens and positions, matched on the normal form."""

from __future__ import annotations

from math import isqrt

import numpy as np

from finn_vitprune.ingest.normal_form.terms import Embedded, Linear, Patches, Pixels
from finn_vitprune.ingest.recognise.network import Embedding, InputScaling, NotRecognised
from finn_vitprune.models.config import MAX_PREFIX

PATCHES = "square images in square patches, row by row, as a convolution or as reshapes"


def match_embedding(embedded: Embedded, first: int = 0) -> Embedding:
    """The parts of the token embedding.

    Args:
        first: the row that the classifier reads, which becomes the first one.
    Raises:
        NotRecognised: patches are not square, missing, or repeated, or too many tokens are none.
    """
    layer = embedded.x
    patches = layer.x.term
    assert isinstance(patches, Patches)
    pixels = patches.pixels
    rows, prefix = _rows(embedded, patches.rows, first)
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
    return Embedding(embedded, layer, patches, size, channels, patch, channels_last, rows, prefix, weight, bias, scaling)


def _rows(embedded: Embedded, patches: int, first: int) -> tuple[np.ndarray, int]:
    """The rows of the file in this project's order, row ``first`` ahead, then the other prefix tokens, then patches; and the prefix.

    Encoders treat all rows alike, so that their order is free.
    """
    source = embedded.source
    prefix = np.flatnonzero(source == -1)
    ordered = np.argsort(source, kind="stable")[len(prefix) :]
    if not np.array_equal(source[ordered], np.arange(patches)):
        text = f"{len(ordered)} of {len(source)} tokens are patches, of which there are {patches}"
        raise NotRecognised.at(embedded, f"patches are left out or repeated: {text}", "every patch is one token")
    if len(prefix) > MAX_PREFIX:
        raise NotRecognised.at(
            embedded,
            f"register tokens: {len(prefix)} tokens stand beside the patches",
            f"the hardware takes up to {MAX_PREFIX} tokens beside the patches, class token and registers: use a model with fewer",
        )
    if len(prefix) and source[first] != -1:
        raise NotRecognised.at(embedded, f"the classifier reads token {first}, a patch", "pool over all patches, or by the class token")
    ahead = prefix[np.argsort(prefix != first, kind="stable")]
    return np.r_[ahead, ordered], len(prefix)


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
