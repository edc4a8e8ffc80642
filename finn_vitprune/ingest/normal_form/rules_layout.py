"""Rules that only move data: they act on the index of a view, or on a constant itself."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph import constants
from finn_vitprune.graph.node import Node
from finn_vitprune.graph.reading import read_nodes, tensor_array
from finn_vitprune.ingest.normal_form.normalise import Normaliser, rule
from finn_vitprune.graph.reason import Reason
from finn_vitprune.ingest.normal_form.terms import Const, Value, View
from finn_vitprune.ingest.onnx_file.unsupported import why_not

ANY = (Const, View)


def constant(node: Node, values: list[Value | None], position: int) -> np.ndarray | None:
    """A constant input, or None where it is left out.

    Raises:
        Reason: it is computed from the image.
    """
    if position >= len(values) or values[position] is None:
        return None
    value = values[position]
    if not isinstance(value, Const):
        raise Reason(
            f"input {position} ({node.inputs[position]}) must be a constant", "export with fixed shapes"
        )
    return value.value


def numbers(node: Node, values: list[Value | None], position: int, attribute: str) -> list[int] | None:
    """Whole numbers from an attribute (older opsets) or a constant input (newer ones), or None."""
    given = node.attributes.get(attribute)
    if given is None:
        given = constant(node, values, position)
    return None if given is None else [int(n) for n in np.asarray(given).reshape(-1)]


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; one that the tensor has not is refused."""
    if not -rank <= axis < rank:
        raise Reason(f"axis {axis} of a tensor of {rank} dimensions")
    return axis % rank


@rule("Identity Dropout", ANY)
def identity(state: Normaliser, node: Node, values: list):
    return values[0]


@rule("Cast CastLike", View)
def cast(state: Normaliser, node: Node, values: list):
    return values[0]


@rule("Shape", View)
def shape(state: Normaliser, node: Node, values: list):
    dims = list(values[0].shape)
    return Const(np.array(dims[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64))


@rule("Shape", Const)
def constant_shape(state: Normaliser, node: Node, values: list):
    dims = list(values[0].value.shape)
    return Const(np.array(dims[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64))


@rule("IsNaN IsInf", View)
def is_no_number(state: Normaliser, node: Node, values: list):
    """Guards around softmax: computed values are numbers here."""
    return Const(np.zeros(values[0].shape, bool))


@rule("Size", View)
def size(state: Normaliser, node: Node, values: list):
    return Const(np.array(values[0].index.size, np.int64))


@rule("Reshape", ANY)
def reshape(state: Normaliser, node: Node, values: list):
    target = constant(node, values, 1)
    keep_zero = node.attributes.get("allowzero", 0)

    def move(array):
        dims = [int(d) for d in target.reshape(-1)]
        return array.reshape([array.shape[i] if d == 0 and not keep_zero else d for i, d in enumerate(dims)])

    return values[0].moved(move)


@rule("Flatten", ANY)
def flatten(state: Normaliser, node: Node, values: list):
    axis = node.attributes.get("axis", 1)
    return values[0].moved(lambda a: a.reshape(int(np.prod(a.shape[:axis])), -1))


@rule("Transpose", ANY)
def transpose(state: Normaliser, node: Node, values: list):
    return values[0].moved(lambda a: np.transpose(a, node.attributes.get("perm")))


@rule("Squeeze", ANY)
def squeeze(state: Normaliser, node: Node, values: list):
    axes = numbers(node, values, 1, "axes")
    return values[0].moved(lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


@rule("Unsqueeze", ANY)
def unsqueeze(state: Normaliser, node: Node, values: list):
    axes = numbers(node, values, 1, "axes")
    return values[0].moved(lambda a: np.expand_dims(a, tuple(axes)))


@rule("Slice", ANY)
def slice_(state: Normaliser, node: Node, values: list):
    starts, ends = numbers(node, values, 1, "starts"), numbers(node, values, 2, "ends")
    axes = numbers(node, values, 3, "axes")
    steps = numbers(node, values, 4, "steps")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps

    def move(array):
        cut = [slice(None)] * array.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            cut[axis] = slice(start, None if step < 0 and end < -array.shape[axis] else end, step)
        return array[tuple(cut)]

    return values[0].moved(move)


@rule("Gather", ANY, Const)
def gather(state: Normaliser, node: Node, values: list):
    which, axis = values[1].value.astype(np.int64), node.attributes.get("axis", 0)

    def move(array):
        constants.limit([array.size // max(array.shape[axis], 1), which.size])
        return np.take(array, which, axis=axis)

    return values[0].moved(move)


@rule("Split", ANY)
def split(state: Normaliser, node: Node, values: list):
    axis, sizes, parts = node.attributes.get("axis", 0), numbers(node, values, 1, "split"), len(node.outputs)
    length = (values[0].value if isinstance(values[0], Const) else values[0].index).shape[axis]
    if sizes is None:
        step = -(-length // parts)
        sizes = [min(step, length - step * i) for i in range(parts)]
    if sum(sizes) != length or len(sizes) != parts or min(sizes) < 0:
        raise Reason(f"split {sizes} of {length} values into {parts} outputs")
    cuts = np.cumsum(sizes)[:-1]
    return [values[0].moved(lambda a, i=i: np.split(a, cuts, axis=axis)[i]) for i in range(parts)]


@rule("Expand", View)
def expand(state: Normaliser, node: Node, values: list):
    target = tuple(int(d) for d in constant(node, values, 1).reshape(-1))
    shape = np.broadcast_shapes(values[0].shape, target)
    constants.limit(shape)
    return values[0].moved(lambda a: np.broadcast_to(a, shape))


@rule("Pad", View)
def pad(state: Normaliser, node: Node, values: list):
    pads = numbers(node, values, 1, "pads")
    if any(pads):
        raise Reason(*why_not(node))
    return values[0]


@rule("Tile", View)
def tile(state: Normaliser, node: Node, values: list):
    repeats = [int(r) for r in constant(node, values, 1).reshape(-1)]
    constants.limit([d * r for d, r in zip(values[0].shape, repeats, strict=True)])
    return values[0].moved(lambda a: np.tile(a, repeats))


@rule("If", Const)
def branch(state: Normaliser, node: Node, values: list):
    """A condition on constants: the nodes of the branch taken, in place."""
    graph = node.attributes["then_branch" if values[0].value.reshape(-1)[0] else "else_branch"]
    folder = state.source.path.parent
    for tensor in graph.initializer:
        state.values[tensor.name] = Const(tensor_array(tensor, folder))
    for inner in read_nodes(graph, folder):
        state.apply(inner)
    state.node = node
    return [state.values[o.name] for o in graph.output]
