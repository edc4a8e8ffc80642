"""VitAdd: saturating sum, beat by beat."""

import numpy as np
import pytest

from tests.rtl.benches.helper import build_node, check_op, random_stream
from tests.sampling import spread

SHAPES = [(5, 12, 1, "INT16"), (5, 12, 4, "INT16"), (1, 8, 8, "INT16"), (3, 6, 3, "INT8"), (4, 6, 2, "INT4")]


def inputs(tokens, channels, simd, dtype):
    """Op type, attributes and random streams."""
    attrs = {"tokens": tokens, "channels": channels, "SIMD": simd, "inputDataType": dtype}
    op, _ = build_node("VitAdd", attrs)
    return "VitAdd", attrs, [random_stream(s, 3, seed) for seed, s in enumerate(op.in_streams())]


@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_add_equals_golden_model(shape):
    check_op(*inputs(*shape))


def test_add_clips_both_ends_by_hand():
    op, _ = build_node("VitAdd", {"tokens": 1, "channels": 5, "SIMD": 1})
    a = np.array([[[32767, -32768, 20000, -20000, 7]]])
    b = np.array([[[1, -1, 20000, -20000, -9]]])
    assert op.compute(a, b)[0].tolist() == [[[32767, -32768, 32767, -32768, -2]]]
    assert op.saturations(a, b) == 4
