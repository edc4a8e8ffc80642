"""VitFork: two copies."""

import pytest
from helper import build_node, check_op, random_stream

from finn_vitprune.sim import Stimulus


@pytest.mark.parametrize(
    "tokens, channels, simd, dtype",
    [(5, 12, 4, "INT8"), (2, 6, 1, "INT4"), (1, 4, 4, "INT16"), (3, 6, 3, "INT4")],
)
def test_fork_equals_golden_model(tokens, channels, simd, dtype):
    attrs = {"tokens": tokens, "channels": channels, "SIMD": simd, "inputDataType": dtype}
    op, _ = build_node("VitFork", attrs)
    uneven = Stimulus(seed=5, stall={"out0_V": 0.7}), Stimulus(seed=6, stall={"out1_V": 0.7}, pause=0.2)
    check_op("VitFork", attrs, [random_stream(op.in_streams()[0], 4, 1)], patterns=uneven)
