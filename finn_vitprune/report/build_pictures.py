"""Pictures of a build: cycles of the units, resources against the part, fills of FIFOs, what fills the memories."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finn_vitprune.errors import UserError
from finn_vitprune.report.figures import INK, LABEL, NOTE, QUIET, RULE, TITLE, quiet
from finn_vitprune.report.layers import BLOCK_RAMS, BRAM18_IN_36, LOST, MemorySum, by_place, memories_of, memory_sum
from finn_vitprune.report.place_picture import place_figure
from finn_vitprune.report.summary import NodeRow, Summary
from finn_vitprune.report.tables import mark_of
from finn_vitprune.synth.parts import KINDS

CONTENTS = {
    "weights": "#2f5d8c", "keys and values": "#8a8d3f", "FIFOs": "#7d6cab", "rows and sums": "#a8577e",
    "tables and constants": "#5b9a8b", "programs": "#d98f3d",
}  # fmt: skip
"""Colours of kinds of contents, in the order of a bar; of another kind, that of :data:`.QUIET`."""
PALE = 0.35
"""How much of its colour has RAM that is taken and holds nothing."""
OVER = "#b3261e"
"""Of what is more than the part has."""
BUDGETS = {"BRAM36": "BRAM"}
"""Resources that a budget calls otherwise."""
WIDTH = 7.4
"""Inches of all pictures, so that their texts have one size on a page."""
WORK, OTHER = "#2f5d8c", "#b9c3cd"
REASONS = {"waiting": "#d98f3d", "rows": "#e6c08f", "lanes": "#a8577e", "padding": "#7d6cab"}


def build_picture(summary: Summary, what: str) -> Figure:
    """The picture of a name of :data:`BUILD_PICTURES`.

    Raises:
        UserError: the summary does not tell it.
    """
    if (figure := BUILD_PICTURES[what](summary)) is None:
        raise UserError(f"--what {what}: this build has none of it, or its summary is older than this picture: build again")
    return figure


# --- memories ------------------------------------------------------------------------------------


def memory_figure(summary: Summary) -> Figure | None:
    """Block RAMs and UltraRAMs of each encoder by contents; what of them holds nothing is pale. None without either."""
    found = [(node.place, memory) for node, memory in memories_of(summary) if memory.kind in BLOCK_RAMS]
    if not found:
        return None
    places = list(by_place(found, lambda pair: pair[0]))
    kept = {memory.holds for _, memory in found}
    colours = {holds: CONTENTS.get(holds, QUIET) for holds in (*CONTENTS, *sorted(kept - set(CONTENTS))) if holds in kept}
    kinds = [kind for kind in BLOCK_RAMS if any(memory.kind == kind for _, memory in found)]
    figure = Figure(figsize=(WIDTH, 1.5 + 0.26 * len(places)), layout="constrained")
    for axis, kind in zip(figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds):
        whole = memory_sum(m for _, m in found if m.kind == kind)
        for row, place in enumerate(places):
            parts = {
                holds: memory_sum(m for p, m in found if (p, m.kind, m.holds) == (place, kind, holds)) for holds in colours
            }  # fmt: skip
            _stack(axis, row, kind, parts, colours)
        axis.set_yticks(range(len(places)), places)
        axis.set_title(f"{_rams(kind, whole):,g} {_unit(kind)}, {100 * whole.fill:.0f} % full", **LABEL)
        quiet(axis)
    figure.axes[0].invert_yaxis()
    handles = [Patch(color=colour, label=holds) for holds, colour in colours.items()]
    handles.append(Patch(color=QUIET, alpha=PALE, label="taken, without contents (pale)"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle("What fills the memories (estimated)", **TITLE)
    return figure


def _stack(axis: Axes, place: int, kind: str, parts: dict[str, MemorySum], colours: dict[str, str]) -> None:
    """One bar: for each kind of contents the RAMs that it takes, full ones first."""
    left = 0.0
    for holds, part in parts.items():
        taken = _rams(kind, part)
        if taken:
            axis.barh(place, taken, left=left, color=colours[holds], alpha=PALE, linewidth=0, height=0.78)
            axis.barh(place, taken * part.fill, left=left, color=colours[holds], height=0.78)
            left += taken


def _rams(kind: str, part: MemorySum) -> float:
    return part.URAM if kind == "URAM" else part.BRAM18 / BRAM18_IN_36


def _unit(kind: str) -> str:
    return "UltraRAMs" if kind == "URAM" else "block RAMs (36 Kbit)"


# --- cycles --------------------------------------------------------------------------------------


def cycles_figure(summary: Summary) -> Figure | None:
    """Cycles of every unit in graph order, FIFOs and the like left out, with the interval as a line. None in older summaries.

    Of units with products the dark part is what they would need at full use of their multipliers; above it are the reasons why
    they need more.
    """
    units = [node for node in summary.nodes if not node.between]
    if not units:
        return None
    interval, method = summary.estimated_interval
    rows = {row.node: row for row in summary.balance}
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    axis = figure.subplots()
    for place, node in enumerate(units):
        row = rows.get(node.node)
        height = node.cycles if row is None else row.ideal_cycles
        axis.bar(place, height, color=OTHER if row is None else WORK, width=0.9)
        for name, colour in REASONS.items() if row is not None else ():
            if lost := getattr(row.lost, name):
                axis.bar(place, lost, bottom=height, color=colour, width=0.9)
                height += lost
    axis.axhline(interval, color=INK, linewidth=0.9)
    axis.annotate(f"interval: {interval:,.0f} cycles ({mark_of(method)})", (0, interval), (2, 3), textcoords="offset points", **NOTE)
    _encoder_ticks(axis, [node.encoder for node in units], "encoder; in it the units in graph order")
    axis.set(xlim=(-1, len(units)), ylim=(0, 1.12 * interval))
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylabel("cycles of an image (estimated)", **LABEL)
    quiet(axis)
    handles = [Patch(color=WORK, label="products: at full use"), *(Patch(color=c, label=LOST[name]) for name, c in REASONS.items())]
    handles.append(Patch(color=OTHER, label="units without products"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle("Cycles of the units against the interval", **TITLE)
    return figure


def _encoder_ticks(axis: Axes, encoders: list[int | None], label: str) -> None:
    """The number of an encoder under its nodes, with a line before each."""
    places: dict[int, list[int]] = {}
    for place, encoder in enumerate(encoders):
        if encoder is not None:
            places.setdefault(encoder, []).append(place)
    axis.set_xticks([sum(p) / len(p) for p in places.values()], list(map(str, places)))
    for members in places.values():
        axis.axvline(members[0] - 0.5, color=RULE, linewidth=0.5, zorder=0)
    axis.set_xlabel(label, **LABEL)


# --- resources -----------------------------------------------------------------------------------


def resources_figure(summary: Summary) -> Figure | None:
    """Shares of the part, with what the budget of the plan allows; None where either is not known."""
    shares = _shares(summary)
    if not shares:
        return None
    figure = Figure(figsize=(WIDTH, 1.15 + 0.3 * len(shares)), layout="constrained")
    axis = figure.subplots()
    widest = max(1.0, *shares.values())
    for row, (kind, share) in enumerate(shares.items()):
        axis.barh(row, 100 * share, color=OVER if share > 1 else WORK, height=0.7)
        axis.annotate(
            f"{100 * share:.1f} %", (1.0, row), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center", **NOTE
        )
        budget = summary.plan and summary.plan.budget.get(BUDGETS.get(kind, kind))
        if budget:
            axis.plot(100 * budget, row + 0.5, "^", color=INK, markersize=4, clip_on=False)
    axis.axvline(100, color=INK, linewidth=1)
    axis.set_yticks(range(len(shares)), list(shares))
    axis.set_xlim(0, 102 * widest)
    axis.set_xlabel("% of the part; triangles: what the plan may use" if summary.plan else "% of the part", **LABEL)
    axis.invert_yaxis()
    quiet(axis)
    figure.suptitle(f"Resources against {summary.part.name} ({mark_of(summary.resources.tool)})", **TITLE)
    return figure


def _shares(summary: Summary) -> dict[str, float]:
    """Of what the part has, by kind; what is not counted, or the part lacks, is left out."""
    if summary.resources is None or summary.part is None:
        return {}
    pairs = {kind: (getattr(summary.resources, kind), getattr(summary.part, kind)) for kind in KINDS}
    return {kind: used / offer for kind, (used, offer) in pairs.items() if used is not None and offer}


# --- FIFOs ---------------------------------------------------------------------------------------


def fifos_figure(summary: Summary) -> Figure | None:
    """Deepest fill of every FIFO as a share of its depth, in graph order; None where none was measured."""
    found = _filled(summary)
    if not found:
        return None
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axis = figure.subplots()
    for place, node in enumerate(found):
        axis.bar(place, 100 * node.fifo.fill / node.fifo.depth, color=CONTENTS["FIFOs"], width=0.9)
    axis.axhline(100, color=INK, linewidth=0.9)
    _encoder_ticks(axis, [node.encoder for node in found], "encoder; in it the FIFOs in graph order")
    axis.set(xlim=(-1, len(found)), ylim=(0, 108))
    axis.set_ylabel("% of the depth (measured)", **LABEL)
    quiet(axis)
    figure.suptitle("Deepest fill of the FIFOs", **TITLE)
    return figure


def _filled(summary: Summary) -> list[NodeRow]:
    return [node for node in summary.nodes if node.fifo is not None and node.fifo.fill is not None]


BUILD_PICTURES: dict[str, Callable[[Summary], Figure | None]] = {
    "cycles": cycles_figure, "resources": resources_figure, "fifos": fifos_figure, "memory": memory_figure,
    "places": place_figure,
}  # fmt: skip
"""Pictures of a build by name; None where the summary does not tell it."""
