"""Compiles a SystemVerilog top into a simulator, once per structure."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from finn_vitprune import cache, progress
from finn_vitprune.sim import binding, toolchain
from finn_vitprune.sim.ports import BusPort, ChainPort, LoadPort, Port, Probe
from finn_vitprune.sim.run import Simulator

# -Wall's warnings are errors. These are about taste, or fire on every parameterised block.
SILENT = (
    "DECLFILENAME UNUSEDSIGNAL UNUSEDPARAM PINCONNECTEMPTY GENUNNAMED VARHIDDEN UNSIGNED CMPCONST WIDTHEXPAND"
    " EOFNEWLINE UNDRIVEN SYNCASYNCNET TIMESCALEMOD IMPORTSTAR ASCRANGE WIDTHCONCAT"
).split()

CLOCK, RESET = "ap_clk", "ap_rst_n"
"""FINN's names."""

OPTIMISE = "FINN_VITPRUNE_OPTIMISE"
"""The environment variable that is 0 where simulators, and units of designs, make but a few short runs."""
LIBRARY = "unit.so"
UNIT_CONFIG = toolchain.SIM_DIR / "units.vlt"
"""Verilator's options for modules of units."""
UNIT_OPTIONS = ("--output-split-cfuncs", "500")
"""Functions are cut after so many nodes, so that most pieces of equal instances are equal, and emitted once."""

MAX_GROUP_BYTES = 400_000
"""Generated C++ files are compiled together up to this size."""
MAX_UNIT_GROUP_BYTES = 2_000_000
"""Those of a unit, whose compilers run one after another."""


def compile_top(
    top: str,
    sources: Sequence[Path | str],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    edges: Sequence[Probe] = (),
    loads: Sequence[LoadPort] = (),
    clock: str = CLOCK,
    reset: str = RESET,
    defines: Sequence[str] = (),
    lint: bool = True,
    optimise: bool | None = None,
) -> Simulator:
    """Build the simulator of module ``top``, or take it from the cache.

    Sources of the same name and content (each node's copy of a leaf) count once. ROM files are no
    part of it: the simulation reads them when it runs. Port names count without case (``in0_V_tdata``,
    ``in0_V_TDATA``). Inputs that are none of the given ports are 0 all the time.

    Args:
        top: name of the top module; its ports are clock, reset, the streams and, with ``edges``, the
            monitor ports ``mon_valid``, ``mon_ready`` and ``tap_data``.
        sources: Verilog and SystemVerilog files in compile order; other files are ignored.
        loads: the ports through which memories are loaded.
        edges: the internal streams that the monitor ports show, edge 0 lowest.
        defines: macros to define, ``NAME`` or ``NAME=VALUE``.
        lint: treat warnings in the sources as errors (not for the sources of others).
        optimise: False for a few short runs: the simulator is built in less than half the time. By default true, unless
            :data:`OPTIMISE` says 0.

    Raises:
        SimulationError: the sources do not compile; the text holds Verilator's first messages.
        UserError: Verilator or a C++ compiler is missing, or a source file is.
    """
    files = _distinct(sources)
    if optimise is None:
        optimise = _optimised()
    structure = {
        "top": top,
        "files": [(name, toolchain.digest(content)) for name, content in files],
        "inputs": [asdict(p) for p in inputs],
        "outputs": [asdict(p) for p in outputs],
        "edges": [e.bytes for e in edges],
        "loads": [[type(p).__name__, asdict(p)] for p in loads],
        "options": [clock, reset, *defines, lint, optimise, *SILENT],
    }
    key = toolchain.digest(json.dumps(structure), toolchain.runtime_key())

    def build(folder: Path) -> None:
        generated = _verilate(folder, top, files, defines, lint)
        bound = binding.Binding(generated, "dut")
        bound.ports(clock, reset, inputs, outputs, loads)
        if edges:
            bound.edges(edges)
        objects = _compile(generated, bound.text(binding.DESIGN_HEAD), _groups if optimise else _in_one)
        toolchain.link([*objects, *toolchain.runtime_objects()], folder / "sim")
        _forget_code(folder)

    folder = cache.entry(f"verilator/{top}-{key}", build)
    return Simulator(folder / "sim", tuple(inputs), tuple(outputs), tuple(edges), tuple(loads))


def compile_unit(
    top: str,
    files: Sequence[tuple[str, bytes]],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    defines: Sequence[str] = (),
    at_once: int | None = None,
) -> Path:
    """Build the library of a unit, of which one program makes many (:mod:`.units`), or take it from the cache.

    Args:
        top: name of the top module, with FINN's clock and reset.
        files: names and contents of its sources, in compile order.
        defines: macros to define.
        at_once: compilers at a time.

    Raises:
        SimulationError: the sources do not compile; the text holds Verilator's first messages.
    """
    ports = [[asdict(p) for p in group] for group in (inputs, outputs)]
    sources = [(name, toolchain.digest(content)) for name, content in files]
    jobs = partial(_groups, most=MAX_UNIT_GROUP_BYTES) if _optimised() else _in_one
    structure = [top, sources, ports, defines, SILENT, UNIT_CONFIG.read_text(), UNIT_OPTIONS, _optimised()]
    key = toolchain.digest(json.dumps(structure), toolchain.runtime_key())

    def build(folder: Path) -> None:
        generated = _verilate(folder, top, list(files), defines, lint=True, more=[*UNIT_OPTIONS, str(UNIT_CONFIG)])
        bound = binding.Binding(generated, "unit")
        bound.ports(CLOCK, RESET, inputs, outputs)
        bound.state()
        objects = _compile(generated, bound.text(binding.UNIT_HEAD), jobs, at_once)
        toolchain.link_library(objects, folder / LIBRARY, binding.UNIT_SYMBOL)
        _forget_code(folder)

    return cache.entry(f"verilator/{top}-{key}", build) / LIBRARY


def find_ports(top: str, sources: Sequence[Path | str], lint: bool = False) -> tuple[list[Port], list[Port], list[LoadPort]]:
    """The AXI4-Stream inputs and outputs of ``top``, and its AXI4-Lite ports and load chain, each in no particular order.

    Raises:
        SimulationError: the sources do not elaborate.
    """
    files = _distinct(sources)
    key = toolchain.digest(top, *(n for n, _ in files), *(c for _, c in files), *toolchain.versions())

    def build(folder: Path) -> None:
        generated = _verilate(folder, top, files, (), lint)
        (generated / binding.HEADER).rename(folder / binding.HEADER)
        _forget_code(folder)

    ports = binding.read_ports(cache.entry(f"verilator/{top}_ports-{key}", build))

    def having(signal: str, direction: str) -> list[tuple[str, int]]:
        """Name without ``signal``, and bits."""
        return [(name[: -len(signal)], bits) for kind, name, bits in ports if kind == direction and name.lower().endswith(signal)]

    inputs, outputs = ([Port(*port) for port in having("_tdata", direction)] for direction in ("IN", "OUT"))
    chains = {f"{kind} {name}" for kind, name, _ in ports} >= {"IN load_in", "OUT load_out"}
    return inputs, outputs, [*(BusPort(*port) for port in having("_awaddr", "IN")), *([ChainPort()] if chains else [])]


def _optimised() -> bool:
    """Whether the C++ compiler optimises, unless a caller says otherwise."""
    return os.environ.get(OPTIMISE) != "0"


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


def _verilate(folder: Path, top: str, files: list[tuple[str, bytes]], defines: Sequence[str], lint: bool, more: Sequence[str] = ()) -> Path:
    source_dir, generated = folder / "rtl", folder / "cpp"
    source_dir.mkdir()
    for name, content in files:
        (source_dir / name).write_bytes(content)
    strictness = ["-Wall", *(f"-Wno-{w}" for w in SILENT)] if lint else ["-Wno-lint", "-Wno-style", "-Wno-fatal"]
    compiled = [f"rtl/{name}" for name, _ in files if name.endswith((".v", ".sv"))]
    options = "--cc -O3 --no-timing --x-initial unique --prefix Vdut --Mdir cpp -Irtl".split()
    options += ["--top-module", top, "--no-assert-case", *strictness, *(f"-D{d}" for d in defines)]
    progress.status(f"Verilator reads {top}")
    toolchain.run_verilator([*options, *more, *compiled], folder)
    progress.status("")
    return generated


Job = tuple[Path, Path, str]
"""A translation unit, its object, and how it is optimised."""


def _compile(generated: Path, bound: str, jobs: Callable[[Path], list[Job]], at_once: int | None = None) -> list[Path]:
    """Objects of the C++ code in ``generated`` and of ``bound``, which binds it, in the ``jobs`` of that folder."""
    (generated / "Vdut_bind.cpp").write_text(bound)
    todo = jobs(generated)
    toolchain.compile_objects(todo, (generated,), toolchain.runtime(), at_once)
    return [target for _, target, _ in todo]


def _forget_code(folder: Path) -> None:
    """Delete the sources and what was made of them: much larger than the simulator, and not needed again."""
    for name in ("rtl", "cpp"):
        shutil.rmtree(folder / name)


def _in_one(generated: Path) -> list[Job]:
    """The compile job of all generated files as one translation unit, not optimised."""
    return [_joined(generated, "all", sorted(generated.glob("Vdut*.cpp")), toolchain.SLOW)]


def _groups(generated: Path, most: int = MAX_GROUP_BYTES) -> list[Job]:
    """Compile jobs: generated files joined into few translation units of ``most`` bytes, hot code apart from set-up code."""
    jobs: list[Job] = []
    for level, slow in ((toolchain.FAST, False), (toolchain.SLOW, True)):
        files = sorted(p for p in generated.glob("Vdut*.cpp") if p.name.endswith("__Slow.cpp") == slow)
        group: list[Path] = []
        size = 0
        for path in [*files, None]:
            if group and (path is None or size + path.stat().st_size > most):
                jobs.append(_joined(generated, f"unit{len(jobs)}", group, level))
                group, size = [], 0
            if path is not None:
                group.append(path)
                size += path.stat().st_size
    return jobs


def _joined(generated: Path, name: str, files: Sequence[Path], level: str) -> Job:
    unit = generated / f"{name}.cpp"
    unit.write_text("".join(f'#include "{path.name}"\n' for path in files))
    return unit, unit.with_suffix(".o"), level
