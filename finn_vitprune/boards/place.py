"""From a design to a bitstream: Yosys, nextpnr and ecppack, each kept in the cache by what it depends on.

The design stands behind a serial link (``vp_board_uart``) and a PLL, whose numbers are ecppll's. ROMs have their contents.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from finn_vitprune import cache, jobs, progress
from finn_vitprune.boards.tools import RouteError, program, run_tool
from finn_vitprune.boards.units import Tile, UnitCells, cells_by_unit, packed_cells, tiles_by_unit, top_module, unit_of_cells
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.errors import DoesNotFit, TargetMissed
from finn_vitprune.link.frames import ACCESS_WORDS
from finn_vitprune.synth import yosys
from finn_vitprune.synth.boards import CELLS, Board
from finn_vitprune.synth.tool import failure

TOP, LINK = "vp_board", "vp_board_uart"
BITSTREAM, NETLIST, REPORT, CONFIG, NETWORK = "board.bit", "routed.json.gz", "routed_report.json", "board.config", "netlist.json"
ENDS, UNITS = "routed_ends.json.gz", "units.json"
"""Nanoseconds to each cell at which a path ends; cells, nanoseconds and tiles of each unit."""
GENERATED = ("board.v", "pll.v", "pll_box.v", "board.lpf")
BOX = Path(__file__).with_name("pll_box.v")
PARTS_OF_A_CLOCK = 256
"""In which the length of a bit of the line is given."""
TIMEOUT_S = 14_400.0

REGISTERS = {
    "AWADDR": (8, True), "AWVALID": (1, True), "AWREADY": (1, False), "WDATA": (32, True), "WVALID": (1, True), "WREADY": (1, False),
    "BVALID": (1, False), "BREADY": (1, True), "ARADDR": (8, True), "ARVALID": (1, True), "ARREADY": (1, False), "RDATA": (32, False),
    "RVALID": (1, False), "RREADY": (1, True),
}  # fmt: skip
"""Bits of the signals between the link and a load port, and whether the link drives them."""
LATTICE = ("setattr -mod -unset keep_hierarchy", "flatten", "hierarchy -check", "blackbox =A:whitebox")
"""After ``synth_lattice``, whose last part would take minutes to name cells: one module, whose ROMs were mapped apart."""


@dataclass(frozen=True)
class DesignPorts:
    """Names of a design's clock, its reset (low: begin again), its input and its output stream."""

    clock: str = "ap_clk"
    reset: str = "ap_rst_n"
    input: str = "s_axis_0"
    output: str = "m_axis_0"


@dataclass(frozen=True)
class BoardDesign:
    """A design for a board.

    Attributes:
        top: its module. sources: in compile order. contents: files that its ROMs read.
        in_bytes, in_beats: bytes of a beat of its input, and beats of an image. out_bytes, out_beats: of its output, and of the logits.
        number: 32 bits by which a host knows it. load: its load port, and the bits of the addresses there; none without one.
    """

    top: str
    sources: tuple[Path, ...]
    contents: tuple[Path, ...]
    in_bytes: int
    in_beats: int
    out_bytes: int
    out_beats: int
    number: int
    load: tuple[str, int] | None = None
    ports: DesignPorts = DesignPorts()


@dataclass(frozen=True)
class RoutedDesign:
    """A design that is placed and routed.

    Attributes:
        seed: of nextpnr. mhz: at which it works by nextpnr. used: cells by kind of :data:`.CELLS`. folder: of the cache.
    """

    seed: int
    mhz: float
    used: dict[str, int]
    folder: Path


@dataclass(frozen=True)
class BoardClock:
    """The clock that a PLL makes: MHz, and 256ths of a clock in a bit of the line."""

    mhz: float
    bit: int


@dataclass(frozen=True)
class _Routing:
    """A mapped design that is to be routed with a seed."""

    board: Board
    mapped: Path
    timeout_s: float


def map_design(design: BoardDesign, board: Board, clk_ns: float, timeout_s: float = TIMEOUT_S) -> tuple[Path, BoardClock]:
    """Map a design with its link for a board; the folder of the cache with the netlist, and the clock.

    Raises:
        RouteError: Yosys or ecppll fails.
    """
    own = {path.name: path for path in design.sources}
    sources = [*design.sources, *(path for path in rtl_sources(LINK) if path.name not in own)]
    digest = hashlib.sha256(
        repr(
            (yosys.yosys_version(), program("ecppll").version, asdict(board), clk_ns, _script([]), _facts(design), ACCESS_WORDS, REGISTERS)
        ).encode()
    )
    for path in (*sources, *design.contents, BOX, *(Path(__file__).with_name(f"{name}.j2") for name in ("board.v", "board.lpf"))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())

    def make(folder: Path) -> None:
        for path in (*sources, *design.contents, BOX):
            shutil.copyfile(path, folder / path.name)
        clock = _make_clock(folder, board, clk_ns, timeout_s)
        values = asdict(board) | _facts(design) | {"board": board.name, "mhz": clock.mhz, "bit": clock.bit, "design": design.number}
        values |= {"words": ACCESS_WORDS if design.load else 0, "registers": REGISTERS}
        for name in ("board.v", "board.lpf"):
            (folder / name).write_text(_rendered(name, values))
        (folder / "clock.json").write_text(json.dumps(asdict(clock)))
        names = [*(path.name for path in sources), *(name for name in GENERATED if name.endswith(".v") and name != "board.v"), "board.v"]
        (folder / "commands.ys").write_text("\n".join(_script(names)))
        progress.begin("Yosys maps the design")
        if reason := failure("Yosys", yosys.run_script(), folder / "yosys.log", timeout_s):
            raise RouteError(f"mapping {design.top}: {reason}")
        for path in folder.iterdir():
            if path.name not in (*GENERATED, NETWORK, "clock.json"):
                path.unlink()

    folder = cache.entry(f"ecp5/map-{digest.hexdigest()[:32]}", make)
    return folder, BoardClock(**json.loads((folder / "clock.json").read_text()))


def _facts(design: BoardDesign) -> dict[str, object]:
    facts = asdict(design)
    return {name: facts[name] for name in facts if name not in ("sources", "contents", "number")} | {"number": design.number}


def _script(names: list[str]) -> list[str]:
    """Yosys' commands."""
    read = f"read_slang --keep-hierarchy -D VP_YOSYS -D VP_CONTENTS --top {TOP} {' '.join(names)}"
    return [read, *_mapping(TOP)]


def _mapping(top: str) -> list[str]:
    return [f"synth_lattice -family ecp5 -top {top} -run begin:check", *LATTICE, f"write_json {NETWORK}"]


def _make_clock(folder: Path, board: Board, clk_ns: float, timeout_s: float) -> BoardClock:
    """Have ecppll write ``pll.v``."""
    wanted = 1000 / clk_ns
    arguments = ["-i", f"{board.clock_mhz:g}", "-o", f"{wanted:.4g}", "-f", "pll.v"]
    run_tool("ecppll", arguments, folder / "ecppll.log", timeout_s, f"a clock of {wanted:.4g} MHz")
    found = re.search(r"clkout0, // ([\d.]+) MHz", (folder / "pll.v").read_text())
    if found is None:
        raise RouteError(f"ecppll has no numbers for a clock of {wanted:.4g} MHz of {board.clock_mhz:g} MHz: give another --clk-ns")
    mhz = float(found[1])
    return BoardClock(mhz, round(mhz * 1e6 * PARTS_OF_A_CLOCK / board.baud))


def _rendered(name: str, values: dict[str, object]) -> str:
    loader = PackageLoader("finn_vitprune.boards", ".")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.get_template(f"{name}.j2").render(values)


def map_unit(top: str, sources: Sequence[Path], folder: Path, contents: bool, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """Cells of a unit that is mapped alone, as :func:`mapped_cells` has them.

    Args:
        folder: where Yosys runs, with the files of ROMs. contents: whether ROMs keep them; else they hold a fixed pattern.
    Raises:
        RouteError: Yosys fails.
    """
    words = "-D VP_YOSYS -D VP_CONTENTS" if contents else "-D VP_YOSYS"
    read = f"read_slang --keep-hierarchy {words} --top {top} {' '.join(yosys.quote(path.resolve()) for path in sources)}"
    (folder / "commands.ys").write_text("\n".join((read, *_mapping(top))))
    if reason := failure("Yosys", yosys.run_script(), folder / "yosys.log", timeout_s):
        raise RouteError(f"mapping {top}: {reason}")
    return mapped_cells(folder)


def mapped_cells(folder: Path) -> dict[str, int]:
    """Cells of a mapped design by kind of :data:`.CELLS`, as nextpnr will count them (:func:`.packed_cells`)."""
    counted = dict.fromkeys(CELLS, 0)
    for _, kind, count in packed_cells(top_module(json.loads((folder / NETWORK).read_text()))):
        counted[kind] += count
    return counted


def need_room(board: Board, used: dict[str, int], who: str) -> None:
    """That a part has what is used.

    Raises:
        DoesNotFit: it has less; the text says of what.
    """
    short = [f"{used[kind]:,} of {board.part.has(kind):,} {kind}" for kind in CELLS if used[kind] > board.part.has(kind)]
    if short:
        help_ = "a folding with fewer multipliers, mac_style lut for some matrix units, or a larger part would help"
        raise DoesNotFit(f"the design does not fit {board.part.name} of {board.name}: it needs {', '.join(short)} ({who}); {help_}")


def route_design(board: Board, mapped: Path, seeds: int, workers: int, timeout_s: float = TIMEOUT_S) -> list[RoutedDesign]:
    """Place and route with the seeds 1 to ``seeds``; the fastest first.

    Raises:
        RouteError: nextpnr fails.
    """
    function = partial(_routed, _Routing(board, mapped, timeout_s))
    told = jobs.Told("placing and routing", seeds)
    found = [done for _, done in jobs.run(function, range(1, seeds + 1), min(workers, seeds) if seeds > 1 else 0, _seed_name, told)]
    return sorted(found, key=lambda one: (-one.mhz, one.seed))


def _seed_name(seed: int) -> str:
    return f"seed {seed}"


def _routed(routing: _Routing, seed: int) -> RoutedDesign:
    board, mapped = routing.board, routing.mapped
    options = [board.part.option, "--package", board.package, "--speed", str(board.speed), "--seed", str(seed), "--timing-allow-fail"]
    options.append("--detailed-timing-report")
    if not board.pins:
        options.append("--lpf-allow-unconstrained")
    files = ["--json", NETWORK, "--lpf", "board.lpf"]  # in its folder: the programs of PyPI do not see every other
    key = hashlib.sha256(repr((program("nextpnr-ecp5").version, options, mapped.name)).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        progress.begin(f"nextpnr places and routes the design for {board.part.name} (seed {seed})")
        for name in (NETWORK, "board.lpf"):
            shutil.copyfile(mapped / name, folder / name)
        written = ["--textcfg", CONFIG, "--report", REPORT, "--write", "routed.json"]
        run_tool("nextpnr-ecp5", [*files, *options, *written], folder / "nextpnr.log", routing.timeout_s, f"routing for {board.name}")
        with (folder / "routed.json").open("rb") as text, gzip.GzipFile(folder / NETLIST, "wb", mtime=0) as packed:
            shutil.copyfileobj(text, packed)
        for name in ("routed.json", NETWORK, "board.lpf"):
            (folder / name).unlink()
        report = json.loads((folder / REPORT).read_text())
        _write_ends(folder / ENDS, report.pop("detailed_net_timings"))
        (folder / REPORT).write_text(json.dumps(report))

    folder = cache.entry(f"ecp5/route-{key}", make)
    report = json.loads((folder / REPORT).read_text())
    [clock] = [value["achieved"] for value in report["fmax"].values()]
    cells = {name: kind["used"] for name, kind in report["utilization"].items()}
    return RoutedDesign(seed, round(clock, 2), {kind: cells[cell] for kind, cell in CELLS.items()}, folder)


@dataclass(frozen=True)
class PlacedUnits:
    """Units of a routed design: cells and the slowest path of each, and how many of its cells lie in each tile."""

    cells: dict[str, UnitCells]
    tiles: dict[str, dict[Tile, int]]


def placed_units(mapped: Path, routed: RoutedDesign) -> PlacedUnits:
    """The units of a routed design."""

    def make(folder: Path) -> None:
        ends = json.loads(gzip.decompress((routed.folder / ENDS).read_bytes()))
        netlist = json.loads((mapped / NETWORK).read_bytes())
        units = unit_of_cells(top_module(netlist))
        tiles = tiles_by_unit(json.loads(gzip.decompress((routed.folder / NETLIST).read_bytes())), units)
        content = {
            "cells": {name: asdict(unit) for name, unit in cells_by_unit(netlist, units, ends).items()},
            "tiles": {name: [[*tile, count] for tile, count in sorted(of.items())] for name, of in sorted(tiles.items())},
        }
        (folder / UNITS).write_text(json.dumps(content))

    sources = [Path(__file__).with_name(name).read_bytes() for name in ("units.py", "timing.py", "timing.json")]
    key = hashlib.sha256(b"\0".join((mapped.name.encode(), routed.folder.name.encode(), *sources))).hexdigest()[:32]
    content = json.loads((cache.entry(f"ecp5/units-{key}", make) / UNITS).read_text())
    return PlacedUnits(
        {name: UnitCells(**unit) for name, unit in content["cells"].items()},
        {name: {(x, y): count for x, y, count in of} for name, of in content["tiles"].items()},
    )


def _write_ends(path: Path, timings: Sequence[dict[str, Any]]) -> None:
    """Cells at which paths of the clock end, each with the nanoseconds of the slowest one: gzipped JSON."""
    slowest: dict[str, float] = {}
    for net in timings:
        for end in net["endpoints"]:
            delay = end["delay"]  # since nextpnr 0.8 the least and the most
            ns = max(delay) if isinstance(delay, list) else delay
            slowest[end["cell"]] = max(slowest.get(end["cell"], 0.0), round(ns, 3))
    path.write_bytes(gzip.compress(json.dumps(slowest).encode(), mtime=0))


def need_clock(routed: RoutedDesign, clock: BoardClock) -> None:
    """That the routed design works at its clock.

    Raises:
        TargetMissed: it does not; the text says which clock it reaches.
    """
    if routed.mhz < clock.mhz:
        reached = f"{routed.mhz:g} MHz routed, the clock is {clock.mhz:g} MHz"
        raise TargetMissed(f"the design misses its clock: {reached}; more --seeds may help, or --clk-ns {1000 / routed.mhz + 0.05:.1f}")


def pack_design(routed: RoutedDesign, timeout_s: float = TIMEOUT_S) -> Path:
    """The bitstream of a routed design, which unpacks and packs to the same bytes; a folder of the cache.

    Raises:
        RouteError: ecppack or ecpunpack fails, or the bytes differ.
    """
    key = hashlib.sha256(repr((program("ecppack").version, routed.folder.name)).encode()).hexdigest()[:32]

    def make(folder: Path) -> None:
        progress.begin("ecppack writes the bitstream, ecpunpack reads it")
        shutil.copyfile(routed.folder / CONFIG, folder / CONFIG)
        run_tool("ecppack", ["--compress", CONFIG, BITSTREAM], folder / "ecppack.log", timeout_s, "packing")
        run_tool("ecpunpack", [BITSTREAM, "again.config"], folder / "ecpunpack.log", timeout_s, "unpacking")
        run_tool("ecppack", ["--compress", "again.config", "again.bit"], folder / "again.log", timeout_s, "packing again")
        if (folder / "again.bit").read_bytes() != (folder / BITSTREAM).read_bytes():
            raise RouteError("the bitstream, unpacked and packed again, is another one: ecppack and ecpunpack do not agree")
        for path in folder.iterdir():
            if path.name != BITSTREAM:
                path.unlink()

    return cache.entry(f"ecp5/pack-{key}", make) / BITSTREAM
