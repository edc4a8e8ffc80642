"""Gates of MLPs: the activation of one channel of each pair times the other, as :func:`finn_vitprune.numerics.gated` has it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from finn_vitprune import numerics
from finn_vitprune.models.config import MlpActivation
from finn_vitprune.models.quantizers import ActQuant, ActScale


class FactorScale(ActScale):
    """The scale of factors: results over values times 2^-S, S as :func:`numerics.gate_shift` says, until :meth:`fix` makes it a constant."""

    def __init__(self, gates: ActQuant, values: ActQuant, results: ActQuant, bounded: bool) -> None:
        super().__init__(learned=False)
        self._quants: list[ActQuant] = [gates, values, results]
        self.bounded = bounded

    @property
    def value(self) -> Tensor:
        """The scale, a scalar tensor."""
        if not self._quants:
            return self.fixed
        _, values, results = self._quants
        return (results.scale.value / values.scale.value).detach() * 2.0 ** -self.shift_for(results.scale.number)

    def shift_for(self, result: float) -> int:
        """S where ``result`` is the scale of the results, as long as this one is not fixed."""
        gates, values, _ = self._quants
        largest = 1.0 if self.bounded else gates.scale.number * 2.0 ** (gates.bits - 1)
        return numerics.gate_shift(largest, values.scale.number, result)

    def fix(self, value: float) -> None:
        """Turn the scale into the constant ``value`` (float32)."""
        self._quants.clear()
        super().fix(value)


class Gate(nn.Module):
    """Activations of gates times values, for ``results`` to quantise; ``gates`` quantises what the activations are of.

    Quantised, an activation is a factor of GATE_BITS.
    """

    def __init__(self, activation: MlpActivation, function: Callable[[Tensor], Tensor], gates: ActQuant, results: ActQuant) -> None:
        super().__init__()
        self.function = function
        self.value_quant = ActQuant(results.bits)
        self._scale = FactorScale(gates, self.value_quant, results, activation.bounded)
        self.factor_quant = ActQuant(numerics.GATE_BITS, scale=self._scale)
        self._gates, self._results = [gates], [results]

    def forward(self, activated: Tensor, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Activations of quantised gates, and values, ``[B, N, M]`` -> products, and what they are rounded to as codes of the results."""
        results = self._results[0]
        factors, values = self.factor_quant(activated), self.value_quant(values)
        product = factors * values
        if torch.onnx.is_in_onnx_export() or results.observing or not results.quantised:
            return product, None
        # In float32, too: codes and their products are whole numbers of at most 2^18.
        exact = torch.round(factors.detach() / self.factor_quant.scale.value) * torch.round(values.detach() / self.value_quant.scale.value)
        return product, torch.round(exact * 2.0**-self.shift)

    @property
    def shift(self) -> int:
        """S, bits after the point of factors, at the present scales."""
        factor, value, result = (quant.scale.number for quant in (self.factor_quant, self.value_quant, self._results[0]))
        found = numerics.shift_of_scales(factor, value, result)
        assert found is not None  # the scale of factors is made so
        return found

    def tie_distance(self, result: float) -> float:
        """Smallest distance of a factor from a rounding tie if ``result`` is the scale of the results, which are not fixed yet."""
        gates, values = self._gates[0], self.value_quant
        lo, hi = numerics.int_range(gates.bits, signed=True)
        activated = self.function(torch.arange(lo, hi + 1).double() * gates.scale.number)
        factors = activated / (result / values.scale.number * 2.0 ** -self._scale.shift_for(result))
        return float((factors - factors.floor() - 0.5).abs().amin())
