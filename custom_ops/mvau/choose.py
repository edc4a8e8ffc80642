"""Chooses the folding of a sparse-block matrix unit for a target interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from finn_vitprune.custom_ops.mvau import estimate as mvau_estimate
from finn_vitprune.custom_ops.mvau.candidates import UNFOLDED, Matrices, candidates, drain_cycles, widths, with_input
from finn_vitprune.custom_ops.mvau.fold import Fold, Room, shared_fold
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Folding, Styles
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.errors import UserError
from finn_vitprune.synth.lost import LostCycles

MAX_TRIES = 30
"""Folds whose exact cycles are looked at: where a group takes few, its hand-over makes some too slow."""

WIDER = 4
"""Most by which an input is made wider at a time."""

LUT_PER_BRAM36 = 200
LUT_PER_DSP = 100
LUT_PER_URAM = 800
"""What a RAMB36, a DSP slice and an UltraRAM cost in the search. Parts have 300 to 700 LUTs for a RAMB36, but the rest of an
accelerator needs more of the LUTs."""


@dataclass(frozen=True)
class MatrixFolding(Folding):
    """A matrix unit at a fold. What is said of a frame is said of one of the slowest encoder, where several share it."""

    fold: Fold

    @property
    def slowest(self) -> Fold:
        return max(self.fold.encoders, key=lambda fold: fold.cycles) if self.fold.encoders else self.fold

    @cached_property
    def each(self) -> tuple[MatrixFolding, ...]:
        return tuple(map(_of, self.fold.each))

    @cached_property
    def cycles(self) -> int:
        return self.fold.cycles

    @property
    def delay(self) -> int:
        """The rows of a group enter, are multiplied and drained."""
        f, timing = self.slowest, self.slowest.timing
        entering, drain = min(f.rows, f.tokens) * timing.load_row, -(-f.tokens // timing.rows_per_step) * timing.drain_row
        return entering + timing.compute + timing.latency + drain + f.behind

    @cached_property
    def resources(self) -> Estimate:
        return mvau_estimate.resources(self.fold)

    @property
    def made_of(self) -> UnitParts:
        return mvau_estimate.made_of(self.fold)

    @property
    def macs(self) -> int:
        return self.slowest.kept_weights * self.slowest.rows

    @property
    def products_per_cycle(self) -> int:
        return self.fold.simd * self.fold.pe * self.fold.tokens * self.fold.lanes

    @property
    def lost(self) -> LostCycles:
        f, groups = self.slowest, len(self.slowest.token_groups)
        stored, busy = f.schedule.kept * f.block**2, groups * f.timing.compute
        return LostCycles(
            padding=(stored - f.kept_weights) * f.rows / self.products_per_cycle,
            rows=stored * (groups * f.tokens - f.rows) / self.products_per_cycle,
            lanes=busy - stored * groups * f.tokens / self.products_per_cycle,
            waiting=self.cycles - busy,
        )

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return mvau_estimate.memories(self.fold)

    def attributes(self) -> Mapping[str, int | str]:
        f = self.fold
        return {
            "SIMD": f.simd, "PE": f.pe, "TOKENS": f.tokens, "LANES": f.lanes,
            "in_width": f.in_width, "out_width": f.out_width, "mac_style": f.mac_style, "ram_style": f.ram_style,
            "lane_blocks": f.room_blocks, "lane_slots": f.room_slots, "lut_lanes": f.lut_lanes,
        }  # fmt: skip

    def for_interval(self, interval: int) -> MatrixFolding:
        return MatrixFolding(choose(replace(self.fold, **UNFOLDED), interval))

    def candidates(self, interval: int, styles: Styles, layers: Sequence[MatrixFolding] = ()) -> tuple[MatrixFolding, ...]:
        unit = self.fold if self.fold.encoders else self.shape
        if found := candidates(Matrices.of(unit, [layer.fold for layer in layers]), interval, styles):
            return tuple(map(_of, found))
        fastest = () if unit.encoders else (MatrixFolding(choose(replace(unit, mac_style=styles.mac[0]), interval)),)
        return tuple(fold for fold in fastest if fold.cycles <= interval)

    def with_wider_inputs(self, layers: Sequence[MatrixFolding] = ()) -> tuple[MatrixFolding, ...]:
        own = self.fold
        ins, _ = widths(Matrices.of(own, [layer.fold for layer in layers]).sides, own.simd, own.pe, own.block)
        wider = [width for width in ins if own.in_width < width <= WIDER * own.in_width]
        return tuple(replace(self, fold=with_input(own, width)) for width in wider)

    @cached_property
    def shape(self) -> Fold:
        """Sizes, types and how many blocks are kept: not which, nor the fold and its styles."""
        f = self.fold
        return replace(
            f,
            column_blocks=_evenly(f.schedule.kept, f.block_columns),
            mac_style="portable",
            ram_style="auto",
            room_blocks=0,
            room_slots=0,
            **UNFOLDED,
        )

    def with_room_for(self, units: Sequence[MatrixFolding]) -> MatrixFolding:
        """This fold with memories that hold the masks of all ``units``, and no larger: the same hardware for all."""
        if self.fold.encoders:
            return self
        plans = [self.fold.schedule_of(unit.fold.column_blocks) for unit in units]
        return _with_room(self.fold, max(plan.lane_blocks for plan in plans), max(plan.lane_slots for plan in plans))

    def folded_as(self, other: MatrixFolding) -> MatrixFolding:
        return other if other.fold.encoders else _of(replace(other.fold, column_blocks=self.fold.column_blocks))

    def with_matrices(self, change: Callable[[Fold], Fold]) -> MatrixFolding:
        """The same unit for other matrices, of each encoder that shares it."""
        return MatrixFolding(shared_fold(list(map(change, self.fold.encoders))) if self.fold.encoders else change(self.fold))

    def joined(self, others: Sequence[MatrixFolding]) -> MatrixFolding:
        units = (self, *others)
        if len({_shared_by(unit.fold) if isinstance(unit, MatrixFolding) else None for unit in units}) > 1:
            raise UserError("matrices of other types or blocks, and other units, cannot share a unit: use matrices of the same")
        each = Matrices.of(shared_fold([own for unit in units for own in unit.fold.each])).each
        room, bias_bits = Room.of(each), max(fold.bias_bits for fold in each)
        return MatrixFolding(shared_fold([replace(fold, room=room, bias_bits=bias_bits) for fold in each]))


def _shared_by(fold: Fold) -> tuple[object, ...]:
    """What a unit has once."""
    return fold.block, *(dtype.name for dtype in (fold.x, fold.w, fold.y)), fold.requant, fold.mult_bits


_of = lru_cache(maxsize=FOLDINGS_KEPT)(MatrixFolding)
"""One object for equal folds: what it takes is computed once."""


@lru_cache(maxsize=FOLDINGS_KEPT)
def _with_room(fold: Fold, blocks: int, slots: int) -> MatrixFolding:
    return _of(replace(fold, room_blocks=blocks, room_slots=slots))


def _evenly(kept: int, columns: int) -> tuple[int, ...]:
    """``kept`` blocks spread over the columns."""
    return tuple((column + 1) * kept // columns - column * kept // columns for column in range(columns))


def choose(base: Fold, interval: int) -> Fold:
    """Cheapest ``simd``, ``pe``, ``tokens``, ``lanes`` and port widths within ``interval`` cycles.

    Cycles come from the kept blocks, cost from the estimates; ports, and with them the drain, are
    just as wide as the interval needs. Where no folding reaches it, the fastest one is returned.
    """
    matrices, sides = Matrices((base,), ((base.mw, base.mh),)), divisors(base.block)
    steps = [(simd, pe, tokens) for tokens in matrices.tokens_choices() for simd in sides for pe in sides]
    found = [(step, *matrices.lanes(*step, interval)) for step in steps]
    goal = max(interval, min(cycles for *_, cycles in found))
    folds = [matrices.with_lanes(*step, lanes, goal) for step, lanes, cycles in found if cycles <= goal]
    tried: dict[int, Fold] = {}
    for _ in range(min(len(folds), MAX_TRIES)):
        best = _cheapest(folds, goal)
        cycles, fold = _exact(replace(best, room_blocks=base.room_blocks, room_slots=base.room_slots), goal)
        if cycles <= goal:
            return fold
        tried.setdefault(cycles, fold)
        folds.remove(best)
    return tried[min(tried)]


def _cheapest(folds: list[Fold], goal: int) -> Fold:
    """Of the folds whose ports delay the goal least, the cheapest."""

    def late(f: Fold) -> int:
        group = max(f.tokens * f.mw // f.in_width, drain_cycles(f.mh, f.block, f.tokens, f.lanes, f.out_width))
        return max(0, group * -(-f.rows // f.tokens) - goal)

    least = min(map(late, folds))
    in_time = [f for f in folds if late(f) == least]
    best, lowest = in_time[0], float("inf")
    for f in sorted(in_time, key=_arrays):
        if _arrays(f) >= lowest:
            break
        if (found := cost(f)) < lowest:
            best, lowest = f, found
    return best


def _arrays(f: Fold) -> int:
    """Cost of the arrays, less than that of the unit."""
    return f.lanes * (f.mac.lut + LUT_PER_DSP * f.mac.dsp)


def cost(f: Fold) -> float:
    """LUTs of the unit, with what stands for its block RAMs and DSP slices."""
    used = mvau_estimate.resources(f)
    return used.LUT + LUT_PER_BRAM36 * used.BRAM_18K / 2 + LUT_PER_URAM * used.URAM + LUT_PER_DSP * used.DSP


def _exact(f: Fold, goal: int) -> tuple[int, Fold]:
    """Cycles, and the fold with the narrowest ports that keep the goal.

    Where no ports keep it, those that are as fast as the widest. The search begins at the fold's own.
    """
    ins, outs = Fold.in_widths(f.mw, f.simd), Fold.out_widths(f.mh, f.pe, f.block)

    def with_widths(in_width: int, out_width: int) -> Fold:
        return replace(f, in_width=in_width, out_width=out_width)

    floor = max(goal, with_widths(ins[-1], outs[-1]).cycles)
    in_width = _narrowest(ins, f.in_width, lambda w: with_widths(w, outs[-1]).cycles <= floor)
    out_width = _narrowest(outs, f.out_width, lambda w: with_widths(in_width, w).cycles <= floor)
    return floor, with_widths(in_width, out_width)


def _narrowest(widths: list[int], start: int, enough: Callable[[int], bool]) -> int:
    """The narrowest width that is enough; all that are wider are, too."""
    i = widths.index(start)
    while i < len(widths) - 1 and not enough(widths[i]):
        i += 1
    while i and enough(widths[i - 1]):
        i -= 1
    return widths[i]
