"""What each unit of a design takes on a board: its cells, and the slowest path that ends in it.

After mapping the design is one module. Registers, memories and multipliers keep the names of the sources at their nets, and those
say which unit they are of; logic without a name goes with what it drives.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from finn_vitprune.boards.timing import slowest_ends
from finn_vitprune.synth.wiring import Wiring

ACCELERATOR, LINK = "accelerator", "link"
"""Instances on the board: the design, and what is between it and the line."""
OTHER = "other"
"""What is of no unit: PLL, reset, and logic that no unit's register follows."""
COMB = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""COMB that nextpnr makes of Yosys' cells: a carry is two, 16 x 4 bits of RAM are six. :func:`packed_cells` adds the ends of carry chains."""
CARRY = "CCU2C"
CONSTANTS = {"0": "$PACKER_GND", "1": "$PACKER_VCC"}
"""nextpnr's cells of constants."""
KINDS = {"TRELLIS_FF": "FF", "MULT18X18D": "MULT18", "DP16KD": "EBR", "PDPW16KD": "EBR"}
_UNIT = re.compile(rf"(?:\$flatten\\)?(?:{ACCELERATOR}\.\\?(?:inst_)?(\w+)\.|({LINK})\.)")
_TILE = re.compile(r"X(\d+)/Y(\d+)/")
_ROUNDS = 64
"""Cells in a row that one name reaches, at most."""

Tile = tuple[int, int]
"""Column and row of a tile of the part."""


@dataclass(frozen=True)
class UnitCells:
    """A unit on a board: cells as nextpnr counts them; ``ns``: of the slowest routed path to an end in it, without the set-up
    of the end, 0 without one;
    ``estimated_ns``: of the slowest by the estimate of the mapped netlist, before it is placed."""

    COMB: int = 0
    FF: int = 0
    MULT18: int = 0
    EBR: int = 0
    ns: float = 0.0
    estimated_ns: float = 0.0


def top_module(netlist: Mapping[str, Any]) -> Mapping[str, Any]:
    """The top of what Yosys' ``write_json`` wrote."""
    [module] = [module for module in netlist["modules"].values() if "top" in module["attributes"]]
    return module


def cells_by_unit(netlist: Mapping[str, Any], units: Mapping[str, str], ends: Mapping[str, float]) -> dict[str, UnitCells]:
    """Cells, and nanoseconds, of each unit of a mapped design.

    Args:
        netlist: what Yosys' ``write_json`` wrote. units: of its cells (:func:`unit_of_cells`). ends: nanoseconds of the slowest path to a
            cell, by the cell's name.
    """
    module = top_module(netlist)
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for name, kind, count in packed_cells(module):
        counted[units.get(name, OTHER)][kind] += count
    slowest: dict[str, float] = defaultdict(float)
    for name, ns in ends.items():
        unit = _packed_from(name, units)
        slowest[unit] = max(slowest[unit], ns)
    driver = {bit: units[name] for name, cell in module["cells"].items() for bit in _driven(cell)}
    estimated = slowest_ends(Wiring.from_json(netlist), driver)
    return {
        unit: UnitCells(**counted[unit], ns=slowest[unit], estimated_ns=estimated.get(unit, 0.0))
        for unit in sorted(set(counted) | set(slowest))
    }


def packed_cells(module: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    """What nextpnr makes of a flat module: the name of each cell, a kind of :data:`.CELLS`, and how many of it.

    To lead a net or a constant into the first carry of a chain takes two COMB. To lead a carry out takes two, too: that of the last
    cell, read or not, and those that more than the next cell reads. Each constant that is read is a cell of its own
    (``pack_carries`` and ``pack_constants`` of nextpnr's ecp5/pack.cc).
    """
    carries = [cell["connections"] for cell in module["cells"].values() if cell["type"] == CARRY]
    out, into = ({bit for pins in carries for bit in pins.get(port, [])} for port in ("COUT", "CIN"))
    read = _readers(module)
    for name, cell in module["cells"].items():
        kind = KINDS.get(cell["type"], "COMB")
        count = COMB.get(cell["type"], 0) if kind == "COMB" else 1
        if cell["type"] == CARRY:
            count += 2 * sum(bit not in out for bit in cell["connections"].get("CIN", []))
            count += 2 * sum(read[bit] != 1 or bit not in into for bit in cell["connections"].get("COUT", []))
        yield name, kind, count
    for constant, name in CONSTANTS.items():
        if read[constant]:
            yield name, "COMB", 1


def _readers(module: Mapping[str, Any]) -> Counter[int | str]:
    """How many pins read each net; a pin of the module is one."""
    read: Counter[int | str] = Counter(bit for port in module.get("ports", {}).values() for bit in port["bits"])
    for cell in module["cells"].values():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                read.update(bits)
    return read


def tiles_by_unit(routed: Mapping[str, Any], units: Mapping[str, str]) -> dict[str, Counter[Tile]]:
    """How many cells of each unit lie in each tile of the part.

    Args:
        routed: what nextpnr's ``--write`` wrote. units: of the cells that it was made of (:func:`unit_of_cells`).
    """
    [placed] = routed["modules"].values()
    found: dict[str, Counter[Tile]] = defaultdict(Counter)
    for name, cell in placed["cells"].items():
        if (at := _TILE.match(cell["attributes"].get("NEXTPNR_BEL", ""))) is not None:
            found[_packed_from(name, units)][int(at[1]), int(at[2])] += 1
    return dict(found)


def _packed_from(cell: str, units: Mapping[str, str]) -> str:
    """The unit of a routed cell: nextpnr packs a cell of Yosys into several, whose names have a suffix."""
    return units.get(cell) or units.get(cell.rpartition("$")[0], OTHER)


def unit_of_cells(module: Mapping[str, Any]) -> dict[str, str]:
    """The unit of every cell of a flat module."""
    named = _units_of_nets(module)
    drives: dict[str, list[int]] = {}
    taken: dict[int, list[str]] = defaultdict(list)
    found: dict[str, str] = {}
    for name, cell in module["cells"].items():
        drives[name] = _driven(cell)
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                for bit in bits:
                    if isinstance(bit, int):
                        taken[bit].append(name)
        own = _unit_named(name)
        if unit := own or _most(named.get(bit) for bit in drives[name]):
            found[name] = unit
    waiting = [name for name in module["cells"] if name not in found]
    for _ in range(_ROUNDS):
        met = {name: unit for name in waiting if (unit := _most(found.get(sink) for bit in drives[name] for sink in taken[bit]))}
        if not met:
            break
        found |= met
        waiting = [name for name in waiting if name not in met]
    return found | dict.fromkeys(waiting, OTHER)


def _driven(cell: Mapping[str, Any]) -> list[int]:
    """Nets that a cell drives."""
    outputs = (bits for port, bits in cell["connections"].items() if cell["port_directions"][port] == "output")
    return [bit for bits in outputs for bit in bits if isinstance(bit, int)]


def _units_of_nets(module: Mapping[str, Any]) -> dict[int, str]:
    """The unit of every net that names of one unit alone are for: a net between two units has names of both."""
    units: dict[int, set[str]] = defaultdict(set)
    for name, net in module["netnames"].items():
        if unit := _unit_named(name):
            for bit in net["bits"]:
                if isinstance(bit, int):
                    units[bit].add(unit)
    return {bit: next(iter(of)) for bit, of in units.items() if len(of) == 1}


def _unit_named(name: str) -> str | None:
    match = _UNIT.match(name)
    return match and (match[1] or match[2])


def _most(units: Iterable[str | None]) -> str | None:
    """The unit that comes most often; of several the first by name."""
    counted = Counter(unit for unit in units if unit)
    return min(counted, key=lambda unit: (-counted[unit], unit)) if counted else None
