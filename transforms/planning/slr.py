"""Which nodes stand in which die (super logic region, SLR): cuts of the graph order under each SLR's capacity."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.synth.family import ULTRASCALE, PartFamily
from finn_vitprune.transforms.streams.edges import slr_of, stream_edges

SLACK = 0.02
"""Share of an SLR by which the fullest one may exceed the best possible where that saves wires between SLRs."""


@dataclass(frozen=True)
class Cut:
    """Nodes in graph order, dealt to SLRs.

    Attributes:
        starts: the first node of each SLR, from SLR0 on; that of the next one, or the number of nodes, where it has none.
        shares: of each SLR, the largest share of its capacity that is used of any resource.
    """

    starts: tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def fits(self) -> bool:
        """Whether every SLR holds its nodes."""
        return max(self.shares) <= 1

    def slrs(self, nodes: int) -> np.ndarray:
        """The SLR of each of ``nodes`` nodes ``[nodes]``."""
        return np.searchsorted(self.starts, np.arange(nodes), side="right") - 1


def cut(used: np.ndarray, capacity: np.ndarray, crossing_bits: np.ndarray, slack: float = SLACK) -> Cut:
    """Deal nodes in graph order to SLRs: each SLR gets a run of them, possibly none.

    Where all SLRs can hold their nodes: of the deals whose fullest SLR is filled to at most the least possible share
    plus ``slack`` (and to at most 1), that with the fewest bits between SLRs, then the least share. Otherwise that with
    the least share. Exact, by dynamic programming in ``slrs * nodes**2`` steps of NumPy.

    Args:
        used: resources of each node ``[nodes, kinds]``, not negative.
        capacity: what each SLR offers ``[slrs, kinds]``; a resource of which an SLR has none holds nothing there.
        crossing_bits: ``[nodes - 1]``, bits of the streams that cross a cut after each node but the last.
        slack: how much fuller than necessary the fullest SLR may be.
    Raises:
        ValueError: shapes that do not agree, no node, no SLR, or negative numbers.
    """
    used, capacity, bits = (np.asarray(a, dtype=float) for a in (used, capacity, crossing_bits))
    if used.ndim != 2 or capacity.ndim != 2 or used.shape[1] != capacity.shape[1] or not len(used) or not len(capacity):
        raise ValueError(f"used {used.shape} and capacity {capacity.shape} must be [nodes, kinds] and [slrs, kinds]")
    if bits.shape != (len(used) - 1,):
        raise ValueError(f"crossing_bits {bits.shape} must be [{len(used) - 1}], one for a cut after each node but the last")
    if min(a.min(initial=0) for a in (used, capacity, bits)) < 0 or slack < 0:
        raise ValueError("resources, capacities, bits and slack must not be negative")
    share = _shares(used, capacity)
    best = _least_share(share)
    limit = min(1.0, best + slack) if best <= 1 else best
    starts = _fewest_bits(share, np.concatenate([[0.0], bits, [0.0]]), limit)
    ends = [*starts[1:], len(used)]
    return Cut(tuple(starts), tuple(float(share[s, a, b]) for s, (a, b) in enumerate(zip(starts, ends))))


def crossing_bits(model: ModelWrapper) -> np.ndarray:
    """Bits of the streams that cross a cut after each node but the last ``[nodes - 1]``.

    A stream from a node before the cut to one after it counts with the width of its narrower end (where a crossing
    would stand), residual streams that pass by included; each border of several that it crosses counts.
    """
    place = {node.name: i for i, node in enumerate(model.graph.node)}
    change = np.zeros(len(place), dtype=np.int64)
    for edge in stream_edges(model):
        width = min(getCustomOp(edge.producer).out_streams()[edge.output].width, getCustomOp(edge.consumer).in_streams()[edge.input].width)
        change[place[edge.producer.name]] += width
        change[place[edge.consumer.name]] -= width
    return np.cumsum(change)[:-1]


def used_by_slr(model: ModelWrapper, slrs: int) -> list[Estimate]:
    """Estimates of what stands in each of ``slrs`` SLRs, nodes of no SLR left out.

    Of the two hops of a crossing at each border one stands on either side.

    Args:
        model: the hardware graph with all that is inserted between its units.
    """
    used = [Estimate()] * slrs
    for node in model.graph.node:
        op = getCustomOp(node)
        for slr in slrs_of(model, node):
            used[slr] += op.hop() if op.is_crossing else op.resources()
    return used


def used_by(model: ModelWrapper, family: PartFamily = ULTRASCALE) -> np.ndarray:
    """``[kinds]``: what all nodes take together of a part of the family, by estimate."""
    return np.array([getCustomOp(node).amounts(family) for node in model.graph.node], dtype=float).sum(0)


def used_by_region(model: ModelWrapper, regions: int, family: PartFamily = ULTRASCALE) -> np.ndarray:
    """``[regions, kinds]``: what all nodes take, in their SLRs, where there are several regions."""
    return used_by(model, family)[None] if regions == 1 else np.array([astuple(own) for own in used_by_slr(model, regions)], dtype=float)


def slrs_of(model: ModelWrapper, node: NodeProto) -> list[int]:
    """The SLR of a node, or of each hop of a crossing; none where it has none."""
    op = getCustomOp(node)
    if not op.is_crossing:
        return [slr] if (slr := slr_of(node)) >= 0 else []
    source, sink = (slr_of(n) for n in (model.find_producer(node.input[0]), model.find_consumer(node.output[0])))
    if source == sink:
        return [source] * op.get_nodeattr("stages") if source >= 0 else []
    step = 1 if sink > source else -1
    return [side for border in range(source, sink, step) for side in (border, border + step)]


def _shares(used: np.ndarray, capacity: np.ndarray) -> np.ndarray:
    """Largest share of SLR ``s`` that nodes ``a`` to ``b - 1`` use ``[slrs, nodes + 1, nodes + 1]``; infinite for b < a."""
    total = np.concatenate([np.zeros((1, used.shape[1])), np.cumsum(used, axis=0)])
    need = np.maximum(total[None, :, :] - total[:, None, :], 0)  # [a, b, kinds]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = need[None] / capacity[:, None, None, :]
    share = np.where(need[None] > 0, share, 0.0).max(axis=-1)
    return np.where(np.tri(len(total), k=-1, dtype=bool), np.inf, share)


def _least_share(share: np.ndarray) -> float:
    """The least possible share of the fullest SLR."""
    reached = share[0, 0]  # of the first SLRs with the nodes before b
    for own in share[1:]:
        reached = np.maximum(reached[:, None], own).min(axis=0)
    return float(reached[-1])


def _fewest_bits(share: np.ndarray, cost: np.ndarray, limit: float) -> list[int]:
    """First nodes of the SLRs: fewest bits, then the least share, of the deals that fill no SLR beyond ``limit``.

    Args:
        cost: bits of a cut before node ``b`` ``[nodes + 1]``, 0 at both ends. An SLR without nodes has the cut of its
            neighbour once more: the streams pass through it.
    """
    slrs, size, _ = share.shape
    allowed = np.where(share <= limit, share, np.inf)
    costs = np.where(np.isfinite(allowed[0, 0]), 0.0, np.inf)
    fullest = allowed[0, 0]
    chosen = np.zeros((slrs, size), dtype=np.int64)
    for s in range(1, slrs):
        total = np.where(np.isfinite(allowed[s]), (costs + cost)[:, None], np.inf)
        full = np.maximum(fullest[:, None], allowed[s])
        fewest = total.min(axis=0)
        full = np.where(total == fewest, full, np.inf)
        chosen[s] = size - 1 - full[::-1].argmin(axis=0)  # of equals the one that fills the SLRs before
        costs, fullest = fewest, full.min(axis=0)
    starts, end = [], size - 1
    for s in reversed(range(1, slrs)):
        end = int(chosen[s, end])
        starts.append(end)
    return [0, *reversed(starts)]
