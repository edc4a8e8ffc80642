"""The attention unit at a fold: cycles, memories, and the folds to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache

from finn_vitprune.custom_ops.attention.cost import dsp, lut, made_of, memories
from finn_vitprune.custom_ops.attention.sizes import division_cycles
from finn_vitprune.custom_ops.attention.timing import AttentionTiming
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Folding, Styles, thriftiest, used_by
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.numerics import RECIP_BITS
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.lost import LostCycles

KV_SHARE = 0.8
"""Share of the interval that K and V may take to come in: they come in bursts."""
KV_RAM = 2
"""Bits of RAM that a candidate may take for each bit of K and V, where one does with so few."""


class AttentionFolding(AttentionTiming, Folding):
    """The unit at a fold; units of equal sizes have equal foldings."""

    @property
    def delay(self) -> int:
        """The items of the last query, and the way of the last one."""
        return self.heads * max(self.item_cycles, division_cycles(RECIP_BITS, self.recip_bits)) + self.o_latency(self.cg)

    @cached_property
    def made_of(self) -> UnitParts:
        return made_of(self)

    @property
    def macs(self) -> int:
        """Products of Q K^T and of E V."""
        return 2 * self.queries * self.heads * self.head_dim * self.tokens

    @property
    def products_per_cycle(self) -> int:
        """Both phases work at once."""
        return 2 * self.simd * self.pe

    @property
    def lost(self) -> LostCycles:
        items = self.queries * self.heads * self.item_cycles
        return LostCycles(rows=items - self.ideal_cycles, waiting=self.cycles - items)

    @cached_property
    def resources(self) -> Estimate:
        return sum((memory.resources for memory in self.memories), Estimate(LUT=lut(self), DSP=dsp(self)))

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return memories(self)

    def attributes(self) -> Mapping[str, int | str]:
        return {"SIMD": self.simd, "PE": self.pe, "ram_style": self.style}

    def candidates(self, interval: int, styles: Styles, layers: Sequence[Folding] = ()) -> tuple[AttentionFolding, ...]:
        return _candidates(self.shape, interval, styles)

    @property
    def shape(self) -> AttentionFolding:
        """All but the fold and where K and V are."""
        return replace(self, simd=1, pe=1, style="auto")

    def for_interval(self, interval: int) -> AttentionFolding:
        """Fewest multipliers within ``interval``, else the fastest fold; of equals the widest beats.

        K and V get a share of it (:data:`KV_SHARE`), since they come in bursts.
        """

        def worth(g: AttentionFolding) -> tuple[int, int, int, int]:
            late = max(0, g.cycles - interval, g.kv_beats - int(KV_SHARE * interval))
            return late, dsp(g), g.simd * g.pe, g.pe

        return min(all_folds(self), key=worth)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _candidates(g: AttentionFolding, interval: int, styles: Styles) -> tuple[AttentionFolding, ...]:
    """Folds with which the frames of all encoders are within the interval, K and V in every style.

    A unit for each encoder does not waste block RAM (:data:`KV_RAM`); one that encoders share may, since LUTs limit an engine.
    """
    fast = [fold for fold in all_folds(g) if sum(own.cycles for own in fold.each) <= interval]
    in_time = [fold for fold in fast if sum(own.kv_beats for own in fold.each) <= KV_SHARE * interval] or fast
    folds = [styled for fold in in_time for styled in in_styles(fold, styles)]
    # Elsewhere memory in LUTs is so dear that a block RAM pays where it is almost empty, too.
    if styles.family == ULTRASCALE and len(g.each) == 1:
        folds = [fold for fold in folds if fold.kv_ram_bits <= KV_RAM * fold.kv_code_bits] or folds
    return tuple(folds[i] for i in thriftiest(used_by(folds, styles.family)))


@lru_cache(maxsize=FOLDINGS_KEPT)
def all_folds(g: AttentionFolding) -> list[AttentionFolding]:
    """All folds of a unit."""
    keys = {-(-g.tokens // groups) for groups in range(1, g.tokens + 1)}
    return [replace(g, simd=simd, pe=pe) for simd in divisors(g.head_dim) for pe in keys]


@lru_cache(maxsize=FOLDINGS_KEPT)
def in_styles(fold: AttentionFolding, styles: Styles) -> list[AttentionFolding]:
    """A fold with K and V in every style."""
    return [replace(fold, style=style) for style in styles.ram]
