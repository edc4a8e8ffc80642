"""Where the units of a routed design lie on their part, as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finn_vitprune.boards.units import LINK, Tile
from finn_vitprune.report.figures import QUIET, RULE, TITLE, bare
from finn_vitprune.report.place_picture import COLOURS as UNIT_COLOURS
from finn_vitprune.report.place_picture import EMPTY, kind_of

COLOURS = {**UNIT_COLOURS, "serial link": "#d98f3d"}
"""Kinds of units, and their colours."""


def floor_plan(tiles: Mapping[str, Mapping[Tile, int]], title: str) -> Figure:
    """Each tile in the colour of the kind of unit that has most cells in it.

    Args:
        tiles: cells by tile of each unit, by the name of its node.
    """
    cells: dict[Tile, Counter[str]] = {}
    for unit, of in tiles.items():
        kind = "serial link" if unit == LINK else kind_of(unit)
        for tile, count in of.items():
            cells.setdefault(tile, Counter())[kind] += count
    columns, rows = (max(tile[axis] for tile in cells) + 1 for axis in (0, 1))
    names = list(COLOURS)
    picture = np.zeros((rows, columns), int)
    for (x, y), kinds in cells.items():
        picture[y, x] = 1 + names.index(max(names, key=lambda kind: kinds[kind]))
    figure = Figure(figsize=(7.4, 7.4 * rows / columns + 1.2), layout="constrained")
    axis = figure.add_subplot()
    axis.imshow(picture, cmap=ListedColormap([EMPTY, *COLOURS.values()]), vmin=0, vmax=len(names), interpolation="nearest")
    bare(axis)
    axis.spines[:].set(visible=True, color=RULE)
    axis.set_xlabel(f"{columns} x {rows} tiles; a tile has the colour of the units with most cells in it", fontsize=8, color=QUIET)
    present = [kind for kind in names if any(kinds[kind] for kinds in cells.values())]
    handles = [Patch(color=COLOURS[kind], label=kind) for kind in present]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, **TITLE)
    return figure
