"""Which patches of images are left after the token drops, and the picture of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from finn_vitprune import numerics
from finn_vitprune.errors import UserError
from finn_vitprune.report.figures import LABEL, NOTE, TITLE, bare

VEIL, VEIL_SHARE = np.array(to_rgb("#b3cbe6")), 0.85
"""Dropped patches are covered by so much of this colour, and hatched, which no image is."""
IMAGES = 8
"""On a picture, where no number is given."""
HATCH, HATCH_COLOUR = "////", "#2f5d8c"


@dataclass(frozen=True)
class ScoredDrop:
    """A token drop of encoder ``encoder`` (from 1): ``k`` tokens and ``prefix`` prefix tokens stay, by ``scores`` ``[F, N]``."""

    encoder: int
    k: int
    prefix: int
    scores: np.ndarray


def patches_left(patches: int, prefix: int, drops: Iterable[ScoredDrop]) -> list[tuple[int, np.ndarray]]:
    """Which patches are still there, as tokens of their own, after each token drop.

    A patch whose token was dropped lives on in the fused token only, which is not a patch, as the ``prefix`` prefix tokens
    (class token, distillation token, registers) are none.

    Returns:
        For each drop its encoder and bool ``[F, patches]`` (row-major).
    """
    tokens = np.r_[np.full(prefix, patches), np.arange(patches)]
    patch_of = None  # the patch that each token is; after the last: none
    result = []
    for drop in drops:
        frames = len(drop.scores)
        patch_of = np.tile(tokens, (frames, 1)) if patch_of is None else patch_of
        if drop.k < patch_of.shape[1] - drop.prefix:
            keep = numerics.rank_tokens(drop.scores, drop.k, drop.prefix)
            kept = patch_of[keep].reshape(frames, drop.prefix + drop.k)
            patch_of = np.pad(kept, ((0, 0), (0, 1)), constant_values=patches)  # the fused token
        left = np.zeros((frames, patches + 1), bool)
        np.put_along_axis(left, patch_of, True, axis=1)
        result.append((drop.encoder, left[:, :-1]))
    return result


def some_of(count: int | None, total: int, where: str) -> int:
    """How many of ``total`` images a picture shows; None: :data:`IMAGES`, or all.

    Raises:
        UserError: there are not so many.
    """
    if count is None:
        return min(IMAGES, total)
    if not 1 <= count <= total:
        raise UserError(f"--max-images {count}: {where} has {total} images, use 1 to {total}")
    return count


def captions(predicted: Sequence[int], labels: Sequence[int] | None, names: Sequence[str] | None = None) -> list[str]:
    """What stands beside each image: the class that the network predicts, and the true one where it is known; by ``names`` if given."""
    said = str if names is None else names.__getitem__
    if labels is None:
        return [f"predicted {said(p)}" for p in predicted]
    return [f"class {said(c)}\npredicted {said(p)}{'' if p == c else ': wrong'}" for p, c in zip(predicted, labels, strict=True)]


def token_figure(images: np.ndarray, kept: Sequence[tuple[int, np.ndarray]], captions: Sequence[str] | None = None) -> Figure:
    """One row an image: the image, then per token drop the patches that are left; the dropped ones are dimmed and hatched.

    Args:
        images: uint8 ``[F, H, W, C]``; other than 1 or 3 channels are shown as their mean.
        kept: of :func:`patches_left`.
        captions: text before each row.
    """
    figure = Figure(figsize=(1.2 + 1.3 * (1 + len(kept)), 0.8 + 1.42 * len(images)), layout="constrained")
    rows = figure.subplots(len(images), 1 + len(kept), squeeze=False)
    rgb = _rgb(images)
    for f, axes in enumerate(rows):
        axes[0].imshow(rgb[f], interpolation="none")
        if captions is not None:
            axes[0].set_ylabel(captions[f], rotation=0, ha="right", va="center", **LABEL)
        for axis, (_, mask) in zip(axes[1:], kept):
            axis.imshow(_dimmed(rgb[f], mask[f]), interpolation="none")
            _hatch(axis, mask[f], len(rgb[f]))
            axis.set_xlabel(f"{mask[f].sum()} of {mask[f].size}", **NOTE, labelpad=2)
        for axis in axes:
            bare(axis)
    for axis, title in zip(rows[0], ["image", *(f"encoder {encoder}" for encoder, _ in kept)]):
        axis.set_title(title, **LABEL)
    dropped = Patch(
        facecolor=VEIL, edgecolor=HATCH_COLOUR, hatch=HATCH, linewidth=0, label="dropped patch, fused with the others into one token"
    )
    figure.legend(handles=[dropped], loc="outside lower center", frameon=False, fontsize=8)
    figure.suptitle("Patches left after each token drop", **TITLE)
    return figure


def _rgb(images: np.ndarray) -> np.ndarray:
    """``[F, H, W, 3]`` in 0 to 1."""
    x = images / 255.0
    return x if x.shape[3] == 3 else np.repeat(x.mean(3, keepdims=True), 3, axis=3)


def _dimmed(image: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """``image`` ``[H, W, 3]`` with a veil over the patches that are not ``kept`` ``[patches]``."""
    side = round(len(kept) ** 0.5)
    patch = image.shape[0] // side
    shown = np.kron(kept.reshape(side, side), np.ones((patch, patch), bool))[..., None]
    return np.where(shown, image, (1 - VEIL_SHARE) * image + VEIL_SHARE * VEIL)


def _hatch(axis: Axes, kept: np.ndarray, pixels: int) -> None:
    """Lines over the patches that are not ``kept`` and thin white ones around all, in one path each."""
    side = round(len(kept) ** 0.5)
    size = pixels / side
    for chosen, look in (
        (np.ones_like(kept), {"edgecolor": "white", "linewidth": 0.6}),
        (~kept, {"edgecolor": HATCH_COLOUR, "linewidth": 0, "hatch": HATCH}),
    ):
        corners = [(size * (i % side) - 0.5, size * (i // side) - 0.5) for i in np.flatnonzero(chosen)]
        squares = [Path([(x, y), (x + size, y), (x + size, y + size), (x, y + size), (x, y)], closed=True) for x, y in corners]
        if squares:
            axis.add_patch(PathPatch(Path.make_compound_path(*squares), facecolor="none", **look))
