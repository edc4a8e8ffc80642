"""How all figures look, and how they become files."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file

SUFFIXES = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}
"""Picture types by file suffix, with the metadata that would make two runs differ."""

INK, QUIET, RULE = "#333a42", "#7b8794", "#c6ced6"
TITLE, LABEL, NOTE = ({"fontsize": size, "color": c} for size, c in ((11, INK), (9, INK), (8, QUIET)))


def quiet(axis: Axes) -> None:
    """Frame on the left and below only, small grey tick labels."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(RULE)
    axis.tick_params(labelsize=8, colors=QUIET, length=3)


def bare(axis: Axes) -> None:
    """No ticks, no frame."""
    axis.set(xticks=[], yticks=[])
    axis.tick_params(length=0, pad=2)
    axis.spines[:].set_visible(False)


def check_name(path: Path) -> None:
    """Check that a picture can have this name.

    Raises:
        UserError: it is a folder, or its suffix is none of SUFFIXES.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: unknown picture type {path.suffix!r}: use {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, a file is needed")


def save(figure: Figure, path: Path, dpi: int = 100) -> None:
    """Write a figure whole or not at all; the same figure gives the same file.

    Raises:
        UserError: see :func:`check_name`.
    """
    check_name(path)
    suffix = path.suffix.lower()
    with matplotlib.rc_context({"svg.hashsalt": "finn-vitprune"}), whole_file(path) as partial:
        figure.savefig(partial, format=suffix[1:], dpi=dpi, metadata={SUFFIXES[suffix]: None})
