"""The routed netlist of nextpnr as Verilog that Verilator compiles, for several boards that run side by side.

Every net is a vector with one bit for each board, so that one operator works for all of them. Cells follow nextpnr's packer
(``ecp5/pack.cc`` and ``ecp5/bitstream.cc`` of nextpnr 0.7): an input of a carry cell that is not connected is 1, one of a LUT has no part
in the table, and parameters ``<pin>MUX`` say what a pin of a multiplier or block RAM is. A cell, a mode or a clock that is not modelled is
an error, so that nothing is left out in silence.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from finn_vitprune.boards.gates import ONE, ZERO, expression
from finn_vitprune.errors import UserError

MODULE = "routed"
"""The Verilog module: ports ``clk``, the other pins of the board with one bit a board, and ``stuck0`` and ``stuck1`` for faults."""
LANES = 64
"""Boards that run side by side."""
RANGE = f"[{LANES - 1}:0]"
REGISTERS = 200
"""Of an always block."""
INPUTS = "ABCD"


class NetlistError(UserError):
    """A cell of a netlist is not modelled, or not as it is used; the text names it."""


@dataclass(frozen=True)
class StuckNet:
    """A net whose driver is stuck: its cell, the port and the bit that drives it, and the value that it has for ever."""

    cell: str
    port: str
    net: int
    value: int


@dataclass(frozen=True)
class Cell:
    """A cell of a netlist: nets by port, parameters as nextpnr wrote them, without the blanks that mark texts."""

    name: str
    kind: str
    nets: Mapping[str, int]
    parameters: Mapping[str, str]

    def parameter(self, name: str, default: str = "") -> str:
        """A parameter, or what it is where it is not given."""
        return self.parameters.get(name, default)

    def number(self, name: str, default: int = 0) -> int:
        """A parameter that is a number."""
        return int(text, 2) if (text := self.parameter(name)) else default

    def need(self, name: str, *values: str) -> None:
        """That a parameter, where it is given, has one of these values.

        Raises:
            NetlistError: it has another.
        """
        if (found := self.parameter(name, values[0])) not in values:
            raise NetlistError(f"{self.kind} {self.name}: {name} is {found}, and the netlist is simulated with {' or '.join(values)}")


@dataclass(frozen=True)
class RoutedNetlist:
    """A routed netlist: its cells, and the nets of its pins."""

    cells: list[Cell]
    inputs: dict[str, int]
    outputs: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> RoutedNetlist:
        """Of what nextpnr wrote with ``--write``, or of that packed with gzip.

        Raises:
            NetlistError: it is no such file.
        """
        try:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            [module] = json.loads(text)["modules"].values()
        except (OSError, ValueError, KeyError) as error:
            raise NetlistError(f"{path} is no netlist of nextpnr: {error}") from error
        cells = [
            Cell(
                name, cell["type"],
                {port: bits[0] for port, bits in cell["connections"].items() if bits},
                {key: str(value).strip() for key, value in cell["parameters"].items()},
            )
            for name, cell in module["cells"].items()
        ]  # fmt: skip
        pins = {
            way: {name: port["bits"][0] for name, port in module["ports"].items() if port["direction"] == way}
            for way in ("input", "output")
        }
        return cls(cells, pins["input"], pins["output"])

    def sites(self) -> list[tuple[str, str, int]]:
        """Cell, port and net of all outputs of logic, registers, multipliers and memories that are connected."""
        return [
            (cell.name, port, net)
            for cell in self.cells if cell.kind in _OUTPUTS
            for port, net in sorted(cell.nets.items()) if _OUTPUTS[cell.kind].fullmatch(port)
        ]  # fmt: skip

    def faults(self, count: int, seed: int) -> list[StuckNet]:
        """So many nets, each of which is drawn once, stuck at 0 or 1."""
        rng, sites = np.random.default_rng(seed), self.sites()
        if count > len(sites):
            raise NetlistError(f"{count} faults are more than the {len(sites)} outputs of cells: ask for fewer")
        chosen = [sites[i] for i in rng.permutation(len(sites))[:count]]
        return [StuckNet(cell, port, net, int(rng.integers(2))) for cell, port, net in chosen]


_OUTPUTS = {
    "TRELLIS_COMB": re.compile("F|FCO|OFX"), "TRELLIS_FF": re.compile("Q"), "MULT18X18D": re.compile(r"P\d+"), "DP16KD": re.compile(r"DO[AB]\d+"),
}  # fmt: skip
"""Ports of cells that can be stuck."""


@dataclass(frozen=True)
class Written:
    """The Verilog of a netlist, and how many memories it has: block RAMs, whose contents are beside it in ``NUMBER.hex``, and 16 bits in LUTs."""

    verilog: Path
    block_rams: int
    small_rams: int


def to_verilog(netlist: RoutedNetlist, folder: Path, faults: Sequence[StuckNet] = ()) -> Written:
    """Write the Verilog of a netlist and the contents of its memories to ``folder``.

    Args:
        faults: nets whose drivers can be stuck: bit ``l`` of word ``k`` of the inputs ``stuck0`` and ``stuck1`` does it for fault ``k`` at
            board ``l``.
    Raises:
        NetlistError: the netlist has something that is not modelled.
    """
    path = folder / f"{MODULE}.v"
    writer = _Writer(netlist, folder, {fault.net: k for k, fault in enumerate(faults)})
    path.write_text(writer.text())
    return Written(path, writer.block_rams, writer.small_rams)


@dataclass
class _Writer:
    """Collects the Verilog of a netlist."""

    netlist: RoutedNetlist
    folder: Path
    sites: Mapping[int, int]
    lines: list[str] = field(default_factory=list)
    registers: list[str] = field(default_factory=list)
    small_rams: int = 0
    block_rams: int = 0
    made: set[int] = field(default_factory=set)
    """Nets that are declared."""

    def text(self) -> str:
        """The module."""
        self.clocks = _clock_nets(self.netlist)
        for cell in self.netlist.cells:
            if cell.kind in _QUIET:
                continue
            if (write := _CELLS.get(cell.kind)) is None:
                raise NetlistError(f"{cell.kind} {cell.name} is not simulated")
            write(self, cell)
        body = [*self.lines, *self._always()]
        read = {net for cell in self.netlist.cells for net in cell.nets.values()} - self.made - self.clocks
        pins = set(self.netlist.inputs.values()) | set(self.netlist.outputs.values())
        self.declared = [f"    wire {RANGE} n{net} = ZERO;  // has no driver" for net in sorted(read - pins)]
        count = max(1, len(self.sites))
        ports = ["input wire clk", *(f"input wire {RANGE} {name}" for name, net in self.netlist.inputs.items() if net not in self.clocks),
                 *(f"output wire {RANGE} {name}" for name in self.netlist.outputs),
                 f"input wire {RANGE} stuck0 [0:{count - 1}]", f"input wire {RANGE} stuck1 [0:{count - 1}]"]  # fmt: skip
        constants = [f"    localparam {RANGE} {name} = {{{LANES}{{1'b{bit}}}}};" for name, bit in ((ZERO, 0), (ONE, 1))]
        return "\n".join(
            [
                _IMPORTS,
                f"module {MODULE} (",
                "    " + ",\n    ".join(ports),
                ");",
                *constants,
                *self.declared,
                _TICK,
                *body,
                "endmodule",
                "",
            ]
        )

    def _always(self) -> Iterator[str]:
        for start in range(0, len(self.registers), REGISTERS):
            yield "    always @(posedge clk) begin"
            yield from self.registers[start : start + REGISTERS]
            yield "    end"

    def net(self, cell: Cell, port: str, unconnected: str = ZERO) -> str:
        """What is at a port."""
        return unconnected if (net := cell.nets.get(port)) is None else f"n{net}"

    def drive(self, net: int, value: str) -> None:
        """A net that has a value, but where it is stuck."""
        self.made.add(net)
        self.lines.append(f"    wire {RANGE} n{net} = {self._faulty(net, value)};")

    def _faulty(self, net: int, value: str) -> str:
        return value if (k := self.sites.get(net)) is None else f"(({value}) & ~stuck0[{k}]) | stuck1[{k}]"

    def check_clock(self, cell: Cell, port: str) -> None:
        """That the clock of the board is at a port."""
        if cell.nets.get(port) not in self.clocks:
            raise NetlistError(f"{cell.kind} {cell.name}: its {port} is not the clock of the board, and no other is simulated")

    def table(self, cell: Cell, unconnected: str | None) -> str:
        """The output of the LUT of a cell."""
        names = [self.net(cell, pin) if pin in cell.nets else unconnected for pin in INPUTS]
        return expression(cell.number("INITVAL"), names)

    def comb(self, cell: Cell) -> None:
        """A LUT, with what is behind it: a carry, a multiplexer; or 16 bits of RAM."""
        cell.need("MODE", "LOGIC", "CCU2", "DPRAM", "RAMW_BLOCK")
        mode = cell.parameter("MODE", "LOGIC")
        f = cell.nets.get("F")
        if mode == "CCU2":
            value = self._carry(cell)
        elif mode == "DPRAM":
            value = self._ram16(cell)
        else:
            value = self.table(cell, None)
        if f is not None:
            self.drive(f, value)
        if (ofx := cell.nets.get("OFX")) is not None:
            one, other = (
                ("FXB", self.net(cell, "FXA")) if "FXA" in cell.nets or "FXB" in cell.nets else ("F1", value if f is None else f"n{f}")
            )
            select = self.net(cell, "M")
            self.drive(ofx, f"({select} & {self.net(cell, one)}) | (~{select} & ({other}))")

    def _carry(self, cell: Cell) -> str:
        """Drives the carry; what the cell gives."""
        cell.need("CCU2_INJECT1", "YES", "NO")
        alone = cell.parameter("CCU2_INJECT1", "YES") == "YES"
        both = self.table(cell, ONE)
        two = expression(cell.number("INITVAL") & 15, [self.net(cell, "A", ONE), self.net(cell, "B", ONE)])
        carry = self.net(cell, "FCI")
        if (out := cell.nets.get("FCO")) is not None:
            made = f"c{out}"
            self.lines.append(f"    wire {RANGE} {made} = {both};")
            both = made
            self.drive(out, f"({both} & {carry})" + ("" if alone else f" | (~{both} & {two})"))
        return both if alone else f"{both} ^ {carry}"

    def _ram16(self, cell: Cell) -> str:
        """The output of 16 bits of RAM."""
        for name, value in (("WREMUX", "WRE"), ("WCKMUX", "WCK")):
            cell.need(name, value)
        self.check_clock(cell, "WCK")
        if cell.number("INITVAL"):
            raise NetlistError(f"TRELLIS_COMB {cell.name} is RAM with contents, which is not simulated")
        # nextpnr has RAD[0] to RAD[3] at D, B, C and A
        read = ", ".join(self.net(cell, pin) for pin in "ACBD")
        write = ", ".join(self.net(cell, f"WAD{i}") for i in (3, 2, 1, 0))
        name = f"r{self.small_rams}"
        self.lines.append(f"    wire {RANGE} {name} = ecp5_ram16_read({self.small_rams}, tick, {read});")
        self.registers.append(f"        ecp5_ram16_write({self.small_rams}, {self.net(cell, 'WRE')}, {self.net(cell, 'WD')}, {write});")
        self.small_rams += 1
        return name

    def ramw(self, cell: Cell) -> None:
        """The way of address and data to 16 x 4 bits of RAM."""
        for out, pin in _RAMW.items():
            if (net := cell.nets.get(out)) is not None:
                self.drive(net, self.net(cell, pin))

    def register(self, cell: Cell) -> None:
        """A register with enable and synchronous set or reset."""
        cell.need("CLKMUX", "CLK")
        cell.need("LSRMODE", "LSR")
        cell.need("GSR", "DISABLED")
        cell.need("CEMUX", "CE", "1", "INV")
        cell.need("LSRMUX", "LSR", "INV")
        cell.need("REGSET", "RESET", "SET")
        self.check_clock(cell, "CLK")
        if (q := cell.nets.get("Q")) is None:
            return
        value = self.net(cell, "DI" if cell.parameter("SD", "0") == "1" else "M")
        ways = cell.parameter("CEMUX", "CE")
        enable = ONE if ways == "1" else self.net(cell, "CE", ONE)
        name = f"q{q}" if q in self.sites else f"n{q}"
        keep = "" if enable == ONE else enable if ways == "CE" else f"~{enable}"
        first = cell.parameter("REGSET") == "SET"
        if "LSR" in cell.nets:
            cell.need("SRMODE", "ASYNC", "LSR_OVER_CE", "CE_OVER_LSR")
            if (order := cell.parameter("SRMODE", "ASYNC")) == "ASYNC":
                raise NetlistError(f"TRELLIS_FF {cell.name} has an asynchronous reset, which is not simulated")
            reset = self.net(cell, "LSR") if cell.parameter("LSRMUX", "LSR") == "LSR" else f"~{self.net(cell, 'LSR')}"
            given = (lambda text: f"({text} | {reset})") if first else (lambda text: f"({text} & ~{reset})")
            value = given(self._held(name, keep, value)) if order == "LSR_OVER_CE" else self._held(name, keep, given(value))
        else:
            value = self._held(name, keep, value)
        self.made.add(q)
        self.lines.append(f"    reg {RANGE} {name} = {ONE if first else ZERO};")
        if q in self.sites:
            self.lines.append(f"    wire {RANGE} n{q} = {self._faulty(q, name)};")
        self.registers.append(f"        {name} <= {value};")

    @staticmethod
    def _held(name: str, keep: str, value: str) -> str:
        return f"(({value} & {keep}) | ({name} & ~{keep}))" if keep else value

    def product(self, cell: Cell) -> None:
        """A multiplier without registers."""
        for name in (*(f"REG_{where}_{what}" for where in ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT") for what in ("CLK",)),):
            cell.need(name, "NONE")
        for pin in ("SOURCEA", "SOURCEB"):
            if self._constant(cell, pin) != 0:
                raise NetlistError(f"MULT18X18D {cell.name} takes a factor of its neighbour, which is not simulated")
        signs = [self._constant(cell, f"SIGNED{pin}") for pin in "AB"]
        factors = [", ".join(self._tied(cell, f"{pin}{i}") for i in reversed(range(18))) for pin in "AB"]
        name = f"m{len(self.lines)}"
        self.lines.append(
            f"    bit [{36 * LANES - 1}:0] {name};\n"
            f"    always_comb ecp5_mult18({signs[0]}, {signs[1]}, {{{factors[0]}}}, {{{factors[1]}}}, {name});"
        )
        self._slices(cell, "P", 36, name)

    def _slices(self, cell: Cell, port: str, bits: int, name: str) -> None:
        for i in range(bits):
            if (net := cell.nets.get(f"{port}{i}")) is not None:
                self.drive(net, f"{name}[{i * LANES} +: {LANES}]")

    def _tied(self, cell: Cell, port: str) -> str:
        """What is at a data pin of a multiplier or block RAM; a constant is in a parameter."""
        if port in cell.nets:
            return self.net(cell, port)
        cell.need(f"{port}MUX", "0", "1")
        return ONE if cell.parameter(f"{port}MUX", "0") == "1" else ZERO

    def _control(self, cell: Cell, port: str) -> str:
        """What is at a control pin of a block RAM: 1 where nothing is connected, and the opposite where it says so."""
        cell.need(f"{port}MUX", port, "INV")
        inverted = cell.parameter(f"{port}MUX", port) == "INV"
        if port not in cell.nets:
            return ZERO if inverted else ONE
        return f"~{self.net(cell, port)}" if inverted else self.net(cell, port)

    def _constant(self, cell: Cell, port: str) -> int:
        """The value of a pin that has one for ever."""
        self.constants = getattr(self, "constants", None) or _constant_nets(self.netlist)
        if (net := cell.nets.get(port)) is None:
            return 0
        if net not in self.constants:
            raise NetlistError(f"{cell.kind} {cell.name}: its {port} changes, which is not simulated")
        return self.constants[net]

    def memory(self, cell: Cell) -> None:
        """A block RAM without output registers."""
        for side in "AB":
            cell.need(f"REGMODE_{side}", "NOREG")
            cell.need(f"CSDECODE_{side}", "0b000")
            cell.need(f"WRITEMODE_{side}", *_WRITE_MODES)
            for i in range(3):
                if self._control(cell, f"CS{side}{i}") != ZERO:
                    raise NetlistError(f"DP16KD {cell.name} is chosen by CS{side}{i}, which is not simulated")
        cell.need("GSR", "DISABLED", "AUTO")
        clocked = {side: f"CLK{side}" in cell.nets for side in "AB"}
        for side in [side for side in "AB" if clocked[side]]:
            cell.need(f"CLK{side}MUX", f"CLK{side}")
            self.check_clock(cell, f"CLK{side}")
            if cell.parameter("RESETMODE", "SYNC") == "ASYNC" and self._control(cell, f"RST{side}") != ZERO:
                raise NetlistError(f"DP16KD {cell.name} has an asynchronous reset, which is not simulated")
        name, number = f"b{self.block_rams}", self.block_rams
        self.block_rams += 1
        (self.folder / f"{number}.hex").write_text(_contents(cell))
        widths = [cell.number(f"DATA_WIDTH_{side}", 18) if clocked[side] else 0 for side in "AB"]
        modes = [_WRITE_MODES.index(cell.parameter(f"WRITEMODE_{side}", "NORMAL")) for side in "AB"]
        bound = [*map(str, (number, *widths, *modes))]
        for side in "AB":
            bound += [self._control(cell, pin + side) for pin in ("CE", "WE", "RST")]
            for pin, bits in (("AD", 14), ("DI", 18)):
                bound.append(f"{{{', '.join(self._tied(cell, f'{pin}{side}{i}') for i in reversed(range(bits)))}}}")
        vector = f"[{18 * LANES - 1}:0]"
        outputs = [f"{name}{side}" for side in "ab"]
        self.lines.append(f"    bit {vector} {', '.join(f'{out} = 0, {out}n' for out in outputs)};")
        called = f"        ecp5_ebr({', '.join([*bound, *outputs, *(f'{out}n' for out in outputs)])});"
        self.registers.append("\n".join([called, *(f"        {out} <= {out}n;" for out in outputs)]))  # never in two blocks
        for side, out in zip("AB", outputs):
            self._slices(cell, f"DO{side}", 18, out)

    def pin(self, cell: Cell) -> None:
        """A pin of the board."""
        cell.need("DIR", "INPUT", "OUTPUT")
        pad = cell.nets["B"]
        if cell.parameter("DIR", "INPUT") == "INPUT":
            if (net := cell.nets.get("O")) is not None and net not in self.clocks:
                [name] = [name for name, bit in self.netlist.inputs.items() if bit == pad]
                self.drive(net, name)
        else:
            if "T" in cell.nets:
                raise NetlistError(f"TRELLIS_IO {cell.name} has an enable, which is not simulated")
            [name] = [name for name, bit in self.netlist.outputs.items() if bit == pad]
            self.lines.append(f"    assign {name} = {self.net(cell, 'I')};")

    def pll(self, cell: Cell) -> None:
        """A PLL that has locked: its clock is the board's."""
        if (lock := cell.nets.get("LOCK")) is not None:
            self.drive(lock, ONE)

    def buffer(self, cell: Cell) -> None:
        """A net that travels on a global line."""
        if "CE" in cell.nets:
            raise NetlistError(f"DCCA {cell.name} has an enable, which is not simulated")
        if cell.nets["CLKO"] not in self.clocks:
            self.drive(cell.nets["CLKO"], self.net(cell, "CLKI"))


_IMPORTS = """import "DPI-C" function void ecp5_mult18(input bit sa, input bit sb, input bit [1151:0] a, input bit [1151:0] b, output bit [2303:0] p);
import "DPI-C" function longint unsigned ecp5_ram16_read(input int number, input bit tick, input longint unsigned a3, input longint unsigned a2,
    input longint unsigned a1, input longint unsigned a0);
import "DPI-C" function void ecp5_ram16_write(input int number, input longint unsigned we, input longint unsigned wd,
    input longint unsigned a3, input longint unsigned a2, input longint unsigned a1, input longint unsigned a0);
import "DPI-C" function void ecp5_ebr(input int number, input int width_a, input int width_b, input int mode_a, input int mode_b,
    input longint unsigned ce_a, input longint unsigned we_a, input longint unsigned rst_a, input bit [895:0] ad_a, input bit [1151:0] di_a,
    input longint unsigned ce_b, input longint unsigned we_b, input longint unsigned rst_b, input bit [895:0] ad_b, input bit [1151:0] di_b,
    input bit [1151:0] old_a, input bit [1151:0] old_b, output bit [1151:0] do_a, output bit [1151:0] do_b);"""
_TICK = "    bit tick = 0;\n    always @(posedge clk) tick <= !tick;"
_RAMW = {
    "WADO0": "D0", "WADO1": "B0", "WADO2": "C0", "WADO3": "A0", "WDO0": "C1", "WDO1": "A1", "WDO2": "D1", "WDO3": "B1",
}  # fmt: skip
"""Outputs and inputs of a RAMW."""
_WRITE_MODES = ("NORMAL", "READBEFOREWRITE", "WRITETHROUGH")
_QUIET = ("GSR", "SGSR")
_CELLS = {
    "TRELLIS_COMB": _Writer.comb, "TRELLIS_RAMW": _Writer.ramw, "TRELLIS_FF": _Writer.register, "MULT18X18D": _Writer.product,
    "DP16KD": _Writer.memory, "TRELLIS_IO": _Writer.pin, "EHXPLLL": _Writer.pll, "DCCA": _Writer.buffer,
}  # fmt: skip


def _clock_nets(netlist: RoutedNetlist) -> set[int]:
    """The nets that are the clock of the board: behind the PLL, or the pin of the clock where there is none."""
    plls = [cell for cell in netlist.cells if cell.kind == "EHXPLLL"]
    if len(plls) > 1:
        raise NetlistError(f"the netlist has {len(plls)} PLLs, and one clock is simulated")
    pads = {cell.nets["B"]: cell.nets.get("O") for cell in netlist.cells if cell.kind == "TRELLIS_IO"}
    clocks = {netlist.inputs["clk"], pads[netlist.inputs["clk"]]} | {pll.nets["CLKOP"] for pll in plls}
    buffers = [(cell.nets["CLKI"], cell.nets["CLKO"]) for cell in netlist.cells if cell.kind == "DCCA"]
    return {net for net in clocks | {out for into, out in buffers if into in clocks} if net is not None}


def _constant_nets(netlist: RoutedNetlist) -> dict[int, int]:
    """Nets that a LUT without inputs drives, and their values."""
    constant = [cell for cell in netlist.cells if cell.kind == "TRELLIS_COMB" and not set(cell.nets) - {"F"}]
    return {cell.nets["F"]: cell.number("INITVAL") & 1 for cell in constant if "F" in cell.nets}


def _contents(cell: Cell) -> str:
    """1,024 words of 18 bits, one a line: 16 words in a parameter, each with 20 bits."""
    lines = []
    for i in range(64):
        value = cell.number(f"INITVAL_{i:02X}")
        lines += [f"{value >> 20 * k & 0x3FFFF:05x}" for k in range(16)]
    return "\n".join(lines) + "\n"
