"""Attention pooling: a learned query attends to the tokens, and an MLP follows (SigLIP, timm's ``global_pool='map'``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finn_vitprune.models.config import LOGIT_BITS, PoolerShape, ViTConfig
from finn_vitprune.models.layers import IntLayerNorm, PrunedLinear
from finn_vitprune.models.quantizers import ActQuant, ActScale, ResidualQuant
from finn_vitprune.numerics import EXP_MAX


class AttentionPool(nn.Module):
    """``y = proj(attention(query, W_k x, W_v x))``, then ``y + mlp(norm(y))``; 1/sqrt(D') is part of the query.

    ``shape`` says how many heads H, and D' channels of each: timm's Perception Encoder pools with 8 heads, whatever its encoders have.
    The query ``[1, 1, H D']`` is the same for every image: no matrix computes it. y is an INT16 residual stream with a scale of
    its own. Nothing here is pruned.
    """

    def __init__(self, config: ViTConfig, shape: PoolerShape, mlp: nn.Module, scale: ActScale) -> None:
        super().__init__()
        self.heads, self.head_dim = shape.heads, shape.head_dim
        width = shape.heads * shape.head_dim
        self.query = nn.Parameter(torch.randn(1, 1, width) * shape.head_dim**-0.5)
        self.kv = PrunedLinear(config.dim, 2 * width, config.weight_bits)
        self.q_quant, self.k_quant, self.v_quant = (ActQuant(config.act_bits) for _ in range(3))
        self.logit_quant = ActQuant(LOGIT_BITS)
        self.exp_quant = ActQuant(8, signed=False, scale=ActScale(1 / EXP_MAX, learned=False))
        self.out_quant = ActQuant(config.act_bits)
        self.proj = PrunedLinear(width, config.dim, config.weight_bits)
        self.proj_quant = ResidualQuant(scale)
        self.norm = IntLayerNorm(config.dim, config.eps, config.act_bits, scale, config.norm)
        self.mlp = mlp
        self.add_quant = ResidualQuant(scale)

    @property
    def multiplied(self) -> tuple[ActQuant, ActQuant]:
        """The quantisers of the query and of the keys."""
        return self.q_quant, self.k_quant

    def forward(self, x: Tensor) -> Tensor:
        """x ``[B, N, D]`` -> ``[B, 1, D]`` on the grid of the pooling's residual stream."""
        heads = (len(x), x.shape[1], self.heads, self.head_dim)
        k, v = self.kv(x).split(self.heads * self.head_dim, dim=-1)
        q = self.q_quant(self.query).reshape(1, 1, *heads[2:]).transpose(1, 2)
        k = self.k_quant(k).reshape(heads).permute(0, 2, 3, 1)
        v = self.v_quant(v).reshape(heads).transpose(1, 2)
        logits = self.logit_quant(q @ k)
        e = self.exp_quant(torch.exp(logits - logits.amax(-1, keepdim=True)))
        out = self.out_quant((e @ v) / e.sum(-1, keepdim=True))
        out = out.transpose(1, 2).reshape(len(x), 1, self.heads * self.head_dim)
        y = self.proj_quant(self.proj(out))
        return self.add_quant(y + self.mlp(self.norm(y), None))
