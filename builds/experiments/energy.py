"""How far the energy estimate can be trusted: each measured design by a fit to the others.

``python -m builds.experiments.energy -o builds/results/energy`` makes the page in a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import typer

from builds.experiments.study import Output, Study, start
from finn_vitprune.report.tables import ESTIMATED, MEASURED, TextTable
from finn_vitprune.synth.energy import leave_one_out, measured, power

TITLE = "Energy: each measured design by a fit to the others"
TEXT = """Power above idle of the designs of FINN+ that were measured on an RFSoC2x2 (100 MHz, the 0.85 V rail, images back to back), beside what
the estimate of `finn_vitprune/synth/energy.py` says of each when it is fitted to the other 14, and the interval of the fit to all.

```
python -m builds.experiments.energy -o builds/results/energy
```
"""


@dataclass(frozen=True)
class EnergyRow:
    """A measured design: resources; watts above idle measured, by the fit to the others, by their mean; interval of the fit to all."""

    design: str
    LUT: float
    DSP: float
    BRAM36: float
    measured: float
    fitted: float
    mean: float
    low: float
    high: float


def row_of(number: int) -> EnergyRow:
    """The design of a number, from 0."""
    known = measured()
    design = known.designs[number]
    watts = known.above_idle * design.mhz
    whole = power(*design.amounts, 0, design.mhz)
    mean = float(np.delete(watts, number).mean())
    return EnergyRow(
        design.design, *design.amounts, float(watts[number]), float(leave_one_out()[number] * design.mhz), mean, whole.low, whole.high
    )


def tables(rows: Mapping[str, EnergyRow]) -> list[TextTable]:
    """All designs, and the errors over them."""
    found = list(rows.values())
    each = tuple(
        (
            r.design,
            f"{r.LUT:,.0f}",
            f"{r.DSP:,.0f}",
            f"{r.BRAM36:g}",
            f"{r.measured:.3f}",
            f"{r.fitted:.3f}",
            f"{r.low:.3f} to {r.high:.3f}",
        )
        for r in found
    )
    total = sum(r.measured for r in found)
    errors = {"the estimate": [r.fitted - r.measured for r in found], "the mean of the others": [r.mean - r.measured for r in found]}
    summed = tuple(
        (name, f"{np.abs(error).mean():.3f} W", f"{np.abs(error).sum() / total:.0%}", f"{np.sqrt(np.mean(np.square(error))):.3f} W")
        for name, error in errors.items()
    )
    inside = sum(r.low <= r.measured <= r.high for r in found)
    return [
        TextTable(
            "Leave one out", ("predicted by", "mean error", "of all power", "root mean square"), summed,
            f"Intervals of the fit to all hold {inside} of {len(found)} designs; nine of ten are meant.",
        ),
        TextTable(
            "Designs", ("design", "LUT", "DSP", "BRAM36", "W, measured", "W, by the others", "W, interval"), each, "",
            ("", MEASURED, MEASURED, MEASURED, MEASURED, ESTIMATED, ESTIMATED),
        ),
    ]  # fmt: skip


def main(output: Output) -> None:
    """Write rows and page."""
    settings = {f"{i + 1} {d.design}": i for i, d in enumerate(measured().designs)}
    study = Study(settings, EnergyRow, row_of, tables, TITLE, TEXT, lambda row: f"{row.fitted:.3f} W of {row.measured:.3f}")
    study.go(output)


if __name__ == "__main__":
    start(lambda: typer.run(main))
