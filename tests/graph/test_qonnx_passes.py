"""qonnx's passes with an index give the graphs that qonnx's own give."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.general import GiveUniqueParameterTensors, SortGraph

import finn_vitprune.custom_ops  # noqa: F401  prepares qonnx
from finn_vitprune.graph import qonnx_passes


def random_graph(seed: int) -> ModelWrapper:
    """A graph of 40 sums in no order: of tensors or shared constants, some that no input reaches, some constants without a shape."""
    rng = np.random.default_rng(seed)
    tensors, constants, floating = ["x"], [f"c{i}" for i in range(6)], ["nowhere"]
    nodes = []
    for i in range(40):
        pool = floating if rng.random() < 0.1 else tensors
        nodes.append(
            helper.make_node("Add", [pool[rng.integers(len(pool))], str(rng.choice([*pool, *constants]))], [f"t{i}"], name=f"n{i}")
        )
        pool.append(f"t{i}")
    output = tensors[-1]
    values = [helper.make_tensor_value_info(f"t{i}", TensorProto.FLOAT, [4]) for i in range(40) if f"t{i}" != output and rng.random() < 0.9]
    graph = helper.make_graph(
        [nodes[i] for i in rng.permutation(40)],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(rng.random(4, np.float32), name) for name in constants],
        value_info=values,
    )
    return ModelWrapper(helper.make_model(graph), fix_missing_initializer_valueinfo=False)


def copied(model: ModelWrapper) -> ModelWrapper:
    return ModelWrapper(model.model, make_deepcopy=True, fix_missing_initializer_valueinfo=False)


@pytest.mark.parametrize("fix", [False, True])
def test_the_same_shapes_are_missing_and_written(fix):
    answers = set()
    for seed in range(20):
        ours = random_graph(seed)
        theirs = copied(ours)
        for _ in range(2):  # the second time with the shapes that the first one wrote
            answers.add(answer := qonnx_passes.all_shapes_specified(ours, fix))
            assert answer == qonnx_passes._shapes_specified(theirs, fix) and ours.model == theirs.model
    complete = random_graph(0)
    for i in range(40):
        complete.set_tensor_shape(f"t{i}", [4])
    for i in range(6):
        complete.set_tensor_shape(f"c{i}", [4])
    complete.set_tensor_shape("nowhere", [4])
    assert qonnx_passes.all_shapes_specified(complete, fix) and answers == {False}


def test_two_shapes_of_a_tensor_are_refused_as_before():
    model = random_graph(0)
    model.graph.value_info.append(model.graph.input[0])
    with pytest.raises(AssertionError, match="Multiple ValueInfoProto found for x"):
        qonnx_passes.all_shapes_specified(model)


@pytest.mark.parametrize("ours, theirs, qonnx_pass", [
    (qonnx_passes.sort_graph, qonnx_passes._sort, SortGraph()),
    (qonnx_passes.make_parameters_unique, qonnx_passes._make_unique, GiveUniqueParameterTensors()),
])  # fmt: skip
def test_the_graphs_are_equal(ours, theirs, qonnx_pass):
    changed = 0
    for seed in range(20):
        model = random_graph(seed)
        one, other = ours(qonnx_pass, copied(model))[0], theirs(qonnx_pass, copied(model))[0]
        before, order, theirs_order = ([node.name for node in m.graph.node] for m in (model, one, other))
        assert order == theirs_order and len(one.graph.initializer) == len(other.graph.initializer)
        changed += before != order or len(one.graph.initializer) > 6
        assert not ours(qonnx_pass, one)[1] and all(np.array_equal(*values) for values in _constants(one, other))
    assert changed == 20


def _constants(one: ModelWrapper, other: ModelWrapper):
    """The constants that the same inputs of the same nodes read."""
    for ours, theirs in zip(one.graph.node, other.graph.node, strict=True):
        for name, its in zip(ours.input, theirs.input, strict=True):
            first, second = one.get_initializer(name), other.get_initializer(its)
            assert (first is None) == (second is None) and (first is not None or name == its)
            if first is not None:
                yield first, second


def test_every_model_uses_them():
    assert ModelWrapper.check_all_tensor_shapes_specified is qonnx_passes.all_shapes_specified
    assert SortGraph.apply is qonnx_passes.sort_graph
    assert GiveUniqueParameterTensors.apply is qonnx_passes.make_parameters_unique
