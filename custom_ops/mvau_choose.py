"""Chooses the folding of a sparse-block matrix unit for a target interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from finn_vitprune.custom_ops import mvau_estimate
from finn_vitprune.custom_ops.balance import most_contributions
from finn_vitprune.custom_ops.base import divisors
from finn_vitprune.custom_ops.folding import FOLDINGS_KEPT, Folding, LostCycles, Styles, thriftiest
from finn_vitprune.custom_ops.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.mvau_fold import TOKENS_CHOICES, Fold
from finn_vitprune.numerics import clog2

MAX_LANES = 32
MAX_TRIES = 30
"""Folds whose exact cycles are looked at: where a group takes few, its hand-over makes some too slow."""

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

    @property
    def each(self) -> tuple[MatrixFolding, ...]:
        return tuple(map(MatrixFolding, self.fold.each))

    @cached_property
    def cycles(self) -> int:
        return self.fold.cycles

    @cached_property
    def resources(self) -> Estimate:
        return mvau_estimate.resources(self.fold)

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

    def attributes(self) -> dict[str, int]:
        f = self.fold
        return {
            "SIMD": f.simd, "PE": f.pe, "TOKENS": f.tokens, "LANES": f.lanes,
            "in_width": f.in_width, "out_width": f.out_width, "mac_style": f.mac_style, "ram_style": f.ram_style,
            "lane_blocks": f.room_blocks, "lane_slots": f.room_slots,
        }  # fmt: skip

    def for_interval(self, interval: int) -> MatrixFolding:
        return MatrixFolding(choose(replace(self.fold, **UNFOLDED), interval))

    def candidates(self, interval: int, styles: Styles) -> tuple[MatrixFolding, ...]:
        return _candidates(self.shape, interval, styles)

    @property
    def shape(self) -> Fold:
        """Sizes, types and how many blocks are kept: not which, nor the fold and its styles."""
        f = self.fold
        return replace(
            f, column_blocks=_evenly(f.schedule.kept, f.block_columns), mac_style="portable", ram_style="auto",
            room_blocks=0, room_slots=0, **UNFOLDED,
        )

    def with_room_for(self, units: Sequence[MatrixFolding]) -> MatrixFolding:
        """This fold with memories that hold the masks of all ``units``, and no larger: the same hardware for all."""
        plans = [replace(self.fold, column_blocks=unit.fold.column_blocks).schedule for unit in units]
        return MatrixFolding(replace(
            self.fold, room_blocks=max(plan.lane_blocks for plan in plans), room_slots=max(plan.lane_slots for plan in plans)
        ))

    def folded_as(self, other: MatrixFolding) -> MatrixFolding:
        return MatrixFolding(replace(other.fold, column_blocks=self.fold.column_blocks))


UNFOLDED = dict.fromkeys(("simd", "pe", "tokens", "lanes", "in_width", "out_width"), 1)


def choose(base: Fold, interval: int) -> Fold:
    """Cheapest ``simd``, ``pe``, ``tokens``, ``lanes`` and port widths within ``interval`` cycles.

    Cycles come from the kept blocks, cost from the estimates; ports, and with them the drain, are
    just as wide as the interval needs. Where no folding reaches it, the fastest one is returned.
    """
    kept = max(1, base.schedule.kept)
    groups = _token_groups(base)
    found = [
        _fewest(replace(base, simd=simd, pe=pe, tokens=tokens), kept, interval // count)
        for tokens, count in groups.items()
        for simd in divisors(base.block)
        for pe in divisors(base.block)
    ]
    cycles = [groups[f.tokens] * compute_cycles(f, kept) for f in found]
    goal = max(interval, min(cycles))
    folds = [with_ports(f, kept, goal // groups[f.tokens]) for f, count in zip(found, cycles) if count <= goal]
    tried: dict[int, Fold] = {}
    for _ in range(min(len(folds), MAX_TRIES)):
        best = _cheapest(folds, goal)
        cycles, fold = _exact(replace(best, room_blocks=base.room_blocks, room_slots=base.room_slots), goal)
        if cycles <= goal:
            return fold
        tried.setdefault(cycles, fold)
        folds.remove(best)
    return tried[min(tried)]


@lru_cache(maxsize=FOLDINGS_KEPT)
def _candidates(shape: Fold, interval: int, styles: Styles) -> tuple[MatrixFolding, ...]:
    """Candidates of a unit: every SIMD, PE and TOKENS with the fewest lanes and narrowest ports, in all styles."""

    def folds() -> Iterator[tuple[MatrixFolding, Estimate]]:
        for fold in _within(shape, interval):
            rest = mvau_estimate.rest(fold)
            for mac in styles.mac:
                for ram in styles.ram:
                    styled = replace(fold, mac_style=mac, ram_style=ram)
                    yield MatrixFolding(styled), mvau_estimate.styled(styled) + rest

    found = thriftiest(folds(), lambda fold: fold.cycles <= interval)
    if not found and (fastest := MatrixFolding(choose(replace(shape, mac_style=styles.mac[0]), interval))).cycles <= interval:
        return (fastest,)
    return found


def _within(base: Fold, interval: int) -> Iterator[Fold]:
    """Folds whose lanes need at most ``interval`` cycles a frame, with room for every mask of as many blocks."""
    kept = max(1, base.schedule.kept)
    for tokens, groups in _token_groups(base).items():
        group = interval // groups
        for simd in divisors(base.block):
            for pe in divisors(base.block):
                fold = _fewest(replace(base, simd=simd, pe=pe, tokens=tokens), kept, group)
                cycles = compute_cycles(fold, kept)
                wasteful = fold.lanes == 1 and 2 * cycles <= group and simd * pe > 1
                if cycles > group or wasteful:
                    continue
                yield with_ports(fold, kept, group)


def _token_groups(base: Fold) -> dict[int, int]:
    """Groups of a frame for each possible TOKENS."""
    return {n: -(-base.rows // n) for n in TOKENS_CHOICES if n <= 1 << clog2(base.rows)}


def _evenly(kept: int, columns: int) -> tuple[int, ...]:
    """``kept`` blocks spread over the columns."""
    return tuple((column + 1) * kept // columns - column * kept // columns for column in range(columns))


def compute_cycles(fold: Fold, kept: int) -> int:
    """Cycles of a token group in the lanes, for ``kept`` blocks."""
    return -(-kept * fold.sub_blocks // fold.lanes) * fold.entry_steps * fold.groups


def _fewest(fold: Fold, kept: int, group: int) -> Fold:
    """With so many lanes that a group takes ``group`` cycles, or the most where it cannot."""
    most = min(MAX_LANES, kept * fold.steps)
    count = min(most, -(-kept * fold.steps * fold.groups // max(1, group)))
    folds = (replace(fold, lanes=lanes) for lanes in range(count, most + 1))
    return next(f for f in folds if f.lanes == most or compute_cycles(f, kept) <= group)


def with_ports(fold: Fold, kept: int, group: int) -> Fold:
    """The fold with the narrowest ports through which a group passes in ``group`` cycles, else the widest."""
    ins = Fold.in_widths(fold.mw, fold.simd)
    fold = replace(
        fold,
        in_width=next((w for w in ins if fold.tokens * fold.mw <= w * group), ins[-1]),
        room_blocks=-(-kept // fold.lanes), room_slots=-(-fold.block_columns // fold.lanes) + 1,
    )  # fmt: skip
    for width in Fold.out_widths(fold.mh, fold.pe, fold.block):
        fold = replace(fold, out_width=width)
        if drain_cycles(fold) <= group:
            break
    return fold


def drain_cycles(f: Fold) -> int:
    """Collect steps of a token group, for any mask."""
    steps = most_contributions(f.block_columns, f.lanes) * f.block // f.drain_width
    return f.tokens // f.rows_per_step * steps


def _cheapest(folds: list[Fold], goal: int) -> Fold:
    """Of the folds whose ports delay the goal least, the cheapest."""

    def late(f: Fold) -> int:
        group = max(f.tokens * f.mw // f.in_width, drain_cycles(f))
        return max(0, group * -(-f.rows // f.tokens) - goal)

    least = min(map(late, folds))
    in_time = [f for f in folds if late(f) == least]
    best, lowest = None, float("inf")
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
