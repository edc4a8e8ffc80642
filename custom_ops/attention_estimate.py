"""Sizes and resources of the attention unit by structure: DSP and RAM exactly, LUTs module by module."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from finn_vitprune.custom_ops.base import divisors
from finn_vitprune.custom_ops.folding import FOLDINGS_KEPT, Folding, LostCycles, Styles, thriftiest
from finn_vitprune.custom_ops.memory import (
    ATTENTION_MEMORY,
    DSP_MIN_PRODUCT,
    Estimate,
    Holds,
    UnitMemory,
    multiplier_dsps,
    ram_bits,
    read_latency,
)
from finn_vitprune.custom_ops.requant_estimate import requant_cycles, requant_dsps
from finn_vitprune.numerics import MULT_BITS, RECIP_BITS, clog2


KV_SHARE = 0.8
"""Share of the interval that K and V may take to come in: they come in bursts."""
FIFO_CONTROL = 12
"""LUTs of a small FIFO beside its memory."""
KV_RAM = 2
"""Bits of RAM that a candidate may take for each bit of K and V, where one does with so few."""


def tree_levels(terms: int) -> int:
    """Register levels of a ``vp_adder_tree`` of radix 4: ceil(log4(terms))."""
    return (clog2(terms) + 1) // 2


def division_cycles(quotient: int, bits: int) -> int:
    """Cycles of one division in ``vp_divide``."""
    return -(-quotient // bits) + 1


@dataclass(frozen=True)
class Geometry(Folding):
    """The unit at a fold, and the sizes that follow from it; names as in the RTL."""

    tokens: int
    queries: int
    heads: int
    head_dim: int
    simd: int
    pe: int
    in_bits: int
    out_bits: int
    logit_bits: int
    recip_bits_per_cycle: int
    scores: bool
    score_bits: int
    style: str

    @property
    def cg(self) -> int:
        """Channel groups of a head."""
        return self.head_dim // self.simd

    @property
    def kg(self) -> int:
        """Key groups of a frame."""
        return -(-self.tokens // self.pe)

    @property
    def item_cycles(self) -> int:
        """Cycles of one phase of one (query, head) item."""
        return self.kg * self.cg

    @property
    def z_bits(self) -> int:
        """Width of a row sum Z."""
        return (255 * self.tokens).bit_length()

    @property
    def recip_bits(self) -> int:
        """Quotient bits a cycle of the reciprocal for O: the fewest with which a division takes no longer than an item."""
        enough = (b for b in range(1, RECIP_BITS) if division_cycles(RECIP_BITS, b) <= self.item_cycles)
        return self.recip_bits_per_cycle or next(enough, RECIP_BITS)

    @property
    def score_quotient(self) -> int:
        """Width of the scaled reciprocal of the scores."""
        return self.z_bits + 17

    @property
    def score_recip_bits(self) -> int:
        """Quotient bits a cycle of it; it has the time of the K and V beats of a head."""
        return -(-self.score_quotient // max(1, 2 * self.tokens * self.cg - 3))

    @property
    def logit_lanes(self) -> int:
        """Multipliers that requantise logits."""
        return -(-self.pe // self.cg)

    @property
    def out_lanes(self) -> int:
        """Multipliers that requantise O."""
        return -(-self.simd // self.kg)

    @property
    def logit_acc_bits(self) -> int:
        """Width of a logit accumulator."""
        return 2 * self.in_bits + clog2(self.head_dim)

    @property
    def acc_bits(self) -> int:
        """Width of an accumulator of E V."""
        return self.in_bits + 8 + clog2(self.tokens)

    @property
    def handover(self) -> int:
        """Cycles from the end of an item's first phase to the start of its second."""
        serial = -(-self.pe // self.logit_lanes) + requant_cycles(self.logit_acc_bits, MULT_BITS)
        return 10 + self.kv_latency + tree_levels(-(-self.simd // 4)) + tree_levels(self.logit_lanes) + serial

    @property
    def slots(self) -> int:
        """Items whose logits are held."""
        return 2 + -(-(self.handover + 2) // self.item_cycles)

    @property
    def groups_held(self) -> int:
        """Channel groups of accumulators that can wait for their reciprocal.

        An item's, one that starts, and those in flight: pipeline, division and output of one group.
        """
        serial = -(-self.simd // self.out_lanes)
        steps = division_cycles(RECIP_BITS, self.recip_bits) - 1
        flight = 16 + max(3, self.kv_latency) + tree_levels(-(-self.pe // 4)) + steps + serial
        return self.cg + 1 + -(-flight // self.kg)

    # --- folding ---

    @property
    def macs(self) -> int:
        """Products of Q K^T and of E V."""
        return 2 * self.queries * self.heads * self.head_dim * self.tokens

    @property
    def products_per_cycle(self) -> int:
        """Both phases work at once."""
        return 2 * self.simd * self.pe

    @property
    def kv_beats(self) -> int:
        """Beats of K and V of a frame."""
        return 2 * self.tokens * self.heads * self.cg

    @property
    def cycles(self) -> int:
        """Steady interval of overlapping frames (see :class:`.PrunedAttention` for the main terms)."""
        items = self.queries * self.heads
        compute = items * max(self.item_cycles, division_cycles(RECIP_BITS, self.recip_bits))
        # A V buffer is in use from its first write, heads * cg beats after K's, to its last read in the
        # second phase of the last item, which reads ahead; two buffers take turns. The same for K and the first phase.
        v_ahead = min(3, self.kv_latency) - 1
        v_hold = self.kv_beats - self.heads * self.cg + (items + 1) * self.item_cycles + self.handover - v_ahead
        k_hold = self.kv_beats + items * self.item_cycles + 3
        bounds = [compute, self.kv_beats, -(-max(v_hold, k_hold) // 2)]
        if self.scores:
            division = division_cycles(self.score_quotient, self.score_recip_bits)
            bounds += [self.heads * max(self.tokens + 5, division), self.tokens + 2]
        return max(bounds)

    @property
    def lost(self) -> LostCycles:
        items = self.queries * self.heads * self.item_cycles
        return LostCycles(rows=items - self.ideal_cycles, waiting=self.cycles - items)

    @cached_property
    def resources(self) -> Estimate:
        return sum((memory.resources for memory in self.memories), Estimate(LUT=lut(self), DSP=dsp(self)))

    def attributes(self) -> dict[str, int]:
        return {"SIMD": self.simd, "PE": self.pe, "ram_style": self.style}

    def candidates(self, interval: int, styles: Styles) -> tuple[Geometry, ...]:
        return _candidates(self.shape, interval, styles)

    @property
    def shape(self) -> Geometry:
        """All but the fold and where K and V are."""
        return replace(self, simd=1, pe=1, style="auto")

    def for_interval(self, interval: int) -> Geometry:
        """Fewest multipliers within ``interval``, else the fastest fold; of equals the widest beats.

        K and V get a share of it (:data:`KV_SHARE`), since they come in bursts.
        """

        def worth(g: Geometry) -> tuple[int, int, int, int]:
            late = max(0, g.cycles - interval, g.kv_beats - int(KV_SHARE * interval))
            return late, dsp(g), g.simd * g.pe, g.pe

        return min(_folds(self), key=worth)

    # --- memories ---

    @property
    def kv_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the K and V memories, ``2 * pe`` of them."""
        words, width = 2 * self.heads * self.item_cycles, self.simd * self.in_bits
        return words, width, ATTENTION_MEMORY.style(words, width, self.style)

    @property
    def kv_latency(self) -> int:
        """Cycles of a read of K and V (KV_LATENCY)."""
        words, _, style = self.kv_ram
        return read_latency(words, style)

    @property
    def kv_ram_bits(self) -> int:
        """Capacity of the memories that hold K and V: whole block RAMs or UltraRAMs, or LUTRAM in rows of 64 words."""
        return 2 * self.pe * ram_bits(*self.kv_ram)

    @property
    def kv_code_bits(self) -> int:
        """Bits of the codes in them: K and V of two frames."""
        return 2 * self.tokens * 2 * self.heads * self.head_dim * self.in_bits

    @property
    def items_held(self) -> int:
        """Items whose sums, or reciprocals, can wait."""
        return -(-self.groups_held // self.cg) + 2

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        """All memories, as the modules have them; FIFOs hold one beat more in their output register."""
        codes, items = self.simd * self.in_bits, self.items_held
        found = [
            UnitMemory(Holds.KEYS_AND_VALUES, "keys and values", *self.kv_ram, count=2 * self.pe, stored=self.kv_code_bits),
            UnitMemory(Holds.ROWS, "slices of queries", 4 * self.cg, codes, "distributed"),
            UnitMemory(Holds.ROWS, "logits", self.slots * self.kg, self.pe * self.logit_bits, "distributed"),
            UnitMemory(Holds.TABLE, "exp", 1 << self.logit_bits, 8, "distributed", count=self.pe, rom=True),
            _fifo("row maxima", self.slots, self.logit_bits),
            _fifo("sums of E V", self.groups_held + 2, self.simd * self.acc_bits),
            _fifo("row sums", items, self.z_bits),
            _fifo("reciprocals", items, RECIP_BITS),
        ]
        if self.scores:
            found += [
                UnitMemory(Holds.ROWS, "rows that wait for their scores", *self.ring_ram),
                UnitMemory(Holds.ROWS, "scores", self.tokens, self.score_bits, "distributed", count=2),
                _fifo("row sums of the scores", self.heads + 3, self.z_bits),
            ]
        return tuple(found)

    @property
    def ring_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the RAM of the E rows that wait for their scores."""
        words, width = (self.heads + 1) * self.kg, self.pe * 8
        return words, width, ATTENTION_MEMORY.style(words, width)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _candidates(g: Geometry, interval: int, styles: Styles) -> tuple[Geometry, ...]:
    """Folds within the interval, K and V in every style."""
    fast = [fold for fold in _folds(g) if fold.cycles <= interval]
    in_time = [fold for fold in fast if fold.kv_beats <= KV_SHARE * interval] or fast
    folds = [replace(fold, style=style) for fold in in_time for style in styles.ram]
    dense = [fold for fold in folds if fold.kv_ram_bits <= KV_RAM * fold.kv_code_bits]
    return thriftiest((fold, fold.resources) for fold in dense or folds)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _folds(g: Geometry) -> list[Geometry]:
    """All folds of a unit."""
    keys = {-(-g.tokens // groups) for groups in range(1, g.tokens + 1)}
    return [replace(g, simd=simd, pe=pe) for simd in divisors(g.head_dim) for pe in keys]


def dsp(g: Geometry) -> int:
    """Two products a DSP (a last odd one alone), the requantisers, the scores."""
    lone = 1 if g.in_bits + g.in_bits + 1 >= DSP_MIN_PRODUCT else 0
    logits = g.simd * (g.pe // 2 + g.pe % 2 * lone)
    values = g.pe * -(-g.simd // 2)
    requant = g.logit_lanes * requant_dsps(g.logit_acc_bits, MULT_BITS)
    out = g.out_lanes * requant_dsps(g.acc_bits, RECIP_BITS)
    return logits + values + requant + out + (multiplier_dsps(g.score_quotient + 1, 9) if g.scores else 0)


def lut(g: Geometry) -> int:
    """Sum over the modules, without their memories."""
    return _ports(g) + _kv(g) + _logits(g) + _values(g) + _norm(g) + (_scores(g) if g.scores else 0)


def _ports(g: Geometry) -> int:
    return g.simd * (2 * g.in_bits + g.out_bits) + 9 + (g.score_bits + 3 if g.scores else 0)


def _fifo(name: str, depth: int, width: int) -> UnitMemory:
    """The LUTRAM of a FIFO."""
    return UnitMemory(Holds.FIFO, name, depth - 1, width, "distributed")


def _kv(g: Geometry) -> int:
    return 30 + 3 * clog2(g.kv_ram[0]) + 2 * g.pe


def _tree(terms: int, width: int, growth: int = 2) -> int:
    """Adders of a ``vp_adder_tree`` of radix 4 (growth 0: compare and select)."""
    total, factor = 0, 1 if growth else 1.6
    while terms > 1:
        nodes = -(-terms // 4)
        width += growth
        total += round((terms - nodes) * width * factor)
        terms = nodes
    return total


def _dot(outputs: int, terms: int, a: int, b: int, lone_in_luts: bool = False) -> int:
    """``vp_attention_dot``: packing, sums of four in both fields at once, trees."""
    field = a + b + 2
    groups = -(-terms // 4)
    adders = (terms - groups) * field
    pairs = outputs // 2
    total = outputs * (adders + _tree(groups, field)) + pairs * (3 * terms + groups)
    return total + (outputs % 2 * terms * a * b if lone_in_luts else 0)


def _logits(g: Geometry) -> int:
    serial = -(-g.pe // g.logit_lanes)
    shift = (g.pe - g.logit_lanes) * g.logit_acc_bits if serial > 1 else 0
    requant = g.logit_lanes * (14 + g.logit_bits)
    maximum = _tree(g.logit_lanes, g.logit_bits, 0) + round(2 * g.logit_bits)
    control = 50 + clog2(g.kv_ram[0]) + clog2(g.slots * g.kg) + clog2(g.queries) + clog2(4 * g.cg)
    dot = _dot(g.pe, g.simd, g.in_bits, g.in_bits, 2 * g.in_bits + 1 < DSP_MIN_PRODUCT)
    shift += g.pe * g.logit_acc_bits
    return dot + shift + requant + maximum + control + FIFO_CONTROL


def _values(g: Geometry) -> int:
    padding = g.kg * g.pe - g.tokens
    exp = g.pe * g.logit_bits + 8 * padding
    z = _tree(g.pe, 9) + g.z_bits
    control = 50 + clog2(g.kv_ram[0]) + 2 * clog2(g.slots * g.kg) + clog2(g.queries)
    return exp + z + control + _dot(g.simd, g.pe, g.in_bits, 8) + g.simd * g.acc_bits


def _divide(den: int, quotient: int, bits: int) -> int:
    return bits * (2 * den + 2) + 12 + quotient


def _norm(g: Geometry) -> int:
    serial = -(-g.simd // g.out_lanes)
    shift = (g.simd - g.out_lanes) * g.acc_bits if serial > 1 else 0
    split = requant_dsps(g.acc_bits, RECIP_BITS) > 1
    requant = g.out_lanes * (16 + g.out_bits + (31 if split else 0))
    return shift + requant + 3 * FIFO_CONTROL + _divide(g.z_bits, RECIP_BITS, g.recip_bits) + 25


def _scores(g: Geometry) -> int:
    words, width, _ = g.ring_ram
    divide = _divide(g.z_bits, g.score_quotient, g.score_recip_bits)
    control = 60 + clog2(words) * 2 + clog2(g.tokens) * 4
    lanes = width if g.pe > 1 else 0
    return divide + FIFO_CONTROL + lanes + 2 * g.score_bits + control
