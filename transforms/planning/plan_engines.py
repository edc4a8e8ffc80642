"""The plan of a graph with engines: folds and memories of their units and of the nodes outside, for an interval or for a part.

Every unit with products gets an interval of its own, in which it does all encoders of its engine. What that makes of an image's
interval and latency follows from the order of frames (:mod:`finn_vitprune.custom_ops.engine.times`), and is counted in the graph.
Where an image is alone in its engine, its queries, keys and values are made before its attention can begin, and the rest streams
behind the attention. For a short interval there are so two intervals, and their ratio, the shape, is part of what is planned; for a
short latency every unit is chosen by the time of the image (:mod:`.soonest`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.custom_ops.elementwise.table import TableOp
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding
from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.folding import Folding
from finn_vitprune.transforms.planning.engine_graph import EngineGraph
from finn_vitprune.transforms.planning.fold import slowest_cycles
from finn_vitprune.transforms.planning.place_fifos import place_in_engines
from finn_vitprune.transforms.planning.plan_problem import (
    GRID,
    Between,
    Paces,
    Plan,
    Problem,
    Solved,
    Steps,
    on_grid,
    place_on_grid,
    smallest,
    solve,
)  # fmt: skip
from finn_vitprune.transforms.planning.slr import used_by_region
from finn_vitprune.transforms.planning.soonest import SLOWEST, TimedFolds, soonest, timed_folds
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles

AGREED = 2.0
"""Factor by which an engine's interval may be another than what was assumed before the first plan."""
CLOSE = 0.02
"""A plan this near to the interval that is asked for is not made again."""
ROUNDS, ROUNDS_SOONEST = 8, 12
"""Plans that are counted exactly, at most, before one fits or keeps an interval, or for a short latency."""
RATIO = math.sqrt(2)
"""Step of the search for a shape."""
LONE = Paces(before=0.5)
"""For a short latency units without products, and ports, are twice as fast as their engine's others need: every token waits for them."""
SAME = 0.001
"""A plan that makes the latency shorter by less is not improved further."""
NARROW = 0.8
"""Of the base interval: rows that take longer to enter keep a plan from being faster."""
WIDER = 4
"""Blocks of which a side is a multiple where its port can be as many blocks wide."""
UNLIMITED = 1e12
"""Of a resource: more than anything takes."""
STRIDE = 8
"""Places of the grid between the first intervals that are looked at."""


@dataclass(frozen=True)
class Standing:
    """What the last count told of all that is beside the units.

    Attributes:
        taken: ``[places, kinds]``. placed: what of engines is placed with the foldings: tables that encoders share, and FIFOs where nothing
            fits otherwise.
        slower: how much longer an engine's interval is than that of its units.
        outer: ``[places, kinds]`` of ``taken``: FIFOs, converters, crossings and the load port outside of engines, which folds
            change little; None: to be counted.
    """

    taken: np.ndarray
    placed: Between
    slower: float
    outer: np.ndarray | None = None


@dataclass(frozen=True)
class Counted:
    """A plan as it is in the graph, with all that stands between units; ``used``: ``[places, kinds]``."""

    solved: Solved
    interval: int
    latency: int
    used: np.ndarray
    standing: Standing


class EngineSearch:
    """The search of a plan for a problem of a graph with engines.

    Args:
        latency: whether it is for a short latency, not a short interval. report: takes a line for each plan that is counted.
        limit: the longest interval of a plan for a short latency; None: any.
    """

    def __init__(
        self,
        graph: EngineGraph,
        problem: Problem,
        latency: bool,
        report: Callable[[str], None] = lambda text: None,
        limit: int | None = None,
    ) -> None:
        self.graph, self.problem, self.latency, self.report, self.limit = graph, problem, latency, report, limit
        alone = max(engine.batch for engine in engines_of(graph.model)) == 1
        self.standing = Standing(np.zeros_like(problem.room), (), 2.0 if alone else 1.25)
        self.placing = False
        """Whether FIFOs of engines are placed with the foldings, not tables alone; where a plan fits without that, none is."""

    def changed(self, problem: Problem) -> EngineSearch:
        """The search for another problem of the same graph, as if nothing stood between the units yet."""
        other = EngineSearch(self.graph, problem, self.latency, limit=self.limit)
        other.standing = replace(other.standing, slower=self.standing.slower, outer=self.standing.outer)
        other.placing = self.placing
        return other

    # --- plans ---

    def within(self, interval: int) -> Plan | None:
        """The plan of the longest intervals of units whose images come in ``interval``; None where none was found that fits.

        It is without UltraRAM, which the host must load, where it does not need it.
        """
        problem = self.problem

        def search() -> Plan | None:
            for styles in (problem.styles.without_ultra, problem.styles):
                self.problem = replace(problem, styles=styles)
                if found := self._within(interval):
                    break
            self.problem = problem
            return found

        return self._with_and_without_placing(search)

    def best(self) -> Plan | None:
        """The plan with the shortest interval, or latency, that fits; None where none was found."""
        return self._with_and_without_placing(self._best)

    def _with_and_without_placing(self, search: Callable[[], Plan | None]) -> Plan | None:
        if found := search():
            return found
        self.placing, self.standing = True, replace(self.standing, taken=np.zeros_like(self.problem.room))
        return search()

    def overfull(self, interval: int | None) -> Plan:
        """The plan for an interval, else about the fastest, or without one the smallest folds, whatever room there is."""
        room, self.problem = self.problem.room, replace(self.problem, room=np.full_like(self.problem.room, UNLIMITED))
        found = interval and self._within(interval)
        if not found:
            solved = self.smallest(Paces()) if interval else self.solved(self.slowest, Paces())
            assert solved is not None  # nothing is too large for so much room
            found = self.planned(solved, Paces())
        self.problem = replace(self.problem, room=room)
        return replace(found, room=room)

    # --- one plan ---

    def solved(self, base: int, shape: Paces) -> Solved | None:
        """The cheapest foldings that fit beside what stands between the units; None where there are none."""
        paces = Paces(shape.before, self.standing.slower * shape.outside)
        return solve(replace(self.problem, taken=self.standing.taken, between=self.standing.placed, paces=paces), base)

    def planned(self, solved: Solved, shape: Paces) -> Plan:
        """The plan of a solution."""
        found, graph = self._count(solved, shape)
        return Plan(graph, found.interval, solved.interval, found.used, self.problem.room)

    def counted(self, solved: Solved, shape: Paces) -> Counted:
        """A solution as it is once it is in the graph; what that tells is known from now on."""
        return self._count(solved, shape)[0]

    def _count(self, solved: Solved, shape: Paces) -> tuple[Counted, ModelWrapper]:
        problem, graph, standing = self.problem, self.graph, self.standing
        slrs = len(problem.room)
        model = graph.written(solved, shape.before, slrs)
        slower = standing.slower if self.latency else max(e.get_exp_cycles() for e in engines_of(model)) / solved.interval
        family = problem.styles.family
        chosen = problem.used_by([folding.amounts(family) for folding in solved.foldings])
        used, outer = used_by_region(model, slrs, family), standing.outer
        if outer is None:
            whole = model.transform(InsertStreams()).transform(InsertLoadPort(design=0), make_deepcopy=False)
            outer = used_by_region(whole, slrs, family) - used
        beside = used + outer - (chosen if problem.units == graph.units else graph.held(model, problem))
        used = beside + chosen
        self.standing = Standing(np.maximum(0, beside), standing.placed, slower, outer)
        used = self._placed(model, used)
        interval, latency = slowest_cycles(model), latency_cycles(model)
        found = Counted(solved, interval, latency, used, self.standing)
        self.report(
            f"{solved.interval:,} cycles a unit: an image each {interval:,}, through in {latency:,}"
            f"{'' if self.fits(found) else ', more than the part has'}"
        )
        return found, model

    def _placed(self, model: ModelWrapper, used: np.ndarray) -> np.ndarray:
        """Place tables, or FIFOs too, of engines in ``model``; ``[places, kinds]`` what is used then.

        Args:
            used: the same with each where it stands by itself.
        """
        problem, regions = self.problem, self.graph.regions(len(used))
        placings = []
        for region, left in enumerate(problem.room - used):
            engines = [engine for engine in engines_of(model) if regions[engine.onnx_node.name] == region]
            placings.append(place_in_engines(engines, left, problem.prices, problem.styles, self._is_placed))
        before, after = (np.array([getattr(placing, name) for placing in placings]) for name in ("before", "after"))
        items = [(item, place) for place, placing in enumerate(placings) for item in placing.items]
        between = tuple((item.candidates, place) for item, place in items for _ in range(item.count))
        self.standing = replace(self.standing, taken=self.standing.taken - before, placed=between)
        return used + after - before

    def _is_placed(self, op: VitOp) -> bool:
        return isinstance(op, TableOp) or (self.placing and op.is_buffer)

    def fits(self, found: Counted) -> bool:
        return bool(np.all(found.used <= self.problem.room))

    def recounted(self, solved: Solved, shape: Paces) -> Plan | None:
        """The plan with everything counted again; None where it does not fit then."""
        self.standing = replace(self.standing, outer=None)
        found = self.planned(solved, shape)
        return found if found.fits else None

    # --- for an interval ---

    def _within(self, interval: int) -> Plan | None:
        shape, best, low, high = Paces(), None, 0.0, math.inf
        self.standing = replace(self.standing, taken=np.zeros_like(self.problem.room))
        base = interval / self.standing.slower
        tried: dict[tuple[Folding, ...], Counted] = {}
        for _ in range(8 * ROUNDS):
            if len(tried) == ROUNDS:
                break
            solved = self.solved(max(1, int(base)), shape)
            if solved is None and not tried:
                base *= 1.3
                continue
            if solved is None:
                break
            if new := solved.foldings not in tried:
                tried[solved.foldings] = self.counted(solved, shape)
            found = tried[solved.foldings]
            if found.interval > interval:
                high = min(high, base)
            elif self.fits(found):
                best, low = found, max(low, base)
                if found.interval > (1 - CLOSE) * interval:
                    break
            elif new:
                continue  # now it can be told what stands between the units
            else:
                break
            if high - low < CLOSE / 4 * low:
                break
            aimed = base * (1 - CLOSE / 2) * interval / found.interval
            base = aimed if low < aimed < high else (low + min(high, 2 * aimed)) / 2
        return None if best is None else self.recounted(best.solved, shape)

    # --- for a part ---

    @property
    def slowest(self) -> int:
        """An interval that all units keep at their smallest folds."""
        return max(unit.macs for unit in self.problem.units if unit.layers)

    def _best(self) -> Plan | None:
        """The best plan, of equals the better one by the other goal.

        Where engines turn out to have quite another interval than was assumed for the first plans, the search is made again:
        nodes outside of engines were planned for that interval.
        """
        if self.latency:
            return self.soonest()
        assumed, (cost, shape, found) = self.standing.slower, self.shaped()
        if not 1 / AGREED < self.standing.slower / assumed < AGREED:
            cost, shape, found = min((cost, shape, found), self.shaped(), key=lambda result: result[0])
        if found is None:
            return None
        if plan := self.recounted(found.solved, shape):
            return plan
        again = self.fastest(shape)
        return None if again is None else self.planned(again.solved, shape)

    def soonest(self) -> Plan | None:
        """The plan with the shortest latency that fits and keeps the limit; None where there is none.

        Each is chosen beside what stood between the units of the one before, and from folds near to its own, until that helps no more.
        No unit is busy with an image for longer than the limit; where images come at a longer interval all the same, the units of the
        next plan have less time.
        """
        near, best, busy = None, None, math.inf if self.limit is None else float(self.limit)
        for _ in range(ROUNDS_SOONEST):
            if (near := self._sooner(near, busy)) is None:
                break
            self.standing = replace(self.standing, outer=None)
            found, graph = self._count(near, LONE)
            if self.limit is not None and found.interval > self.limit:
                busy *= self.limit / found.interval
                continue
            if not self.fits(found):
                continue
            last = best is not None and found.latency > (1 - SAME) * best[0].latency
            if best is None or self.cost(found) < self.cost(best[0]):
                best = found, graph
            if last:
                break
        if best is None:
            return None
        found, graph = best
        self.standing = found.standing
        return Plan(graph, found.interval, found.solved.interval, found.used, self.problem.room, found.solved.gap)

    def _sooner(self, near: Solved | None, busy: float = math.inf) -> Solved | None:
        """The solution beside what stands, from folds near to those of another one; without one, or where these do not fit, from any.

        Args:
            busy: the most cycles that an image may take in a unit.
        """
        problem = replace(self.problem, taken=self.standing.taken, between=self.standing.placed)

        def sooner(options: tuple[TimedFolds, ...] | None) -> Solved | None:
            return None if options is None else soonest(problem, [own.within(busy) for own in options], self.graph.waves)

        found, slower = None if near is None else sooner(timed_folds(problem, near)), 1.0
        while found is None and slower * problem.guess < self.slowest:
            found, slower = sooner(timed_folds(problem, slower=slower)), slower * SLOWEST
        return found

    def cost(self, found: Counted) -> tuple[int, int]:
        """What is to be short, then what decides among equals."""
        return (found.latency, found.interval) if self.latency else (found.interval, found.latency)

    def shaped(self) -> tuple[tuple[float, float], Paces, Counted | None]:
        """The best shape that steps lead to, with its cost and its plan."""
        tried: dict[Paces, Counted | None] = {}

        def cost(shape: Paces) -> tuple[float, float]:
            if shape not in tried:
                tried[shape] = self.fastest(shape)
            return (math.inf, math.inf) if (found := tried[shape]) is None else self.cost(found)

        shape = Paces()
        for name, step in (("before", 1 / RATIO), ("before", RATIO), ("outside", 1 / RATIO**2)):  # slower nodes outside help nothing
            while cost(following := shape._replace(**{name: round(getattr(shape, name) * step, 6)})) < cost(shape):
                shape = following
        return cost(shape), shape, tried[shape]

    def fastest(self, shape: Paces) -> Counted | None:
        """The plan of the shortest intervals that fits with this shape; None where there is none.

        A plan is chosen beside what stood between the units of the one before. Where that had more of it, faster units fit, and
        where it had less, the plan does not fit: so the base intervals between the slowest that does not and the fastest that
        does are halved.
        """
        found, low = None, 0
        taken = self.standing.taken
        for _ in range(ROUNDS):
            solved = self.smallest(shape)
            if solved is None or (found and not low < solved.interval < found.solved.interval):
                break
            last = self.counted(solved, shape)
            if self.fits(last):
                found, taken = last, self.standing.taken
                continue
            low = solved.interval
            if found:
                break
        while found and low and found.solved.interval - low > max(1, CLOSE * low):
            self.standing, base = replace(self.standing, taken=taken), int(math.sqrt(low * found.solved.interval))
            faster = None if (solved := self.solved(base, shape)) is None else self.counted(solved, shape)
            if faster is not None and self.fits(faster) and self.cost(faster) < self.cost(found):
                found, taken = faster, self.standing.taken
            else:
                low = base
        if found:
            self.standing = found.standing
        return found

    def smallest(self, shape: Paces) -> Solved | None:
        """The solution of the smallest base on the grid."""
        known: dict[int, Solved | None] = {}

        def fits(place: int) -> bool:
            if place not in known:
                known[place] = self.solved(on_grid(GRID**place), shape)
            return known[place] is not None

        most = place_on_grid(self.slowest) + 1
        steps = Steps(lambda place, n: place + STRIDE * 2**n, lambda place, n: place - STRIDE * 2**n)
        found = smallest(fits, 0, min(place_on_grid(self.problem.guess), most), most, steps)
        return None if found is None else known[found]

    # --- what would help ---

    def wider_ports(self, base: int) -> Iterator[str]:
        """Units whose rows take about as long to enter as the plan allows, since their sides have few factors of two."""
        for unit in self.problem.units:
            layers = [layer.fold for layer in unit.layers if isinstance(layer, MatrixFolding)]
            if not layers:
                continue
            block = layers[0].block
            widest = max(set.intersection(*(set(Fold.in_widths(fold.mw, block)) for fold in layers)))
            if sum(fold.rows * fold.mw for fold in layers) < NARROW * widest * base:
                continue
            even = WIDER * block
            if narrow := sorted({fold.mw for fold in layers if fold.mw % even}):
                sides = narrow, [-(-mw // even) * even for mw in narrow]
                rows, better = (", ".join(f"{mw:,}" for mw in side) for side in sides)
                what = f"{unit.name} takes {widest} elements a cycle at most, of rows of {rows}"
                yield f"{what}: rows of a multiple of {even}, as {better}, enter faster"
