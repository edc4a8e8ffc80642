"""Networks of model zoos, at random weights, imported, pruned and planned: a pipeline on a card, one engine on a small board."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from builds.experiments.study import Only, Output, Study, start
from builds.experiments.zoo import WHOLE, Case, imported_by_noise
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.ingest.check.check_float import check_float
from finn_vitprune.ingest.onnx_file.model_file import load
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable

MHZ = 300
IMAGE, IMAGES, EVALUATED = 224, 20, 4
KEEP = "0.5"
DROPS = (4, 7, 10)
"""Encoders that drop tokens, where a network has a token that ranks them."""
BARE = {"U250": "xcu250-figd2104-2L-e"}
"""The part of a card without its shell."""
Work = Annotated[Path, typer.Option("--work", help="Folder of files and builds; what is there is taken as it is.")]


@dataclass(frozen=True)
class Zoo:
    """A network of timm; ``drops``: whether half of its tokens are dropped in each of :data:`DROPS`."""

    title: str
    model: str
    drops: bool


NETWORKS = (
    Zoo("DINOv3-S/16", "vit_small_patch16_dinov3", False),
    Zoo("DINOv2-S/14 with 4 registers", "vit_small_patch14_reg4_dinov2", True),
    Zoo("CLIP ViT-B/32", "vit_base_patch32_clip_quickgelu_224", True),
    Zoo("SigLIP ViT-B/16", "vit_base_patch16_siglip_224", False),
)


@dataclass(frozen=True)
class PlanSetting:
    """A network on a part: hardware for every encoder (``engines`` None), or engines. work: where files and builds are."""

    zoo: Zoo
    part: str
    engines: int | None
    work: Path

    @property
    def name(self) -> str:
        """What its row goes by."""
        return f"{self.zoo.title}, {self.part}, {'pipeline' if self.engines is None else f'{self.engines} engine'}"


@dataclass(frozen=True)
class PlanRow:
    """What an import and a plan gave.

    nodes, mapped: of the file. tokens: of the first and of the last encoder. macs, macs_dense: products an image. part: that the plan is
    for, without its shell where the card has no room. interval, latency: cycles, by plan and by formula. used: of the part, by resource.
    short: what is too little, and by how much; empty where the design fits. help: what would help then. binding: resources of which more would
    make it faster.
    """

    title: str
    engines: int | None
    nodes: int
    mapped: int
    tokens: tuple[int, int]
    macs: int
    macs_dense: int
    part: str
    fits: bool
    interval: int
    latency: int | None
    used: dict[str, float]
    has: dict[str, float]
    short: tuple[str, ...]
    help: tuple[str, ...]
    binding: tuple[str, ...]
    minutes: float


@cache
def imported(zoo: Zoo, work: Path) -> tuple[Path, int, int]:
    """The pruned QONNX file of a network, made where it is not there, with nodes of the float file and how many of them map."""
    folder = work / zoo.model
    folder.mkdir(parents=True, exist_ok=True)
    drop = {"token_keep": KEEP, "drop_at": DROPS} if zoo.drops else {}
    float_file, pruned = imported_by_noise(
        Case(zoo.model, *WHOLE, None, IMAGE), folder, IMAGES, block_keep=KEEP, eval_images=EVALUATED, **drop
    )
    checked = check_float(load(float_file), float_file)
    return pruned, len(checked.rows), checked.mapped


def run(setting: PlanSetting) -> PlanRow:
    """Import and plan; for the part without its shell where the card has no room."""
    pruned, nodes, mapped = imported(setting.zoo, setting.work)
    for part in dict.fromkeys((setting.part, BARE.get(setting.part, setting.part))):
        folder = pruned.parent / f"{part}_{setting.engines or 'pipeline'}"
        build(BuildOptions(
            model=pruned, output_dir=folder, fpga_part=part, engines=setting.engines, estimate_only=True, clk_ns=1e3 / MHZ,
        ))  # fmt: skip
        found = Summary.load(folder)
        if found.part is not None and found.part.fits:
            break
    plan, part_of, used = found.plan, found.part, found.resources
    assert plan is not None and part_of is not None and used is not None  # --estimate-only with a part gives all three
    kinds = ("LUT", "DSP", "BRAM36", "URAM")
    return PlanRow(
        setting.zoo.title, setting.engines, nodes, mapped, (found.model.tokens[0].in_, found.model.tokens[-1].mlp),
        found.model.macs, found.model.macs_dense, part_of.name, bool(part_of.fits), plan.interval_cycles, plan.latency_cycles,
        {kind: getattr(used, kind) for kind in kinds}, {kind: getattr(part_of, kind) for kind in kinds},
        tuple(map(str, part_of.short)), tuple(part_of.help), tuple(plan.binding), round(sum(found.time_s.values()) / 60, 1),
    )  # fmt: skip


# --- the table -------------------------------------------------------------------------------------

TITLE = "Networks of model zoos, planned"
TEXT = f"""Random weights, timm's models at {IMAGE} x {IMAGE} pixels with a linear classifier of 1,000 classes, imported at 8/8 with half of the blocks and
neurons (r_b = {KEEP}), and half of the tokens in encoders {", ".join(map(str, DROPS))} (r_t = {KEEP}) where a token ranks them: not with rotary positions, nor with
attention pooling alone. Random weights and noise as images say nothing about accuracy; shapes, bits and kept shares decide a plan. Everything here is
an estimate of `build --estimate-only` at {MHZ} MHz: {{known}} of {{settings}} plans. "Nodes mapped": of the file that timm's model exports to, by `check`. The
pipeline is planned for the U250 beside its shell, and for the bare part if it does not fit there. finn-plus issue 198 reports 51 of 959 mapped nodes for
CLIP ViT-B/32.

```
python -m builds.experiments.zoo_plans -o builds/results/zoo_plans --work build/zoo_plans
```"""
COLUMNS = (
    "network", "nodes mapped", "tokens, first and last encoder", "products, of dense", "part", "design", "images/s", "ms", "LUT", "DSP", "BRAM36", "URAM",
    "what binds",
)  # fmt: skip


def tables(rows: Mapping[str, PlanRow]) -> list[TextTable]:
    """One."""
    note = "Per cent of the part, or of what the shell leaves of the card. A plan that does not fit is the smallest one found."
    return [TextTable("Plans", COLUMNS, tuple(map(cells, rows.values())), note)]


def cells(row: PlanRow) -> tuple[str, ...]:
    """The row of a plan."""
    shares = (f"{100 * row.used[kind] / row.has[kind]:.0f} %" if row.has[kind] else str(row.used[kind]) for kind in row.used)
    design = "pipeline" if row.engines is None else "one engine"
    latency = "" if row.latency is None else f"{row.latency / (MHZ * 1e3):.2f}"
    binds = (
        " and ".join(row.binding)
        if row.fits
        else f"does not fit: {', '.join(row.short)}; would help: {'; '.join(row.help) or 'nothing found'}"
    )
    return (
        row.title, f"{row.mapped} of {row.nodes}", " and ".join(map(str, row.tokens)), f"{row.macs / 1e9:.2f} of {row.macs_dense / 1e9:.2f} G",
        row.part, design, f"{MHZ * 1e6 / row.interval:,.0f}", latency, *shares, binds,
    )  # fmt: skip


def said(row: PlanRow) -> str:
    """A row in a line."""
    return ", ".join(cells(row)[4:])


def study(work: Path) -> Study[PlanSetting, PlanRow]:
    """Every network as a pipeline and on one engine."""
    settings = [PlanSetting(zoo, part, engines, work) for zoo in NETWORKS for part, engines in (("U250", None), ("ZCU104", 1))]
    return Study({s.name: s for s in settings}, PlanRow, run, tables, TITLE, TEXT, said)


def main(output: Output, only: Only = None, work: Work = Path("build/zoo_plans")) -> None:
    """Import and plan what is missing, and write the results after every plan."""
    warnings.simplefilter("ignore")
    study(work).go(output, only)


if __name__ == "__main__":
    start(lambda: typer.run(main))
