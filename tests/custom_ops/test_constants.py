"""Constant folding: what ONNX says, and no tensor beyond the limit is ever made."""

import tracemalloc

import numpy as np
import pytest

from finn_vitprune.graph.constants import evaluate, output_shapes
from finn_vitprune.graph.node import Node, Reason

OPSET = 18


def node(op_type, *inputs, **attributes):
    names = tuple("" if a is None else f"x{i}" for i, a in enumerate(inputs))
    return Node("n", op_type, "", names, ("y",), attributes)


def folded(op_type, *inputs, **attributes):
    return evaluate(node(op_type, *inputs, **attributes), OPSET, list(inputs))[0]


def whole(*numbers):
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    "op_type,inputs,attributes,expected",
    [
        ("Div", (whole(-7, 7), whole(2)), {}, [-3, 3]),  # integers are divided towards zero
        ("Max", (whole(1, 5), whole(3), whole(0, 9)), {}, [3, 9]),
        ("Range", (np.array(1), np.array(8), np.array(3)), {}, [1, 4, 7]),
        ("Expand", (whole(1, 2), whole(2, 1)), {}, [[1, 2], [1, 2]]),
        ("ConstantOfShape", (whole(2),), {"value": whole(7)}, [7, 7]),
        ("Pad", (whole(5, 6), whole(1, 0)), {}, [0, 5, 6]),
        ("Pad", (np.eye(2), whole(0, 1), None, whole(-1)), {}, [[1, 0, 0], [0, 1, 0]]),
        ("Constant", (), {"value_floats": [0.5, 2.0]}, [0.5, 2.0]),
        ("Constant", (), {"value_int": 3}, 3),
    ],
)
def test_results_are_those_of_the_standard(op_type, inputs, attributes, expected):
    assert folded(op_type, *inputs, **attributes).tolist() == expected


def test_half_precision_is_single_here():
    assert folded("Cast", whole(3), to=10).dtype == np.float32


LONG = np.ones((1 << 15, 1), np.float32)
HUGE = [
    ("Expand", np.ones(1, np.float32), whole(1 << 40, 1 << 40)),
    ("Tile", np.ones((1, 3)), whole(1 << 20, 1 << 20)),
    ("Range", np.array(0), np.array(1 << 40), np.array(1)),
    ("ConstantOfShape", whole(10**5, 10**5)),
    ("Pad", np.ones(2), whole(1 << 40, 0)),
    ("MatMul", LONG, LONG.T),
    ("Add", LONG, LONG.T),
    ("Where", LONG > 0, LONG.T, LONG),
    ("GatherND", np.ones((3, 3)), np.zeros((1 << 13, 1 << 12, 1), np.int64)),
]


@pytest.mark.parametrize("case", HUGE, ids=lambda c: c[0])
def test_what_would_be_too_large_is_refused_before_it_is_made(case):
    tracemalloc.start()
    with pytest.raises(Reason, match="has more than 33,554,432 elements"):
        folded(*case)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_inputs_that_do_not_fit_and_operators_that_are_not_known_are_told():
    with pytest.raises(ValueError):
        folded("MatMul", np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(ValueError):
        folded("Range", np.array(0), np.array(1), np.array(0))
    with pytest.raises(Reason, match="Add has no inputs"):
        folded("Add")
    with pytest.raises(Reason, match="Conv of constants is not computed here"):
        folded("Conv", np.ones((1, 1, 3, 3), np.float32))


def test_shapes_of_computed_tensors_are_told_and_a_zero_stride_is_not_asked_for():
    assert output_shapes(node("Reshape", (2, 6), whole(3, -1)), OPSET, [(2, 6), whole(3, -1)]) == [(3, 4)]
    weight = np.ones((4, 3, 2, 2), np.float32)
    for strides, expected in (([2, 2], (1, 4, 4, 4)), ([0, 0], None)):
        conv = node("Conv", (1, 3, 8, 8), weight, strides=strides)
        assert output_shapes(conv, OPSET, [(1, 3, 8, 8), weight]) == [expected]
