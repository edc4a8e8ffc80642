"""The places of a design: its units and streams, placed on the columns of its part, and its timing with distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.records.folding_file import inserted
from finn_vitprune.builds.records.timing import reset_path
from finn_vitprune.custom_ops.op.load_chain import CHAIN_BITS
from finn_vitprune.errors import UserError
from finn_vitprune.synth.grid import Ground, wires
from finn_vitprune.synth.parts import Part
from finn_vitprune.synth.placed import NsSets, PlacedDesign, PlacedLink, PlacedNode
from finn_vitprune.synth.places import Link, Places, UnitSites, place
from finn_vitprune.synth.resources import Resources
from finn_vitprune.synth.timing import Timing, broadcast_ns
from finn_vitprune.transforms.streams.edges import StreamEdge, slr_of, stream_edges

WithDistance = Callable[[str, float], Timing]
"""The timing of a node by name whose nets have the length of a region, from its ``corner_ns``."""


def design_places(
    model: ModelWrapper, part: Part, used: Mapping[str, Resources], method: str, clk_ns: float,
    found: Mapping[str, Timing], with_distance: WithDistance | None = None,
) -> PlacedDesign:  # fmt: skip
    """Place a graph, engines taken apart, and time it with distance.

    Crossings are in no region: their registers are on the way from one unit to another.

    Args:
        used: resources of every node by name, as ``method`` counted them.
        found: timing of every node by name without distance; empty where nothing was mapped.
        with_distance: asked for every node where ``found`` is not empty.
    Raises:
        UserError: the columns of the part are not known, some nodes have no SLR, or an SLR has too little for its units.
    """
    ground = Ground.of(part)
    nodes = [node for node in model.graph.node if not getCustomOp(node).is_crossing]
    units = _in_slrs([UnitSites.of(node.name, slr_of(node), used[node.name]) for node in nodes], ground)
    numbers = {unit.name: number for number, unit in enumerate(units)}
    streams = [*links_of(model, numbers), *((link, []) for link in load_links(model, numbers))]
    w = wires()
    without = [w.unmapped_link if edges else broadcast_ns(1) for _, edges in streams]
    if found:
        without = [max((_border_ns(edge, found) for edge in edges), default=base) for (_, edges), base in zip(streams, without)]
    places = place(units, [link for link, _ in streams], ground, clk_ns - w.uncertainty - np.array(without))
    timings: dict[str, tuple[float, Sequence[float]]] = {}
    if found and with_distance is not None:
        for unit, region in zip(units, places.regions):
            far = with_distance(unit.name, region.corner_ns)
            timings[unit.name] = found[unit.name].taken, (far.low, far.taken, far.high)
    ops = {node.name: node.op_type for node in nodes}
    return _placed_design(places, ops, method, clk_ns, timings, without, _reset(model, places))


def far_links(model: ModelWrapper, places: PlacedDesign, by: str) -> dict[tuple[str, int], int]:
    """Registers that streams need where their way is too long for the clock, by unit and output.

    A stream over borders has registers already. Streams in an engine, the load chain and the reset get none.

    Args:
        model: the graph that was placed, engines in one piece. by: the set of constants.
    Returns:
        In all on the way of each stream, those that it has included.
    """
    edges = stream_edges(model)
    before, after = {edge.consumer.name: edge for edge in edges}, {edge.producer.name: edge for edge in edges}
    ends: dict[tuple[str, str], StreamEdge] = {}
    for edge in edges:
        if not getCustomOp(edge.producer).is_crossing:
            way = edge
            while getCustomOp(way.consumer).is_crossing and way.consumer.name in after:
                way = after[way.consumer.name]
            ends.setdefault((edge.producer.name, way.consumer.name), edge)
    found: dict[tuple[str, int], int] = {}
    for link in places.slow_links(by):
        if link.borders or (link.source, link.target) not in ends:
            continue
        edge = ends[link.source, link.target]
        while inserted(getCustomOp(edge.producer)) and edge.producer.name in before:
            edge = before[edge.producer.name]
        free = places.limit_ns - link.without
        pieces = ceil(getattr(link.wire, by) * (link.stages + 1) / free) if free > 0 else link.stages + 2
        key = edge.producer.name, edge.output
        found[key] = max(found.get(key, 0), pieces - 1, link.stages + 1)
    return found


def _placed_design(
    places: Places,
    ops: Mapping[str, str],
    method: str,
    clk_ns: float,
    timings: Mapping[str, tuple[float, Sequence[float]]],
    without: Sequence[float],
    others: Sequence[PlacedLink],
) -> PlacedDesign:
    """What is said of places.

    Args:
        ops: the op types of the units. method: who counted their resources.
        timings: of every unit ns of its slowest path without distance, and with it by three sets; empty where nothing was mapped.
        without: of every link of ``places`` ns without distance. others: links that are none of ``places``.
    """
    nodes = [
        PlacedNode(
            node=unit.name, op_type=ops[unit.name], slr=unit.slr, corner_ns=round(region.corner_ns, 3),
            areas=[(a.kind, a.x0, a.x1, a.y0, a.y1) for a in region.areas],
            without=timings[unit.name][0] if timings else None, ns=NsSets.of(timings[unit.name][1]) if timings else None,
        )
        for unit, region in zip(places.units, places.regions)
    ]  # fmt: skip
    links = []
    for link, base in zip(places.links, without):
        wire, borders = places.wire_ns(link), places.borders(link)
        least = wires().border if borders else 0.0
        links.append(PlacedLink(
            source=places.units[link.source].name, target=places.units[link.target].name, bits=link.bits, via=link.name, borders=borders,
            stages=link.stages, wire=NsSets.of(wire), without=round(base, 3), ns=NsSets.of([max(base + ns, least) for ns in wire]),
        ))  # fmt: skip
    part = places.ground.part
    return PlacedDesign(
        part=part.name, device=part.device, shell=part.shell, method=method, clk_ns=clk_ns, uncertainty_ns=wires().uncertainty, mapped=bool(timings),
        bit_ns=round(places.bit_ns, 1), nodes=nodes, links=[*links, *others],
    )  # fmt: skip


def _in_slrs(units: Sequence[UnitSites], ground: Ground) -> list[UnitSites]:
    """The units in their SLRs; where the plan leaves that open (-1), all in the SLR that they fill least."""
    unplaced = [unit.name for unit in units if unit.slr < 0]
    if not unplaced:
        return list(units)
    if len(unplaced) < len(units):
        raise UserError(
            f"{unplaced[0]} cannot be placed: it is in no SLR, and others are in one; a folding file gives all of them one by `slr`"
        )
    total = np.array([unit.uses for unit in units]).sum(0)
    fullest = [float(np.max(total / np.maximum(ground.amount(slr), 1e-9))) for slr in range(len(ground.dies))]
    return [replace(unit, slr=int(np.argmin(fullest))) for unit in units]


def links_of(model: ModelWrapper, places: Mapping[str, int]) -> list[tuple[Link, list[StreamEdge]]]:
    """Every stream from unit to unit, with the edges that it is made of: two or more where a crossing carries it.

    Args:
        places: of units, by the names of their nodes.
    """
    edges = stream_edges(model)
    behind = {edge.producer.name: edge for edge in edges if getCustomOp(edge.producer).is_crossing}
    found = []
    for edge in edges:
        if edge.producer.name not in places:
            continue
        way, stages, names = [edge], 0, []
        while way[-1].consumer.name not in places:
            crossing = way[-1].consumer.name
            stages += getCustomOp(way[-1].consumer).get_nodeattr("stages")
            names.append(crossing)
            if crossing not in behind:
                break
            way.append(behind[crossing])
        if way[-1].consumer.name in places:
            bits = getCustomOp(edge.producer).out_streams()[edge.output].width
            found.append((Link(places[edge.producer.name], places[way[-1].consumer.name], bits, stages, ", ".join(names)), way))
    return found


def load_links(model: ModelWrapper, places: Mapping[str, int]) -> list[Link]:
    """The load chain from unit to unit and back to the port, with the registers before each unit; none of a design that is not loaded.

    Args:
        places: of units, by the names of their nodes.
    """
    found = []
    for node in model.graph.node:
        op = getCustomOp(node)
        ends = {"load_from": (None, node.name), "load_to": (node.name, None)}
        for attribute, (source, target) in ends.items():
            if attribute in op.get_nodeattr_types() and (other := op.get_nodeattr(attribute)) in places:
                one, two = source or other, target or other
                stages = getCustomOp(model.get_node_from_name(two)).get_nodeattr("load_stages")
                found.append(Link(places[one], places[two], CHAIN_BITS, stages, "load chain"))
    return found


def _border_ns(edge: StreamEdge, found: Mapping[str, Timing]) -> float:
    """ns over an edge without distance, by the taken constants: data and valid along it, ready against it."""
    a, b = found[edge.producer.name], found[edge.consumer.name]
    return max(a.to_ports + b.from_ports, b.to_ports + a.from_ports)


def _reset(model: ModelWrapper, places: Places) -> list[PlacedLink]:
    """The way of the reset from the first unit to the farthest one, a piece for each of its registers."""
    if not places.units:
        return []
    reset = reset_path(model)
    x, y = places.regions[0].middle
    far = [abs(region.middle[0] - x) + abs(region.middle[1] - y) for region in places.regions]
    farthest = max(range(len(far)), key=far.__getitem__)
    borders = abs(places.units[farthest].slr - places.units[0].slr)
    wire = far[farthest] / max(reset.stages, 1)
    ns = max(reset.taken + wire, wires().border if borders else 0.0)
    return [PlacedLink(
        source="ap_rst_n", target=places.units[farthest].name, bits=1, via="", borders=borders, stages=reset.stages,
        wire=NsSets.of([wire] * 3), without=reset.taken, ns=NsSets.of([ns] * 3),
    )]  # fmt: skip
