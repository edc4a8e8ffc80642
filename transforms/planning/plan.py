"""The plan for a part, and what is said of it: what binds, what a faster one would need, what would relieve it.

Whatever would help is another problem of the same graph (:mod:`.plan_problem`), solved before it is said.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding
from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.synth.budget import MEAN, flip_flops_of, mean_for, shares_for
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.synth.parts import Part, larger_parts
from finn_vitprune.synth.planned import Goal, Planned
from finn_vitprune.transforms.planning.engine_graph import EngineGraph
from finn_vitprune.transforms.planning.plan_engines import EngineSearch
from finn_vitprune.transforms.planning.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.planning.plan_pipeline import PipelineSearch, units_of
from finn_vitprune.transforms.planning.plan_problem import Paces, Plan, PlanUnit, Problem, When, mixed, solve

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


def plan(model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None] = lambda text: None) -> tuple[Plan, Planned]:
    """Plan the hardware graph ``model``, its ops specialised, its encoders in engines or not; it stays as it is.

    Args:
        part: as its shell leaves it. report: takes a line for each step of the search.
    Returns:
        The plan, and what is said of it: why it is no faster, or what would make it fit. Where none fits, the plan is the
        least overfull one for a given interval, else the slowest. Where it takes more of DSP, BRAM and URAM on average than the budget
        allows, it is made again with so much less of each.
    """
    found, said = _planned(model, part, options, report)
    if not said.fits or (within := options.within_mean(said.mean, part)) is None:
        return found, said
    report(f"DSP, BRAM and URAM take {said.mean:.1%} on average, more than the budget: planned again within {within.budget}")
    found, said = _planned(model, part, within, report)
    return found, said.model_copy(update={"binding": [MEAN, *said.binding]})


def _planned(model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None]) -> tuple[Plan, Planned]:
    """:func:`plan` whatever the mean is."""
    target = options.interval
    search = search_of(model, part, options, report)
    soonest = isinstance(search, EngineSearch) and search.latency
    found = search.best() if target is None or soonest else search.within(target)
    if found is None and soonest and target is not None:  # images come so often from plans that are not made for a short latency, if at all
        soonest, search = False, search_of(model, part, replace(options, goal="throughput"), report)
        found = search.within(target)
    found = found or search.overfull(target)
    search.report = lambda text: None
    alone = isinstance(search, PipelineSearch)
    goal: Goal = "latency" if soonest else "throughput" if target is None else "target"
    said = Planned(
        goal=goal, interval_cycles=found.interval, fits=found.fits, gap=None if found.gap is None else round(found.gap, 4),
        shell=part.shell, budget=(shares := shares_for(part, options.budget)),
        used=(used := shares_of(found.used.sum(0), found.room.sum(0), part.planned_as)),
        mean_limit=limit if (limit := mean_for(part, options.budget)) < 1 else None,
        flip_flops=round(flip_flops_of(part, used["LUT"] * shares["LUT"]), 4) if "LUT" in used else None,
        slrs=[shares_of(u, r, part.planned_as) for u, r in zip(found.used, found.room)] if len(found.used) > 1 else [],
        next_interval_cycles=int(found.interval / FASTER) if alone and found.fits else found.interval,
    )  # fmt: skip
    if not options.explain:
        return found, said
    if isinstance(search, EngineSearch):
        return found, said.model_copy(update={"relief": list(_engine_relief(search, found, target))})
    binding, needs = _binding(search, said.next_interval_cycles, found.fits and target is not None)
    relief = list(_relief(search, found, part, options, binding))
    return found, said.model_copy(update={"binding": list(binding), "next_needs": needs, "relief": relief})


def search_of(
    model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None] = lambda text: None
) -> PipelineSearch | EngineSearch:
    """The search for a plan of a graph."""
    room, styles = room_of(part, options.budget), options.styles(part)
    if not engines_of(model):
        return PipelineSearch(model, Problem.of(units_of(model), room, prices_of(room), styles), report)
    graph = EngineGraph(model)
    return EngineSearch(graph, graph.problem(room, prices_of(room), styles), options.goal == "latency", report, options.interval)


def shares_of(used: np.ndarray, room: np.ndarray, family: PartFamily = ULTRASCALE) -> dict[str, float]:
    """What of the room ``[kinds]`` is used; where there is none, as if there were one."""
    return {kind: round(float(u / max(r, 1)), 4) for kind, u, r in zip(family.kinds, used, room)}


# --- changes of a problem ---


def _with_matrices(problem: Problem, change: Callable[[Fold], Fold]) -> Problem:
    """Other matrices in the units, of each encoder that shares one; those outside of engines stay."""

    def changed(unit: PlanUnit) -> PlanUnit:
        if unit.when is When.OUTSIDE:
            return unit
        own, *layers = (f.with_matrices(change) if isinstance(f, MatrixFolding) else f for f in (unit.folding, *unit.layers))
        return replace(unit, folding=own, layers=tuple(layers))

    return problem.with_units(map(changed, problem.units))


def _fewer_blocks(problem: Problem, share: float) -> Problem:
    """Matrices with this share of the blocks that they keep."""

    def change(fold: Fold) -> Fold:
        counts = fold.column_blocks or (fold.block_rows,) * fold.block_columns
        return replace(fold, column_blocks=tuple(round(share * count) for count in counts))

    return _with_matrices(problem, change)


def _fewer_bits(problem: Problem) -> Problem | None:
    """Weights of :data:`FEWER_BITS`, or fewer where a matrix has fewer; None where none has more."""
    fewer = DataType[FEWER_BITS]
    matrices = [unit.folding.fold for unit in problem.units if isinstance(unit.folding, MatrixFolding)]
    if all(fold.w.bitwidth() <= fewer.bitwidth() for fold in matrices):
        return None
    return _with_matrices(problem, lambda fold: replace(fold, w=min(fold.w, fewer, key=lambda w: w.bitwidth())))


def _largest_share(fits: Callable[[float], bool]) -> float | None:
    """The largest of :data:`SHARES` that ``fits``, as all smaller ones do then; None where none does."""
    place = bisect_left(SHARES, True, key=fits)
    return SHARES[place] if place < len(SHARES) else None


def _fits_with(share: float) -> str:
    """What :func:`_largest_share` has found, in words."""
    return f"with {share:g} of the kept blocks it fits, with {share + 0.05:g} it does not"


# --- without engines ---


def _binding(search: PipelineSearch, interval: int, kept: bool) -> tuple[tuple[str, ...], dict[str, float]]:
    """Resources of which alone more would allow the interval, "SLR" where only borders are in its way; and what it needs.

    Nothing binds where the interval is possible: a plan for a target is as fast as it was asked to be. Needs are shares of
    the whole room, with the fullest resource as empty as can be; none where a unit cannot be so fast.

    Args:
        kept: whether a target is kept, which then may allow the interval in several SLRs, too.
    """
    whole = search.problem.whole
    if (least := whole.pick(interval, mixed)) is None:
        return (), {}
    family = whole.styles.family
    needs = shares_of(least.used[0], whole.room[0], family)
    if solve(whole, interval) is not None:
        possible = search.dies == 1 or (kept and search.dealt(interval) is not None)
        return (() if possible else ("SLR",)), needs
    extras = zip(family.kinds, np.diag([1e9] * len(family.kinds)))
    more = {kind: replace(whole, room=np.maximum(whole.room, extra)) for kind, extra in extras}
    return tuple(kind for kind, problem in more.items() if solve(problem, interval) is not None), needs


def _relief(search: PipelineSearch, found: Plan, part: Part, options: PlanOptions, binding: tuple[str, ...]) -> Iterator[str]:
    """Changes that make a shorter interval possible, or a plan at all, each planned for the part as a whole."""
    problem, target = search.problem, options.interval

    def reached(changed: Problem, target: int | None = target) -> int | None:
        """The interval of the changed problem, None where it is no better than what was found."""
        other = search.changed(changed)
        if target is not None:
            interval = max(target, other.fastest)
            return interval if not found.fits and other.whole_fits(interval) else None
        least = other.bound(COARSE, found.interval if found.fits else None)
        return least if least is not None and (not found.fits or least < found.interval) else None

    def on(part: Part, **shares: float) -> Problem:
        return problem.with_room(room_of(part, options.budget.model_copy(update=shares)), options.styles(part))

    if not found.fits and target is not None and (cycles := reached(problem, None)) is not None:
        yield f"{cycles:,} cycles are as few as fit"
    if not found.fits and target is None:
        share = _largest_share(lambda share: reached(_fewer_blocks(problem, share)) is not None)
        if share is not None and share < FEWER_BLOCKS:
            yield _fits_with(share)
    shares = shares_for(part, options.budget)
    partly = [kind for kind in binding if shares.get(kind, 1) < 1]
    for text, changed in (
        *((f"all of the part's {kind} (--budget {kind}=1)", on(part, **{kind: 1.0})) for kind in partly),
        (FEWER_BITS_TEXT, _fewer_bits(problem)), (f"{FEWER_BLOCKS:g} of the kept blocks", _fewer_blocks(problem, FEWER_BLOCKS)),
    ):  # fmt: skip
        if changed is not None and (cycles := reached(changed)) is not None:
            yield f"with {text} {cycles:,} cycles are possible"
    for larger in larger_parts(part)[:MOST_PARTS]:
        if (cycles := reached(on(larger))) is not None:
            yield f"on the part {larger.name} {cycles:,} cycles are possible"
            break


# --- with engines ---


def _engine_relief(search: EngineSearch, found: Plan, target: int | None) -> Iterator[str]:
    """What would make a plan fit, or one that was to be as fast as fits faster; a target that is kept needs no help."""
    if found.fits:
        yield from search.wider_ports(found.base) if target is None else ()
        return
    if target is not None and (slower := search.fastest(Paces())) is not None:
        yield f"{slower.interval:,} cycles are about as few as fit"
        return

    def fits(changed: Problem | None) -> bool:
        return changed is not None and search.changed(changed).fastest(Paces()) is not None

    if fits(_fewer_bits(search.problem)):
        yield f"with {FEWER_BITS_TEXT} it fits"
    if (share := _largest_share(lambda share: fits(_fewer_blocks(search.problem, share)))) is not None:
        yield _fits_with(share)
