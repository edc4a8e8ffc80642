"""Plans a graph with engines: folds and memories of their units and of the nodes outside, for an interval or for a part.

Every unit with products gets an interval of its own, in which it does all encoders of its engine; what that makes of an image's
interval and latency follows from the order of frames (:mod:`finn_vitprune.custom_ops.engine_times`), and is measured there. Where an image
is alone in its engine, its queries, keys and values are made before its attention can begin, and the rest streams behind the
attention: so there are two intervals, and their ratio is part of what is planned (:class:`Shape`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from itertools import product, starmap

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine import VitEngine
from finn_vitprune.custom_ops.engine_times import engine_cycles
from finn_vitprune.custom_ops.folding import Folding
from finn_vitprune.custom_ops.mvau_choose import MatrixFolding
from finn_vitprune.custom_ops.mvau_fold import Fold
from finn_vitprune.custom_ops.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.shared_candidates import shared_candidates
from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.choice import Choice, Item, choose
from finn_vitprune.transforms.engine_units import engine_units, role_ops, unit_name
from finn_vitprune.transforms.fold import STREAM_SLACK
from finn_vitprune.transforms.fold_engines import StreamFolds, set_fold, write_folds
from finn_vitprune.transforms.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.insert_streams import InsertStreams
from finn_vitprune.transforms.latency import latency_cycles
from finn_vitprune.transforms.plan import (
    FEWER_BITS_TEXT, fewer_bits, fewer_blocks, fits_with, has_wider_weights, largest_share, shares_of, with_matrix,
)  # fmt: skip
from finn_vitprune.transforms.place_fifos import place_in_engines
from finn_vitprune.transforms.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.slr import used_by_region

GRID = 1.01
"""Ratio of neighbouring intervals that are looked at."""
AGREED = 2.0
"""Factor by which an engine's interval may be another than what was assumed before the first plan."""
CLOSE = 0.02
"""A plan this near to the interval that is asked for is not made again."""
ROUNDS = 8
"""Plans that are counted exactly, at most, before one fits or keeps an interval."""
RATIO = math.sqrt(2)
"""Step of the search for a shape."""
AHEAD = (1 / 4, 1 / 8)
"""Intervals of a node outside, as shares of an engine's, from which the search for a short latency begins."""
NARROW = 0.8
"""Of the base interval: rows that take longer to enter keep a plan from being faster."""
WIDER = 4
"""Blocks of which a side is a multiple where its port can be as many blocks wide."""
UNLIMITED = 1e12
"""Of a resource: more than anything takes."""
ROOM_SLOTS = ("lane_blocks", "lane_slots")
"""Attributes of a fold that each encoder has of its own."""


def engines_of(model: ModelWrapper) -> list[VitEngine]:
    """The engines of a graph."""
    return [op for op in map(getCustomOp, model.graph.node) if isinstance(op, VitEngine)]


def bind_units(engine: VitEngine) -> None:
    """Give an engine the units that its folds make, and the interval that they have."""
    engine.set_graph("units", engine_units(engine))
    engine.set_nodeattr("interval", math.ceil(engine_cycles(engine.structure).interval))


def plan_engines(
    model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None] = lambda text: None
) -> Planned:
    """Fold ``model``, whose encoders are in engines: for the interval of ``options`` with few resources, else for as short an interval, or
    latency, as fits ``part``. Writes the folds, units and intervals.
    """
    return _Search(model, part, options, report).run()


def regions_of(model: ModelWrapper, slrs: int) -> list[int]:
    """The SLR of every node: engines are dealt to the SLRs in their order, and what is outside stands with the engine before it, or
    with the first. Where there are fewer engines than SLRs the part counts as a whole, and all are in region 0.
    """
    engines = len(engines_of(model))
    if engines < slrs:
        return [0] * len(model.graph.node)
    passed = np.cumsum([isinstance(getCustomOp(node), VitEngine) for node in model.graph.node])
    return (np.maximum(passed - 1, 0) * slrs // engines).tolist()


@dataclass(frozen=True)
class Shape:
    """Intervals beside that of a unit that works from the attention on: ``before`` times it for one that works before, ``outside`` times
    the slowest engine's for a node outside of engines."""

    before: float = 1.0
    outside: float = 1.0

    @property
    def rounded(self) -> Shape:
        """Equal for all ways of steps that lead to it."""
        return Shape(round(self.before, 6), round(self.outside, 6))


@dataclass(frozen=True)
class _Unit:
    """A unit with products: its engine, its name, its folding and those of its layers with nothing folded, whether it works before the
    attention."""

    engine: int
    name: str
    folding: Folding
    layers: tuple[Folding, ...]
    before: bool


@dataclass(frozen=True)
class _Solved:
    """Foldings chosen for a ``base`` interval: of the units, and of the nodes outside; ``[regions, kinds]`` what they take."""

    base: int
    units: tuple[Folding, ...]
    outside: tuple[Folding, ...]
    used: np.ndarray


@dataclass(frozen=True)
class _Counted:
    """A plan as it is in the graph, with all that stands between units; ``used``: ``[regions, kinds]``."""

    solved: _Solved
    interval: int
    latency: int
    used: np.ndarray


class _Search:
    def __init__(self, model: ModelWrapper, part: Part, options: PlanOptions, report: Callable[[str], None]) -> None:
        self.model, self.part, self.options, self.report = model, part, options, report
        self.engines = engines_of(model)
        self.outside = [op for op in map(getCustomOp, model.graph.node) if not isinstance(op, VitEngine)]
        for engine in self.engines:
            engine.set_graph("units", engine_units(engine))
        self.units = [unit for i, engine in enumerate(self.engines) for unit in _units(i, engine)]
        self.streams = [StreamFolds(engine) for engine in self.engines]
        self.styles = options.styles(part)
        room = room_of(part, options.budget)
        self.prices = prices_of(room)
        self.regions = dict(zip((node.name for node in model.graph.node), regions_of(model, len(room))))
        self.room = room if max(self.regions.values()) else room.sum(0, keepdims=True)
        """``[regions, kinds]``, as the next one."""
        self.between = np.zeros_like(self.room)  # what stands between units, and streams, as last counted
        self.other = False
        """Whether its matrices are other ones than the graph's."""
        self.placing = False
        """Whether FIFOs of engines are placed with the foldings; where a plan fits without, each stands where it stands by itself."""
        self.fifos: list[list[Item]] = [[] for _ in self.room]  # of each region those that are placed, as last counted
        self.outer: np.ndarray | None = None
        """``[regions, kinds]``: FIFOs, converters, crossings and the load port, which folds change little; None: to be counted."""
        self.slower = 2.0 if max(engine.batch for engine in self.engines) == 1 else 1.25
        """How much longer an engine's interval is than that of its units, as last counted; for a short latency as assumed at first."""
        self.latency = options.goal == "latency" and options.interval is None
        """Whether the plan is for a short latency; one for an interval is not, whatever its goal."""

    def run(self) -> Planned:
        wanted = self.options.interval
        found = self.sought(wanted)
        if found is None:
            self.placing, self.between = True, np.zeros_like(self.room)
            found = self.sought(wanted)
        fits = found is not None
        found = found or self.overfull(wanted)
        return Planned(
            goal=self.options.goal if wanted is None else "target", interval_cycles=found.interval, fits=fits, gap=None,
            shell=self.part.shell, budget=dict(self.options.budget), used=shares_of(found.used.sum(0), self.room.sum(0)),
            slrs=[shares_of(u, r) for u, r in zip(found.used, self.room)] if len(self.room) > 1 else [],
            next_interval_cycles=found.interval, relief=list(self.help(found, fits)) if self.options.explain else [],
        )  # fmt: skip

    def sought(self, wanted: int | None) -> _Counted | None:
        """The plan for an interval, or the best one for the part; None where none was found that fits."""
        if wanted is None:
            return self.best()
        styles, self.styles = self.styles, self.styles.without_ultra  # weights in UltraRAM must be loaded by the host
        found = self.within(wanted)
        self.styles = styles
        return found or self.within(wanted)

    # --- one plan ---

    def solved(self, base: int, shape: Shape) -> _Solved | None:
        """The cheapest foldings that fit beside what stands between the units; None where there are none."""
        items = [
            Item(shared_candidates(unit.folding, unit.layers, on_grid(base * (shape.before if unit.before else 1)), self.styles))
            for unit in self.units
        ]
        around = max(1, int(base * self.slower * shape.outside))
        foldings = [op.folding() for op in self.outside]
        items += [Item(self._outside(folding, around)) for folding in foldings]
        if not all(item.candidates for item in items):
            return None
        places = [self.regions[self.engines[unit.engine].onnx_node.name] for unit in self.units]
        places += [self.regions[op.onnx_node.name] for op in self.outside]
        picks: list[Folding | None] = [None] * len(items)
        used = np.zeros_like(self.room)
        for region, room in enumerate(self.room - self.between):
            inside, fifos = [i for i, place in enumerate(places) if place == region], self.fifos[region]
            choice: Choice | None = choose([*(items[i] for i in inside), *fifos], room, self.prices)
            if choice is None:
                return None
            used[region] = choice.used - sum(f.count * np.array(astuple(p.resources)) for f, p in zip(fifos, choice.picks[len(inside) :]))
            for i, pick in zip(inside, choice.picks):
                picks[i] = pick
        return _Solved(base, tuple(picks[: len(self.units)]), tuple(picks[len(self.units) :]), used)

    def _outside(self, folding: Folding, interval: int) -> tuple[Folding, ...]:
        wanted = interval if folding.macs else max(1, int(interval * STREAM_SLACK))
        return folding.candidates(wanted, self.styles) or (folding.for_interval(wanted),)

    def counted(self, solved: _Solved, shape: Shape) -> _Counted:
        """The plan as it is once it is in the graph."""
        for op, folding in zip(self.outside, solved.outside):
            set_fold(op, folding.attributes())
        for i, (engine, streams) in enumerate(zip(self.engines, self.streams)):
            folds = streams.within(int(solved.base * min(1.0, shape.before)))
            for unit, folding in zip(self.units, solved.units):
                if unit.engine == i:
                    folds[unit.name] = {name: value for name, value in folding.attributes().items() if name not in ROOM_SLOTS}
            folds[engine.onnx_node.name] = {"SIMD": _port_width(engine, int(solved.base * min(1.0, shape.before) * STREAM_SLACK))}
            write_folds(engine, folds)
            bind_units(engine)
        if not self.latency:
            self.slower = max(engine.get_exp_cycles() for engine in self.engines) / solved.base
        if len(self.room) > 1:
            for name, region in self.regions.items():
                getCustomOp(self.model.get_node_from_name(name)).set_nodeattr("slr", region)
        regions = len(self.room)
        used = used_by_region(self.model, regions)
        if self.outer is None:
            whole = self.model.transform(InsertStreams()).transform(InsertLoadPort(design=0), make_deepcopy=False)
            self.outer = used_by_region(whole, regions) - used
        whole, held = used + self.outer, self.held() if self.other else solved.used
        self.between = np.maximum(0, whole - held)
        used = whole - held + solved.used
        if self.placing:
            used = self.placed(used)
        interval = max(getCustomOp(node).get_exp_cycles() for node in self.model.graph.node)
        found = _Counted(solved, interval, latency_cycles(self.model), used)
        self.report(
            f"{solved.base:,} cycles a unit: an image each {interval:,}, through in {found.latency:,}"
            f"{'' if self.fits(found) else ', more than the part has'}"
        )
        return found

    def placed(self, used: np.ndarray) -> np.ndarray:
        """Place the FIFOs of engines; ``[regions, kinds]`` what is used then, of what is ``used`` with each where it stands by itself."""
        used = used.copy()
        for region, room in enumerate(self.room):
            engines = [engine for engine in self.engines if self.regions[engine.onnx_node.name] == region]
            placing = place_in_engines(engines, room - used[region], self.prices, self.styles)
            self.fifos[region] = placing.items
            self.between[region] -= placing.before
            used[region] += placing.after - placing.before
        return used

    def held(self) -> np.ndarray:
        """``[regions, kinds]``: what the graph's nodes take that have folds of their own."""
        inside = [getCustomOp(self.engines[unit.engine].structure.get_node_from_name(unit.name)) for unit in self.units]
        places = [self.engines[unit.engine].onnx_node.name for unit in self.units] + [op.onnx_node.name for op in self.outside]
        held = np.zeros_like(self.room)
        for place, op in zip(places, (*inside, *self.outside)):
            held[self.regions[place]] += astuple(op.resources())
        return held

    def fits(self, found: _Counted) -> bool:
        return bool(np.all(found.used <= self.room))

    # --- for an interval ---

    def within(self, interval: int) -> _Counted | None:
        """The plan of the longest intervals of units whose images come in ``interval``; None where none was found that fits."""
        shape, best, low, high = Shape(), None, 0.0, math.inf
        self.between = np.zeros_like(self.room)
        base, tried = interval / self.slower, {}
        for _ in range(8 * ROUNDS):
            if len(tried) == ROUNDS:
                break
            solved = self.solved(max(1, int(base)), shape)
            if solved is None and not tried:
                base *= 1.3
                continue
            if solved is None:
                break
            if new := (key := (solved.units, solved.outside)) not in tried:
                tried[key] = self.counted(solved, shape)
            found = tried[key]
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
        return best and self.recounted(best.solved, shape)

    # --- for a part ---

    @property
    def slowest(self) -> int:
        """An interval that all units keep at their smallest folds."""
        return max(sum(own.macs for own in unit.folding.each) for unit in self.units)

    def best(self) -> _Counted | None:
        """The plan with the shortest interval, or latency, that fits, of equals the better one by the other.

        Where engines turn out to have quite another interval than was assumed for the first plans, the search is made again: nodes
        outside of engines were planned for that interval.
        """
        assumed, (cost, shape, found) = self.slower, self.shaped()
        if not 1 / AGREED < self.slower / assumed < AGREED:
            cost, shape, found = min((cost, shape, found), self.shaped(), key=lambda result: result[0])
        return found and (self.recounted(found.solved, shape) or self.fastest(shape))

    def cost(self, found: _Counted) -> tuple[int, int]:
        """What is to be short, then what decides among equals."""
        return (found.latency, found.interval) if self.latency else (found.interval, found.latency)

    def shaped(self) -> tuple[tuple[float, float], Shape, _Counted | None]:
        """The best shape that steps lead to, with its cost (see :meth:`best`) and its plan. For a short latency, which hangs on the
        shape more than the interval does, they begin at the best of several shapes, and smaller ones follow.
        """
        tried: dict[Shape, _Counted | None] = {}

        def cost(shape: Shape) -> tuple[float, float]:
            if (shape := shape.rounded) not in tried:
                tried[shape] = self.fastest(shape)
            if (found := tried[shape]) is None:
                return math.inf, math.inf
            return self.cost(found)

        shape = min(starmap(Shape, product((1.0, 1 / RATIO, RATIO), AHEAD)), key=cost) if self.latency else Shape()
        for ratio in (RATIO, math.sqrt(RATIO)) if self.latency else (RATIO,):
            steps = [("before", 1 / ratio), ("before", ratio), ("outside", 1 / ratio**2), ("outside", ratio**2)]
            for name, step in steps if self.latency else steps[:3]:  # slower nodes outside help no interval
                while cost(following := replace(shape, **{name: getattr(shape, name) * step})) < cost(shape):
                    shape = following
        return cost(shape), shape.rounded, tried[shape.rounded]

    def recounted(self, solved: _Solved, shape: Shape) -> _Counted | None:
        """A plan with everything counted again; None where it does not fit then."""
        self.outer = None
        found = self.counted(solved, shape)
        return found if self.fits(found) else None

    def overfull(self, interval: int | None) -> _Counted:
        """The plan for an interval, or the smallest folds, whatever room there is; where no folds are so fast, about the fastest."""
        room, self.room = self.room, np.full_like(self.room, UNLIMITED)
        found = interval and self.within(interval)
        if not found:
            solved = self.smallest(Shape()) if interval else self.solved(self.slowest, Shape())
            found = self.counted(solved, Shape())
        self.room = room
        return found

    def relief(self, found: _Counted) -> Iterator[str]:
        """What would fit in place of ``found``, which stays in the graph: a longer interval, or a change of the model."""
        if self.options.interval is not None and (slower := self.fastest(Shape())) is not None:
            yield f"{slower.interval:,} cycles are about as few as fit"
        else:
            if has_wider_weights(unit.folding for unit in self.units) and self.changed(fewer_bits).fastest(Shape()) is not None:
                yield f"with {FEWER_BITS_TEXT} it fits"
            share = largest_share(lambda share: self.changed(lambda fold: fewer_blocks(fold, share)).fastest(Shape()) is not None)
            if share is not None:
                yield fits_with(share)
        self.counted(found.solved, Shape())

    def help(self, found: _Counted, fits: bool) -> Iterator[str]:
        """What would make a plan fit, or one that was to be as fast as fits faster; a target that is kept needs no help."""
        if not fits:
            yield from self.relief(found)
        elif self.options.interval is None:
            yield from self.wider_ports(found)

    def wider_ports(self, found: _Counted) -> Iterator[str]:
        """Units whose rows take about as long to enter as the plan allows, since their sides have few factors of two."""
        for unit in self.units:
            layers = [layer.fold for layer in unit.layers if isinstance(layer, MatrixFolding)]
            if not layers:
                continue
            block = layers[0].block
            widest = max(set.intersection(*(set(Fold.in_widths(fold.mw, block)) for fold in layers)))
            if sum(fold.rows * fold.mw for fold in layers) < NARROW * widest * found.solved.base:
                continue
            even = WIDER * block
            if narrow := sorted({fold.mw for fold in layers if fold.mw % even}):
                better = ", ".join(f"{-(-mw // even) * even:,}" for mw in narrow)
                yield (
                    f"{unit.name} takes {widest} elements a cycle at most, of rows of {', '.join(f'{mw:,}' for mw in narrow)}: rows of a multiple "
                    f"of {even}, as {better}, enter faster"
                )

    def changed(self, change: Callable[[Fold], Fold]) -> _Search:
        """This search for other matrices, as if nothing stood between the units before the first plan is counted."""
        changed = copy.copy(self)
        changed.other = True
        changed.between, changed.fifos, changed.report = np.zeros_like(self.room), [[] for _ in self.room], lambda text: None
        changed.units = [
            replace(unit, folding=with_matrix(unit.folding, change), layers=tuple(with_matrix(own, change) for own in unit.layers))
            for unit in self.units
        ]
        return changed

    def fastest(self, shape: Shape) -> _Counted | None:
        """The plan of the shortest intervals that fits with this shape; None where there is none.

        A plan is chosen beside what stood between the units of the one before. Where that had more of it, faster units fit, and where it had
        less, the plan does not fit: so the base intervals between the slowest that does not and the fastest that does are halved.
        """
        found = last = None
        between, low = self.between, 0
        for _ in range(ROUNDS):
            solved = self.smallest(shape)
            if solved is None or found and not low < solved.base < found.solved.base:
                break
            last = self.counted(solved, shape)
            if self.fits(last):
                found, between = last, self.between
                continue
            low = solved.base
            if found:
                break
        while found and low and found.solved.base - low > max(1, CLOSE * low):
            self.between, base = between, int(math.sqrt(low * found.solved.base))
            if (solved := self.solved(base, shape)) is not None:
                last = self.counted(solved, shape)
            if solved is not None and self.fits(last) and self.cost(last) < self.cost(found):
                found, between = last, self.between
            else:
                low = base
        return found if found is None or last is found else self.counted(found.solved, shape)

    def smallest(self, shape: Shape) -> _Solved | None:
        """The smallest base on the grid with a solution."""
        luts, dsps, *_ = self.room.sum(0)
        products = 2 * dsps + luts / 60
        work = sum(own.macs for unit in self.units for own in unit.folding.each)
        guess = place_on_grid(work / max(1, products))
        most = place_on_grid(self.slowest) + 1
        known: dict[int, _Solved | None] = {}

        def at(place: int) -> _Solved | None:
            if place not in known:
                known[place] = self.solved(on_grid(GRID**place), shape)
            return known[place]

        low, high, stride = None, min(guess, most), 8
        while at(high) is None:
            if high >= most:
                return None
            low, high, stride = high, min(most, high + stride), 2 * stride
        stride = 8
        while low is None:
            if at(high - stride) is None or high - stride <= 0:
                low = high - stride
            else:
                high, stride = high - stride, 2 * stride
        while high - low > 1:
            middle = (low + high) // 2
            if at(middle) is None:
                low = middle
            else:
                high = middle
        return at(high)


def on_grid(interval: float) -> int:
    """The interval of the grid below, so that candidates of near intervals are looked for once."""
    return max(1, int(GRID ** place_on_grid(interval)))


def place_on_grid(interval: float) -> int:
    return max(0, math.floor(math.log(max(1.0, interval)) / math.log(GRID) + 1e-9))


def _units(number: int, engine: VitEngine) -> Iterator[_Unit]:
    """The units of an engine that have products, in the order of its roles."""
    nodes = {node.name: node for node in engine.structure.graph.node}
    before = True
    for role, ops in role_ops(engine, engine.body):
        before &= not isinstance(ops[0], PrunedAttention)
        if ops[0].macs():
            name = unit_name(engine, role)
            yield _Unit(number, name, getCustomOp(nodes[name]).folding(), tuple(op.folding() for op in ops), before)


def _port_width(engine: VitEngine, interval: int) -> int:
    """The narrowest port through which a frame enters all encoders in the interval, else the widest."""
    nodes = {node.op_type: getCustomOp(node) for node in engine.structure.graph.node}
    tokens = sum(nodes["VitEngineEntry_rtl"].get_nodeattr("tokens"))
    elements = tokens * engine.get_nodeattr("channels")
    return next((width for width in engine.widths if elements <= width * interval), engine.widths[-1])

