"""VitTokenMean: means over tokens, against sums in exact fractions, and its RTL against the golden model."""

from fractions import Fraction

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, build_op, check_frame_taken, check_op, random_stream
from tests.sampling import spread

CASES = [
    # tokens, first, channels, simd, source, target, mult, shift
    (5, 1, 12, 3, "INT16", "INT16", 1, 2),
    (4, 0, 12, 12, "INT16", "INT16", 1 << 16, 18),
    (17, 1, 8, 4, "INT8", "INT8", 98765, 19),
    (6, 2, 6, 1, "INT4", "INT4", 3, 3),
    (3, 2, 4, 2, "INT8", "INT8", 7, 0),
    (1, 0, 4, 4, "INT16", "INT8", 70001, 24),
    (2, 1, 6, 6, "INT8", "INT16", 131071, 17),
    (9, 0, 130, 1, "INT16", "INT16", 116509, 20),
]


def attributes(tokens, first, channels, simd, source, target, mult, shift):
    shape = {"tokens": tokens, "first": first, "channels": channels, "SIMD": simd}
    return shape | {"mult": mult, "shift": shift, "inputDataType": source, "outputDataType": target}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compute_is_the_rounded_mean(case):
    op, _ = build_node("VitTokenMean", attributes(*case))
    tokens, first, channels, _, _, target, mult, shift = case
    x = random_stream(op.in_streams()[0], 4, 5)
    hi = (1 << (int(target[3:]) - 1)) - 1
    for frame, got in zip(x.tolist(), op.compute(x)[0].tolist(), strict=True):
        sums = [sum(frame[i][d] for i in range(first, tokens)) for d in range(channels)]
        exact = [round(Fraction(s * mult, 1 << shift)) for s in sums]
        assert got == [[min(max(v, -hi - 1), hi) for v in exact]]


def inputs(*case, **more):
    """Op type, attributes and a random stream."""
    attrs = attributes(*case) | more
    op, _ = build_node("VitTokenMean", attrs)
    return "VitTokenMean", attrs, [random_stream(op.in_streams()[0], 4, 1)]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_rtl_equals_golden_model(case):
    check_op(*inputs(*case))


def extreme_inputs():
    """Op type, attributes and frames at both ends of the range."""
    x = np.stack([np.full((8, 2), -32768), np.full((8, 2), 32767), np.full((8, 2), -1), np.full((8, 2), 32767)])
    x[3, 0] = 32765  # the mean is a quarter below the highest code, and rounded up to it
    return "VitTokenMean", attributes(8, 0, 2, 1, "INT16", "INT16", 1, 3), [x]


def test_extreme_tokens_do_not_overflow_the_sums():
    _, _, [x] = case = extreme_inputs()
    checked = check_op(*case)
    assert checked.built.expected([x])[0].reshape(4, 2).tolist() == [[-32768] * 2, [32767] * 2, [-1] * 2, [32767] * 2]


def test_block_ram_of_sums():
    check_op(*inputs(7, 1, 24, 2, "INT16", "INT16", 1, 3, ram_style="block"))


def test_a_frame_is_taken_before_its_mean_leaves():
    """The mean needs no room but its sums."""
    check_frame_taken(build_op("VitTokenMean", attributes(6, 1, 4, 4, "INT8", "INT8", 70000, 19)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"first": 5}, "mean from token 5 of 5 on: use 0 to 4"),
        ({"mult": 1 << 17}, "mult 131072 must be 1 to"),
        ({"shift": 47}, "shift 47 0 to 46"),
        ({"inputDataType": "UINT8"}, "inputDataType is UINT8, use a signed integer"),
    ],
)
def test_what_the_unit_does_not_hold_is_named(change, message):
    attrs = attributes(5, 1, 4, 1, "INT16", "INT16", 1, 2)
    with pytest.raises(UserError, match=message):
        build_op("VitTokenMean", attrs | change)
