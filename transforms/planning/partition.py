"""Which layers share a unit: each layer has its own, or the patch embedding is a pass of another one's, or all matrices are on one array.

These are planned where an image is to be through soon, and the best one is taken. A folding file fixes it by the name of the unit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.engines.bind import ARRAY, EMBEDS, bind, no_array, no_embedding
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.planning.plan_problem import Plan
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles

ROLES = ("MLP 2",)
"""Units that the patch embedding is tried on: what they give is added to the residual, as what it gives is."""
_UNIT = re.compile(rf"VitEngine_rtl_\d+_({ARRAY}|\w+{EMBEDS.replace(' ', '_')})")


@dataclass(frozen=True)
class PlannedPartition:
    """A graph with its folds, its plan, and what is said of it; ``shares``: the partition, as :func:`.bind` has it."""

    model: ModelWrapper
    plan: Plan
    said: Planned
    latency: int
    shares: str

    @property
    def text(self) -> str:
        """What is on one unit, and what comes of it."""
        role = self.shares.removesuffix(EMBEDS)
        where = f"patch embedding {f'on the unit of {role}' if role else 'on a unit of its own'}"
        if role == ARRAY:
            where = f"all matrices{EMBEDS if role != self.shares else ''} on one unit"
        late = "" if self.plan.fits else ", more than the part has"
        return f"{where}: an image each {self.plan.interval:,} cycles, through in {self.latency:,}{late}"


def plan_partition(
    model: ModelWrapper, engines: int | Sequence[int], frames: int, part: Part, options: PlanOptions, report: Callable[[str], None]
) -> PlannedPartition:
    """Plan ``model``, which stays as it is, on engines, with each partition that :func:`partitions` names; the best one by the goal.

    Args:
        engines: their number, or the encoders of each. frames: in flight. report: takes lines of the search.
    Raises:
        UserError: the encoders cannot be dealt so.
    """
    found = [_planned(model, engines, frames, part, options, shares, report) for shares in partitions(model, engines, options)]
    if len(found) > 1:
        for each in found:
            report(each.text)
    limit = math.inf if options.interval is None else options.interval
    return min(found, key=lambda each: (not each.plan.fits, each.plan.interval > limit, each.latency, each.plan.interval))


def partitions(model: ModelWrapper, engines: int | Sequence[int], options: PlanOptions) -> list[str]:
    """The partitions to plan, as :func:`.bind` has them: a unit for each layer, and for a short latency those with layers on one unit
    that are possible."""
    found = [""]
    if options.goal == "latency":
        binding = bind(model, engines)
        embeds = [role for role in (*ROLES, ARRAY) if not no_embedding(model, binding, role)]
        found += [f"{role}{EMBEDS}" for role in ROLES if role in embeds]
        if not no_array(model, binding):
            found.append(f"{ARRAY}{EMBEDS}" if ARRAY in embeds else ARRAY)
    return found


def shared_in(folds: Iterable[str]) -> str:
    """The partition by the names of a folding file; "" where each layer has a unit of its own."""
    found = [match[1].replace("_", " ") for name in folds if (match := _UNIT.fullmatch(name))]
    return found[0] if found else ""


def _planned(
    model: ModelWrapper, engines: int | Sequence[int], frames: int, part: Part, options: PlanOptions, shares: str,
    report: Callable[[str], None],
) -> PlannedPartition:  # fmt: skip
    folded = model.transform(DealEncoders(engines, frames, shares))
    found, said = plan(folded, part, options, report)
    found.write(folded)
    return PlannedPartition(folded, found, said, latency_cycles(folded.transform(InsertStreams())), shares)
