"""One design of an exploration: its plan, and its build."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from qonnx.core.modelwrapper import ModelWrapper

import finn_vitprune.plugin  # noqa: F401
from finn_vitprune.builds.build import build
from finn_vitprune.errors import UserError
from finn_vitprune.exploration.space import Point
from finn_vitprune.options.build import BuildOptions, Synth
from finn_vitprune.options.explore import ExploreOptions
from finn_vitprune.report.summary import ESTIMATE, Summary
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.planning.choose_engines import planned_design
from finn_vitprune.transforms.planning.plan_options import PlanOptions

Cycles = Annotated[float, Field(gt=0)]


class Target(BaseModel):
    """What all designs of an exploration are made for: the clock, and what they may use of their parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    clk_ns: Annotated[float, Field(gt=0)]
    budget: Budget = Budget()
    shell: str | None = None

    @classmethod
    def of(cls, options: ExploreOptions) -> Target:
        """What the options say of it."""
        return cls(**{name: getattr(options, name) for name in cls.model_fields})


class PlannedPoint(BaseModel):
    """What a plan says, by formula and estimate: cycles, and shares of the part by resource; ``seconds`` of processor time.

    Of an ECP5 the shares of COMB, MULT18 and EBR stand in the places of LUT, DSP and BRAM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fits: bool
    interval_cycles: Cycles
    latency_cycles: Cycles
    shares: dict[str, float]
    seconds: float


class BuiltPoint(BaseModel):
    """What a build shows: cycles of the simulation, wrong values, shares of the part (``counted`` by Yosys, or estimated)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fits: bool
    interval_cycles: Cycles
    latency_cycles: Cycles
    mismatches: int
    shares: dict[str, float]
    counted: bool
    seconds: float


@dataclass(frozen=True)
class PlanJob:
    """What a worker needs to plan a point: its hardware graph."""

    point: Point
    hardware: Path
    target: Target


@dataclass(frozen=True)
class BuildJob:
    """What a worker needs to build a point: what all points of an exploration share besides their target."""

    point: Point
    model: Path
    folder: Path
    target: Target
    synth: Synth = "none"
    jobs: int = 2

    @property
    def options(self) -> BuildOptions:
        """Of the build."""
        return BuildOptions(
            model=self.model, output_dir=self.folder, fpga_part=self.point.part, synth=self.synth, jobs=self.jobs, **dict(self.target),
            **self.point.engine_options,
        )  # fmt: skip


def plan_point(job: PlanJob) -> PlannedPoint:
    """Plan it.

    Raises:
        UserError: the encoders cannot be dealt to so many engines, or the part is unknown.
    """
    started, p, target = time.process_time(), job.point, job.target
    part = get_part(p.part).with_shell(target.shell)
    options = PlanOptions(goal=p.goal, budget=target.budget, explain=False)
    found = planned_design(ModelWrapper(str(job.hardware)), part, options, p.engines, p.in_flight)
    kinds = {**dict(zip(part.planned_as.kinds, ULTRASCALE.kinds[:3])), "URAM": "URAM"}
    choice = found.choice
    shares = dict.fromkeys(ULTRASCALE.kinds, 0.0) | {kinds[k]: round(share, 4) for k, share in found.shares.items() if k in kinds}
    return PlannedPoint(
        fits=choice.fits, interval_cycles=choice.interval_cycles, latency_cycles=choice.latency_cycles, shares=shares,
        seconds=round(time.process_time() - started, 1),
    )  # fmt: skip


def build_point(job: BuildJob) -> BuiltPoint:
    """Build it, simulation and all; simulators and netlists that the cache has are not made again.

    Raises:
        UserError: as ``build``, or the design does not fit.
    """
    started = time.monotonic()
    summary = Summary.load(build(job.options))
    if summary.rtlsim is None:
        raise UserError(f"the design {summary.no_text}")
    return BuiltPoint(
        fits=not summary.no_text, interval_cycles=summary.rtlsim.interval_cycles, latency_cycles=summary.rtlsim.latency_cycles,
        mismatches=summary.verify.rtl_mismatches, shares=_shares(summary), counted=summary.resources.tool != ESTIMATE,
        seconds=round(time.monotonic() - started, 1),
    )  # fmt: skip


def _shares(summary: Summary) -> dict[str, float]:
    used, part = summary.resources, summary.part
    pairs = {"LUT": (used.LUT, part.LUT), "DSP": (used.DSP, part.DSP), "BRAM": (used.BRAM36, part.BRAM36), "URAM": (used.URAM, part.URAM)}
    return {kind: round(u / max(r, 1), 4) for kind, (u, r) in pairs.items()}
