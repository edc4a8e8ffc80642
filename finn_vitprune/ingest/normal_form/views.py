"""What a view shows of its term: whole rows, heads, one value a column; and views made plain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import ordered
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import (
    Activation,
    HeadNorm,
    HeadView,
    Linear,
    Norm,
    Opaque,
    Pixels,
    Query,
    Term,
    TokenRows,
    View,
)


def is_whole(view: View) -> bool:
    """Whether the view is its term's base array in order, in any shape."""
    flat = view.index.reshape(-1)
    return flat.size == view.term.rows * view.term.columns and bool((flat[1:] > flat[:-1]).all())


def split_rows(view: View) -> tuple[np.ndarray, np.ndarray] | None:
    """``(rows [R], columns [K])``: line i of the view (its last axis) is row ``rows[i]`` at ``columns``."""
    if view.index.ndim < 1 or view.index.size == 0:
        return None
    flat = view.index.reshape(-1, view.index.shape[-1])
    rows, columns = flat[:, 0] // view.term.columns, flat[0] % view.term.columns
    same = np.array_equal(flat, rows[:, None] * view.term.columns + columns[None, :])
    return (rows, columns) if same else None


def whole_rows(view: View) -> TokenRows | None:
    """The whole rows that a view shows, or None where it shows something else."""
    found = split_rows(view)
    if found is None or not np.array_equal(found[1], np.arange(view.term.columns)):
        return None
    return as_rows(view.term, found[0])


def as_rows(term: Term, rows: np.ndarray) -> TokenRows:
    """Rows of a term by their numbers."""
    if np.array_equal(rows, np.arange(term.rows)):
        return TokenRows(term)
    return TokenRows(term, tuple(rows.tolist()))


def need_rows(view: View, what: str) -> TokenRows:
    """:func:`whole_rows`, or a reason that says what the view is not."""
    found = whole_rows(view)
    if found is None:
        raise Reason(f"{what} of shape {list(view.shape)} is not whole tokens, one after the other")
    return found


def heads(view: View, what: str) -> HeadView:
    """A ``[..., N, D']`` view as heads over the same tokens.

    Raises:
        Reason: the tokens differ from head to head (windows), or a head is not a set of columns.
    """
    width = view.term.columns
    index = view.index.reshape(-1, *view.index.shape[-2:])
    rows, columns = index[:, :, :1] // width, index[:, :1, :] % width
    if isinstance(view.term, Opaque):  # which tokens stand where is not known
        return HeadView(view.term, columns[:, 0, :])
    if not np.array_equal(index, rows * width + columns):
        raise Reason(f"{what} of shape {list(view.shape)} is not split into heads by columns")
    rows = rows[:, :, 0]
    if not np.array_equal(rows, np.broadcast_to(rows[0], rows.shape)):
        raise Reason(
            f"window attention: {len(np.unique(rows, axis=0))} groups of {rows.shape[1]} of the {view.term.rows} tokens attend apart",
            "every token must see every other: use a plain ViT or DeiT, not Swin or another windowed one",
        )
    if not np.array_equal(rows[0], np.arange(view.term.rows)):
        raise Reason(
            f"{what} takes {rows.shape[1]} of the {view.term.rows} tokens (class attention or attention pooling)",
            "the hardware attends from all tokens to all: use a plain ViT or DeiT",
        )
    return HeadView(view.term, columns[:, 0, :])


def constant_query(node: Node, array: np.ndarray, width: int) -> View:
    """A constant ``[..., H, 1, D']`` that attends to tokens, as a view of a :class:`Query`; the heads may be left out.

    Args:
        width: D' of the keys.
    Raises:
        Reason: it holds no or several queries, or is not split into heads.
    """
    shape = array.shape
    if array.ndim < 2 or shape[-1] != width or np.prod(shape[:-3]) != 1 or shape[-2] != 1:
        raise Reason(
            f"attention pooling: a constant of shape {list(shape)} attends to the tokens",
            "one query of one image is supported, [1, heads, 1, head width], as timm's global_pool 'map' has it",
        )
    values = np.asarray(array, np.float32).reshape(1, -1)
    return View(ordered(shape), Query(1, values.shape[1], node, values=values))


def per_column(view: View, values: np.ndarray, default: float) -> np.ndarray | None:
    """``values`` (broadcast over the view) as one number a column of the term, or None.

    Columns that the view leaves out get ``default``.
    """
    if np.broadcast_shapes(values.shape, view.shape) != view.shape:
        return None
    columns = view.index % view.term.columns
    full = np.broadcast_to(values, view.shape)
    found = np.full(view.term.columns, default, dtype=full.dtype if full.dtype.kind == "f" else np.float32)
    found[columns.reshape(-1)] = full.reshape(-1)
    return found if np.array_equal(found[columns], full) else None


def plain(state: Normaliser, view: View) -> View:
    """The same values without a pending function: folded into its term, or as an activation.

    Raises:
        Reason: a scale or an offset stands where it cannot be folded.
    """
    if view.fn is None:
        return view
    line = functions.affine(view.fn)
    if line == (1.0, 0.0):
        return replace(view, fn=None)
    term = view.term
    if line is None:
        key = ("activation", id(term), view.fn.tobytes())
        name, node = functions.name_of(view.fn), view.by or state.node
        made = state.once(key, lambda: Activation(term.rows, term.columns, node, x=term, name=name, absorbed=(term,)))
    elif isinstance(term, (Linear, Norm, HeadNorm, Pixels)):
        made = state.once(("affine", id(term), *line), lambda: scaled(term, *line))
    elif isinstance(term, Opaque):
        made = state.once(("affine", id(term), *line), lambda: replace(term, absorbed=(term,)))
    else:
        raise Reason(
            f"the result of node {term.node.name} ({term.node.op_type}) is scaled by {line[0]:.6g} "
            f"and shifted by {line[1]:.6g}, which no layer can absorb"
        )
    return View(view.index, made)


def scaled(term: Term, factor: float | np.ndarray, offset: float | np.ndarray) -> Term:
    """A linear layer, LayerNorm or image times ``factor`` plus ``offset`` (numbers, or one a column)."""
    vector = np.ndim(factor) > 0
    if isinstance(term, Linear):
        changed = isinstance(factor, np.ndarray) or factor != 1.0
        weight = _float(term.weight * factor) if changed else term.weight
        bias = _line(term.bias, factor, offset, 0.0, term.columns)
        layer_scale = term.scaled or (vector and not np.all(factor == 1.0))
        return replace(term, weight=weight, bias=bias, scaled=layer_scale, absorbed=(term,))
    if isinstance(term, Norm | HeadNorm):
        width = term.columns if isinstance(term, Norm) else term.width
        gamma = _line(term.gamma, factor, 0.0, 1.0, width)
        beta = _line(term.beta, factor, offset, 0.0, width)
        return replace(term, gamma=gamma, beta=beta, absorbed=(term,))
    if isinstance(term, Pixels):
        return replace(
            term,
            scale=_line(term.scale, factor, 0.0, 1.0, term.columns),
            offset=_line(term.offset, factor, offset, 0.0, term.columns),
            absorbed=(term,),
        )
    raise Reason(f"a {type(term).__name__} cannot be scaled")


def _line(old: np.ndarray | None, factor, offset, default: float, size: int) -> np.ndarray:
    """``old factor + offset``, one number a column; ``old`` None stands for ``default`` everywhere."""
    return _float(np.broadcast_to((default if old is None else old) * factor + offset, (size,)))


def _float(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, dtype=np.float32)
