"""Sizes and resources of the attention unit by structure: DSP and RAM exactly, LUTs module by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Folding, LostCycles, Styles, thriftiest, used_by
from finn_vitprune.custom_ops.op.memory import (
    ATTENTION_MEMORY,
    DSP_MIN_PRODUCT,
    Estimate,
    Holds,
    RowRam,
    UnitMemory,
    multiplier_dsps,
    rom_luts,
)
from finn_vitprune.custom_ops.op.requant_estimate import requant_cycles, requant_dsps
from finn_vitprune.numerics import MULT_BITS, RECIP_BITS, clog2

KV_SHARE = 0.8
"""Share of the interval that K and V may take to come in: they come in bursts."""
FIFO_CONTROL = 12
"""LUTs of a small FIFO beside its memory."""
CREDITS = 6
"""LUTs of a ``vp_credits``."""
FRAMES = 4
"""Tags of frames that wait in a shared unit, as a rule."""
KV_RAM = 2
"""Bits of RAM that a candidate may take for each bit of K and V, where one does with so few."""


def tree_levels(terms: int) -> int:
    """Register levels of a ``vp_adder_tree`` of radix 4: ceil(log4(terms))."""
    return (clog2(terms) + 1) // 2


def division_cycles(quotient: int, stages: int) -> int:
    """Cycles between two divisions in ``vp_divide``."""
    return -(-quotient // stages) + 1


def division_latency(quotient: int, stages: int) -> int:
    """Cycles of one division."""
    return stages * division_cycles(quotient, stages)


class Frame(NamedTuple):
    """Sizes of an encoder's frame."""

    tokens: int
    queries: int
    heads: int
    scores: bool


class Spans(NamedTuple):
    """By how much shifts differ between encoders: of logits, and of O."""

    logit: int = 0
    recip: int = 0


@dataclass(frozen=True)
class Geometry(Folding):
    """The unit at a fold, and the sizes that follow from it; names as in the RTL.

    Where encoders share the unit, ``encoders`` has their frames, and the sizes here are those of the unit, the most of them, or
    of one encoder. Memories are as the unit needs them, multipliers and dividers keep up with the encoder of the fewest tokens.
    """

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
    encoders: tuple[Frame, ...] = ()
    spans: Spans = field(default_factory=Spans)

    @cached_property
    def each(self) -> tuple[Geometry, ...]:
        """The unit as each encoder has it; itself where it is not shared."""
        return tuple(replace(self, **frame._asdict()) for frame in self.encoders) or (self,)

    @cached_property
    def unit(self) -> Geometry:
        """The unit as a whole."""
        return replace(self, **Frame(*map(max, zip(*self.encoders)))._asdict()) if self.encoders else self

    @cached_property
    def least(self) -> Geometry:
        """The unit as the encoder of the fewest tokens has it."""
        return min(self.each, key=lambda g: g.tokens)

    @property
    def cg(self) -> int:
        """Channel groups of a head."""
        return self.head_dim // self.simd

    @property
    def kg(self) -> int:
        """Key groups of a frame."""
        return -(-self.tokens // self.pe)

    @cached_property
    def item_cycles(self) -> int:
        """Cycles of one phase of one (query, head) item."""
        return self.kg * self.cg

    @cached_property
    def z_bits(self) -> int:
        """Width of a row sum Z."""
        return (255 * self.unit.tokens).bit_length()

    @cached_property
    def recip_bits(self) -> int:
        """Quotient bits a cycle of the reciprocal for O: the fewest with which a division takes no longer than an item."""
        enough = (b for b in range(1, RECIP_BITS) if division_cycles(RECIP_BITS, b) <= self.least.item_cycles)
        return self.recip_bits_per_cycle or next(enough, RECIP_BITS)

    @property
    def score_quotient(self) -> int:
        """Width of the scaled reciprocal of the scores."""
        return self.z_bits + 17

    @cached_property
    def score_recip_bits(self) -> int:
        """Quotient bits a cycle of it; it has the time of the K and V beats of a head."""
        tokens = min((g.tokens for g in self.each if g.scores), default=self.unit.tokens)
        return -(-self.score_quotient // max(1, 2 * tokens * self.cg - 3))

    @property
    def logit_lanes(self) -> int:
        """Multipliers that requantise logits."""
        return -(-self.pe // self.cg)

    @cached_property
    def out_lanes(self) -> int:
        """Multipliers that requantise O."""
        return -(-self.simd // self.least.kg)

    @property
    def logit_acc_bits(self) -> int:
        """Width of a logit accumulator."""
        return 2 * self.in_bits + clog2(self.head_dim)

    @property
    def acc_bits(self) -> int:
        """Width of an accumulator of E V."""
        return self.in_bits + 8 + clog2(self.unit.tokens)

    @cached_property
    def handover(self) -> int:
        """Cycles from the last step of an item's first phase to the first step of its second."""
        serial = -(-self.pe // self.logit_lanes)
        requant = requant_cycles(self.logit_acc_bits, MULT_BITS) + (self.spans.logit > 0)
        return 8 + self.kv_latency + tree_levels(-(-self.simd // 4)) + requant + clog2(self.logit_lanes) + serial

    @property
    def slots(self) -> int:
        """Items whose logits are held."""
        return 2 + -(-(self.handover + 2) // self.least.item_cycles)

    @property
    def groups_held(self) -> int:
        """Channel groups of accumulators that can wait for their reciprocal.

        An item's, one that starts, and those in flight: row sum or products, two FIFOs and the division between them.
        """
        returned = 4  # cycles until its place is free again
        return self.cg + 1 + -(-(max(self.reciprocal_latency, self._product_latency) + returned) // self.least.kg)

    @property
    def _exp_latency(self) -> int:
        """Cycles from a step of the second phase to its E and V."""
        return max(3, self.kv_latency)

    @property
    def _product_latency(self) -> int:
        """Cycles from the last step of a channel group to its sums of E V in the ring."""
        return self._exp_latency + tree_levels(-(-self.pe // 4)) + 7

    @property
    def reciprocal_latency(self) -> int:
        """Cycles from the last step of a row's first channel group to its reciprocal."""
        return self._row_sum_latency + division_latency(RECIP_BITS, self.recip_bits)

    @property
    def _row_sum_latency(self) -> int:
        """The same without the division, with the FIFOs before and after it."""
        return self._exp_latency + tree_levels(self.pe) + 6

    @property
    def _serial(self) -> int:
        """Cycles of a channel group in the multipliers of O."""
        return -(-self.simd // self.out_lanes)

    @property
    def _norm_latency(self) -> int:
        """Cycles from the start of a group in the multipliers of O until it leaves."""
        return self._serial + requant_cycles(self.acc_bits, RECIP_BITS) + (self.spans.recip > 0) + 4

    def o_latency(self, groups: int) -> int:
        """Cycles from the last step of an item's first phase until the first ``groups`` of its channel groups have left."""
        first = self.kg - 1 + self.reciprocal_latency + (groups - 1) * self._serial
        own = groups * self.kg - 1 + self._product_latency
        return self.handover + max(first, own) + self._norm_latency

    def score_latency(self, item: int) -> int:
        """Cycles from the last step of a frame's first item until its first score leaves; ``item`` cycles lie between items."""
        division = division_latency(self.score_quotient, self.score_recip_bits)
        first = self.handover + self.kg - 1 + self._row_sum_latency + division
        product = 3 + -(-self.score_quotient // 26)
        return first + (self.heads - 1) * max(item, self._score_row) + self.tokens + product + 4

    @property
    def out_depth(self) -> int:
        """Beats of O that are under way from the first multiplier to the output, one every ``serial`` cycles."""
        return 1 + -(-(self._norm_latency + 1) // self._serial)

    @property
    def tag_bits(self) -> int:
        """Width of an encoder's number, where there are several."""
        return clog2(len(self.encoders)) if self.encoders else 0

    # --- folding ---

    @property
    def macs(self) -> int:
        """Products of Q K^T and of E V."""
        return 2 * self.queries * self.heads * self.head_dim * self.tokens

    @property
    def products_per_cycle(self) -> int:
        """Both phases work at once."""
        return 2 * self.simd * self.pe

    @cached_property
    def kv_beats(self) -> int:
        """Beats of K and V of a frame."""
        return 2 * self.tokens * self.heads * self.cg

    @cached_property
    def _cycles_of_o(self) -> int:
        """Interval without the scores."""
        items = self.queries * self.heads
        compute = items * max(self.item_cycles, division_cycles(RECIP_BITS, self.recip_bits))
        # A V buffer is in use from its first write, heads * cg beats after K's, to its last read in the
        # second phase of the last item; two buffers take turns. The same for K and the first phase.
        v_late = max(0, 3 - self.kv_latency)
        v_hold = self.kv_beats - self.heads * self.cg + (items + 1) * self.item_cycles + self.handover + v_late + 2
        k_hold = self.kv_beats + items * self.item_cycles + 3
        return max(compute, self.kv_beats, -(-max(v_hold, k_hold) // 2))

    @cached_property
    def _score_row(self) -> int:
        """Cycles of a row of scores."""
        return max(2, self.tokens, division_cycles(self.score_quotient, self.score_recip_bits))

    @cached_property
    def cycles(self) -> int:
        """Steady interval of overlapping frames (see :class:`.PrunedAttention` for the main terms)."""
        scores = self.heads * self._score_row if self.scores else 0
        return max(self._cycles_of_o, scores)

    @property
    def score_rows(self) -> int:
        """Rows of E that can wait for their scores, as the encoder with the most of them needs it."""
        return max((g._score_rows for g in self.each if g.scores), default=1)

    @property
    def _score_rows(self) -> int:
        """Rows of a frame, one that starts, and those that a late division delays."""
        division = division_latency(self.score_quotient, self.score_recip_bits)
        late = self.kg + self._row_sum_latency + division + 2
        spare = self._cycles_of_o - self.heads * self._score_row
        return self.heads + 1 + -(-max(0, late - spare) // self._score_row)

    @property
    def lost(self) -> LostCycles:
        items = self.queries * self.heads * self.item_cycles
        return LostCycles(rows=items - self.ideal_cycles, waiting=self.cycles - items)

    @cached_property
    def resources(self) -> Estimate:
        return sum((memory.resources for memory in self.memories), Estimate(LUT=lut(self), DSP=dsp(self)))

    def attributes(self) -> Mapping[str, int | str]:
        return {"SIMD": self.simd, "PE": self.pe, "ram_style": self.style}

    def candidates(self, interval: int, styles: Styles, layers: Sequence[Folding] = ()) -> tuple[Geometry, ...]:
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

        return min(all_folds(self), key=worth)

    # --- memories ---

    @cached_property
    def kv_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the K and V memories, ``2 * pe`` of them."""
        words, width = 2 * self.unit.heads * self.unit.item_cycles, self.simd * self.in_bits
        return words, width, ATTENTION_MEMORY.style(words, width, self.style)

    @cached_property
    def kv_rows(self) -> RowRam:
        """Each of these memories."""
        return RowRam(*self.kv_ram)

    @cached_property
    def kv_latency(self) -> int:
        """Cycles of a read of K and V (KV_LATENCY): the address register of a bank, and the memory."""
        return 1 + self.kv_rows.latency

    @property
    def kv_ram_bits(self) -> int:
        """Capacity of the memories that hold K and V: whole block RAMs or UltraRAMs, or LUTRAM in rows of 64 words."""
        return 2 * self.pe * self.kv_rows.capacity

    @property
    def kv_code_bits(self) -> int:
        """Bits of the codes in them: K and V of two frames."""
        return 2 * self.tokens * 2 * self.heads * self.head_dim * self.in_bits

    @property
    def items_held(self) -> int:
        """Items whose sums, or reciprocals, can wait."""
        return -(-self.groups_held // self.cg) + 1

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        """All memories, as the modules have them; FIFOs hold one beat more in their output register."""
        codes, items = self.simd * self.in_bits, self.items_held
        tables = max(1, len(self.encoders)) << self.logit_bits
        sums = self.simd * self.acc_bits + self.spans.recip.bit_length()
        found = [
            UnitMemory(Holds.KEYS_AND_VALUES, "keys and values", *self.kv_ram, count=2 * self.pe, stored=self.kv_code_bits, in_rows=True),
            UnitMemory(Holds.ROWS, "slices of queries", 4 << clog2(self.cg), codes, "distributed"),
            UnitMemory(Holds.ROWS, "logits", self.slots * self.kg, self.pe * self.logit_bits, "distributed"),
            UnitMemory(Holds.TABLE, "exp", tables, 8, "distributed", count=self.pe, rom=True),
            UnitMemory(Holds.FIFO, "row maxima", self.slots, self.logit_bits, "distributed"),
            UnitMemory(Holds.FIFO, "sums of E V", self.groups_held, sums, "distributed"),
            _fifo("row sums", items, self.z_bits + self.tag_bits),
            _fifo("reciprocals", items, RECIP_BITS),
            _fifo("O at the output", self.out_depth + 1, self.simd * self.out_bits),
        ]
        if self.scores:
            found += [
                UnitMemory(Holds.ROWS, "rows that wait for their scores", *self.ring_ram),
                UnitMemory(Holds.ROWS, "scores", self.tokens, self.score_bits, "distributed", count=2),
                _fifo("row sums of the scores", self.score_rows + 1, self.z_bits),
                _fifo("reciprocals of the scores", self.score_rows + 1, self.score_quotient),
                _fifo("scores at the output", 5, self.score_bits),
            ]
        if self.encoders:
            found.append(_fifo("encoders of frames", FRAMES, self.tag_bits))
            found += [_fifo("encoders of the scores", self.score_rows + 1, self.tag_bits)] if self.scores else []
        return tuple(found)

    @property
    def ring_ram(self) -> tuple[int, int, str]:
        """Words, bits and style of the RAM of the E rows that wait for their scores."""
        words, width = self.score_rows * self.kg, self.pe * 8
        return words, width, ATTENTION_MEMORY.style(words, width)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _candidates(g: Geometry, interval: int, styles: Styles) -> tuple[Geometry, ...]:
    """Folds with which the frames of all encoders are within the interval, K and V in every style."""
    fast = [fold for fold in all_folds(g) if sum(own.cycles for own in fold.each) <= interval]
    in_time = [fold for fold in fast if sum(own.kv_beats for own in fold.each) <= KV_SHARE * interval] or fast
    folds = [styled for fold in in_time for styled in in_styles(fold, styles)]
    folds = [fold for fold in folds if fold.kv_ram_bits <= KV_RAM * fold.kv_code_bits] or folds
    return tuple(folds[i] for i in thriftiest(used_by(folds)))


@lru_cache(maxsize=FOLDINGS_KEPT)
def all_folds(g: Geometry) -> list[Geometry]:
    """All folds of a unit."""
    keys = {-(-g.tokens // groups) for groups in range(1, g.tokens + 1)}
    return [replace(g, simd=simd, pe=pe) for simd in divisors(g.head_dim) for pe in keys]


@lru_cache(maxsize=FOLDINGS_KEPT)
def in_styles(fold: Geometry, styles: Styles) -> list[Geometry]:
    """A fold with K and V in every style."""
    return [replace(fold, style=style) for style in styles.ram]


def dsp(g: Geometry) -> int:
    """Two products a DSP (a last odd one alone), the requantisers, the scores."""
    lone = 1 if 2 * g.in_bits >= DSP_MIN_PRODUCT else 0
    logits = g.simd * (g.pe // 2 + g.pe % 2 * lone)
    values = g.pe * -(-g.simd // 2)
    requant = g.logit_lanes * requant_dsps(g.logit_acc_bits, MULT_BITS)
    out = g.out_lanes * requant_dsps(g.acc_bits, RECIP_BITS)
    return logits + values + requant + out + (multiplier_dsps(g.score_quotient + 1, 9) if g.scores else 0)


def lut(g: Geometry) -> int:
    """Sum over the modules, without their memories."""
    common = _ports(g) + _kv(g) + _logits(g) + _values(g) + _norm(g) + (_scores(g) if g.scores else 0)
    return common + (_shared(g) if g.encoders else 0)


def _ports(g: Geometry) -> int:
    """Registers of two beats at the inputs, control of the FIFOs at the outputs."""
    return 2 * (g.simd * g.in_bits + 3) + (1 + g.scores) * (FIFO_CONTROL + CREDITS)


def _fifo(name: str, depth: int, width: int) -> UnitMemory:
    """The LUTRAM of a FIFO."""
    return UnitMemory(Holds.FIFO, name, depth - 1, width, "distributed")


def _kv(g: Geometry) -> int:
    """Counters of the frame and of a part of a token, addresses (next, first of K and of V), banks of a token."""
    return 3 * CREDITS + clog2(g.kv_beats) + clog2(g.heads * g.cg) + clog2(g.cg) + 4 * clog2(g.kv_ram[0]) + 3 * g.pe + 9


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
    control = 20 + 4 * CREDITS + clog2(g.kv_ram[0]) + _issue(g) + 2 * clog2(4 * g.cg) + clog2(g.slots * g.kg)
    dot = _dot(g.pe, g.simd, g.in_bits, g.in_bits, 2 * g.in_bits < DSP_MIN_PRODUCT)
    shift += g.pe * g.logit_acc_bits
    return dot + shift + requant + maximum + control


def _values(g: Geometry) -> int:
    exp = g.pe * g.logit_bits
    z = _tree(g.pe, 9) + g.z_bits
    control = 20 + clog2(g.kv_ram[0]) + _issue(g) + 4 * clog2(g.slots * g.kg)
    return exp + z + control + _dot(g.simd, g.pe, g.in_bits, 8) + g.simd * g.acc_bits


def _issue(g: Geometry) -> int:
    """Counters of an item's steps, of its groups, of heads and queries."""
    return clog2(g.item_cycles) + clog2(max(g.cg, g.kg)) + clog2(g.heads) + clog2(g.queries) + 8


def _reciprocal(den: int, quotient: int, stages: int, constant: bool) -> int:
    """Two FIFOs; in each stage a subtraction, the choice of the rest, the bits that move and steps; a constant is no choice."""
    return 2 * FIFO_CONTROL + stages * (2 * den + 9 + quotient) + (-quotient if constant else den)


def _norm(g: Geometry) -> int:
    serial = -(-g.simd // g.out_lanes)
    shift = (g.simd - g.out_lanes) * g.acc_bits if serial > 1 else 0
    split = requant_dsps(g.acc_bits, RECIP_BITS) > 1
    requant = g.out_lanes * (16 + g.out_bits + (31 if split else 0))
    control = 12 + CREDITS + 5 * clog2(g.groups_held)
    return shift + requant + control + _reciprocal(g.z_bits, RECIP_BITS, g.recip_bits, constant=True)


def _scores(g: Geometry) -> int:
    words, width, _ = g.ring_ram
    reciprocal = _reciprocal(g.z_bits, g.score_quotient, g.score_recip_bits, constant=False)
    control = 20 + 3 * CREDITS + 2 * clog2(words) + 5 * clog2(g.tokens) + clog2(g.pe)
    return reciprocal + width - 8 + 3 * g.score_bits + control


def _shared(g: Geometry) -> int:
    """What a unit of several encoders has beside: tags, tables of shapes and constants, counts that are data, shifts."""
    encoders, tag = len(g.encoders), g.tag_bits
    tags = 4 * (tag + 3) + 2 * FIFO_CONTROL + 12  # registers of two, FIFO, fork, output
    item, rows = clog2(g.item_cycles), clog2(g.heads) + clog2(g.queries)
    counts = [
        clog2(g.heads * g.cg) + clog2(g.kv_beats), item + rows, item + clog2(g.kg) + rows, clog2(g.kg),
        *([2 * clog2(g.tokens) + clog2(g.heads)] if g.scores else []),
    ]  # fmt: skip
    constants = 2 * clog2(g.kv_ram[0]) + MULT_BITS + clog2(g.pe) + g.pe + RECIP_BITS + 8 + sum(map(int.bit_length, g.spans))
    tables = sum(rom_luts(encoders, bits, "distributed") for bits in (*counts, constants))
    logits = _shifter(g.logit_lanes, g.logit_acc_bits + MULT_BITS, g.spans.logit)
    return tags + tables + sum(counts) // 2 + logits + _shifter(g.out_lanes, g.acc_bits + RECIP_BITS, g.spans.recip)


def _shifter(lanes: int, product: int, span: int) -> int:
    """Multiplexers before the shift of ``vp_requant``, of four inputs a LUT."""
    return lanes * (product + span) << max(0, span.bit_length() - 2) if span else 0
