"""``finn-vitprune bitstream``: a finished build as a bitstream for a board."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from finn_vitprune import progress
from finn_vitprune.boards import place
from finn_vitprune.boards.place import BoardClock, BoardDesign, RoutedDesign
from finn_vitprune.boards.tools import PROGRAMS, program
from finn_vitprune.boards.units import UnitCells
from finn_vitprune.builds.floor_plan import floor_plan
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import TOP, StitchedDesign
from finn_vitprune.errors import UserError
from finn_vitprune.files import alone_in, read_json, sha256, whole_file, write_json
from finn_vitprune.report.figures import save
from finn_vitprune.synth.boards import CELLS, DEFAULT_NS, Board, board_named
from finn_vitprune.synth.yosys import yosys_version

SUMMARY_FILE = "board.json"
FORMAT: Literal[2] = 2
"""Of ``board.json``."""
FOLDER = "bitstream"
"""Where the bitstream of a build is, by default."""
FLOOR_PLAN = "floor_plan.png"
CONTENTS_WORD = "VP_CONTENTS"
"""What RTL that keeps its contents in synthesis says."""
KEPT = (place.BITSTREAM, place.NETLIST, place.REPORT, *(name for name in place.GENERATED if name != "pll_box.v"))


@dataclass(frozen=True)
class BitstreamOptions:
    """What a bitstream is made for.

    Attributes:
        clk_ns: period of the clock that the PLL makes. seeds: of nextpnr, of which the fastest counts. workers: processes at a time.
    """

    board: str = "ulx3s-85f"
    clk_ns: float = DEFAULT_NS
    seeds: int = 1
    workers: int = 1


@dataclass(frozen=True)
class RoutedFigures:
    """What nextpnr routed: MHz, its seed, and cells by kind."""

    mhz: float
    seed: int
    COMB: int
    FF: int
    MULT18: int
    EBR: int


@dataclass(frozen=True)
class BoardSummary:
    """``board.json``: a bitstream, and what it was made of.

    Attributes:
        design: number of the design, 32 bits. clock_mhz: that the PLL makes. bit_256ths: of the line, in 256ths of a clock.
        mapped: cells by kind as Yosys mapped them, routed: what nextpnr made of them, has: those of the part. seeds: MHz by seed.
        units: cells of each unit and its slowest routed path, in ns, by the name of its node. files: SHA-256 of the files beside it.
    """

    board: str
    part: str
    tools: list[str]
    design: int
    clock_mhz: float
    bit_256ths: int
    baud: int
    image_bytes: int
    logit_bytes: int
    mapped: dict[str, int]
    routed: RoutedFigures
    has: dict[str, int]
    seeds: dict[str, float]
    bitstream_bytes: int
    units: dict[str, UnitCells]
    files: dict[str, str]
    format: Literal[2] = FORMAT

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)

    @property
    def used_text(self) -> str:
        """Cells, in words."""
        return ", ".join(f"{getattr(self.routed, kind):,} of {has:,} {kind}" for kind, has in self.has.items())


def make_bitstream(build_dir: Path, folder: Path, options: BitstreamOptions) -> BoardSummary:
    """Make the bitstream of a finished build in ``folder``; what ``board.json`` there says.

    Finished stages are kept in the cache, so that a run that was stopped goes on where it was.

    Raises:
        UserError: there is no finished build, its design cannot stand behind a serial line, or a program is missing.
        DoesNotFit: the part has less than the design needs.
        TargetMissed: the routed design is slower than its clock.
    """
    board = board_named(options.board)
    for name in PROGRAMS:
        program(name)
    design = board_design(BuildFolder(Path(build_dir).resolve()).stitched)
    with alone_in(folder, "bitstream"):
        (folder / SUMMARY_FILE).unlink(missing_ok=True)
        mapped, clock = place.map_design(design, board, options.clk_ns)
        counted = place.mapped_cells(mapped)
        progress.line(f"mapped: {_counts(counted, board)} (Yosys); clock {clock.mhz:g} MHz")
        place.need_room(board, counted, "mapped by Yosys")
        found = place.route_design(board, mapped, options.seeds, options.workers)
        best = found[0]
        progress.line(f"routed: {_counts(best.used, board)}; {best.mhz:g} MHz with seed {best.seed}")
        place.need_clock(best, clock)
        bitstream = place.pack_design(best)
        sources = dict.fromkeys((place.NETLIST, place.REPORT), best.folder) | dict.fromkeys(place.GENERATED, mapped)
        for name in KEPT:
            with whole_file(folder / name) as partial:
                shutil.copyfile(bitstream if name == place.BITSTREAM else sources[name] / name, partial)
        units = place.placed_units(mapped, best)
        save(floor_plan(units.tiles, f"{best.mhz:g} MHz on {board.name}, placed and routed"), folder / FLOOR_PLAN, dpi=130)
        summary = _summary(design, board, clock, found, counted, units.cells, folder)
        write_json(folder / SUMMARY_FILE, summary.as_dict())
    return summary


def board_design(stitched: Path) -> BoardDesign:
    """The design of a build, as it stands behind a serial line.

    Raises:
        UserError: there is no design, it counts frames, or an older version built it.
    """
    design = StitchedDesign.load(stitched)
    build = stitched.parent
    if design.frame_check:
        raise UserError(f"{build}: its design checks frames, and the serial link has no TLAST: build without --frame-check")
    sources = tuple(design.folder / name for name in [*design.sources, f"{TOP}.v"])
    rom = design.folder / "vp_rom.sv"
    if rom.is_file() and CONTENTS_WORD not in rom.read_text():
        raise UserError(f"{build}: its ROMs would lose their contents, an older version built it: build again")
    contents = tuple(design.folder / name for name in sorted(design.digests) if name.endswith(".hex"))
    into, out = design.input, design.output
    load = next(((load.port, load.address_bits) for load in design.loads), None)
    return BoardDesign(TOP, sources, contents, into.tdata_bits // 8, into.beats, out.tdata_bits // 8, out.beats, design.number, load)


def _counts(used: dict[str, int], board: Board) -> str:
    return ", ".join(f"{used[kind]:,} of {board.part.has(kind):,} {kind}" for kind in CELLS)


def _summary(
    design: BoardDesign, board: Board, clock: BoardClock, found: list[RoutedDesign], counted: dict[str, int], units: dict[str, UnitCells],
    folder: Path,
) -> BoardSummary:  # fmt: skip
    best = found[0]
    return BoardSummary(
        board=board.name, part=board.part.name, tools=[yosys_version(), *(program(name).version for name in PROGRAMS)], design=design.number,
        clock_mhz=clock.mhz, bit_256ths=clock.bit, baud=board.baud,
        image_bytes=design.in_bytes * design.in_beats, logit_bytes=design.out_bytes * design.out_beats,
        mapped=counted, routed=RoutedFigures(best.mhz, best.seed, **best.used), has={kind: board.part.has(kind) for kind in CELLS},
        seeds={str(one.seed): one.mhz for one in found}, bitstream_bytes=(folder / place.BITSTREAM).stat().st_size, units=units,
        files={name: sha256(folder / name) for name in sorted((*KEPT, FLOOR_PLAN))},
    )  # fmt: skip


def read_board(folder: Path) -> BoardSummary:
    """What ``board.json`` of a folder says, whose files are as they were written.

    Raises:
        UserError: there is none, another version wrote it, or a file is missing or has changed.
    """
    path = folder / SUMMARY_FILE
    if not path.is_file():
        raise UserError(f"{folder} has no bitstream: `finn-vitprune bitstream BUILD --board BOARD` makes one")
    try:
        found = _SUMMARIES.validate_python(read_json(path, "bitstream"))
    except ValidationError:
        raise UserError(f"{path} is not as this version writes it: make the bitstream again") from None
    for name, digest in found.files.items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise UserError(f"{folder / name} is missing or has changed: make the bitstream again")
    return found


_SUMMARIES = TypeAdapter(BoardSummary)
