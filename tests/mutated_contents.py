"""Damage to what a graph holds and how it is built: types, sizes, control flow, functions, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

Damage = Callable[[ModelProto], None]
HELD = 40
"""Results of 128 MiB each that are alive together."""


def of_contents(model: ModelProto) -> Iterator[tuple[str, Damage]]:
    """What is done to such a model, and the function that does it; every one must be rejected."""
    qonnx = any(n.op_type == "Quant" for n in model.graph.node)
    for kind in (np.int64, np.complex64, bool):
        yield f"a weight of {kind.__name__}", _weight(lambda a, k=kind: np.ones(a.shape, k))
    yield "a weight of no rows", _weight(lambda a: a[:0])
    yield "a weight that is a number", _weight(lambda a: np.float32(1).reshape(()))
    yield "a weight of texts", _texts
    yield "weights that are all zero", _zeros
    yield "vectors of no entries", _no_entries
    yield "an initialiser twice", lambda m: m.graph.initializer.add().CopyFrom(_of_rank(m, 2))
    yield "an initialiser of nothing", lambda m: m.graph.initializer.add()
    yield "a node of nothing", lambda m: m.graph.node.add()
    yield "a second input and output of nothing", lambda m: (m.graph.input.add(), m.graph.output.add())
    yield "pixels that are texts", lambda m: _input(m).__setattr__("elem_type", TensorProto.STRING)
    yield "pixels that are whole numbers", lambda m: _input(m).__setattr__("elem_type", TensorProto.INT64)
    yield "an input without type", lambda m: m.graph.input[0].ClearField("type")
    yield "an input of no height", lambda m: _input(m).shape.dim[2].__setattr__("dim_value", 0)
    has_eps = any(a.name == "epsilon" for a in _attributes(model))
    for value in (float("nan"), -5.0) if has_eps else ():
        yield f"eps {value}", lambda m, v=value: [setattr(a, "f", v) for a in _attributes(m) if a.name == "epsilon"]
    yield "an attribute without value", lambda m: setattr(next(_attributes(m)), "type", 0)
    yield "an attribute of a function", lambda m: setattr(next(_attributes(m)), "ref_attr_name", "outer")
    yield "axes of -100", _far_axes
    yield "a node that reads itself", lambda m: _reader(m).input.__setitem__(0, _reader(m).output[0])
    yield "opset 99", lambda m: setattr(m.opset_import[0], "version", 99)
    yield from _control_flow()
    yield from _functions()
    yield "results of 5 GiB", _held
    yield "a range without end", _range(10**12, 1)
    yield "a range of step 0", _range(10, 0)
    yield "tiles that are joined", _tiles
    if not qonnx:
        yield "nodes of one name", lambda m: [setattr(n, "name", "same") for n in m.graph.node]
        yield "two opsets", lambda m: m.opset_import.add().CopyFrom(helper.make_opsetid("", 11))
        yield "an attribute twice", _attribute_twice
        yield "weights that overflow", _weight(lambda a: np.full(a.shape, 3e38, np.float32))


def _of_rank(model: ModelProto, rank: int) -> TensorProto:
    return next(t for t in model.graph.initializer if len(t.dims) >= rank and t.dims[0] > 2)


def _replace(tensor: TensorProto, array: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _weight(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(model):
        tensor = _of_rank(model, 2)
        _replace(tensor, change(numpy_helper.to_array(tensor)))

    return damage


def _texts(model: ModelProto) -> None:
    tensor = _of_rank(model, 2)
    count = int(np.prod(tensor.dims))
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.STRING, list(tensor.dims), [b"x"] * count))


def _zeros(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            _replace(tensor, np.zeros(list(tensor.dims), np.float32))


def _no_entries(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1:
            _replace(tensor, np.zeros(0, np.float32))


def _input(model: ModelProto):
    return model.graph.input[0].type.tensor_type


def _attributes(model: ModelProto) -> Iterator:
    return (a for n in model.graph.node for a in n.attribute)


def _attribute_twice(model: ModelProto) -> None:
    node = next(n for n in model.graph.node if n.attribute)
    node.attribute.add().CopyFrom(node.attribute[0])


def _far_axes(model: ModelProto) -> None:
    for attribute in _attributes(model):
        if attribute.name == "axis":
            attribute.i = -100
        elif attribute.name in ("axes", "perm"):
            attribute.ints[:] = [-100 - i for i in attribute.ints]


def _reader(model: ModelProto) -> NodeProto:
    return next(n for n in model.graph.node if n.op_type == "MatMul")


# --- control flow --------------------------------------------------------------------------------


def _behind(model: ModelProto, *nodes: NodeProto) -> None:
    """Nodes that make the output out of the tensor ``before``."""
    last = model.graph.output[0].name
    next(n for n in model.graph.node if last in n.output).output[0] = "before"
    nodes[-1].output[0] = last
    model.graph.node.extend(nodes)
    for name, value in (("condition", np.array(True)), ("count", np.array(10**9))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))


def _graph(output: str, *nodes: NodeProto, inputs: tuple = ()) -> GraphProto:
    return helper.make_graph(nodes, "body", inputs, [helper.make_tensor_value_info(output, 1, None)])


def _control_flow() -> Iterator[tuple[str, Damage]]:
    def nested(model):
        body = _graph("o", helper.make_node("Identity", ["before"], ["o"]))
        for i in range(20):
            other = _graph("p", helper.make_node("Identity", ["before"], ["p"]))
            body = _graph(f"o{i}", helper.make_node("If", ["condition"], [f"o{i}"], then_branch=body, else_branch=other))
        _behind(model, helper.make_node("If", ["condition"], ["out"], then_branch=body, else_branch=body))

    def on_data(model):
        largest = helper.make_node("ReduceMax", ["before"], ["largest"], keepdims=0)
        condition = helper.make_node("Cast", ["largest"], ["large"], to=TensorProto.BOOL)
        body = _graph("o", helper.make_node("Identity", ["before"], ["o"]))
        branch = helper.make_node("If", ["large"], ["out"], then_branch=body, else_branch=body)
        _behind(model, largest, condition, branch)

    def loop(model):
        inputs = [helper.make_tensor_value_info(n, t, []) for n, t in (("i", 7), ("c", 9))]
        inputs.append(helper.make_tensor_value_info("v", 1, None))
        body = helper.make_graph(
            [helper.make_node("Identity", [n], [n * 2]) for n in "cv"], "body", inputs,
            [helper.make_tensor_value_info("cc", 9, []), helper.make_tensor_value_info("vv", 1, None)],
        )  # fmt: skip
        _behind(model, helper.make_node("Loop", ["count", "condition", "before"], ["out"], body=body))

    yield "20 branches in each other", nested
    yield "a branch on data", on_data
    yield "a loop of 10**9 turns", loop
    yield "a branch without bodies", lambda m: _behind(m, helper.make_node("If", ["condition"], ["out"]))


# --- local functions -----------------------------------------------------------------------------


def _with_functions(calls: dict[str, list[str]]) -> Damage:
    """Functions by what they call, one after the other; the first Add of the graph becomes a call of "F0"."""

    def damage(model):
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
        for name, called in calls.items():
            steps = ["x", *[f"t{i}" for i in range(len(called) - 1)], "y"]
            nodes = [helper.make_node(c, [a], [b], domain="local") for c, a, b in zip(called, steps, steps[1:])] or [
                helper.make_node("Identity", ["x"], ["y"])
            ]
            model.functions.append(helper.make_function("local", name, ["x"], ["y"], nodes, opsets))
        model.opset_import.append(opsets[1])
        node = next(n for n in model.graph.node if n.op_type == "Add")
        node.op_type, node.domain = "F0", "local"
        del node.input[1:]

    return damage


def _functions() -> Iterator[tuple[str, Damage]]:
    yield "a function that calls itself", _with_functions({"F0": ["F0"]})
    yield "two functions that call each other", _with_functions({"F0": ["F1"], "F1": ["F0"]})
    doubling = {f"F{i}": [f"F{i + 1}"] * 2 for i in range(30)}
    yield "functions that unfold to 2**30 nodes", _with_functions(doubling | {"F30": []})


# --- memory --------------------------------------------------------------------------------------


def _held(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 25]), "size"))
    names = [f"held{i}" for i in range(HELD)]
    model.graph.node.extend(helper.make_node("ConstantOfShape", ["size"], [n], name=n) for n in names)
    model.graph.node.append(helper.make_node("Sum", names, ["sum"], name="sum"))


def _tiles(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([1 << 24, 1]), "times"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 2), np.float32), "one"))
    names = [f"tile{i}" for i in range(HELD)]
    model.graph.node.extend(helper.make_node("Tile", ["one", "times"], [n], name=n) for n in names)
    model.graph.node.append(helper.make_node("Concat", names, ["joined"], name="joined", axis=0))


def _range(stop: int, step: int) -> Damage:
    def damage(model):
        for name, value in (("from", 0), ("to", stop), ("step", step)):
            model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
        model.graph.node.append(helper.make_node("Range", ["from", "to", "step"], ["range"], name="range"))

    return damage
