"""Folding on frozen data: a unit at a fold, the cycles of a frame and the resources it takes.

A search never changes a graph. It asks the foldings of the nodes for other foldings, and writes the attributes
of those it chose once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from finn.custom_op.fpgadataflow.hwcustomop import HWCustomOp
from onnx import AttributeProto, NodeProto

from finn_vitprune.custom_ops.memory import Estimate

FOLDINGS_KEPT = 1 << 14
"""Foldings of which cycles and resources are remembered, so that units of equal shape are evaluated once."""


class Folding(ABC):
    """A unit at one fold. Subclasses are frozen dataclasses; units of equal shape have equal foldings."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """Cycles of a frame: the steady interval of overlapping frames."""

    @property
    @abstractmethod
    def resources(self) -> Estimate:
        """What the unit takes."""

    macs = products_per_cycle = 0
    """Matrix products of a frame, and of one cycle."""

    @property
    def ideal_cycles(self) -> float:
        """Cycles of a frame of a unit with products, were all of its multipliers used all the time."""
        return self.macs / self.products_per_cycle

    @abstractmethod
    def attributes(self) -> dict[str, int]:
        """The node attributes that the fold decides."""

    @abstractmethod
    def for_interval(self, interval: int) -> Folding:
        """The cheapest fold with ``cycles <= interval``, else the fastest one."""


@dataclass(frozen=True)
class StreamFolding(Folding):
    """A unit that streams ``simd`` elements a beat, one of ``choices``; nothing is chosen where there are none.

    The formulas are those of ``op``, read from a node of its own with the attributes ``given`` (serialised).
    """

    op: type[HWCustomOp]
    given: frozenset[bytes]
    choices: tuple[int, ...]
    simd: int = 1

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

    def attributes(self) -> dict[str, int]:
        return {"SIMD": self.simd} if self.choices else {}

    def for_interval(self, interval: int) -> Folding:
        folds = [_at(self, simd) for simd in self.choices] or [self]
        return next((fold for fold in folds if fold.cycles <= interval), folds[-1])


@lru_cache(maxsize=FOLDINGS_KEPT)
def _at(folding: StreamFolding, simd: int) -> StreamFolding:
    return replace(folding, simd=simd)
