"""The search for a plan: fold, MAC implementation, memories and SLR of every unit, for one part.

For one interval an integer program (:mod:`.choice`) picks a candidate for every unit and a memory for every FIFO, so that
all resources of every SLR are kept; units of equal shape in one SLR get the same. Which SLR a node is in, and what stands
between units (FIFOs, width converters, crossings, the load port), follows from the folds: it is dealt, inserted and counted, and the choice
made again with what was counted. The search looks for the smallest interval, first for the part as a whole, then for its SLRs.
"""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np
from onnx import GraphProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.folding import Folding, Styles
from finn_vitprune.synth.parts import Part
from finn_vitprune.transforms.choice import TINY, Choice, Item, choose, least_share
from finn_vitprune.transforms.fold import SLOWEST, STREAM_SLACK, GraphFolding
from finn_vitprune.transforms.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.insert_streams import InsertStreams
from finn_vitprune.transforms.place_fifos import place
from finn_vitprune.transforms.plan_options import KINDS, PlanOptions, prices_of, room_of
from finn_vitprune.transforms.slr import crossing_bits, cut

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
PRODUCT_LUTS = 60
"""LUTs of a product, to guess the first one."""


@dataclass(frozen=True)
class Plan:
    """A fold of every unit, and what it takes.

    Attributes:
        folding: of the nodes of the hardware graph. slrs: the SLR of each, -1 where the part has one or one is enough.
        interval: cycles of a frame of the slowest unit.
        used: ``[slrs, kinds]``, FIFOs, converters and crossings counted. room: ``[slrs, kinds]``, the budget.
        gap: by how much a shorter interval is not ruled out, as a share; 0 for a given interval.
    """

    folding: GraphFolding
    slrs: tuple[int, ...]
    used: np.ndarray
    room: np.ndarray
    gap: float = 0.0

    @property
    def interval(self) -> int:
        return self.folding.cycles

    @property
    def fits(self) -> bool:
        """Whether everything is within the budget."""
        return bool(np.all(self.used <= self.room))

    def write(self, model: ModelWrapper) -> None:
        """Set the attributes of the nodes of ``model``, which the plan is of."""
        self.folding.write(model)
        _set_slrs(model, self.slrs)


@dataclass(frozen=True)
class Chain:
    """The graph in its order: units by their number, what stands between them as candidates (FIFOs have several).

    ``bits``: of the streams that cross a cut after each part but the last.
    """

    parts: tuple[int | tuple[Folding, ...], ...]
    bits: np.ndarray


class Search:
    """Of one hardware graph, its ops specialised, which stays as it is."""

    def __init__(self, model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None]) -> None:
        self.model = _without_values(model)
        self.part, self.options, self.report = part, options, report
        self.step = STEP
        self.units = GraphFolding.of(model).nodes
        self.styles = options.styles(part)
        self.room = room_of(part, options.budget)
        self.prices = prices_of(self.room)
        self.chain = Chain(tuple(range(len(self.units))), np.zeros(len(self.units) - 1))
        self.barred: dict[int, set[Folding]] = defaultdict(set)
        self.kept: dict[tuple[int, Styles, tuple[int, ...]], tuple[Folding, ...]] = {}

    def run(self) -> Plan:
        """The plan."""
        goal, fastest = self.options.interval, self.fastest
        if goal is not None:
            interval, styles = max(goal, fastest), self.styles
            self.styles = styles.without_ultra  # weights in UltraRAM must be loaded by the host
            found = self.at(interval)
            self.styles = styles
            return found or self.at(interval) or self.overfull(interval)
        self.step = bound_step = STEP if len(self.room) == 1 else BOUND_STEP
        bound = self.smallest(self.whole_fits, fastest, self.guess(fastest))
        self.step = STEP
        if bound is None:
            return self.overfull(self.slowest)
        interval = bound
        if len(self.room) > 1:
            first = min(self.slowest, int(bound * BORDERS))
            interval = self.smallest(lambda interval: self.dealt(interval) is not None, bound, first) or self.slowest
        while (found := self.at(interval)) is None and interval < self.slowest:
            interval = min(self.slowest, math.ceil(interval * (1 + STEP)))
        return self.overfull(self.slowest) if found is None else replace(found, gap=interval / bound - 1 + bound_step)

    @cached_property
    def fastest(self) -> int:
        """The interval that no folding makes shorter."""
        return GraphFolding(self.units).for_interval(1).cycles

    @cached_property
    def slowest(self) -> int:
        """The interval that all units keep at their smallest folds."""
        return GraphFolding(self.units).for_interval(SLOWEST).cycles

    def guess(self, fastest: int) -> int:
        """An interval to begin with: two products a DSP slice, and those that the LUTs have room for."""
        room = dict(zip(KINDS, self.room.sum(0)))
        products = max(1, 2 * room["DSP"] + room["LUT"] / PRODUCT_LUTS)
        return min(self.slowest, max(fastest, int(sum(unit.macs for unit in self.units) / products)))

    def smallest(self, fits: Callable[[int], bool], fastest: int, first: int) -> int | None:
        """The smallest interval that fits, within ``step``, looked for from ``first`` on; None where there is none."""
        low, high, stride = fastest - 1, first, STRIDE
        while not fits(high):
            if high >= self.slowest or (low < fastest and not fits(self.slowest)):
                return None
            low, high, stride = high, min(self.slowest, int(high * stride) + 1), stride**2
        while low < fastest and high > fastest:
            tried, stride = max(fastest, int(high / stride)), stride**2
            if fits(tried):
                high = tried
            else:
                low = tried
        while high - low > max(1, self.step * low):
            middle = (low + high) // 2
            if fits(middle):
                high = middle
            else:
                low = middle
        return high

    # --- one interval ---

    def whole_fits(self, interval: int) -> bool:
        """Whether the part as a whole has enough, whatever is in which SLR."""
        counted = len(self.chain.parts) > len(self.units)
        found = self.solve(interval, np.zeros(len(self.chain.parts), dtype=int), self.room.sum(0, keepdims=True))
        if found is not None and not counted:  # now it can be told what stands between the units
            self.chain = self.chain_of(self.inserted(found, (-1,) * len(self.units)))
            return self.whole_fits(interval)
        self.report(f"interval {interval} cycles: {'fits' if found else 'does not fit'} the part as a whole")
        return found is not None

    def dealt(self, interval: int) -> tuple[GraphFolding, np.ndarray] | None:
        """A folding that keeps the interval, and the SLR of every part of the chain; None where none was found.

        As few SLRs as can be, next to each other. Parts are dealt in graph order by weights, the shares that they have
        of their SLR; what is chosen for each SLR tells the weights anew.
        """
        found = None
        for count in range(1, len(self.room) + 1):
            first = max(range(len(self.room) - count + 1), key=lambda s: float((self.room[s : s + count] @ self.prices).sum()))
            room = self.room[first : first + count]
            if not self.may_fit(interval, room.sum(0)):
                continue
            if (found := self.dealt_to(interval, room)) is not None:
                found = found[0], found[1] + first
                break
        self.report(f"interval {interval} cycles: {'fits' if found else 'does not fit'} {len(self.room)} SLRs")
        return found

    def may_fit(self, interval: int, room: np.ndarray) -> bool:
        """Whether mixtures of candidates fit, which none does where these do not."""
        one = np.zeros(len(self.chain.parts), dtype=int)
        chosen = self.chosen(interval, one, lambda items, slr: least_share(items, room, relaxed=True))
        return chosen is not None and bool(np.all(chosen[0][1].used <= np.maximum(room, TINY)))

    def dealt_to(self, interval: int, room: np.ndarray) -> tuple[GraphFolding, np.ndarray] | None:
        """:meth:`dealt` to the SLRs that have this ``room``."""
        slrs = np.zeros(len(self.chain.parts), dtype=int)
        if len(room) == 1:
            found = self.solve(interval, slrs, room)
            return None if found is None else (found, slrs)
        capacity, tried = room @ self.prices, set()
        weights = self.weights(interval, slrs, room.sum(0, keepdims=True), capacity.sum(keepdims=True))
        for _ in range(DEALS):
            if weights is None:
                return None
            slrs = cut(weights[:, None], capacity[:, None], self.chain.bits).slrs(len(weights))
            if slrs.tobytes() in tried:
                return None
            tried.add(slrs.tobytes())
            if (found := self.solve(interval, slrs, room)) is not None:
                return found, slrs
            weights = self.weights(interval, slrs, room, capacity)
        return None

    def solve(self, interval: int, slrs: np.ndarray, room: np.ndarray, even: bool = False) -> GraphFolding | None:
        """The cheapest folding that keeps the interval and the room of every SLR; None where there is none.

        Args:
            even: not the cheapest, but that with which the fullest resource of each SLR is least full.
        """

        def choice(items: list[Item], slr: int) -> Choice | None:
            return least_share(items, room[slr]) if even else choose(items, room[slr], self.prices)

        while (found := self.chosen(interval, slrs, choice)) is not None:
            folding = self.folding([picks for picks, _ in found])
            late = {
                pick for picks, _ in found for units, pick in picks
                if any(folding.nodes[u].macs and folding.nodes[u].cycles > interval for u in units)
            }  # by masks less even than candidates take them to be
            if not late:
                return folding
            self.barred[interval] |= late
            self.kept.clear()
        return None

    def weights(self, interval: int, slrs: np.ndarray, room: np.ndarray, capacity: np.ndarray) -> np.ndarray | None:
        """``[parts]``: what each adds to the fullest resource of its SLR, in units of ``capacity``; None without candidates."""
        found = self.chosen(interval, slrs, lambda items, slr: least_share(items, room[slr], relaxed=True))
        if found is None:
            return None
        weights = np.zeros(len(slrs))
        for slr, (picks, choice) in enumerate(found):
            folding = self.folding([picks])
            own = np.flatnonzero(slrs == slr)
            parts = [self.chain.parts[i] for i in own]
            used = [folding.nodes[p] if isinstance(p, int) else p[0] for p in parts]
            costs = np.array([astuple(f.resources) for f in used]) @ self.prices
            share = float(np.max(choice.used / np.maximum(room[slr], 1)))
            weights[own] = costs / max(costs.sum(), 1e-12) * share * capacity[slr]
        return weights

    def chosen(self, interval: int, slrs: np.ndarray, choice_of: Callable[[list[Item], int], Choice | None]):
        """For every SLR its groups of units with what was picked, and the choice; None where one has no choice."""
        result = []
        for slr in range(int(slrs.max()) + 1):
            groups, between = self.groups(np.flatnonzero(slrs == slr))
            items = []
            for units in groups:
                candidates = self.candidates(units, interval)
                if not candidates:
                    return None
                items.append(Item(candidates, len(units)))
            items += [Item(candidates, count) for candidates, count in between.items()]
            choice = choice_of(items, slr)
            if choice is None:
                return None
            result.append((list(zip(groups, choice.picks)), choice))
        return result

    def candidates(self, units: Sequence[int], interval: int) -> tuple[Folding, ...]:
        """Of units of equal shape; those without products are cheap and must not be what limits the interval."""
        key = interval, self.styles, tuple(units)
        if key in self.kept:
            return self.kept[key]
        unit = self.units[units[0]]
        slack = () if unit.macs else unit.candidates(max(1, int(interval * STREAM_SLACK)), self.styles)
        members = [self.units[u] for u in units]
        found = tuple(c.with_room_for(members) for c in slack or unit.candidates(interval, self.styles))
        self.kept[key] = tuple(c for c in found if c not in self.barred[interval]) if self.barred[interval] else found
        return self.kept[key]

    def groups(self, parts: np.ndarray) -> tuple[list[list[int]], dict[tuple[Folding, ...], int]]:
        """Units of equal shape among the parts, and how often there is what stands between them."""
        units: dict[Hashable, list[int]] = defaultdict(list)
        between: dict[tuple[Folding, ...], int] = defaultdict(int)
        for i in parts:
            part = self.chain.parts[i]
            if isinstance(part, int):
                units[self.units[part].shape].append(part)
            else:
                between[part] += 1
        return list(units.values()), between

    def folding(self, picked: Sequence[Sequence[tuple[list[int], Folding]]]) -> GraphFolding:
        """The foldings of all units; the same hardware where shapes are equal."""
        nodes = list(self.units)
        for groups in picked:
            for units, pick in groups:
                for u in units:
                    nodes[u] = self.units[u].folded_as(pick)
        return GraphFolding(tuple(nodes))

    # --- what stands between the units ---

    def at(self, interval: int) -> Plan | None:
        """A plan for the interval, everything counted; None where none was found."""
        for _ in range(ROUNDS):
            if (found := self.dealt(interval)) is None:
                return None
            folding, slrs = found
            places = {part: int(slr) for part, slr in zip(self.chain.parts, slrs) if isinstance(part, int)}
            units = tuple(places[u] for u in range(len(self.units)))
            if len(set(units)) == 1:
                units = (-1,) * len(units)
            elif self.options.interval is None:  # what is left in each SLR makes up for what the count changes
                folding = self.solve(interval, slrs, self.room, even=True)
            if (result := self.counted(folding, units)).fits:
                return result
        return None

    def counted(self, folding: GraphFolding, slrs: tuple[int, ...]) -> Plan:
        """The plan of a folding, whatever it takes: with all that stands between the units."""
        model = self.inserted(folding, slrs)
        self.chain = self.chain_of(model)
        _, used = place(model, self.room, self.prices, self.styles)
        return Plan(folding, slrs, used, self.room if len(used) == len(self.room) else self.room.sum(0, keepdims=True))

    def inserted(self, folding: GraphFolding, slrs: Sequence[int]) -> ModelWrapper:
        """The graph with FIFOs, converters and crossings, and the load port where there is one."""
        model = copy.deepcopy(self.model)
        folding.write(model)
        _set_slrs(model, slrs)
        for transformation in (InsertStreams(), InsertLoadPort(design=0)):
            model = model.transform(transformation, make_deepcopy=False)
        return model

    def chain_of(self, model: ModelWrapper) -> Chain:
        """That of a graph with FIFOs."""
        numbers = {node.name: i for i, node in enumerate(self.model.graph.node)}
        return Chain(tuple(
            numbers[node.name] if node.name in numbers else getCustomOp(node).folding().candidates(SLOWEST, self.styles)
            for node in model.graph.node
        ), crossing_bits(model))

    def overfull(self, interval: int) -> Plan:
        """With the folding that fills the fullest resource of the whole part least.

        Where only borders between SLRs are in the way its nodes are in SLRs, so that it is told which are too full.
        """
        self.chain = Chain(tuple(range(len(self.units))), np.zeros(len(self.units) - 1))
        self.barred.clear()
        self.kept.clear()
        one, whole = np.zeros(len(self.units), dtype=int), self.room.sum(0)
        ((picks, _),) = self.chosen(interval, one, lambda items, slr: least_share(items, whole))
        folding = self.folding([picks])
        found = self.counted(folding, (-1,) * len(self.units))
        if len(self.room) == 1 or not found.fits:
            return found
        used = np.array([astuple(unit.resources) for unit in folding.nodes])
        dealt = cut(used, self.room, np.zeros(len(used) - 1)).slrs(len(used))
        return self.counted(folding, tuple(map(int, dealt)))


def _set_slrs(model: ModelWrapper, slrs: Sequence[int]) -> None:
    for node, slr in zip(model.graph.node, slrs, strict=True):
        getCustomOp(node).set_nodeattr("slr", slr)


def _without_values(model: ModelWrapper) -> ModelWrapper:
    """A copy without weights, which a plan does not look at."""
    graph = model.graph
    bare = GraphProto(
        name=graph.name, node=graph.node, input=graph.input, output=graph.output, value_info=graph.value_info,
        quantization_annotation=graph.quantization_annotation,
    )  # fmt: skip
    return ModelWrapper(helper.make_model(bare, opset_imports=model.model.opset_import))
