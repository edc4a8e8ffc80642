"""Rules that only move data: they act on the layout of a value, whatever it stands for."""

from __future__ import annotations

import numpy as np

from finn_vitprune.graph.constants import limit
from finn_vitprune.graph.node import Node, Reason
from finn_vitprune.graph.reading import read_nodes, tensor_array
from finn_vitprune.graph.rules import ANY, Const, Rules, Symbolic, axis_of, constant, needed_numbers, numbers
from finn_vitprune.graph.walk import Pass

RULES = Rules()


@RULES.rule("Identity Dropout", ANY)
@RULES.rule("Cast CastLike", Symbolic)
def same(state: Pass, node: Node, values: list):
    return values[0]


@RULES.rule("Shape", ANY)
def shape(state: Pass, node: Node, values: list):
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    return Const(np.array(values[0].shape[start:end], np.int64))


@RULES.rule("Size", ANY)
def size(state: Pass, node: Node, values: list):
    return Const(np.array(np.prod(values[0].shape), np.int64))


@RULES.rule("IsNaN IsInf", Symbolic)
def is_no_number(state: Pass, node: Node, values: list):
    """Guards around softmax: computed values are numbers here."""
    return Const(np.zeros(values[0].shape, bool))


@RULES.rule("Reshape", ANY)
def reshape(state: Pass, node: Node, values: list):
    target = [int(d) for d in constant(node, values, 1).reshape(-1)]
    if not node.attributes.get("allowzero", 0):
        target = [values[0].shape[i] if d == 0 else d for i, d in enumerate(target)]
    return values[0].moved(lambda a: a.reshape(target))


@RULES.rule("Flatten", ANY)
def flatten(state: Pass, node: Node, values: list):
    axis = node.attributes.get("axis", 1)
    return values[0].moved(lambda a: a.reshape(int(np.prod(a.shape[:axis])), -1))


@RULES.rule("Transpose", ANY)
def transpose(state: Pass, node: Node, values: list):
    return values[0].moved(lambda a: np.transpose(a, node.attributes.get("perm")))


@RULES.rule("Squeeze", ANY)
def squeeze(state: Pass, node: Node, values: list):
    axes = numbers(node, values, 1, "axes")
    return values[0].moved(lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


@RULES.rule("Unsqueeze", ANY)
def unsqueeze(state: Pass, node: Node, values: list):
    axes = needed_numbers(node, values, 1, "axes")
    return values[0].moved(lambda a: np.expand_dims(a, tuple(axes)))


@RULES.rule("Slice", ANY)
def slice_(state: Pass, node: Node, values: list):
    starts, ends = needed_numbers(node, values, 1, "starts"), needed_numbers(node, values, 2, "ends")
    axes = numbers(node, values, 3, "axes")
    steps = numbers(node, values, 4, "steps")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    cut = [slice(None)] * len(values[0].shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        length = values[0].shape[axis]
        cut[axis] = slice(max(start, -length), None if step < 0 and end < -length else end, step)
    return values[0].moved(lambda a: a[tuple(cut)])


@RULES.rule("Gather", ANY, Const)
def gather(state: Pass, node: Node, values: list):
    which, axis = values[1].value.astype(np.int64), node.attributes.get("axis", 0)

    def move(array):
        limit([array.size // max(array.shape[axis], 1), which.size])
        return np.take(array, which, axis=axis)

    return values[0].moved(move)


@RULES.rule("Split", ANY)
def split(state: Pass, node: Node, values: list):
    sizes, parts = numbers(node, values, 1, "split"), len(node.outputs)
    axis = axis_of(node.attributes.get("axis", 0), len(values[0].shape))
    length = values[0].shape[axis]
    if sizes is None:
        step = -(-length // parts)
        sizes = [min(step, length - step * i) for i in range(parts)]
    if sum(sizes) != length or len(sizes) != parts or min(sizes) < 0:
        raise Reason(f"split {sizes} of {length} values into {parts} outputs")
    cuts = np.cumsum(sizes)[:-1]
    return [values[0].moved(lambda a, i=i: np.split(a, cuts, axis=axis)[i]) for i in range(parts)]


@RULES.rule("Expand", ANY)
def expand(state: Pass, node: Node, values: list):
    target = np.broadcast_shapes(values[0].shape, tuple(int(d) for d in constant(node, values, 1).reshape(-1)))
    limit(target)
    return values[0].moved(lambda a: np.broadcast_to(a, target))


@RULES.rule("Tile", ANY)
def tile(state: Pass, node: Node, values: list):
    repeats = [int(r) for r in constant(node, values, 1).reshape(-1)]
    limit([d * r for d, r in zip(values[0].shape, repeats, strict=True)])
    return values[0].moved(lambda a: np.tile(a, repeats))


@RULES.rule("Pad", Symbolic)
def pad(state: Pass, node: Node, values: list):
    return state.unmatched(node, values) if any(needed_numbers(node, values, 1, "pads")) else values[0]


@RULES.rule("If", Const)
def branch(state: Pass, node: Node, values: list):
    """A condition on constants: the nodes of the branch taken, in place."""
    graph = node.attributes["then_branch" if values[0].value.reshape(-1)[0] else "else_branch"]
    for tensor in graph.initializer:
        state.values[tensor.name] = Const(tensor_array(tensor, state.folder))
    for inner in read_nodes(graph, state.folder):
        state.apply(inner)
    state.node = node
    return [state.values[o.name] for o in graph.output]
