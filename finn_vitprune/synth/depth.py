"""Logic depth of a mapped netlist: LUTs in a row between registers, a stand-in for timing.

Paths begin at registers, memories, DSP slices and ports, and end at their inputs, whatever these hold. A LUT is a
level; with carries a carry block is one, too (abc9 counts its ``lev`` and ``levB`` in the same way). MUXF7 to MUXF9
belong to the LUTs that they join.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np

_LUT, _CARRY, _MUX = re.compile(r"LUT\d$"), re.compile(r"CARRY\d$"), re.compile(r"(MUXF\d|INV)$")


@dataclass(frozen=True)
class Depth:
    """Levels of the worst path: of LUTs, and of LUTs and carry blocks."""

    lut: int
    carry: int


def logic_depth(netlist: Mapping) -> Depth:
    """Depth of the top module of a flat netlist as ``write_json`` gives it."""
    [module] = [m for m in netlist["modules"].values() if int(m.get("attributes", {}).get("top", "0"), 2)]
    levels = [np.zeros(2, int), *_levels(module["cells"].values()).values()]
    return Depth(*np.max(levels, axis=0).tolist())


def _cost(kind: str) -> tuple[int, int] | None:
    """Levels that a cell adds, without and with carries; None for one that ends paths."""
    if _LUT.match(kind):
        return 1, 1
    if _CARRY.match(kind):
        return 0, 1
    return (0, 0) if _MUX.match(kind) else None


def _nets(cell: Mapping, direction: str) -> Iterator[int]:
    """Nets at the pins of one direction; constants are left out."""
    for pin, bits in cell["connections"].items():
        if cell["port_directions"].get(pin) == direction:
            yield from (bit for bit in bits if isinstance(bit, int))


def _levels(cells) -> dict[int, np.ndarray]:
    """Levels before every net that logic drives."""
    drivers = {bit: cell for cell in cells if _cost(cell["type"]) for bit in _nets(cell, "output")}
    sources = {bit: [b for b in _nets(cell, "input") if b in drivers] for bit, cell in drivers.items()}
    levels: dict[int, np.ndarray] = {}
    for bit in TopologicalSorter(sources).static_order():
        before = np.max([levels[b] for b in sources[bit]], axis=0, initial=0) if sources[bit] else 0
        levels[bit] = before + np.array(_cost(drivers[bit]["type"]))
    return levels

