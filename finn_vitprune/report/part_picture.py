"""Where the part goes: its dies, with what each role takes of their LUTs, DSP slices and memories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from finn_vitprune.report.build_verdict import SHOWN, die_shares, part_shares
from finn_vitprune.report.drawing import WIDTH, Drawing
from finn_vitprune.report.quantities import share_text
from finn_vitprune.report.summary import OUTSIDE, NodeRow, Summary

GROUPS = {
    "QKV": ("QKV", "KV", "Q"),
    "attention": ("attention",),
    "projection": ("projection",),
    "MLP 1": ("MLP 1",),
    "MLP 2": ("MLP 2", "MLP 2 and patch embedding"),
    "array": ("array", "array and patch embedding"),
    "FIFOs, converters": (),
    "outside encoders": (),
    "LayerNorm, adds, drops": (),
}
"""Roles that have a colour, by its words; the last three: nodes between units, outside of encoders, and all others."""
ARRAY = "array"
IN_ARRAY = ("QKV", "projection", "MLP 1", "MLP 2")
"""Groups that an engine with an array has not: it takes their place, and the colour of the first."""
LOOKS = {group: f"f{i}" for i, group in enumerate(group for group in GROUPS if group != ARRAY)} | {ARRAY: "f0"}
LABEL, BAR, ROW = 44, 292, 17
BUDGETS = {"BRAM36": "BRAM"}
"""Resources that a budget calls otherwise."""


def part_picture(s: Summary, name: str) -> Markup | None:
    """The picture; None if resources by node, or the part, are not known."""
    shares = part_shares(s)
    if not shares or not s.nodes or not s.resources.per_node:
        return None
    kinds = list(shares)
    dies = die_shares(s)
    told = "; ".join(f"SLR{i}: {_told(die, kinds)}" for i, die in enumerate(dies)) or _told(shares, kinds)
    drawing = Drawing(name, f"Where {s.part.name} goes", f"{told}.")
    y = 0.0
    if dies:
        for i, die in enumerate(dies):
            y = _panel(drawing, s, y, f"SLR{i}", {kind: die[kind] for kind in kinds if kind in die}, i)
    else:
        y = _panel(drawing, s, y, s.part.name, {kind: shares[kind] for kind in kinds}, None)
    if s.plan is not None:
        drawing.path(_tick(LABEL + 5, y + 9), "tick")
        drawing.text(LABEL + 17, y + 13, "what the plan may use", "quiet")
        y += 20
    drawing.legend(looks_of(s), y + 4)
    return drawing.markup()


def looks_of(s: Summary) -> dict[str, str]:
    """The key of the colours of a design."""
    absent = IN_ARRAY if any(group_of(node) == ARRAY for node in s.nodes) else (ARRAY,)
    return {group: look for group, look in LOOKS.items() if group not in absent}


def _told(shares: Mapping[str, float], kinds: Iterable[str]) -> str:
    return ", ".join(f"{SHOWN[kind]} {share_text(shares[kind])}" for kind in kinds if kind in shares)


def _panel(drawing: Drawing, s: Summary, y: float, title: str, shares: Mapping[str, float], die: int | None) -> float:
    """A bar for each resource of a die, or of the whole part; gives where the next one begins."""
    drawing.text(0, y + 13, title, "strong")
    y += 18
    for kind, share in shares.items():
        offer = getattr(s.part if die is None else s.part.dies[die], kind)
        drawing.text(0, y + 12, SHOWN[kind], "quiet")
        drawing.rect(LABEL, y + 1, BAR, ROW - 5, "frame", f"{title}, {SHOWN[kind]}: {share_text(share)} used of {offer:,}")
        left = LABEL
        for group, used in _by_group(s, kind, die).items():
            wide = BAR * used / offer / max(1.0, share)
            if wide > 0.05:
                drawing.rect(
                    left, y + 1, wide, ROW - 5, LOOKS[group], f"{title}, {group}: {used:,.0f} {SHOWN[kind]}, {share_text(used / offer)}"
                )
            left += wide
        budget = s.plan and s.plan.budget.get(BUDGETS.get(kind, kind))
        if budget:
            drawing.path(_tick(LABEL + BAR * budget, y + ROW - 4), "tick")
        drawing.text(WIDTH, y + 12, share_text(share), "over" if share > 1 else "", "end")
        y += ROW + 2
    return y + 6


def _tick(x: float, y: float) -> str:
    """A triangle whose tip is at a place below a bar."""
    return f"M{x:.1f} {y:.1f}l3.5 5h-7z"


def _by_group(s: Summary, kind: str, die: int | None) -> dict[str, float]:
    """What each group takes of a resource, of a die or of all."""
    nodes = {node.node: node for node in s.nodes}
    found = dict.fromkeys(GROUPS, 0.0)
    for row in s.resources.per_node:
        node = nodes[row.node]
        share = 1.0 if die is None else node.slrs.count(die) / len(node.slrs) if node.slrs else 0.0
        found[group_of(node)] += share * (getattr(row, kind) or 0)
    return found


def group_of(node: NodeRow) -> str:
    """The group of :data:`GROUPS` that a node is in."""
    named = next((group for group, roles in GROUPS.items() if node.role in roles), None)
    between, outside, others = list(GROUPS)[-3:]
    return named or (between if node.between else outside if node.place == OUTSIDE else others)
