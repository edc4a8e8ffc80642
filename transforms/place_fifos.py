"""Places of FIFOs: LUTRAM, block RAM or UltraRAM, whatever is cheaper on the part and still free."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import astuple

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.folding import Folding, Styles
from finn_vitprune.synth.parts import Part
from finn_vitprune.transforms.choice import Item, choose, least_share
from finn_vitprune.transforms.fold import SLOWEST
from finn_vitprune.transforms.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.slr import slrs_of


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
        slrs, room = [[0]] * len(ops), room.sum(0, keepdims=True)
    used = np.zeros_like(room)
    fifos: list[dict[tuple[Folding, ...], list[int]]] = [defaultdict(list) for _ in room]
    for i, (op, places) in enumerate(zip(ops, slrs)):
        if op.is_buffer:
            fifos[places[0]][foldings[i].candidates(SLOWEST, styles)].append(i)
        else:
            taken = astuple(op.hop() if op.is_crossing else foldings[i].resources)
            for region in places:
                used[region] += taken
    for region, groups in enumerate(fifos):
        left = room[region] - used[region]
        items = [Item(candidates, len(members)) for candidates, members in groups.items()]
        plain = [Item(tuple(c for c in i.candidates if c.style != "ultra"), i.count) for i in items]
        choice = choose(plain, left, prices) or choose(items, left, prices) or least_share(items, np.maximum(left, 0))
        used[region] += choice.used
        for members, pick in zip(groups.values(), choice.picks):
            for i in members:
                foldings[i] = pick
    return foldings, used


class PlaceFifos(Transformation):
    """Set ``ram_style`` of all FIFOs as a plan for ``part`` does: see :func:`place`."""

    def __init__(self, part: Part, options: PlanOptions) -> None:
        super().__init__()
        self.room, self.styles = room_of(part, options.budget), options.styles(part)

    def apply(self, model: ModelWrapper):
        foldings, _ = place(model, self.room, prices_of(self.room), self.styles)
        for op, folding in zip(map(getCustomOp, model.graph.node), foldings):
            if op.is_buffer:
                op.set_nodeattr("ram_style", folding.style)
        return model, False
