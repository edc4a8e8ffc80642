"""One design, many networks: DeiT-Small at several keep rates, each loaded into a design that has room for the dense network.

Every network of :data:`.deit_models.LOADED` is simulated on the design (docs/loading.md, "Other networks"), and its logits are
compared with those of its integer graph.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from builds.experiments.deit_models import DISTILLED, LOADED, DeitNetwork, ModelFolder
from builds.experiments.deit_plans import MHZ
from builds.experiments.deit_reference import MODELLED, ROWS
from builds.experiments.study import Study
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.simulate import simulated_run
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.execute import golden
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.transforms.engines.bind import ARRAY, EMBEDS
from finn_vitprune.transforms.planning.partition import shared_in

IMAGES = 4
TITLE = "One design, several networks"
TEXT = """A design for DeiT-Small at 8 bits, r_b = r_t = .5, one engine, on the bare U250, with room for the dense network, is loaded with
networks of other keep rates. The plan minimises the time of one image within LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85, room included.
{units}The simulator runs the units in turn on {images} random images, back to back. The logits are compared with those of each network's integer
graph. Times assume {mhz} MHz.

```
{commands}
```

The design takes {use} of the part, by estimate.
"""
COMMANDS = """python -m builds.experiments.deit models --models DIR
finn-vitprune build DIR/deit_small_w8a8_b16_rb0.5_rt0.5.onnx --fpga-part xcu250-figd2104-2L-e --clk-ns 3.333 \\
    --engines 1 --goal latency --budget LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85 --reserve dense --synth none --max-images 12 -o BUILD
python -m builds.experiments.deit loaded --models DIR --build BUILD -o builds/results/deit_loaded"""
ON_ARRAY = "All matrices and the patch embedding are on one unit (an array). "


@dataclass(frozen=True)
class LoadedRow:
    """A network on the design: what it was loaded with, and what the simulation showed, in cycles of the design's clock."""

    design: str
    words: int
    images: int
    mismatches: int
    latency_cycles: int
    interval_cycles: float
    minutes: float

    @property
    def milliseconds(self) -> float:
        return self.latency_cycles / (MHZ * 1e3)

    @property
    def rate(self) -> float:
        """Images a second."""
        return MHZ * 1e6 / self.interval_cycles


def study(folder: ModelFolder, build: Path) -> Study[DeitNetwork, LoadedRow]:
    """The networks on the design in ``build``; rows of another design do not hold."""
    number = f"{StitchedDesign.load(BuildFolder(build.resolve()).stitched).loads[0].design:#010x}"
    return Study(
        {network.name: network for network in LOADED}, LoadedRow, lambda network: loaded(network, folder, build, number), tables,
        TITLE, text_of(Summary.load(build)),
        lambda row: f"{row.mismatches} mismatches of {row.images} images, {row.milliseconds:.3f} ms",
        holds=lambda _, row: row.design == number,
    )  # fmt: skip


def loaded(network: DeitNetwork, folder: ModelFolder, build: Path, number: str) -> LoadedRow:
    """Load the design in ``build`` with a network and simulate it."""
    start = time.monotonic()
    contents = contents_of(folder.qonnx(network), build).contents
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 224, 224, 3), dtype=np.uint8)
    with TemporaryDirectory() as tmp:
        contents.write(file := Path(tmp) / "contents.bin")
        run = simulated_run(build, images, file)
    hardware = ModelWrapper(str(folder.hardware(network)))
    host = StitchedDesign.load(BuildFolder(build.resolve()).stitched).host()
    expected = golden.run(hardware, {hardware.graph.node[0].input[0]: to_patches(host, images)})[hardware.graph.output[0].name]
    wrong = int((run.logits != expected.reshape(run.logits.shape)).any(-1).sum())
    return LoadedRow(
        number, len(contents.data), IMAGES, wrong, int(run.latency_cycles), float(run.interval_cycles),
        (time.monotonic() - start) / 60,
    )  # fmt: skip


def tables(rows: Mapping[str, LoadedRow]) -> list[TextTable]:
    """A row a network that was simulated, beside the reference."""
    reference = {row.network.rates: row for row in ROWS}
    lines = []
    for network in LOADED:
        if (row := rows.get(network.name)) is not None:
            theirs = reference.get(network.rates)
            lines.append(
                (
                    network.setting,
                    f"{row.words:,}",
                    f"{row.mismatches} of {row.images}",
                    f"{row.latency_cycles:,}",
                    f"{row.interval_cycles:,.0f}",
                    f"{row.milliseconds:.3f}",
                    f"{row.rate:,.0f}",
                    *((f"{theirs.milliseconds:.3f}", f"{theirs.images_per_second:,.0f}") if theirs else ("", "")),
                    f"{row.minutes:.0f}",
                )
            )
    columns = (
        "network", "words loaded", "images that differ", "latency", "interval", "ms", "images/s", "ms (ref.)", "images/s (ref.)",
        "minutes",
    )  # fmt: skip
    return [TextTable("Networks", columns, tuple(lines), f"Reference: {MODELLED}; its network is {DISTILLED}.")]


def text_of(design: Summary) -> str:
    """The text of the page of a design."""
    on_array = shared_in(node.node for node in design.nodes) == f"{ARRAY}{EMBEDS}"
    return TEXT.format(mhz=MHZ, images=IMAGES, commands=COMMANDS, use=use(design), units=ON_ARRAY if on_array else "")


def use(summary: Summary) -> str:
    """Shares of the part that the design takes."""
    kinds = {kind: (getattr(summary.resources, kind), getattr(summary.part, kind)) for kind in ("LUT", "DSP", "BRAM36", "URAM")}
    return ", ".join(f"{100 * taken / offered:.1f} % of {kind}" for kind, (taken, offered) in kinds.items())
