"""One design, many networks: DeiT-Small at several keep rates, each loaded into a design that has room for the dense network.

``python -m finn_vitprune.builds.experiments.deit_loaded --models DIR --build BUILD -o builds/results/deit_loaded`` simulates every
network of :data:`.deit_models.LOADED` on the design in ``BUILD`` (docs/loading.md, "Other networks") and compares its logits with those
of its integer graph. What ``results.json`` holds of the same design is not simulated again.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from pydantic import TypeAdapter
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune import progress
from finn_vitprune.builds.experiments.deit_models import DISTILLED, LOADED, DeitNetwork, ModelFolder
from finn_vitprune.builds.experiments.deit_plans import MHZ
from finn_vitprune.builds.experiments.deit_reference import MODELLED, ROWS
from finn_vitprune.builds.experiments.deit_tables import setting
from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.builds.simulate import simulated_run
from finn_vitprune.builds.stitch import StitchedDesign
from finn_vitprune.execute import golden
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable, to_markdown

IMAGES = 4
TITLE = "One design, several networks"
TEXT = """A design for DeiT-Small at 8 bits, r_b = r_t = .5, one engine, on the U250, with room for the dense network, is loaded with
networks of other keep rates. Its folds are those of the same design without room (deit_engines, one image in flight, latency), which was
planned within LUT=0.68,DSP=0.85,BRAM=0.55,URAM=0.6, so that with the room it stays within the budget. Simulated unit by unit at {mhz} MHz
with {images} random images back to back; the logits are compared with those of each network's integer graph.

```
{commands}
```

The design takes {use} of the part, by estimate.
"""
COMMANDS = """python -m finn_vitprune.builds.experiments.deit models --models DIR
finn-vitprune build DIR/deit_small_w8a8_b16_rb0.5_rt0.5.onnx --fpga-part U250 --clk-ns 3.333 --engines 1 --goal latency \\
    --budget LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85 --reserve dense --synth none --max-images 4 \\
    --folding builds/results/deit_engines/w8a8_engine1_latency_folding.json -o BUILD
python -m finn_vitprune.builds.experiments.deit_loaded --models DIR --build BUILD -o builds/results/deit_loaded"""


@dataclass(frozen=True)
class LoadedRow:
    """A network on the design: what it was loaded with, and what the simulation showed. Cycles are those of the design's clock."""

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


_ROWS = TypeAdapter(dict[str, LoadedRow])


def main(
    models: Annotated[Path, typer.Option(help="Folder of the networks.")],
    build: Annotated[Path, typer.Option(help="Folder of the design.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results.json and RESULTS.md.")],
    only: Annotated[str, typer.Option(help="Only networks whose name holds this text.")] = "",
) -> None:
    """Load and simulate what is not simulated yet on this design, and write the table."""
    path, folder = output / "results.json", ModelFolder(models)
    rows = _ROWS.validate_json(path.read_bytes()) if path.is_file() else {}
    number = f"{StitchedDesign.load(BuildFolder(build.resolve()).stitched).loads[0].design:#010x}"
    for network in LOADED:
        if only not in network.name or (network.name in rows and rows[network.name].design == number):
            continue
        rows[network.name] = row = loaded(network, folder, build, number)
        progress.line(f"{network.name}: {row.mismatches} mismatches of {row.images} images, {row.milliseconds:.3f} ms")
        write_json(path, {name: asdict(found) for name, found in rows.items()}, indent=1)
        write_text(output / "RESULTS.md", markdown(rows, Summary.load(build)))


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
        number, len(contents.data), IMAGES, wrong, int(run.latency_cycles), float(run.interval_cycles), (time.monotonic() - start) / 60
    )


def markdown(rows: dict[str, LoadedRow], summary: Summary) -> str:
    """The page of what is known."""
    reference = {(row.network.block, row.network.block_keep, row.network.token_keep): row for row in ROWS}
    lines = []
    for network in LOADED:
        if (row := rows.get(network.name)) is not None:
            theirs = reference.get((network.block, network.block_keep, network.token_keep))
            lines.append((
                setting(network), f"{row.words:,}", f"{row.mismatches} of {row.images}", f"{row.latency_cycles:,}",
                f"{row.interval_cycles:,.0f}", f"{row.milliseconds:.3f}", f"{row.rate:,.0f}",
                f"{theirs.milliseconds:.3f}" if theirs else "", f"{theirs.images_per_second:,.0f}" if theirs else "", f"{row.minutes:.0f}",
            ))
    columns = (
        "network", "words loaded", "images that differ", "latency", "interval", "ms", "images/s", "ms (ref.)", "images/s (ref.)", "minutes",
    )  # fmt: skip
    note = f"Reference: {MODELLED}; its network is {DISTILLED}."
    text = TEXT.format(mhz=MHZ, images=IMAGES, commands=COMMANDS, use=use(summary))
    return to_markdown(TITLE, text, [TextTable("Networks", columns, tuple(lines), note)])


def use(summary: Summary) -> str:
    """Shares of the part that the design takes."""
    kinds = {kind: (getattr(summary.resources, kind), getattr(summary.part, kind)) for kind in ("LUT", "DSP", "BRAM36", "URAM")}
    return ", ".join(f"{100 * taken / offered:.1f} % of {kind}" for kind, (taken, offered) in kinds.items())


if __name__ == "__main__":
    typer.run(main)
