"""A plan as a problem: units with their candidates, what stands between them, places, and what may be used.

A :class:`Problem` is data. :func:`solve` picks a candidate for every unit and a memory for every FIFO by integer programs
(:mod:`.choice`), one for each place, so that an interval is kept within the room. A graph with hardware for every encoder is
units of one layer; an engine is units of several. Which layers share a unit is part of the problem (:meth:`Problem.joined`), and
so is every change that a plan is asked about: other matrices, another part, another interval.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.custom_ops.mvau.candidates import SLACK
from finn_vitprune.custom_ops.op.folding import STREAM_SLACK, Folding, Styles
from finn_vitprune.errors import UserError
from finn_vitprune.transforms.planning.choice import Candidates, Choice, Item, choose, least_share

GRID = 1.01
"""Ratio of neighbouring intervals of shared units, so that candidates of near ones are looked for once."""
PRODUCT_LUTS = 60
"""LUTs of a product, to guess the first interval."""

Pick = Callable[[Sequence[Item], np.ndarray], Choice | None]
"""Candidates of items within the room ``[kinds]``."""
Between = tuple[tuple[Candidates, int], ...]
"""What stands between units, FIFOs in any memory, and the place of each."""


class When(Enum):
    """Which of the :class:`Paces` a unit has."""

    BEFORE = "before the attention of an engine"
    REST = "from the attention on, or no part of an engine"
    OUTSIDE = "outside of engines: what it makes of the interval is counted, so it may be late"


class Paces(NamedTuple):
    """Intervals of units before the attention and outside of engines, as shares of that of the rest."""

    before: float = 1.0
    outside: float = 1.0

    def of(self, when: When) -> float:
        return {When.BEFORE: self.before, When.OUTSIDE: self.outside}.get(when, 1.0)


@dataclass(frozen=True)
class PlanUnit:
    """Hardware that gets a fold: of one layer, or of several that it does one after another.

    Attributes:
        name: of its node. folding: as it is before the plan.
        layers: foldings of the layers that share it; none where it is a layer itself.
        alike: whether units of equal shape in one place get the same fold, with memories for the masks of all; else each has its
            own, with memories for any mask.
    """

    name: str
    folding: Folding
    layers: tuple[Folding, ...] = ()
    when: When = When.REST
    alike: bool = False

    @property
    def macs(self) -> int:
        """Products of a frame, in all layers together."""
        return sum(own.macs for own in self.folding.each)

    def interval(self, base: int, paces: Paces) -> int:
        """Its interval for that of the plan."""
        wanted = base * paces.of(self.when)
        return on_grid(wanted) if self.layers else max(1, int(wanted))

    def candidates(self, interval: int, styles: Styles) -> tuple[Folding, ...]:
        """Its folds for an interval; outside of engines the fastest one at worst.

        Units without products are cheap, and must not be what limits the interval.
        """
        slack = interval if self.folding.macs else max(1, int(interval * STREAM_SLACK))
        found = self.folding.candidates(slack, styles, self.layers)
        if not found and self.when is When.OUTSIDE:
            return (self.folding.for_interval(slack),)
        return found or self.folding.candidates(interval, styles, self.layers)

    def keeps(self, folding: Folding, interval: int) -> bool:
        """Whether it keeps its interval at a fold: masks are less even than candidates take them to be."""
        if not folding.macs or self.when is When.OUTSIDE:
            return True
        return sum(own.cycles for own in folding.each) <= (SLACK * interval if self.layers else interval)

    def joined(self, others: Sequence[PlanUnit]) -> PlanUnit:
        """One unit for the layers of all."""
        layers = tuple(layer for unit in (self, *others) for layer in unit.layers or (unit.folding,))
        return replace(self, folding=self.folding.joined([unit.folding for unit in others]), layers=layers, alike=False)


class Catalogue:
    """What is looked for once: candidates of units, those of them that are late with the masks at hand, solutions."""

    def __init__(self) -> None:
        self.known: dict[Hashable, Candidates] = {}
        self.late: dict[int, set[Folding]] = defaultdict(set)
        self.solved: dict[Hashable, Solved | None] = {}

    def candidates(self, units: Sequence[PlanUnit], interval: int, styles: Styles) -> Candidates:
        """Of units that get the same fold."""
        key = tuple(unit.name for unit in units), interval, styles
        if key not in self.known:
            found, members = units[0].candidates(interval, styles), [unit.folding for unit in units]
            folds = [fold.with_room_for(members) for fold in found] if units[0].alike else found
            self.known[key] = Candidates.of(folds, styles.family)
        late = self.late[interval]
        return self.known[key].only(lambda fold: fold not in late) if late else self.known[key]


@dataclass(frozen=True)
class Picked:
    """The folding of every unit, the candidate that it is of, and ``[places, kinds]`` what they and what is between them take."""

    foldings: tuple[Folding, ...]
    candidates: tuple[Folding, ...]
    used: np.ndarray


@dataclass(frozen=True)
class Solved:
    """Foldings with which every unit keeps its interval for that of a plan; ``gap``: as in :class:`Plan`."""

    interval: int
    foldings: tuple[Folding, ...]
    gap: float | None = None


@dataclass(frozen=True)
class Problem:
    """What is planned.

    Attributes:
        places: of the units. between: what stands between them and has candidates, as last counted.
        room: ``[places, kinds]`` what may be used. taken: ``[places, kinds]`` of it by what nothing is chosen for.
        prices: ``[kinds]`` of a unit of each resource. styles: what candidates may use.
    """

    units: tuple[PlanUnit, ...]
    places: tuple[int, ...]
    room: np.ndarray
    taken: np.ndarray
    prices: np.ndarray
    styles: Styles
    between: Between = ()
    paces: Paces = field(default_factory=Paces)
    catalogue: Catalogue = field(default_factory=Catalogue, compare=False, repr=False)

    @classmethod
    def of(cls, units: Sequence[PlanUnit], room: np.ndarray, prices: np.ndarray, styles: Styles, places: Sequence[int] = ()) -> Problem:
        """With nothing between the units, all in the first place unless ``places`` says another one."""
        return cls(tuple(units), tuple(places) or (0,) * len(units), room, np.zeros_like(room), prices, styles)

    def placed(self, places: Sequence[int], between: Between, room: np.ndarray) -> Problem:
        """Units, and what stands between them, in other places with this ``room``."""
        return replace(self, places=tuple(places), between=between, room=room, taken=np.zeros_like(room))

    @property
    def whole(self) -> Problem:
        """The same with all places as one."""
        between = tuple((candidates, 0) for candidates, _ in self.between)
        return self.placed((0,) * len(self.units), between, self.room.sum(0, keepdims=True))

    def with_room(self, room: np.ndarray, styles: Styles) -> Problem:
        """On another part, or within another budget."""
        return replace(self, room=room, taken=np.zeros_like(room), styles=styles)

    def with_units(self, units: Iterable[PlanUnit]) -> Problem:
        """Other units in the places of these."""
        return replace(self, units=tuple(units), catalogue=Catalogue())

    def joined(self, *names: str) -> Problem:
        """The layers of these units on one, where the first of them is.

        Raises:
            UserError: there is no such unit, or they cannot share one.
        """
        if missing := [name for name in names if name not in {unit.name for unit in self.units}]:
            raise UserError(f"no unit {missing[0]}: use {', '.join(unit.name for unit in self.units if unit.macs)}")
        first, *others = (unit for unit in self.units if unit.name in names)
        one = first.joined(others)
        kept = [(one if unit is first else unit, place) for unit, place in zip(self.units, self.places) if unit not in others]
        units, places = zip(*kept)
        return replace(self.with_units(units), places=places)

    @property
    def guess(self) -> int:
        """An interval to begin with: two products a DSP slice, and those that the LUTs have room for."""
        luts, dsps, *_ = self.room.sum(0)
        return int(sum(unit.macs for unit in self.units) / max(1, 2 * dsps + luts / PRODUCT_LUTS))

    def used_by(self, amounts: Sequence[Sequence[float]]) -> np.ndarray:
        """``[places, kinds]``: what is used where each unit takes these ``amounts``."""
        found = np.zeros_like(self.room)
        np.add.at(found, list(self.places), amounts)
        return found

    def cheapest(self, items: Sequence[Item], room: np.ndarray) -> Choice | None:
        """The pick that takes the least by the prices."""
        return choose(items, room, self.prices)

    def pick(self, interval: int, pick: Pick) -> Picked | None:
        """What is picked in each place, whether or not masks make a unit late; None where a unit, or a place, has no choice."""
        candidates: dict[int, Folding] = {}
        used = np.zeros_like(self.room)
        for place in range(len(self.room)):
            groups, items = list(self._groups(place).values()), []
            for numbers in groups:
                units = [self.units[n] for n in numbers]
                found = self.catalogue.candidates(units, units[0].interval(interval, self.paces), self.styles)
                if not found.folds:
                    return None
                items.append(Item(found, len(units)))
            counts: dict[Candidates, int] = defaultdict(int)
            for found, own in self.between:
                counts[found] += own == place
            items += [Item(found, count) for found, count in counts.items() if count]
            if (choice := pick(items, self.room[place] - self.taken[place])) is None:
                return None
            used[place] = choice.used
            candidates |= {n: fold for numbers, fold in zip(groups, choice.picks) for n in numbers}
        chosen = tuple(candidates[n] for n in range(len(self.units)))
        return Picked(tuple(unit.folding.folded_as(fold) for unit, fold in zip(self.units, chosen)), chosen, used)

    def _groups(self, place: int) -> dict[Hashable, list[int]]:
        """The units of a place, alike ones together."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, (unit, own) in enumerate(zip(self.units, self.places)):
            if own == place:
                groups[unit.folding.shape if unit.alike else unit.name].append(number)
        return groups


def even(items: Sequence[Item], room: np.ndarray) -> Choice:
    """The pick with which the fullest resource is least full."""
    return least_share(items, room)


def mixed(items: Sequence[Item], room: np.ndarray) -> Choice:
    """The same where candidates may be mixed: no pick fills the fullest resource less."""
    return least_share(items, room, relaxed=True)


def solve(problem: Problem, interval: int, pick: Pick | None = None) -> Solved | None:
    """The foldings that ``pick`` takes (None: the cheapest) with which every unit keeps its interval; None without any."""
    known, arrays = problem.catalogue.solved, (problem.room, problem.taken, problem.prices)
    key = interval, pick, problem.places, problem.between, problem.styles, problem.paces, *(array.tobytes() for array in arrays)
    if key not in known:
        known[key] = _solved(problem, interval, pick or problem.cheapest)
    return known[key]


def _solved(problem: Problem, interval: int, pick: Pick) -> Solved | None:
    while (found := problem.pick(interval, pick)) is not None:
        late: dict[int, set[Folding]] = defaultdict(set)
        for unit, folding, candidate in zip(problem.units, found.foldings, found.candidates):
            if not unit.keeps(folding, own := unit.interval(interval, problem.paces)):
                late[own].add(candidate)
        if not late:
            return Solved(interval, found.foldings)
        for own, folds in late.items():
            problem.catalogue.late[own] |= folds
    return None


@dataclass(frozen=True)
class Plan:
    """A graph with a fold for every unit, and what it takes.

    Attributes:
        graph: with nothing inserted. interval: cycles of a frame. base: those of a unit, where these are others.
        used: ``[slrs, kinds]``, all that stands between units counted. room: ``[slrs, kinds]``, the budget.
        gap: by how much a shorter interval, or latency where that is the goal, is not ruled out, as a share; None where that is not known.
    """

    graph: ModelWrapper
    interval: int
    base: int
    used: np.ndarray
    room: np.ndarray
    gap: float | None = None

    @property
    def fits(self) -> bool:
        """Whether everything is within the budget."""
        return bool(np.all(self.used <= self.room))

    def write(self, model: ModelWrapper) -> None:
        """Give the nodes of ``model``, which the plan is of, the attributes that they have in the plan."""
        for node, planned in zip(model.graph.node, self.graph.graph.node, strict=True):
            del node.attribute[:]
            node.attribute.extend(planned.attribute)


class Steps(NamedTuple):
    """The numbers that :func:`smallest` tries first, ``above`` and ``below`` one, and the share by which it ends."""

    above: Callable[[int, int], int]
    below: Callable[[int, int], int]
    end: float = 0.0


def smallest(fits: Callable[[int], bool], least: int, first: int, most: int, steps: Steps) -> int | None:
    """The smallest number from ``least`` to ``most`` that fits, looked for from ``first`` on; None where there is none."""
    low, high, times = least - 1, first, 0
    while not fits(high):
        if high >= most or (low < least and not fits(most)):
            return None
        low, high, times = high, min(most, steps.above(high, times)), times + 1
    while low < least and high > least:
        tried, times = max(least, steps.below(high, times)), times + 1
        low, high = (low, tried) if fits(tried) else (tried, high)
    while high - low > max(1, steps.end * low):
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def on_grid(interval: float) -> int:
    """The interval of the grid below."""
    return max(1, int(GRID ** place_on_grid(interval)))


def place_on_grid(interval: float) -> int:
    return max(0, math.floor(math.log(max(1.0, interval)) / math.log(GRID) + 1e-9))
