"""The floor plan of a placed design: its units on the columns of the part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finn_vitprune.report.drawing import WIDTH, Drawing
from finn_vitprune.report.figures import INK, LABEL, QUIET, RULE, TITLE, bare
from finn_vitprune.report.part_picture import LOOKS, group_of, looks_of
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.grid import BAND, PER_BAND, SITES, Ground
from finn_vitprune.synth.parts import NO_SHELL, get_part
from finn_vitprune.synth.placed import PlacedDesign, PlacedNode

COLOURS = {
    "matrix units": "#2f5d8c", "attention": "#8a8d3f", "LayerNorm": "#5b9a8b", "token drop": "#a8577e", "other units": "#b9c3cd",
    "FIFOs": "#7d6cab",
}  # fmt: skip
"""Kinds of units, and their colours."""
KINDS = {"BlockSparseMVAU": "matrix units", "VitArray": "matrix units", "PrunedAttention": "attention", "VitLayerNorm": "LayerNorm", "VitTokenDrop": "token drop",
         "VitFIFO": "FIFOs"}  # fmt: skip
"""Kinds by op, without its ending; of the others :data:`OTHERS`."""
OTHERS = "other units"
EMPTY, BARE, SHELL = "#f4f6f8", "#d5dae0", "#55606b"
PALE = (0.0, 0.12, 0.24)
"""How far units in turn are paler than their kind, so that neighbours differ."""
MACROS = {"DSP48E2": "#e8d9bf", "RAMB36": "#cfe0d3", "URAM288": "#e3cfe0"}
"""Columns of these sites where no unit has them."""
ROW, GAP = 0.52, 10
"""Of the picture of a page: pixels of a row of slices, and between two SLRs."""


@dataclass(frozen=True)
class Block:
    """Sites of a kind in an SLR as they are on the die: columns, and rows of slices, first and behind the last."""

    slr: int
    kind: int
    columns: tuple[int, int]
    rows: tuple[float, float]


def kind_of(node: str) -> str:
    """The kind of a unit, by the name of its node."""
    return KINDS.get(node.partition("_")[0], OTHERS)


def ground_of(places: PlacedDesign) -> Ground:
    """The ground that a design was placed on."""
    return Ground.of(get_part(places.device).with_shell(places.shell))


def blocks(node: PlacedNode, ground: Ground) -> Iterator[Block]:
    """The sites of a unit, slices first."""
    die = ground.dies[node.slr]
    for area in sorted(node.sites, key=lambda a: a.kind):
        columns = np.flatnonzero(die.kind == area.kind)
        per_row = BAND / PER_BAND[area.kind]
        yield Block(node.slr, area.kind, (int(columns[area.x0]), int(columns[area.x1]) + 1), (area.y0 * per_row, (area.y1 + 1) * per_row))


def bare_blocks(ground: Ground) -> Iterator[Block]:
    """Where columns lack their sites, as at a processor or at the ends of wires between SLRs."""
    for slr, die in enumerate(ground.dies):
        for column in np.flatnonzero((die.kind >= 0) & (die.sites == 0).any(1)):
            for band in np.flatnonzero(die.sites[column] == 0):
                yield Block(slr, int(die.kind[column]), (int(column), int(column) + 1), (float(band) * BAND, float(band + 1) * BAND))


def shell_blocks(ground: Ground) -> Iterator[Block]:
    """What the shell takes, bands of a column together."""
    for slr, (die, room) in enumerate(zip(ground.dies, ground.room)):
        for column in np.flatnonzero((room < die.sites).any(1)):
            bands = np.flatnonzero(room[column] < die.sites[column])
            taken = int((die.sites[column] - room[column]).sum()) * BAND / PER_BAND[die.kind[column]]
            first = float(bands[0]) * BAND
            yield Block(slr, int(die.kind[column]), (int(column), int(column) + 1), (first, first + taken))


def place_figure(s: Summary) -> Figure | None:
    """The floor plan as a figure; None where the design was not placed. SLR0 is at the bottom."""
    if s.places is None:
        return None
    ground = ground_of(s.places)
    image, heights = _image(s.places, ground), [die.rows for die in ground.dies]
    figure = Figure(figsize=(7.4, 1.6 + 7.4 * 0.62 * sum(heights) / (240 * 2.2)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(image, origin="lower", aspect="auto", interpolation="nearest")
    bare(axis)
    axis.spines[:].set(visible=True, color=RULE)
    for slr, bottom in enumerate(ground.bottom):
        if slr:
            axis.axhline(bottom - 0.5, color=INK, linewidth=1.6)
    axis.set_yticks([b + h / 2 for b, h in zip(ground.bottom, heights)], [f"SLR{i}" for i in range(len(heights))])
    for text in axis.get_yticklabels():
        text.set(**LABEL)
    present = {kind_of(node.op_type) for node in s.places.nodes}
    handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if kind in present]
    handles += [Patch(color=colour, label=f"{site}, free") for site, colour in MACROS.items()]
    handles += [Patch(color=BARE, label="no sites")] * (next(bare_blocks(ground), None) is not None)
    handles += [Patch(color=SHELL, label=f"taken by the shell {s.places.shell}")] * (next(shell_blocks(ground), None) is not None)
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    axis.set_xlabel(
        f"{image.shape[1]} columns x {sum(heights)} rows; DSP, block RAM and UltraRAM of a unit are darker", fontsize=8, color=QUIET
    )
    figure.suptitle(f"Places on {_where(s.places)} (estimated, not routed)", **TITLE)
    return figure


def _image(places: PlacedDesign, ground: Ground) -> np.ndarray:
    """``[rows, columns, 3]``: slices below, then the columns of each other kind."""
    width = max(len(die.columns) for die in ground.dies)
    image = np.full((sum(die.rows for die in ground.dies), width, 3), to_rgb("white"))

    def paint(block: Block, colour: str, shade: float = 1.0, pale: float = 0.0) -> None:
        first, last = (ground.bottom[block.slr] + round(row) for row in block.rows)
        columns = np.arange(*block.columns)
        if block.kind:
            columns = columns[ground.dies[block.slr].kind[columns] == block.kind]
        image[first : max(last, first + 1), columns] = (np.array(to_rgb(colour)) * (1 - pale) + pale) * shade

    for slr, die in enumerate(ground.dies):
        image[ground.bottom[slr] : ground.bottom[slr] + die.rows, : len(die.columns)] = to_rgb(EMPTY)
        for kind, site in enumerate(SITES[1:], start=1):
            paint(Block(slr, kind, (0, len(die.columns)), (0, die.rows)), MACROS[site])
    for block in bare_blocks(ground):
        paint(block, BARE)
    for block in shell_blocks(ground):
        paint(block, SHELL)
    of_units = [(block, node.op_type, PALE[i % len(PALE)]) for i, node in enumerate(places.nodes) for block in blocks(node, ground)]
    for block, op_type, pale in sorted(of_units, key=lambda drawn: drawn[0].kind > 0):
        paint(block, COLOURS[kind_of(op_type)], 0.72 if block.kind else 1.0, pale)
    return image


def place_picture(s: Summary, name: str) -> Markup | None:
    """The floor plan for a page, with a text for each unit; None where the design was not placed. SLR0 is at the bottom."""
    if s.places is None:
        return None
    ground = ground_of(s.places)
    step = WIDTH / max(len(die.columns) for die in ground.dies)
    layers = {node.node: node for node in s.nodes}
    drawing = Drawing(name, f"Places on {_where(s.places)}", f"{s.places.text}.")
    top = [GAP * (len(ground.dies) - 1 - i) + 18 + ROW * sum(d.rows for d in ground.dies[i + 1 :]) for i in range(len(ground.dies))]

    def rect(block: Block, look: str, tip: str, opacity: float) -> None:
        rows = ground.dies[block.slr].rows
        y = top[block.slr] + ROW * (rows - block.rows[1])
        drawing.rect(
            step * block.columns[0],
            y,
            step * (block.columns[1] - block.columns[0]),
            ROW * (block.rows[1] - block.rows[0]),
            look,
            tip,
            opacity,
        )

    for slr, die in enumerate(ground.dies):
        drawing.rect(0, top[slr], step * len(die.columns), ROW * die.rows, "frame", f"SLR{slr}, {die.rows} rows of slices")
    found = [(block, node) for node in s.places.nodes for block in blocks(node, ground)]
    for block in shell_blocks(ground):
        rect(block, "tick", f"taken by the shell {s.places.shell}", 0.5)
    for block, node in sorted(found, key=lambda pair: pair[0].kind > 0):
        row = layers.get(node.node)
        tip = f"{row.layer if row else node.node}: {SITES[block.kind]} in SLR{node.slr}; {node.corner_ns:.2f} ns from the middle to its far corner"
        for columns in _runs(block, ground):
            rect(
                Block(block.slr, block.kind, columns, block.rows), LOOKS[group_of(row)] if row else "frame", tip, 1.0 if block.kind else 0.6
            )
    y = top[0] + ROW * ground.dies[0].rows + 8
    drawing.text(0, y + 8, "SLR0 is at the bottom; DSP, block RAM and UltraRAM are darker; grey: the shell", "quiet")
    drawing.legend(looks_of(s), y + 16)
    return drawing.markup()


def _where(places: PlacedDesign) -> str:
    """The part, with its shell."""
    return places.part if places.shell == NO_SHELL else f"{places.part} beside the shell {places.shell}"


def _runs(block: Block, ground: Ground) -> Iterator[tuple[int, int]]:
    """The columns of a block to draw: slices with what is between them, others each alone."""
    if not block.kind:
        yield block.columns
        return
    for column in range(*block.columns):
        if ground.dies[block.slr].kind[column] == block.kind:
            yield column, column + 1
