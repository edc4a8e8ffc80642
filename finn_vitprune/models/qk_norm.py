"""QK-norm: queries and keys are normalised head by head before they are multiplied."""

from __future__ import annotations

from torch import Tensor, nn

from finn_vitprune.models.config import ENTRY_BITS, RESIDUAL_BITS, NormKind, ViTConfig
from finn_vitprune.models.layers import DiagonalLinear, IntLayerNorm
from finn_vitprune.models.quantizers import ActQuant, ActScale, RelativeScale, ResidualQuant


class QueryKeyNorm(nn.Module):
    """Queries ``scale(norm(q))`` and keys ``norm(k)``, over the D' channels of each head.

    With gamma and beta of both norms, q' k' = sum_c (g_q y_q + b_q)(g_k y_k + b_k). What b_k adds is the same for all keys of a query,
    which softmax does not see, and g_k is a factor of the queries as well. So these alone have a scale, g_q g_k / sqrt(D'), and an
    offset, b_q g_k / sqrt(D'), by channel. Queries and keys before the norms are INT16, each with a scale of its own; values,
    which leave the same matrix, are INT16 codes of which ``v_quant`` takes the upper bits.
    """

    def __init__(self, config: ViTConfig, kind: NormKind, heads: int, v_quant: ActQuant) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, config.head_dim
        self.q_scale, self.k_scale = (ActScale(2.0**-10, learned=False) for _ in range(2))
        self.q_wide, self.k_wide = ResidualQuant(self.q_scale), ResidualQuant(self.k_scale)
        self.v_wide = ActQuant(RESIDUAL_BITS, scale=RelativeScale(v_quant.scale, 2.0 ** (config.act_bits - RESIDUAL_BITS)))
        self.q_norm = IntLayerNorm(config.head_dim, config.eps, ENTRY_BITS, self.q_scale, kind)
        self.k_norm = IntLayerNorm(config.head_dim, config.eps, config.act_bits, self.k_scale, kind)
        self.scale = DiagonalLinear(heads * config.head_dim, ENTRY_BITS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k, v ``[B, N, H D']`` -> queries of that shape, keys ``[B, N, H, D']`` on the grid of their norm, values ``[B, N, H, D']``."""
        heads = (*q.shape[:-1], self.heads, self.head_dim)
        query = self.q_norm(self.q_wide(q).reshape(heads)).reshape(q.shape)
        return self.scale(query), self.k_norm(self.k_wide(k).reshape(heads)), self.v_wide(v).reshape(heads)
