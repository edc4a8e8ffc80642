"""Operations and parameters of a vision transformer before and after pruning, by formula and by count.

Formulas after "Accelerating ViT Inference on FPGA through Static and Dynamic Pruning" (Parikh et al.,
FCCM 2024), per encoder with N tokens of width D, H heads of width D', MLP width M. One MAC is one
product of a matrix product; per frame (B = 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

from finn_vitprune.models.config import EncoderShape, ViTConfig
from finn_vitprune.pruning.config import PruneConfig, kept_blocks, kept_neurons


@dataclass(frozen=True)
class EncoderLoad:
    """What one encoder works on.

    tokens: N at its input; queries: tokens whose attention, projection and MLP result is needed
    (N, or 1 in the last encoder on this hardware); mlp_tokens: tokens in its MLP.
    heads: live; head_dim; width: D; neurons: kept. q, kv, proj: kept weights of W_q, of W_k and W_v, of
    W_proj (D H D' each when dense).
    """

    tokens: int
    queries: int
    mlp_tokens: int
    width: int
    heads: int
    head_dim: int
    neurons: int
    q: int
    kv: int
    proj: int

    @property
    def macs(self) -> int:
        """q, k, v: tokens x kept weights; QK^T and AV: H N D' a query each; projection; two MLP layers."""
        attention = 2 * self.heads * self.queries * self.tokens * self.head_dim
        mlp = 2 * self.mlp_tokens * self.width * self.neurons
        return self.queries * self.q + self.tokens * self.kv + attention + self.queries * self.proj + mlp

    @property
    def weights(self) -> int:
        """Stored weights."""
        return self.q + self.kv + self.proj + 2 * self.width * self.neurons

    @property
    def biases(self) -> int:
        """Stored biases."""
        return 3 * self.heads * self.head_dim + 2 * self.width + self.neurons


@dataclass(frozen=True)
class Complexity:
    """Operations and parameters of one network; ``*_dense`` are the unpruned network's on the same input.

    macs: as the hardware performs them (kept blocks, live heads, kept neurons and tokens, the last
    encoder for the class token). macs_dense: every token in every encoder. params: weights and biases
    of all matrices. index_bits: one block row number per kept block of a pruned matrix.
    """

    macs_dense: int
    macs: int
    params_dense: int
    params: int
    index_bits: int
    tokens: tuple[tuple[int, int], ...]
    heads: tuple[int, ...]

    @property
    def macs_ratio(self) -> float:
        """How many times fewer products."""
        return self.macs_dense / self.macs

    @property
    def params_ratio(self) -> float:
        """How many times fewer parameters."""
        return self.params_dense / self.params


def attention_macs_dense(tokens: int, width: int, heads: int, head_dim: int, batch: int = 1) -> int:
    """Attention part of an unpruned encoder, the paper's formula.

    ``4 B N D + 4 B H N D D' + 2 B H N^2 D'``: LayerNorm and residual, four matrices, QK^T and AV.
    """
    b, n, d, h = batch, tokens, width, heads
    return 4 * b * n * d + 4 * b * h * n * d * head_dim + 2 * b * h * n * n * head_dim


def encoder_macs_pruned(
    tokens: int,
    kept_tokens: int,
    width: int,
    heads: int,
    kept_heads: int,
    head_dim: int,
    mlp_width: int,
    alpha: float,
    alpha_proj: float,
    alpha_mlp: float,
    batch: int = 1,
) -> float:
    """A pruned encoder, the paper's formula (``kept_tokens`` reach the MLP, ``kept_heads`` live).

    ``2BND + 2B N' D + B H' N D' D (3 alpha + alpha') + 2B H' N^2 D' + BN(H + N + D) + 2B N' D M alpha_mlp``;
    its third-last term is the token drop itself.
    """
    b, n, d, h = batch, tokens, width, kept_heads
    return (
        2 * b * n * d
        + 2 * b * kept_tokens * d
        + b * h * n * head_dim * d * (3 * alpha + alpha_proj)
        + 2 * b * h * n * n * head_dim
        + b * n * (heads + n + d)
        + 2 * b * kept_tokens * d * mlp_width * alpha_mlp
    )


def dense_loads(config: ViTConfig) -> list[EncoderLoad]:
    """Encoders of the network without any drop, all tokens in every one."""
    n = config.tokens
    return [_load(config, s, n, n, n, 1.0) for s in config.encoders]


def planned_loads(config: ViTConfig, prune: PruneConfig) -> list[EncoderLoad]:
    """Encoders at the keep rates of ``prune`` with all heads alive, as this hardware runs them."""
    loads = []
    for shape, (tokens, mlp_tokens) in zip(config.encoders, config.token_counts(), strict=True):
        width = shape.heads * config.head_dim
        blocks = (config.dim // prune.block_size) * (width // prune.block_size)
        kept = kept_blocks(prune.block_keep, blocks) * prune.block_size**2
        neurons = kept_neurons(prune.neuron_keep, shape.neurons, prune.block_size)
        last = len(loads) == len(config.encoders) - 1
        loads.append(
            EncoderLoad(
                tokens,
                1 if last else tokens,
                1 if last else mlp_tokens,
                config.dim,
                shape.heads,
                config.head_dim,
                neurons,
                kept,
                2 * kept,
                kept,
            )
        )
    return loads


def _load(
    config: ViTConfig, shape: EncoderShape, tokens: int, queries: int, mlp_tokens: int, share: float
) -> EncoderLoad:
    full = round(config.dim * shape.heads * config.head_dim * share)
    return EncoderLoad(
        tokens,
        queries,
        mlp_tokens,
        config.dim,
        shape.heads,
        config.head_dim,
        shape.neurons,
        full,
        2 * full,
        full,
    )


def outer_macs(config: ViTConfig) -> int:
    """Patch embedding and classifier."""
    return config.patches * config.patch_dim * config.dim + config.dim * config.classes


def outer_params(config: ViTConfig) -> int:
    """Weights and biases of patch embedding and classifier."""
    return (config.patch_dim + 1) * config.dim + (config.dim + 1) * config.classes


def macs_of(config: ViTConfig, loads: Sequence[EncoderLoad]) -> int:
    """Products of one frame."""
    return outer_macs(config) + sum(e.macs for e in loads)


def params_of(config: ViTConfig, loads: Sequence[EncoderLoad]) -> int:
    """Weights and biases of all matrices."""
    return outer_params(config) + sum(e.weights + e.biases for e in loads)


def planned(config: ViTConfig, prune: PruneConfig) -> Complexity:
    """What pruning ``config`` (dense shapes, its token drops set) at ``prune`` will give, heads all alive."""
    loads = planned_loads(config, prune)
    index = sum(
        _index_bits((e.q + e.kv + e.proj) // prune.block_size**2, config.dim // prune.block_size)
        for e in loads
    )
    return _complexity(config, config, loads, index)


def counted(dense: ViTConfig, small: ViTConfig, maps: dict[str, np.ndarray], block: int) -> Complexity:
    """Count over a network cut small.

    Args:
        dense: the shapes before pruning; small: after (heads, neurons, token drops).
        maps: kept blocks of the ``small`` matrices, keys ``blocks.<i>.<q|k|v|proj>``, boolean
            ``[block rows, block columns]`` of W (inputs by outputs).
    """
    index = sum(_index_bits(int(m.sum()), len(m)) for m in maps.values())
    return _complexity(dense, small, counted_loads(small, maps, block), index)


def counted_loads(small: ViTConfig, maps: dict[str, np.ndarray], block: int) -> list[EncoderLoad]:
    """Encoders of a network cut small, from its kept-block maps, as this hardware runs them."""
    loads = []
    for i, (shape, (tokens, mlp_tokens)) in enumerate(zip(small.encoders, small.token_counts(), strict=True)):
        kept = {m: int(maps[f"blocks.{i}.{m}"].sum()) * block**2 for m in ("q", "k", "v", "proj")}
        last = i == len(small.encoders) - 1
        loads.append(
            EncoderLoad(
                tokens,
                1 if last else tokens,
                1 if last else mlp_tokens,
                small.dim,
                shape.heads,
                small.head_dim,
                shape.neurons,
                kept["q"],
                kept["k"] + kept["v"],
                kept["proj"],
            )
        )
    return loads


def _index_bits(blocks: int, rows: int) -> int:
    return blocks * (ceil(log2(rows)) if rows > 1 else 0)


def _complexity(dense: ViTConfig, small: ViTConfig, loads: list[EncoderLoad], index_bits: int) -> Complexity:
    before = dense_loads(dense)
    return Complexity(
        macs_dense=macs_of(dense, before),
        macs=macs_of(small, loads),
        params_dense=params_of(dense, before),
        params=params_of(small, loads),
        index_bits=index_bits,
        tokens=tuple(small.token_counts()),
        heads=tuple(e.heads for e in loads),
    )
