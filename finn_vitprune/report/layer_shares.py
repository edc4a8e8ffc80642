"""What each layer loses by pruning, and what it keeps: a table and a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from finn_vitprune.pruning.layers import LAYERS, LayerShares
from finn_vitprune.report.figures import LABEL, QUIET, TITLE, bare
from finn_vitprune.report.tables import COUNTED, MEASURED, TextTable

HALF = 0.5
"""The kept share at which layers are compared."""


def half_errors(shares: LayerShares) -> np.ndarray:
    """``[encoders, LAYERS]``: the error of the logits where half of a layer is kept, the largest one 1; nothing where none was measured."""
    if HALF not in shares.error_shares:
        return np.zeros((0, len(LAYERS)))
    place = shares.error_shares.index(HALF)
    found = np.array([[getattr(own, name)[place] for name in LAYERS] for own in shares.errors])
    return found / max(found.max(), 1e-30)


def layer_table(shares: LayerShares) -> TextTable:
    """Kept shares of each layer, and what half of it is worth."""
    errors = half_errors(shares)
    lost = [["", *(f"({value:.2g})" for value in row)] for row in errors] or [[""] * (1 + len(LAYERS))] * len(shares.encoders)
    rows = tuple(
        (str(number), *(f"{share:.0%} {error}".strip() for share, error in zip(own.all, row[1:], strict=True)))
        for number, (own, row) in enumerate(zip(shares.encoders, lost, strict=True), start=1)
    )
    note = "In brackets: the error of the logits where half of the layer is kept, as a share of the largest." if len(errors) else ""
    title = f"Kept shares by layer, at the operations of {shares.block_keep:g} of all blocks and {shares.neuron_keep:g} of all neurons"
    return TextTable(
        title, ("encoder", *LAYERS), rows, note, ("", *(COUNTED,) * len(LAYERS)) if not len(errors) else ("", *(MEASURED,) * len(LAYERS))
    )


def layer_figure(shares: LayerShares) -> Figure:
    """Left what half of each layer is worth, right what each layer keeps."""
    kept, errors = np.array([own.all for own in shares.encoders]), half_errors(shares)
    panels = 2 if len(errors) else 1
    figure = Figure(figsize=(4.3 * panels, 1.2 + 0.3 * len(kept)), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    if panels > 1:
        low = max(errors[errors > 0].min(initial=1.0), 1e-4)
        _map(
            axes[0],
            errors,
            [[f"{v:.2g}" for v in row] for row in errors],
            "error where half of a layer is kept",
            "Oranges",
            LogNorm(low, 1.0),
        )
    _map(axes[-1], kept, [[f"{v:.0%}" for v in row] for row in kept], "share that each layer keeps", "Blues", None)
    axes[0].set_ylabel("encoder", **LABEL)
    figure.suptitle(f"Layers at the operations of {shares.block_keep:g} of all blocks and {shares.neuron_keep:g} of all neurons", **TITLE)
    return figure


def _map(axis: Axes, values: np.ndarray, texts: list[list[str]], title: str, colours: str, norm: LogNorm | None) -> None:
    drawn = axis.pcolormesh(values, cmap=colours, edgecolors="white", linewidth=0.8, norm=norm or Normalize(0.0, 1.0))
    for (row, column), value in np.ndenumerate(values):
        dark = float(drawn.norm(value)) > 0.6
        axis.text(column + 0.5, row + 0.5, texts[row][column], ha="center", va="center", fontsize=7, color="white" if dark else "#333a42")
    bare(axis)
    axis.set_xticks(np.arange(len(LAYERS)) + 0.5, LAYERS, fontsize=8, color=QUIET)
    axis.set_yticks(np.arange(len(values)) + 0.5, [str(n + 1) for n in range(len(values))], fontsize=8, color=QUIET)
    axis.invert_yaxis()
    axis.set_title(title, fontsize=8, color=QUIET)
