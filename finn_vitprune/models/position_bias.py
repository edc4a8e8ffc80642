"""Relative position bias: a number for each head, query and key, added to their product before softmax."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finn_vitprune import numerics
from finn_vitprune.models.quantizers import ActQuant, ActScale


class BiasScale(ActScale):
    """The scale of codes of a bias: that of products of queries and keys times 2^t, t as :func:`numerics.bias_shift` says, until :meth:`fix`
    makes it a constant.
    """

    def __init__(self, table: nn.Parameter, queries: ActQuant, keys: ActQuant) -> None:
        super().__init__(learned=False)
        self._of: list[tuple[nn.Parameter, ActQuant, ActQuant]] = [(table, queries, keys)]

    @property
    def value(self) -> Tensor:
        """The scale, a scalar tensor."""
        if not self._of:
            return self.fixed
        table, queries, keys = self._of[0]
        product = (queries.scale.value * keys.scale.value).detach()
        return product * 2.0 ** numerics.bias_shift(float(table.detach().abs().max()), float(product))

    def fix(self, value: float) -> None:
        """Turn the scale into the constant ``value`` (float32)."""
        self._of.clear()
        super().fix(value)


class PositionBias(nn.Module):
    """A table ``[H, N, N]`` of BIAS_BITS codes, added to products of queries and keys ``[B, H, N, N]``."""

    def __init__(self, heads: int, tokens: int, queries: ActQuant, keys: ActQuant) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(heads, tokens, tokens))
        self.quant = ActQuant(numerics.BIAS_BITS, scale=BiasScale(self.table, queries, keys))

    def forward(self, products: Tensor) -> Tensor:
        return products + self.quant(self.table)
