"""LayerNorm and RMSNorm, as nodes or spelt out, and means over tokens."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Rules, axis_of, numbers, optional, ordered
from finn_vitprune.graph.walk import DAMAGED
from finn_vitprune.ingest.normal_form import functions
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import Activation, Attended, HeadNorm, Linear, Mean, Norm, Statistic, Term, View
from finn_vitprune.ingest.normal_form.views import as_rows, is_whole, plain, whole_rows
from finn_vitprune.models.config import NormKind

RULES = Rules()


def _last_axis(node: Node, x: View, kind: NormKind) -> None:
    axis, rank = node.attributes.get("axis", -1), x.index.ndim
    if axis_of(axis, rank) != rank - 1:
        raise Reason(f"axis {axis}: {kind.text} is over the last axis here, the channels")


@RULES.rule("LayerNormalization", View)
def layer_normalization(state: Normaliser, node: Node, values: list):
    _last_axis(node, values[0], NormKind.LAYER)
    gamma, beta = (optional(node, values, i) for i in (1, 2))
    return _norm(state, plain(state, values[0]), float(node.attributes.get("epsilon", 1e-5)), gamma, beta)


@RULES.rule("RMSNormalization SimplifiedLayerNormalization", View)
def rms_normalization(state: Normaliser, node: Node, values: list):
    _last_axis(node, values[0], NormKind.RMS)
    eps = float(node.attributes.get("epsilon", 1e-5))
    return _norm(state, plain(state, values[0]), eps, optional(node, values, 1), None, kind=NormKind.RMS)


def _norm(state: Normaliser, x: View, eps: float, gamma, beta, absorbed: tuple[Term, ...] = (), kind: NormKind = NormKind.LAYER) -> View:
    found, width = whole_rows(x), x.shape[-1]
    of_heads = isinstance(x.term, Linear) and (found is None or x.index.ndim == 4)
    if found is None and not of_heads:
        state.reject(f"{kind.text} over {width} of the {x.term.columns} channels of a token")
        return x
    gamma, beta = (None if a is None else np.asarray(a, np.float32).reshape(-1) for a in (gamma, beta))
    for array in (gamma, beta):
        if array is not None and len(array) != width:
            raise Reason(f"gamma or beta of {len(array)} entries for {width} channels", DAMAGED)
    eps = float(f"{eps:.6g}")  # of a float32: 1e-06, not 9.99999997e-07
    if of_heads:
        return _head_norm(state, x, gamma, beta, eps, absorbed, kind)
    assert found is not None
    made = Norm(found.count, x.term.columns, state.node, x=found, gamma=gamma, beta=beta, eps=eps, kind=kind, absorbed=absorbed)
    return View(ordered(x.shape), made)


def _head_norm(state: Normaliser, x: View, gamma, beta, eps: float, absorbed: tuple[Term, ...], kind: NormKind) -> View:
    """Of queries or keys, head by head."""
    width, layer = x.shape[-1], x.term
    assert isinstance(layer, Linear)
    if not _side_by_side(x):
        raise Reason(f"QK-norm: {kind.article} over {width} channels that are not side by side", "normalise the channels of a head")
    made = HeadNorm(
        layer.rows, layer.columns, state.node, x=layer, width=width, gamma=gamma, beta=beta, eps=eps, kind=kind, absorbed=absorbed
    )  # fmt: skip
    return View(x.index, made)


def _side_by_side(x: View) -> bool:
    lines = x.index.reshape(-1, x.shape[-1])
    return np.array_equal(lines, lines[:, :1] + np.arange(x.shape[-1]))


def by_channel_of_heads(view: View, array: np.ndarray) -> np.ndarray:
    """A constant that normalised queries or keys meet, as one number for each channel of a head.

    Raises:
        Reason: it differs from head to head or from token to token.
    """
    assert isinstance(view.term, HeadNorm)
    width = view.term.width
    if np.broadcast_shapes(array.shape, view.shape) == view.shape and view.shape[-1] == width and _side_by_side(view):
        lines = np.broadcast_to(array, view.shape).reshape(-1, width)
        if np.array_equal(lines, np.broadcast_to(lines[:1], lines.shape)):
            return lines[0]
    raise Reason(
        f"QK-norm: a table of shape {list(array.shape)} meets normalised queries or keys, as rotary position embedding has it",
        "use a model with one of the two, whose norms have one gamma and beta for all heads",
    )


@RULES.rule("BatchNormalization", View)
def batch_normalization(state: Normaliser, node: Node, values: list):
    """No unit has it; where it stands beside a linear layer, that layer can take it up."""
    term = values[0].term
    if isinstance(term, Linear) and functions.affine(values[0].fn) is not None:
        help = "fold it into the linear layer before it (onnxsim)"
    elif isinstance(term, (Linear, Norm, Mean, Activation, Attended)):
        help = (
            "fold it into the linear layer that reads it: s = scale / sqrt(variance + epsilon), W becomes diag(s) W, "
            "b becomes b + (shift - mean s) W"
        )
    else:
        help = "use a plain ViT or DeiT, with LayerNorm"
    raise Reason("BatchNorm normalises by statistics of the training data: LayerNorm is the only one here", help)


# --- means ---------------------------------------------------------------------------------------


@RULES.rule("GlobalAveragePool", View)
def global_average_pool(state: Normaliser, node: Node, values: list):
    return _mean(state, values[0], list(range(2, values[0].index.ndim)), keep=True)


@RULES.rule("ReduceMean", View)
def reduce_mean(state: Normaliser, node: Node, values: list):
    axes = numbers(node, values, 1, "axes")
    if axes is None:
        axes = [] if node.attributes.get("noop_with_empty_axes", 0) else list(range(values[0].index.ndim))
    return _mean(state, values[0], axes, keep=bool(node.attributes.get("keepdims", 1)))


def _mean(state: Normaliser, view: View, axes: list[int], keep: bool) -> View:
    """A mean over channels starts a LayerNorm; one over tokens pools."""
    rank = view.index.ndim
    axes = sorted(axis_of(a, rank) for a in axes)
    if not axes:
        return view
    kept = [i for i in range(rank) if i not in axes]
    shape = [1 if i in axes else d for i, d in enumerate(view.shape) if keep or i in kept]
    last = view.moved(lambda a: np.transpose(a, (*kept, *axes)).reshape(*(a.shape[i] for i in kept), -1))
    rows = last.index // view.term.columns
    if np.all(rows == rows[..., :1]):
        return _over_channels(state, last).moved(lambda a: a.reshape(shape))
    pooled = whole_rows(plain(state, last.moved(lambda a: np.moveaxis(a, -1, 0))))
    if pooled is None:
        raise Reason(f"a mean over axes {axes} of a tensor of shape {list(view.shape)} is over no whole tokens")
    term = plain(state, last).term
    rows = np.arange(term.rows) if pooled.rows is None else np.array(pooled.rows)
    made = Mean(1, term.columns, state.node, x=as_rows(term, rows))
    return View(ordered(shape), made)


def _over_channels(state: Normaliser, x: View) -> View:
    """Mean of every line of ``x``: of itself, of its squares, or of the squares of what is centred."""
    kind = "mean"
    source: View | None = None
    if not functions.equals(x.fn, np.square):
        x = plain(state, x)
    elif isinstance(x.term, Statistic) and x.term.kind == "centred" and is_whole(x):
        kind, source = "variance", x.term.x
    else:
        kind = "mean square"
    if source is None:
        source = View(x.index, x.term)
    groups = x.index.size // x.index.shape[-1]
    absorbed = (x.term,) if isinstance(x.term, Statistic) else ()
    key = ("statistic", kind, id(source.term), blake2b(source.index.tobytes(), digest_size=16).digest())
    made = state.once(key, lambda: Statistic(groups, 1, state.node, kind=kind, x=source, absorbed=absorbed))
    return View(ordered(x.shape[:-1]), made)


def centred(state: Normaliser, x: View, mean: View) -> View:
    """``x`` minus its mean over the channels."""
    x = plain(state, x)
    term = mean.term
    if not isinstance(term, Statistic) or term.kind != "mean" or mean.fn is not None or not _belongs(x, mean, term.x):
        raise Reason("the mean of another tensor is subtracted")
    key = ("centred", id(term))
    width = x.index.shape[-1]
    made = state.once(key, lambda: Statistic(term.rows, width, state.node, kind="centred", x=term.x, absorbed=(term,)))
    return View(ordered(x.shape), made)


def _belongs(x: View, statistic: View, source: View) -> bool:
    """Whether ``statistic``, which is of the lines of ``source``, is of those of ``x``."""
    return (
        source.term is x.term
        and is_whole(statistic)
        and statistic.shape == (*x.shape[:-1], 1)
        and np.array_equal(source.index.reshape(-1), x.index.reshape(-1))
    )


def normalised(state: Normaliser, x: View, spread: View, op_type: str) -> View:
    """``x`` over the root of its variance plus eps (LayerNorm), or of its mean square (RMSNorm)."""
    statistic = spread.term
    assert isinstance(statistic, Statistic)
    at_zero = float(spread.fn[functions.ZERO]) if spread.fn is not None else 0.0
    if op_type == "Div":
        eps = at_zero**2
        fits = functions.equals(spread.fn, lambda g: np.sqrt(g + eps))
    else:
        eps = 0.0 if np.isinf(at_zero) or at_zero == 0.0 else at_zero**-2
        fits = functions.equals(spread.fn, lambda g: 1.0 / np.sqrt(g + eps))
    if not fits:
        raise Reason("a tensor is divided by its variance in an unknown form")
    if statistic.kind == "mean square":
        source = plain(state, x)
        if not _belongs(source, spread, statistic.x):
            raise Reason("an RMSNorm divides by the root of the mean square of another tensor")
        return _norm(state, source, eps, None, None, absorbed=(statistic,), kind=NormKind.RMS)
    if not isinstance(x.term, Statistic) or x.term.kind != "centred" or x.fn is not None or not is_whole(x):
        raise Reason(
            "a LayerNorm divides something else than its centred input", "use LayerNorm, or RMSNorm, which divides by the mean square"
        )
    if x.term.x.term is not statistic.x.term or not np.array_equal(x.term.x.index.reshape(-1), statistic.x.index.reshape(-1)):
        raise Reason("a LayerNorm divides by the variance of another tensor")
    source = x.term.x.moved(lambda a: a.reshape(x.shape))
    return _norm(state, source, eps, None, None, absorbed=(x.term, spread.term))
