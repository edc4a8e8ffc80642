"""Brevitas quantisers of this project: scales that training learns and export can fix."""

from __future__ import annotations

import torch
from brevitas.nn import QuantIdentity
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerChannelFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

from finn_vitprune.models.config import RESIDUAL_BITS
from finn_vitprune.numerics import int_range, zero_point

SAMPLES = 8192
"""Values that one calibration batch contributes to the search for a clipping point."""


class _RoundClamp(torch.autograd.Function):
    """``clamp(round(x / scale), lo, hi) scale``; gradient straight through the rounding, zero where clamped.

    ``codes``, when given, take the place of the rounded values (an integer algorithm computed them). The
    gradients are those of Brevitas' ``IntQuant``; one function keeps a third of its intermediates.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, lo: float, hi: float, codes: Tensor | None) -> Tensor:
        ratio = x / scale
        if codes is None:
            codes = ratio.round().clamp_(lo, hi)
        ctx.save_for_backward(ratio, codes, scale)
        ctx.range = (lo, hi)
        return codes * scale

    @staticmethod
    def backward(ctx, grad: Tensor):
        ratio, codes, scale = ctx.saved_tensors
        lo, hi = ctx.range
        to_input = torch.ops.aten.hardtanh_backward(grad, ratio, lo - 0.5, hi + 0.5)
        if not ctx.needs_input_grad[1]:
            return to_input, None, None, None, None
        if scale.numel() == 1:
            to_scale = torch.dot(grad.flatten(), codes.flatten()) - torch.dot(to_input.flatten(), ratio.flatten())
        else:
            to_scale = (grad * codes - to_input * ratio).sum_to_size(scale.shape)
        return to_input, to_scale.view_as(scale), None, None, None


def quantise(x: Tensor, scale: Tensor, bits: int, signed: bool, codes: Tensor | None = None) -> Tensor:
    """``x`` on the grid of ``scale``, ties to even, clamped to ``bits`` wide codes; see :class:`_RoundClamp`."""
    lo, hi = int_range(bits, signed)
    return _RoundClamp.apply(x, scale, float(lo), float(hi), codes)


class RoundClamp(nn.Module):
    """Brevitas' ``int_quant`` as one autograd function; its zero point is even, so that it does not move ties."""

    def __init__(self, signed: bool, narrow_range: bool) -> None:
        super().__init__()
        self.signed, self.narrow_range = signed, narrow_range
        self.input_view_impl = nn.Identity()

    def forward(self, scale: Tensor, zero_point: Tensor, bit_width: Tensor, x: Tensor) -> Tensor:
        lo, hi = (code - float(zero_point) for code in int_range(int(bit_width), self.signed))
        return _RoundClamp.apply(x, scale, lo + self.narrow_range, hi, None)


class ActScale(nn.Module):
    """A per-tensor scale: learned (as its logarithm), or fixed once :meth:`fix` was called."""

    log_scale: nn.Parameter
    fixed: Tensor

    def __init__(self, value: float = 1.0, learned: bool = True) -> None:
        super().__init__()
        self.learned = learned
        if learned:
            self.log_scale = nn.Parameter(torch.tensor(float(value)).log())
        else:
            self.register_buffer("fixed", torch.tensor(float(value)))

    @property
    def value(self) -> Tensor:
        """The scale, a scalar tensor."""
        return self.log_scale.exp() if self.learned else self.fixed

    @property
    def number(self) -> float:
        """The scale as a Python float."""
        return float(self.value.detach())

    @torch.no_grad()
    def set(self, value: float) -> None:
        """Give the scale a new value; it stays learned or constant as it was."""
        if self.learned:
            self.log_scale.fill_(torch.tensor(float(value)).log())
        else:
            self.fixed.fill_(float(value))

    def fix(self, value: float) -> None:
        """Turn the scale into the constant ``value`` (float32)."""
        if self.learned:
            self.register_buffer("fixed", torch.full_like(self.log_scale, float(value)))
            del self.log_scale
            self.learned = False
        else:
            self.fixed.fill_(float(value))

    def forward(self, x: Tensor, threshold: Tensor) -> Tensor:
        return self.value


class RelativeScale(ActScale):
    """``factor`` times another scale, until :meth:`fix` makes it a constant."""

    def __init__(self, base: ActScale, factor: float) -> None:
        super().__init__(learned=False)
        self._base: list[ActScale] = [base]
        self.factor = factor

    @property
    def value(self) -> Tensor:
        """The scale, a scalar tensor."""
        return self._base[0].value * self.factor if self._base else self.fixed

    def fix(self, value: float) -> None:
        """Turn the scale into the constant ``value`` (float32)."""
        self._base.clear()
        super().fix(value)


class ZeroPoint(nn.Module):
    """The code of 0, for a quantiser whose codes begin at the value ``lowest`` (None: at as much below 0 as above)."""

    def __init__(self, lowest: float | None) -> None:
        super().__init__()
        self.lowest = lowest

    def code(self, scale: float, bits: int) -> int:
        """An even code, or 0: see :func:`numerics.zero_point`."""
        return 0 if self.lowest is None else zero_point(self.lowest, scale, bits)

    def forward(self, x: Tensor, scale: Tensor, bit_width: Tensor) -> Tensor:
        return torch.full_like(scale, self.code(float(scale.detach()), int(bit_width)))


class WeightScale(nn.Module):
    """Max-abs of each row (or of the whole matrix) over the largest code, or as :meth:`hold` says.

    A row of zeros takes the scale of the whole matrix (a matrix of zeros that of 1), so that its ratio of
    scales stays in range.
    """

    held: Tensor

    def __init__(self, rows: int, per_channel: bool) -> None:
        super().__init__()
        self.per_channel = per_channel
        self.register_buffer("held", torch.zeros((rows, 1) if per_channel else ()))

    @torch.no_grad()
    def hold(self, scale: Tensor) -> None:
        """Scales ``[rows, 1]`` (or one for the whole matrix) from now on; where 0, max-abs as before."""
        self.held.copy_(scale.reshape(self.held.shape))

    def forward(self, weight: Tensor, threshold: Tensor) -> Tensor:
        return torch.where(self.held > 0, self.held, self._of_largest(weight, threshold))

    def _of_largest(self, weight: Tensor, threshold: Tensor) -> Tensor:
        magnitude = weight.abs()
        largest = magnitude.amax()
        whole = torch.where(largest > 0, largest, torch.ones_like(largest))
        if not self.per_channel:
            return whole / threshold
        rows = magnitude.amax(dim=1, keepdim=True)
        return torch.where(rows > whole * 2.0**-12, rows, whole) / threshold


class ActQuant(nn.Module):
    """Per-tensor activation quantiser around Brevitas' ``QuantIdentity``, ties to even.

    Where the smallest value ``lowest`` is known (an activation's), the lowest code stands for it, and 0 has a zero point.

    While :attr:`observing`, values pass unchanged and are sampled; :meth:`finish_observing` picks the
    clipping point with the least squared error. With :attr:`quantised` False values pass unchanged.
    """

    quantised = True

    def __init__(self, bits: int, signed: bool = True, scale: ActScale | None = None, lowest: float | None = None) -> None:
        super().__init__()
        self.bits, self.signed = bits, signed
        self.owns_scale = scale is None
        self.scale = ActScale() if scale is None else scale
        self.zero = ZeroPoint(lowest)
        base = Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat
        implementations = {"scaling_impl": self.scale, "zero_point_impl": self.zero, "int_quant": RoundClamp}
        self.quant = QuantIdentity(act_quant=base.let(**implementations), bit_width=bits, return_quant_tensor=False)
        self.observing = False
        self._samples: list[Tensor] = []
        self.largest = 0.0
        """Largest magnitude seen while observing."""

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """``x`` on the grid; ``codes``, when given, are what an integer algorithm says that it is rounded to, perhaps out of range."""
        if x.dtype is torch.bfloat16:  # a matrix product of training in mixed precision
            x = x.float()
        if self.observing:
            self._observe(x.detach())
            return x
        if codes is not None and self.quantised:
            return quantise(x, self.scale.value, self.bits, self.signed, codes.clamp(*int_range(self.bits, self.signed)))
        return self.quant(x) if self.quantised else x

    def limits(self, scale: float) -> tuple[int, int]:
        """Smallest and largest code less the zero point at a scale."""
        lo, hi = int_range(self.bits, self.signed)
        zero = self.zero.code(scale, self.bits)
        return lo - zero, hi - zero

    def outside(self, x: Tensor) -> int:
        """How many values of ``x`` lie outside the range of codes."""
        lo, hi = self.limits(self.scale.number)
        codes = torch.round(x / self.scale.value)
        return int(((codes < lo) | (codes > hi)).sum())

    def _observe(self, x: Tensor) -> None:
        flat = x.flatten()
        self.largest = max(self.largest, float(flat.abs().max()))
        self._samples.append(flat[:: max(1, flat.numel() // SAMPLES)].clone())

    def start_observing(self) -> None:
        """Pass values unchanged and record them."""
        self.observing, self._samples, self.largest = True, [], 0.0

    def finish_observing(self) -> None:
        """Stop recording; set the scale, if it is this one's own, to the best of several clipping points."""
        self.observing = False
        if not self.owns_scale or not self._samples:
            return
        values = torch.cat(self._samples)
        self._samples = []
        best, best_error = 1.0, float("inf")
        for fraction in torch.linspace(0.2, 1.0, 33).tolist():
            scale = self.scale_up_to(self.largest * fraction)
            error = float(((values / scale).round().clamp(*self.limits(scale)) * scale - values).square().mean())
            if error < best_error:
                best, best_error = scale, error
        self.scale.set(best)

    def scale_up_to(self, largest: float) -> float:
        """The scale whose codes reach from the smallest value (or -``largest``) to ``largest``; 0 counts as 1."""
        largest, (lo, hi) = largest or 1.0, int_range(self.bits, self.signed)
        lowest = self.zero.lowest
        return largest / hi if lowest is None else (largest - lowest) / (hi - lo)


class ResidualQuant(ActQuant):
    """INT16 quantiser at the one scale of the residual stream."""

    def __init__(self, scale: ActScale) -> None:
        super().__init__(RESIDUAL_BITS, signed=True, scale=scale)


def weight_quantizer(rows: int, bits: int, per_channel: bool) -> dict:
    """Keyword arguments for a Brevitas layer: symmetric, narrow range, max-abs scaling, zero point 0."""
    injector = Int8WeightPerChannelFloat.let(scaling_impl=WeightScale(rows, per_channel), int_quant=RoundClamp)
    return {"weight_quant": injector, "weight_bit_width": bits}
