"""Energy of an image by estimate: power above idle, by a fit to designs of FINN+ that were measured on a board.

``energy.json`` is that fit; ``python -m builds.experiments.energy`` makes it. It is linear in LUTs, DSP slices and block RAMs, with
no negative coefficient and no constant: nothing placed takes nothing above idle. Power above idle is taken as proportional to the
clock. docs/energy.md shows how far it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

FIT = Path(__file__).with_name("energy.json")
KINDS = ("LUT", "DSP", "BRAM36")


@dataclass(frozen=True)
class EnergyFit:
    """A fit to ``designs`` measured designs, in watts above idle at a clock of 1 MHz.

    Attributes:
        most: the most that any of them has of each of :data:`KINDS`; mhz: the fastest clock of any.
        watts: of one of each kind. covariance: ``[kinds, kinds]`` of the coefficients, for errors of size 1.
        error: root mean square of the errors of leaving one out. relative: the same of relative errors, of designs above the mean power.
        quantile: so many standard deviations hold nine of ten designs.
    """

    designs: int
    most: tuple[float, float, float]
    mhz: float
    watts: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]
    error: float
    relative: float
    quantile: float


@dataclass(frozen=True)
class Watts:
    """Power above idle: expected, and the interval that should hold nine of ten designs.

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
def energy_fit() -> EnergyFit:
    """The fit that the package has."""
    return TypeAdapter(EnergyFit).validate_json(FIT.read_bytes())


def power(LUT: float, DSP: float, BRAM36: float, URAM: float, mhz: float) -> Watts:
    """Power above idle of a design on UltraScale+ at a clock in MHz.

    The interval is least squares' own, with the errors of leaving one out in place of the residuals, and the relative error of the
    designs of more than mean power, which a design beyond what was measured has at least.
    """
    fit, amounts = energy_fit(), np.array([LUT, DSP, BRAM36], float)
    expected = float(amounts @ fit.watts)
    leverage = amounts @ np.array(fit.covariance) @ amounts
    half = fit.quantile * float(np.sqrt(fit.error**2 * (1 + leverage) + (fit.relative * expected) ** 2))
    beyond = [f"{kind} {amount:,.0f} of at most {limit:,.0f}" for kind, amount, limit in zip(KINDS, amounts, fit.most) if amount > limit]
    beyond += ["UltraRAM, of which none was measured"] if URAM else []
    beyond += [f"{mhz:.4g} MHz, measured at {fit.mhz:g}"] if mhz > fit.mhz else []
    return Watts(mhz * expected, mhz * max(0.0, expected - half), mhz * (expected + half), tuple(beyond))
