"""Rules that only move data: they act on the index of a value, or on a constant itself."""

from __future__ import annotations

import numpy as np
from onnx import helper

from finn_vitprune.transforms.lower import Reason, rule
from finn_vitprune.transforms.values import Const, Image, Indexed, QConst, Rows

MOVABLE = (Const, QConst, Indexed)


def attribute(node, name, default=None):
    """Value of an ONNX attribute or ``default``."""
    for a in node.attribute:
        if a.name == name:
            return helper.get_attribute_value(a)
    return default


def axes_of(lowering, node, values) -> list[int] | None:
    """``axes`` of a node, an attribute or a constant input; None where there are none."""
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1 and node.input[1]:
        axes = lowering.constant_input(node, 1)
    return None if axes is None else [int(a) for a in np.asarray(axes).reshape(-1)]


def _move(lowering, node, value, function):
    """Apply a move; on the input image the node itself stays in the graph as host code."""
    moved = value.view(function)
    if isinstance(value, Image):
        lowering.graph.add_host(_copy_with_constants(lowering, node, value))
        lowering.graph.declare(node.output[0], moved.index.shape, "UINT8")
        return Image(moved.index, node.output[0])
    return moved


def _copy_with_constants(lowering, node, value):
    copy = type(node)()
    copy.CopyFrom(node)
    copy.input[0] = value.tensor
    for i, name in enumerate(node.input[1:], start=1):
        if name:
            array = lowering.constant_input(node, i)
            lowering.graph.add_raw_initialiser(name, array)
    return copy


@rule("Reshape", MOVABLE)
def reshape(lowering, node, values):
    shape = [int(d) for d in lowering.constant_input(node, 1).reshape(-1)]

    def apply(array):
        target = [array.shape[i] if d == 0 else d for i, d in enumerate(shape)]
        return array.reshape(target)

    return _move(lowering, node, values[0], apply)


@rule("Flatten", MOVABLE)
def flatten(lowering, node, values):
    axis = attribute(node, "axis", 1)
    return _move(lowering, node, values[0], lambda a: a.reshape(int(np.prod(a.shape[:axis])), -1))


@rule("Transpose", MOVABLE)
def transpose(lowering, node, values):
    perm = attribute(node, "perm")
    return _move(lowering, node, values[0], lambda a: np.transpose(a, perm))


@rule("Squeeze", MOVABLE)
def squeeze(lowering, node, values):
    axes = axes_of(lowering, node, values)
    return _move(lowering, node, values[0], lambda a: np.squeeze(a, None if axes is None else tuple(axes)))


@rule("Unsqueeze", MOVABLE)
def unsqueeze(lowering, node, values):
    axes = axes_of(lowering, node, values)

    def apply(array):
        rank = array.ndim + len(axes)
        for axis in sorted(a % rank for a in axes):
            array = np.expand_dims(array, axis)
        return array

    return _move(lowering, node, values[0], apply)


@rule("Slice", MOVABLE)
def slice_(lowering, node, values):
    starts, ends = (lowering.constant_input(node, i).reshape(-1) for i in (1, 2))
    has = lambda i: len(node.input) > i and node.input[i] != ""  # noqa: E731
    axes = lowering.constant_input(node, 3).reshape(-1) if has(3) else np.arange(len(starts))
    steps = lowering.constant_input(node, 4).reshape(-1) if has(4) else np.ones(len(starts), int)

    def apply(array):
        cut = [slice(None)] * array.ndim
        for start, end, axis, step in zip(starts, ends, axes, steps):
            cut[int(axis)] = slice(int(start), int(end) if abs(int(end)) < 1 << 31 else None, int(step))
        return array[tuple(cut)]

    return _move(lowering, node, values[0], apply)


@rule("Gather", MOVABLE)
def gather(lowering, node, values):
    axis = attribute(node, "axis", 0)
    indices = lowering.constant_input(node, 1).astype(np.int64)
    return _move(lowering, node, values[0], lambda a: np.take(a, indices, axis=axis))


@rule("Split", MOVABLE)
def split(lowering, node, values):
    axis = attribute(node, "axis", 0)
    sizes = attribute(node, "split")
    if sizes is None and len(node.input) > 1 and node.input[1]:
        sizes = lowering.constant_input(node, 1)
    if isinstance(values[0], Image):
        raise Reason("the input image is split; patches must come from Reshape and Transpose")
    parts = len(node.output)

    def part(i):
        if sizes is None:
            return lambda a: np.split(a, parts, axis=axis)[i]
        cuts = np.cumsum([int(s) for s in np.asarray(sizes).reshape(-1)])[:-1]
        return lambda a: np.split(a, cuts, axis=axis)[i]

    return [values[0].view(part(i)) for i in range(parts)]


@rule("Identity", MOVABLE)
@rule("Dropout", MOVABLE)
def identity(lowering, node, values):
    return values[0]


@rule("Cast", MOVABLE)
def cast(lowering, node, values):
    if isinstance(values[0], Const):
        return Const(values[0].value.astype(helper.tensor_dtype_to_np_dtype(attribute(node, "to"))))
    return values[0]


@rule("Constant")
def constant(lowering, node, values):
    from onnx import numpy_helper

    tensor = attribute(node, "value")
    if tensor is None:
        raise Reason("only tensor constants are supported")
    return Const(numpy_helper.to_array(tensor))


@rule("Shape", MOVABLE)
def shape(lowering, node, values):
    value = values[0]
    array = value.index if isinstance(value, Indexed) else value.value
    return Const(np.array(array.shape, dtype=np.int64))


@rule("Expand", Const)
@rule("Expand", QConst)
def expand(lowering, node, values):
    shape = [int(d) for d in lowering.constant_input(node, 1)]
    return values[0].view(lambda a: a * np.ones(shape, dtype=a.dtype))


@rule("Concat", MOVABLE)
def concat(lowering, node, values):
    """Constants together, or constant rows (class and distillation tokens) before a stream of tokens."""
    axis = attribute(node, "axis")
    if all(isinstance(v, Const) for v in values):
        return Const(np.concatenate([v.value for v in values], axis=axis))
    *prefix, last = values
    if not all(isinstance(v, (Const, QConst)) for v in prefix) or axis % last.index.ndim != 1:
        raise Reason("only constant rows before one stream of tokens can be joined (axis 1)")
    x = lowering.stream(last)
    rows = np.concatenate([v.value.reshape(-1, x.channels) for v in prefix])
    total = len(rows) + x.tokens
    return Rows(np.arange(total * x.channels).reshape(1, total, x.channels), rows, x)
