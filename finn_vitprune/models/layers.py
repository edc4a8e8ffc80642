"""Layers whose forward pass is the integer arithmetic of :mod:`finn_vitprune.numerics`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar, cast

import torch
import torch.nn.functional as F
from brevitas.nn import QuantLinear
from torch import Tensor, nn

from finn_vitprune import numerics
from finn_vitprune.models import integer
from finn_vitprune.models.config import ENTRY_BITS, RESIDUAL_BITS, NormKind
from finn_vitprune.models.quantizers import ActQuant, ActScale, RelativeScale, ResidualQuant, WeightScale, quantise, weight_quantizer

DOMAIN = "finn_vitprune.custom_ops"
M = TypeVar("M", bound=nn.Module)


class ModulesOf(nn.ModuleList, Generic[M]):
    """A list of modules of one class."""

    def __iter__(self) -> Iterator[M]:
        return cast("Iterator[M]", super().__iter__())  # PyTorch tells of modules of any class


def exact_forward(exact: Tensor, surrogate: Tensor) -> Tensor:
    """``exact`` forward, the gradient of ``surrogate`` backward."""
    return surrogate + (exact - surrogate).detach() if surrogate.requires_grad else exact


class PrunedLinear(QuantLinear):
    """Quantised linear layer whose weights can be masked before they are quantised.

    Weights ``[out, in]``: symmetric narrow-range codes, one scale per row, or one for all
    (``per_channel=False``). The bias is a float here; export puts it on the accumulator grid. With
    :attr:`quantised` False the weights stay floats.
    """

    quantised = True

    def __init__(self, inputs: int, outputs: int, bits: int, per_channel: bool = True) -> None:
        super().__init__(inputs, outputs, bias=True, **weight_quantizer(outputs, bits, per_channel))
        self.bits = bits

    @property
    def weight_scale(self) -> WeightScale:
        """The module that scales the rows."""
        return self.weight_quant.tensor_quant.scaling_impl

    def forward(self, x: Tensor, mask: Tensor | None = None, bias_mask: Tensor | None = None) -> Tensor:
        weight = self.weight if mask is None else self.weight * mask
        bias = self.bias if bias_mask is None else self.bias * bias_mask
        if self.quantised:
            quantised = self.weight_quant(weight)  # a plain tensor while Brevitas has it switched off
            weight = quantised if isinstance(quantised, Tensor) else quantised.value
        return F.linear(x, weight, bias)


class DiagonalLinear(PrunedLinear):
    """A linear layer of one weight a channel, ``[D, D]`` with zeros beside the diagonal; it starts as the identity.

    Hardware multiplies with the blocks on the diagonal alone. Every row has a scale of its own, so its weight is exact
    at any bits, and the bias lies on a grid as fine as the bits make it.
    """

    diagonal: Tensor

    def __init__(self, width: int, bits: int) -> None:
        super().__init__(width, width, bits)
        self.register_buffer("diagonal", torch.eye(width), persistent=False)
        self.set(torch.ones(width), torch.zeros(width))

    @torch.no_grad()
    def set(self, gamma: Tensor, beta: Tensor) -> None:
        """Multiply channel c by ``gamma[c]`` and add ``beta[c]``."""
        self.weight.copy_(torch.diag(gamma))
        self.bias.copy_(beta)

    def forward(self, x: Tensor, mask: Tensor | None = None, bias_mask: Tensor | None = None) -> Tensor:
        beside_is_zero = torch.onnx.is_in_onnx_export()  # what training must keep so is no part of a file
        return super().forward(x, mask if beside_is_zero else self.diagonal, bias_mask)


def snap_scale(quant: ActQuant, s_in: float) -> None:
    """Fix the scale s of a quantiser that codes of scale ``s_in`` are requantised to, so that s_in / s = M 2^-S."""
    mult, shift = numerics.snap_ratio(s_in / quant.scale.number)
    quant.scale.fix(s_in * 2.0**shift / int(mult))


class IntLayerNorm(nn.Module):
    """LayerNorm or RMSNorm without gamma and beta: :func:`numerics.layernorm` forward, the float norm backward.

    The input must lie on the grid of ``scale``, the residual stream's or that of its mean over tokens. The
    result lies on the grid of :attr:`quant`.
    """

    def __init__(self, dim: int, eps: float, bits: int, scale: ActScale, kind: NormKind = NormKind.LAYER) -> None:
        super().__init__()
        self.dim, self.eps, self.bits, self.kind = dim, eps, bits, kind
        self.quant = ActQuant(bits)
        self._input = [scale]

    def constants(self) -> tuple[int, int, int]:
        """``(eps, mult, shift)`` of :func:`numerics.layernorm` at the present scales."""
        s_in, s_out = self._input[0].number, self.quant.scale.number
        return numerics.layernorm_constants(self.dim, self.eps, s_in, s_out)

    def effective_eps(self) -> float:
        """The epsilon that the integer algorithm really adds, in units of the real variance."""
        s_in = self._input[0].number
        return max(1, round(self.dim**2 * self.eps / s_in**2)) * s_in**2 / self.dim**2

    def forward(self, x: Tensor) -> Tensor:
        y = self.real(x)
        if self.quant.observing or not self.quant.quantised or torch.onnx.is_in_onnx_export():
            return self.quant(y)
        codes = torch.round(x.detach() / self._input[0].value).long()
        exact = integer.layernorm(codes, *self.constants(), self.bits, self.kind.centred).to(x.dtype)
        return quantise(y, self.quant.scale.value, self.bits, True, exact)

    def real(self, x: Tensor) -> Tensor:
        """The norm of real numbers, at :meth:`effective_eps`."""
        if self.kind.centred:
            return F.layer_norm(x, (self.dim,), eps=self.effective_eps())
        return x / (x.pow(2).mean(-1, keepdim=True) + self.effective_eps()).sqrt()


class EntryNorm(nn.Module):
    """The LayerNorm before the encoders, with its gamma and beta: its result is the residual stream.

    No matrix follows that could take gamma and beta up, so they are a diagonal one. Codes and weights have ENTRY_BITS.
    """

    def __init__(self, dim: int, eps: float, before: ActScale, residual: ActScale, kind: NormKind) -> None:
        super().__init__()
        self.norm = IntLayerNorm(dim, eps, ENTRY_BITS, before, kind)
        self.scale = DiagonalLinear(dim, ENTRY_BITS)
        self.scale_quant = ResidualQuant(residual)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[B, N, D]`` on the grid of the embedded tokens -> the same shape on the residual grid."""
        return self.scale_quant(self.scale(self.norm(x)))


class RotaryTable(nn.Module):
    """Cosines and sines of the angles by which the pairs of neighbouring channels of a head are turned, token by token.

    ``cos`` and ``sin`` ``[T, N, D']``, T 1 or the heads: both entries of a pair are equal, but for the sign of the sine, which is
    negative for the first. All angles are 0 at first.
    """

    cos: Tensor
    sin: Tensor
    swap: Tensor

    def __init__(self, tables: int, tokens: int, head_dim: int) -> None:
        super().__init__()
        self.register_buffer("cos", torch.ones(tables, tokens, head_dim))
        self.register_buffer("sin", torch.zeros(tables, tokens, head_dim))
        self.register_buffer("swap", torch.arange(head_dim) ^ 1, persistent=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(T, N, D' / 2)``: of what :meth:`set` takes."""
        tables, tokens, width = self.cos.shape
        return tables, tokens, width // 2

    @torch.no_grad()
    def set(self, cos: Tensor, sin: Tensor) -> None:
        """Turn by angles of these cosines and sines ``[T, N, D' / 2]``."""
        self.cos.copy_(cos.repeat_interleave(2, -1))
        self.sin.copy_(torch.stack([-sin, sin], -1).flatten(-2))

    @torch.no_grad()
    def to_grid(self) -> None:
        """Take the values that the hardware's codes stand for."""
        for table in (self.cos, self.sin):
            table.copy_(_rotary_grid(table))

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """x ``[B, H, N, D']`` turned by such tables."""
        return x * cos + x.index_select(-1, self.swap) * sin


def _rotary_grid(table: Tensor) -> Tensor:
    return torch.round(table * numerics.ROTARY_ONE) / numerics.ROTARY_ONE


class Turn(nn.Module):
    """Queries or keys turned by a :class:`RotaryTable`: codes of the same scale, :func:`numerics.rotary` forward."""

    def __init__(self, table: RotaryTable, source: ActQuant) -> None:
        super().__init__()
        self.quant = ActQuant(source.bits, scale=source.scale)
        self._table, self._source = [table], [source]

    def forward(self, x: Tensor) -> Tensor:
        """x ``[B, H, N, D']`` on the grid of the source -> the same shape, on the same grid."""
        table = self._table[0]
        if torch.onnx.is_in_onnx_export() or not self.quant.quantised:
            return self.quant(table.turn(x, table.cos, table.sin))
        cos, sin = _rotary_grid(table.cos), _rotary_grid(table.sin)
        y = table.turn(x, cos, sin)
        if self.quant.observing:
            return self._source[0](y)  # what is turned must fit the scale, too
        scale = self.quant.scale.value
        exact = torch.round(table.turn(torch.round(x.detach() / scale), cos, sin))
        lo, hi = numerics.int_range(self.quant.bits, signed=True)
        return quantise(y, scale, self.quant.bits, True, exact.clamp(lo, hi))


class TokenMean(nn.Module):
    """Mean over the tokens from ``first`` on, quantised (:func:`numerics.token_mean`).

    Of the INT16 residual stream (``residual_scale`` given) the mean's scale is s 2^S / N with 2^S the power of
    two at or above N tokens, so that hardware shifts the sum; it cannot saturate. Of codes that the classifier reads, the
    scale is learned, and export snaps it (:meth:`snap`).
    """

    def __init__(self, tokens: int, first: int, bits: int, residual_scale: ActScale | None) -> None:
        super().__init__()
        self.first, self.count = first, tokens - first
        if residual_scale is None:
            self.quant = ActQuant(bits)
        else:
            factor = 2.0 ** (self.count - 1).bit_length() / self.count
            self.quant = ActQuant(RESIDUAL_BITS, scale=RelativeScale(residual_scale, factor))

    def snap(self, s_in: float) -> None:
        """Fix the scale so that s_in / (N s) = M 2^-S."""
        snap_scale(self.quant, s_in / self.count)

    def forward(self, x: Tensor) -> Tensor:
        """x ``[B, N, D]`` -> ``[B, 1, D]``."""
        return self.quant(x[:, self.first :].mean(1, keepdim=True))


class _TokenScoresFn(torch.autograd.Function):
    """S_j = sum_h floor(2^16 E_h0j / Z_h) as exact integers in a float tensor."""

    @staticmethod
    def forward(ctx, e: Tensor, heads: Tensor | None) -> Tensor:
        codes = torch.round(e * numerics.EXP_MAX).long()
        per_head = (codes << numerics.SCORE_BITS) // codes.sum(-1, keepdim=True)
        if heads is not None:
            per_head = per_head * heads.long().view(1, -1, 1)
        return per_head.sum(1).to(e.dtype)

    @staticmethod
    def symbolic(g, e, heads):
        def constant(value: Tensor):
            return g.op("Constant", value_t=value)

        last, head_axis = constant(torch.tensor([-1])), constant(torch.tensor([1]))
        codes = g.op("Cast", g.op("Round", g.op("Mul", e, constant(torch.tensor(255.0)))), to_i=7)
        z = g.op("ReduceSum", codes, last, keepdims_i=1)
        scaled = g.op("Mul", codes, constant(torch.tensor(1 << numerics.SCORE_BITS)))
        total = g.op("ReduceSum", g.op("Div", scaled, z), head_axis, keepdims_i=0)
        result = g.op("Cast", total, to_i=1)
        sizes = e.type().sizes()
        result.setType(e.type().with_sizes([sizes[0], sizes[2]]))
        return result


def token_scores(e: Tensor, heads: Tensor | None) -> Tensor:
    """Token scores ``[B, N]`` from the first token's row of E.

    Args:
        e: ``[B, H, N]``, multiples of 1/255; heads: live heads ``[H]`` (1 or 0), None for all.
    """
    exact = _TokenScoresFn.apply(e, heads)
    if not e.requires_grad:
        return exact
    share = e / e.sum(-1, keepdim=True)
    if heads is not None:
        share = share * heads.view(1, -1, 1)
    return exact_forward(exact, share.sum(1) * float(1 << numerics.SCORE_BITS))


class _TokenDropFn(torch.autograd.Function):
    """Exact forward of :class:`DropTokens`; exports as one node of this project's domain."""

    @staticmethod
    def forward(ctx, x: Tensor, s: Tensor, k: int, scale: float, mult: int, shift: int, prefix: int) -> Tensor:
        codes = torch.round(x.double() / scale).long()
        out = integer.token_drop(codes, torch.round(s).long(), k, mult, shift, prefix=prefix)
        return (out.double() * scale).to(x.dtype)

    @staticmethod
    def symbolic(g, x, s, k, scale, mult, shift, prefix):
        own = {} if prefix == 1 else {"prefix_i": prefix}
        result = g.op(f"{DOMAIN}::TokenDrop", x, s, k_i=k, scale_f=scale, mult_i=mult, shift_i=shift, **own)
        batch, tokens, dim = x.type().sizes()
        result.setType(x.type().with_sizes([batch, numerics.tokens_after_drop(tokens, k, prefix), dim]))
        return result


class DropTokens(nn.Module):
    """Keeps ``prefix`` prefix tokens and the k best-scored others, fuses the rest (:func:`numerics.token_drop`).

    :attr:`k` may be changed while training ramps the keep rate; with :attr:`quantised` False the fused
    token is not rounded.
    """

    quantised = True

    def __init__(self, k: int, prefix: int, residual_scale: ActScale) -> None:
        super().__init__()
        self.k, self.prefix = k, prefix
        self._residual = [residual_scale]

    def forward(self, x: Tensor, s: Tensor, live_heads: int) -> Tensor:
        """x ``[B, N, D]`` on the residual grid, s ``[B, N]`` integer scores -> ``[B, N_out, D]``."""
        if self.k == x.shape[1] - self.prefix:
            return x
        mult, shift = numerics.head_mean_constant(live_heads)
        exact = None
        if self.quantised:
            exact = _TokenDropFn.apply(x, s, self.k, self._residual[0].number, mult, shift, self.prefix)
            if not x.requires_grad:
                return exact
        keep = integer.rank_tokens(torch.round(s.detach()).long(), self.k, self.prefix)
        kept = x[keep].view(len(x), self.prefix + self.k, -1)
        weight = s.masked_fill(keep, 0.0) * (2.0**-numerics.SCORE_BITS / live_heads)
        fused = (weight.unsqueeze(-1) * x).sum(1, keepdim=True)
        both = torch.cat([kept, fused], dim=1)
        return both if exact is None else exact_forward(exact, both)
