"""The timing estimate of a design: its nodes, the paths between them, and the streams that leave their die."""

from __future__ import annotations

from collections.abc import Mapping

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.synth.timed import BorderTiming, DesignTiming, NodeTiming, ResetPath, SlrCrossing
from finn_vitprune.synth.timing import Timing, broadcast_ns
from finn_vitprune.transforms.streams.edges import StreamEdge, slr_of, stream_edges


def design_timing(model: ModelWrapper, found: Mapping[str, Timing], clk_ns: float) -> DesignTiming:
    """The estimate of a graph whose nodes were all mapped.

    Args:
        found: timing of every node by name.
        clk_ns: period that it is held against.
    """
    nodes = [NodeTiming.of(n.name, n.op_type, found[n.name], clk_ns) for n in model.graph.node]
    edges = stream_edges(model)
    reset = reset_path(model)
    borders = [border for edge in edges for border in _borders(edge, found)]
    borders.append(BorderTiming(source="ap_rst_n", target="the first registers of the reset", taken=reset.taken))
    return DesignTiming.of(clk_ns, nodes, max(borders, key=lambda b: b.taken), slr_crossings(model), reset)


def _borders(edge: StreamEdge, found: Mapping[str, Timing]) -> list[BorderTiming]:
    """Paths over an edge: data and valid along it, ready against it."""
    names = edge.producer.name, edge.consumer.name
    return [
        BorderTiming(source=a, target=b, taken=round(found[a].to_ports + found[b].from_ports, 3))
        for a, b in (names, names[::-1])
        if found[a].to_ports and found[b].from_ports
    ]


def reset_path(model: ModelWrapper) -> ResetPath:
    """How the reset comes to the units of a graph, engines taken apart."""
    ops = [getCustomOp(node) for node in model.graph.node]
    loads = sum(op.reset_bits() for op in ops)
    stages = max(op.get_nodeattr("reset_stages") for op in ops)
    return ResetPath(stages=stages, units=len(ops), loads=loads, taken=broadcast_ns(loads))


def slr_crossings(model: ModelWrapper) -> list[SlrCrossing]:
    """Streams that go from one die to another, in graph order."""
    edges = stream_edges(model)
    before, after = {e.consumer.name: e.producer for e in edges}, {e.producer.name: e.consumer for e in edges}
    found = []
    for node in model.graph.node:
        op = getCustomOp(node)
        if op.is_crossing and node.name in before and node.name in after:
            source, target = slr_of(before[node.name]), slr_of(after[node.name])
            stages, bits = op.get_nodeattr("stages"), op.source.width
            if source != target:
                found.append(SlrCrossing(node=node.name, source=source, target=target, bits=bits, stages=stages))
    return found
