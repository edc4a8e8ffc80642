"""Folding: parallelism of every op from exact (sparse) cycle counts, for an interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, STREAM_SLACK, Folding
from finn_vitprune.custom_ops.op.memory import Estimate

SLOWEST = 1 << 40
"""An interval in cycles that every op keeps with its slowest fold."""


@dataclass(frozen=True)
class GraphFolding:
    """The foldings of a model's nodes, in their order: a search works on these, and writes the result once."""

    nodes: tuple[Folding, ...]

    @classmethod
    def of(cls, model: ModelWrapper) -> GraphFolding:
        """Those that the model has."""
        return cls(tuple(getCustomOp(node).folding() for node in model.graph.node))

    @property
    def cycles(self) -> int:
        """Cycles per frame of the slowest node."""
        return max(_cycles(node) for node in self.nodes)

    @property
    def resources(self) -> Estimate:
        """Sum of the nodes' estimates."""
        return sum(map(_resources, self.nodes), Estimate())

    def for_interval(self, interval: int) -> GraphFolding:
        """The cheapest folding of every node whose cycles per frame are at most ``interval``."""
        slack = max(1, int(interval * STREAM_SLACK))
        return GraphFolding(tuple(_chosen(node, interval if node.macs else slack) for node in self.nodes))

    def write(self, model: ModelWrapper) -> None:
        """Set the attributes of the nodes of ``model``, which these foldings are of."""
        for node, folding in zip(model.graph.node, self.nodes, strict=True):
            op = getCustomOp(node)
            for name, value in folding.attributes().items():
                op.set_nodeattr(name, value)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _chosen(folding: Folding, interval: int) -> Folding:
    return folding.for_interval(interval)


_cycles = lru_cache(maxsize=FOLDINGS_KEPT)(attrgetter("cycles"))
_resources = lru_cache(maxsize=FOLDINGS_KEPT)(attrgetter("resources"))


class FoldForInterval(Transformation):
    """Give every hardware op the cheapest folding whose cycles per frame are at most ``interval``."""

    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval

    def apply(self, model: ModelWrapper):
        GraphFolding.of(model).for_interval(self.interval).write(model)
        return model, False


def slowest_cycles(model: ModelWrapper) -> int:
    """Cycles per frame of the slowest node."""
    return max(getCustomOp(n).get_exp_cycles() for n in model.graph.node)
