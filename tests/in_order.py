"""Results of jobs in the order of the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

from finn_vitprune import jobs
from finn_vitprune.jobs import J, R


def run_in_order(function: Callable[[J], R], todo: Iterable[J], workers: int, name: Callable[[J], str] = str) -> Iterator[tuple[J, R]]:
    """As :func:`finn_vitprune.jobs.run`, in the order of the jobs."""
    early: dict[int, tuple[J, R]] = {}
    following = 0
    numbered = jobs.run(partial(_second, function), enumerate(todo), workers, lambda job: name(job[1]))
    with closing(numbered):
        for (number, job), result in numbered:
            early[number] = job, result
            while following in early:
                yield early.pop(following)
                following += 1


def _second(function: Callable[[J], R], numbered: tuple[int, J]) -> R:
    return function(numbered[1])
