"""Energy of an image by estimate: power above idle, fitted to designs of FINN+ that were measured on a board.

``measured_power.json`` has 15 designs on an RFSoC2x2 (UltraScale+, 100 MHz) with the power of the 0.85 V rail. The fit is linear
in LUTs, DSP slices and block RAMs, with no negative coefficient and no constant: nothing placed takes nothing above idle.
Power above idle is taken as proportional to the clock. docs/energy.md shows how far it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter
from scipy.optimize import nnls
from scipy.stats import t

CONFIDENCE = 0.9
"""Share of designs whose power an interval should hold."""
KINDS = ("LUT", "DSP", "BRAM36")


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


@dataclass(frozen=True)
class Watts:
    """Power above idle: expected, and the interval that should hold :data:`CONFIDENCE` of designs.

    ``beyond``: in what the design is outside of the designs that were measured; empty where it is not.
    """

    expected: float
    low: float
    high: float
    beyond: tuple[str, ...] = ()

    def millijoules(self, images_per_s: float) -> Watts:
        """Energy of an image in mJ in place of watts."""
        scale = 1e3 / images_per_s
        return Watts(scale * self.expected, scale * self.low, scale * self.high, self.beyond)


@cache
def measured() -> MeasuredPower:
    """The designs that were measured."""
    path = Path(__file__).with_name("measured_power.json")
    return TypeAdapter(MeasuredPower).validate_json(path.read_bytes())


def fitted(amounts: np.ndarray, watts: np.ndarray) -> np.ndarray:
    """Coefficients ``[kinds]``, at least 0, of least squares; columns without any amount have 0."""
    size = np.maximum(amounts.max(0), 1.0)
    return nnls(amounts / size, watts)[0] / size


def leave_one_out() -> np.ndarray:
    """Watts above idle at 1 MHz of every measured design, by a fit to the others ``[designs]``."""
    known = measured()
    rest = [np.arange(len(known.designs)) != i for i in range(len(known.designs))]
    return np.array([known.amounts[i] @ fitted(known.amounts[others], known.above_idle[others]) for i, others in enumerate(rest)])


def power(LUT: float, DSP: float, BRAM36: float, URAM: float, mhz: float) -> Watts:
    """Power above idle of a design on UltraScale+ at a clock in MHz.

    The interval is least squares' own, with the errors of leaving one out in place of the residuals, and the relative error of the
    designs of more than mean power, which a design beyond what was measured has at least.
    """
    known, amounts = measured(), np.array([LUT, DSP, BRAM36], float)
    expected = float(amounts @ fitted(known.amounts, known.above_idle))
    errors = leave_one_out() - known.above_idle
    large = known.above_idle > known.above_idle.mean()
    relative = np.mean((errors[large] / known.above_idle[large]) ** 2)
    leverage = amounts @ np.linalg.inv(known.amounts.T @ known.amounts) @ amounts
    spread = np.sqrt(np.mean(errors**2) * (1 + leverage) + relative * expected**2)
    half = float(t.ppf((1 + CONFIDENCE) / 2, len(errors) - len(KINDS)) * spread)
    most = known.amounts.max(0)
    beyond = [f"{kind} {amount:,.0f} of at most {limit:,.0f}" for kind, amount, limit in zip(KINDS, amounts, most) if amount > limit]
    beyond += ["UltraRAM, of which none was measured"] if URAM else []
    fastest = max(d.mhz for d in known.designs)
    beyond += [f"{mhz:.4g} MHz, measured at {fastest:g}"] if mhz > fastest else []
    return Watts(mhz * expected, mhz * max(0.0, expected - half), mhz * (expected + half), tuple(beyond))
