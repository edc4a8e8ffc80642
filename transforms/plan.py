"""The plan for a part, and why it is no faster: what binds, what a faster one would need, what would relieve it."""

from __future__ import annotations

import copy
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.custom_ops.folding import Folding
from finn_vitprune.custom_ops.mvau_choose import MatrixFolding
from finn_vitprune.custom_ops.mvau_fold import Fold, shared_fold
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import Part, larger_parts
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.choice import least_share
from finn_vitprune.transforms.plan_options import KINDS, PlanOptions, room_of
from finn_vitprune.transforms.plan_search import Plan, Search

FASTER = 1.05
"""Factor to the next faster plan that is looked at."""
COARSE = 0.1
"""Step of the search for what a change would make possible."""
FEWER_BITS = "INT4"
FEWER_BITS_TEXT = f"weights of {DataType[FEWER_BITS].bitwidth()} bits"
FEWER_BLOCKS = 0.75
"""Changes of a model that are tried: weights of fewer bits, and this share of the blocks that it keeps."""
SHARES = tuple(i / 20 for i in range(19, 0, -1))
"""Shares of the blocks that a model keeps, tried where it fits in no way."""
MOST_PARTS = 6
"""Larger parts that are tried."""


def plan(
    model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None] = lambda text: None
) -> tuple[Plan, Planned]:
    """Plan the hardware graph ``model``, its ops specialised; it stays as it is.

    Args:
        part: as its shell leaves it. report: takes a line for each step of the search.
    Returns:
        The plan, and what is said of it: why it is no faster, or what would make it fit. Where none fits, the plan is the
        least overfull one for a given interval, else the slowest.
    """
    search = Search(model, part, options, report)
    found = search.run()
    search.report = lambda text: None
    faster = int(found.interval / FASTER) if found.fits else found.interval
    binding, needs = _binding(search, faster, found.fits) if options.explain else ((), {})
    relief = list(_relief(search, found, binding)) if options.explain else []
    return found, Planned(
        goal="throughput" if options.interval is None else "target", interval_cycles=found.interval, fits=found.fits,
        gap=round(found.gap, 4), shell=part.shell, budget=dict(options.budget), used=shares_of(found.used.sum(0), found.room.sum(0)),
        slrs=[shares_of(u, r) for u, r in zip(found.used, found.room)] if len(found.used) > 1 else [], binding=list(binding),
        next_interval_cycles=faster, next_needs=needs, relief=relief,
    )  # fmt: skip


def _binding(search: Search, interval: int, fits: bool) -> tuple[tuple[str, ...], dict[str, float]]:
    """Resources of which alone more would allow the interval, "SLR" where only borders are in its way; and what it needs.

    Nothing binds where the interval is possible: a plan for a target is as fast as it was asked to be. Needs are shares of
    the whole room, with the fullest resource as empty as can be; none where a unit cannot be so fast.
    """
    whole = search.room.sum(0)
    one = np.zeros(len(search.chain.parts), dtype=int)
    chosen = search.chosen(interval, one, lambda items, slr: least_share(items, whole, relaxed=True))
    if chosen is None:
        return (), {}
    ((_, choice),) = chosen
    needs = shares_of(choice.used, whole)
    if search.solve(interval, one, whole[None]) is not None:
        several, target = len(search.room) > 1, search.options.interval is not None
        possible = not several or (fits and target and search.dealt(interval) is not None)
        return (() if possible else ("SLR",)), needs
    return tuple(k for i, k in enumerate(KINDS) if search.solve(interval, one, _more(whole, i)[None]) is not None), needs


def shares_of(used: np.ndarray, room: np.ndarray) -> dict[str, float]:
    """What of the room ``[kinds]`` is used; where there is none, as if there were one."""
    return {kind: round(float(u / max(r, 1)), 4) for kind, u, r in zip(KINDS, used, room)}


def largest_share(fits: Callable[[float], bool]) -> float | None:
    """The largest of :data:`SHARES` that ``fits``, as all smaller ones do then; None where none does."""
    place = bisect_left(SHARES, True, key=fits)
    return SHARES[place] if place < len(SHARES) else None


def fits_with(share: float) -> str:
    """What :func:`largest_share` has found, in words."""
    return f"with {share:g} of the kept blocks it fits, with {share + 0.05:g} it does not"


def fewer_blocks(fold: Fold, share: float) -> Fold:
    """A matrix with this share of the blocks that it keeps."""
    counts = fold.column_blocks or (fold.block_rows,) * fold.block_columns
    return replace(fold, column_blocks=tuple(round(share * count) for count in counts))


def has_wider_weights(units: Iterable[Folding]) -> bool:
    """Whether a matrix has weights of more than :data:`FEWER_BITS`."""
    return any(u.fold.w.bitwidth() > DataType[FEWER_BITS].bitwidth() for u in units if isinstance(u, MatrixFolding))


def fewer_bits(fold: Fold) -> Fold:
    """A matrix with weights of :data:`FEWER_BITS`, or fewer where it has fewer."""
    return replace(fold, w=min(fold.w, DataType[FEWER_BITS], key=lambda w: w.bitwidth()))


def _more(room: np.ndarray, kind: int) -> np.ndarray:
    """Room with as much of one resource as may be wanted."""
    room = room.copy()
    room[kind] = 1e9
    return room


def _relief(search: Search, found: Plan, binding: tuple[str, ...]) -> Iterator[str]:
    """Changes that make a shorter interval possible, or a plan at all, each planned for the part as a whole."""
    if not found.fits and search.options.interval is not None:
        slower = copy.copy(search)
        slower.options = replace(search.options, interval=None)
        if (reached := _reached(slower, found)) is not None:
            yield f"{reached:,} cycles are as few as fit"
    if not found.fits and search.options.interval is None:
        share = largest_share(lambda share: _reached(_with_matrices(search, lambda fold: fewer_blocks(fold, share)), found) is not None)
        if share is not None and share < FEWER_BLOCKS:
            yield fits_with(share)
    for text, changed in _changes(search, binding):
        if (reached := _reached(changed, found)) is not None:
            yield f"with {text} {reached:,} cycles are possible"
    for part in larger_parts(search.part)[:MOST_PARTS]:
        if (reached := _reached(_with_room(search, part, search.options.budget), found)) is not None:
            yield f"on the part {part.name} {reached:,} cycles are possible"
            break


def _reached(changed: Search, found: Plan) -> int | None:
    """The interval of the changed search, None where it is no better than what was found."""
    changed.step, changed.report = COARSE, lambda text: None
    goal = changed.options.interval
    if goal is not None:
        reached = max(goal, changed.fastest)
        return reached if not found.fits and changed.whole_fits(reached) else None
    first = found.interval if found.fits else changed.guess(changed.fastest)
    reached = changed.smallest(changed.whole_fits, changed.fastest, first)
    return reached if reached is not None and (not found.fits or reached < found.interval) else None


def _changes(search: Search, binding: tuple[str, ...]) -> Iterator[tuple[str, Search]]:
    budget = search.options.budget
    for kind in binding:
        if kind in KINDS and getattr(budget, kind) < 1:
            changed = _with_room(search, search.part, budget.model_copy(update={kind: 1.0}))
            yield f"all of the part's {kind} (--budget {kind}=1)", changed
    if has_wider_weights(search.units):
        yield FEWER_BITS_TEXT, _with_matrices(search, fewer_bits)
    yield f"{FEWER_BLOCKS:g} of the kept blocks", _with_matrices(search, lambda fold: fewer_blocks(fold, FEWER_BLOCKS))


def _with_room(search: Search, part: Part, budget: Budget) -> Search:
    changed = copy.copy(search)
    changed.part, changed.kept = part, {}
    changed.room, changed.styles = room_of(part, budget), search.options.styles(part)
    return changed


def _with_matrices(search: Search, change: Callable[[Fold], Fold]) -> Search:
    changed = copy.copy(search)
    changed.barred, changed.kept = defaultdict(set), {}
    for cached in ("fastest", "slowest"):
        changed.__dict__.pop(cached, None)
    changed.units = tuple(with_matrix(unit, change) for unit in search.units)
    return changed


def with_matrix(unit: Folding, change: Callable[[Fold], Fold]) -> Folding:
    """A unit with another matrix, of each encoder that shares it; one without a matrix stays as it is."""
    if not isinstance(unit, MatrixFolding):
        return unit
    encoders = unit.fold.encoders
    return MatrixFolding(shared_fold([change(own) for own in encoders]) if encoders else change(unit.fold))
