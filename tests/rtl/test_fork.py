"""VitFork: two copies."""

import pytest

from finn_vitprune.sim import Stimulus
from tests.rtl.benches.helper import build_node, check_op, random_stream
from tests.sampling import spread

SHAPES = [(5, 12, 4, "INT8"), (2, 6, 1, "INT4"), (1, 4, 4, "INT16"), (3, 6, 3, "INT4")]
UNEVEN = Stimulus(seed=5, stall={"out0_V": 0.7}), Stimulus(seed=6, stall={"out1_V": 0.7}, pause=0.2)


def inputs(tokens, channels, simd, dtype):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": tokens, "channels": channels, "SIMD": simd, "inputDataType": dtype}
    op, _ = build_node("VitFork", attrs)
    return "VitFork", attrs, [random_stream(op.in_streams()[0], 4, 1)]


@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_fork_equals_golden_model(shape):
    check_op(*inputs(*shape), patterns=UNEVEN)
