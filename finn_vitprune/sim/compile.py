"""Compiles a SystemVerilog top into a simulator, once per structure."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from finn_vitprune import cache
from finn_vitprune.sim import toolchain
from finn_vitprune.sim.ports import LoaderPort, Port, Probe
from finn_vitprune.sim.run import Simulator

# -Wall's warnings are errors. These are about taste, or fire on every parameterised block.
SILENT = (
    "DECLFILENAME UNUSEDSIGNAL UNUSEDPARAM PINCONNECTEMPTY GENUNNAMED VARHIDDEN UNSIGNED CMPCONST WIDTHEXPAND"
    " EOFNEWLINE UNDRIVEN SYNCASYNCNET TIMESCALEMOD IMPORTSTAR ASCRANGE"
).split()

PORT = re.compile(r"VL_(IN|OUT)\w*\(&(\w+),(\d+),0")
"""A port of a verilated top in its header: direction, name, highest bit."""

LOAD_SIGNALS = (
    "AWVALID AWREADY AWADDR WVALID WREADY WDATA WSTRB BVALID BREADY ARVALID ARREADY RVALID RREADY RDATA"
).split()
"""Signals of an AXI4-Lite port in the order of the driver's ``LoaderPort``."""

HEADER = "Vdut.h"
"""The C++ header of a verilated top, which names its ports."""

MAX_GROUP_BYTES = 400_000
"""Generated C++ files are compiled together up to this size."""


def compile_top(
    top: str,
    sources: Sequence[Path | str],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    edges: Sequence[Probe] = (),
    loads: Sequence[LoaderPort] = (),
    clock: str = "ap_clk",
    reset: str = "ap_rst_n",
    defines: Sequence[str] = (),
    lint: bool = True,
) -> Simulator:
    """Build the simulator of module ``top``, or take it from the cache.

    Sources of the same name and content (each node's copy of a leaf) count once. ROM files are no
    part of it: the simulation reads them when it runs. Port names count without case (``in0_V_tdata``,
    ``in0_V_TDATA``). Inputs that are none of the given ports are 0 all the time.

    Args:
        top: name of the top module; its ports are clock, reset, the streams and, with ``edges``, the
            monitor ports ``mon_valid``, ``mon_ready`` and ``tap_data``.
        sources: Verilog and SystemVerilog files in compile order; other files are ignored.
        loads: the AXI4-Lite ports.
        edges: the internal streams that the monitor ports show, edge 0 lowest.
        defines: macros to define, ``NAME`` or ``NAME=VALUE``.
        lint: treat warnings in the sources as errors (not for the sources of others).

    Raises:
        SimulationError: the sources do not compile; the text holds Verilator's first messages.
        UserError: Verilator or a C++ compiler is missing, or a source file is.
    """
    files = _distinct(sources)
    structure = {
        "top": top,
        "files": [(name, toolchain.digest(content)) for name, content in files],
        "inputs": [asdict(p) for p in inputs],
        "outputs": [asdict(p) for p in outputs],
        "edges": [e.bytes for e in edges],
        "loads": [asdict(p) for p in loads],
        "options": [clock, reset, *defines, lint, *SILENT],
    }
    key = toolchain.digest(json.dumps(structure), toolchain.runtime_key())

    def build(folder: Path) -> None:
        runtime, generated = toolchain.runtime(), _verilate(folder, top, files, defines, lint)
        binding = generated / "bind.cpp"
        ports = PORT.findall((generated / HEADER).read_text())
        binding.write_text(_binding(ports, inputs, outputs, edges, clock, reset, loads))
        jobs = _groups(generated)
        toolchain.compile_objects(
            [*jobs, (binding, generated / "bind.o", toolchain.FAST)], (generated,), runtime
        )
        objects = [target for _, target, _ in jobs] + [generated / "bind.o", *sorted(runtime.glob("*.o"))]
        toolchain.link(objects, folder / "sim")
        _forget_code(folder)

    folder = cache.entry(f"verilator/{top}-{key}", build)
    return Simulator(folder / "sim", tuple(inputs), tuple(outputs), tuple(edges), tuple(loads))


def find_ports(
    top: str, sources: Sequence[Path | str], lint: bool = False
) -> tuple[list[Port], list[Port], list[LoaderPort]]:
    """The AXI4-Stream inputs and outputs of ``top`` and its AXI4-Lite ports, each in no particular order.

    Raises:
        SimulationError: the sources do not elaborate.
    """
    files = _distinct(sources)
    key = toolchain.digest(top, *(n for n, _ in files), *(c for _, c in files), *toolchain.versions())

    def build(folder: Path) -> None:
        generated = _verilate(folder, top, files, (), lint)
        (generated / HEADER).rename(folder / HEADER)
        _forget_code(folder)

    ports = PORT.findall((cache.entry(f"verilator/{top}_ports-{key}", build) / HEADER).read_text())

    def having(signal: str, direction: str) -> list[tuple[str, int]]:
        """Name without ``signal``, and bits."""
        return [
            (name[: -len(signal)], int(msb) + 1)
            for kind, name, msb in ports if kind == direction and name.lower().endswith(signal)
        ]

    inputs, outputs = ([Port(*port) for port in having("_tdata", direction)] for direction in ("IN", "OUT"))
    return inputs, outputs, [LoaderPort(*port) for port in having("_awaddr", "IN")]


def _distinct(sources: Sequence[Path | str]) -> list[tuple[str, bytes]]:
    """File names and contents; equal files once, files of one name but other contents under a new name."""
    files: dict[str, bytes] = {}
    for source in map(Path, sources):
        if source.suffix not in (".v", ".sv", ".vh", ".svh"):
            continue
        try:
            content = source.read_bytes()
        except OSError as error:
            raise toolchain.UserError(f"cannot read the RTL source {source}: {error.strerror}") from error
        name, n = source.name, 1
        while files.get(name, content) != content:
            name, n = f"{source.stem}_{n}{source.suffix}", n + 1
        files[name] = content
    return list(files.items())


def _verilate(
    folder: Path, top: str, files: list[tuple[str, bytes]], defines: Sequence[str], lint: bool
) -> Path:
    source_dir, generated = folder / "rtl", folder / "cpp"
    source_dir.mkdir()
    for name, content in files:
        (source_dir / name).write_bytes(content)
    strictness = (
        ["-Wall", *(f"-Wno-{w}" for w in SILENT)] if lint else ["-Wno-lint", "-Wno-style", "-Wno-fatal"]
    )
    compiled = [f"rtl/{name}" for name, _ in files if name.endswith((".v", ".sv"))]
    options = "--cc -O3 --no-timing --x-initial unique --prefix Vdut --Mdir cpp -Irtl".split()
    options += ["--top-module", top, "--no-assert-case", *strictness, *(f"-D{d}" for d in defines)]
    toolchain.run_verilator([*options, *compiled], folder)
    return generated


def _forget_code(folder: Path) -> None:
    """Delete the sources and what was made of them: much larger than the simulator, and not needed again."""
    for name in ("rtl", "cpp"):
        shutil.rmtree(folder / name)


def _groups(generated: Path) -> list[tuple[Path, Path, str]]:
    """Compile jobs: generated files joined into few translation units, hot code apart from set-up code."""
    jobs = []
    for level, slow in ((toolchain.FAST, False), (toolchain.SLOW, True)):
        files = sorted(p for p in generated.glob("Vdut*.cpp") if p.name.endswith("__Slow.cpp") == slow)
        group: list[Path] = []
        size = 0
        for path in [*files, None]:
            if group and (path is None or size + path.stat().st_size > MAX_GROUP_BYTES):
                unit = generated / f"unit{len(jobs)}.cpp"
                unit.write_text("".join(f'#include "{p.name}"\n' for p in group))
                jobs.append((unit, unit.with_suffix(".o"), level))
                group, size = [], 0
            if path is not None:
                group.append(path)
                size += path.stat().st_size
    return jobs


def _binding(
    ports: Sequence[tuple[str, str, str]],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    edges: Sequence[Probe],
    clock: str,
    reset: str,
    loads: Sequence[LoaderPort] = (),
) -> str:
    idle = {name.lower(): name for direction, name, _ in ports if direction == "IN"}
    names = {name.lower(): name for _, name, _ in ports}

    def pointer(port: str) -> str:
        idle.pop(port.lower(), None)
        return f"reinterpret_cast<uint8_t*>(&top->{names[port.lower()]})"

    def stream(port: Port) -> str:
        signals = [pointer(f"{port.name}_{s}") for s in ("tdata", "tvalid", "tready")]
        return f"{{{signals[0]}, {port.bytes}, {signals[1]}, {signals[2]}}}"

    def load(port: LoaderPort) -> str:
        return f"{{{', '.join(pointer(f'{port.name}_{s}') for s in LOAD_SIGNALS)}, {port.address_bits}, {port.address_bytes}}}"

    lines = [
        "#include <cstring>",
        '#include "driver.h"',
        '#include "Vdut.h"',
        "static Vdut* top;",
        "void bind_dut(VerilatedContext* context, Dut& dut) {",
        "    top = new Vdut{context};",
        "    dut.eval = [] { top->eval(); };",
        "    dut.finish = [] { top->final(); delete top; };",
        f"    dut.clk = {pointer(clock)};",
        f"    dut.rst_n = {pointer(reset)};",
        *(f"    dut.inputs.push_back({stream(p)});" for p in inputs),
        *(f"    dut.outputs.push_back({stream(p)});" for p in outputs),
        *(f"    dut.loads.push_back({load(p)});" for p in loads),
    ]
    if edges:
        lines += [f"    dut.{m} = {pointer(m)};" for m in ("mon_valid", "mon_ready", "tap_data")]
        lines += [f"    dut.edge_bytes = {{{', '.join(str(e.bytes) for e in edges)}}};"]
    lines += [f"    std::memset(&top->{name}, 0, sizeof top->{name});" for name in idle.values()]
    return "\n".join([*lines, "}", ""])
