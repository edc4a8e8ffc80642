"""VitSplit: channels to two streams."""

import numpy as np
import pytest
from tests.rtl.helper import build_node, check_op, random_stream

SHAPES = [
    # tokens, channels, first, SIMD, codes
    (5, 12, 4, 2, "INT4"),
    (3, 12, 4, 4, "INT8"),
    (2, 2, 1, 1, "INT8"),
    (1, 12, 8, 4, "INT16"),
    (4, 9, 3, 3, "UINT4"),
]


def inputs(tokens, channels, first, simd, dtype):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": tokens, "channels": channels, "first": first, "SIMD": simd, "inputDataType": dtype}
    op, _ = build_node("VitSplit", attrs)
    return "VitSplit", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_split_equals_golden_model(shape):
    check_op(*inputs(*shape))


def test_split_parts_by_hand():
    attrs = {"tokens": 2, "channels": 3, "first": 1, "SIMD": 1, "inputDataType": "INT8"}
    op, _ = build_node("VitSplit", attrs)
    first, rest = op.compute(np.array([[[1, 2, 3], [4, 5, 6]]]))
    assert first.tolist() == [[[1], [4]]]
    assert rest.tolist() == [[[2, 3], [5, 6]]]


@pytest.mark.parametrize("channels, first, simd", [(2, 1, 1), (12, 8, 4)])
def test_the_fastest_fold_divides_both_parts(channels, first, simd):
    op, _ = build_node("VitSplit", {"tokens": 2, "channels": channels, "first": first, "inputDataType": "INT8"})
    assert op.folding().for_interval(1).attributes() == {"SIMD": simd}
