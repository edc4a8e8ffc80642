"""Places of FIFOs and of tables that encoders share: LUTs, block RAM or UltraRAM, whatever is cheaper on the part and still free."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.engine.engine import VitEngine
from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Folding, Styles
from finn_vitprune.synth.parts import Part
from finn_vitprune.transforms.engines.fold_engines import write_folds
from finn_vitprune.transforms.planning.choice import Candidates, Choice, Item, choose, least_share
from finn_vitprune.transforms.planning.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.planning.slr import slrs_of, used_by_region

STYLE = "ram_style"
"""The attribute of a FIFO that says where it is."""


def place(model: ModelWrapper, room: np.ndarray, prices: np.ndarray, styles: Styles) -> tuple[list[Folding], np.ndarray]:
    """Foldings of all nodes, FIFOs at their cheapest places, and ``[regions, kinds]`` what they take.

    UltraRAM is used where a region has not enough of the rest. Regions are the SLRs, or the part as a whole where no node
    has an SLR. Where a region cannot hold its nodes, its FIFOs are where its fullest resource is least full.

    Args:
        model: a graph with FIFOs. room: ``[slrs, kinds]``. prices: of a unit of each resource.
    """
    ops = [getCustomOp(node) for node in model.graph.node]
    foldings = [op.folding() for op in ops]
    slrs = [slrs_of(model, node) for node in model.graph.node]
    if not any(slrs):
        slrs = [[0] * (op.get_nodeattr("stages") if op.is_crossing else 1) for op in ops]
        room = room.sum(0, keepdims=True)
    used = np.zeros_like(room)
    fifos: list[dict[Candidates, list[int]]] = [defaultdict(list) for _ in room]
    for i, (op, places) in enumerate(zip(ops, slrs)):
        if op.is_buffer:
            fifos[places[0]][standing(foldings[i], styles)].append(i)
        else:
            taken = astuple(op.hop()) if op.is_crossing else foldings[i].amounts(styles.family)
            for region in places:
                used[region] += taken
    for region, groups in enumerate(fifos):
        left = room[region] - used[region]
        items = [Item(candidates, len(members)) for candidates, members in groups.items()]
        choice = _chosen(items, left, prices)
        used[region] += choice.used
        for members, pick in zip(groups.values(), choice.picks):
            for i in members:
                foldings[i] = pick
    return foldings, used


def standing(folding: Folding, styles: Styles) -> Candidates:
    """What a node between units may be: FIFOs have several candidates, which are one object for equal FIFOs."""
    return _standing(folding.shape, styles)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _standing(folding: Folding, styles: Styles) -> Candidates:
    return Candidates.of(folding.in_memories(styles), styles.family)


def _chosen(items: Sequence[Item], room: np.ndarray, prices: np.ndarray) -> Choice:
    plain = [Item(item.candidates.only(lambda own: own.attributes()[STYLE] != "ultra"), item.count) for item in items]
    return choose(plain, room, prices) or choose(items, room, prices) or least_share(items, np.maximum(room, 0))


@dataclass(frozen=True)
class EnginePlaces:
    """What was placed in engines, alike ones together, and ``[kinds]`` what they took and take."""

    items: list[Item]
    before: np.ndarray
    after: np.ndarray


def place_in_engines(
    engines: Sequence[VitEngine], left: np.ndarray, prices: np.ndarray, styles: Styles, placed: Callable[[VitOp], bool]
) -> EnginePlaces:
    """Place what of engines is ``placed``, FIFOs or tables, as :func:`place` does FIFOs of a region; intervals of engines follow from the
    reads of the memories.

    Args:
        left: ``[kinds]`` of the region's room, beside what is placed where that is now. prices: of a unit of each resource.
    """
    hardware = [engine.structure for engine in engines]
    found: dict[Candidates, list[VitOp]] = defaultdict(list)
    before = np.zeros_like(left)
    for op in (getCustomOp(node) for units in hardware for node in units.graph.node):
        if placed(op):
            before += op.amounts(styles.family)
            found[standing(op.folding(), styles)].append(op)
    items = [Item(candidates, len(ops)) for candidates, ops in found.items()]
    choice = _chosen(items, left + before, prices)
    tables: dict[str, dict[str, int | str]] = {}
    for ops, pick in zip(found.values(), choice.picks):
        for op in ops:
            op.set_nodeattr(STYLE, pick.attributes()[STYLE])
            if not op.is_buffer:
                tables[op.onnx_node.name] = {STYLE: pick.attributes()[STYLE]}
    for engine, units in zip(engines, hardware):
        engine.set_units(units)
        if tables:
            write_folds(engine, tables)
        if any(op.is_buffer for ops in found.values() for op in ops):
            engine.set_nodeattr("interval", math.ceil(engine_cycles(units).interval))
    return EnginePlaces(items, before, choice.used)


class PlaceFifos(Transformation):
    """Set ``ram_style`` of all FIFOs as a plan for ``part`` does: see :func:`place`. Where the part is too small for it, those of engines
    are placed, too."""

    def __init__(self, part: Part, options: PlanOptions) -> None:
        super().__init__()
        self.room, self.styles = room_of(part, options.budget), options.styles(part)

    def apply(self, model: ModelWrapper):
        prices = prices_of(self.room)
        foldings, used = place(model, self.room, prices, self.styles)
        room = self.room if len(used) > 1 else self.room.sum(0, keepdims=True)
        if np.any(used > room) and (engines := [op for op in map(getCustomOp, model.graph.node) if isinstance(op, VitEngine)]):
            for region, left in enumerate(room - used_by_region(model, len(used), self.styles.family)):
                inside = [engine for engine in engines if len(used) == 1 or engine.get_nodeattr("slr") == region]
                place_in_engines(inside, left, prices, self.styles, lambda op: op.is_buffer)
            foldings, _ = place(model, self.room, prices, self.styles)
        for op, folding in zip(map(getCustomOp, model.graph.node), foldings):
            if op.is_buffer:
                op.set_nodeattr(STYLE, folding.attributes()[STYLE])
        return model, False
