"""VitSplit: channels to two streams, of all tokens or of the first ones to both."""

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.sampling import spread

SHAPES = [
    # tokens, channels, first, SIMD, codes, tokens with both parts
    (5, 12, 4, 2, "INT4", 0),
    (3, 12, 4, 4, "INT8", 0),
    (2, 2, 1, 1, "INT8", 0),
    (1, 12, 8, 4, "INT16", 0),
    (4, 9, 3, 3, "UINT4", 0),
    (5, 12, 8, 2, "INT8", 1),
    (6, 6, 3, 3, "INT8", 4),
    (2, 8, 2, 2, "INT8", 2),
]
SHARED = [
    # SIMD, codes; tokens, channels, first, tokens with both parts of each encoder
    (2, "INT8", [(5, 12, 4, 0), (3, 8, 6, 1), (1, 4, 2, 0)]),
    (3, "INT4", [(4, 9, 3, 0), (2, 6, 3, 1), (7, 18, 6, 3), (1, 9, 6, 1), (5, 9, 3, 5)]),
    (4, "INT16", [(9, 24, 8, 0), (9, 24, 8, 1)]),
]


def inputs(tokens, channels, first, simd, dtype, first_tokens):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": tokens, "channels": channels, "first": first, "SIMD": simd, "inputDataType": dtype}
    attrs["first_tokens"] = first_tokens
    op, _ = build_node("VitSplit", attrs)
    return "VitSplit", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("shape", spread(SHAPES, 6), ids=str)
def test_split_equals_golden_model(shape):
    check_op(*inputs(*shape))


@pytest.mark.parametrize("simd, dtype, encoders", spread(SHARED, 4, several=True), ids=str)
def test_encoders_share_a_split(simd, dtype, encoders):
    check_shared(*shared(simd, dtype, encoders))


def shared(simd, dtype, encoders):
    """Op type, and what each encoder needs."""
    return "VitSplit", [Use(inputs(t, c, first, simd, dtype, both)[1]) for t, c, first, both in encoders]


def test_first_parts_of_other_tokens_are_dropped_by_hand():
    attrs = {"tokens": 3, "channels": 2, "first": 1, "first_tokens": 2, "SIMD": 1, "inputDataType": "INT8"}
    op, _ = build_node("VitSplit", attrs)
    first, rest = op.compute(np.array([[[1, 2], [3, 4], [5, 6]]]))
    assert (first.tolist(), rest.tolist()) == ([[[1], [3]]], [[[2], [4], [6]]])
    assert [stream.shape for stream in op.out_streams()] == [(1, 2, 1), (1, 3, 1)]
    assert [times.tokens for times in op.pass_times([TokenTimes.steady(3, 2)])] == [2, 3]


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


@pytest.mark.parametrize("change, message", [
    ({"first": 0}, "the first 0 of 12 channels: use 1 to 11"), ({"first": 12}, "the first 12 of 12 channels"),
    ({"first_tokens": 6}, "both parts of 6 of 5 tokens: use 1 to 5"),
])  # fmt: skip
def test_parts_that_are_not_there_are_refused(change, message):
    attrs = {"tokens": 5, "channels": 12, "first": 4, "SIMD": 2, "inputDataType": "INT8"}
    with pytest.raises(UserError, match=message):
        build_node("VitSplit", attrs | change)[0].rtl_parameters()
