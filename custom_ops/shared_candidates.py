"""Folds of units that several encoders share, for the cycles of a frame in all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, singledispatch

from finn_vitprune.custom_ops import mvau_estimate
from finn_vitprune.custom_ops.attention_estimate import KV_RAM, KV_SHARE, Geometry, all_folds, in_styles
from finn_vitprune.custom_ops.base import divisors
from finn_vitprune.custom_ops.folding import FOLDINGS_KEPT, Folding, Styles, thriftiest
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.custom_ops.mvau_choose import MAX_LANES, UNFOLDED, MatrixFolding, drain_cycles
from finn_vitprune.custom_ops.mvau_fold import TOKENS_CHOICES, Fold, Room, shared_fold, sub_block_count
from finn_vitprune.numerics import clog2

SLACK = 1.05
"""Of cycles: lanes are as few as the interval needs if their blocks are even."""

Sides = tuple[tuple[int, int], ...]
"""Rows and columns of matrices."""


@singledispatch
def shared_candidates(unit: Folding, layers: tuple[Folding, ...], interval: int, styles: Styles) -> tuple[Folding, ...]:
    """Folds of a shared unit with which a frame takes at most ``interval`` cycles in all encoders together, :data:`SLACK` times as
    many with what lanes lose by uneven masks and between groups; none of them takes as much of every resource as another one. None
    where the unit cannot be so fast.

    Args:
        layers: the foldings of the layers that the unit does, which have its fold too.
    """
    raise TypeError(f"{type(unit).__name__} is not the folding of a unit that encoders share")


@shared_candidates.register
def _(unit: MatrixFolding, layers: tuple[MatrixFolding, ...], interval: int, styles: Styles) -> tuple[MatrixFolding, ...]:
    each = tuple(replace(fold, room=None, room_blocks=0, room_slots=0, **UNFOLDED) for fold in unit.fold.encoders)
    sides = tuple(sorted({(layer.fold.mw, layer.fold.mh) for layer in layers}))
    return _matrix_candidates(each, sides, interval, styles)


@shared_candidates.register
def _(unit: Geometry, layers: tuple[Geometry, ...], interval: int, styles: Styles) -> tuple[Geometry, ...]:
    return _attention_candidates(unit.shape, interval, styles)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _matrix_candidates(each: tuple[Fold, ...], sides: Sides, interval: int, styles: Styles) -> tuple[MatrixFolding, ...]:
    def folds() -> Iterator[tuple[Fold, Estimate]]:
        for fold in _matrices_within(each, sides, interval):
            rest = mvau_estimate.rest(fold)
            for mac in styles.mac:
                for ram in styles.ram:
                    styled = replace(fold, mac_style=mac, ram_style=ram)
                    yield styled, mvau_estimate.styled(styled) + rest

    def admits(fold: Fold) -> bool:
        return sum(own.cycles for own in _in_its_styles(fold).encoders) <= SLACK * interval

    return tuple(MatrixFolding(_in_its_styles(fold)) for fold in thriftiest(folds(), admits))


@lru_cache(maxsize=FOLDINGS_KEPT)
def _in_its_styles(unit: Fold) -> Fold:
    """The fold of a unit with its styles in those of its encoders, too."""
    return shared_fold([replace(own, mac_style=unit.mac_style, ram_style=unit.ram_style) for own in unit.encoders])


def _matrices_within(each: tuple[Fold, ...], sides: Sides, interval: int) -> Iterator[Fold]:
    """Every SIMD, PE and TOKENS with the fewest lanes and the narrowest ports for the interval."""
    block = each[0].block
    for tokens in TOKENS_CHOICES:
        if tokens > 1 << clog2(max(fold.rows for fold in each)):
            continue
        for simd in divisors(block):
            for pe in divisors(block):
                if (lanes := _fewest_lanes(each, simd, pe, tokens, interval)) is not None:
                    yield _with_ports([replace(fold, simd=simd, pe=pe, tokens=tokens, lanes=lanes) for fold in each], sides, interval)


def _fewest_lanes(each: tuple[Fold, ...], simd: int, pe: int, tokens: int, interval: int) -> int | None:
    """The fewest lanes with which the encoders take the interval together; None where none do."""
    kept = [max(1, fold.schedule.kept) for fold in each]
    groups = [-(-fold.rows // tokens) for fold in each]
    rows = each[0].block // simd
    steps = rows * (each[0].block // pe)  # of a block
    least = -(-sum(k * g for k, g in zip(kept, groups)) * steps // interval)
    for lanes in range(max(1, least), MAX_LANES + 1):
        parts = max(sub_block_count(rows, lanes, fold.block_rows * fold.block_columns) for fold in each)
        cycles = sum(-(-k * parts // lanes) * g for k, g in zip(kept, groups)) * (steps // parts)
        if cycles <= interval:
            return lanes
    return None


def _with_ports(folds: list[Fold], sides: Sides, interval: int) -> Fold:
    """The shared fold with the narrowest ports, of those that matrices with all ``sides`` can have, through which the encoders' rows pass
    in the interval; else with the widest."""
    groups = [-(-fold.rows // fold.tokens) for fold in folds]
    ins = sorted(set.intersection(*(set(Fold.in_widths(mw, folds[0].simd)) for mw, _ in sides)))
    outs = sorted(set.intersection(*(set(Fold.out_widths(mh, folds[0].pe, folds[0].block)) for _, mh in sides)))
    beats = sum(g * fold.tokens * fold.mw for g, fold in zip(groups, folds))
    in_width = next((width for width in ins if beats <= width * interval), ins[-1])
    for out_width in outs:
        wide = {shape: replace(fold, out_width=out_width) for shape, fold in {(f.mw, f.mh): f for f in folds}.items()}
        if sum(g * drain_cycles(wide[fold.mw, fold.mh]) for g, fold in zip(groups, folds)) <= interval:
            break
    lanes = folds[0].lanes
    slots = max(-(-fold.block_columns // lanes) + 1 for fold in folds)
    wide = [
        replace(fold, in_width=in_width, out_width=out_width, room_blocks=-(-max(1, fold.schedule.kept) // lanes), room_slots=slots)
        for fold in folds
    ]
    room = Room.of(wide)
    return shared_fold([replace(fold, room=room) for fold in wide])


@lru_cache(maxsize=FOLDINGS_KEPT)
def _attention_candidates(unit: Geometry, interval: int, styles: Styles) -> tuple[Geometry, ...]:
    def cycles(fold: Geometry) -> int:
        return sum(own.cycles for own in fold.each)

    fast = [fold for fold in all_folds(unit) if cycles(fold) <= interval]
    in_time = [fold for fold in fast if sum(own.kv_beats for own in fold.each) <= KV_SHARE * interval] or fast
    folds = [styled for fold in in_time for styled in in_styles(fold, styles)]
    dense = [fold for fold in folds if fold.kv_ram_bits <= KV_RAM * fold.kv_code_bits]
    return thriftiest((fold, fold.resources) for fold in dense or folds)
