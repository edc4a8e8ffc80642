"""The constraint file that keeps each unit in its SLR, and how Pblocks are written."""

from __future__ import annotations

from collections.abc import Sequence

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.netlist import instance
from finn_vitprune.transforms.streams.edges import slr_of

HEAD = """\
# Written by formula from the nodes' attribute slr. It was not run in Vivado.
# Cells are named as in the module {top}: read_xdc -ref {top} finn_slr.xdc
# Crossings are in no pblock: their registers stand on both sides of a border. So do the registers of the resets of all units.
"""


def pblock(name: str, ranges: Sequence[str], cells: Sequence[str]) -> list[str]:
    """The lines of a pblock of ranges with cells in it, after an empty one."""
    return [
        "",
        f"create_pblock {name}",
        f"resize_pblock [get_pblocks {name}] -add {{{' '.join(ranges)}}}",
        *(f"add_cells_to_pblock [get_pblocks {name}] [get_cells {cell}]" for cell in cells),
    ]


def slr_constraints(model: ModelWrapper, top: str) -> str:
    """One pblock for each SLR in use with the units that stand there; "" where no unit has an SLR.

    Args:
        model: the hardware graph with all that is inserted between its units.
        top: the module whose instances the nodes are.
    """
    cells: dict[int, list[str]] = {}
    for node in model.graph.node:
        op = getCustomOp(node)
        if not op.is_crossing and slr_of(node) >= 0:
            cells.setdefault(slr_of(node), []).extend(f"{instance(node.name)}/{cell}" for cell in op.unit_cells())
    if not cells:
        return ""
    blocks = []
    for slr, names in sorted(cells.items()):
        blocks += pblock(f"{top}_slr{slr}", [f"SLR{slr}"], names)
    return HEAD.format(top=top) + "\n".join(blocks) + "\n"
