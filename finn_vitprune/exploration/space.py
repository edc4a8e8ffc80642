"""What is explored: networks at several bits and kept shares, on several parts, on several numbers of engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from finn_vitprune.options.build import Goal
from finn_vitprune.options.explore import PIPELINE, ExploreOptions


@dataclass(frozen=True)
class Variant:
    """A network: a QONNX file as it is, or what import makes of a float file at some bits and kept shares.

    Attributes:
        source: the file. bits: of weights and of activations, as 4/8; empty as in the file. block_keep, token_keep: exact
        decimals.
    """

    source: Path
    bits: str = ""
    block_keep: str = "1"
    token_keep: str = "1"

    @property
    def imported(self) -> bool:
        """Whether it is made by import."""
        return bool(self.bits)

    @property
    def name(self) -> str:
        """The name of its files."""
        if not self.bits:
            return self.source.stem
        weights, activations = self.bits.split("/")
        return f"{self.source.stem}_w{weights}a{activations}_rb{self.block_keep}_rt{self.token_keep}"


@dataclass(frozen=True)
class Point:
    """One design: a network on a part, on so many engines (None: hardware for every encoder)."""

    variant: Variant
    part: str
    engines: int | None = None
    in_flight: int = 1
    goal: Goal = "throughput"

    @property
    def name(self) -> str:
        """What its row and its build folder are called."""
        engines = PIPELINE if self.engines is None else f"e{self.engines}_f{self.in_flight}_{self.goal}"
        return f"{self.variant.name}_{self.part}_{engines}"

    @property
    def engine_options(self) -> dict[str, Any]:
        """What ``build`` is told of its engines."""
        return {} if self.engines is None else {"engines": self.engines, "frames_in_flight": self.in_flight, "goal": self.goal}


def points_of(options: ExploreOptions) -> Iterator[Point]:
    """All combinations, each once, those of one network together.

    Images in flight and goals are those of engines, not of a pipeline.
    """
    for variant, part, engines in product(variants_of(options), options.fpga_part, options.engines):
        if engines == PIPELINE:
            yield Point(variant, part)
        else:
            for frames, goal in product(options.frames_in_flight, options.goal):
                yield Point(variant, part, engines, frames, goal)


def variants_of(options: ExploreOptions) -> tuple[Variant, ...]:
    """Every file at all bits and shares; the files as they are where no bits are given."""
    sources = tuple(path.resolve() for path in options.models)
    if not options.bits:
        return tuple(map(Variant, sources))
    shares = zip(options.block_keep, options.token_keep) if options.pair else product(options.block_keep, options.token_keep)
    return tuple(Variant(source, bits, *kept) for source, bits, kept in product(sources, options.bits, shares))
