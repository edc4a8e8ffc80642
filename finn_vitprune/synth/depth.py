"""Logic depth of a mapped netlist: LUTs in a row between registers, a stand-in for timing.

Paths begin at registers, memories, DSP slices and ports, and end at their inputs. A LUT is a level; with
carries a carry block is one, too (abc9 counts its ``lev`` and ``levB`` in the same way). MUXF7 to MUXF9 belong
to the LUTs that they join. Of the data path are the paths that end where elements are held: data inputs of
memories and DSP slices, ports named tdata, and registers whose name is none of :data:`CONTROL`; not those
that end at addresses, enables and resets, or at registers of handshakes, counters, programs and rankers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter

import numpy as np

CONTROL = re.compile(
    r"(^|_)t?(valid|ready|full|busy|free|claim|done|first|last|start|end|step|row|token|set|sub|lane|none|entry|bank|half"
    r"|beat|word|gather|release|constant|tag|index|[wr]?addr|group|have|hold|hand|known|found|keep|drop|emit|ask|fresh"
    r"|wait|ties|same|rest|state|search|level|idle|look)\d?(_\d+)?(_q)?$"
)
"""Names of registers that steer the data."""

_LUT, _CARRY, _MUX = re.compile(r"LUT\d$"), re.compile(r"CARRY\d$"), re.compile(r"(MUXF\d|INV)$")
_STEERING_PIN = re.compile(r"(ADDR\w*|A\d?|DPRA\d?|CE\w*|R|S|CLR|PRE|RST\w*|WE\w*|EN\w*|REGCE\w*|\w*CLK\w*|C|rst_n|first|tag)$")
_DATA_CELL = re.compile(r"DSP48")
_ROW_CHOICE = re.compile(r"_rom\.\$")
"""In the name of a register without a public one, in a ROM: it chooses among the block RAMs that share its words."""


@dataclass(frozen=True)
class Depth:
    """Levels of the worst path: LUTs of the data path and of any path, and both with carry blocks."""

    data: int
    any: int
    data_carry: int
    any_carry: int


def logic_depth(netlist: Mapping) -> Depth:
    """Depth of the top module of a flat netlist as ``write_json`` gives it."""
    [module] = [m for m in netlist["modules"].values() if int(m.get("attributes", {}).get("top", "0"), 2)]
    cells = module["cells"].values()
    levels = _levels(cells)
    worst = {True: np.zeros(2, int), False: np.zeros(2, int)}
    for bit, data in _ends(module, _names(module)):
        worst[data] = np.maximum(worst[data], levels.get(bit, (0, 0)))
    any_path = np.maximum(worst[True], worst[False])
    return Depth(int(worst[True][0]), int(any_path[0]), int(worst[True][1]), int(any_path[1]))


def _cost(kind: str) -> tuple[int, int] | None:
    """Levels that a cell adds, without and with carries; None for one that ends paths."""
    if _LUT.match(kind):
        return 1, 1
    if _CARRY.match(kind):
        return 0, 1
    return (0, 0) if _MUX.match(kind) else None


def _pins(cell: Mapping, direction: str) -> Iterator[tuple[str, int]]:
    """Pins of one direction and their nets; constants are left out."""
    for pin, bits in cell["connections"].items():
        if cell["port_directions"].get(pin) == direction:
            yield from ((pin, bit) for bit in bits if isinstance(bit, int))


def _levels(cells) -> dict[int, np.ndarray]:
    """Levels before every net that logic drives."""
    drivers = {bit: cell for cell in cells if _cost(cell["type"]) for _, bit in _pins(cell, "output")}
    sources = {bit: [b for _, b in _pins(cell, "input") if b in drivers] for bit, cell in drivers.items()}
    levels: dict[int, np.ndarray] = {}
    for bit in TopologicalSorter(sources).static_order():
        before = np.max([levels[b] for b in sources[bit]], axis=0, initial=0) if sources[bit] else 0
        levels[bit] = before + np.array(_cost(drivers[bit]["type"]))
    return levels


def _names(module: Mapping) -> dict[int, str]:
    """Net to the last part of its shortest public name, without indices."""
    names: dict[int, str] = {}
    for name, net in module["netnames"].items():
        if not net.get("hide_name"):
            for bit in net["bits"]:
                if bit not in names or len(name) < len(names[bit]):
                    names[bit] = name
    return {bit: re.sub(r"\[\d+\]", "", name).split(".")[-1] for bit, name in names.items()}


def _ends(module: Mapping, names: Mapping[int, str]) -> Iterator[tuple[int, bool]]:
    """Nets at which paths end, each with whether it is of the data path."""
    for cell_name, cell in module["cells"].items():
        if _cost(cell["type"]):
            continue
        register = cell["type"].startswith("FD")
        name = names.get(cell["connections"]["Q"][0], "") if register else ""
        steering = CONTROL.search(name) or (register and not name and _ROW_CHOICE.search(cell_name))
        for pin, bit in _pins(cell, "input"):
            dsp_operand = _DATA_CELL.match(cell["type"]) and pin in ("A", "B", "C", "D")
            yield bit, bool(dsp_operand) or not (steering or _STEERING_PIN.match(pin))
    for name, port in module["ports"].items():
        if port["direction"] == "output":
            yield from ((bit, not CONTROL.search(name)) for bit in port["bits"] if isinstance(bit, int))
