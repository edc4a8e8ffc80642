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
from finn_vitprune.builds.bitstream import FOLDER, read_board
from finn_vitprune.builds.images import BuildImages, input_shape, to_patches
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.errors import AnswerIsNo, UserError
from finn_vitprune.execute import golden
from finn_vitprune.files import write_json
from finn_vitprune.sim.beats import pack

RESULT = "gate_level.json"
FAULT_IMAGES = 8
"""Each fault meets the first images, at most so many."""


@dataclass(frozen=True)
class GateLevel:
    """What the routed netlist of a build showed.

    Attributes:
        images, values: that were compared: images, and logits. mismatches: logits that differ, or did not come.
        clocks: of the simulation, in which boards ran side by side. seconds: of it.
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


def gate_level(build_dir: Path, options: GateLevelOptions, folder: Path | None = None) -> GateLevel:
    """Send images of a build through its routed netlist, and compare the logits with the integers of the network.

    Args:
        folder: of the bitstream; by default ``bitstream`` in the build.
    Raises:
        UserError: there is no build or no bitstream, or it is of another design.
        AnswerIsNo: logits differ, or answers are missing.
    """
    folder = folder or build_dir / FOLDER
    board = read_board(folder)
    build = BuildFolder(Path(build_dir).resolve())
    design = StitchedDesign.load(build.stitched)
    if design.number != board.design:
        raise UserError(f"{folder} is of another design than {build_dir}: make the bitstream again")
    host, seed = design.host(), options.seed
    pixels = _pixels(build, options, input_shape(host), design.output.tokens * design.output.channels)
    patches = to_patches(host, pixels)
    payloads = [beats.tobytes() for beats in pack(patches, design.input).reshape(len(pixels), -1)]
    wanted = network_logits(build, patches)
    link = BoardHost(design.input, design.output, board.bit_256ths, 2 * design.silent_cycles)
    netlist = folder / NETLIST
    started = time.monotonic()
    answers = link.ask(compile_netlist(netlist), payloads)
    seconds = time.monotonic() - started
    wrong = int(np.count_nonzero(answers.logits != wanted))
    found = GateLevel(len(pixels), wanted.size, wrong, answers.clocks, round(seconds, 1), board.files[NETLIST], seed)
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
    write_json(folder / RESULT, found.as_dict())
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
