"""Pictures of what training learned: kept tokens, kept blocks, block scores, and the course of training.

Figures are matplotlib objects of their own; nothing here touches pyplot or its global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from finn_vitprune.models.evaluate import hooked, logits_of
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.report.figures import LABEL, NOTE, QUIET, RULE, TITLE, bare, quiet
from finn_vitprune.report.tokens import ScoredDrop, patches_left

MATRICES = ("$W_q$", "$W_k$", "$W_v$", r"$W_\mathrm{proj}$")
PRUNED, KEPT, DEAD = range(3)
"""States of a block: pruned by its score, kept, and kept by its score but gone with its dead head."""

STATES = ("pruned", "kept", "gone with a dead head")
COLOURS = ("#dde2e8", "#2f5d8c", "#d98f3d")
DOT_COLOURS = ("#a9b4c0", "#2f5d8c", "#d98f3d")
FEW_CELLS = 16
"""Maps of at most so many columns have lines between their cells."""


# --- which patches are kept ----------------------------------------------------------------------


def kept_patches(model: PrunedViT, images: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Which patches each token drop leaves, by the scores of the model's own forward pass (:func:`patches_left`).

    Args:
        model: on the CPU, in evaluation mode.
        images: uint8 ``[F, H, W, C]``.
    """
    drops = {i: block.drop for i, block in enumerate(model.blocks, start=1) if block.drop is not None}
    found: dict[int, list[np.ndarray]] = {i: [] for i in drops}

    def hook(i: int):
        return lambda _, args: found[i].append(torch.round(args[1]).long().numpy())

    with hooked(drop.register_forward_pre_hook(hook(i)) for i, drop in drops.items()):
        logits_of(model, images)
    scored = [ScoredDrop(i, drop.k, drop.prefix, np.concatenate(found[i])) for i, drop in drops.items()]
    return patches_left(model.config.patches, model.config.prefix, scored)


# --- figures -------------------------------------------------------------------------------------


def mask_figure(masks: Sequence[EncoderMask], block: int) -> Figure:
    """One row an encoder: the block maps of W_q, W_k, W_v, W_proj, and the kept MLP neurons.

    Matrices stand as in Y = X W: inputs down, outputs across. Heads are numbered along the side that they
    divide, dead ones in the colour of their blocks.
    """
    figure = Figure(figsize=(8.6, 0.75 + 1.75 * len(masks)), layout="constrained")
    for number, (mask, axes) in enumerate(zip(masks, figure.subplots(len(masks), 5, squeeze=False)), start=1):
        live = _array(mask.heads) > 0
        for axis, states in zip(axes, block_states(mask, block)):
            _state_map(axis, states.T)
            axis.set_xlabel(f"{(states == KEPT).sum()} of {states.size} blocks", **NOTE)
            _head_ticks(axis, axis is axes[3], live)
        neurons = _array(mask.neurons) > 0
        _state_map(axes[4], _square(neurons))
        axes[4].set_xlabel(f"{neurons.sum()} of {neurons.size} neurons", **NOTE)
        axes[0].set_ylabel(f"encoder {number}", **LABEL)
        if number == 1:
            for axis, title in zip(axes, (*MATRICES, "MLP neurons")):
                axis.set_title(title, **LABEL)
    figure.suptitle(f"Kept blocks of {block} x {block} weights; numbers are heads", **TITLE)
    _state_legend(figure, COLOURS, any((m.heads == 0).any() for m in masks))
    return figure


def block_states(mask: EncoderMask, block: int) -> list[np.ndarray]:
    """PRUNED, KEPT or DEAD of each block of W_q, W_k, W_v and W_proj.

    Torch layout (outputs down): W_q, W_k and W_v ``[H D' / b, D / b]``, W_proj ``[D / b, H D' / b]``.
    """
    maps = [_array(m)[::block, ::block] > 0 for m in (*mask.qkv.chunk(3), mask.proj)]
    dead = _array(mask.heads) == 0
    dead = np.repeat(dead, maps[0].shape[0] // len(dead))
    return [m * np.where(d, DEAD, KEPT) for m, d in zip(maps, (dead[:, None],) * 3 + (dead[None],))]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _square(values: np.ndarray) -> np.ndarray:
    """``[M]`` row by row in a grid that is nearly square; NaN where it is longer."""
    side = int(np.ceil(len(values) ** 0.5))
    grid = np.full(side * -(-len(values) // side), np.nan)
    grid[: len(values)] = values
    return grid.reshape(-1, side)


def _state_map(axis: Axes, states: np.ndarray) -> None:
    """Draw ``[rows, columns]`` of states, one cell each."""
    rows, columns = states.shape
    edges = "white" if columns <= FEW_CELLS else "none"
    colours = ListedColormap(COLOURS)
    axis.pcolormesh(states, cmap=colours, vmin=PRUNED, vmax=DEAD, edgecolors=edges, linewidth=0.4)
    axis.set_aspect("equal")
    axis.set(xlim=(0, columns), ylim=(rows, 0))
    bare(axis)


def _head_ticks(axis: Axes, down: bool, live: np.ndarray) -> None:
    """Number the heads along one side of a block map (down or across), with a line between heads."""
    side, line = (axis.yaxis, axis.axhline) if down else (axis.xaxis, axis.axvline)
    ends = np.linspace(0, max(side.get_view_interval()), len(live) + 1)
    side.set_ticks((ends[1:] + ends[:-1]) / 2, [str(h) for h in range(1, len(live) + 1)], fontsize=7)
    for label, alive in zip(side.get_ticklabels(), live):
        label.set(color=QUIET if alive else COLOURS[DEAD], weight="normal" if alive else "bold")
    for end in ends[1:-1]:
        line(end, color="white", linewidth=2.4)


def _state_legend(figure: Figure, colours: Sequence[str], dead: bool) -> None:
    states = (KEPT, PRUNED, DEAD) if dead else (KEPT, PRUNED)
    handles = [Patch(color=colours[s], label=STATES[s]) for s in states]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)


RATES = {"blocks": ("block_keep", "#2f5d8c"), "neurons": ("neuron_keep", "#d98f3d"), "tokens at a drop": ("token_keep", "#5b9a8b")}
"""Keep rates in the history: key in the metrics, and colour."""

PANELS = 4
"""Panels in a row of the score figure, at most."""
BINS = 60
"""Scores in the same of so many bins stand side by side."""


def score_figure(scores: PruneScores, masks: Sequence[EncoderMask]) -> Figure:
    """The learned score of every block, one dot each, one panel an encoder, one column a matrix.

    Dots of nearly equal scores stand side by side, so that a column's width is its distribution.
    """
    count = len(masks)
    rows = -(-count // PANELS)
    columns = -(-count // rows)
    figure = Figure(figsize=(0.8 + 2.1 * columns, 0.9 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    values = [[_array(m).ravel() for m in e.matrices] for e in scores.encoders]
    every = np.concatenate([v for encoder in values for v in encoder])
    edges = np.linspace(every.min(), every.max() + 1e-9, BINS + 1)
    for number, (axis, mask) in enumerate(zip(grid.flat, masks), start=1):
        states = [s.ravel() for s in block_states(mask, scores.prune.block_size)]
        _swarms(axis, values[number - 1], states, edges)
        axis.set_title(f"encoder {number}", **LABEL)
        axis.set_xticks(range(4), MATRICES)
        quiet(axis)
    for axis in list(grid.flat)[count:]:
        axis.set_visible(False)
    for axis in grid[:, 0]:
        axis.set_ylabel("block score", **LABEL)
    size = scores.prune.block_size
    figure.suptitle(f"Learned scores, one dot a block of {size} x {size} weights", **TITLE)
    _state_legend(figure, DOT_COLOURS, any((m.heads == 0).any() for m in masks))
    return figure


def _swarms(axis: Axes, values: Sequence[np.ndarray], states: Sequence[np.ndarray], edges: np.ndarray) -> None:
    """Dots of each matrix around its place on the x axis."""
    bins = [np.digitize(v, edges) for v in values]
    fullest = max(int(np.bincount(b).max()) for b in bins)
    step = min(0.06, 0.84 / fullest)
    for place, (value, state, in_bin) in enumerate(zip(values, states, bins)):
        offset = np.empty(len(value))
        for b in np.unique(in_bin):
            members = np.flatnonzero(in_bin == b)
            offset[members] = (np.arange(len(members)) - (len(members) - 1) / 2) * step
        for s in (PRUNED, KEPT, DEAD):
            of = state == s
            axis.plot(place + offset[of], value[of], ".", color=DOT_COLOURS[s], markersize=3, label=STATES[s])


def history_figure(metrics: dict[str, Any]) -> Figure:
    """Held-out accuracy and keep rates after each epoch, the teacher's epochs first.

    Args:
        metrics: ``config``, ``teacher_history`` and (of a run with a student) ``student_history``, as in
            metrics.json.
    """
    teacher, student = metrics["teacher_history"], metrics.get("student_history", [])
    figure = Figure(figsize=(7.2, 5.0 if student else 2.9), layout="constrained")
    axes = figure.subplots(2 if student else 1, 1, sharex=True, squeeze=False)[:, 0]
    start = len(teacher)
    for history, first, colour, label in (
        (teacher, 0, QUIET, "teacher (dense, float)"),
        (student, start, COLOURS[KEPT], "student (pruned, quantised)"),
    ):
        if history:
            epochs, share = zip(*((first + r["epoch"], 100 * r["accuracy"]) for r in history))
            axes[0].plot(epochs, share, color=colour, label=label, marker=".")
    if teacher and student:
        level, label = 100 * teacher[-1]["accuracy"], "teacher after its last epoch"
        axes[0].axhline(level, color=QUIET, linewidth=0.9, linestyle=":", label=label)
    axes[0].set_ylabel("held-out accuracy (%)", **LABEL)
    if student:
        _keep_rates(axes[1], metrics["config"], student, start)
    for axis in axes:
        quiet(axis)
        axis.grid(axis="y", color="#eceff2")
        axis.legend(frameon=False, fontsize=8, loc="best")
        if teacher and student:
            axis.axvline(start + 0.5, color=RULE, linewidth=0.8)
    phases = "epoch (the teacher's, then the student's)" if teacher and student else "epoch"
    axes[-1].set_xlabel(phases, **LABEL)
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle("Course of training", **TITLE)
    return figure


def _keep_rates(axis: Axes, config: dict[str, Any], student: Sequence[dict[str, float]], start: int) -> None:
    """Keep rates of the student; what is equal in every epoch shares a line."""
    lines: dict[tuple[float, ...], list[str]] = {}
    for name, (key, _) in RATES.items():
        if key != "token_keep" or config["prune"].get("drop_at"):
            lines.setdefault(tuple(100 * r[key] for r in student), []).append(name)
    epochs = [start + r["epoch"] for r in student]
    for rates, names in lines.items():
        axis.plot(epochs, rates, color=RATES[names[0]][1], label=" and ".join(names), marker=".")
    axis.set_ylabel("kept (%)", **LABEL)
    axis.set_ylim(0, 105)
