"""One candidate for each unit: an integer program over the resources of a region, solved with HiGHS."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp

from finn_vitprune.custom_ops.op.folding import Folding, used_by
from finn_vitprune.synth.family import ULTRASCALE, PartFamily

GAP = 0.01
"""How far from the best cost a solution may be, as a share."""
MOST_NODES = 20_000
"""Branches after which the solver stops; not a time, so that every machine finds the same."""
EVEN = 4.0
"""Weight of the dearest resource beside the sum of all."""
TINY = 1e-3
"""Of a resource that there is none of: any use of it is a large share."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Folds to choose from, and ``[folds, kinds]`` what each takes of a part of the family."""

    folds: tuple[Folding, ...]
    used: np.ndarray

    @classmethod
    def of(cls, folds: Sequence[Folding], family: PartFamily = ULTRASCALE) -> Candidates:
        return cls(tuple(folds), used_by(folds, family))

    def only(self, wanted: Callable[[Folding], bool]) -> Candidates:
        """Those that are ``wanted``."""
        kept = [i for i, fold in enumerate(self.folds) if wanted(fold)]
        return Candidates(tuple(self.folds[i] for i in kept), self.used[kept])


@dataclass(frozen=True)
class Item:
    """``count`` units that get the same one of the candidates."""

    candidates: Candidates
    count: int = 1

    @property
    def used(self) -> np.ndarray:
        """``[candidates, kinds]``: what all of its units take."""
        return self.count * self.candidates.used


@dataclass(frozen=True)
class Choice:
    """The candidate of every item, and ``[kinds]`` what all units take together."""

    picks: tuple[Folding, ...]
    used: np.ndarray


def choose(items: Sequence[Item], room: np.ndarray, prices: np.ndarray) -> Choice | None:
    """The cheapest candidates that fit, at most by :data:`GAP` dearer than the cheapest.

    The cost is the sum over the resources of amount times price, and :data:`EVEN` times the dearest of them: what is used
    of one resource alone makes the part small for everything else.

    Args:
        room: ``[kinds]`` what the items may take. prices: ``[kinds]`` of a unit of each resource.
    Returns:
        None where no candidates fit.
    """
    if np.any(room < 0):
        return None
    if not items:
        return Choice((), np.zeros_like(room))
    costs = np.concatenate([item.used @ prices for item in items])
    scale = max(costs.max(), 1e-12)
    return _solve(items, costs / scale, EVEN, 1 / np.maximum(prices / scale, 1e-12), room)


def least_share(items: Sequence[Item], room: np.ndarray, relaxed: bool = False) -> Choice:
    """The candidates with which the fullest resource is least full, as a share of ``room``.

    Args:
        relaxed: parts of candidates may be mixed, which is much faster; picks are then the largest parts.
    """
    if not items:
        return Choice((), np.zeros_like(room))
    costs = np.zeros(sum(len(item.candidates.folds) for item in items))
    choice = _solve(items, costs, 1.0, np.maximum(room, TINY), None, relaxed)
    assert choice is not None  # nothing bounds it
    return choice


def _solve(
    items: Sequence[Item], costs: np.ndarray, weight: float, shared: np.ndarray, room: np.ndarray | None, relaxed: bool = False
) -> Choice | None:
    """Least ``costs`` + ``weight`` z with used <= z ``shared``, and used <= ``room`` where there is one."""
    starts = np.cumsum([0, *(len(item.candidates.folds) for item in items)])
    size = int(starts[-1])
    each = np.zeros((len(items), size + 1))
    for row, (a, b) in enumerate(itertools.pairwise(starts)):
        each[row, a:b] = 1
    use = np.concatenate([item.used for item in items])  # [candidates, kinds]
    with quiet():
        result = _program(costs, weight, use, shared, room, each, relaxed)
    if result.x is None:
        return None
    x = result.x[:size]
    places = [int(a + np.argmax(x[a:b])) for a, b in itertools.pairwise(starts)]
    used = x @ use if relaxed else use[places].sum(axis=0)
    return Choice(tuple(item.candidates.folds[p - a] for item, p, a in zip(items, places, starts)), used)


def _program(
    costs: np.ndarray, weight: float, use: np.ndarray, shared: np.ndarray, room: np.ndarray | None, each: np.ndarray, relaxed: bool
) -> OptimizeResult:
    """The program itself: one candidate of each row of ``each``; the last variable is z."""
    size, scale = len(costs), np.maximum(use.max(axis=0), 1.0)
    constraints = [LinearConstraint(each, 1, 1), LinearConstraint(np.column_stack([(use / scale).T, -shared / scale]), -np.inf, 0)]
    if room is not None:
        constraints.append(LinearConstraint(np.column_stack([(use / scale).T, np.zeros(len(scale))]), -np.inf, room / scale))
    return milp(
        np.append(costs, weight),
        constraints=constraints,
        integrality=np.append(np.full(size, 0 if relaxed else 1), 0),
        bounds=Bounds(0, np.append(np.ones(size), np.inf)),
        options={"mip_rel_gap": GAP, "node_limit": MOST_NODES},
    )  # fmt: skip


@contextmanager
def quiet() -> Iterator[None]:
    """HiGHS writes words of its developers to the standard output, past Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
