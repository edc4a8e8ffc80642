"""VitSelectToken: one token passes, the others are taken without waiting for the output."""

import pytest
from helper import build_node, build_op, check_op, random_stream

from finn_vitprune.sim import Stimulus, beats

SHAPES = [(5, 12, 0, 3), (5, 12, 4, 12), (4, 6, 2, 1), (1, 6, 0, 2), (1, 4, 0, 4)]


@pytest.mark.parametrize("tokens, channels, index, simd", SHAPES)
def test_select_token_equals_golden_model(tokens, channels, index, simd):
    attrs = {"tokens": tokens, "channels": channels, "index": index, "SIMD": simd, "inputDataType": "INT16"}
    op, _ = build_node("VitSelectToken", attrs)
    check_op("VitSelectToken", attrs, [random_stream(op.in_streams()[0], 3, 1)])


def test_dropped_tokens_pass_a_stalled_output():
    attrs = {"tokens": 6, "channels": 4, "index": 0, "SIMD": 4, "inputDataType": "INT8"}
    built = build_op("VitSelectToken", attrs)
    data = beats.pack(random_stream(built.op.in_streams()[0], 1, 1), built.op.in_streams()[0])
    result = built.simulator.run({"in0_V": data}, {"out0_V": 1}, stimulus=Stimulus(stall=1.0), idle_limit=60)
    assert len(result.in_cycles["in0_V"]) == 6
