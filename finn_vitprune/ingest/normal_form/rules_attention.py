"""Attention: q k^T, masks, softmax, and the product with V; from matrix products or as one node."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, axis_of, optional, ordered
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.rules_linear import linear, matmul, matrix
from finn_vitprune.ingest.normal_form.rules_rotary import both_turned, without_factor
from finn_vitprune.ingest.normal_form.terms import Attended, Linear, Mixed, Probabilities, Scores, Softmax, View
from finn_vitprune.ingest.normal_form.views import constant_query, heads, is_whole, need_rows, plain

RULES = Rules()
V = TypeVar("V", View, Mixed, Const)
HIDDEN = -1e4
"""Scores with so much added are hidden; learned biases are far smaller."""
HELP = "the hardware attends from every token to every other: export a plain ViT or DeiT without it"


@RULES.rule("MatMul", (View, Mixed), (View, Mixed))
def product(state: Normaliser, node: Node, values: list):
    a, b = values
    if isinstance(a.term, Softmax) and isinstance(b, View):
        return attend(state, node, a, b)
    return scores(state, node, a, b.moved(lambda i: np.swapaxes(i, -1, -2)))


@RULES.rule("MatMul", Const, View)
def from_left(state: Normaliser, node: Node, values: list):
    """``W x``: a linear layer on tokens in columns, or a query that is the same for every image."""
    array, view = values[0].value, values[1]
    weight, swapped = matrix(array), view.moved(lambda a: np.swapaxes(a, -1, -2))
    if weight is None or (view.index.ndim > 2 and array.ndim > 2):
        return scores(state, node, constant_query(node, array, view.shape[-2]), swapped)
    return linear(state, node, swapped, weight.T).moved(lambda a: np.swapaxes(a, -1, -2))


def scores(state: Normaliser, node: Node, q: View | Mixed, k: View | Mixed) -> View:
    """``q k^T`` of ``[..., N, D']``."""
    factor = 1.0
    for view in (v for v in (q, k) if isinstance(v, View)):
        line = functions.affine(view.fn)
        if line is None or line[1] != 0.0:
            raise Reason("queries or keys pass a function before they are multiplied")
        factor *= line[0]
    if q.shape[:-2] != k.shape[:-2] or q.shape[-1] != k.shape[-1]:
        raise Reason(f"queries of shape {list(q.shape)} and keys of shape {list(k.shape)} are multiplied")
    angles = None
    if isinstance(q, View) and isinstance(k, View):
        q_heads, k_heads = heads(q, "the query"), heads(k, "the key")
    else:
        (q, q_factor), (k, k_factor) = without_factor(q), without_factor(k)
        factor *= q_factor * k_factor
        q_heads, k_heads, angles = both_turned(q, k)
    shape = (*q.shape[:-1], k.shape[-2])
    rows = int(np.prod(shape[:-1]))
    made = Scores(rows, shape[-1], node, q=q_heads, k=k_heads, factor=factor, angles=angles, absorbed=(q.term, k.term))
    return View(ordered(shape), made)


@RULES.rule("Softmax", View)
def softmax(state: Normaliser, node: Node, values: list):
    view = values[0]
    axis = node.attributes.get("axis", -1 if state.source.opset >= 13 else 1)
    if axis_of(axis, view.index.ndim) != view.index.ndim - 1:
        raise Reason(f"softmax over axis {axis} of a tensor of shape {list(view.shape)}: the last one is supported")
    if not isinstance(view.term, Scores):
        return _probabilities(state, node, view)
    line = functions.affine(view.fn)
    if line is None or not is_whole(view):
        raise Reason("attention scores pass a function before softmax (soft capping, for example)")
    term = view.term
    made = Softmax(term.rows, term.columns, node, scores=term, factor=line[0], absorbed=(term,))
    return View(view.index, made)


def _probabilities(state: Normaliser, node: Node, view: View) -> View:
    view = plain(state, view)
    if not isinstance(view.term, Linear):
        raise Reason("softmax of a tensor that is neither attention scores nor classifier output")
    found = need_rows(view, "the input of softmax")
    return View(ordered(view.shape), Probabilities(found.count, found.term.columns, node, x=found))


def attend(state: Normaliser, node: Node, probabilities: View, v: View) -> View:
    """Softmax times V; the result is ``[..., N, D']``."""
    v = plain(state, v)
    if probabilities.fn is not None or not is_whole(probabilities):
        raise Reason("attention weights are changed after softmax (talking heads, for example)", HELP)
    v_heads = heads(v, "the value")
    groups, width = v_heads.columns.shape
    term = probabilities.term
    assert isinstance(term, Softmax)
    queries = term.rows // max(groups, 1)
    if probabilities.shape[:-2] != v.shape[:-2] or probabilities.shape[-1] != v.shape[-2]:
        raise Reason(f"attention weights of shape {list(probabilities.shape)} and values of {list(v.shape)}")
    made = Attended(queries, groups * width, node, probabilities=term, v=v_heads, absorbed=(term, v.term))
    index = ordered((queries, groups, width)).transpose(1, 0, 2)
    return View(index.reshape(*v.shape[:-2], queries, width), made)


@RULES.rule("Attention", (View, Mixed, Const), (View, Mixed), View)
def attention(state: Normaliser, node: Node, values: list):
    """The operator of opset 23: ``[B, H, N, D']``, or ``[B, N, H D']`` with the heads as attributes."""
    attributes = node.attributes
    if any(v is not None for v in values[4:6]):
        raise Reason("keys and values of earlier tokens (a cache)", "export the encoder of images, not a decoder")
    if attributes.get("softcap", 0.0):
        raise Reason(f"softcap {attributes['softcap']}: scores are capped before softmax")
    packed = len(values[0].shape) == 3
    given: View | Mixed | Const = _unpacked(values[0], attributes, "q")
    k, v = (_unpacked(view, attributes, "kv") for view in values[1:3])
    q = constant_query(node, given.value, k.shape[-1]) if isinstance(given, Const) else given
    # heads shared by several queries, one for each of them
    k, v = (view.moved(lambda a: np.repeat(a, q.shape[1] // a.shape[1], axis=1)) for view in (k, v))
    found = scores(state, node, q, k)
    factor = float(attributes.get("scale") or q.shape[-1] ** -0.5)
    found = View(found.index, found.term, functions.GRID * factor)
    if attributes.get("is_causal", 0):
        found = hide_scores(state, found, np.tril(np.ones(found.shape[-2:], bool)))
    mask = optional(node, values, 3)
    if mask is not None:
        found = hide_scores(state, found, mask) if mask.dtype == bool else mask_scores(state, found, mask)
    term, line = found.term, functions.affine(found.fn)
    assert isinstance(term, Scores) and line is not None
    soft = Softmax(term.rows, term.columns, node, scores=term, factor=line[0], absorbed=(term,))
    assert isinstance(v, View)  # by the rule
    result = attend(state, node, View(found.index, soft), v)
    if packed:
        result = result.moved(lambda a: a.transpose(0, 2, 1, 3).reshape(a.shape[0], a.shape[2], -1))
    return result


def _unpacked(view: V, attributes, name: str) -> V:
    if len(view.shape) == 4:
        return view
    count = int(attributes[f"{name}_num_heads"])
    return view.moved(lambda a: a.reshape(a.shape[0], a.shape[1], count, -1).transpose(0, 2, 1, 3))


@RULES.rule("Einsum", View, (View, Const))
def einsum(state: Normaliser, node: Node, values: list):
    """A product of two tensors in Einstein's notation, as MatMul on rearranged axes."""
    equation = str(node.attributes["equation"]).replace(" ", "")
    inputs, _, out = equation.partition("->")
    left, _, right = inputs.partition(",")
    if not out or "." in equation or any(len(set(s)) != len(s) for s in (left, right, out)):
        raise Reason(f"einsum {equation}: written as two operands and a result, no axis twice")
    batch = [c for c in left if c in right and c in out]
    inner = [c for c in left if c in right and c not in out]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    if len(inner) != 1 or set(rows + columns + batch) != set(out):
        raise Reason(f"einsum {equation}: one summed axis is supported")
    a = _axes(values[0], left, [*batch, *rows, *inner], len(batch), rows)
    b = _axes(values[1], right, [*batch, *inner, *columns], len(batch) + 1, columns)
    sizes = {**_sizes(left, values[0]), **_sizes(right, values[1])}
    found = (product if isinstance(b, View) else matmul)(state, node, [a, b])
    order = [*batch, *rows, *columns]
    shape, back = [sizes[c] for c in order], [order.index(c) for c in out]
    return found.moved(lambda i: i.reshape(shape).transpose(back))


def _sizes(letters: str, value: View | Const) -> dict[str, int]:
    return dict(zip(letters, value.shape, strict=True))


def _axes(value: View | Const, letters: str, order: list[str], start: int, merged: list[str]) -> View | Const:
    """Axes in ``order``, with the ``merged`` ones (from axis ``start`` on) made one."""

    def move(a):
        a = a.transpose([letters.index(c) for c in order])
        return a.reshape(*a.shape[:start], -1, *a.shape[start + len(merged) :])

    return value.moved(move)


# --- masks and position biases, told apart by their values ---------------------------------------


def mask_scores(state: Normaliser, view: View, added: np.ndarray) -> View:
    """Scores with a constant added: nothing where softmax does not see it, a relative position bias, or a mask, which is rejected by its name."""
    full = np.broadcast_to(added, view.shape)
    if np.all(full == full[..., :1]):  # the same for all keys of a query
        return view
    hidden = full < HIDDEN
    if hidden.any():
        state.reject(_mask_name(hidden), HELP)
        return view
    term, line = view.term, functions.affine(view.fn)
    assert isinstance(term, Scores)
    if line is None or not is_whole(view):
        raise Reason("relative position bias: attention scores pass a function, or are cut, before it is added")
    keys = full.shape[-1]
    own = np.asarray(full, np.float32).reshape(-1, term.rows // len(term.k.columns), keys)
    before = 0.0 if term.bias is None else term.bias * np.float32(line[0])
    return View(view.index, replace(term, factor=term.factor * line[0], bias=own + before, absorbed=(term,)))


def hide_scores(state: Normaliser, view: View, shown: np.ndarray) -> View:
    """Scores of which only those where ``shown`` count."""
    hidden = np.broadcast_to(np.logical_not(shown), view.shape)
    if hidden.any():
        state.reject(_mask_name(hidden), HELP)
    return view


def _mask_name(hidden: np.ndarray) -> str:
    queries, keys = hidden.shape[-2:]
    future = np.triu(np.ones((queries, keys), bool), 1)
    if np.array_equal(hidden, np.broadcast_to(future, hidden.shape)):
        return f"causal mask: no token of {queries} sees a later one"
    share = hidden.mean()
    return f"attention mask: {share:.0%} of the pairs of {queries} queries and {keys} keys are hidden"
