"""The C++ text that binds the ports of a verilated model to the driver: of a whole design, or of a unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from finn_vitprune.sim.ports import ChainPort, LoadPort, Port, Probe

HEADER = "Vdut.h"
"""The C++ header of a verilated top, which names its ports."""

PORT = re.compile(r"VL_(IN|OUT)\w*\(&(\w+),(\d+),0")
"""A port of a verilated top in its header: direction, name, highest bit."""

STATE = "Vdut__Syms"
"""The C++ class that holds all signals of a model, ports and memories included."""

ELSEWHERE = {
    ".h": re.compile(r"\bstd::string\b|\bVl(?:AssocArray|ClassRef|DelayScheduler|Queue|SampleQueue)\b"),
    ".cpp": re.compile(r"\bVL_(?:U?RANDOM|FGET|FREAD|FSCAN|FEOF)"),
}
"""What a model depends on beside the bytes of :data:`STATE`: containers that it holds, random numbers, files that it reads."""

BUS_SIGNALS = ("AWVALID AWREADY AWADDR WVALID WREADY WDATA WSTRB BVALID BREADY ARVALID ARREADY ARADDR RVALID RREADY RDATA").split()
"""Signals of an AXI4-Lite port in the order of the driver's ``BusPort``."""

MONITORS = ("mon_valid", "mon_ready", "tap_data")


def read_ports(generated: Path) -> list[tuple[str, str, int]]:
    """Direction (``IN``, ``OUT``), name and bits of each port of the model in a folder."""
    return [(kind, name, int(msb) + 1) for kind, name, msb in PORT.findall((generated / HEADER).read_text())]


class Binding:
    """Statements that fill the driver's pointers into a model. Port names count without case; inputs not bound are 0.

    Args:
        generated: folder of the verilated model, in C++ called ``top``.
        target: C++ name of what is filled.
    """

    def __init__(self, generated: Path, target: str) -> None:
        ports = read_ports(generated)
        self._names = {name.lower(): name for _, name, _ in ports}
        self._idle = {name.lower(): name for direction, name, _ in ports if direction == "IN"}
        self._generated, self._target = generated, target
        self._lines: list[str] = []

    def pin(self, member: str, port: str) -> None:
        """``member`` points to a port."""
        self._lines.append(f"{self._target}.{member} = {self._pointer(port)};")

    def stream(self, member: str, port: Port) -> None:
        """The next of ``member`` is a stream."""
        data, valid, ready = (self._pointer(f"{port.name}_{s}") for s in ("tdata", "tvalid", "tready"))
        self._lines.append(f"{self._target}.{member}.push_back({{{data}, {port.bytes}, {valid}, {ready}}});")

    def load(self, port: LoadPort) -> None:
        """The next of ``buses`` is an AXI4-Lite port, or of ``chains`` a load chain."""
        if isinstance(port, ChainPort):
            ends = ", ".join(self._pointer(f"{port.name}_{end}") for end in ("in", "out"))
            self._lines.append(f"{self._target}.chains.push_back({{{ends}}});")
            return
        signals = ", ".join(self._pointer(f"{port.name}_{s}") for s in BUS_SIGNALS)
        self._lines.append(f"{self._target}.buses.push_back({{{signals}, {port.address_bits}, {port.address_bytes}}});")

    def ports(self, clock: str, reset: str, inputs: Sequence[Port], outputs: Sequence[Port], loads: Sequence[LoadPort] = ()) -> None:
        """All ports that designs and units have."""
        self.pin("clk", clock)
        self.pin("rst_n", reset)
        for port in inputs:
            self.stream("inputs", port)
        for port in outputs:
            self.stream("outputs", port)
        for load in loads:
            self.load(load)

    def state(self) -> None:
        """The bytes on which the model depends; none where it depends on more. What Verilator calls slow only sets up."""
        code = (p for p in self._generated.iterdir() if p.suffix in ELSEWHERE and not p.stem.endswith("__Slow"))
        size = "0" if any(ELSEWHERE[p.suffix].search(p.read_text()) for p in code) else f"sizeof({STATE})"
        self._lines += [f"{self._target}.state = reinterpret_cast<const uint8_t*>(top->rootp->vlSymsp);"]
        self._lines += [f"{self._target}.state_bytes = {size};"]

    def edges(self, edges: Sequence[Probe]) -> None:
        """The monitor ports of a stitched design."""
        for monitor in MONITORS:
            self.pin(monitor, monitor)
        self._lines.append(f"{self._target}.edge_bytes = {{{', '.join(str(e.bytes) for e in edges)}}};")

    def text(self, head: Sequence[str]) -> str:
        """The file: ``head`` opens the function and makes ``top``."""
        idle = [f"std::memset(&top->{name}, 0, sizeof top->{name});" for name in self._idle.values()]
        includes = ["#include <cstring>", '#include "driver.h"', f'#include "{HEADER}"']
        return "\n".join([*includes, *head, *(f"    {line}" for line in [*self._lines, *idle]), "}", ""])

    def _pointer(self, port: str) -> str:
        self._idle.pop(port.lower(), None)
        return f"reinterpret_cast<uint8_t*>(&top->{self._names[port.lower()]})"


DESIGN_HEAD = (
    "static Vdut* top;",
    "void bind_dut(VerilatedContext* context, Dut& dut) {",
    "    top = new Vdut{context};",
    "    dut.eval = [] { top->eval(); };",
    "    dut.finish = [] { top->final(); delete top; };",
)
UNIT_SYMBOL = "bind_unit"
UNIT_HEAD = (
    f'#include "{STATE}.h"',
    f'extern "C" void {UNIT_SYMBOL}(VerilatedContext* context, Unit& unit) {{',
    "    auto* top = new Vdut{context};",
    "    unit.model = top;",
    "    unit.eval = [](void* model) { static_cast<Vdut*>(model)->eval(); };",
    "    unit.finish = [](void* model) { static_cast<Vdut*>(model)->final(); delete static_cast<Vdut*>(model); };",
)
