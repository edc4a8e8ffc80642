"""Where the time goes: how busy each unit is, by encoder and role, or by role where encoders share their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor

from markupsafe import Markup

from finn_vitprune.report.drawing import WIDTH, Drawing
from finn_vitprune.report.quantities import share_text
from finn_vitprune.report.summary import OUTSIDE, NodeRow, Summary

SHORT = {
    "LayerNorm 1": "LN 1",
    "LayerNorm 2": "LN 2",
    "RMSNorm 1": "RMS 1",
    "RMSNorm 2": "RMS 2",
    "attention": "attn.",
    "projection": "proj.",
    "MLP 2 and patch embedding": "MLP 2",
    "MLP activation": "act.",
    "MLP gate": "gate",
    "token drop": "drop",
    "attention add": "add",
    "MLP add": "add 2",
    "QKV split": "split",
}
"""Roles as a narrow column calls them."""
SAME = {"KV": "QKV", "Q": "QKV"}
"""Roles of the last encoder that stand in the column of another one."""
COLUMNS, FEW = 8, 3
"""Roles at most; so many places at least make a map, fewer are bars."""
LABEL, ROW = 72, 24


def time_picture(s: Summary, name: str) -> Markup | None:
    """The picture; None if cycles of nodes are not known."""
    units = busy_units(s)
    if not units:
        return None
    places: dict[str, list[tuple[NodeRow, float]]] = {}
    for node, share in units:
        places.setdefault(node.place, []).append((node, share))
    outside = places.pop(OUTSIDE, [])
    slow, most = max(units, key=lambda unit: unit[1])
    interval, _ = s.estimated_interval
    about = f"The busiest unit is {slow.layer}: {share_text(most)} of {interval:,.0f} cycles an image."
    drawing = Drawing(name, "How busy the units are", about)
    y = _map(drawing, places, interval) if len(places) >= FEW else 0.0
    bars = {} if len(places) >= FEW else places
    for place, members in {**bars, "outside encoders": outside}.items():
        if members:
            y = _bars(drawing, place, members, y + 4, interval)
    return drawing.markup()


def busy_units(s: Summary) -> list[tuple[NodeRow, float]]:
    """Units with the share of the interval in which they work; of an engine those with products, in all its encoders."""
    if s.estimated_interval is None:
        return []
    interval, engine = s.estimated_interval[0], {row.node: row.cycles for row in s.balance}
    found = []
    for node in s.nodes:
        shared = node.place != OUTSIDE and node.encoder is None
        if node.between or (shared and node.node not in engine):
            continue
        found.append((node, max(node.cycles, engine.get(node.node, 0)) / interval))
    return found


def _map(drawing: Drawing, places: Mapping[str, Sequence[tuple[NodeRow, float]]], interval: float) -> float:
    """A cell for each place and role, as dark as it is busy; gives where it ends."""
    roles = _roles(places)
    wide = (WIDTH - LABEL) / len(roles)
    for i, role in enumerate(roles):
        drawing.text(LABEL + wide * (i + 0.5), 13, SHORT.get(role, role), "quiet small", "middle")
    y = 20.0
    for place, members in places.items():
        drawing.text(0, y + 15, place, "quiet")
        for i, role in enumerate(roles):
            own = [pair for pair in members if SAME.get(pair[0].role, pair[0].role) == role]
            if own:
                node, share = max(own, key=lambda pair: pair[1])
                tip = f"{node.layer}: busy in {node.cycles:,} of {interval:,.0f} cycles an image, {share_text(share)}"
                drawing.rect(LABEL + wide * i, y, wide - 2, ROW - 2, "heat", tip, max(0.04, share), {"find": f"{place} {node.role}"})
                drawing.text(
                    LABEL + wide * (i + 0.5) - 1, y + 15, f"{floor(100 * share + 1e-9)}", "small on" if share > 0.55 else "small", "middle"
                )
        y += ROW
    return y


def _roles(places: Mapping[str, Sequence[tuple[NodeRow, float]]]) -> list[str]:
    """The busiest roles, in graph order."""
    most: dict[str, float] = {}
    for members in places.values():
        for node, share in members:
            role = SAME.get(node.role, node.role)
            most[role] = max(most.get(role, 0.0), share)
    kept = sorted(most, key=lambda role: -most[role])[:COLUMNS]
    return [role for role in most if role in kept]


def _bars(drawing: Drawing, title: str, members: Sequence[tuple[NodeRow, float]], y: float, interval: float) -> float:
    """A bar for each of the busiest units of a place; gives where it ends."""
    drawing.text(0, y + 14, title, "strong")
    y += 20
    kept = {id(pair) for pair in sorted(members, key=lambda pair: -pair[1])[:COLUMNS]}
    for node, share in (pair for pair in members if id(pair) in kept):
        drawing.text(0, y + 13, node.role, "quiet")
        drawing.rect(112, y + 2, 232, ROW - 10, "frame")
        tip = f"{node.layer}: {share_text(share)} of {interval:,.0f} cycles an image"
        drawing.rect(112, y + 2, 232 * share, ROW - 10, "heat", tip, 1, {"find": f"{node.place} {node.role}"})
        drawing.text(WIDTH, y + 13, share_text(share), "", "end")
        y += ROW - 4
    return y
