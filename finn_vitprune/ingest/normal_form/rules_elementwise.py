"""Element-wise operators: functions on the grid, biases and scales into what they follow, residual sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.functions import BINARY, UNARY
from finn_vitprune.graph.functions import unary as unary_function
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, optional, ordered
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.rules_attention import mask_scores
from finn_vitprune.ingest.normal_form.rules_norm import by_channel_of_heads, centred, normalised
from finn_vitprune.ingest.normal_form.rules_rotary import weighed
from finn_vitprune.ingest.normal_form.rules_tokens import add_position
from finn_vitprune.ingest.normal_form.terms import (
    Attended,
    Columns,
    Embedded,
    Gated,
    HeadNorm,
    Linear,
    Mixed,
    Norm,
    Patches,
    Pixels,
    Scores,
    Softmax,
    Statistic,
    Sum,
    Term,
    View,
)
from finn_vitprune.ingest.normal_form.views import need_rows, per_column, plain, scaled, split_rows, whole_rows
from finn_vitprune.ingest.onnx_file.unsupported import CONVOLUTIONAL

RULES = Rules()
ROTARY = "the hardware adds learned positions once, before the first encoder"


def _samples(view: View) -> np.ndarray:
    return functions.GRID if view.fn is None else view.fn


def _with_function(state: Normaliser, view: View, fn: np.ndarray) -> View:
    return replace(view, fn=None if np.array_equal(fn, functions.GRID) else fn, by=state.node)


@RULES.rule(" ".join(UNARY), View)
def unary(state: Normaliser, node: Node, values: list):
    return _with_function(state, values[0], unary_function(node)(_samples(values[0])))


@RULES.rule("Clip", View)
def clip(state: Normaliser, node: Node, values: list):
    low = node.attributes.get("min", optional(node, values, 1))
    high = node.attributes.get("max", optional(node, values, 2))
    bounds = [np.asarray(b) for b in (low, high) if b is not None]
    if any(b.dtype.kind in "iu" for b in bounds):  # of codes, before DequantizeLinear
        return values[0]
    low, high = (None if b is None else float(np.asarray(b).reshape(-1)[0]) for b in (low, high))
    return _with_function(state, values[0], np.clip(_samples(values[0]), low, high))


# --- with a constant -----------------------------------------------------------------------------


@RULES.rule("Add Sub Mul Div Pow Min Max", View, Const)
@RULES.rule("Add Sub Mul Div Pow Min Max", Const, View)
def with_constant(state: Normaliser, node: Node, values: list):
    constant_first = isinstance(values[0], Const)
    constant, view = values[:2] if constant_first else values[1::-1]
    array = np.asarray(constant.value)
    shape = np.broadcast_shapes(view.shape, array.shape)
    limit(shape)
    view = view.moved(lambda a: np.broadcast_to(a, shape))
    by_column = isinstance(view.term, (Linear, Norm, HeadNorm, Pixels, Embedded))
    if array.size == 1 or (not by_column and np.all(array == array.reshape(-1)[0])):
        operands = [_samples(view), np.asarray(array.reshape(-1)[0], np.float64)]
        return _with_function(state, view, BINARY[node.op_type](*(operands[::-1] if constant_first else operands)))
    array = array.astype(np.float32)
    if node.op_type == "Add" or (node.op_type == "Sub" and not constant_first):
        return _offset(state, view, array if node.op_type == "Add" else -array)
    if node.op_type == "Mul" or (node.op_type == "Div" and not constant_first):
        return _scale(state, view, array if node.op_type == "Mul" else 1.0 / array)
    raise Reason(f"{node.op_type} with a constant of shape {list(array.shape)}, only scalars are supported there")


def _offset(state: Normaliser, view: View, array: np.ndarray) -> View:
    if isinstance(view.term, Scores):
        return mask_scores(state, view, array)
    view = plain(state, view)
    if isinstance(view.term, Pixels):
        return View(view.index, _on_pixels(state, view, array, add=True))
    if isinstance(view.term, HeadNorm):
        return View(view.index, scaled(view.term, 1.0, by_channel_of_heads(view, array)))
    column = per_column(view, array, 0.0)
    if column is not None and isinstance(view.term, (Linear, Norm)):
        return View(view.index, scaled(view.term, 1.0, column))
    patches = isinstance(view.term, Linear) and isinstance(view.term.x.term, Patches)
    if patches or isinstance(view.term, Embedded):
        return add_position(state, view, array)
    raise Reason(
        f"a constant of shape {list(array.shape)} is added to the result of node {view.term.node.name} "
        f"({view.term.node.op_type}), which is not a patch embedding",
        "positions are added once, before the first encoder",
    )


def _scale(state: Normaliser, view: View, array: np.ndarray) -> View | Mixed:
    if isinstance(view.term, Linear) and _of_heads(view, view.term) and per_column(view, array, 1.0) is None:
        return weighed(view, array)
    view = plain(state, view)
    if isinstance(view.term, Pixels):
        return View(view.index, _on_pixels(state, view, array, add=False))
    if isinstance(view.term, HeadNorm):
        return View(view.index, scaled(view.term, by_channel_of_heads(view, array), 0.0))
    column = per_column(view, array, 1.0)
    if column is not None and isinstance(view.term, (Linear, Norm)):
        return View(view.index, scaled(view.term, column, 0.0))
    if isinstance(view.term, Sum) and all(isinstance(s.term, Linear) for s in (view.term.a, view.term.b)):
        raise Reason("parallel blocks: the sum of two branches is scaled before it joins the residual stream")
    if column is None and isinstance(view.term, (Linear, Norm)) and view.index.ndim >= 3:
        raise Reason("rotary position embedding: queries or keys are multiplied by a table that differs from token to token", ROTARY)
    raise Reason(
        f"a constant of shape {list(array.shape)} scales the result of node {view.term.node.name} "
        f"({view.term.node.op_type}), which no layer can absorb"
    )


def _of_heads(view: View, layer: Linear) -> bool:
    """Whether this is not an image or whole tokens, but may be heads of queries or keys."""
    return view.index.ndim >= 3 and not isinstance(layer.x.term, Patches) and (view.index.ndim == 4 or whole_rows(view) is None)


def _on_pixels(state: Normaliser, view: View, array: np.ndarray, add: bool) -> Term:
    """The image with a scale or an offset for every value of it."""
    full = np.full(view.term.columns, 0.0 if add else 1.0, np.float32)
    full[view.index.reshape(-1)] = np.broadcast_to(array, view.shape).reshape(-1)
    return scaled(view.term, 1.0, full) if add else scaled(view.term, full, 0.0)


# --- two computed tensors ------------------------------------------------------------------------


@RULES.rule("Add", View, View)
def add(state: Normaliser, node: Node, values: list):
    a, b = values
    if a.same_as(b):
        return _with_function(state, a, _samples(a) + _samples(b))
    if isinstance(a.term, Scores) or isinstance(b.term, Scores):
        state.reject(
            "a mask or position bias that is computed from an input is added to the attention scores",
            "the hardware attends from every token to every other: use a plain ViT or DeiT",
        )
        return a if isinstance(a.term, Scores) else b
    if a.shape != b.shape:
        raise Reason(f"tensors of different shape, {list(a.shape)} and {list(b.shape)}, are added")
    pair = [plain(state, v) for v in values]
    if a.index.ndim == 4 and all(whole_rows(v) is None for v in pair):  # images [1, C, H, W]: channels last
        turned = [v.moved(lambda i: np.moveaxis(i, 1, -1)) for v in pair]
        if all(whole_rows(v) is not None for v in turned):
            return add(state, node, turned).moved(lambda i: np.moveaxis(i, -1, 1))
    left, right = (need_rows(v, "a summand") for v in pair)
    if left.term.columns != right.term.columns:
        raise Reason(f"branches of width {left.term.columns} and {right.term.columns} are added")
    return View(ordered(a.shape), Sum(left.count, left.term.columns, node, a=left, b=right))


@RULES.rule("Sub", View, View)
def subtract(state: Normaliser, node: Node, values: list):
    a, b = values
    if isinstance(b.term, Statistic):
        return centred(state, a, b)
    if a.same_as(b):
        return _with_function(state, a, _samples(a) - _samples(b))
    if isinstance(a.term, (Attended, Softmax)) and isinstance(b.term, (Attended, Softmax)):
        raise Reason("differential attention: one attention is taken from another", "use a plain ViT or DeiT")
    raise Reason(f"the difference of two computed tensors of shape {list(a.shape)} and {list(b.shape)} has no place in a ViT encoder")


@RULES.rule("Mul Div", View, View)
def product(state: Normaliser, node: Node, values: list):
    a, b = values
    for first, second in ((a, b), (b, a)) if node.op_type == "Mul" else ((a, b),):
        if isinstance(second.term, Statistic) and second.term.kind in ("variance", "mean square"):
            return normalised(state, first, second, node.op_type)
    if a.same_as(b):
        return _with_function(state, a, BINARY[node.op_type](_samples(a), _samples(b)))
    if node.op_type == "Mul" and a.shape == b.shape and all(isinstance(v.term, Linear) for v in values):
        return gated(state, node, values)
    sizes = [v.index.size for v in values]
    excitation = next((v for v in values if v.index.ndim == 4 and v.shape[2:] == (1, 1)), None)
    if node.op_type == "Mul" and excitation is not None and min(sizes) < max(sizes):
        raise Reason(
            f"squeeze-and-excitation: {excitation.shape[1]} channels are multiplied by a gate that is computed from the image",
            CONVOLUTIONAL,
        )
    raise Reason(f"{node.op_type} of two computed tensors of shape {list(a.shape)} and {list(b.shape)} has no place in a ViT encoder")


GATES = "gated MLPs are supported that multiply the activation of one linear layer, or of half of one, by another, or by the other half"


def gated(state: Normaliser, node: Node, values: list[View]) -> View:
    """A gate and a value: the one has a function, the other none."""
    gates = [v for v in values if functions.affine(v.fn) is None]
    if len(gates) != 1:
        names = " and ".join(functions.name_of(v.fn) for v in gates if v.fn is not None) or "no activation in the gate"
        raise Reason(f"gated MLP ({names}): two linear layers are multiplied element by element", GATES)
    (gate,) = gates
    name = functions.name_of(_samples(gate))
    value = plain(state, next(v for v in values if v is not gate))
    parts = [_channels(replace(gate, fn=None), name), _channels(value, name)]
    limit((value.term.rows, len(parts[0].columns)))
    made = Gated(value.term.rows, len(parts[0].columns), node, gates=parts[0], values=parts[1], name=name)
    return View(ordered(value.shape), made)


def _channels(view: View, gate: str) -> Columns:
    found = split_rows(view)
    if found is None or not isinstance(view.term, Linear) or not np.array_equal(found[0], np.arange(view.term.rows)):
        text = f"a factor of shape {list(view.shape)} is not some channels of all tokens, in order"
        raise Reason(f"gated MLP (gate {gate}): {text}", GATES)
    return Columns(view.term, found[1])
