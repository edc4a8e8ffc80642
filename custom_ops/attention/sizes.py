"""Sizes of the attention unit: its fold, and the counts and widths that follow from it; names as in the RTL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, Self

from finn_vitprune.custom_ops.op.memory import ATTENTION_MEMORY, TABLE_MEMORY, RowRam, RowRom
from finn_vitprune.numerics import RECIP_BITS, clog2


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
    """By how much shifts differ between encoders: of logits, of O, and of position biases."""

    logit: int = 0
    recip: int = 0
    bias: int = 0


@dataclass(frozen=True)
class AttentionSizes:
    """The unit at a fold: ``simd`` channels of a head and ``pe`` keys a cycle.

    ``encoders`` lists one frame for each encoder that shares the unit, even if all are equal; it is empty if the unit has one encoder. With
    several encoders, the other sizes describe the unit (the largest over all frames) or one of the encoders. A network that is loaded later
    may need other frames; then ``made`` lists them. Memories hold the largest frame; multipliers and dividers keep up with the frame of the
    fewest tokens.

    ``bias_bits``: of a code of a relative position bias, 0 where there is none; the code is ``bias_shift`` bits above one of Q K^T, at most.
    ``bias_tables``: encoders that have some.
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
    bias_bits: int = 0
    bias_shift: int = 0
    bias_tables: int = 1
    made: tuple[Frame, ...] = ()

    @cached_property
    def each(self) -> tuple[Self, ...]:
        """The unit as each encoder has it; itself where it is not shared."""
        return self._with(self.encoders) or (self,)

    @cached_property
    def made_for(self) -> tuple[Self, ...]:
        """The unit with each frame that it is made for."""
        return self._with(self.made) or self.each

    def _with(self, frames: Iterable[Frame]) -> tuple[Self, ...]:
        return tuple(replace(self, **frame._asdict()) for frame in frames)

    @property
    def several(self) -> bool:
        """Whether sizes of frames are data."""
        return bool(self.encoders or self.made)

    @cached_property
    def unit(self) -> Self:
        """The unit as a whole."""
        frames = self.made or self.encoders
        return replace(self, **Frame(*map(max, zip(*frames)))._asdict()) if frames else self

    @cached_property
    def least(self) -> Self:
        """The unit with the frame of the fewest tokens."""
        return min(self.made_for, key=lambda g: g.tokens)

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
        tokens = min((g.tokens for g in self.made_for if g.scores), default=self.unit.tokens)
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
        """Width of a logit accumulator, which begins with a position bias where there is one."""
        products = 2 * self.in_bits + clog2(self.head_dim)
        return max(products, self.bias_bits + self.bias_shift) + 1 if self.bias_bits else products

    @cached_property
    def bias_rom(self) -> RowRom:
        """Position biases: a word a key group of an item, items in their order, encoder after encoder; for units that have some."""
        words, width = self.bias_tables * self.bias_words, self.pe * self.bias_bits
        return RowRom(words, width, TABLE_MEMORY.style(words, width))

    @property
    def bias_words(self) -> int:
        """Words of an encoder, as many as the largest one needs."""
        return max(g.queries * g.heads * g.kg for g in self.made_for)

    @property
    def acc_bits(self) -> int:
        """Width of an accumulator of E V."""
        return self.in_bits + 8 + clog2(self.unit.tokens)

    @property
    def tag_bits(self) -> int:
        """Width of an encoder's number, where there are several."""
        return clog2(len(self.encoders)) if self.encoders else 0

    @cached_property
    def kv_beats(self) -> int:
        """Beats of K and V of a frame."""
        return 2 * self.tokens * self.heads * self.cg

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
