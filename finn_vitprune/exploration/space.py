"""What is explored: networks at several bits and kept shares, on several parts, on several numbers of engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from finn_vitprune.errors import UserError

Goal = Literal["throughput", "latency"]


@dataclass(frozen=True)
class Variant:
    """A network: a QONNX file as it is, or what import makes of a float file at some bits and kept shares.

    Attributes:
        source: the file. bits: of weights and of activations, None as in the file. block_keep, token_keep: exact decimals.
    """

    source: Path
    bits: tuple[int, int] | None = None
    block_keep: str = "1"
    token_keep: str = "1"

    @property
    def imported(self) -> bool:
        """Whether it is made by import."""
        return self.bits is not None

    @property
    def name(self) -> str:
        """The name of its files."""
        if self.bits is None:
            return self.source.stem
        weights, activations = self.bits
        return f"{self.source.stem}_w{weights}a{activations}_rb{self.block_keep}_rt{self.token_keep}"


@dataclass(frozen=True)
class Point:
    """One design: a network on a part, on so many engines (None: hardware for every encoder)."""

    variant: Variant
    part: str
    engines: int | None
    frames_in_flight: int
    goal: Goal

    @property
    def name(self) -> str:
        """What its row and its build folder are called."""
        engines = "pipeline" if self.engines is None else f"e{self.engines}_f{self.frames_in_flight}_{self.goal}"
        return f"{self.variant.name}_{self.part}_{engines}"

    @property
    def engine_options(self) -> tuple[str, ...]:
        """What ``build`` is told of its engines."""
        if self.engines is None:
            return ()
        return ("--engines", str(self.engines), "--frames-in-flight", str(self.frames_in_flight), "--goal", self.goal)


@dataclass(frozen=True)
class Space:
    """All combinations of some choices. Images in flight and goals are those of engines, not of a pipeline."""

    variants: tuple[Variant, ...]
    parts: tuple[str, ...]
    engines: tuple[int | None, ...]
    frames_in_flight: tuple[int, ...]
    goals: tuple[Goal, ...]

    def __post_init__(self) -> None:
        if any(engines is not None for engines in self.engines):
            return
        if self.frames_in_flight != (1,):
            said = ",".join(map(str, self.frames_in_flight))
            raise UserError(f"--frames-in-flight {said}: images in flight are those of engines, add --engines 1, or leave it out")
        if self.goals != ("throughput",):
            raise UserError(f"--goal {','.join(self.goals)}: goals are those of engines, add --engines 1, or leave it out")

    def points(self) -> Iterator[Point]:
        """Each once, those of one network together."""
        for variant, part, engines in product(self.variants, self.parts, self.engines):
            ways = [(1, "throughput")] if engines is None else product(self.frames_in_flight, self.goals)
            for frames, goal in ways:
                yield Point(variant, part, engines, frames, goal)


def variants_of(
    sources: tuple[Path, ...], bits: tuple[tuple[int, int], ...], block_keep: tuple[str, ...], token_keep: tuple[str, ...]
) -> tuple[Variant, ...]:
    """Every file at all bits and shares; the files as they are where no ``bits`` are given."""
    if not bits:
        return tuple(Variant(source) for source in sources)
    return tuple(Variant(*chosen) for chosen in product(sources, bits, block_keep, token_keep))
