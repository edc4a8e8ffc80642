"""Fixes every scale of a trained network to what the hardware multiplies with.

Each requantisation ratio becomes ``M 2^-S`` (one S per layer, M < 2^17) and is written back: a weight
row keeps its codes and takes the snapped scale, biases move to the accumulator grid, logit and
LayerNorm scales take their snapped values. From then on the fixed-point result is the real value.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from finn_vitprune import numerics
from finn_vitprune.block_mask import BlockMask, attention_masks
from finn_vitprune.errors import UserError
from finn_vitprune.models.config import RESIDUAL_BITS
from finn_vitprune.models.gate import Gate
from finn_vitprune.models.layers import IntLayerNorm, PrunedLinear, snap_scale
from finn_vitprune.models.pooling import AttentionPool
from finn_vitprune.models.quantizers import ActQuant
from finn_vitprune.models.vit import Attention, Mlp, PrunedViT

TIE_DISTANCE = 1e-3
"""No entry of an exp table lies nearer than this to a rounding tie: float exp gives the same table."""


@torch.no_grad()
def freeze(model: PrunedViT) -> PrunedViT:
    """A copy of an (already small) network in evaluation mode, with every scale fixed and snapped."""
    frozen = PrunedViT(model.config)
    frozen.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    frozen.eval()
    residual, embedded = frozen.residual_scale.number, frozen.embed_scale.number
    for module in frozen.modules():
        if isinstance(module, IntLayerNorm):
            _, mult, shift = module.constants()
            module.quant.scale.fix(2.0**shift / mult)
    _snap_head(frozen)
    for block in frozen.blocks:
        if block.mlp.gate is not None:
            fix_gate_scale(block.mlp.act_quant, block.mlp.gate)
    for quantizer in frozen.quantizers().values():
        quantizer.scale.fix(quantizer.scale.number)
    _freeze_linear("patch_embed", frozen.patch_embed, 1.0, np.full(model.config.dim, embedded))
    if model.config.norm_pre:
        entry = frozen.norm_pre
        _freeze_linear("norm_pre", entry.scale, entry.norm.quant.scale.number, np.full(model.config.dim, residual))
    for i, block in enumerate(frozen.blocks):
        attn, mlp = block.attn, block.mlp
        fix_logit_scale(attn)
        _positions_to_grid(attn)
        width = attn.heads * attn.head_dim
        qkv = [np.full(width, q.scale.number) for q in attn.projected]
        out = np.full(model.config.dim, residual)
        place = f"blocks.{i}"
        _freeze_linear(f"{place}.attn.qkv", attn.qkv, block.norm1.quant.scale.number, np.concatenate(qkv))
        if attn.qk_norm is not None:
            queries = np.full(width, attn.q_quant.scale.number)
            _freeze_linear(f"{place}.attn.qk_norm.scale", attn.qk_norm.scale, attn.qk_norm.q_norm.quant.scale.number, queries)
        _freeze_linear(f"{place}.attn.proj", attn.proj, attn.out_quant.scale.number, out)
        _freeze_mlp(place, mlp, block.norm2.quant.scale.number, out)
    if model.config.pooler is not None:
        _freeze_pool(frozen)
    _freeze_linear("head", frozen.head, frozen.head_quant.scale.number, None)
    for parameter in (frozen.prefix_tokens, frozen.pos_embed):
        parameter.copy_(to_grid(parameter, embedded, RESIDUAL_BITS))
    return frozen


def _positions_to_grid(attn: Attention) -> None:
    """Angles, and a position bias, that the hardware's codes stand for."""
    if attn.rotary:
        attn.angles.to_grid()
    if attn.bias is not None:
        attn.bias.table.copy_(to_grid(attn.bias.table, attn.bias.quant.scale.number, numerics.BIAS_BITS))


def _freeze_mlp(place: str, mlp: Mlp, s_in: float, s_out: np.ndarray) -> None:
    columns = (mlp.pre_quant,) if mlp.gate is None else (mlp.pre_quant, mlp.gate.value_quant)
    hidden = np.tile([quant.scale.number for quant in columns], mlp.fc1.out_features // mlp.rows)
    _freeze_linear(f"{place}.mlp.fc1", mlp.fc1, s_in, hidden)
    _freeze_linear(f"{place}.mlp.fc2", mlp.fc2, mlp.act_quant.scale.number, s_out)


def _freeze_pool(frozen: PrunedViT) -> None:
    """The layers of attention pooling, and its query as codes."""
    pool = frozen.attn_pool
    fix_logit_scale(pool)
    width, out = pool.heads * pool.head_dim, np.full(frozen.config.dim, frozen.pool_scale.number)
    kv = np.repeat([pool.k_quant.scale.number, pool.v_quant.scale.number], width)
    _freeze_linear("attn_pool.kv", pool.kv, frozen.norm.quant.scale.number, kv)
    _freeze_linear("attn_pool.proj", pool.proj, pool.out_quant.scale.number, out)
    _freeze_mlp("attn_pool", cast("Mlp", pool.mlp), pool.norm.quant.scale.number, out)
    pool.query.copy_(to_grid(pool.query, pool.q_quant.scale.number, frozen.config.act_bits))


def _snap_head(frozen: PrunedViT) -> None:
    """Fix the scale of what the classifier reads, where that is requantised codes and not those of a LayerNorm."""
    c, quant = frozen.config, frozen.head_quant
    if c.pools_mean and not c.norm_after_pooling:
        frozen.pool.snap(frozen.norm.quant.scale.number if c.final_norm else frozen.residual_scale.number)
    elif c.pooler is not None:
        snap_scale(quant, frozen.pool_scale.number)
    elif not c.final_norm:
        snap_scale(quant, frozen.residual_scale.number)


def to_grid(values: Tensor, scale: float, bits: int) -> Tensor:
    """The nearest multiples of ``scale`` with signed codes of ``bits`` bits."""
    lo, hi = numerics.int_range(bits, signed=True)
    return ((values.double() / scale).round().clamp(lo, hi) * scale).to(values.dtype)


def fix_logit_scale(attn: Attention | AttentionPool) -> None:
    """Snap the logit scale so that s_q s_k / s_l = M 2^-S and its exp table has no entry near a tie."""
    q, k = attn.multiplied
    product = q.scale.number * k.scale.number
    mult, shift = numerics.snap_ratio(product / attn.logit_quant.scale.number)
    best_scale, best_distance = 0.0, -1.0
    for step in range(64):
        candidate = int(mult) + (step + 1) // 2 * (-1 if step % 2 else 1)
        if not 0 < candidate < 1 << numerics.MULT_BITS:
            continue
        scale = float(np.float32(product * 2.0**shift / candidate))
        distance = exp_tie_distance(scale)
        if distance > best_distance:
            best_scale, best_distance = scale, distance
        if distance > TIE_DISTANCE:
            break
    attn.logit_quant.scale.fix(best_scale)


def fix_gate_scale(results: ActQuant, gate: Gate) -> None:
    """Move the scale of gated results by less than 1 % so that no factor is near a tie: any float arithmetic rounds it alike.

    One code of a factor is more than one code of a result, where the value is large.
    """
    found = [float(np.float32(results.scale.number * (1 + step * 2.0**-13))) for step in range(64)]
    results.scale.fix(next((scale for scale in found if gate.tie_distance(scale) > TIE_DISTANCE), max(found, key=gate.tie_distance)))


def exp_tie_distance(scale: float) -> float:
    """Smallest distance of ``255 exp(-d scale)``, d in 0..255, from a rounding tie."""
    values = numerics.EXP_MAX * np.exp(-np.arange(256) * scale)
    return float(np.abs(values - np.floor(values) - 0.5).min())


def _freeze_linear(name: str, layer: PrunedLinear, s_in: float, s_out: np.ndarray | None) -> None:
    """Fix the row scales of a layer; ``s_out`` per row, None where raw accumulators leave (classifier).

    Raises:
        UserError: the weights of its rows differ so much in size that one shift does not serve all of them.
    """
    quantised = layer.weight_quant(layer.weight)
    scale = quantised.scale.double()
    codes = (quantised.value.double() / scale).round()
    rows = scale.expand(layer.out_features, 1).squeeze(1).numpy().copy()
    if s_out is not None:
        try:
            mult, shift = numerics.snap_ratio(s_in * rows / s_out)
        except ValueError as error:
            raise UserError(f"layer {name}: {error}; prune output channels of tiny weights, or train on") from error
        rows = mult * 2.0**-shift * s_out / s_in
    rows = rows.astype(np.float32)
    per_row = torch.from_numpy(rows).unsqueeze(1)
    layer.weight.copy_((codes * per_row.double()).float())
    layer.weight_scale.hold(per_row if s_out is not None else per_row[0])
    grid = s_in * torch.from_numpy(rows).double()
    layer.bias.copy_(((layer.bias.double() / grid).round() * grid).float())


@torch.no_grad()
def weight_codes(layer: PrunedLinear) -> np.ndarray:
    """Integer codes of a layer's weights, ``[out, in]`` int64."""
    quantised = layer.weight_quant(layer.weight)
    return (quantised.value.double() / quantised.scale.double()).round().long().numpy()


def kept_block_masks(frozen: PrunedViT, block: int) -> dict[str, BlockMask]:
    """Non-zero ``block`` x ``block`` blocks of W_q, W_k, W_v, W_proj of every encoder, inputs by outputs."""
    masks: dict[str, BlockMask] = {}
    for i, encoder in enumerate(frozen.blocks):
        masks |= attention_masks(i, weight_codes(encoder.attn.qkv), weight_codes(encoder.attn.proj), block)
    return masks
