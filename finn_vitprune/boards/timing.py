"""Static timing of a netlist that is mapped for a Lattice ECP5, before it is placed: the estimate beside the routed figure.

Nanoseconds are in ``timing.json``, of speed grade 6. Yosys uses no register of a multiplier or block RAM there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from finn_vitprune.synth.timing import Timing, timing_of
from finn_vitprune.synth.timing_cells import BRAM, ENABLE, LUTRAM, RESET, CellTiming, Constants, D, Driver, Family, Sink
from finn_vitprune.synth.timing_graph import TAKEN, Graph
from finn_vitprune.synth.wiring import CellKind, Wiring


def estimate(wiring: Wiring) -> Timing:
    """The timing of a netlist for the ECP5.

    Raises:
        CombinationalLoopError: logic goes in a circle; the text names a net of it.
    """
    return timing_of(Graph(wiring, ECP5))


def slowest_ends(wiring: Wiring, unit_of_net: Mapping[int, str]) -> dict[str, float]:
    """Nanoseconds, by the taken constants, of the slowest path that ends in each unit.

    Args:
        wiring: of one module, with the numbers that ``write_json`` gave its nets. unit_of_net: the unit of the cell that drives a net.
    """
    graph = Graph(wiring, ECP5)
    ns = graph.value[graph.end_net, TAKEN] + graph.end_ns[:, TAKEN]
    found: dict[str, float] = {}
    for group, row, end in zip(*graph.end_cell[:2], ns):
        cells = wiring.cells[group]
        driven = (int(net) for net, (_, _, out) in zip(cells.nets[row], cells.kind.pins) if out and net)
        unit = next((unit_of_net[net] for net in driven if net in unit_of_net), None)
        if unit is not None and end > 0:
            found[unit] = max(found.get(unit, 0.0), float(end))
    return {unit: round(slowest, 3) for unit, slowest in found.items()}


def _places(kind: CellKind) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """Places of inputs and of outputs by port and bit."""
    inputs: dict[tuple[str, int], int] = {}
    outputs: dict[tuple[str, int], int] = {}
    for place, (port, bit, out) in enumerate(kind.pins):
        (outputs if out else inputs)[port, bit] = place
    return inputs, outputs


def _lut(kind: CellKind, t: CellTiming, c: Constants) -> None:
    inputs, outputs = _places(kind)
    for out in outputs.values():
        t.drivers[out] = Driver.LUT
        t.arcs += [(i, out, c.ns["lut"], 1, 1) for i in inputs.values()]
    t.sinks |= dict.fromkeys(inputs.values(), Sink.LUT)


def _mux(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """PFUMX of two LUTs, L6MUX21 of two multiplexers."""
    inputs, outputs = _places(kind)
    [out] = outputs.values()
    t.drivers[out] = Driver.MUX
    for (port, _), i in inputs.items():
        select = port in ("C0", "SD")
        t.sinks[i] = Sink.PLAIN if select else Sink.MUX
        t.arcs.append((i, out, c.ns["mux_select" if select else "mux" if kind.type == "PFUMX" else "mux6"], 0, 0))


def _carry(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """Two bits of a chain, each with its LUT."""
    inputs, outputs = _places(kind)
    first, second, chain = (outputs.get((port, 0)) for port in ("S0", "S1", "COUT"))
    t.drivers |= {out: Driver.CARRY for out in (first, second) if out is not None}
    if chain is not None:
        t.drivers[chain] = Driver.CARRY_CO
    start, ns = c.ns["carry_start"], c.ns
    for (port, _), i in inputs.items():
        t.sinks[i] = Sink.CARRY_CI if port == "CIN" else Sink.LUT
        ways: tuple[tuple[int | None, float], ...]
        if port == "CIN":
            ways = ((first, ns["carry_even"]), (second, ns["carry_chain"] + ns["carry_odd"]), (chain, ns["carry_chain"]))
        elif port.endswith("0"):
            ways = ((first, ns["lut"]), (second, start + ns["carry_odd"]), (chain, start))
        else:
            ways = ((second, ns["lut"]), (chain, start))
        t.arcs += [(i, out, value, 0, 1) for out, value in ways if out is not None]


def _register(kind: CellKind, t: CellTiming, c: Constants) -> None:
    inputs, outputs = _places(kind)
    for out in outputs.values():
        t.drivers[out] = Driver.REGISTER
        t.starts.append((out, c.ns["ff_out"]))
    for (port, _), i in inputs.items():
        if port == "CLK":
            t.sinks[i] = Sink.CLOCK
        elif port == "LSR":
            t.sinks[i] = Sink.RESET
            t.ends.append((i, c.ns["ff_reset"], RESET))
        elif port == "CE":
            t.ends.append((i, c.ns["ff_d"], ENABLE))
        else:
            t.sinks[i] = Sink.REGISTER_D
            t.ends.append((i, c.ns["ff_d"], D))


def _lutram(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """Reads are LUTs; writes end at registers of the slice."""
    inputs, outputs = _places(kind)
    for out in outputs.values():
        t.drivers[out] = Driver.LUT
        t.starts.append((out, c.ns["ff_out"] + c.ns["lut"]))
    for (port, _), i in inputs.items():
        if port == "WCK":
            t.sinks[i] = Sink.CLOCK
        elif port == "RAD":
            t.sinks[i] = Sink.LUT
            t.arcs += [(i, out, c.ns["lut"], 1, 1) for out in outputs.values()]
        else:
            t.ends.append((i, c.ns["ff_d"], LUTRAM))


def _bram(kind: CellKind, t: CellTiming, c: Constants) -> None:
    inputs, outputs = _places(kind)
    for out in outputs.values():
        t.drivers[out] = Driver.MACRO
        t.starts.append((out, c.ns["bram_out"]))
    for (port, _), i in inputs.items():
        t.sinks[i] = Sink.CLOCK if port.startswith("CLK") else Sink.MACRO
        if t.sinks[i] == Sink.MACRO:
            t.ends.append((i, c.ns["bram_in"], BRAM))


def _multiplier(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """No register of it is used: operands go through."""
    inputs, outputs = _places(kind)
    products = [i for (port, _), i in outputs.items() if port.startswith("P")]
    t.drivers |= dict.fromkeys(products, Driver.MACRO)
    for (port, _), i in inputs.items():
        t.sinks[i] = Sink.CLOCK if port.startswith("CLK") else Sink.OPERAND
        if port[0] in "AB" and port[1:].isdigit():
            t.arcs += [(i, out, c.ns["multiply"], 0, 0) for out in products]


ECP5 = Family(
    str(Path(__file__).with_suffix(".json")),
    (
        (r"LUT4", _lut), (r"PFUMX|L6MUX21", _mux), (r"CCU2C", _carry), (r"TRELLIS_FF", _register),
        (r"TRELLIS_DPR16X4", _lutram), (r"DP16KD", _bram), (r"MULT18X18D", _multiplier),
    ),
    memories=("DP16KD",), logic=("LUT4", "TRELLIS_FF"),
)  # fmt: skip
