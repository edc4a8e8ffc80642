"""The examples on engines: every image bit for bit, cycles beside the plan, rate and latency beside the pipeline's.

``make engines`` runs ``python -m builds.experiments.engines``. Every setting is a build of its own, folded so that all have about
as many products a cycle as the pipeline; what is built already is not built again.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

import finn_vitprune.plugin
from builds.experiments.study import Only, Output, Study, start
from finn_vitprune import builds as build_package
from finn_vitprune import custom_ops, transforms
from finn_vitprune.builds.build import EXAMPLE, BuildOptions, build
from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.errors import AnswerIsNo
from finn_vitprune.files import write_text
from finn_vitprune.report.summary import FILE, Summary
from finn_vitprune.report.tables import TextTable
from finn_vitprune.sim.toolchain import digest

PART = "xcu250-figd2104-2L-e"
CLK_NS = 4.0
WITHIN = 0.02
"""Share by which cycles may differ from the plan's."""
PRODUCTS = 0.15
"""Share by which the products of a setting may differ from the pipeline's."""
TRIES = 10

FMNIST, FMNIST_IMAGES, FMNIST_FPS = "deit_fmnist.onnx", 300, 8000

TITLE = "The examples on engines"
TEXT = f"""The bundled digits example (four encoders, tokens dropped in two), all 360 held-out images in Verilator, part {PART},
{CLK_NS:g} ns. Every setting is folded for about as many products a cycle as the pipeline, which `make demo` builds.
`docs/engines.md` says what the settings mean. With four engines every engine has one encoder: that is the pipeline, built
once, whatever is in flight.

```
make engines
```

The Fashion-MNIST example (six encoders) runs on one engine, with {FMNIST_IMAGES} images. Interval and latency are measured \
in cycles, and
what the plan says is beside them. Resources are estimates."""


@dataclass(frozen=True)
class Setting:
    """Engines and images in flight of a model of the examples, the digits without it; ``folder`` is what its build is called."""

    engines: int
    frames_in_flight: int
    model: str = ""

    @property
    def folder(self) -> str:
        return f"{Path(self.model).stem or 'digits'}_{self.engines}_{self.frames_in_flight}"


@dataclass(frozen=True)
class EngineRun:
    """What a build of a setting measured, and what its plan said; ``products`` of a cycle."""

    engines: int
    frames_in_flight: int
    images: int
    mismatches: int
    interval: float
    interval_planned: int
    latency: int
    latency_planned: int
    products: int
    LUT: int
    DSP: int
    BRAM36: float

    @property
    def error(self) -> float:
        """Largest share by which cycles differ from the plan's."""
        pairs = ((self.interval, self.interval_planned), (self.latency, self.latency_planned))
        return max(abs(measured / planned - 1) for measured, planned in pairs)

    @property
    def said(self) -> str:
        """Whether it is right, in a few words."""
        return f"{self.mismatches} mismatches, cycles {self.error:.1%} from the plan"


SOURCES = "sources.sha256"
"""Of what code a build is; one of other code is made again."""
PIPELINE = Setting(4, 1)
ENGINES = tuple(Setting(engines, frames) for engines in (1, 2) for frames in (1, 2))
SETTINGS = {s.folder: s for s in (PIPELINE, *ENGINES, Setting(1, 2, FMNIST))}


def main(
    output: Output = Path("builds/results/engines"),
    only: Only = None,
    builds: Annotated[Path, typer.Option(help="Folder of the builds.")] = Path("build/engines"),
    max_images: Annotated[int | None, typer.Option(min=1, help="Of a build; by default all, of Fashion-MNIST 300.")] = None,
) -> None:
    """Build, measure, compare and write.

    Raises:
        AnswerIsNo: an image differs, or cycles are not as planned.
    """
    rows = study(builds, max_images).go(output, only)
    if wrong := {name: row for name, row in rows.items() if row.mismatches or row.error > WITHIN}:
        raise AnswerIsNo("; ".join(f"{name}: {row.said}" for name, row in wrong.items()))


def study(builds: Path, images: int | None) -> Study[Setting, EngineRun]:
    """All settings; a row holds while its build is there and of this code."""
    return Study(
        SETTINGS, EngineRun, lambda setting: measured(setting, builds, images), tables, TITLE, TEXT,
        lambda row: row.said, lambda setting, _: is_built(builds / setting.folder), plots={"engines.png": figure_of},
    )  # fmt: skip


def measured(setting: Setting, builds: Path, images: int | None) -> EngineRun:
    """The row of a setting."""
    if setting.model:
        return run(setting, builds, images or FMNIST_IMAGES, FMNIST_FPS)
    pipeline = run(PIPELINE, builds, images, None)
    return pipeline if setting == PIPELINE else balanced(setting, builds, images, pipeline)


def balanced(setting: Setting, builds: Path, images: int | None, pipeline: EngineRun) -> EngineRun:
    """A setting at about the products of the pipeline: the rate to plan for is looked for first, between one with fewer products
    and one with more; of those tried the closest counts."""
    if is_built(builds / setting.folder):
        return run(setting, builds, images, None)
    fps, low, high = 1e9 / CLK_NS / (pipeline.interval * 4 / setting.engines), 0.0, math.inf
    found: dict[float, float] = {}
    for _ in range(TRIES):
        found[fps] = planned_products(setting, builds, fps) / pipeline.products
        if abs(found[fps] - 1) <= PRODUCTS:
            break
        low, high = (fps, high) if found[fps] < 1 else (low, fps)
        fps = 2 * low if high == math.inf else high / 2 if low == 0 else math.sqrt(low * high)
    return run(setting, builds, images, min(found, key=lambda fps: abs(math.log(found[fps]))))


def is_built(folder: Path) -> bool:
    """Whether a whole build of this code is there."""
    stamp = folder / SOURCES
    same = stamp.is_file() and stamp.read_text() == sources()
    return same and (folder / FILE).is_file() and Summary.load(folder).verify is not None


@cache
def sources() -> str:
    """Digest of all code that a build hangs on."""
    roots = {Path(path) for package in (finn_vitprune, build_package, custom_ops, transforms) for path in package.__path__}
    files = sorted(path for root in roots for kind in ("*.py", "*.sv", "*.cpp") for path in root.rglob(kind))
    return digest(*(path.read_bytes() for path in files))


def planned_products(setting: Setting, builds: Path, fps: float) -> int:
    """Products of a build up to its estimates, which is not kept."""
    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="planned-", dir=builds) as folder:
        return products(build(_options(setting, Path(folder), fps, None, estimate_only=True)))


def run(setting: Setting, builds: Path, images: int | None, fps: float | None) -> EngineRun:
    """A whole build; one that is there is read."""
    folder = builds / setting.folder
    if not is_built(folder):
        build(_options(setting, folder, fps, images))
        write_text(folder / SOURCES, sources())
    summary = Summary.load(folder)
    used = summary.resources
    return EngineRun(
        setting.engines, setting.frames_in_flight, summary.verify.images, summary.verify.rtl_mismatches,
        summary.rtlsim.interval_cycles, summary.plan.interval_cycles, summary.rtlsim.latency_cycles, summary.plan.latency_cycles,
        products(folder), used.LUT, used.DSP, used.BRAM36,
    )  # fmt: skip


def _options(setting: Setting, folder: Path, fps: float | None, images: int | None, estimate_only: bool = False) -> BuildOptions:
    return BuildOptions(
        model=EXAMPLE / setting.model if setting.model else None, output_dir=folder, fpga_part=PART, clk_ns=CLK_NS, target_fps=fps and math.ceil(fps),
        estimate_only=estimate_only,
        engines=setting.engines, frames_in_flight=setting.frames_in_flight, synth="none", max_images=images,
    )  # fmt: skip


def products(folder: Path) -> int:
    """Products a cycle of all units of a build."""
    model = flattened(ModelWrapper(str(folder / "intermediate_models" / "step_insert_streams.onnx")))
    ops = [getCustomOp(node) for node in model.graph.node]
    return sum(op.folding().products_per_cycle for op in ops if op.macs())


def tables(rows: Mapping[str, EngineRun]) -> list[TextTable]:
    """The digits, the pipeline with two in flight too, which is the same; Fashion-MNIST."""
    digits = [row for name, row in rows.items() if not SETTINGS[name].model]
    if pipeline := rows.get(PIPELINE.folder):
        digits.insert(1, replace(pipeline, frames_in_flight=2))
    return [_table("Digits", digits), _table("Fashion-MNIST", [row for name, row in rows.items() if SETTINGS[name].model])]


def _table(title: str, runs: list[EngineRun]) -> TextTable:
    rows = [
        (
            str(r.engines), str(r.frames_in_flight), f"{r.mismatches} of {r.images} images", f"{r.interval:,.1f}",
            f"{r.interval_planned:,}", f"{r.latency:,}", f"{r.latency_planned:,}", f"{1e9 / CLK_NS / r.interval:,.0f}",
            f"{r.latency * CLK_NS / 1e3:,.1f}", f"{r.products:,}", f"{r.LUT:,}", f"{r.DSP:,}", f"{r.BRAM36:g}",
        )
        for r in runs
    ]  # fmt: skip
    heads = (
        "engines", "in flight", "mismatches", "interval", "planned", "latency", "planned", "images/s", "latency us", "products",
        "LUT", "DSP", "BRAM36",
    )  # fmt: skip
    return TextTable(title, heads, tuple(rows))


def figure_of(rows: Mapping[str, EngineRun]) -> Figure:
    """Rate against latency on the digits."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, r in rows.items():
        if not SETTINGS[name].model:
            engines = f"{r.engines} engine{'s' * (r.engines > 1)}"
            label = "pipeline" if SETTINGS[name] == PIPELINE else f"{engines}, {r.frames_in_flight} in flight"
            axes.plot(r.latency * CLK_NS / 1e3, 1e6 / CLK_NS / r.interval, "o", label=label)
    axes.set(xlabel="latency of a lone image (us)", ylabel="images a millisecond", xlim=(0, None), ylim=(0, None))
    axes.legend()
    return figure


if __name__ == "__main__":
    start(lambda: typer.run(main))
