"""What was recognised: shapes, and weights under timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from finn_vitprune.graph.reason import Refusal
from finn_vitprune.models.config import EncoderShape, Pooling, ViTConfig


@dataclass(frozen=True)
class InputScaling:
    """Normalisation of the pixels inside the graph: ``x scale + offset``, one number a channel."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    @property
    def pixel_range(self) -> float:
        """Largest value of a pixel that this is made for: 255, or 1 where images come scaled to 0..1."""
        return 255.0 if max(abs(s) for s in self.scale) < 0.1 else 1.0

    def mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The same as ``(pixel / 255 - mean) / std`` on pixels of 0 to 255."""
        scale = [s * self.pixel_range for s in self.scale]
        return tuple(-o / s for o, s in zip(self.offset, scale)), tuple(1.0 / s for s in scale)


@dataclass(frozen=True)
class RecognisedViT:
    """A pre-norm vision transformer that was recognised in a graph.

    heads, mlp_widths: per encoder. prefix: class and distillation token, 0 without. pooling: a value of
    :class:`Pooling`. norm_after_pooling: the last LayerNorm comes after
    pooling by mean (timm's ``fc_norm``). gelu: "exact" or "tanh". scaling: normalisation inside the graph.
    channels_last: the input is ``[1, H, W, C]``. layer_scale: one was folded into proj and fc2.
    distilled_head: logits are the mean of two classifiers. output: the graph output that was followed;
    probabilities: it is the softmax of the logits.

    weights: timm's names and layouts (``patch_embed.proj.weight`` ``[D, C, p, p]``,
    ``blocks.<i>.attn.qkv.weight`` ``[3 H D', D]``, ...). timm computes with them what the file computes, on
    normalised pixels where ``scaling`` is given.
    """

    image_size: int
    channels: int
    patch_size: int
    dim: int
    head_dim: int
    heads: tuple[int, ...]
    mlp_widths: tuple[int, ...]
    classes: int
    prefix: int
    pooling: str
    norm_after_pooling: bool
    eps: float
    gelu: str
    scaling: InputScaling | None
    channels_last: bool
    layer_scale: bool
    distilled_head: bool
    output: str
    probabilities: bool
    weights: Mapping[str, np.ndarray]

    @property
    def depth(self) -> int:
        """Number of encoders."""
        return len(self.heads)

    @property
    def tokens(self) -> int:
        """Tokens of an encoder."""
        return (self.image_size // self.patch_size) ** 2 + self.prefix

    @property
    def changes(self) -> bool:
        """Whether import replaces a part: GELU in its tanh form, a second classifier."""
        return self.gelu != "exact" or self.distilled_head

    def config(self, **bits: int) -> ViTConfig:
        """The shapes as the models of this project take them; ``bits``: weight_bits, act_bits."""
        return ViTConfig(
            image_size=self.image_size,
            channels=self.channels,
            patch_size=self.patch_size,
            dim=self.dim,
            head_dim=self.head_dim,
            classes=self.classes,
            encoders=tuple(EncoderShape(h, m) for h, m in zip(self.heads, self.mlp_widths, strict=True)),
            prefix=self.prefix,
            eps=self.eps,
            pooling=Pooling(self.pooling),
            norm_after_pooling=self.norm_after_pooling,
            **bits,
        )


class NotRecognised(Exception):
    """The network is no vision transformer that is taken in; ``refusal`` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
