"""The tables of the places of a build."""

from __future__ import annotations

from finn_vitprune.report.tables import COUNTED, ESTIMATED, TextTable
from finn_vitprune.synth.placed import WORST, NsSets, PlacedDesign, PlacedLink, PlacedNode

_NODE_MARKS = ("", "", *(ESTIMATED,) * 5)
_LINK_MARKS = ("", "", COUNTED, COUNTED, COUNTED, *(ESTIMATED,) * 5)


def place_tables(places: PlacedDesign | None, whole: bool = False) -> list[TextTable]:
    """What is over the clock, then nodes and links with distance and without, the slowest or all of them; none of a design that was not placed."""
    if places is None:
        return []
    return [_over(places), *(table for table in (_nodes(places, whole), _links(places, whole)) if table.rows)]


def _over(p: PlacedDesign) -> TextTable:
    rows = [(f"links over {p.limit_ns:g} ns", *(f"{len(p.slow_links(by)):,} of {len(p.links):,}" for by in NsSets.model_fields))]
    if p.mapped:
        rows.insert(0, (f"nodes over {p.limit_ns:g} ns", *(f"{len(p.slow_nodes(by)):,} of {len(p.nodes):,}" for by in NsSets.model_fields)))
    note = f"On {p.part}, shell {p.shell}, resources counted by {p.method}: {p.text}. Places are an estimate: docs/places.md."
    return TextTable("Places: over the clock", ("", *NsSets.model_fields), tuple(rows), note, ("", *(ESTIMATED,) * 3))


def _nodes(p: PlacedDesign, whole: bool) -> TextTable:
    rows = [node for node in p.nodes if node.ns is not None]
    rows = rows if whole else sorted(rows, key=lambda n: -_taken(n))[:WORST]
    columns = ("node", "SLR", "far corner ns", "without distance", *NsSets.model_fields)
    return TextTable(f"Nodes with distance{'' if whole else ': the slowest'}", columns, tuple(map(_node, rows)), "", _NODE_MARKS)


def _taken(n: PlacedNode | PlacedLink) -> float:
    return n.ns.taken if n.ns else 0.0


def _node(n: PlacedNode) -> tuple[str, ...]:
    return (n.node, str(n.slr), f"{n.corner_ns:.2f}", "-" if n.without is None else f"{n.without:.2f}", *_sets(n.ns))


def _links(p: PlacedDesign, whole: bool) -> TextTable:
    rows = p.links if whole else sorted(p.links, key=lambda n: -_taken(n))[:WORST]
    columns = ("from", "to", "bits", "borders", "registers", "wires ns", "without distance", *NsSets.model_fields)
    return TextTable(f"Links with distance{'' if whole else ': the slowest'}", columns, tuple(map(_link, rows)), "", _LINK_MARKS)


def _link(n: PlacedLink) -> tuple[str, ...]:
    return (n.source, n.target, f"{n.bits:,}", str(n.borders), str(n.stages), f"{n.wire.taken:.2f}", f"{n.without:.2f}", *_sets(n.ns))


def _sets(ns: NsSets | None) -> tuple[str, ...]:
    return tuple("-" if ns is None else f"{getattr(ns, name):.2f}" for name in NsSets.model_fields)
