"""Cycles in which multipliers do nothing useful."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class LostCycles:
    """Cycles of a frame in which a unit's multipliers do nothing useful, by reason.

    Attributes:
        padding: of sides that a block does not divide. rows: tokens (or keys) rounded up to those of a step.
        lanes: lanes with fewer blocks than the fullest one. waiting: for ports, the drain, a division or the next group.
    """

    padding: float = 0.0
    rows: float = 0.0
    lanes: float = 0.0
    waiting: float = 0.0

    def __add__(self, other: LostCycles) -> LostCycles:
        return LostCycles(*map(sum, zip(astuple(self), astuple(other))))
