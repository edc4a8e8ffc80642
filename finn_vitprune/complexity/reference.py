"""Counting as the published results of the reference do (Parikh et al., FCCM 2024, DeiT-Small).

What its table includes, found from its figures (dense: 21.975 M parameters, 4.2701 GMAC; met to the last
printed digit):

- the distilled network's 198 tokens (two prefix tokens) with one classifier, on the class token;
- products of the linear layers and the patch embedding alone: QK^T and AV are left out, zero blocks of
  attention count as dense, dead heads do not; MLP and all later encoders run on the tokens after a drop;
- four operations an element for LayerNorm (two an encoder, one at the end), so that it is not quite a
  count of products: 0.18 % of the dense figure;
- parameters of linear layers, patch embedding and LayerNorm (2 D each), but no prefix tokens and no
  position embedding;
- every token in every encoder, in the last one too.

Kept neurons are int(r M). At r = .7 the published parameters fit one neuron more in each encoder (1,076,
``M - int((1 - r) M)``), to the last digit: counted with int(r M) they are 0.05 % smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from finn_vitprune.complexity.formulas import (
    Complexity,
    all_blocks,
    encoder_loads,
    outer_macs,
    outer_params,
    pooling_load,
    pooling_params,
    unpruned,
    without_heads,
)
from finn_vitprune.complexity.modules import tokens_seen
from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.layers import DiagonalLinear, IntLayerNorm, PrunedLinear
from finn_vitprune.models.vit import PrunedViT

FORMULAS = {
    "MACs of an encoder": "4 N H D' D + 2 N' D M + 4 (N + N') D",
    "parameters of an encoder": "4 H D' D + 2 D M + 3 H D' + 2 D + M + 4 D",
    "MACs besides": "patches patch_dim D + D classes + 4 N_last D",
    "parameters besides": "(patch_dim + 1) D + (D + 1) classes + 2 D",
}
SYMBOLS = (
    "N tokens at the input, N' in the MLP, N_last after the last encoder, H live heads, D' their width, "
    "D token width, M kept neurons. QK^T, AV are left out, zero blocks count, LayerNorm is 4 D a token."
)
PREFIX = 2
"""Class token and distillation token."""
NORM_OPERATIONS = 4
"""Of LayerNorm, an element."""


def distilled(config: ViTConfig) -> ViTConfig:
    """``config`` with the reference's prefix tokens (set before token drops are), of which it ranks the distillation token."""
    return replace(config, prefix=PREFIX, ranked_prefix=1)


def kept_neurons(rate: str, neurons: int) -> int:
    """int(r M), at least one."""
    return max(1, int(Fraction(rate) * neurons))


def planned(config: ViTConfig, neuron_keep: str, heads_removed: Sequence[int] = ()) -> Complexity:
    """By formula: ``config`` (dense shapes, its token drops set) with fewer neurons and heads."""
    small = without_heads(config, heads_removed)
    shapes = tuple(replace(s, neurons=kept_neurons(neuron_keep, s.neurons)) for s in small.encoders)
    return by_formula(config, small.with_encoders(shapes))


def by_formula(dense: ViTConfig, small: ViTConfig) -> Complexity:
    """Figures of ``small`` (live heads, kept neurons, token drops set) and of ``dense`` without drops.

    Raises:
        UserError: queries and keys have norms, which the published count knows nothing of.
    """
    _check(dense)
    macs_dense, params_dense = _totals(unpruned(dense))
    macs, params = _totals(small)
    return _complexity(small, macs_dense, macs, params_dense, params)


def by_count(dense: PrunedViT, small: PrunedViT) -> Complexity:
    """The same over the modules of two networks, on the tokens that pass through them in one frame.

    Raises:
        UserError: as :func:`by_formula`.
    """
    _check(dense.config)
    (macs_dense, params_dense), (macs, params) = _walk(dense), _walk(small)
    return _complexity(small.config, macs_dense, macs, params_dense, params)


def _check(config: ViTConfig) -> None:
    if config.qk_norm is not None:
        raise UserError("the reference's way of counting has no norms of queries and keys: count without it")


def _complexity(small: ViTConfig, macs_dense: int, macs: int, params_dense: int, params: int) -> Complexity:
    tokens, heads = tuple(small.token_counts()), tuple(s.heads for s in small.encoders)
    return Complexity(macs_dense, macs, macs, params_dense, params, 0, tokens, heads)


def _totals(config: ViTConfig) -> tuple[int, int]:
    """Operations and parameters."""
    loads = encoder_loads(config, all_blocks(config), 1)
    entry, final = int(config.norm_pre), int(config.final_norm)
    normed = entry * config.tokens + final * loads[-1].mlp_tokens + sum(e.tokens + e.mlp_tokens for e in loads)
    macs = outer_macs(config) + NORM_OPERATIONS * config.dim * normed + sum(e.linear_macs for e in loads)
    params = outer_params(config) + (entry + final) * 2 * config.dim + sum(e.params + 4 * e.width for e in loads)
    if (pooling := pooling_load(config)) is not None:
        macs += pooling.linear_macs + NORM_OPERATIONS * config.dim
        params += pooling_params(config) + 2 * config.dim
    return macs, params


def _walk(model: PrunedViT) -> tuple[int, int]:
    """Operations and parameters, module by module."""
    seen = tokens_seen(model)
    seen["norm"] = seen[f"blocks.{len(model.blocks) - 1}.mlp.fc2"]  # every token, not the class token alone
    macs = params = 0
    for name, module in model.named_modules():
        if isinstance(module, DiagonalLinear):
            continue  # gamma and beta of a LayerNorm, which counts them
        if isinstance(module, PrunedLinear):
            macs += seen[name] * module.weight.numel()
            params += module.weight.numel() + module.bias.numel()
        elif isinstance(module, IntLayerNorm):
            macs += NORM_OPERATIONS * seen[name] * module.dim
            params += 2 * module.dim
    return macs, params
