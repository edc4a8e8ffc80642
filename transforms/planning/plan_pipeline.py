"""The plan of a graph with hardware for every layer: the smallest interval that fits a part, or few resources for an interval.

Which SLR a node is in, and what stands between units (FIFOs, width converters, crossings, the load port), follows from the folds:
nodes are dealt, the rest is inserted and counted, and the choice is made again with what was counted. The search looks for the
smallest interval, first for the part as a whole, then for its SLRs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from onnx import GraphProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.folding import used_by
from finn_vitprune.transforms.planning.choice import TINY, Candidates
from finn_vitprune.transforms.planning.fold import SLOWEST, GraphFolding
from finn_vitprune.transforms.planning.place_fifos import place, standing
from finn_vitprune.transforms.planning.plan_problem import Plan, PlanUnit, Problem, Solved, Steps, even, mixed, smallest, solve
from finn_vitprune.transforms.planning.slr import crossing_bits, cut
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams

ROUNDS = 3
"""How often a choice is made again with what was counted."""
DEALS = 4
"""How often nodes are dealt to SLRs for one interval."""
STEP = 0.01
"""The search ends where an interval shorter by this share does not fit."""
STRIDE = 1.15
"""Factor between the intervals with which it begins."""
BOUND_STEP = 0.03
"""That of the search for the part as a whole, where SLRs follow."""
BORDERS = 1.15
"""Factor by which borders between SLRs make the interval longer, to begin with."""


@dataclass(frozen=True)
class Chain:
    """A graph in its order: units by their number, and what stands between them as candidates.

    ``bits``: of the streams that cross a cut after each part but the last.
    """

    parts: tuple[int | Candidates, ...]
    bits: np.ndarray

    @classmethod
    def bare(cls, units: int) -> Chain:
        """Nothing stands between the units."""
        return cls(tuple(range(units)), np.zeros(units - 1))


class PipelineSearch:
    """Of one hardware graph, its ops specialised, which stays as it is.

    Args:
        problem: its nodes as units (:func:`units_of`). report: takes a line for each step.
    """

    def __init__(self, model: ModelWrapper, problem: Problem, report: Callable[[str], None] = lambda text: None) -> None:
        self.model, self.problem, self.report = _without_values(model), problem, report
        self.chain = Chain.bare(len(problem.units))

    def changed(self, problem: Problem) -> PipelineSearch:
        """The search for another problem of the same graph, beside what stood between the units last."""
        other = PipelineSearch(self.model, problem)
        other.chain = self.chain
        return other

    @cached_property
    def folding(self) -> GraphFolding:
        return GraphFolding(tuple(unit.folding for unit in self.problem.units))

    @cached_property
    def fastest(self) -> int:
        """The interval that no folding makes shorter."""
        return self.folding.for_interval(1).cycles

    @cached_property
    def slowest(self) -> int:
        """The interval that all units keep at their smallest folds."""
        return self.folding.for_interval(SLOWEST).cycles

    @property
    def dies(self) -> int:
        return len(self.problem.room)

    # --- plans ---

    def within(self, interval: int) -> Plan | None:
        """The plan of the fewest resources for an interval; None where none was found that fits.

        It is without UltraRAM, which the host must load, where it does not need it.
        """
        problem, interval = self.problem, max(interval, self.fastest)
        self.problem = replace(problem, styles=problem.styles.without_ultra)
        found = self._counted_at(interval, cheapest=True)
        self.problem = replace(self.problem, styles=problem.styles)
        return found or self._counted_at(interval, cheapest=True)

    def best(self) -> Plan | None:
        """The plan of the smallest interval."""
        bound_step = STEP if self.dies == 1 else BOUND_STEP
        bound = self.bound(bound_step)
        if bound is None:
            return None
        interval = bound
        if self.dies > 1:
            first = min(self.slowest, int(bound * BORDERS))
            interval = smallest(lambda i: self.dealt(i) is not None, bound, first, self.slowest, _steps(STEP)) or self.slowest
        while (found := self._counted_at(interval)) is None and interval < self.slowest:
            interval = min(self.slowest, math.ceil(interval * (1 + STEP)))
        return found and replace(found, gap=interval / bound - 1 + bound_step)

    def bound(self, step: float, first: int | None = None) -> int | None:
        """The smallest interval of the part as a whole, looked for from ``first`` on; None where there is none."""
        first = min(self.slowest, max(self.fastest, self.problem.guess)) if first is None else first
        return smallest(self.whole_fits, self.fastest, first, self.slowest, _steps(step))

    def overfull(self, interval: int | None) -> Plan:
        """For an interval, or the slowest, with the folding that fills the fullest resource of the whole part least.

        Where only borders between SLRs are in the way its nodes are in SLRs, so that it is told which are too full.
        """
        interval = self.slowest if interval is None else max(interval, self.fastest)
        self.problem = Problem.of(self.problem.units, self.problem.room, self.problem.prices, self.problem.styles)
        picked = self.problem.whole.pick(interval, even)
        assert picked is not None  # every unit has a fold that is slow enough
        folding = GraphFolding(picked.foldings)
        found = self._counted(folding, (-1,) * len(folding.nodes))
        if self.dies == 1 or not found.fits:
            return found
        used = used_by(folding.nodes, self.problem.styles.family)
        dealt = cut(used, self.problem.room, np.zeros(len(used) - 1)).slrs(len(used))
        return self._counted(folding, tuple(map(int, dealt)))

    # --- one interval ---

    def whole_fits(self, interval: int) -> bool:
        """Whether the part as a whole has enough, whatever is in which SLR."""
        counted = len(self.chain.parts) > len(self.problem.units)
        found = solve(self.problem.whole, interval)
        if found is not None and not counted:  # now it can be told what stands between the units
            self._tell(self._folded(GraphFolding(found.foldings), (-1,) * len(found.foldings)))
            return self.whole_fits(interval)
        self.report(f"interval {interval} cycles: {'fits' if found else 'does not fit'} the part as a whole")
        return found is not None

    def dealt(self, interval: int) -> tuple[Solved, np.ndarray] | None:
        """The solution for an interval, and the SLR of every part of the chain; None where none was found.

        As few SLRs as can be, next to each other. Parts are dealt in graph order by weights, the shares that they have
        of their SLR; what is chosen for each SLR tells the weights anew.
        """
        found, room = None, self.problem.room
        for count in range(1, self.dies + 1):
            places = range(self.dies - count + 1)
            first = max(places, key=lambda s: float((room[s : s + count] @ self.problem.prices).sum()))
            own = room[first : first + count]
            if not self.may_fit(interval, own.sum(0)):
                continue
            if (found := self._dealt_to(interval, own)) is not None:
                found = found[0], found[1] + first
                break
        self.report(f"interval {interval} cycles: {'fits' if found else 'does not fit'} {self.dies} SLRs")
        return found

    def may_fit(self, interval: int, room: np.ndarray) -> bool:
        """Whether mixtures of candidates fit, which none does where these do not."""
        found = replace(self.problem.whole, room=room[None]).pick(interval, mixed)
        return found is not None and bool(np.all(found.used[0] <= np.maximum(room, TINY)))

    def _dealt_to(self, interval: int, room: np.ndarray) -> tuple[Solved, np.ndarray] | None:
        """:meth:`dealt` to the SLRs that have this ``room``."""
        one = np.zeros(len(self.chain.parts), dtype=int)
        if len(room) == 1:
            found = solve(self._placed(one, room), interval)
            return None if found is None else (found, one)
        capacity, tried = room @ self.problem.prices, set()
        weights = self._weights(interval, one, room.sum(0, keepdims=True), capacity.sum(keepdims=True))
        for _ in range(DEALS):
            if weights is None:
                return None
            slrs = cut(weights[:, None], capacity[:, None], self.chain.bits).slrs(len(weights))
            if slrs.tobytes() in tried:
                return None
            tried.add(slrs.tobytes())
            if (found := solve(self._placed(slrs, room), interval)) is not None:
                return found, slrs
            weights = self._weights(interval, slrs, room, capacity)
        return None

    def _placed(self, slrs: np.ndarray, room: np.ndarray) -> Problem:
        """The problem with every part of the chain in its SLR."""
        parts = sorted(zip(self.chain.parts, map(int, slrs)), key=lambda part: part[0] if isinstance(part[0], int) else len(slrs))
        units = len(self.problem.units)
        between = tuple((part, slr) for part, slr in parts if not isinstance(part, int))
        return self.problem.placed([slr for _, slr in parts[:units]], between, room)

    def _weights(self, interval: int, slrs: np.ndarray, room: np.ndarray, capacity: np.ndarray) -> np.ndarray | None:
        """``[parts]``: what each adds to the fullest resource of its SLR, in units of ``capacity``; None without candidates."""
        if (found := self._placed(slrs, room).pick(interval, mixed)) is None:
            return None
        weights = np.zeros(len(slrs))
        for slr in range(int(slrs.max()) + 1):
            own = np.flatnonzero(slrs == slr)
            parts = [self.chain.parts[i] for i in own]
            family = self.problem.styles.family
            used = [found.foldings[p].amounts(family) if isinstance(p, int) else p.used[0] for p in parts]
            costs = np.array(used, dtype=float) @ self.problem.prices
            share = float(np.max(found.used[slr] / np.maximum(room[slr], 1)))
            weights[own] = costs / max(costs.sum(), 1e-12) * share * capacity[slr]
        return weights

    # --- what stands between the units ---

    def _counted_at(self, interval: int, cheapest: bool = False) -> Plan | None:
        """A plan for the interval, everything counted; None where none was found.

        In several SLRs it is not the ``cheapest``: what is left in each SLR makes up for what the count changes.
        """
        for _ in range(ROUNDS):
            if (found := self.dealt(interval)) is None:
                return None
            solved, slrs = found
            placed = self._placed(slrs, self.problem.room)
            units = placed.places
            if len(set(units)) == 1:
                units = (-1,) * len(units)
            elif not cheapest:
                solved = solve(placed, interval, even) or solved
            if (result := self._counted(GraphFolding(solved.foldings), units)).fits:
                return result
        return None

    def _counted(self, folding: GraphFolding, slrs: tuple[int, ...]) -> Plan:
        """The plan of a folding, whatever it takes: with all that stands between the units."""
        graph, room = self._folded(folding, slrs), self.problem.room
        whole = self._tell(graph)
        _, used = place(whole, room, self.problem.prices, self.problem.styles)
        room = room if len(used) == len(room) else room.sum(0, keepdims=True)
        return Plan(graph, folding.cycles, folding.cycles, used, room, gap=0.0)

    def _folded(self, folding: GraphFolding, slrs: Sequence[int]) -> ModelWrapper:
        model = copy.deepcopy(self.model)
        folding.write(model)
        for node, slr in zip(model.graph.node, slrs, strict=True):
            getCustomOp(node).set_nodeattr("slr", slr)
        return model

    def _tell(self, graph: ModelWrapper) -> ModelWrapper:
        """A folded graph with FIFOs, converters, crossings and the load port; they are part of the problem from now on."""
        model = graph.transform(InsertStreams()).transform(InsertLoadPort(design=0), make_deepcopy=False)
        numbers = {unit.name: i for i, unit in enumerate(self.problem.units)}
        parts = [
            numbers[node.name] if node.name in numbers else standing(getCustomOp(node).folding(), self.problem.styles)
            for node in model.graph.node
        ]
        self.chain = Chain(tuple(parts), crossing_bits(model))
        self.problem = replace(self.problem, between=tuple((part, 0) for part in parts if not isinstance(part, int)))
        return model


def units_of(model: ModelWrapper) -> list[PlanUnit]:
    """The nodes of a hardware graph as units; those of equal shape get the same fold."""
    return [PlanUnit(node.name, getCustomOp(node).folding(), alike=True) for node in model.graph.node]


def _steps(end: float) -> Steps:
    return Steps(lambda i, n: int(i * STRIDE**2**n) + 1, lambda i, n: int(i / STRIDE**2**n), end)


def _without_values(model: ModelWrapper) -> ModelWrapper:
    """A copy without weights, which a plan does not look at."""
    graph = model.graph
    bare = GraphProto(
        name=graph.name, node=graph.node, input=graph.input, output=graph.output, value_info=graph.value_info,
        quantization_annotation=graph.quantization_annotation,
    )  # fmt: skip
    return ModelWrapper(helper.make_model(bare, opset_imports=model.model.opset_import))
