"""What a cell of UltraScale+ adds to a path: delays through it, from its clock, and before its clock.

The form is that of any family. All nanoseconds are in ``timing.json``, each with its source. ``docs/timing.md`` says how they are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from importlib import resources

import numpy as np

from finn_vitprune.synth.wiring import CellKind, Cells, Wiring

SETS = ("low", "taken", "high")
"""Sets of constants of nets."""


@dataclass(frozen=True)
class Constants:
    """Nanoseconds by name, tables of carries, and the slope and macro term of each set."""

    ns: dict[str, float]
    tables: dict[str, list[list[float]]]
    slope: tuple[float, ...]
    macro: tuple[float, ...]


class Driver(IntEnum):
    """What drives a net, as far as its way to a pin depends on it."""

    PORT, REGISTER, LUT, MUX, CARRY, CARRY_CO, MACRO = range(7)


class Sink(IntEnum):
    """What a pin is, as far as the way to it depends on it. CASCADE: a wire of its own; CLOCK: no load of the fabric."""

    PLAIN, LUT, REGISTER_D, RESET, CARRY_S, CARRY_DI, CARRY_CI, MUX, MACRO, CASCADE, CLOCK, OPERAND = range(12)


END_CLASSES = (
    "register D", "register CE", "register reset", "LUT memory", "DSP", "block RAM", "UltraRAM", "inside of a DSP",
)  # fmt: skip
"""What a path may end at."""
D, ENABLE, RESET, LUTRAM, DSP, BRAM, URAM, INSIDE = range(len(END_CLASSES))


@dataclass
class CellTiming:
    """Timing of a kind, by places of its pins.

    Attributes:
        arcs: from, to, ns, levels of LUTs, carry blocks. starts: pin and ns from the clock.
        ends: pin, ns before the clock, class. drivers: of outputs. sinks: of inputs; those that are not named are ``PLAIN``.
        inside: ns of the slowest stage between registers of the cell.
    """

    arcs: list[tuple[int, int, float, int, int]] = field(default_factory=list)
    starts: list[tuple[int, float]] = field(default_factory=list)
    ends: list[tuple[int, float, int]] = field(default_factory=list)
    drivers: dict[int, Driver] = field(default_factory=dict)
    sinks: dict[int, Sink] = field(default_factory=dict)
    inside: float = 0.0


Rule = Callable[[CellKind, CellTiming, Constants], None]
"""Fills in the timing of a kind."""


@dataclass(frozen=True, eq=False)
class Family:
    """A family of parts.

    Attributes:
        file: its constants, each with its source, a JSON file beside this module or with its whole path. rules: by patterns of types of cells.
        memories: beginnings of the types of memories in blocks. logic: of types whose outputs a reset alone may move.
    """

    file: str
    rules: tuple[tuple[str, Rule], ...]
    memories: tuple[str, ...]
    logic: tuple[str, ...]
    _cells: dict[CellKind, CellTiming] = field(default_factory=dict)

    def content(self) -> dict:
        """The data file as it is."""
        return json.loads(resources.files(__package__).joinpath(self.file).read_text())

    @cached_property
    def constants(self) -> Constants:
        """The constants by which everything is computed."""
        content = self.content()
        ns, tables = ({name: row["ns"] for name, row in content[key].items()} for key in ("ns", "tables"))
        slope, macro = (tuple(content["sets"][name][key] for name in SETS) for key in ("slope", "macro"))
        return Constants(ns, tables, slope, macro)

    def cell(self, kind: CellKind) -> CellTiming:
        """Timing of a kind; a kind that nothing is known of (a black box) starts and ends no path."""
        if kind not in self._cells:
            timing = CellTiming()
            if rule := next((rule for pattern, rule in self.rules if re.fullmatch(pattern, kind.type)), None):
                rule(kind, timing, self.constants)
            self._cells[kind] = timing
        return self._cells[kind]

    def input_nets(self, cells: Iterable[Cells], *wanted: Sink) -> np.ndarray:
        """Nets at the input pins of all cells that are no clocks; only of these sinks where some are named."""
        found = [np.zeros(0, np.int32)]
        for group in cells:
            sinks = self.cell(group.kind).sinks
            columns = [
                i for i, pin in enumerate(group.kind.pins)
                if not pin[2] and (s := sinks.get(i, Sink.PLAIN)) != Sink.CLOCK and (not wanted or s in wanted)
            ]  # fmt: skip
            found.append(group.nets[:, columns].reshape(-1))
        return np.concatenate(found)

    def loads(self, wiring: Wiring, *wanted: Sink) -> np.ndarray:
        """Pins that each net drives, of these sinks where some are named."""
        count = np.bincount(self.input_nets(wiring.cells, *wanted), minlength=wiring.nets)
        count[0] = 0
        return count


def _pins(kind: CellKind, output: bool) -> Iterator[tuple[int, str, int]]:
    """Place, port and bit of the pins of one direction."""
    return ((i, port, bit) for i, (port, bit, out) in enumerate(kind.pins) if out is output)


def _lut(kind: CellKind, t: CellTiming, c: Constants) -> None:
    outputs = [i for i, _, _ in _pins(kind, True)]
    t.drivers |= dict.fromkeys(outputs, Driver.LUT)
    for i, _, _ in _pins(kind, False):
        t.sinks[i] = Sink.LUT
        t.arcs += [(i, o, c.ns["lut"], 1, 1) for o in outputs]


def _mux(kind: CellKind, t: CellTiming, c: Constants) -> None:
    [out] = [i for i, _, _ in _pins(kind, True)]
    t.drivers[out] = Driver.MUX
    for i, port, _ in _pins(kind, False):
        select = port == "S"
        t.sinks[i] = Sink.PLAIN if select else Sink.MUX
        t.arcs.append((i, out, c.ns["mux_select" if select else "mux"], 0, 0))


def _carry(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """Bit by bit; CI to the last CO is what a chain adds."""
    tables, last = c.tables, 7 if kind.type == "CARRY8" else 3
    outputs = {(port, bit): i for i, port, bit in _pins(kind, True)}
    t.drivers |= {i: Driver.CARRY_CO if port == "CO" else Driver.CARRY for (port, _), i in outputs.items()}
    for i, port, bit in _pins(kind, False):
        t.sinks[i] = {"S": Sink.CARRY_S, "DI": Sink.CARRY_DI, "CI": Sink.CARRY_CI}.get(port, Sink.CARRY_DI)
        row, row_bit = (port.lower(), bit) if port in ("S", "DI") else ("ci", 0)
        for out in ("O", "CO"):
            values = tables[f"carry_{row}_{out.lower()}"][row_bit]
            first = row_bit + (port == "DI" and out == "O")
            for place, value in enumerate(values, start=first):
                if row == "ci" and out == "CO" and place == last:
                    value = c.ns["carry_chain" if last == 3 else "carry_chain8"]
                if place <= last:
                    t.arcs.append((i, outputs[out, place], value, 0, 1))


def _register(kind: CellKind, t: CellTiming, c: Constants) -> None:
    for i, _, _ in _pins(kind, True):
        t.drivers[i] = Driver.REGISTER
        t.starts.append((i, c.ns["ff_out"]))
    for i, port, _ in _pins(kind, False):
        if port in ("C", "G"):
            t.sinks[i] = Sink.CLOCK
        elif port == "D":
            t.sinks[i] = Sink.REGISTER_D
            t.ends.append((i, c.ns["ff_d"], D))
        elif port in ("CE", "GE"):
            t.ends.append((i, c.ns["ff_control"], ENABLE))
        else:
            t.sinks[i] = Sink.RESET
            t.ends.append((i, c.ns["ff_control"], RESET))


def _shift(kind: CellKind, t: CellTiming, c: Constants) -> None:
    outputs = [(i, port) for i, port, _ in _pins(kind, True)]
    t.drivers |= {i: Driver.LUT for i, _ in outputs}
    t.starts += [(i, c.ns["lutram_out"]) for i, _ in outputs]
    for i, port, _ in _pins(kind, False):
        if port == "CLK":
            t.sinks[i] = Sink.CLOCK
        elif port in ("D", "CE"):
            t.ends.append((i, c.ns["lutram_data" if port == "D" else "lutram_write"], LUTRAM))
        else:
            t.sinks[i] = Sink.LUT
            t.arcs += [(i, o, c.ns["lut"], 1, 1) for o, out in outputs if out == "Q"]


_WRITE_BANK = {"RAM32M": "D", "RAM64M": "D", "RAM32M16": "H", "RAM64M8": "H"}
"""The port at which a memory with several is written."""
_DEEP = re.compile(r"RAM(128|256|512)")


def _lutram(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """Reads are LUTs; deeper than 64 words they go through F7 to F9, too."""
    deep = _DEEP.match(kind.type)
    steps = {"128": 1, "256": 2, "512": 3}[deep[1]] if deep else 0
    read = c.ns["lut"] + steps * c.ns["mux"] + (c.ns["lut_to_mux"] if steps else 0)
    outputs = [(i, port) for i, port, _ in _pins(kind, True)]
    t.drivers |= {i: Driver.MUX if steps else Driver.LUT for i, _ in outputs}
    t.starts += [(i, c.ns["lutram_out"] + read - c.ns["lut"]) for i, _ in outputs]
    bank = _WRITE_BANK.get(kind.type)
    for i, port, _ in _pins(kind, False):
        if port in ("WCLK", "CLK"):
            t.sinks[i] = Sink.CLOCK
        elif port == "WE":
            t.ends.append((i, c.ns["lutram_write"], LUTRAM))
        elif port.startswith("D") and not port.startswith("DPRA"):
            t.ends.append((i, c.ns["lutram_data"], LUTRAM))
        else:
            t.sinks[i] = Sink.LUT
            written = port == f"ADDR{bank}" if bank else not port.startswith("DPRA")
            if written:
                t.ends.append((i, c.ns["lutram_address"], LUTRAM))
            t.arcs += [(i, o, read, 1, 1) for o, out in outputs if _reads(port, out, bank)]


def _reads(address: str, data: str, bank: str | None) -> bool:
    """Whether an address port reads an output port."""
    if bank:
        return address.removeprefix("ADDR") == data.removeprefix("DO")
    return data != ("SPO" if address.startswith("DPRA") else "DPO")


def _bram(kind: CellKind, t: CellTiming, c: Constants) -> None:
    for i, port, _ in _pins(kind, True):
        if port.startswith("CAS"):
            t.drivers[i] = Driver.MACRO
            continue
        side = "A" if port.startswith(("DOUTA", "DOUTPA")) else "B"
        t.drivers[i] = Driver.MACRO
        t.starts.append((i, c.ns["bram_out_reg" if kind.parameter(f"DO{side}_REG") == "1" else "bram_out"]))
    prefixes = (
        ("ADDREN", "enable"), ("ADDR", "address"), ("DIN", "data"), ("WE", "write"), ("REGCE", "regce"), ("RSTREG", "regce"),
    )  # fmt: skip
    _macro_inputs(kind, t, c, "bram", BRAM, prefixes)


def _uram(kind: CellKind, t: CellTiming, c: Constants) -> None:
    for i, port, _ in _pins(kind, True):
        t.drivers[i] = Driver.MACRO
        if port.startswith("DOUT_"):
            side = port[-1]
            registers = (("_ecc", "OREG_ECC"), ("_oreg", "OREG"))
            step = next((step for step, name in registers if kind.parameter(f"{name}_{side}") == "TRUE"), "")
            t.starts.append((i, c.ns[f"uram_out_{side.lower()}{step}"]))
    pre = tuple((f"ADDR_{s}", "address_pre") for s in "AB" if kind.parameter(f"IREG_PRE_{s}") == "TRUE")
    prefixes = (*pre, ("ADDR", "address"), ("DIN", "data"), ("BWE", "write"), ("OREG", "regce"))
    _macro_inputs(kind, t, c, "uram", URAM, prefixes)


def _macro_inputs(kind: CellKind, t: CellTiming, c: Constants, memory: str, end: int, prefixes: tuple) -> None:
    """Inputs of a memory by the beginnings of their names; others count as enables."""
    for i, port, _ in _pins(kind, False):
        if "CLK" in port:
            t.sinks[i] = Sink.CLOCK
        elif port.startswith("CAS"):
            t.sinks[i] = Sink.CASCADE
        else:
            t.sinks[i] = Sink.MACRO
            what = next((what for prefix, what in prefixes if port.startswith(prefix)), "enable")
            t.ends.append((i, c.ns[f"{memory}_{what}"], end))


_CASCADES = (
    "ACIN", "BCIN", "PCIN", "CARRYCASCIN", "MULTSIGNIN", "ACOUT", "BCOUT", "PCOUT", "CARRYCASCOUT", "MULTSIGNOUT",
)  # fmt: skip
_DSP_REGISTERS = ("AREG", "BREG", "CREG", "DREG", "ADREG", "MREG", "PREG", "OPMODEREG")


def _dsp(kind: CellKind, t: CellTiming, c: Constants) -> None:
    """By the registers: operands, pre-adder, product, result."""
    has = {name: kind.parameter(name, "1") != "0" for name in _DSP_REGISTERS}
    adder = kind.parameter("AMULTSEL", "A") == "AD" or kind.parameter("BMULTSEL", "B") == "AD"
    late_adder = adder and not has["ADREG"]
    to_m = c.ns["dsp_no_ad" if late_adder else "dsp_stage"]
    to_p = c.ns["dsp_no_m_ad" if late_adder else "dsp_no_m"]
    through = c.ns["dsp_pin_through"] + (c.ns["dsp_no_m_ad"] - c.ns["dsp_no_m"] if late_adder else 0)
    stages = [to_m if has["MREG"] else to_p if has["PREG"] else 0.0] if has["AREG"] or has["BREG"] else []
    stages += [c.ns["dsp_stage"]] if (has["PREG"] and has["MREG"]) or (adder and has["ADREG"] and has["DREG"]) else []
    t.inside = max(stages, default=0.0)
    out = c.ns["dsp_out"] if has["PREG"] else c.ns["dsp_stage"] if has["MREG"] else c.ns["dsp_out_no_m_p"]
    outputs = []
    for i, port, _ in _pins(kind, True):
        t.drivers[i] = Driver.MACRO
        if port in _CASCADES:
            # A cascade is counted where it ends. ACOUT and BCOUT come from registers.
            t.starts.append((i, 0.0 if has["PREG"] or port[0] in "AB" else out))
        else:
            outputs.append(i)
            if has["PREG"] or has["MREG"] or has["AREG"] or has["BREG"]:
                t.starts.append((i, out))
    for i, port, _ in _pins(kind, False):
        t.sinks[i] = Sink.MACRO
        if port == "CLK":
            t.sinks[i] = Sink.CLOCK
        elif port in _CASCADES:
            t.sinks[i] = Sink.CASCADE
            t.ends.append((i, c.ns["dsp_cascade"] if port == "PCIN" else c.ns["dsp_in"], DSP))
        elif port.startswith(("CE", "RST")):
            t.ends.append((i, c.ns["dsp_control"], DSP))
        elif port in ("A", "B", "C", "D"):
            t.sinks[i] = Sink.OPERAND
            if has[f"{port}REG"]:
                t.ends.append((i, c.ns["dsp_in"], DSP))
            elif port == "C" or has["MREG"]:
                _through(i, has["PREG"] if port == "C" else True, c.ns["dsp_stage"], c.ns["dsp_stage"], outputs, t)
            else:
                _through(i, has["PREG"], c.ns["dsp_pin_to_p"] + through - c.ns["dsp_pin_through"], through, outputs, t)
        elif has["OPMODEREG"]:
            t.ends.append((i, c.ns["dsp_in"], DSP))
        else:
            _through(i, has["PREG"], c.ns["dsp_stage"], c.ns["dsp_stage"], outputs, t)


def _through(pin: int, held: bool, before: float, through: float, outputs: list[int], t: CellTiming) -> None:
    """A pin ends at a register inside of a slice, or goes through to the outputs."""
    if held:
        t.ends.append((pin, before, DSP))
    else:
        t.arcs += [(pin, out, through, 0, 0) for out in outputs]


def _clock(kind: CellKind, t: CellTiming, c: Constants) -> None:
    t.sinks |= {i: Sink.CLOCK for i, _, _ in _pins(kind, False)}


ULTRASCALE_PLUS = Family(
    "timing.json",
    (
        (r"LUT\d(_2)?|INV", _lut), (r"FD[RSCP]E|LD[CP]E", _register), (r"CARRY[48]", _carry), (r"MUXF\d", _mux),
        (r"SRL\w+", _shift), (r"RAM\d\w+", _lutram), (r"RAMB\w+|FIFO\w+", _bram), (r"URAM288\w*", _uram),
        (r"DSP48E2", _dsp), (r"BUFG\w*|[IO]BUF", _clock),
    ),
    memories=("RAMB", "URAM"), logic=("LUT", "INV", "FD"),
)  # fmt: skip
