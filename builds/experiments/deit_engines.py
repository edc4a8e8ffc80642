"""Plans of DeiT-Small on engines, side by side: rate against latency for 1, 2, 3, 4 and 12 engines.

``python -m finn_vitprune.builds.experiments.deit_engines --models DIR -o builds/results/deit_engines``, where ``DIR`` has the networks
(``python -m finn_vitprune.builds.experiments.deit models --models DIR``). What ``results.json`` holds is not planned again.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune import progress
from finn_vitprune.builds.experiments.deit_models import HALVES, DeitNetwork, ModelFolder
from finn_vitprune.builds.experiments.deit_plans import BUDGET, MHZ, budget_text, search
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file, write_json, write_text
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.latency import latency_cycles
from finn_vitprune.transforms.plan import shares_of
from finn_vitprune.transforms.plan_engines import plan_engines, used_by
from finn_vitprune.transforms.plan_options import KINDS, PlanOptions, offers_of

PART = "U250"
PIPELINE = 12
"""Engines, each of one encoder: hardware for every encoder."""

TITLE = "DeiT-Small on engines"
TEXT = """Plans for the {part} at {mhz} MHz, b 16, r_b = r_t = .5, within {budget}: interval and latency by formula, resources by
estimate. {pipeline} engines have one encoder each: that is the pipeline. `docs/engines.md` says what the settings mean, and how a
plan is found.

```
python -m finn_vitprune.builds.experiments.deit models --models DIR
python -m finn_vitprune.builds.experiments.deit_engines --models DIR -o builds/results/deit_engines
```

{known} of {settings} settings are planned. Minutes are processor time of the plan, on a busy machine. With several engines the part
counts as a whole; SLRs are told apart in the pipeline alone.

![Rate against latency](deit_engines.png)
"""


@dataclass(frozen=True)
class EngineSetting:
    """A network on engines, each with some images in flight, and what the plan is for."""

    network: DeitNetwork
    engines: int
    frames_in_flight: int
    goal: str

    @property
    def key(self) -> str:
        """What ``results.json`` knows it by."""
        return f"{self.network.name}, {self.engines} engines, {self.frames_in_flight} in flight, {self.goal}"


@dataclass(frozen=True)
class PlanRow:
    """What the plan of a setting gives: cycles, shares of the part by resource, minutes that it took."""

    bits: int
    engines: int
    frames_in_flight: int
    goal: str
    fits: bool
    interval: int
    latency: int
    shares: dict[str, float]
    minutes: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return MHZ * 1e6 / self.interval

    @property
    def milliseconds(self) -> float:
        return self.latency / (MHZ * 1e3)


SETTINGS = tuple(
    setting
    for network in HALVES
    for engines in (1, 2, 3, 4)
    for setting in (EngineSetting(network, engines, 1, "latency"), EngineSetting(network, engines, 2, "throughput"))
) + tuple(EngineSetting(network, PIPELINE, 1, "throughput") for network in HALVES)


def main(
    models: Annotated[Path, typer.Option(help="Folder of the networks.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of results.json, RESULTS.md and the plot.")],
    only: Annotated[str, typer.Option(help="Only settings whose name holds this text.")] = "",
) -> None:
    """Plan what is not planned yet, and write table and plot."""
    path = output / "results.json"
    rows = {key: PlanRow(**row) for key, row in json.loads(path.read_text()).items()} if path.is_file() else {}
    for setting in SETTINGS:
        if setting.key in rows or only not in setting.key:
            continue
        rows[setting.key] = planned(setting, ModelFolder(models))
        progress.line(f"{setting.key}: {rows[setting.key].rate:,.0f} images/s, {rows[setting.key].milliseconds:.3f} ms")
        write_json(path, {key: asdict(row) for key, row in rows.items()}, indent=1)
    known = [rows[setting.key] for setting in SETTINGS if setting.key in rows]
    plot(known, output / "deit_engines.png")
    text = TEXT.format(
        part=PART, mhz=MHZ, budget=budget_text(BUDGET), pipeline=PIPELINE, known=len(known), settings=len(SETTINGS)
    )  # fmt: skip
    write_text(output / "RESULTS.md", to_markdown(TITLE, text, [table(known)]))


def planned(setting: EngineSetting, folder: ModelFolder) -> PlanRow:
    """Plan a setting.

    Raises:
        UserError: its network is not made yet.
    """
    if folder.made(setting.network) is None:
        raise UserError(f"the network {setting.network.name} is not in {folder.path}: make it with the command models of deit first")
    model, part = ModelWrapper(str(folder.hardware(setting.network))), get_part(PART)
    started = time.process_time()
    if setting.engines == PIPELINE:
        model, found = search(model, part, BUDGET)
        interval, fits, used = found.interval, found.fits, found.used.sum(0)
    else:
        model = in_engines(model, BuildSettings(engines=setting.engines, frames_in_flight=setting.frames_in_flight))
        said = plan_engines(model, part, PlanOptions(goal=setting.goal, budget=Budget(**dict(BUDGET))))
        interval, fits = said.interval_cycles, said.fits
        used = used_by(model)
    minutes = (time.process_time() - started) / 60
    shares = shares_of(used, offers_of(part).sum(0))
    return PlanRow(
        setting.network.bits, setting.engines, setting.frames_in_flight, setting.goal, fits, interval,
        latency_cycles(model), shares, round(minutes, 1),
    )  # fmt: skip


def table(rows: list[PlanRow]) -> TextTable:
    """A row a plan."""
    cells = [
        (
            f"{r.bits}/{r.bits}", str(r.engines), str(r.frames_in_flight), r.goal, f"{r.interval:,}", f"{r.latency:,}", f"{r.rate:,.0f}",
            f"{r.milliseconds:.3f}", *(f"{100 * r.shares[kind]:.1f}" for kind in KINDS), "yes" if r.fits else "no", f"{r.minutes:g}",
        )
        for r in rows
    ]  # fmt: skip
    heads = (
        "bits", "engines", "in flight", "goal", "interval", "latency", "images/s", "ms", *(f"{k}, %" for k in KINDS), "fits", "minutes",
    )  # fmt: skip
    return TextTable("Plans", heads, tuple(cells))


def plot(rows: list[PlanRow], path: Path) -> None:
    """Rate against latency."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for bits, marker in ((8, "o"), (4, "s")):
        if own := [r for r in rows if r.bits == bits]:
            axes.plot([r.milliseconds for r in own], [r.rate for r in own], marker, label=f"{bits}-bit weights and activations")
    for r in rows:
        text = "pipeline" if r.engines == PIPELINE else f"{r.engines} x {r.frames_in_flight}"
        axes.annotate(text, (r.milliseconds, r.rate), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.set(xlabel="latency of one image (ms)", ylabel="images a second", xscale="log", yscale="log")
    axes.set_title("Engines x images in flight", fontsize=10)
    axes.legend()
    with whole_file(path) as partial:
        figure.savefig(partial, format="png", dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    typer.run(main)
