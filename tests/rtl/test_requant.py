"""VitRequant: multiplier and shift per channel or per tensor."""

import numpy as np
import pytest
from helper import build_node, build_op, check_op, random_stream

from finn_vitprune.errors import UserError

CASES = [
    # source, target, simd, shift, per_channel, mult_bits
    ("INT16", "INT8", 3, 23, 1, 17),
    ("INT24", "INT4", 1, 30, 1, 17),
    ("UINT8", "UINT4", 6, 20, 1, 17),
    ("INT32", "INT16", 2, 38, 0, 25),
    ("INT8", "INT8", 12, 16, 0, 17),
    ("INT8", "UINT8", 4, 0, 1, 2),
]


@pytest.mark.parametrize("source, target, simd, shift, per_channel, mult_bits", CASES)
def test_requant_equals_golden_model(source, target, simd, shift, per_channel, mult_bits):
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
    check_op("VitRequant", attrs, [random_stream(op.in_streams()[0], 3, 1)], [mult])


def test_multiplier_that_does_not_fit_is_named():
    attrs = {"tokens": 1, "channels": 2, "shift": 17, "inputDataType": "INT16", "outputDataType": "INT8"}
    with pytest.raises(UserError, match="2 multipliers of 0 to 131071, there are 2 from"):
        build_op("VitRequant", attrs, [np.array([1, 1 << 17])])
