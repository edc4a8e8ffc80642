"""Folds of a matrix unit for an interval: every SIMD, PE and TOKENS with the fewest lanes and the narrowest ports."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from finn_vitprune.custom_ops.mvau import estimate as mvau_estimate
from finn_vitprune.custom_ops.mvau.balance import most_contributions
from finn_vitprune.custom_ops.mvau.fold import TOKENS_CHOICES, Fold, Room, shared_fold, sub_block_count
from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Styles, thriftiest
from finn_vitprune.numerics import clog2
from finn_vitprune.synth.family import ULTRASCALE

MAX_LANES = 32
SLACK = 1.05
"""Factor by which the matrices of a shared unit may exceed its interval: lanes are as few as even masks need."""
UNFOLDED: dict[str, Any] = dict.fromkeys(("simd", "pe", "tokens", "lanes", "in_width", "out_width"), 1)

_sub_block_count = lru_cache(maxsize=FOLDINGS_KEPT)(sub_block_count)

Sides = tuple[int, int]
"""Rows and columns of a matrix."""


@dataclass(frozen=True)
class Matrices:
    """What a matrix unit does for a frame: one matrix after another, with one fold.

    Attributes:
        each: unfolded; a unit that is not shared has one. sides: of all matrices that must pass its ports.
    """

    each: tuple[Fold, ...]
    sides: tuple[Sides, ...]

    @classmethod
    def of(cls, unit: Fold, layers: Sequence[Fold] = ()) -> Matrices:
        """Those of a unit, with the sides of its ``layers``."""
        each = tuple(replace(fold, room=None, room_blocks=0, room_slots=0, **UNFOLDED) for fold in unit.each)
        return cls(each, tuple(sorted({(fold.mw, fold.mh) for fold in layers or each})))

    @property
    def shared(self) -> bool:
        return len(self.each) > 1

    @property
    def block(self) -> int:
        return self.each[0].block

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """Kept blocks of each, 1 where a matrix is empty."""
        return tuple(max(1, fold.schedule.kept) for fold in self.each)

    @cached_property
    def _fewest_blocks(self) -> int:
        return min(fold.block_rows * fold.block_columns for fold in self.each)

    def tokens_choices(self) -> list[int]:
        """TOKENS that no matrix would leave half empty."""
        return [n for n in TOKENS_CHOICES if n <= 1 << clog2(max(fold.rows for fold in self.each))]

    def groups(self, tokens: int) -> list[int]:
        """Groups of a frame in each matrix."""
        return [-(-fold.rows // tokens) for fold in self.each]

    def cycles(self, simd: int, pe: int, tokens: int, lanes: int) -> int:
        """Cycles of a frame in the lanes, however the kept blocks are spread."""
        steps = self.block // simd
        parts = _sub_block_count(steps, lanes, self._fewest_blocks)
        entries = sum(-(-k * parts // lanes) * g for k, g in zip(self.kept, self.groups(tokens)))
        return entries * (steps * (self.block // pe) // parts)

    def lanes(self, simd: int, pe: int, tokens: int, interval: int) -> tuple[int, int]:
        """The fewest lanes that take at most ``interval`` cycles a frame, else the most, and their cycles."""
        steps = self.block // simd
        most = min(MAX_LANES, max(self.kept) * steps)
        products = sum(k * g for k, g in zip(self.kept, self.groups(tokens))) * steps * (self.block // pe)
        for lanes in range(max(1, min(most, -(-products // interval))), most + 1):
            if (cycles := self.cycles(simd, pe, tokens, lanes)) <= interval:
                break
        return lanes, cycles

    def ports(self, simd: int, pe: int, tokens: int, lanes: int, interval: int) -> tuple[int, int]:
        """The narrowest ports through which the rows of a frame pass in ``interval`` cycles, for any mask, else the widest."""
        ins, outs = widths(self.sides, simd, pe, self.block)
        groups = self.groups(tokens)
        elements = tokens * sum(g * fold.mw for g, fold in zip(groups, self.each))
        in_width = next((width for width in ins if elements <= width * interval), ins[-1])
        columns: dict[int, int] = {}  # groups by columns
        for g, fold in zip(groups, self.each):
            columns[fold.mh] = columns.get(fold.mh, 0) + g

        def drains(width: int) -> bool:
            return sum(g * drain_cycles(mh, self.block, tokens, lanes, width) for mh, g in columns.items()) <= interval

        return in_width, next((width for width in outs if drains(width)), outs[-1])

    def with_lanes(self, simd: int, pe: int, tokens: int, lanes: int, interval: int) -> Fold:
        """The unit with these lanes, and ports for the interval."""
        return folded(self, simd, pe, tokens, lanes, *self.ports(simd, pe, tokens, lanes, interval))

    def within(self, interval: int) -> Iterator[Fold]:
        """Folds whose lanes need at most ``interval`` cycles a frame, with room for every mask of as many blocks.

        A matrix alone leaves out those that are more than twice as fast with a single lane: smaller ones are enough.
        """
        for tokens in self.tokens_choices():
            for simd in divisors(self.block):
                for pe in divisors(self.block):
                    lanes, cycles = self.lanes(simd, pe, tokens, interval)
                    wasteful = not self.shared and lanes == 1 and 2 * cycles <= interval and simd * pe > 1
                    if cycles <= interval and not wasteful:
                        yield self.with_lanes(simd, pe, tokens, lanes, interval)


@lru_cache(maxsize=FOLDINGS_KEPT)
def candidates(matrices: Matrices, interval: int, styles: Styles) -> tuple[Fold, ...]:
    """Folds in all styles, none of which takes as much of every resource as another one.

    A frame takes at most ``interval`` cycles in all matrices together, :data:`SLACK` times as many in a shared unit.
    """
    limit = SLACK * interval if matrices.shared else interval
    folds, used = [], [np.zeros((0, len(styles.family.kinds)))]
    for fold in matrices.within(interval):
        folds += [(fold, mac, ram) for mac in styles.mac for ram in styles.ram]
        used.append(_used_in_styles(fold, styles))
    kept = thriftiest(np.concatenate(used), lambda i: _cycles(in_style(*folds[i])) <= limit)
    return tuple(in_style(*folds[i]) for i in kept)


@lru_cache(maxsize=FOLDINGS_KEPT)
def in_style(fold: Fold, mac: str, ram: str) -> Fold:
    """A fold in other styles, and so are the folds of its encoders."""
    if not fold.encoders:
        return replace(fold, mac_style=mac, ram_style=ram)
    return shared_fold([replace(own, mac_style=mac, ram_style=ram) for own in fold.encoders], fold.least)


@lru_cache(maxsize=FOLDINGS_KEPT)
def with_input(fold: Fold, in_width: int) -> Fold:
    """A fold with an input of another width, and so are the folds of its encoders."""
    if not fold.encoders:
        return replace(fold, in_width=in_width)
    return shared_fold([replace(own, in_width=in_width) for own in fold.encoders], fold.least)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _cycles(fold: Fold) -> int:
    """Cycles of a frame in all matrices."""
    return sum(own.cycles for own in fold.each)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _used_in_styles(fold: Fold, styles: Styles) -> np.ndarray:
    """``[styles, kinds]``: what a fold takes with each MAC style, and the weights in each memory."""
    if styles.family != ULTRASCALE:
        each = [mvau_estimate.made_of(replace(fold, mac_style=mac, ram_style=ram)) for mac in styles.mac for ram in styles.ram]
        return np.array([ecp5.estimate(unit).amounts for unit in each])
    rest, found = mvau_estimate.rest(fold), []
    for mac in styles.mac:
        styled = replace(fold, mac_style=mac)
        array = mvau_estimate.arrays(styled)
        found += [(rest + array + mvau_estimate.weights(styled, ram)).amounts for ram in styles.ram]
    return np.array(found, dtype=float)


@lru_cache(maxsize=FOLDINGS_KEPT)
def widths(sides: tuple[Sides, ...], simd: int, pe: int, block: int) -> tuple[list[int], list[int]]:
    """Widths that the ports of matrices with all ``sides`` can have."""
    ins = [set(Fold.in_widths(mw, simd)) for mw, _ in sides]
    outs = [set(Fold.out_widths(mh, pe, block)) for _, mh in sides]
    return sorted(set.intersection(*ins)), sorted(set.intersection(*outs))


@lru_cache(maxsize=FOLDINGS_KEPT)
def folded(matrices: Matrices, simd: int, pe: int, tokens: int, lanes: int, in_width: int, out_width: int) -> Fold:
    slots = max(-(-fold.block_columns // lanes) + 1 for fold in matrices.each)
    folds = [
        replace(
            fold, simd=simd, pe=pe, tokens=tokens, lanes=lanes, in_width=in_width, out_width=out_width,
            room_blocks=-(-kept // lanes), room_slots=slots,
        )
        for kept, fold in zip(matrices.kept, matrices.each)
    ]  # fmt: skip
    if not matrices.shared:
        return folds[0]
    room = Room.of(folds)
    return shared_fold([replace(fold, room=room) for fold in folds])


def drain_cycles(mh: int, block: int, tokens: int, lanes: int, out_width: int) -> int:
    """Collect steps of a token group, for any mask."""
    step = math.gcd(out_width, mh, block)
    rows = min(tokens, 1 << ((out_width // step).bit_length() - 1))
    return tokens // rows * (most_contributions(-(-mh // block), lanes) * block // step)
