"""Which layers share a unit: the patch embedding has a unit of its own, or is a pass of a unit of the only engine.

Both are planned where an image is to be through soon, and the better one is taken. A folding file fixes it by the name of the unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import Planned
from finn_vitprune.transforms.engines.bind import EMBEDS, bind, no_embedding
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.planning.plan_problem import Plan
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles

ROLES = ("MLP 2",)
"""Units that the patch embedding is tried on: what they give is added to the residual, as what it gives is."""
_UNIT = re.compile(rf"VitEngine_rtl_\d+_(\w+){EMBEDS.replace(' ', '_')}")


@dataclass(frozen=True)
class PlannedPartition:
    """A graph with its folds, its plan, and what is said of it; ``embeds``: the role whose unit does the patch embedding, or ""."""

    model: ModelWrapper
    plan: Plan
    said: Planned
    latency: int
    embeds: str

    @property
    def text(self) -> str:
        """Where the patch embedding is done, and what comes of it."""
        where = f"on the unit of {self.embeds}" if self.embeds else "on a unit of its own"
        late = "" if self.plan.fits else ", more than the part has"
        return f"patch embedding {where}: an image each {self.plan.interval:,} cycles, through in {self.latency:,}{late}"


def plan_partition(
    model: ModelWrapper, engines: int | Sequence[int], frames: int, part: Part, options: PlanOptions, report: Callable[[str], None]
) -> PlannedPartition:
    """Plan ``model``, which stays as it is, on engines, with each partition that :func:`partitions` names; the best one by the goal.

    Args:
        engines: their number, or the encoders of each. frames: in flight. report: takes lines of the search.
    Raises:
        UserError: the encoders cannot be dealt so.
    """
    found = [_planned(model, engines, frames, part, options, embeds, report) for embeds in partitions(model, engines, options)]
    if len(found) > 1:
        for each in found:
            report(each.text)
    return min(found, key=lambda each: (not each.plan.fits, each.latency, each.plan.interval))


def partitions(model: ModelWrapper, engines: int | Sequence[int], options: PlanOptions) -> list[str]:
    """Where the patch embedding may be done: "", a unit of its own, and for a short latency the roles whose units can do it."""
    found = [""]
    if options.goal == "latency" and options.interval is None and options.share_embedding:
        binding = bind(model, engines)
        found += [role for role in ROLES if not no_embedding(model, binding, role)]
    return found


def embeds_in(folds: Iterable[str]) -> str:
    """The role whose unit does the patch embedding, by the names of a folding file; "" where it has a unit of its own."""
    found = [match[1].replace("_", " ") for name in folds if (match := _UNIT.fullmatch(name))]
    return found[0] if found else ""


def _planned(
    model: ModelWrapper, engines: int | Sequence[int], frames: int, part: Part, options: PlanOptions, embeds: str,
    report: Callable[[str], None],
) -> PlannedPartition:  # fmt: skip
    folded = model.transform(DealEncoders(engines, frames, embeds))
    found, said = plan(folded, part, options, report)
    found.write(folded)
    return PlannedPartition(folded, found, said, latency_cycles(folded.transform(InsertStreams())), embeds)
