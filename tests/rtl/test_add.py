"""VitAdd: saturating sum, beat by beat."""

import numpy as np
import pytest
from helper import build_node, check_op, random_stream

SHAPES = [(5, 12, 1, "INT16"), (5, 12, 4, "INT16"), (1, 8, 8, "INT16"), (3, 6, 3, "INT8"), (4, 6, 2, "INT4")]


@pytest.mark.parametrize("tokens, channels, simd, dtype", SHAPES)
def test_add_equals_golden_model(tokens, channels, simd, dtype):
    attrs = {"tokens": tokens, "channels": channels, "SIMD": simd, "inputDataType": dtype}
    op, _ = build_node("VitAdd", attrs)
    check_op("VitAdd", attrs, [random_stream(s, 3, seed) for seed, s in enumerate(op.in_streams())])


def test_add_clips_both_ends_by_hand():
    op, _ = build_node("VitAdd", {"tokens": 1, "channels": 5, "SIMD": 1})
    a = np.array([[[32767, -32768, 20000, -20000, 7]]])
    b = np.array([[[1, -1, 20000, -20000, -9]]])
    assert op.compute(a, b)[0].tolist() == [[[32767, -32768, 32767, -32768, -2]]]
    assert op.saturations(a, b) == 4
