"""How many engines, and how many images in flight: each choice is planned, and the best one by the goal is taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.planned import EngineChoice, Planned
from finn_vitprune.transforms.engines.bind import encoder_count
from finn_vitprune.transforms.planning.partition import plan_partition
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles

Report = Callable[[str], None]

MOST_ENGINES = 4
"""More engines than these are not tried: they come near to the pipeline, which is."""
IN_FLIGHT = (1, 2)
"""Images in flight that are tried: with two, one's attention overlaps the matrices of the other; more gain nothing."""


@dataclass(frozen=True)
class PlannedDesign:
    """A graph with its engines and folds, what is said of its plan, and what it takes of the whole budget (``price``)."""

    model: ModelWrapper
    said: Planned
    choice: EngineChoice
    price: float

    @property
    def shares(self) -> dict[str, float]:
        """What it takes of the part, by resource."""
        return {kind: share * self.said.budget[kind] for kind, share in self.said.used.items()}


def choose_engines(
    model: ModelWrapper, part: Part, options: PlanOptions, in_flight: int | None = None, report: Report = lambda text: None
) -> tuple[ModelWrapper, Planned]:
    """Plan ``model`` as a pipeline with hardware for every encoder and on few engines, and keep the best.

    By ``options``: of the plans that keep the interval, the one that takes least of the part, or is soonest where the goal is the
    latency; without an interval the one with the shortest interval or latency. A plan that does not fit is taken only where none does. The
    graph that is given stays as it is.

    Args:
        in_flight: images in flight of all choices; None: each of :data:`IN_FLIGHT`.
    Returns:
        The graph with its engines and folds, and what is said of the plan: the other choices too.
    """
    found: list[PlannedDesign] = []
    most = min(MOST_ENGINES, encoder_count(model) - 1)
    for engines in (None, *range(1, most + 1)):
        for frames in (1,) if engines is None else IN_FLIGHT if in_flight is None else (in_flight,):
            found.append(planned_design(model, part, options, engines, frames))
            report(found[-1].choice.text)
    best = min(found, key=lambda p: _rank(p, options))
    report(f"taken: {best.choice.text}")
    return best.model, best.said.model_copy(update={"engines": [p.choice for p in found]})


def planned_design(model: ModelWrapper, part: Part, options: PlanOptions, engines: int | None, in_flight: int = 1) -> PlannedDesign:
    """Plan ``model``, which stays as it is, on so many engines (None: hardware for every encoder).

    Args:
        in_flight: images that an engine works on at once.
    Raises:
        UserError: the encoders cannot be dealt so.
    """
    if engines is None:
        folded = ModelWrapper(model.model, make_deepcopy=True)
        found, said = plan(folded, part, options)
        found.write(folded)
        latency = latency_cycles(folded.transform(InsertStreams()))
    else:
        best = plan_partition(model, engines, in_flight, part, options, lambda text: None)
        folded, found, said, latency = best.model, best.plan, best.said, best.latency
    choice = EngineChoice(
        engines=engines, frames_in_flight=in_flight, interval_cycles=said.interval_cycles, latency_cycles=latency, fits=said.fits
    )
    return PlannedDesign(folded, said, choice, float(found.used.sum(0) @ prices_of(room_of(part, options.budget))))


def _rank(found: PlannedDesign, options: PlanOptions) -> tuple[float, ...]:
    """The smaller the better."""
    choice = found.choice
    cycles = choice.interval_cycles, choice.latency_cycles
    late = options.interval is not None and choice.interval_cycles > options.interval
    if options.goal == "latency" and not late:
        return not choice.fits, late, *reversed(cycles)
    return not choice.fits, late, *(cycles if late or options.interval is None else (found.price, *cycles))
