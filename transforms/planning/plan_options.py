"""What a plan is for, and what it may use of a part."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, Self

import numpy as np

from finn_vitprune.custom_ops.op.folding import Styles
from finn_vitprune.errors import UserError
from finn_vitprune.synth.budget import MEAN_OF, Budget, mean_for, shares_for
from finn_vitprune.synth.family import ULTRASCALE
from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import Planned

KINDS = ULTRASCALE.kinds
"""Names of the resources of AMD's parts, in the order of :class:`.Estimate`; BRAM in units of 18 Kbit."""
MEAN_ERROR = 1e-4
"""Of shares as they are rounded."""
LUT_WEIGHT = 1.3
"""Weight of the LUTs' share in a price: control, routing and what estimates leave out need them too."""


@dataclass(frozen=True)
class PlanOptions:
    """What a plan is for.

    Attributes:
        interval: cycles of a frame to reach, with the fewest resources unless the goal is the latency; None: as few cycles as fit.
        goal: of a graph with engines: the shortest interval where none is given, or the shortest latency of an image.
        budget: shares of the part that may be used. mac_style: the MAC implementation of all matrix units; None: chosen.
        explain: look for what binds the plan and for what would help, which takes further plans.
    """

    interval: int | None = None
    goal: Literal["throughput", "latency"] = "throughput"
    budget: Budget = field(default_factory=Budget)
    mac_style: str | None = None
    explain: bool = True

    def styles(self, part: Part) -> Styles:
        """What units may use on the part.

        Raises:
            UserError: it has no such MAC implementation.
        """
        family = part.planned_as
        if self.mac_style == "dsp48e2" and family != ULTRASCALE:
            raise UserError(f"--mac-style dsp48e2 is of UltraScale+, and {part.name} is of {family.name}: use {' or '.join(family.mac)}")
        every = Styles(family.mac, family.ram, family)
        ram = every.ram if part.URAM else every.without_ultra.ram
        return replace(every, mac=(self.mac_style,) if self.mac_style else every.mac, ram=ram)

    def less(self, planned: np.ndarray, used: np.ndarray, budget: Budget, part: Part) -> Self | None:
        """The same with less to use, so that what came on top of a plan may fit ``budget``; None where nothing would be left.

        Each resource loses what was too much of it. Where that is RAM, both kinds shrink as RAM has grown: memories that no longer fit
        the one kind go to the other, and grow there.

        Args:
            planned: ``[kinds]`` of the last plan with these options; used: the same with what came on top.
        """
        offers = np.maximum(offers_of(part).sum(0), 1)
        within, wanted = (np.array(list(shares_for(part, shares).values())) for shares in (self.budget, budget))
        over = np.maximum(used / offers - wanted, 0)
        shares = within - over
        ram = list(part.planned_as.ram_kinds)
        if over[ram].any():
            growth = (used / offers)[ram].sum() / max(1e-9, (planned / offers)[ram].sum())
            shares[ram] = np.minimum(shares[ram], wanted[ram] / growth)
        if shares.min() <= 0:
            return None
        return replace(self, budget=Budget(**dict(zip(part.planned_as.kinds, shares.tolist()))))

    def as_planned(self, planned: Planned | None) -> Self:
        """With the budget that a plan was made within, which may be less; as they are without one."""
        return self if planned is None else replace(self, budget=Budget(**planned.budget))

    def within_mean(self, mean: float, part: Part) -> Self | None:
        """With less of DSP, BRAM and URAM, each by the same factor, so that they are at most what the budget allows on average.

        Args:
            mean: of the last plan with these options, a share of the part.
        Returns:
            None where that plan keeps to it.
        """
        limit = mean_for(part, self.budget)
        if mean <= limit + MEAN_ERROR:
            return None
        shares = shares_for(part, self.budget)
        factor = limit * len(MEAN_OF) / sum(shares[kind] for kind in MEAN_OF)
        return replace(self, budget=self.budget.model_copy(update={kind: shares[kind] * factor for kind in MEAN_OF}))


def offers_of(part: Part) -> np.ndarray:
    """``[slrs, kinds]``: what each SLR of a part has."""
    last = "URAM" if part.planned_as == ULTRASCALE else "FF"
    return np.array([[o.LUT, o.DSP, 2 * o.BRAM36, getattr(o, last)] for o in part.slr_offers()], dtype=float)


def room_of(part: Part, budget: Budget) -> np.ndarray:
    """``[slrs, kinds]``: what a plan may use of each SLR of a part.

    Raises:
        UserError: the budget names resources of another family.
    """
    return np.floor(offers_of(part) * list(shares_for(part, budget).values()))


def prices_of(room: np.ndarray) -> np.ndarray:
    """``[kinds]`` of a unit of each resource: the share of the whole ``room`` (``[slrs, kinds]``) that it is, LUTs weighed."""
    return np.array([LUT_WEIGHT, 1.0, 1.0, 1.0]) / np.maximum(room.sum(0), 1)
