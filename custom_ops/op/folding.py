"""Folding on frozen data: a unit at a fold, the cycles of a frame and the resources it takes.

A search never changes a graph. It asks the foldings of the nodes for other foldings, and writes the attributes
of those it chose once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Self

import numpy as np
from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from onnx import AttributeProto, NodeProto

from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.errors import UserError
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.synth.lost import LostCycles

STREAM_SLACK = 0.8
"""Ops without products get this share of the interval: they are cheap, and must not be what limits it."""
FOLDINGS_KEPT = 1 << 14
"""Foldings of which cycles and resources are remembered, so that units of equal shape are evaluated once."""

Attributes = tuple[tuple[str, int | str], ...]
"""Names and values."""


@dataclass(frozen=True)
class Styles:
    """What a choice may use: MAC implementations of matrix units, and places of memories; of which family."""

    mac: tuple[str, ...] = ULTRASCALE.mac
    ram: tuple[str, ...] = ULTRASCALE.ram
    family: PartFamily = ULTRASCALE

    @property
    def without_ultra(self) -> Styles:
        """The same without UltraRAM."""
        return replace(self, ram=tuple(style for style in self.ram if style != "ultra"))


class Folding(ABC):
    """A unit at one fold. Subclasses are frozen dataclasses; units of equal shape have equal foldings."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Cycles of a frame: the steady interval of overlapping frames."""

    @property
    @abstractmethod
    def resources(self) -> Estimate:
        """What the unit takes on UltraScale+."""

    @property
    @abstractmethod
    def made_of(self) -> UnitParts:
        """What the unit is made of, from which other families tell what it takes."""

    def amounts(self, family: PartFamily) -> tuple[float, ...]:
        """What the unit takes of a part of the family, in the order of its kinds."""
        return self.resources.amounts if family == ULTRASCALE else ecp5.estimate(self.made_of).amounts

    @property
    def delay(self) -> int:
        """Cycles from a frame's last token in to its last one out, where tokens come no faster than they are taken; 0 where few."""
        return 0

    @property
    def macs(self) -> int:
        """Matrix products of a frame."""
        return 0

    @property
    def products_per_cycle(self) -> int:
        """Matrix products of a cycle."""
        return 0

    @property
    def each(self) -> tuple[Folding, ...]:
        """The folding as each encoder has it that shares the unit; itself where none does."""
        return (self,)

    @property
    def ideal_cycles(self) -> float:
        """Cycles of a frame of a unit with products, were all of its multipliers used all the time."""
        return self.macs / self.products_per_cycle

    @property
    def lost(self) -> LostCycles:
        """Why ``cycles`` are more than the ideal ones, of a unit with products: together they are the difference."""
        return LostCycles(waiting=self.cycles - self.ideal_cycles)

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        """The unit's memories; their resources are part of :attr:`resources`."""
        return ()

    @abstractmethod
    def attributes(self) -> Mapping[str, int | str]:
        """The node attributes that the fold decides."""

    @abstractmethod
    def for_interval(self, interval: int) -> Folding:
        """The cheapest fold with ``cycles <= interval``, else the fastest one."""

    def candidates(self, interval: int, styles: Styles, layers: Sequence[Self] = ()) -> tuple[Folding, ...]:
        """Folds to choose from, with which a frame takes at most ``interval`` cycles in all of :attr:`each` together.

        None of them takes as much of every resource as another one. There are none where the unit cannot be so fast.

        Args:
            layers: that the unit does, which must be able to have its fold, too.
        """
        fold = self.for_interval(interval)
        return (fold,) if fold.cycles <= interval else ()

    def with_wider_inputs(self, layers: Sequence[Self] = ()) -> tuple[Folding, ...]:
        """The same fold with wider inputs, through which a token is there sooner; none where that is not to choose.

        Args:
            layers: as in :meth:`candidates`.
        """
        return ()

    def in_memories(self, styles: Styles) -> tuple[Folding, ...]:
        """The unit with its RAM in every memory that it can be in, without those that are worse in everything; itself where that is
        part of its fold, or nothing to choose."""
        return (self,)

    @property
    def shape(self) -> Hashable:
        """Units of equal shape can have equal folds, and their candidates are the same."""
        return self

    def with_room_for(self, units: Sequence[Self]) -> Self:
        """This fold such that all ``units``, which are of this shape, can have it."""
        return self

    def folded_as(self, other: Self) -> Self:
        """This unit at the fold of ``other``, a unit of equal shape that has room for this one."""
        return other

    def joined(self, others: Sequence[Self]) -> Folding:
        """One unit that does the layers of all, one after another.

        Raises:
            UserError: they cannot share a unit.
        """
        raise UserError("layers without a matrix cannot share a unit: use layers with one")


def used_by(folds: Sequence[Folding], family: PartFamily = ULTRASCALE) -> np.ndarray:
    """``[folds, kinds]``: what each takes of a part of the family, in the order of its kinds."""
    return np.array([fold.amounts(family) for fold in folds], dtype=float).reshape(-1, len(family.kinds))


def thriftiest(used: np.ndarray, admits: Callable[[int], bool] = lambda i: True) -> list[int]:
    """Those which ``admits`` takes and of which no other such takes at most as much of every resource (of equals the first).

    Args:
        used: ``[folds, kinds]`` what each takes. admits: is asked of as few as can be.
    Returns:
        Their places in ``used``, from the one that takes least of the first resource.
    """
    order = np.lexsort(used.T[::-1])
    kept, beaten = [], np.zeros(len(order), dtype=bool)
    for i in order:
        if not beaten[i] and admits(int(i)):
            kept.append(int(i))
            beaten |= np.all(used[i] <= used, axis=1)
    return kept


@dataclass(frozen=True)
class StreamFolding(Folding):
    """A unit at ``fold``, one of ``choices``; nothing is chosen where there are none.

    The formulas are those of ``op``, read from a node of its own with the attributes ``given`` (serialised).

    Attributes:
        choices: from the cheapest to the fastest one.
    """

    op: type[HWCustomOp]
    given: frozenset[bytes]
    choices: tuple[Attributes, ...] = ()
    fold: Attributes = ()

    @cached_property
    def _op(self) -> HWCustomOp:
        attributes = [AttributeProto.FromString(text) for text in self.given]
        op = self.op(NodeProto(op_type=self.op.__name__, attribute=attributes))
        for name, value in self.attributes().items():
            op.set_nodeattr(name, value)
        return op

    @cached_property
    def cycles(self) -> int:
        return self._op.get_exp_cycles()

    @cached_property
    def resources(self) -> Estimate:
        return self._op.resources()

    @cached_property
    def made_of(self) -> UnitParts:
        return self._op.made_of()

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return self._op.memory_map()

    def attributes(self) -> dict[str, int | str]:
        return dict(self.fold)

    def for_interval(self, interval: int) -> Folding:
        folds = [_at(self, fold) for fold in self.choices] or [self]
        return next((fold for fold in folds if fold.cycles <= interval), folds[-1])


@lru_cache(maxsize=FOLDINGS_KEPT)
def _at(folding: StreamFolding, fold: Attributes) -> StreamFolding:
    return replace(folding, fold=fold)
