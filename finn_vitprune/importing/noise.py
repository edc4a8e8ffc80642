"""How far a stage's residual stream is from the float network's, encoder by encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.models.config import Pooling
from finn_vitprune.models.evaluate import hooked
from finn_vitprune.models.vit import PrunedViT

FLOOR = 1e-12
"""Noise below this share of the signal counts as this much: 120 dB."""


class EncoderStreams:
    """What the classifier would read after every encoder: of all images that pass while it watches, ``[F, D]`` each.

    The class token, or the mean over tokens, normalised as the next LayerNorm does.
    """

    def __init__(self) -> None:
        self._parts: list[list[Tensor]] = []

    @contextmanager
    def watching(self, network: PrunedViT) -> Iterator[EncoderStreams]:
        """Record what leaves the encoders of ``network``; gives itself."""
        self._parts = [[] for _ in network.blocks]
        of_class = network.config.pooling is Pooling.CLASS

        def hook(part: list[Tensor], x: Tensor) -> None:
            read = x[:, 0] if of_class else x.mean(1)
            part.append(F.layer_norm(read.detach().float(), read.shape[-1:]).cpu())

        with hooked(
            block.register_forward_hook(lambda module, inputs, output, part=part: hook(part, output))
            for block, part in zip(network.blocks, self._parts, strict=True)
        ):
            yield self

    @property
    def values(self) -> list[Tensor]:
        """One tensor an encoder."""
        return [torch.cat(part) for part in self._parts]


def decibels(found: EncoderStreams, wanted: EncoderStreams) -> tuple[float, ...]:
    """Signal to noise after every encoder, in decibels, 120 at most."""
    ratios = []
    for ours, theirs in zip(found.values, wanted.values, strict=True):
        share = float((ours - theirs).square().sum() / theirs.square().sum().clamp(min=1e-30))
        ratios.append(round(-10 * float(torch.tensor(max(share, FLOOR)).log10()), 2))
    return tuple(ratios)


def steepest(ratios: tuple[float, ...], before: tuple[float, ...]) -> int:
    """The encoder (from 1) whose noise power grows most over its input's, beyond what the stage ``before`` had there."""

    def added(values: tuple[float, ...]) -> list[float]:
        noise = [10 ** (-r / 10) for r in values]
        return [b - a for a, b in zip([0.0, *noise], noise)]

    grown = [now - then for now, then in zip(added(ratios), added(before))]
    return 1 + max(range(len(grown)), key=grown.__getitem__)
