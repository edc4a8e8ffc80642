"""Folding: parallelism of every op from exact (sparse) cycle counts, for an interval or for a part."""

from __future__ import annotations

from collections.abc import Callable

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

MAX_UTILISATION = {"LUT": 0.7, "DSP": 0.8, "BRAM_18K": 0.8, "URAM": 0.8}
"""Shares of a part that folding may plan with; routing needs the rest."""


STREAM_SLACK = 0.8
"""Ops without products get this share of the interval: they are cheap, and must not be what limits it."""


class FoldForInterval(Transformation):
    """Give every hardware op the cheapest folding whose cycles per frame are at most ``interval``."""

    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval

    def apply(self, model: ModelWrapper):
        for node in model.graph.node:
            op = getCustomOp(node)
            goal = self.interval if op.macs() else max(1, int(self.interval * STREAM_SLACK))
            for name, value in op.fold_for(goal).items():
                op.set_nodeattr(name, value)
        return model, False


def slowest_cycles(model: ModelWrapper) -> int:
    """Cycles per frame of the slowest node."""
    return max(getCustomOp(n).get_exp_cycles() for n in model.graph.node)


def estimated_resources(model: ModelWrapper, fpga_part: str) -> dict[str, float]:
    """Sum of the ops' estimates: LUT, DSP, BRAM_18K, URAM."""
    total = dict.fromkeys(MAX_UTILISATION, 0.0)
    for node in model.graph.node:
        for key, value in getCustomOp(node).node_res_estimation(fpga_part).items():
            if key in total:
                total[key] += value
    return total


def fold_to_fill(model: ModelWrapper, fpga_part: str, available: dict[str, int],
                 report: Callable[[str], None] = lambda text: None) -> ModelWrapper:
    """Smallest interval whose estimate stays within :data:`MAX_UTILISATION` of the part, by bisection.

    Args:
        available: what the part offers, by the keys of :data:`MAX_UTILISATION`.
    Returns:
        The folded model; where even the slowest folding does not fit, that one (the caller reports it).
    """

    def fits(candidate: ModelWrapper) -> bool:
        used = estimated_resources(candidate, fpga_part)
        return all(used[k] <= share * available[k] for k, share in MAX_UTILISATION.items() if used[k])

    slow = model.transform(FoldForInterval(1 << 40), make_deepcopy=True)
    low, high = 1, slowest_cycles(slow)
    best = slow
    if not fits(slow):
        report(f"interval {high} cycles, the slowest folding: does not fit")
        return slow
    while low < high:
        middle = int((low * high) ** 0.5) if high > 2 * low else (low + high) // 2
        candidate = model.transform(FoldForInterval(middle), make_deepcopy=True)
        reached = slowest_cycles(candidate)
        if fits(candidate):
            best, high = candidate, min(middle, reached)
        else:
            low = middle + 1
        report(f"interval {reached} cycles: {'fits' if best is candidate else 'does not fit'}")
        if high - low < max(1, high // 50):
            break
    return best
