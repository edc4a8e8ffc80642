"""Plans of the networks for parts, with hardware for every encoder or on engines."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from builds.experiments.deit_models import DeitNetwork, ModelFolder
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.engines.engine_units import shares_of
from finn_vitprune.transforms.planning.choose_engines import planned_design
from finn_vitprune.transforms.planning.plan_options import KINDS, PlanOptions

MHZ = 300
BUDGET = (("LUT", 0.7), ("DSP", 0.85), ("BRAM", 0.8), ("URAM", 0.85))
"""Shares of the part, and of each SLR, that a plan may use."""
BUDGET_TEXT = ",".join(f"{kind}={share:g}" for kind, share in BUDGET)
"""As ``--budget`` takes them."""
U250 = "U250"
PIPELINE = 12
"""Engines, each of one encoder: hardware for every encoder."""


@dataclass(frozen=True)
class PlanSetting:
    """A network on engines of a part, each with some images in flight, and what the plan is for."""

    network: DeitNetwork
    engines: int = 1
    frames_in_flight: int = 1
    goal: str = "latency"
    part: str = U250

    @property
    def name(self) -> str:
        """What its row goes by."""
        return f"{self.network.name}, {self.part}, {self.engines} engines, {self.frames_in_flight} in flight, {self.goal}"


def pipeline(network: DeitNetwork, part: str = U250) -> PlanSetting:
    """A network with hardware for every encoder."""
    return PlanSetting(network, PIPELINE, 1, "throughput", part)


@dataclass(frozen=True)
class PlanRow:
    """What the plan of a setting gives; of the least overfull one where nothing fits.

    Attributes:
        interval, latency: cycles; latency by formula, of one image in an empty design.
        shares: of the whole part, by resource. slrs: of each SLR that is planned for.
        minutes: of processor time that the plan took. help: what would make one fit that does not.
        heads, heads_dense: live heads of the network, and of the dense one.
        binding: the resource of which the largest share of its budget is used, and where.
        unit: the partition: which layers share a unit of an engine.
        gap: share by which a shorter interval is not ruled out. note: what a reader must know of the part.
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
    heads: int = 0
    heads_dense: int = 0
    slrs: tuple[dict[str, float], ...] = ()
    binding: str = ""
    gap: float | None = None
    note: str = ""
    unit: str = ""

    @property
    def rate(self) -> float:
        """Images a second at :data:`MHZ`."""
        return MHZ * 1e6 / self.interval

    @property
    def milliseconds(self) -> float:
        """Latency of one image at :data:`MHZ`."""
        return self.latency / (MHZ * 1e3)

    @property
    def percents(self) -> tuple[str, ...]:
        """Shares of the part, by resource."""
        return percents(self.shares)

    @property
    def said(self) -> str:
        """Rate and latency in a few words."""
        return f"{self.rate:,.0f} images/s, {self.milliseconds:.3f} ms{'' if self.fits else ', does not fit'}"


def percents(shares: dict[str, float]) -> tuple[str, ...]:
    """Shares of a part or an SLR in per cent, by resource."""
    return tuple(f"{100 * shares[kind]:.1f}" for kind in KINDS)


def planned(setting: PlanSetting, folder: ModelFolder) -> PlanRow:
    """Plan a setting.

    Raises:
        UserError: its network is not made yet.
    """
    made, part = folder.known(setting.network), get_part(setting.part)
    model = ModelWrapper(str(folder.hardware(setting.network)))
    started = time.process_time()
    engines = None if setting.engines == PIPELINE else setting.engines
    options = PlanOptions(goal=setting.goal, budget=Budget(**dict(BUDGET)), explain=engines is not None)
    design = planned_design(model, part, options, engines, setting.frames_in_flight)
    minutes = (time.process_time() - started) / 60
    choice, said = design.choice, design.said
    return PlanRow(
        setting.network.bits, setting.engines, setting.frames_in_flight, setting.goal, choice.fits, choice.interval_cycles,
        choice.latency_cycles, design.shares, round(minutes, 2), "; ".join(said.relief), sum(made.heads), made.heads_dense,
        tuple({kind: round(share * said.budget[kind], 4) for kind, share in slr.items()} for slr in said.slrs), binding(said),
        said.gap, part.note, next(map(shares_of, engines_of(design.model)), ""),
    )  # fmt: skip


def binding(said: Planned) -> str:
    """The resource of which most of the budget is used, in which SLR, and the share."""
    regions = {f" of SLR{i}": slr for i, slr in enumerate(said.slrs)} or {"": said.used}
    share, kind, place = max((share, kind, place) for place, used in regions.items() for kind, share in used.items())
    return f"{kind}{place} ({share:.0%} of its budget)"
