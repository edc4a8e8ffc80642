"""MAC implementations (``vp_mac``): structure, latency and resources of each.

An array multiplies ``tokens`` rows of ``simd`` activations with ``simd`` x ``pe`` weights a cycle.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from qonnx.core.datatype import BaseDataType

from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.memory import DSP_MIN_PRODUCT, multiplier_dsps
from finn_vitprune.custom_ops.op.structure import ProductGroup
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import clog2

MAX_CHAIN = 64
"""Longest cascade: the banks of weight memory and the delays of operands grow with it."""

SMALL_PRODUCT_LUTS = 1.7
"""LUTs of such a product per bit of one operand and bit of the other, as measured (27 for 4 x 4)."""

SRL_MIN_DELAY = 3
"""Delays from which on Yosys makes shift registers in LUTs (one a bit) instead of flip-flops."""


def adder_tree(count: int, width: int) -> int:
    """LUTs of a tree of adders: an adder of two operands takes a LUT per operand bit."""
    total = 0
    while count > 1:
        total += (count // 2) * width
        count, width = -(-count // 2), width + 1
    return total


@dataclass(frozen=True)
class Mac:
    """One array; ``x`` and ``w`` are the integer types of activations and weights.

    Its weights come in :attr:`chain` parts, part i (elements i ``simd / chain`` and up) i cycles after the
    activations. A DSP slice multiplies ``tokens_per`` tokens with ``outputs_per`` outputs at once. ``most_chain``: of parts, where lanes
    of another kind have no more.
    """

    tokens: int
    simd: int
    pe: int
    x: BaseDataType = field(hash=False)
    w: BaseDataType = field(hash=False)
    acc_bits: int
    most_chain: int = MAX_CHAIN

    @property
    @abstractmethod
    def latency(self) -> int:
        """Cycles from the operands to their sum in the accumulators (``LATENCY`` in the RTL)."""

    @property
    @abstractmethod
    def dsp(self) -> int:
        """DSP slices."""

    @property
    @abstractmethod
    def lut(self) -> int:
        """LUTs, shift registers included, as Yosys maps the array."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, float]:
        """Its logic: bits of ``adders``, of ``sums`` that accumulate, of ``choices`` among several terms and of ``gates`` of one, of
        ``registers`` beside those behind the adders, and of ``splits``: sums of products that take several multipliers."""

    @property
    def products(self) -> tuple[ProductGroup, ...]:
        """Its multipliers."""
        return ()

    @property
    def chain(self) -> int:
        return 1

    @property
    def tokens_per(self) -> int:
        return 1

    @property
    def outputs_per(self) -> int:
        return 1

    @property
    def x_bits(self) -> int:
        return self.x.bitwidth()

    @property
    def x_signed_bits(self) -> int:
        """Bits of an activation as a signed number."""
        return self.x_bits + (not self.x.signed())

    @property
    def w_bits(self) -> int:
        return self.w.bitwidth()

    def _delay_luts(self, bits: int) -> int:
        """Shift registers that delay the activations by their position; ``bits`` for one element."""
        return max(0, self.chain - SRL_MIN_DELAY) * (self.simd // self.chain) * bits


class PortableMac(Mac):
    """Everything inferred; two tokens share a multiplier where their products fit."""

    FIELD = 18
    """Bits of the lower of two products in one multiplier (``LOW`` of vp_mac_portable)."""

    @property
    def packed(self) -> bool:
        """Whether two tokens share a multiplier (``PACK``)."""
        return self.tokens % 2 == 0 and self.x_bits <= 8 and self.w_bits <= 9

    @property
    def tokens_per(self) -> int:
        return 2 if self.packed else 1

    @property
    def operand_bits(self) -> int:
        """Signed bits of the multiplier operand that holds one element, or two (``A_BITS``)."""
        return self.x_bits + 1 + (self.FIELD if self.packed else 0)

    @property
    def group(self) -> int:
        """Products added before they are taken apart (``GROUP``)."""
        if not self.packed:
            return self.simd
        magnitude = self.x_bits - bool(self.x.signed()) + self.w_bits - 1
        limit = ((1 << (self.FIELD - 1)) - 1) >> magnitude
        return max(d for d in divisors(self.simd) if d <= max(1, limit))

    @property
    def latency(self) -> int:
        return 4 + clog2(self.group) + clog2(self.simd // self.group)

    @property
    def small_products(self) -> bool:
        """Whether single products are so narrow that Yosys builds them from LUTs."""
        return not self.packed and self.x_signed_bits + self.w_bits < DSP_MIN_PRODUCT

    @property
    def dsp(self) -> int:
        if self.small_products:
            return 0
        products = self.tokens // self.tokens_per * self.simd * self.pe
        return products * multiplier_dsps(self.operand_bits, self.w_bits)

    @property
    def lut(self) -> int:
        """Operand packing, adder trees, accumulators."""
        product = self.operand_bits + self.w_bits
        sums = self.simd // self.group
        upper = product + clog2(self.group) - (self.FIELD if self.packed else 0)
        per_pe = sums * adder_tree(self.group, product) + adder_tree(sums, upper) + self.acc_bits
        packing = 0
        if self.small_products:
            per_pe += round(self.simd * SMALL_PRODUCT_LUTS * self.x_bits * self.w_bits)
        if self.packed:
            per_pe += adder_tree(sums, self.FIELD) + self.acc_bits
            packing = self.simd * (self.x_bits + 1)
        return self.tokens // self.tokens_per * (packing + self.pe * per_pe)

    @property
    def products(self) -> tuple[ProductGroup, ...]:
        a = self.operand_bits if self.packed else self.x_signed_bits
        return (ProductGroup(self.tokens // self.tokens_per * self.simd * self.pe, a, self.w_bits),)

    @property
    def parts(self) -> dict[str, float]:
        units, [products] = self.tokens // self.tokens_per, self.products
        product, sums = products.a + self.w_bits, self.simd // self.group
        packing = self.simd * (self.x_bits + 1) if self.packed else 0
        upper = product + clog2(self.group) - (self.FIELD if self.packed else 0)
        trees = sums * adder_tree(self.group, product) + adder_tree(sums, upper) + (adder_tree(sums, self.FIELD) if self.packed else 0)
        return {
            "adders": units * (self.pe * trees + packing), "sums": self.tokens * self.pe * self.acc_bits,
            "registers": units * self.simd * self.x_bits + self.pe * self.simd * self.w_bits + 2 * products.count * product,
            "splits": products.count * (product - self.FIELD) if self.packed else 0,
        }  # fmt: skip


class Dsp48e2Mac(Mac):
    """Cascades of DSP48E2 primitives: up to four products a slice, summed before they are taken apart.

    In a product each pair of token and output has a field of :meth:`_field` bits. A cascade is as long as
    the sums of its products fit the fields; for sharing to pay it must reach ``LEAST_CHAIN``.
    """

    SHARES = ((2, 2), (2, 1), (1, 2), (1, 1))
    """Tokens and outputs of a slice."""

    LEAST_CHAIN = {4: 8, 2: 2, 1: 1}

    @property
    def tokens_per(self) -> int:
        return self._share[0]

    @property
    def outputs_per(self) -> int:
        return self._share[1]

    @cached_property
    def chain(self) -> int:
        return self._longest(*self._share)

    @cached_property
    def _share(self) -> tuple[int, int]:
        """The one with most products a slice, of these the one with the longest cascade."""
        fitting = [
            (tokens * outputs, self._longest(tokens, outputs), (tokens, outputs))
            for tokens, outputs in self.SHARES
            if self.tokens % tokens == 0 and self.pe % outputs == 0
        ]
        return max(f for f in fitting if f[1] >= min(self.simd, self.LEAST_CHAIN[f[0]]))[2]

    def _field(self, tokens_per: int, outputs_per: int) -> int:
        """Bits of a field (``FIELD``): two elements share 27 bits, for four products two share 18 bits too."""
        if outputs_per == 2:
            wide = 26 - self.w_bits
            return min(wide // 2, 17 - self.x_bits) if tokens_per == 2 else wide
        return 26 - self.x_bits if tokens_per == 2 else 47

    @property
    def _largest_product(self) -> int:
        """Largest magnitude of a product."""
        return max(-int(self.x.min()), int(self.x.max())) * -int(self.w.min())

    def _longest(self, tokens_per: int, outputs_per: int) -> int:
        """Length of the cascades, 0 where not even one product fits."""
        field = self._field(tokens_per, outputs_per)
        limit = (1 << (field - 1)) // self._largest_product if field > 0 else 0
        return max((d for d in divisors(self.simd) if d <= min(limit, self.most_chain)), default=0)

    @property
    def _accumulates(self) -> bool:
        """Whether the last slice of the cascade is the accumulator too."""
        return self._share == (1, 1) and self.chain == self.simd

    @property
    def latency(self) -> int:
        return self.chain + (3 if self._accumulates else 4 + clog2(self.simd // self.chain))

    @property
    def dsp(self) -> int:
        return self.tokens // self.tokens_per * self.pe // self.outputs_per * self.simd

    @property
    def lut(self) -> int:
        """Operand delays, the borrows of activations that share 18 bits, adders and accumulators."""
        both = self._share == (2, 2)
        borrow = both and self.x.signed()
        operand = self.tokens_per * self.x_bits + borrow
        delays = self.tokens // self.tokens_per * self._delay_luts(operand)
        borrows = self.tokens // 2 * self.simd * (self.x_bits + 1) if borrow else 0
        if self._accumulates:
            return delays
        width = clog2(self.chain * self._largest_product) + 1
        sums = adder_tree(self.simd // self.chain, width) + self.acc_bits + 1
        return delays + borrows + self.tokens * self.pe * sums

    @property
    def parts(self) -> dict[str, float]:
        raise UserError("mac_style dsp48e2 is of UltraScale+ alone: use portable or lut")


class LutMac(Mac):
    """No multipliers: pairs of weight bits choose among activations and their sum, a cascade a weight bit."""

    @property
    def _pair(self) -> int:
        """Elements of a position (``PAIR``)."""
        return 2 if self.simd % 2 == 0 else 1

    @property
    def chain(self) -> int:
        return self.simd // self._pair

    @property
    def latency(self) -> int:
        return self.chain + 2 + clog2(self.w_bits)

    dsp = 0

    @property
    def lut(self) -> int:
        """Operand delays, sums of pairs, cascades, sums over the weight bits, accumulators."""
        x, pair, chain = self.x_signed_bits, self._pair, self.chain
        operands = self._delay_luts(pair * self.x_bits) + (pair - 1) * chain * (x + 1)
        cascade = sum(x + clog2((i + 1) * pair) for i in range(chain)) + self._lone_signs
        planes, count, shift = 0, self.w_bits, 1
        while count > 1:
            planes += count // 2 * (x + clog2(self.simd) + min(2 * shift, self.w_bits) - shift)
            count, shift = -(-count // 2), 2 * shift
        return self.tokens * (operands + self.pe * (self.w_bits * cascade + planes + self.acc_bits))

    @property
    def parts(self) -> dict[str, float]:
        x, pair, chain, bits = self.x_signed_bits, self._pair, self.chain, self.w_bits
        widths = [x + clog2((i + 1) * pair) for i in range(chain)]
        planes, count, shift = 0, bits, 1
        while count > 1:
            planes += count // 2 * (x + clog2(self.simd) + min(2 * shift, bits) - shift)
            count, shift = -(-count // 2), 2 * shift
        outputs = self.tokens * self.pe
        late = sum(range(chain)) * pair * self.x_bits + chain * (3 if pair == 2 else 1) * (x + 1)
        return {
            "adders": self.tokens * (pair - 1) * chain * (x + 1) + outputs * (bits * sum(widths[1:]) + planes),
            "sums": outputs * self.acc_bits,
            "choices": outputs * bits * chain * (x + 1) if pair == 2 else 0,
            "gates": outputs * bits * chain * (x + 1) if pair == 1 else 0,
            "registers": self.tokens * late + self.pe * self.simd * bits + outputs * (bits * widths[0] + bits),
        }  # fmt: skip

    @property
    def _lone_signs(self) -> int:
        """Positions of a cascade that extend a term by two bits or more: the choice of its sign is a LUT of its own."""
        return sum(clog2((i + 1) * self._pair) > 1 for i in range(self.chain))


MAC_STYLES: dict[str, type[Mac]] = {"portable": PortableMac, "dsp48e2": Dsp48e2Mac, "lut": LutMac}
"""MAC implementations by the name that the node attribute and ``vp_mac`` give them."""


@lru_cache(maxsize=1 << 12)
def mac_array(style: str, *shape) -> Mac:
    """The array of a MAC implementation, ``shape`` in the order of :class:`Mac`: one object for equal ones."""
    return MAC_STYLES[style](*shape)


def known_mac_style(name: str | None) -> str | None:
    """``name`` itself; a UserError unless it is a MAC implementation, or None."""
    if name is not None and name not in MAC_STYLES:
        raise UserError(f"--mac-style {name} is unknown: use {', '.join(MAC_STYLES)}")
    return name
