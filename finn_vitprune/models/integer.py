"""The integer arithmetic of :mod:`finn_vitprune.numerics` on torch tensors, for training on any device.

Equal to it in every bit (``tests/training/test_integer.py``); NumPy remains the definition.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from finn_vitprune import numerics
from finn_vitprune.numerics import LN_MANTISSA_BITS, SCORE_BITS, int_range


def shift_round_half_even(value: Tensor, shift: Tensor | int) -> Tensor:
    """``value * 2**-shift`` (int64) rounded to the nearest integer, ties to even."""
    floor = value >> shift
    twice = (value - (floor << shift)) << 1
    one = torch.as_tensor(1, device=value.device) << shift
    odd = (floor & 1).bool()
    return floor + ((twice > one) | ((twice == one) & odd & (one > 1))).long()


@cache
def _seeds(device: torch.device) -> Tensor:
    return torch.from_numpy(numerics.layernorm_seed_table()).to(device)


def reciprocal_sqrt(v: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`numerics.reciprocal_sqrt` on int64: ``(r, e)`` with 1 / sqrt(v) = r 2^-(24 + e)."""
    e = (torch.frexp(v.double())[1].long() - 1) >> 1
    up = (LN_MANTISSA_BITS - 2 * e).clamp(min=0)
    down = (2 * e - LN_MANTISSA_BITS).clamp(min=0)
    m = (v << up) >> down
    r0 = _seeds(v.device)[m >> 16]
    r1 = (r0 * ((3 << 22) - ((m * r0 * r0) >> 24))) >> 17
    r2 = (r1 * ((3 << 24) - ((m * ((r1 * r1) >> 12)) >> 22))) >> 19
    return r2, e


def layernorm(x: Tensor, eps: int, mult: int, shift: int, bits: int, centred: bool = True) -> Tensor:
    """:func:`numerics.layernorm` on int64 codes ``[..., D]``."""
    d = x.shape[-1]
    s1 = x.sum(-1, keepdim=True) if centred else torch.zeros((), dtype=torch.int64, device=x.device)
    s2 = (x * x).sum(-1, keepdim=True)
    r, e = reciprocal_sqrt(d * s2 - s1 * s1 + eps)
    lo, hi = int_range(bits, signed=True)
    scaled = (d * x - s1) * ((r * mult) >> 16)
    return shift_round_half_even(scaled, 8 + e + shift).clamp(lo, hi)


def rank_tokens(scores: Tensor, k: int, prefix: int = 1) -> Tensor:
    """:func:`numerics.rank_tokens`: boolean ``[B, N]``, prefix tokens and the k best others, lower index wins ties."""
    order = torch.sort(scores[:, prefix:], dim=1, descending=True, stable=True).indices[:, :k] + prefix
    keep = torch.zeros_like(scores, dtype=torch.bool)
    keep[:, :prefix] = True
    return keep.scatter(1, order, torch.ones_like(order, dtype=torch.bool))


def token_drop(x: Tensor, scores: Tensor, k: int, mult: int, shift: int, bits: int = 16, prefix: int = 1) -> Tensor:
    """:func:`numerics.token_drop` on int64 codes ``[B, N, D]`` and scores ``[B, N]``."""
    batch, tokens, dim = x.shape
    if k == tokens - prefix:
        return x
    keep = rank_tokens(scores, k, prefix)
    weight = scores.masked_fill(keep, 0).unsqueeze(1)
    lo, hi = int_range(bits, signed=True)
    total = (weight.transpose(1, 2) * x).sum(1, keepdim=True)
    fused = shift_round_half_even(total * mult, SCORE_BITS + shift).clamp(lo, hi)
    return torch.cat([x[keep].view(batch, prefix + k, dim), fused], dim=1)
