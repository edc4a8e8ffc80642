"""VitRequant: multiplier and shift per channel or per tensor."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, build_op, check_op, random_stream
from tests.rtl.benches.precision import deciding, near_ties
from tests.sampling import spread

CASES = [
    # source, target, simd, shift, per_channel, mult_bits
    ("INT16", "INT8", 3, 23, 1, 17),
    ("INT24", "INT4", 1, 30, 1, 17),
    ("UINT8", "UINT4", 6, 20, 1, 17),
    ("INT32", "INT16", 2, 38, 0, 25),
    ("INT8", "INT8", 12, 16, 0, 17),
    ("INT8", "UINT8", 4, 0, 1, 2),
]


def inputs(source, target, simd, shift, per_channel, mult_bits):
    """Op type, attributes, a random stream and random multipliers."""
    attrs = {
        "tokens": 5,
        "channels": 12,
        "SIMD": simd,
        "shift": shift,
        "per_channel": per_channel,
        "mult_bits": mult_bits,
        "inputDataType": source,
        "outputDataType": target,
    }
    mult = np.random.default_rng(2).integers(0, 1 << mult_bits, 12 if per_channel else 1)
    mult[0] = (1 << mult_bits) - 1
    op, _ = build_node("VitRequant", attrs, [mult])
    return "VitRequant", attrs, [random_stream(op.in_streams()[0], 3, 1)], [mult]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_requant_equals_golden_model(case):
    check_op(*inputs(*case))


def precise_inputs():
    """Codes at which one more or one less in the multiplier of any channel gives another output."""
    mult = np.random.default_rng(4).integers(1 << 16, 1 << 17, 12)
    x = np.stack([deciding(np.arange(-(1 << 15), 1 << 15), m, 23, 8) for m in mult.tolist()], axis=-1)
    attrs = {
        "tokens": len(x),
        "channels": 12,
        "SIMD": 3,
        "shift": 23,
        "per_channel": 1,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [x[None]], [mult]


def test_every_bit_of_every_multiplier_counts():
    op_type, attrs, [x], [mult] = case = precise_inputs()
    op, _ = build_node(op_type, attrs, [mult])
    [golden] = op.compute(x, mult)
    for step in (-1, 1):
        assert np.all(np.any(op.compute(x, mult + step)[0] != golden, axis=(0, 1)))
    check_op(*case, patterns=())


def tie_inputs():
    """x / 128 at every tie, and one beside each: the output is the even neighbour, and the nearer one."""
    x = (64 + 128 * np.arange(-128, 128))[:, None] + np.array([-1, 0, 1])
    attrs = {
        "tokens": 64,
        "channels": 12,
        "SIMD": 4,
        "shift": 23,
        "per_channel": 0,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [x.reshape(1, 64, 12)], [np.array([1 << 16])]


def near_tie_inputs():
    """Codes whose product with their channel's multiplier is a tie, or one off."""
    pairs = near_ties(16, 17, 23, 8)[:60]
    attrs = {
        "tokens": 1,
        "channels": len(pairs),
        "SIMD": 4,
        "shift": 23,
        "per_channel": 1,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [pairs[:, 0].reshape(1, 1, -1)], [pairs[:, 1]]


def test_one_beside_a_tie_is_no_tie():
    check_op(*near_tie_inputs(), patterns=())


def test_ties_go_to_the_even_neighbour():
    op_type, attrs, [x], [mult] = case = tie_inputs()
    [golden] = build_node(op_type, attrs, [mult])[0].compute(x, mult)
    assert np.array_equal(golden, np.clip(np.rint(x / 128), -128, 127))
    check_op(*case, patterns=())


def test_multiplier_that_does_not_fit_is_named():
    attrs = {"tokens": 1, "channels": 2, "shift": 17, "inputDataType": "INT16", "outputDataType": "INT8"}
    with pytest.raises(UserError, match="2 multipliers of 0 to 131071, there are 2 from"):
        build_op("VitRequant", attrs, [np.array([1, 1 << 17])])
