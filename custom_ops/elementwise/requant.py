"""Requantisation of a stream with one multiplier per channel or per tensor."""

from __future__ import annotations

import numpy as np

from finn_vitprune.custom_ops.op.base import UnaryStreamOp
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.load_chain import SPARE_SHIFTS, LoadedBackend
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, UnitMemory
from finn_vitprune.custom_ops.op.requant_estimate import requant_cycles, requant_dsps, requant_luts
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.structure import UnitParts, requant_products
from finn_vitprune.numerics import MULT_BITS, requantise
from finn_vitprune.sim.contents import Region

OUTPUT_PLACES = 16
"""Beats under way and in the FIFO at the output (``PLACES``)."""


class VitRequant(UnaryStreamOp):
    """y = clip(round_half_even(x mult 2**-shift)) of x ``[tokens, channels]``.

    ``mult`` is ``[channels]``, or ``[1]`` when ``per_channel`` is 0, and below ``2**mult_bits``. Codes are
    signed or unsigned on either side. ``ram_style`` auto puts tables of more than 64 words into block RAM. ``least``: smallest and
    largest shift that the unit is made for at least; with several shifts its lanes shift by what is loaded.
    """

    token_wise = True
    ATTRIBUTES = {
        "shift": ("i", True, 0),
        "per_channel": ("i", False, 1, {0, 1}),
        "mult_bits": ("i", False, MULT_BITS),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
        "least": ("ints", False, []),
    }

    @property
    def made_for(self) -> tuple[int, int]:
        """Smallest and largest shift."""
        shifts = [self.get_nodeattr("shift"), *self.get_nodeattr("least")]
        return min(shifts), max(shifts)

    @property
    def span(self) -> int:
        """By how much shifts differ."""
        low, high = self.made_for
        return high - low

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, mult = inputs
        target = self.target.dtype
        return [requantise(x, mult.reshape(-1), self.get_nodeattr("shift"), target.bitwidth(), target.signed())]

    def beat_cycles(self) -> int:
        """The input register, the requantiser, two of the FIFO at the output."""
        return 3 + requant_cycles(self._acc_bits(), self.get_nodeattr("mult_bits"), self.span)

    def _acc_bits(self) -> int:
        source = self.source.dtype
        return source.bitwidth() + (not source.signed())

    def _rom(self) -> tuple[int, int, str]:
        """Words, bits and style of the table of multipliers."""
        get = self.get_nodeattr
        words = get("channels") // get("SIMD") if get("per_channel") else 1
        bits = get("SIMD") * get("mult_bits")
        return words, bits, TABLE_MEMORY.style(words, bits, get("ram_style"))

    def memory_map(self) -> tuple[UnitMemory, ...]:
        waiting = UnitMemory(Holds.FIFO, "codes at the output", OUTPUT_PLACES, self.target.width, "distributed")
        return UnitMemory(Holds.TABLE, "multipliers", *self._rom(), rom=True), waiting

    def resources(self) -> Estimate:
        """Lanes, table and its address, FIFO at the output with its credits."""
        get, target, acc_bits = self.get_nodeattr, self.target.dtype, self._acc_bits()
        lane = requant_luts(acc_bits, get("mult_bits"), self.made_for[1], target.bitwidth(), target.signed(), self.span)
        address = (self._rom()[0] - 1).bit_length()
        logic = get("SIMD") * Estimate(LUT=lane, DSP=requant_dsps(acc_bits, get("mult_bits")))
        logic += Estimate(LUT=address + credit_fifo_luts(OUTPUT_PLACES))
        return sum((memory.resources for memory in self.memory_map()), logic)

    def made_of(self) -> UnitParts:
        simd, mult_bits = self.source.simd, self.get_nodeattr("mult_bits")
        products = requant_products(simd, self._acc_bits(), mult_bits)
        factors = simd * (self._acc_bits() + mult_bits)
        parts = {"one": 1, "factors": factors, "codes": self.target.width, "bits": self.source.width}
        return UnitParts.of("requant", parts, products, self.memory_map())


class VitRequant_rtl(LoadedBackend, VitRequant):
    """RTL of :class:`VitRequant`; with its contents loaded, also by how much less than the largest shift it shifts."""

    RTL_TOP = "vp_stream_requant"

    def rtl_parameters(self) -> dict[str, int | str]:
        source, target = self.source, self.target
        return {
            "SIMD": source.simd,
            "IN_BITS": source.dtype.bitwidth(),
            "IN_SIGNED": int(source.dtype.signed()),
            "OUT_BITS": target.dtype.bitwidth(),
            "OUT_SIGNED": int(target.dtype.signed()),
            "MULT_BITS": self.get_nodeattr("mult_bits"),
            "MULT_WORDS": self._rom()[0],
            "SHIFT": self.made_for[1],
            "SPAN": self.span,
            "MULT_FILE": self.memory_file("mult"),
            "STYLE": self._rom()[2],
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """By how much less than the largest shift."""
        return {"lefts": [(self.made_for[1] - self.get_nodeattr("shift"),)]}

    def regions(self) -> list[Region]:
        words, bits, _ = self._rom()
        return [*super().regions(), Region(self.onnx_node.name, "mult", words, bits, 1)]

    def widen(self, other: VitRequant) -> None:
        (low, high), (lower, higher) = self.made_for, other.made_for
        self.set_nodeattr("least", [min(low, lower), max(high, higher)])

    def spare(self, model) -> None:
        low, high = self.made_for
        self.set_nodeattr("least", [max(0, low - SPARE_SHIFTS), high + SPARE_SHIFTS])

    def banks(self, model) -> dict[str, list[Memory]]:
        """A word a beat of a token, or one for all channels.

        Raises:
            UserError: multipliers that are too many, too few or too large.
        """
        words = self._rom()[0]
        simd, mult_bits = self.get_nodeattr("SIMD"), self.get_nodeattr("mult_bits")
        mult = np.rint(model.get_initializer(self.onnx_node.input[1])).astype(np.int64).reshape(-1)
        wanted = words * simd if self.get_nodeattr("per_channel") else 1
        held = len(mult) == wanted and mult.min() >= 0 and mult.max() < 1 << mult_bits
        found = f"{len(mult)} from {mult.min()} to {mult.max()}"
        self.require(held, f"there must be {wanted} multipliers of 0 to {(1 << mult_bits) - 1}, there are {found}")
        return {"mult": [Memory.packed(np.broadcast_to(mult, words * simd).reshape(words, simd), mult_bits)]}
