"""Mean over tokens: pooling of networks that classify by the mean of their tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.base import UnaryStreamOp
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, UnitMemory
from finn_vitprune.custom_ops.op.requant_estimate import requant_cycles, requant_dsps, requant_luts
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.structure import UnitParts, requant_products
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.sim.beats import Stream

MAX_SHIFT, MAX_ACC_BITS = 46, 44
OUTPUT_PLACES = 16
"""Beats under way and in the FIFO at the output."""


class VitTokenMean(UnaryStreamOp):
    """y_d = clip(round_half_even(sum over i >= first of X_id  mult 2**-shift)), X ``[tokens, channels]``.

    X and y ``[1, channels]`` are signed codes, with mult 2**-shift = s_x / ((tokens - first) s_y), mult below
    2**17. Tokens before ``first`` (class and distillation token) are taken and left out.
    ``numerics.token_mean`` is the specification.

    D partial sums are held, of in_bits + log2(tokens - first) bits; a frame takes N D / SIMD cycles. ``mult``
    a power of two needs no multiplier.
    """

    ATTRIBUTES = {
        "first": ("i", False, 0),
        "mult": ("i", True, 0),
        "shift": ("i", True, 0),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
    }

    def out_streams(self) -> list[Stream]:
        return [replace(self.target, tokens=1)]

    def verify_node(self) -> list[str]:
        """Raise UserError for what the unit does not hold; an empty list when all is well."""
        tokens, first = self.get_nodeattr("tokens"), self.get_nodeattr("first")
        self.require(0 <= first < tokens, f"mean from token {first} of {tokens} on: use 0 to {tokens - 1}")
        self.check_multiplier(MAX_SHIFT)
        for attribute in ("inputDataType", "outputDataType"):
            dtype = DataType[self.get_nodeattr(attribute)]
            held = dtype.is_integer() and dtype.signed() and dtype.bitwidth() >= 2
            self.require(held, f"{attribute} is {dtype.name}, use a signed integer of 2 bits or more")
        self.require(self.acc_bits <= MAX_ACC_BITS, f"sums of {self.acc_bits} bits: use {MAX_ACC_BITS} at most")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """X ``[..., tokens, channels]`` to ``[..., 1, channels]``."""
        first, mult, shift = (self.get_nodeattr(a) for a in ("first", "mult", "shift"))
        bits = self.target.dtype.bitwidth()
        return [numerics.token_mean(inputs[0], first, mult, shift, bits)]

    @property
    def acc_bits(self) -> int:
        """Width of a sum."""
        count = self.get_nodeattr("tokens") - self.get_nodeattr("first")
        return self.source.dtype.bitwidth() + (count - 1).bit_length()

    def constant(self) -> tuple[int, int]:
        """mult and shift with the factors of two that they share taken out."""
        return numerics.without_shared_twos(self.get_nodeattr("mult"), self.get_nodeattr("shift"))

    @property
    def shifts(self) -> bool:
        """Whether the constant is a power of two."""
        mult = self.get_nodeattr("mult")
        return mult & (mult - 1) == 0

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The mean leaves with the last token."""
        return super().pass_times([inputs[0].at([inputs[0].tokens - 1])])

    def beat_cycles(self) -> int:
        """The input register, the operand's and the sum's, the requantiser, two of the FIFO at the output."""
        return 5 + requant_cycles(self.acc_bits, self.constant()[0].bit_length())

    def held_tokens(self) -> int:
        """All of a frame: the mean leaves with its last token."""
        return self.get_nodeattr("tokens")

    def burst_tokens(self) -> int:
        """The mean leaves in the time of one token, and a stalled output stops the input."""
        return 1

    def sums_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the RAM of the sums."""
        words, bits = self.source.token_beats, self.get_nodeattr("SIMD") * self.acc_bits
        return words, bits, TABLE_MEMORY.style(words, bits, self.get_nodeattr("ram_style"))

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """The sums (those of a token of one beat are in registers) and the FIFO at the output."""
        waiting = UnitMemory(Holds.FIFO, "means at the output", OUTPUT_PLACES, self.target.width, "distributed")
        return (*((UnitMemory(Holds.ROWS, "sums", *self.sums_ram()),) if self.source.token_beats > 1 else ()), waiting)

    def resources(self) -> Estimate:
        """Input register, each lane's sum and requantiser, memories, control 20.

        A power of two needs no multiplier, and its means are in range: a delay, and whether to round up.
        """
        source, target = self.source, self.target.dtype
        mult, shift = self.constant()
        bits = mult.bit_length()
        code = requant_luts(self.acc_bits, bits, shift, target.bitwidth(), True)
        lane = self.acc_bits + (self.acc_bits + (shift + target.bitwidth()) // 5 if self.shifts else code)
        slices = 0 if self.shifts else requant_dsps(self.acc_bits, bits)
        logic = Estimate(LUT=source.width + source.simd * lane + 20 + credit_fifo_luts(OUTPUT_PLACES), DSP=source.simd * slices)
        return sum((memory.resources for memory in self.memory_map()), logic)

    def made_of(self) -> UnitParts:
        simd, bits = self.source.simd, self.constant()[0].bit_length()
        products = () if self.shifts else requant_products(simd, self.acc_bits, bits)
        factors = simd * (self.acc_bits + (0 if self.shifts else bits))
        sums = simd * self.acc_bits
        parts = {"one": 1, "factors": factors, "codes": self.target.width, "bits": self.source.width, "sums": sums}
        return UnitParts.of("mean", parts, products, self.memory_map())


class VitTokenMean_rtl(VitRTLBackend, VitTokenMean):
    """RTL of :class:`VitTokenMean`."""

    RTL_TOP = "vp_token_mean"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        source, target = self.source, self.target
        mult, shift = self.constant()
        return {
            "SIMD": source.simd,
            "IN_WIDTH": source.dtype.bitwidth(),
            "OUT_WIDTH": target.dtype.bitwidth(),
            "TOKENS": source.tokens,
            "FIRST": self.get_nodeattr("first"),
            "TOKEN_BEATS": self.source.token_beats,
            "ACC_WIDTH": self.acc_bits,
            "MULT": mult,
            "MULT_WIDTH": mult.bit_length(),
            "SHIFT": shift,
            "STYLE": self.sums_ram()[2],
        }
