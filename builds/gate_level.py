"""``finn-vitprune gate-level``: images through the routed netlist of a build, by its pins, against the integers of the network."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune import progress
from finn_vitprune.boards.gate import compile_netlist
from finn_vitprune.boards.host import BoardHost
from finn_vitprune.boards.netlist import RoutedNetlist, StuckNet
from finn_vitprune.boards.place import NETLIST
from finn_vitprune.builds.bitstream import FOLDER, BoardSummary, read_board
from finn_vitprune.builds.images import BuildImages
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.host_side import HostSide
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import AnswerIsNo, UserError
from finn_vitprune.execute import golden
from finn_vitprune.files import write_json
from finn_vitprune.link.registers import accesses
from finn_vitprune.sim.contents import CONTENTS

RESULT = "gate_level.json"
FAULT_IMAGES = 8
"""Each fault meets the first images, at most so many."""


@dataclass(frozen=True)
class GateLevel:
    """What the routed netlist of a build showed.

    Attributes:
        images, values: that were compared: images, and logits. mismatches: logits that differ, or did not come.
        clocks: of the simulation, in which boards ran side by side. seconds: of it, and of compiling it where the cache does not have it.
        faults: that were put into the netlist, each before the first ``fault_images``; noticed: of which an answer of the images was wrong or missing. seed: of both draws.
        netlist: SHA-256 of it.
    """

    images: int
    values: int
    mismatches: int
    clocks: int
    seconds: float
    netlist: str
    seed: int
    faults: int = 0
    fault_images: int = 0
    noticed: int = 0
    unnoticed: list[StuckNet] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class GateLevelOptions:
    """What goes through a netlist.

    Attributes:
        images: so many. source: a file or folder of images; by default those that the build was verified with, random ones where these
            were. faults: stuck nets, one at a time, that the first :data:`FAULT_IMAGES` images meet. seed: of all that is drawn.
    """

    images: int = 10
    source: Path | None = None
    faults: int = 0
    seed: int = 0


@dataclass(frozen=True)
class RoutedBoard:
    """A build and the netlist that its bitstream was made of.

    Attributes:
        folder: of the bitstream. summary: its ``board.json``. side: of the host. link: to boards that are simulated.
    """

    folder: Path
    summary: BoardSummary
    side: HostSide
    link: BoardHost

    @property
    def netlist(self) -> Path:
        """What nextpnr wrote."""
        return self.folder / NETLIST

    @classmethod
    def of(cls, build_dir: Path, folder: Path | None = None) -> RoutedBoard:
        """Of a build, with its bitstream in ``folder``, by default ``bitstream`` in the build.

        Raises:
            UserError: there is no build or no bitstream, or it is of another design.
        """
        folder = folder or build_dir / FOLDER
        summary = read_board(folder)
        design = StitchedDesign.load(BuildFolder(Path(build_dir).resolve()).stitched)
        if design.number != summary.design:
            raise UserError(f"{folder} is of another design than {build_dir}: make the bitstream again")
        link = BoardHost(design.input, design.output, summary.bit_256ths, 2 * design.silent_cycles)
        routed = cls(folder, summary, HostSide.of(design), link)
        return routed.loaded(design.folder / CONTENTS) if design.loads else routed

    def loaded(self, contents: Path) -> RoutedBoard:
        """The same, whose boards are loaded with ``contents`` before their first image."""
        return replace(self, link=replace(self.link, load=tuple(accesses(contents.read_bytes()))))


def gate_level(build_dir: Path, options: GateLevelOptions, folder: Path | None = None) -> GateLevel:
    """Send images of a build through its routed netlist, and compare the logits with the integers of the network.

    Args:
        folder: of the bitstream; by default ``bitstream`` in the build.
    Raises:
        UserError: there is no build or no bitstream, or it is of another design.
        AnswerIsNo: logits differ, or answers are missing.
    """
    routed, build, seed = RoutedBoard.of(build_dir, folder), BuildFolder(Path(build_dir).resolve()), options.seed
    side, link, netlist = routed.side, routed.link, routed.netlist
    output = side.design.output
    pixels = _pixels(build, options, side.shape, output.tokens * output.channels)
    payloads, wanted = side.payloads(pixels), network_logits(build, side.patches(pixels))
    started = time.monotonic()
    answers = link.ask(compile_netlist(netlist), payloads)
    seconds = time.monotonic() - started
    wrong = int(np.count_nonzero(answers.logits != wanted))
    found = GateLevel(len(pixels), wanted.size, wrong, answers.clocks, round(seconds, 1), routed.summary.files[NETLIST], seed)
    progress.line(f"{wrong} of {wanted.size:,} logits of {len(pixels)} images differ")
    if wrong:
        missing = len(pixels) - int(np.count_nonzero(answers.came))
        raise AnswerIsNo(
            f"the routed netlist differs from the network in {wrong} of {wanted.size:,} logits; {missing} images have no answer"
        )
    if options.faults:
        drawn = RoutedNetlist.load(netlist).faults(options.faults, seed)
        some = min(FAULT_IMAGES, len(payloads))
        seen = link.notice(compile_netlist(netlist, drawn), drawn, payloads[:some], wanted[:some])
        left = [fault for fault, noticed in zip(drawn, seen) if not noticed]
        found = replace(found, faults=options.faults, fault_images=some, noticed=sum(seen), unnoticed=left)
        progress.line(f"{sum(seen)} of {options.faults} faults were noticed")
    write_json(routed.folder / RESULT, found.as_dict())
    return found


def _pixels(build: BuildFolder, options: GateLevelOptions, shape: list[int], classes: int) -> np.ndarray:
    """The images, uint8 ``[F, H, W, C]``."""
    settings = build.settings.load()
    source = options.source or (settings.images if settings else None)
    if source is None:
        return np.random.default_rng(options.seed).integers(0, 256, (options.images, *shape[1:]), dtype=np.uint8)
    return BuildImages(source, options.images, options.seed).load(shape, classes).pixels


def network_logits(build: BuildFolder, patches: np.ndarray) -> np.ndarray:
    """What the network's integers give, int64 ``[F, classes]``: the golden models of the hardware graph, without any RTL."""
    graph = ModelWrapper(str(build.intermediate_models / "step_stitch.onnx"))
    found = golden.run(graph, {graph.graph.input[0].name: patches})
    return found[graph.graph.output[0].name].reshape(len(patches), -1)
