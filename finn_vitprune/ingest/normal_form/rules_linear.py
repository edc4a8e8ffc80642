"""Products with constant matrices: patch embedding, and every linear layer."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.rules import Const, Rules, optional, ordered
from finn_vitprune.ingest.normal_form.normaliser import Normaliser
from finn_vitprune.ingest.normal_form.terms import Linear, Patches, Pixels, Scores, Softmax, TokenRows, View
from finn_vitprune.ingest.normal_form.views import as_rows, plain, split_rows

RULES = Rules()
CONVOLUTION_HELP = "only a patch embedding is supported: kernel equal to stride, without padding"


@RULES.rule("MatMul", View, Const)
def matmul(state: Normaliser, node: Node, values: list):
    weight = matrix(values[1].value)
    if weight is None:
        raise Reason(f"a constant of shape {list(values[1].value.shape)} is not a matrix of a linear layer")
    return linear(state, node, values[0], weight)


@RULES.rule("Gemm", View, Const)
def gemm(state: Normaliser, node: Node, values: list):
    attributes = node.attributes
    x, weight = values[0], np.asarray(values[1].value)
    x = x.moved(np.transpose) if attributes.get("transA", 0) else x
    weight = weight.T if attributes.get("transB", 0) else weight
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    bias = optional(node, values, 2)
    if bias is not None:
        bias = np.broadcast_to(np.asarray(bias, np.float32) * np.float32(beta), (x.shape[0], weight.shape[1]))
        if not np.all(bias == bias[:1]):
            raise Reason(f"the bias of shape {list(bias.shape)} differs from row to row")
        bias = bias[0]
    return linear(state, node, x, weight if alpha == 1.0 else weight * np.float32(alpha), bias)


@RULES.rule("Conv", View, Const)
def convolution(state: Normaliser, node: Node, values: list):
    """Patch embedding: kernel equal to stride. A 1 x 1 convolution of tokens is a linear layer."""
    weight, bias, view = np.asarray(values[1].value), optional(node, values, 2), values[0]
    if weight.ndim != 4 or view.index.ndim != 4:
        raise Reason(f"a convolution with a kernel of shape {list(weight.shape)}", CONVOLUTION_HELP)
    kernel, stride = list(weight.shape[2:]), list(node.attributes.get("strides", [1, 1]))
    padded = any(node.attributes.get("pads", [])) or "SAME" in str(node.attributes.get("auto_pad", "NOTSET"))
    dilated = any(d != 1 for d in node.attributes.get("dilations", []))
    special = dilated or node.attributes.get("group", 1) != 1
    if kernel != stride or padded or special:
        text = f"kernel {kernel}, stride {stride}, group {node.attributes.get('group', 1)}"
        raise Reason(f"a convolution that is not a patch embedding ({text}{', padded' if padded else ''})", CONVOLUTION_HELP)
    if kernel != [1, 1] and not isinstance(view.term, Pixels):
        source = view.term.node
        raise Reason(
            f"convolutional stem: a convolution of kernel {kernel} on the result of node {source.name} ({source.op_type})",
            "only a patch embedding on the image itself is supported",
        )
    patches, height, width = _patches(view, weight.shape)
    out = linear(state, node, patches, weight.reshape(weight.shape[0], -1).T, bias)
    return out.moved(lambda a: a.reshape(1, height, width, -1).transpose(0, 3, 1, 2))


def _patches(view: View, weight_shape: tuple[int, ...]) -> tuple[View, int, int]:
    """``[1, C, H, W]`` as ``[h w, C p p]``, and h and w."""
    batch, channels, height, width = view.shape
    _, in_channels, ph, pw = weight_shape
    if batch != 1 or channels != in_channels:
        raise Reason(f"an input of shape {list(view.shape)} for a kernel of {in_channels} channels")
    if not ph or not pw or height % ph or width % pw:
        raise Reason(
            f"patches of {ph} x {pw} do not divide an image of {height} x {width}", "resize images to a multiple of the patch size"
        )
    h, w = height // ph, width // pw

    def gather(index):
        return index.reshape(channels, h, ph, w, pw).transpose(1, 3, 0, 2, 4).reshape(h * w, -1)

    return view.moved(gather), h, w


def linear(state: Normaliser, node: Node, view: View, weight: np.ndarray, bias: np.ndarray | None = None) -> View:
    """``view W + bias`` over the last axis of ``view``; columns that it leaves out get zero weights."""
    if weight.ndim != 2 or weight.shape[0] != view.shape[-1]:
        raise Reason(f"weights of shape {list(weight.shape)} do not fit inputs of shape {list(view.shape)}")
    weight = np.asarray(weight, np.float32)
    view = plain(state, view)
    if isinstance(view.term, Pixels):
        index = view.index.reshape(-1, view.shape[-1])
        x = TokenRows(Patches(len(index), index.shape[1], node, pixels=view.term, index=index))
    else:
        x, weight = _tokens(view, weight)
    bias = None if bias is None else np.asarray(bias, np.float32).reshape(-1)
    limit((x.count, weight.shape[1]))
    made = Linear(x.count, weight.shape[1], node, x=x, weight=weight, bias=bias)
    return View(ordered((*view.shape[:-1], weight.shape[1])), made)


def _tokens(view: View, weight: np.ndarray) -> tuple[TokenRows, np.ndarray]:
    found = split_rows(view)
    if found is None:
        raise Reason(_no_rows(view))
    rows, columns = found
    if not np.array_equal(columns, np.arange(view.term.columns)):
        spread = np.zeros((view.term.columns, weight.shape[1]), np.float32)
        np.add.at(spread, columns, weight)
        weight = spread
    return as_rows(view.term, rows), weight


def _no_rows(view: View) -> str:
    """Why a tensor that a matrix is applied to is not rows of tokens."""
    shape = list(view.shape)
    if isinstance(view.term, (Scores, Softmax)):
        return f"talking heads: a linear layer mixes the attention weights of the heads (shape {shape})"
    if view.index.ndim > 1 and split_rows(view.moved(lambda a: np.swapaxes(a, -1, -2))) is not None:
        return f"a linear layer over the tokens instead of the channels (MLP-Mixer), of shape {shape}"
    return f"a linear layer on a tensor of shape {shape} that is not rows of one layer's output"


def matrix(array: np.ndarray) -> np.ndarray | None:
    """A constant as a matrix, leading axes of length 1 left out."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return np.asarray(array) if array.ndim == 2 else None
