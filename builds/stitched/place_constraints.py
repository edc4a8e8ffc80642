"""The constraint file that keeps each unit in its place."""

from __future__ import annotations

from collections.abc import Iterator

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.stitched.slr_constraints import pblock
from finn_vitprune.custom_ops.engine.engine import VitEngine
from finn_vitprune.custom_ops.op.netlist import instance
from finn_vitprune.errors import UserError
from finn_vitprune.synth.grid import Ground, dies_of
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.placed import PlacedDesign

PLACES = "finn_places.xdc"
"""The name of the file in an export."""
ON_THE_WAY = "load"
"""The cell of a wrapper that has registers before the unit on the load chain."""
HEAD = """\
# Places of the units, found by finn-vitprune on the columns of {part}. They were not tried in Vivado.
# Cells are named as in the module {top}: read_xdc -ref {top} {file}
# No site is in two of these pblocks. Crossings, the registers of the resets, and those before a unit on the load chain are in none.
"""


def place_constraints(model: ModelWrapper, places: PlacedDesign, top: str) -> str:
    """One pblock for each unit that takes sites.

    Args:
        model: the hardware graph with all that is inserted between its units. top: the module whose instances the nodes are.
    Raises:
        UserError: the places are of other units.
    """
    cells = dict(unit_cells(model))
    placed = {node.node: node for node in places.nodes}
    if cells.keys() != placed.keys():
        [*other] = sorted(cells.keys() ^ placed.keys())
        raise UserError(f"the places are of another design, which differs in {other[0]}: build again from step_check_part on")
    ground = Ground(get_part(places.device), dies_of(places.device), ())
    lines = []
    for name, node in placed.items():
        if node.areas:
            lines += pblock(f"{top}_{name}", [ground.site_names(node.slr, area) for area in node.sites], cells[name])
    return HEAD.format(top=top, part=places.part, file=PLACES) + "\n".join(lines) + "\n"


def unit_cells(model: ModelWrapper) -> Iterator[tuple[str, list[str]]]:
    """The cells of every unit but crossings, those in engines apart, by the name of its node; without registers on the way to it."""
    for node in model.graph.node:
        op = getCustomOp(node)
        if isinstance(op, VitEngine):
            for name, cells in unit_cells(op.hardware):
                yield name, [f"{instance(node.name)}/{cell}" for cell in cells]
        elif not op.is_crossing:
            yield node.name, [f"{instance(node.name)}/{cell}" for cell in op.unit_cells() if cell != ON_THE_WAY]
