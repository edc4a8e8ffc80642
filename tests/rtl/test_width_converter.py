"""VitWidthConverter: up, down, equal, and through the least common multiple."""

import pytest

from tests.rtl.benches.helper import build_node, check_op, random_stream
from tests.sampling import spread

CASES = [
    # SIMD in and out, channels, codes
    (4, 4, 12, "INT8"),
    (1, 12, 12, "INT8"),
    (12, 1, 12, "INT4"),
    (4, 6, 12, "INT16"),
    (6, 4, 12, "INT4"),
    (3, 4, 12, "INT3"),
    (8, 12, 24, "INT8"),
    (2, 6, 6, "INT5"),
]


def inputs(in_simd, out_simd, channels, dtype):
    """Op type, attributes and a random stream."""
    shape = {"tokens": 5, "channels": channels, "in_simd": in_simd, "out_simd": out_simd}
    attrs = shape | {"inputDataType": dtype}
    op, _ = build_node("VitWidthConverter", attrs)
    return "VitWidthConverter", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_width_converter_equals_golden_model(case):
    check_op(*inputs(*case))
