"""Pictures of a build: what fills the block RAMs and UltraRAMs, and the cycles of the units against the interval."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finn_vitprune.errors import UserError
from finn_vitprune.report.figures import INK, LABEL, NOTE, QUIET, RULE, TITLE, png_address, quiet
from finn_vitprune.report.layers import BLOCK_RAMS, BRAM18_IN_36, LOST, MemorySum, by_place, memories_of, memory_sum
from finn_vitprune.report.summary import Summary

CONTENTS = {
    "weights": "#2f5d8c", "keys and values": "#8a8d3f", "FIFOs": "#7d6cab", "rows and sums": "#a8577e",
    "tables and constants": "#5b9a8b", "programs": "#d98f3d",
}  # fmt: skip
"""Colours of kinds of contents, in the order of a bar; of another kind, that of :data:`.QUIET`."""
PALE = 0.68
"""How much white is in the colour of RAM that is taken and holds nothing."""
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


def addresses(summary: Summary) -> dict[str, str]:
    """All pictures of a build, as addresses that hold them (:func:`png_address`), by their title."""
    figures = [figure for draw in BUILD_PICTURES.values() if (figure := draw(summary)) is not None]
    return {figure.get_suptitle(): png_address(figure) for figure in figures}


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
    figure = Figure(figsize=(9.6, 1.5 + 0.3 * len(places)), layout="constrained")
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
    handles.append(Patch(color=_pale(QUIET), label="taken, without contents (pale)"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle("What fills the memories (estimate)", **TITLE)
    return figure


def _stack(axis: Axes, place: int, kind: str, parts: dict[str, MemorySum], colours: dict[str, str]) -> None:
    """One bar: for each kind of contents the RAMs that it takes, full ones first."""
    left = 0.0
    for holds, part in parts.items():
        taken = _rams(kind, part)
        if taken:
            axis.barh(place, taken, left=left, color=_pale(colours[holds]), height=0.78)
            axis.barh(place, taken * part.fill, left=left, color=colours[holds], height=0.78)
            left += taken


def _rams(kind: str, part: MemorySum) -> float:
    return part.URAM if kind == "URAM" else part.BRAM18 / BRAM18_IN_36


def _unit(kind: str) -> str:
    return "UltraRAMs" if kind == "URAM" else "block RAMs (36 Kbit)"


def _pale(colour: str) -> tuple[float, ...]:
    return tuple(PALE + (1 - PALE) * channel for channel in to_rgb(colour))


# --- cycles --------------------------------------------------------------------------------------


def cycles_figure(summary: Summary) -> Figure | None:
    """Cycles of every unit in graph order, FIFOs and the like left out, with the interval as a line. None in older summaries.

    Of units with products the dark part is what they would need at full use of their multipliers; above it are the reasons why
    they need more.
    """
    units = [node for node in summary.nodes if not node.between]
    if not units:
        return None
    interval, method = summary.interval
    rows = {row.node: row for row in summary.balance}
    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    axis = figure.subplots()
    for place, node in enumerate(units):
        row = rows.get(node.node)
        height = node.cycles if row is None else row.ideal_cycles
        axis.bar(place, height, color=OTHER if row is None else WORK, width=0.9)
        for name, colour in REASONS.items() if row is not None else ():
            axis.bar(place, getattr(row.lost, name), bottom=height, color=colour, width=0.9)
            height += getattr(row.lost, name)
    axis.axhline(interval, color=INK, linewidth=0.9)
    axis.annotate(f"interval: {interval:,.0f} cycles ({method})", (0, interval), (2, 3), textcoords="offset points", **NOTE)
    _encoder_ticks(axis, [node.encoder for node in units])
    axis.set(xlim=(-1, len(units)), ylim=(0, 1.12 * interval))
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylabel("cycles of a frame (estimate)", **LABEL)
    quiet(axis)
    handles = [Patch(color=WORK, label="products: at full use"), *(Patch(color=c, label=LOST[name]) for name, c in REASONS.items())]
    handles.append(Patch(color=OTHER, label="units without products"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    figure.suptitle("Cycles of the units against the interval", **TITLE)
    return figure


def _encoder_ticks(axis: Axes, encoders: list[int | None]) -> None:
    """The number of an encoder under its units, with a line before each."""
    places: dict[int, list[int]] = {}
    for place, encoder in enumerate(encoders):
        if encoder is not None:
            places.setdefault(encoder, []).append(place)
    axis.set_xticks([sum(p) / len(p) for p in places.values()], list(map(str, places)))
    for members in places.values():
        axis.axvline(members[0] - 0.5, color=RULE, linewidth=0.5, zorder=0)
    axis.set_xlabel("encoder; in it the units in graph order", **LABEL)


BUILD_PICTURES: dict[str, Callable[[Summary], Figure | None]] = {"memory": memory_figure, "cycles": cycles_figure}
"""Pictures of a build by name."""
