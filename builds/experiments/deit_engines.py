"""Plans of DeiT on engines: DeiT-Small on 1, 2, 3, 4 and 12 side by side, the reference's settings on one, small parts.

``python -m finn_vitprune.builds.experiments.deit_engines --models DIR -o builds/results/deit_engines``, where ``DIR`` has the networks
(``python -m finn_vitprune.builds.experiments.deit models --models DIR``). What ``results.json`` holds is not planned again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune import progress
from finn_vitprune.builds.experiments.deit_models import HALVES, TINIES, DeitNetwork, ModelFolder
from finn_vitprune.builds.experiments.deit_plans import BUDGET, MHZ, budget_text
from finn_vitprune.builds.experiments.deit_reference import MODELLED, ROWS
from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file, write_json, write_text
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.choose_engines import planned_design
from finn_vitprune.transforms.plan_options import KINDS, PlanOptions

U250 = "U250"
PIPELINE = 12
"""Engines, each of one encoder: hardware for every encoder."""

SUMMARY = "_summary.json"
TITLE = "DeiT on engines"
TEXT = """Plans at {mhz} MHz, within {budget}: interval and latency by formula, resources by estimate.
`docs/engines.md` says what the settings mean, and how a plan is found.

```
python -m finn_vitprune.builds.experiments.deit models --models DIR
python -m finn_vitprune.builds.experiments.deit_engines --models DIR -o builds/results/deit_engines
```

{known} of {settings} settings are planned. Minutes are processor time of the plan, on a busy machine. The pipeline and as many
engines as the part has SLRs are planned SLR by SLR; for fewer engines the part counts as a whole.

![Rate against latency](deit_engines.png)
"""


@dataclass(frozen=True)
class EngineSetting:
    """A network on engines of a part, each with some images in flight, and what the plan is for."""

    network: DeitNetwork
    engines: int = 1
    frames_in_flight: int = 1
    goal: str = "latency"
    part: str = U250

    @property
    def key(self) -> str:
        """What ``results.json`` knows it by."""
        return f"{self.network.name}, {self.part}, {self.engines} engines, {self.frames_in_flight} in flight, {self.goal}"


@dataclass(frozen=True)
class PlanRow:
    """What the plan of a setting gives: cycles, shares of the part by resource, minutes that it took.

    ``help``: what would make one fit that does not.
    """

    bits: int
    engines: int
    frames_in_flight: int
    goal: str
    fits: bool
    interval: int
    latency: int
    shares: dict[str, float]
    minutes: float
    help: str = ""

    @property
    def rate(self) -> float:
        """Images a second."""
        return MHZ * 1e6 / self.interval

    @property
    def milliseconds(self) -> float:
        return self.latency / (MHZ * 1e3)

    @property
    def percents(self) -> tuple[str, ...]:
        """Shares of the part, by resource."""
        return tuple(f"{100 * self.shares[kind]:.1f}" for kind in KINDS)


SIDE_BY_SIDE = tuple(
    setting
    for network in HALVES
    for setting in (
        *(EngineSetting(network, engines) for engines in (1, 2, 3, 4)),
        EngineSetting(network, 1, 2),
        *(EngineSetting(network, engines, 2, "throughput") for engines in (1, 2, 3, 4)),
        EngineSetting(network, PIPELINE, 1, "throughput"),
    )
)
"""DeiT-Small, r_b = r_t = .5, on the U250."""
REFERENCES = {EngineSetting(row.network): row for row in ROWS}
"""The reference's settings, each on one engine."""
SMALL_PARTS = tuple(
    EngineSetting(network, part=part)
    for part, networks in (("ZCU104", (*TINIES, *HALVES)), ("U50", HALVES))
    for network in networks
)
SETTINGS = (*SIDE_BY_SIDE, *REFERENCES, *SMALL_PARTS)
SIMULATED = {
    EngineSetting(HALVES[0]): "w8a8_engine1_latency",
    EngineSetting(HALVES[0], 1, 2): "w8a8_engine1_frames2",
    EngineSetting(HALVES[1], 1, 2): "w4a4_engine1_frames2",
    EngineSetting(TINIES[0], part="ZCU104"): "tiny_w8a8_zcu104",
}
"""Builds that were simulated, and the names of their summaries: ``<name>_summary.json`` beside ``results.json``."""


def main(
    models: Annotated[Path, typer.Option(help="Folder of the networks.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results.json, RESULTS.md and the plot.")],
    only: Annotated[str, typer.Option(help="Only settings whose name holds this text.")] = "",
) -> None:
    """Plan what is not planned yet, and write tables and plot."""
    path = output / "results.json"
    rows = plan_rows(path) if path.is_file() else {}
    for setting in SETTINGS:
        if setting.key in rows or only not in setting.key:
            continue
        rows[setting.key] = planned(setting, ModelFolder(models))
        progress.line(f"{setting.key}: {rows[setting.key].rate:,.0f} images/s, {rows[setting.key].milliseconds:.3f} ms")
        write_json(path, {key: asdict(row) for key, row in rows.items()}, indent=1)
    with whole_file(output / "deit_engines.png") as partial:
        figure_of(rows).savefig(partial, format="png", dpi=150)
    known = sum(setting.key in rows for setting in SETTINGS)
    text = TEXT.format(mhz=MHZ, budget=budget_text(BUDGET), known=known, settings=len(SETTINGS))
    tables = [simulated(output), *(table(rows) for table in (side_by_side, references, small_parts))]
    write_text(output / "RESULTS.md", to_markdown(TITLE, text, [table for table in tables if table.rows]))


def plan_rows(path: Path) -> dict[str, PlanRow]:
    """What ``results.json`` holds, by the name of the setting."""
    return {key: PlanRow(**row) for key, row in json.loads(path.read_text()).items()}


def planned(setting: EngineSetting, folder: ModelFolder) -> PlanRow:
    """Plan a setting.

    Raises:
        UserError: its network is not made yet.
    """
    if folder.made(setting.network) is None:
        raise UserError(f"the network {setting.network.name} is not in {folder.path}: make it with the command models of deit first")
    model, part = ModelWrapper(str(folder.hardware(setting.network))), get_part(setting.part)
    started = time.process_time()
    engines = None if setting.engines == PIPELINE else setting.engines
    options = PlanOptions(goal=setting.goal, budget=Budget(**dict(BUDGET)), explain=engines is not None)
    design = planned_design(model, part, options, engines, setting.frames_in_flight)
    minutes = (time.process_time() - started) / 60
    choice = design.choice
    return PlanRow(
        setting.network.bits, setting.engines, setting.frames_in_flight, setting.goal, choice.fits, choice.interval_cycles,
        choice.latency_cycles, design.shares, round(minutes, 1), "; ".join(design.said.relief),
    )  # fmt: skip


def simulated(folder: Path) -> TextTable:
    """A row a build of :data:`SIMULATED` whose summary is in the folder."""
    cells = []
    for setting, name in SIMULATED.items():
        if (path := folder / f"{name}{SUMMARY}").is_file():
            s = Summary.load(path)
            verify, r, bits = s.verify, s.rtlsim, setting.network.bits
            units = f"{verify.units.beats:,}" if verify.units else ""
            taken = (f"{100 * getattr(s.resources, kind) / getattr(s.part, kind):.1f}" for kind in ("LUT", "DSP", "BRAM36", "URAM"))
            cells.append((
                setting.network.title, f"{bits}/{bits}", setting.part, str(setting.frames_in_flight), f"{s.plan.interval_cycles:,}",
                f"{r.interval_cycles:,.0f}", f"{s.plan.latency_cycles:,}", f"{r.latency_cycles:,}", f"{MHZ * 1e6 / r.interval_cycles:,.0f}",
                f"{r.latency_cycles / (MHZ * 1e3):.3f}", f"{verify.images}", f"{verify.stalled_images}",
                f"{verify.traced_streams} on {verify.traced_images}", units, f"{verify.rtl_mismatches:,}", *taken,
                s.resources.tool, budget_text(s.plan.budget.items()),
            ))  # fmt: skip
    heads = (
        "network", "bits", "board", "in flight", "interval, planned", "interval", "latency, planned", "latency", "images/s", "ms", "images",
        "with stalls", "streams compared", "beats of units alone", "differ", *(f"{k}, %" for k in KINDS), "by", "budget",
    )  # fmt: skip
    note = (
        "Built with `finn-vitprune build MODEL --fpga-part BOARD --clk-ns 3.333 --engines 1 --frames-in-flight N --goal latency --budget "
        "BUDGET --max-images 12`, and with `--synth none` where resources are estimates. A plan made today may differ: that of a row "
        "is the build's own."
    )
    return TextTable("Simulated in every bit, one engine, b 16, r_b = r_t = .5", heads, tuple(cells), note)


def side_by_side(rows: Mapping[str, PlanRow]) -> TextTable:
    """A row a plan of DeiT-Small."""
    cells = [
        (
            f"{r.bits}/{r.bits}", str(r.engines), str(r.frames_in_flight), r.goal, f"{r.interval:,}", f"{r.latency:,}", f"{r.rate:,.0f}",
            f"{r.milliseconds:.3f}", *r.percents, _yes(r.fits), f"{r.minutes:g}",
        )
        for r in (rows[setting.key] for setting in SIDE_BY_SIDE if setting.key in rows)
    ]  # fmt: skip
    heads = (
        "bits", "engines", "in flight", "goal", "interval", "latency", "images/s", "ms", *(f"{k}, %" for k in KINDS), "fits", "minutes",
    )  # fmt: skip
    note = f"{PIPELINE} engines have one encoder each: that is the pipeline."
    return TextTable("DeiT-Small on the U250, b 16, r_b = r_t = .5", heads, tuple(cells), note)


def references(rows: Mapping[str, PlanRow]) -> TextTable:
    """The reference's settings on one engine, beside its own latency."""
    cells = [
        (
            f"{ref.network.block}, {ref.network.block_keep}, {ref.network.token_keep}", f"{r.latency:,}", f"{r.milliseconds:.3f}",
            f"{ref.milliseconds:.3f}", f"{ref.milliseconds / r.milliseconds:.1f}", f"{r.rate:,.0f}", f"{ref.images_per_second:,.1f}",
            *r.percents, _yes(r.fits),
        )
        for ref, r in ((ref, rows[setting.key]) for setting, ref in REFERENCES.items() if setting.key in rows)
    ]  # fmt: skip
    heads = (
        "b, r_b, r_t", "latency", "ms", "ms (ref.)", "times faster", "images/s", "images/s (ref.)", *(f"{k}, %" for k in KINDS), "fits",
    )  # fmt: skip
    note = (
        f"(ref.): Parikh et al., FCCM 2024: {MODELLED}, one image at a time. The engine works on one image at a time, too, planned for "
        "latency."
    )
    return TextTable("The reference's 14 settings on one engine: DeiT-Small, 198 tokens, 8/8 bits, on the U250", heads, tuple(cells), note)


def small_parts(rows: Mapping[str, PlanRow]) -> TextTable:
    """One engine on parts of less room."""
    cells = []
    for setting in SMALL_PARTS:
        if (r := rows.get(setting.key)) is not None:
            rate = (f"{r.rate:,.0f}", f"{r.milliseconds:.3f}") if r.fits else ("", "")
            cells.append((setting.network.title, f"{r.bits}/{r.bits}", setting.part, _yes(r.fits), *rate, *r.percents, r.help))
    heads = ("network", "bits", "board", "fits", "images/s", "ms", *(f"{k}, %" for k in KINDS), "what would help")
    note = (
        "b 16, r_b = r_t = .5, one engine, one image in flight, planned for latency. Where nothing fits, the shares are those of about the "
        "smallest plan."
    )
    return TextTable("Small parts", heads, tuple(cells), note)


def _yes(fits: bool) -> str:
    return "yes" if fits else "no"


def figure_of(plans: Mapping[str, PlanRow]) -> Figure:
    """Rate against latency of the plans side by side."""
    rows = [plans[setting.key] for setting in SIDE_BY_SIDE if setting.key in plans]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for bits, marker in ((8, "o"), (4, "s")):
        if own := [r for r in rows if r.bits == bits]:
            axes.plot([r.milliseconds for r in own], [r.rate for r in own], marker, linestyle="none", label=f"{bits}-bit weights and activations")
    for r in rows:
        text = "pipeline" if r.engines == PIPELINE else f"{r.engines} x {r.frames_in_flight}"
        axes.annotate(text, (r.milliseconds, r.rate), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="latency of one image (ms)", ylabel="images a second", xscale="log", yscale="log")
    axes.set_title("Engines x images in flight", fontsize=10)
    axes.legend()
    return figure


if __name__ == "__main__":
    typer.run(main)
