"""How far the energy estimate can be trusted: each measured design by a fit to the others.

``python -m builds.experiments.energy -o builds/results/energy`` makes the page, and the fit that the package has, in a second.
``measured_power.json`` there has 15 designs on an RFSoC2x2 (UltraScale+, 100 MHz) with the power of the 0.85 V rail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import typer
from pydantic import TypeAdapter
from scipy.optimize import nnls
from scipy.stats import t

from builds.experiments.study import Output, Study, start
from finn_vitprune.files import write_json
from finn_vitprune.report.tables import ESTIMATED, MEASURED, TextTable
from finn_vitprune.synth.energy import FIT, KINDS, EnergyFit, power

MEASURED_POWER = Path(__file__).parents[1] / "results" / "energy" / "measured_power.json"
CONFIDENCE = 0.9
"""Share of designs whose power an interval should hold."""

TITLE = "Energy: each measured design by a fit to the others"
TEXT = """Power above idle of the designs of FINN+ that were measured on an RFSoC2x2 (100 MHz, the 0.85 V rail, images back to back), beside what
the estimate of `finn_vitprune/synth/energy.py` says of each when it is fitted to the other 14, and the interval of the fit to all.

```
python -m builds.experiments.energy -o builds/results/energy
```
"""


@dataclass(frozen=True)
class MeasuredDesign:
    """A design of FINN+: resources, clock, images/s, and watts of the 0.85 V rail while images run back to back."""

    design: str
    commit: str
    LUT: float
    DSP: float
    BRAM36: float
    mhz: float
    images_per_s: float
    watts: float

    @property
    def amounts(self) -> tuple[float, ...]:
        """Of :data:`KINDS`."""
        return self.LUT, self.DSP, self.BRAM36


@dataclass(frozen=True)
class MeasuredPower:
    """What was measured, and where it comes from; ``idle_watts`` is the rail's power with nothing running."""

    source: str
    idle_watts: float
    designs: tuple[MeasuredDesign, ...]

    @cached_property
    def amounts(self) -> np.ndarray:
        """``[designs, kinds]``."""
        return np.array([d.amounts for d in self.designs])

    @cached_property
    def above_idle(self) -> np.ndarray:
        """Watts above idle ``[designs]`` at a clock of 1 MHz: power grows with the clock."""
        return np.array([(d.watts - self.idle_watts) / d.mhz for d in self.designs])


@cache
def measured() -> MeasuredPower:
    """The designs that were measured."""
    return TypeAdapter(MeasuredPower).validate_json(MEASURED_POWER.read_bytes())


def fitted(amounts: np.ndarray, watts: np.ndarray) -> np.ndarray:
    """Coefficients ``[kinds]``, at least 0, of least squares; columns without any amount have 0."""
    size = np.maximum(amounts.max(0), 1.0)
    return nnls(amounts / size, watts)[0] / size


def leave_one_out() -> np.ndarray:
    """Watts above idle at 1 MHz of every measured design, by a fit to the others ``[designs]``."""
    known = measured()
    rest = [np.arange(len(known.designs)) != i for i in range(len(known.designs))]
    return np.array([known.amounts[i] @ fitted(known.amounts[others], known.above_idle[others]) for i, others in enumerate(rest)])


def fit_of(known: MeasuredPower) -> EnergyFit:
    """The fit to all designs, with the errors of leaving one out."""
    errors = leave_one_out() - known.above_idle
    large = known.above_idle > known.above_idle.mean()
    return EnergyFit(
        designs=len(known.designs),
        most=tuple(known.amounts.max(0).tolist()),
        mhz=max(d.mhz for d in known.designs),
        watts=tuple(fitted(known.amounts, known.above_idle).tolist()),
        covariance=tuple(map(tuple, np.linalg.inv(known.amounts.T @ known.amounts).tolist())),
        error=float(np.sqrt(np.mean(errors**2))),
        relative=float(np.sqrt(np.mean((errors[large] / known.above_idle[large]) ** 2))),
        quantile=float(t.ppf((1 + CONFIDENCE) / 2, len(errors) - len(KINDS))),
    )


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
    """Write the fit, then rows and page."""
    write_json(FIT, asdict(fit_of(measured())), indent=1)
    settings = {f"{i + 1} {d.design}": i for i, d in enumerate(measured().designs)}
    study = Study(settings, EnergyRow, row_of, tables, TITLE, TEXT, lambda row: f"{row.fitted:.3f} W of {row.measured:.3f}")
    study.go(output)


if __name__ == "__main__":
    start(lambda: typer.run(main))
