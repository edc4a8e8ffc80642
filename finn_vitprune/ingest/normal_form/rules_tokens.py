"""Class tokens, positions, pooling: what joins or picks rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, axis_of, ordered
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.rules_attention import hide_scores
from finn_vitprune.ingest.normal_form.rules_rotary import joined
from finn_vitprune.ingest.normal_form.terms import Embedded, Linear, Mixed, Patches, Scores, View
from finn_vitprune.ingest.normal_form.views import need_rows, plain

RULES = Rules()


@RULES.rule("Concat")
def concat(state: Normaliser, node: Node, values: list[Const | View | Mixed]):
    axis = node.attributes["axis"]
    views = [v for v in values if isinstance(v, View)]
    limit([sum(int(np.prod(v.shape)) for v in values)])
    if all(isinstance(v, Const) for v in values):
        return Const(np.concatenate([v.value for v in values if isinstance(v, Const)], axis=axis))
    first = next(iter(views), None)
    if first is not None and len(views) == len(values) and all(v.term is first.term for v in views):
        if all(v.fn is first.fn or _samples_equal(v, first) for v in views):
            return replace(first, index=np.concatenate([v.index for v in views], axis=axis))
        if isinstance(first.term, Linear) and all((line := functions.affine(v.fn)) and line[1] == 0.0 for v in views):
            return joined(views, axis)
    plain_values = [v for v in values if not isinstance(v, Mixed)]
    return _joined(state, node, plain_values, axis) if len(plain_values) == len(values) else joined(values, axis)


def _samples_equal(a: View, b: View) -> bool:
    return a.fn is not None and b.fn is not None and np.array_equal(a.fn, b.fn)


def _joined(state: Normaliser, node: Node, values: list[Const | View], axis: int) -> View:
    """Constant rows and rows of patches (or of embedded tokens), one after the other."""
    rank = next(v.index.ndim for v in values if isinstance(v, View))
    axis = axis_of(axis, rank)
    if axis != rank - 2:
        names = " and ".join(v.term.node.name for v in values if isinstance(v, View))
        parallel = "parallel blocks: " if axis == 0 else ""
        raise Reason(f"{parallel}the results of nodes {names} are joined along axis {axis}")
    pieces = [_piece(state, v) for v in values]
    base = next(p for p in pieces if isinstance(p, Embedded))
    parts = []
    for piece in pieces:
        if isinstance(piece, np.ndarray):
            rows = piece.reshape(-1, base.columns)
            none = np.full(len(rows), -1)
            parts.append((none, rows, np.zeros_like(rows)))
        elif piece.x is base.x:
            parts.append((piece.source, piece.token, piece.position))
        else:
            raise Reason(f"patches of nodes {base.x.node.name} and {piece.x.node.name} are joined")
    source, token, position = (np.concatenate(p) for p in zip(*parts))
    absorbed = tuple(p for p in pieces if isinstance(p, Embedded))
    made = Embedded(len(source), base.columns, node, x=base.x, source=source, token=token, position=position, absorbed=absorbed)
    leading = values[0].shape[: rank - 2]
    return View(ordered((*leading, len(source), base.columns)), made)


def _piece(state: Normaliser, value: Const | View) -> np.ndarray | Embedded:
    if isinstance(value, Const):
        return np.asarray(value.value, np.float32)
    return as_embedded(state, plain(state, value))


def as_embedded(state: Normaliser, view: View) -> Embedded:
    """Patches, or tokens already embedded, as rows that constants can be added to."""
    found = need_rows(view, "what is joined or added to")
    term = found.term
    rows = np.arange(term.rows) if found.rows is None else np.array(found.rows)
    if isinstance(term, Embedded):
        return replace(
            term, rows=len(rows), source=term.source[rows], token=term.token[rows], position=term.position[rows], absorbed=(term,)
        )
    if isinstance(term, Linear) and isinstance(term.x.term, Patches):
        none = np.zeros((len(rows), term.columns), np.float32)
        return Embedded(len(rows), term.columns, state.node, x=term, source=rows, token=none, position=none)
    raise Reason(
        f"tokens are joined or positions added after node {term.node.name} ({term.node.op_type})",
        "class token and positions come once, before the first encoder",
    )


def add_position(state: Normaliser, view: View, array: np.ndarray) -> View:
    """A constant row for every token."""
    tokens = as_embedded(state, view)
    added = np.broadcast_to(array, view.shape).reshape(tokens.rows, tokens.columns)
    made = replace(tokens, node=state.node, position=tokens.position + added, absorbed=(tokens, *tokens.absorbed))
    return View(ordered(view.shape), made)


@RULES.rule("Where", Const, View, Const)
def where_else_constant(state: Normaliser, node: Node, values: list):
    return _where(state, values[0].value, values[1], values[2].value)


@RULES.rule("Where", Const, Const, View)
def where_constant(state: Normaliser, node: Node, values: list):
    return _where(state, np.logical_not(values[0].value), values[2], values[1].value)


def _where(state: Normaliser, keep: np.ndarray, view: View, other: np.ndarray) -> View:
    """``view`` where ``keep``, else a constant."""
    if np.all(keep) and np.broadcast_shapes(keep.shape, view.shape) == view.shape:
        return view
    if isinstance(view.term, Scores) and np.all(other < -1e3):
        return hide_scores(state, view, keep)
    raise Reason("a part of a computed tensor is replaced by constants", "export without masks")
