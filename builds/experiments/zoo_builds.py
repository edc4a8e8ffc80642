"""Networks of timm that `check` takes, imported and built up to the estimate: no yes is a wrong one."""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from builds.experiments.study import Jobs, Only, Output, Study, start
from builds.experiments.zoo import LISTED, Case, imported_by_noise
from builds.experiments.zoo import study as zoo_study
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.report.summary import Summary
from finn_vitprune.report.tables import TextTable

BUILDS = 40
IMAGES, EVALUATED = 12, 2
PART = "xcu250-figd2104-2L-e"
IMPORTED = Path(__file__).parents[1] / "results" / "import"
"""The table of the networks that `check` takes."""


@dataclass(frozen=True)
class BuildRow:
    """What an import and an estimate gave.

    depth: encoders. tokens: of the first one. codes: of the hardware graph, compared with QONNX's; ties: of these, differ by one
    beside a tie. interval: cycles, by plan. lut, dsp: by estimate. fits: into the part. seconds: of everything.
    """

    model: str
    image_size: int
    depth: int
    tokens: int
    codes: int
    ties: int
    interval: int
    lut: int
    dsp: int
    fits: bool
    seconds: float


def chosen() -> dict[str, Case]:
    """:data:`BUILDS` of the networks that import, evenly spread over their names, with the encoders and images of that table."""
    zoo = zoo_study()
    rows = zoo.known(IMPORTED)
    takes = {row.model: zoo.settings[name] for name, row in rows.items() if row.model not in LISTED and not row.refusal and not row.error}
    names = sorted(takes)
    return {names[place]: takes[names[place]] for place in np.linspace(0, len(names) - 1, BUILDS).round().astype(int)}


def run(case: Case) -> BuildRow:
    """Export, import without pruning, build up to the estimate."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoo_build_") as work:
        folder = Path(work)
        _, imported = imported_by_noise(case, folder, IMAGES, eval_images=EVALUATED)
        build(BuildOptions(model=imported, output_dir=folder / "build", fpga_part=PART, estimate_only=True, lowering_images=1))
        found, lowering = Summary.load(folder / "build"), BuildFolder(folder / "build").lowering.load()
    plan, part, used = found.plan, found.part, found.resources
    assert plan and part and used and found.model.image_shape  # --estimate-only with a part gives all three
    return BuildRow(
        case.model, found.model.image_shape[0], len(found.model.tokens), found.model.tokens[0].in_, lowering.codes, lowering.ties, plan.interval_cycles,
        round(used.LUT), round(used.DSP), bool(part.fits), round(time.monotonic() - started, 1),
    )  # fmt: skip


# --- the table -------------------------------------------------------------------------------------

TITLE = "Networks of timm that import, built up to the estimate"
TEXT = f"""A yes of `check` holds as far as a plan: {{known}} of {{settings}} networks of [the table of imports](../import/RESULTS.md), evenly spread over the names of
those that import, with its encoders and its image sizes, random weights. Each is imported at 8/8 and built with `build --fpga-part {PART} --estimate-only`:
lowered, held against QONNX code by code on an image of noise (a difference that is not beside a tie would end the build), planned. Resources are estimates.

```
python -m builds.experiments.zoo_builds -o builds/results/zoo_builds
```"""
COLUMNS = ("network", "image", "encoders", "tokens", "codes", "of them beside a tie", "interval", "LUT", "DSP", "fits")


def tables(rows: Mapping[str, BuildRow]) -> list[TextTable]:
    """One."""
    codes, ties = sum(row.codes for row in rows.values()), sum(row.ties for row in rows.values())
    note = f"{len(rows)} networks, {codes:,} codes, {ties:,} differ by one beside a tie, none otherwise."
    return [TextTable("Builds", COLUMNS, tuple(map(cells, rows.values())), note)]


def cells(row: BuildRow) -> tuple[str, ...]:
    """The row of a network."""
    return (
        row.model, str(row.image_size), str(row.depth), str(row.tokens), f"{row.codes:,}", str(row.ties), f"{row.interval:,}",
        f"{row.lut:,}", f"{row.dsp:,}", "yes" if row.fits else "no",
    )  # fmt: skip


def said(row: BuildRow) -> str:
    """A row in a line."""
    return f"{', '.join(cells(row)[1:])}, {row.seconds} s"


def study() -> Study[Case, BuildRow]:
    """Every network that is chosen."""
    return Study(chosen(), BuildRow, run, tables, TITLE, TEXT, said)


def main(output: Output, only: Only = None, jobs: Jobs = 0) -> None:
    """Build what is missing, and write the results after every network."""
    warnings.simplefilter("ignore")
    study().go(output, only, jobs)


if __name__ == "__main__":
    start(lambda: typer.run(main))
