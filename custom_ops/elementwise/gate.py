"""Gated linear unit: of each pair of a gate and a value, the activation of the gate times the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from qonnx.core.datatype import BaseDataType, DataType

from finn_vitprune.custom_ops.elementwise.table import TableBackend, TableOp
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.memory import Estimate, Holds, UnitMemory, lutram_luts
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts
from finn_vitprune.numerics import GATE_ENTRY_BITS, GATE_SHIFT, gated
from finn_vitprune.sim.beats import Stream

TABLE, MULTIPLY, ROUND, FIFO = 1, 3, 2, 2
"""Cycles of a read of the table, of a product, of its rounding, and of the FIFO at the output."""


class VitGate(TableOp):
    """y_i = clip(rhe(table[x_2i - min] x_2i+1 2**-12)): gates x_2i and values x_2i+1 side by side.

    x ``[tokens, channels]`` are signed codes of 2 to 8 bits, y ``[tokens, channels / 2]`` signed ones of 2 bits or more. Initialiser: the
    table ``[2**bits]`` of signed codes of 18 bits, smallest gate code first (:func:`numerics.gate_table`). ``SIMD``, elements of x a beat,
    is even and divides ``channels``; a beat of y has half as many. :func:`numerics.gated` is the specification.
    """

    ATTRIBUTES = {"SIMD": ("i", False, 2)}

    def verify_node(self) -> list[str]:
        """Raise a UserError where sizes or types do not fit the unit; an empty list when all is well."""
        source, target = self.source, self.target
        self.require(source.channels % 2 == 0, f"{source.channels} channels: gates and values are pairs, use an even number")
        self.require(source.simd in self.widths, f"SIMD {source.simd}: use {', '.join(map(str, self.widths))}")
        self.require(source.dtype.signed() and 2 <= source.dtype.bitwidth() <= 8, f"codes of {source.dtype.name}: use INT2 to INT8")
        most = GATE_ENTRY_BITS + source.dtype.bitwidth() - GATE_SHIFT
        held = target.dtype.signed() and 2 <= target.dtype.bitwidth() <= most
        self.require(held, f"results of {target.dtype.name}: use INT2 to INT{most}")
        return []

    @property
    def target(self) -> Stream:
        """The stream that leaves: an element of each pair."""
        found = super().target
        return replace(found, channels=found.channels // 2, simd=found.simd // 2)

    @property
    def widths(self) -> Sequence[int]:
        """Whole pairs."""
        return tuple(2 * pairs for pairs in divisors(self.get_nodeattr("channels") // 2))

    @property
    def entries(self) -> BaseDataType:
        """Factors."""
        return DataType[f"INT{GATE_ENTRY_BITS}"]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, table = inputs
        return [gated(self.looked_up(x[..., ::2], table), x[..., 1::2], self.target.dtype.bitwidth())]

    def beat_cycles(self) -> int:
        """A read of the table, the product, its rounding, the FIFO."""
        return TABLE + MULTIPLY + ROUND + FIFO

    @property
    def places(self) -> int:
        """Beats under way and in the FIFO at the output."""
        return self.beat_cycles() + 1

    def resources(self) -> Estimate:
        """For each pair the rounding and saturation of a product (itself in a DSP), the tables, the FIFO, the handshake."""
        target = self.target
        lane = 2 * target.dtype.bitwidth() + 1
        logic = Estimate(LUT=target.simd * lane, DSP=target.simd)
        logic += Estimate(LUT=lutram_luts(self.places, target.width) + credit_fifo_luts(self.places))
        return self.memory_map()[0].resources + logic + Estimate(LUT=self.handshake_luts())

    def made_of(self) -> UnitParts:
        pairs, bits = self.target.simd, self.source.dtype.bitwidth()
        waiting = UnitMemory(Holds.FIFO, "beats at the output", self.places, self.target.width, "distributed")
        products = (ProductGroup(pairs, GATE_ENTRY_BITS, bits),)
        parts = {"one": 1, "factors": pairs * (GATE_ENTRY_BITS + bits), "codes": self.target.width, "shared": self.encoders * self.shared}
        return UnitParts.of("gate", parts, products, (*self.memory_map(), waiting))


class VitGate_rtl(TableBackend, VitGate):
    """RTL of :class:`VitGate`."""

    RTL_TOP = "vp_gate"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        return {
            "SIMD": self.source.simd,
            "BITS": self.source.dtype.bitwidth(),
            "OUT_BITS": self.target.dtype.bitwidth(),
            "TABLE_BITS": GATE_ENTRY_BITS,
            "SHIFT": GATE_SHIFT,
            **self.table_parameters(),
        }
