"""The folds with which one image is through soonest: one integer program for all units.

An image alone in an engine is through after a sum of waves. In a wave an encoder's attention works with all that streams behind it, and
with the unit of the next encoder's queries, keys and values: the wave takes as long as the slowest of them. The next attention begins
when all keys are there. To each wave comes what its last token needs through every unit (:attr:`.Folding.delay`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix, lil_matrix

from finn_vitprune.custom_ops.op.folding import Folding, thriftiest, used_by
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.transforms.planning.choice import Candidates, quiet
from finn_vitprune.transforms.planning.plan_problem import PlanUnit, Problem, Solved, When

Works = tuple[tuple[int, int], ...]
"""Units by their number, and the layer of each that works."""

FASTEST, SLOWEST, COARSE = 1.0, 8.0, 1.1
"""Intervals of units that candidates are looked for: as multiples of the guess (:attr:`.Problem.guess`), and the ratio of neighbours."""
NEAR, FINE = 1.12, 1.02
"""The same around intervals that units have: the farthest ones, and the ratio of neighbours."""
OUTSIDE = 1 / 16
"""Intervals of units outside of engines are shorter by this factor: an image passes them once."""
PART = 0.002
"""What the whole part is worth, as a share of an image's time: of equals the solution that takes less."""
GAP = 0.003
"""How far from the shortest time a solution may be, as a share."""
MOST_NODES = 5_000
"""Branches after which the solver stops."""


@dataclass(frozen=True)
class Wave:
    """What works at once while an image is alone, and in which engine; none where all is outside of engines."""

    works: Works
    engine: str = ""


@dataclass(frozen=True)
class TimedFolds:
    """What is chosen from in one place: ``[folds, kinds]`` what each takes, ``[folds, layers]`` cycles, ``[folds]`` delay of all layers."""

    folds: tuple[Folding, ...]
    used: np.ndarray
    cycles: np.ndarray
    delay: np.ndarray

    @classmethod
    def of(cls, folds: Sequence[Folding], family: PartFamily = ULTRASCALE) -> TimedFolds:
        """Of a unit's folds, without those that are worse than another one in everything."""
        used = used_by(folds, family)
        cycles = np.array([[own.cycles for own in fold.each] for fold in folds], dtype=float)
        delay = np.array([sum(own.delay for own in fold.each) for fold in folds], dtype=float)
        kept = thriftiest(np.column_stack([used, cycles, delay]))
        return cls(tuple(folds[i] for i in kept), used[kept], cycles[kept], delay[kept])

    def within(self, cycles: float) -> TimedFolds:
        """Those that an image takes at most so many cycles in, in all layers."""
        kept = np.flatnonzero(self.cycles.sum(1) <= cycles)
        return TimedFolds(tuple(self.folds[i] for i in kept), self.used[kept], self.cycles[kept], self.delay[kept])

    @classmethod
    def without_time(cls, candidates: Candidates, count: int) -> TimedFolds:
        """``count`` times the same candidate of what costs no time."""
        folds = len(candidates.folds)
        return cls(candidates.folds, count * candidates.used, np.zeros((folds, 0)), np.zeros(folds))


def timed_folds(problem: Problem, near: Solved | None = None, slower: float = 1.0) -> tuple[TimedFolds, ...] | None:
    """What there is to choose for each unit: folds for intervals around ``slower`` times the problem's guess, or, closer to each other,
    around those that the units of ``near`` have; None where a unit has no fold so fast."""
    if near is None:
        guess = slower * problem.guess
        folds = [_folds(unit, problem, guess * _share(unit), FASTEST, SLOWEST, COARSE) for unit in problem.units]
    else:
        folds = [_near(unit, problem, folding) for unit, folding in zip(problem.units, near.foldings, strict=True)]
    return tuple(TimedFolds.of(own, problem.styles.family) for own in folds) if all(folds) else None


def _near(unit: PlanUnit, problem: Problem, folding: Folding) -> list[Folding]:
    """A unit's folding, and folds for intervals near to its own, with wider inputs too."""
    found = _folds(unit, problem, sum(own.cycles for own in folding.each), 1 / NEAR, NEAR, FINE)
    best = TimedFolds.of([*found, folding], problem.styles.family).folds
    return [*best, *(wider for fold in best for wider in fold.with_wider_inputs(unit.layers))]


def _share(unit: PlanUnit) -> float:
    return OUTSIDE if unit.when is When.OUTSIDE else 1.0


def _folds(unit: PlanUnit, problem: Problem, interval: float, least: float, most: float, ratio: float) -> list[Folding]:
    """Folds for intervals from ``least`` to ``most`` times one."""
    steps = math.ceil(math.log(most / least, ratio))
    intervals = (max(1, int(interval * least * ratio**step)) for step in range(steps + 1))
    return list(dict.fromkeys(fold for own in intervals for fold in unit.candidates(own, problem.styles)))


def soonest(problem: Problem, options: Sequence[TimedFolds], waves: Sequence[Wave]) -> Solved | None:
    """The solution whose waves and delays together are shortest, within what is left of the room; None where nothing fits, or a unit has no
    folds.

    Its interval is the time of an image in the fastest engine, the sum of its waves. Its gap is by how much a shorter time is not ruled out,
    of other choices among ``options``.

    Args:
        options: of the units (:func:`timed_folds`).
    """
    left = problem.room - problem.taken
    if np.any(left < 0) or not all(option.folds for option in options):
        return None
    beside = Counter(problem.between)
    options = [*options, *(TimedFolds.without_time(candidates, count) for (candidates, _), count in beside.items())]
    places = [*problem.places, *(place for _, place in beside)]
    scale = float(problem.guess)
    found = _program(options, places, waves, left, problem.room.sum(0), scale)
    if found is None:
        return None
    x, gap = found
    starts = np.cumsum([0, *(len(option.folds) for option in options)])
    chosen = [option.folds[int(np.argmax(x[a:b]))] for option, (a, b) in zip(options, pairwise(starts))]
    foldings = tuple(unit.folding.folded_as(fold) for unit, fold in zip(problem.units, chosen))
    intervals: dict[str, float] = defaultdict(float)
    for wave, length in zip(waves, x[starts[-1] :], strict=True):
        intervals[wave.engine] += scale * float(length)
    return Solved(int(min(time for engine, time in intervals.items() if engine)), foldings, gap)


def _program(
    options: Sequence[TimedFolds], places: Sequence[int], waves: Sequence[Wave], left: np.ndarray, part: np.ndarray, scale: float
) -> tuple[np.ndarray, float] | None:
    """One fold of each option and the length of each wave, ``[folds + waves]``, and the gap to the solver's bound; None where nothing fits.

    Times are shares of ``scale``.
    """
    sizes = [len(option.folds) for option in options]
    owner, starts, size = np.repeat(np.arange(len(options)), sizes), np.cumsum([0, *sizes]), sum(sizes)
    works: dict[tuple[int, int], list[int]] = {}  # layers, by the numbers of a wave and of a unit
    for number_of_wave, of_wave in enumerate(waves):
        for number, layer in of_wave.works:
            works.setdefault((number_of_wave, number), []).append(layer)
    busy = lil_matrix((len(works), size + len(waves)))  # a wave less the cycles of a unit that works in it
    for row, ((wave, number), layers) in enumerate(works.items()):
        busy[row, starts[number] : starts[number + 1]] = -options[number].cycles[:, layers].sum(1) / scale
        busy[row, size + wave] = 1
    one = csr_matrix((np.ones(size), (owner, np.arange(size))), (len(options), size + len(waves)))
    used = np.concatenate([option.used for option in options])
    room = np.maximum(left, 1)
    amounts = [np.where(np.asarray(places)[owner, None] == place, used / own, 0).T for place, own in enumerate(room)]
    taken = np.column_stack([np.concatenate(amounts), np.zeros((left.size, len(waves)))])
    delay = np.concatenate([option.delay for option in options]) / scale
    price = PART * (used / np.maximum(part, 1)).sum(1)
    with quiet():
        result = milp(
            np.concatenate([delay + price, np.ones(len(waves))]),
            constraints=[
                LinearConstraint(one, 1, 1), LinearConstraint(busy.tocsr(), 0, np.inf),
                LinearConstraint(taken, -np.inf, (left / room).reshape(-1)),
            ],
            integrality=np.repeat([1, 0], [size, len(waves)]),
            bounds=Bounds(0, np.repeat([1, np.inf], [size, len(waves)])),
            options={"mip_rel_gap": GAP, "node_limit": MOST_NODES},
        )  # fmt: skip
    return None if result.x is None else (result.x, max(0.0, float(result.mip_gap)))
