"""Folding: parallelism of every op from exact (sparse) cycle counts, for an interval or for a part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from operator import attrgetter

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.custom_ops.folding import FOLDINGS_KEPT, Folding
from finn_vitprune.custom_ops.memory import Estimate
from finn_vitprune.synth.parts import Part

MAX_UTILISATION = {"LUT": 0.7, "DSP": 0.8, "BRAM_18K": 0.8, "URAM": 0.8}
"""Shares of a part that folding may plan with; routing needs the rest."""


STREAM_SLACK = 0.8
"""Ops without products get this share of the interval: they are cheap, and must not be what limits it."""

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

    def fits(self, part: Part) -> bool:
        """Whether the estimates stay within :data:`MAX_UTILISATION` of the part."""
        used, offer = asdict(self.resources), asdict(offered(part))
        return all(used[k] <= share * offer[k] for k, share in MAX_UTILISATION.items() if used[k])

    def to_fill(self, part: Part, report: Callable[[str], None] = lambda text: None) -> GraphFolding:
        """That of the smallest interval which :meth:`fits`, by bisection.

        Where even the slowest folding does not fit, that one (the caller reports it).
        """
        best = self.for_interval(SLOWEST)
        low, high = 1, best.cycles
        if not best.fits(part):
            report(f"interval {high} cycles, the slowest folding: does not fit")
            return best
        while low < high:
            middle = int((low * high) ** 0.5) if high > 2 * low else (low + high) // 2
            candidate = self.for_interval(middle)
            reached = candidate.cycles
            if candidate.fits(part):
                best, high = candidate, min(middle, reached)
            else:
                low = middle + 1
            report(f"interval {reached} cycles: {'fits' if best is candidate else 'does not fit'}")
            if high - low < max(1, high // 50):
                break
        return best

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


def offered(part: Part) -> Estimate:
    """What a part has."""
    return Estimate(part.LUT, part.DSP, 2 * part.BRAM36, part.URAM)


def slowest_cycles(model: ModelWrapper) -> int:
    """Cycles per frame of the slowest node."""
    return max(getCustomOp(n).get_exp_cycles() for n in model.graph.node)
