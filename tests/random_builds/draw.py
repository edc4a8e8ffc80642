"""A network from a seed: shapes, widths and pruning at random, random weights, calibrated on noise, and noise images."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from finn_vitprune.models.config import Pooling, ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores, head_liveness

CALIBRATION_IMAGES = 48
IMAGES = 10


@dataclass(frozen=True)
class Drawn:
    """What is drawn for a seed; rates are decimals as written.

    heads_gone: by encoder, heads that are removed whole. empty: share of the rows (output channels) of every linear layer
    that have no weights but keep their biases. spread: standard deviation of the logarithm of a row's weights.
    """

    seed: int
    image_size: int
    patch_size: int
    channels: int
    block: int
    head_dim: int
    heads: int
    dim: int
    neurons: int
    depth: int
    classes: int
    prefix: int
    pooling: str
    norm_after_pooling: bool
    weight_bits: int
    act_bits: int
    block_keep: str
    neuron_keep: str
    token_keep: str
    drop_at: tuple[int, ...]
    heads_gone: tuple[tuple[int, ...], ...]
    empty: float
    spread: float
    bias: float
    target_fps: int | None

    @property
    def config(self) -> ViTConfig:
        """The network before pruning."""
        config = ViTConfig.dense(
            self.image_size, self.channels, self.patch_size, self.heads * self.head_dim, self.heads, self.depth,
            self.classes, prefix=self.prefix, weight_bits=self.weight_bits, act_bits=self.act_bits,
            pooling=Pooling(self.pooling), norm_after_pooling=self.norm_after_pooling,
        )  # fmt: skip
        shape = replace(config.encoders[0], neurons=self.neurons)
        return replace(config, dim=self.dim, encoders=(shape,) * self.depth).with_token_drop(self.token_keep, self.drop_at)


DEPTHS, ENGINE_DEPTHS = (1, 1, 1, 2), (2, 2, 3, 4)
"""Encoders of a network, and of one whose encoders share engines."""


@dataclass(frozen=True)
class DrawnEngines:
    """A network, the encoders of each engine, and images in flight."""

    network: Drawn
    encoders_per_engine: tuple[int, ...]
    frames_in_flight: int


def draw_engines(seed: int) -> DrawnEngines:
    """The parameters of ``seed``: a network of several encoders, one engine at least has more than one of them."""
    drawn, rng = draw(seed, ENGINE_DEPTHS), np.random.default_rng((seed, 1))
    first = int(rng.integers(2, drawn.depth + 1))
    sizes = [first, *[1] * (drawn.depth - first)]
    return DrawnEngines(drawn, tuple(int(n) for n in rng.permutation(sizes)), int(rng.integers(1, 4)))


def draw(seed: int, depths: tuple[int, ...] = DEPTHS) -> Drawn:
    """The parameters of ``seed``; small, so that a build takes seconds."""
    rng = np.random.default_rng(seed)

    def one(*choices):
        return choices[rng.integers(len(choices))]

    block, heads, depth = one(2, 4, 4, 8), int(rng.integers(1, 4)), one(*depths)
    head_dim = block * one(1, 1, 2) if heads < 3 else block
    patch, side = one(1, 2, 2, 3, 4, 5), int(rng.integers(1, 5))
    pooling = one(*(Pooling.CLASS,) * 2 * depth, Pooling.PATCHES, Pooling.ALL)
    of_class = pooling is Pooling.CLASS
    prefix = one(1, 1, 2) if of_class else one(0, 1)
    tokens = side * side + prefix
    drops = tuple(i for i in range(1, depth + 1) if of_class and tokens > 3 and rng.random() < 0.8)
    gone = tuple(
        tuple(int(h) for h in np.flatnonzero(rng.random(heads) < 0.3)[: heads - 1]) for _ in range(depth)
    )
    return Drawn(
        seed=seed, image_size=patch * side, patch_size=patch, channels=one(1, 1, 3, 4), block=block, head_dim=head_dim,
        heads=heads, dim=block * int(rng.integers(1, 17 // block + 1)), neurons=block * int(rng.integers(1, 17 // block + 1)),
        depth=depth, classes=int(rng.integers(2, 13)), prefix=prefix, pooling=pooling.value,
        norm_after_pooling=bool(not of_class and rng.integers(2)), weight_bits=one(4, 8), act_bits=one(4, 8),
        block_keep=one("0.2", "0.4", "0.5", "0.75", "1"), neuron_keep=one("0.3", "0.5", "0.8", "1"),
        token_keep=one("0.3", "0.5", "0.55", "0.8", "0.95"), drop_at=drops, heads_gone=gone, empty=one(0.0, 0.1, 0.4),
        spread=one(0.0, 0.5, 1.5), bias=one(0.0, 0.1, 1.0), target_fps=one(20_000, 50_000, 200_000),
    )  # fmt: skip


@torch.no_grad()
def network(drawn: Drawn) -> tuple[PrunedViT, np.ndarray]:
    """The pruned, calibrated, frozen network, and uint8 images ``[F, H, W, C]``: noise of full range, and extremes."""
    torch.manual_seed(drawn.seed)
    torch.set_num_threads(1)
    config = drawn.config
    model = PrunedViT(config)
    _fill(model, drawn)
    scores = PruneScores(config, PruneConfig(drawn.block, drawn.block_keep, drawn.neuron_keep))
    scores.set_to_magnitude(model)
    masks = [_without(m, gone, drawn) for m, gone in zip(scores.masks(), drawn.heads_gone)]
    shape = (config.image_size, config.image_size, config.channels)
    model.calibrate(torch.randint(0, 256, (CALIBRATION_IMAGES, *shape)).float(), masks)
    rng = np.random.default_rng(drawn.seed)
    images = rng.integers(0, 256, (IMAGES, *shape), dtype=np.uint8)
    images[-4:-2] = images[-4:-2] // 128 * 255
    images[-2], images[-1] = 0, 255
    return freeze(cut(model.eval(), masks)), images


def _fill(model: PrunedViT, drawn: Drawn) -> None:
    for name, layer in model.linears().items():
        fan_in = layer.weight.shape[1] * (150.0**2 if name == "patch_embed" else 1.0)
        rows = torch.exp(drawn.spread * torch.randn(len(layer.weight), 1))
        layer.weight.copy_(torch.randn_like(layer.weight) * rows / fan_in**0.5)
        layer.weight[torch.rand(len(layer.weight)) < drawn.empty] = 0.0
        layer.bias.copy_(drawn.bias * torch.randn_like(layer.bias))
    for parameter in (model.prefix_tokens, model.pos_embed):
        nn.init.normal_(parameter, std=0.5)


def _without(mask: EncoderMask, gone: tuple[int, ...], drawn: Drawn) -> EncoderMask:
    """``mask`` with all queries of some heads pruned."""
    rows = torch.ones(3, drawn.heads, drawn.head_dim)
    rows[0, list(gone)] = 0.0
    qkv = mask.qkv * rows.reshape(-1, 1)
    kept: Tensor = (qkv > 0).any(1).to(qkv.dtype)
    return replace(mask, qkv=qkv, qkv_bias=kept, heads=head_liveness(qkv, mask.proj, drawn.heads))
