"""Operations and parameters of a vision transformer before and after pruning, by closed formula.

Formulas after "Accelerating ViT Inference on FPGA through Static and Dynamic Pruning" (Parikh et al.,
FCCM 2024), per encoder with N tokens of width D, H heads of width D', MLP width M. One MAC is one
product of a matrix product; per frame (B = 1). :mod:`finn_vitprune.complexity.modules` and
:mod:`finn_vitprune.complexity.graph` count the same things over a network,
:mod:`finn_vitprune.complexity.reference` as the paper's own results count them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, log2

from finn_vitprune.block_mask import ATTENTION, BlockMask
from finn_vitprune.models.config import Pooling, ViTConfig
from finn_vitprune.pruning.config import PruneConfig, kept_blocks, kept_neurons

FORMULAS = {
    "MACs of an encoder": "T |Wq| + N (|Wk| + |Wv|) + 2 H T N D' + T |Wproj| + 2 T' D M (3 T' D M with gates)",
    "parameters of an encoder": "|Wq| + |Wk| + |Wv| + |Wproj| + 2 D M + 3 H D' + 2 D + M (3 D M, 2 M with gates)",
    "MACs besides": (
        "patches patch_dim D + D classes (+ N b D of a LayerNorm before the encoders, T b H D' of QK-norm in each) (+ those of an encoder of attention pooling, "
        "T = T' = 1, |Wq| = 0)"
    ),
    "parameters besides": "(patch_dim + 1) D + (D + 1) classes (+ (b + 1) D, (b + 1) H D' an encoder) (+ those of an encoder, |Wq| = 0, less H D')",
    "an encoder in the paper": ("2 N D + 2 N' D + H N D' D (3 alpha + alpha') + 2 H N^2 D' + N (H_all + N + D) + 2 N' D M_all alpha_mlp"),
}
SYMBOLS = (
    "N tokens at the input, T = N and T' = tokens in the MLP (1 in a last encoder before a class token), "
    "H live heads, D' their width, D token width, M kept neurons, |W| kept blocks times b^2. In the paper: "
    "N' tokens after the drop, H_all and M_all before pruning, alpha, alpha', alpha_mlp the kept shares of "
    "QKV and projection blocks in live heads and of neurons; LayerNorm, residual and drop are included."
)


@dataclass(frozen=True)
class KeptBlocks:
    """Kept b x b blocks of W_q, W_k, W_v and W_proj of one encoder, in its live heads."""

    q: int
    k: int
    v: int
    proj: int


@dataclass(frozen=True)
class EncoderLoad:
    """What one encoder works on.

    tokens: N at its input; queries: tokens whose attention and projection result is needed (N, or 1 in
    the last encoder on this hardware before a class token); mlp_tokens: tokens in its MLP. heads: live;
    head_dim: D';
    width: D; neurons: kept; hidden: outputs of the first MLP layer, two for each neuron with a gate. q, kv, proj: kept weights of W_q, of W_k and W_v, of W_proj.
    """

    tokens: int
    queries: int
    mlp_tokens: int
    width: int
    heads: int
    head_dim: int
    neurons: int
    hidden: int
    q: int
    kv: int
    proj: int

    @property
    def linear_macs(self) -> int:
        """Products with weights: Q, K, V, projection, two MLP layers."""
        mlp = self.mlp_tokens * self.width * (self.hidden + self.neurons)
        return self.queries * (self.q + self.proj) + self.tokens * self.kv + mlp

    @property
    def macs(self) -> int:
        """All products; those of QK^T and AV are H N D' a query each."""
        return self.linear_macs + 2 * self.heads * self.queries * self.tokens * self.head_dim

    @property
    def params(self) -> int:
        """Stored weights and biases."""
        weights = self.q + self.kv + self.proj + self.width * (self.hidden + self.neurons)
        return weights + 3 * self.heads * self.head_dim + 2 * self.width + self.hidden


@dataclass(frozen=True)
class Complexity:
    """Operations and parameters of one network; ``*_dense`` are the unpruned network's on the same input.

    macs_pruned: with kept blocks, live heads, kept neurons and the tokens that drops leave. macs: as the hardware
    performs them, which besides runs the last encoder for the class token alone where only that is read. params: weights
    and biases of all matrices. index_bits: one block row number per kept block of a pruned matrix. tokens: per
    encoder, at its input and in its MLP. heads: live, per encoder.
    """

    macs_dense: int
    macs_pruned: int
    macs: int
    params_dense: int
    params: int
    index_bits: int
    tokens: tuple[tuple[int, int], ...]
    heads: tuple[int, ...]

    @property
    def pruning_ratio(self) -> float:
        """How many times fewer products by pruning and token drop."""
        return self.macs_dense / self.macs_pruned

    @property
    def class_token_ratio(self) -> float:
        """How many times fewer of these since the last encoder runs for the class token alone; 1 where it does not."""
        return self.macs_pruned / self.macs

    @property
    def macs_ratio(self) -> float:
        """Both together: how many times fewer products the hardware performs."""
        return self.macs_dense / self.macs

    @property
    def params_ratio(self) -> float:
        """How many times fewer parameters."""
        return self.params_dense / self.params


def operations_text(dense: int, pruned: int, performed: int) -> str:
    """Products of one image before pruning, after it, and as performed, with what saves each: one sentence."""
    text = f"MACs {dense:,} -> {pruned:,} by pruning ({dense / pruned:.2f}x fewer)"
    if performed == pruned:
        return text
    return f"{text} -> {performed:,} with the last encoder for the class token alone ({pruned / performed:.2f}x fewer)"


def encoder_loads(config: ViTConfig, kept: Sequence[KeptBlocks], block: int) -> list[EncoderLoad]:
    """Encoders of shapes ``config`` with ``kept`` blocks of ``block`` x ``block``, every token in each."""
    area = block * block
    return [
        EncoderLoad(
            tokens=tokens,
            queries=tokens,
            mlp_tokens=mlp_tokens,
            width=config.dim,
            heads=shape.heads,
            head_dim=config.head_dim,
            neurons=shape.neurons,
            hidden=shape.neurons * config.hidden_rows,
            q=blocks.q * area,
            kv=(blocks.k + blocks.v) * area,
            proj=blocks.proj * area,
        )
        for shape, (tokens, mlp_tokens), blocks in zip(config.encoders, config.token_counts(), kept, strict=True)
    ]


def all_blocks(config: ViTConfig, block: int = 1) -> list[KeptBlocks]:
    """Every block of every encoder kept."""
    counts = [config.dim * s.heads * config.head_dim // block**2 for s in config.encoders]
    return [KeptBlocks(n, n, n, n) for n in counts]


def unpruned(config: ViTConfig) -> ViTConfig:
    """``config`` without token drops."""
    return config.with_encoders(tuple(replace(s, keep=None) for s in config.encoders))


def dense_loads(config: ViTConfig) -> list[EncoderLoad]:
    """Encoders of the network without any drop, all tokens in every one."""
    return encoder_loads(unpruned(config), all_blocks(config), 1)


def as_performed(config: ViTConfig, loads: Sequence[EncoderLoad]) -> list[EncoderLoad]:
    """The same as this hardware runs it: before a class token, one query and one MLP token come last."""
    if config.pooling is not Pooling.CLASS:
        return list(loads)
    return [*loads[:-1], replace(loads[-1], queries=1, mlp_tokens=1)]


def pooling_load(config: ViTConfig) -> EncoderLoad | None:
    """What attention pooling works on: one query, which no matrix computes, and the tokens that it reads; None where there is none."""
    if (shape := config.pooler) is None:
        return None
    area = config.dim * shape.heads * shape.head_dim
    neurons = shape.neurons
    return EncoderLoad(config.pooled, 1, 1, config.dim, shape.heads, shape.head_dim, neurons, neurons, q=0, kv=2 * area, proj=area)


def pooling_params(config: ViTConfig) -> int:
    """Weights and biases of attention pooling; its query counts as none, as positions do."""
    load = pooling_load(config)
    return 0 if load is None else load.params - load.heads * load.head_dim


def outer_macs(config: ViTConfig) -> int:
    """Patch embedding and classifier."""
    return config.patches * config.patch_dim * config.dim + config.dim * config.classes


def outer_params(config: ViTConfig) -> int:
    """Weights and biases of patch embedding and classifier."""
    return (config.patch_dim + 1) * config.dim + (config.dim + 1) * config.classes


def macs_of(config: ViTConfig, loads: Sequence[EncoderLoad], block: int) -> int:
    """Products of one frame; a LayerNorm before the encoders, and QK-norm, have their gamma in the blocks on the diagonal."""
    entry = config.tokens * block * config.dim if config.norm_pre else 0
    queries = sum(e.queries * block * e.heads * e.head_dim for e in loads) if config.qk_norm else 0
    pooling = pooling_load(config)
    return outer_macs(config) + entry + queries + sum(e.macs for e in loads) + (0 if pooling is None else pooling.macs)


def params_of(config: ViTConfig, loads: Sequence[EncoderLoad], block: int) -> int:
    """Weights and biases of all matrices."""
    entry = (block + 1) * config.dim if config.norm_pre else 0
    queries = sum((block + 1) * e.heads * e.head_dim for e in loads) if config.qk_norm else 0
    return outer_params(config) + entry + queries + sum(e.params for e in loads) + pooling_params(config)


def by_formula(dense: ViTConfig, small: ViTConfig, kept: Sequence[KeptBlocks], block: int) -> Complexity:
    """The closed formulas.

    Args:
        dense: the shapes before pruning; small: after (live heads, kept neurons, token drops).
        kept: kept blocks per encoder, ``block`` wide and high.
    """
    before, after = dense_loads(dense), encoder_loads(small, kept, block)
    rows = small.dim // block
    index = sum(
        (e.q + e.k + e.v) * index_width(rows) + e.proj * index_width(s.heads * small.head_dim // block)
        for e, s in zip(kept, small.encoders, strict=True)
    )
    return Complexity(
        macs_dense=macs_of(dense, before, block),
        macs_pruned=macs_of(small, after, block),
        macs=macs_of(small, as_performed(small, after), block),
        params_dense=params_of(dense, before, block),
        params=params_of(small, after, block),
        index_bits=index,
        tokens=tuple(small.token_counts()),
        heads=tuple(s.heads for s in small.encoders),
    )


def index_width(rows: int) -> int:
    """Bits of a block row number."""
    return ceil(log2(rows)) if rows > 1 else 0


def planned(config: ViTConfig, prune: PruneConfig, heads_removed: Sequence[int] = ()) -> Complexity:
    """What pruning ``config`` (dense shapes, its token drops set) at ``prune`` will give.

    ``heads_removed`` are dead heads per encoder (none when empty). A matrix keeps ``int(r n)`` of all its
    n blocks, and these lie in live heads as far as they fit there.
    """
    small = without_heads(config, heads_removed)
    small = small.with_encoders(
        tuple(replace(s, neurons=kept_neurons(prune.neuron_keep, s.neurons, prune.block_size)) for s in small.encoders)
    )
    counts = [
        min(kept_blocks(prune.block_keep, whole.q), live.q)
        for whole, live in zip(all_blocks(config, prune.block_size), all_blocks(small, prune.block_size))
    ]
    return by_formula(config, small, [KeptBlocks(n, n, n, n) for n in counts], prune.block_size)


def without_heads(config: ViTConfig, removed: Sequence[int]) -> ViTConfig:
    """``config`` with so many heads fewer in each encoder; unchanged when ``removed`` is empty."""
    if not removed:
        return config
    pairs = zip(config.encoders, removed, strict=True)
    return config.with_encoders(tuple(replace(s, heads=s.heads - n) for s, n in pairs))


def counted(dense: ViTConfig, small: ViTConfig, masks: dict[str, BlockMask]) -> Complexity:
    """The closed formulas at the kept blocks of a network cut small.

    Args:
        dense: the shapes before pruning; small: after (heads, neurons, token drops).
        masks: kept blocks of the ``small`` matrices, keys ``blocks.<i>.<q|k|v|proj>``, of one block size.
    """
    kept = [KeptBlocks(*(masks[f"blocks.{i}.{m}"].kept for m in ATTENTION)) for i in range(len(small.encoders))]
    return by_formula(dense, small, kept, next(iter(masks.values())).block)
