"""VitFIFO: holds its depth, changes nothing."""

import pytest
from helper import build_node, build_op, check_op, random_stream

from finn_vitprune.sim import Stimulus, beats

CASES = [
    (1, "auto", 1, "INT4"),
    (2, "auto", 3, "INT16"),
    (33, "auto", 3, "INT16"),
    (70, "auto", 6, "INT8"),
    (40, "block", 2, "INT16"),
    (90, "distributed", 1, "INT16"),
    (40, "ultra", 6, "INT16"),
]


@pytest.mark.parametrize("depth, style, simd, dtype", CASES)
def test_fifo_equals_golden_model(depth, style, simd, dtype):
    attrs = {
        "tokens": 30,
        "channels": 12,
        "SIMD": simd,
        "depth": depth,
        "ram_style": style,
        "inputDataType": dtype,
    }
    op, _ = build_node("VitFIFO", attrs)
    check_op("VitFIFO", attrs, [random_stream(op.in_streams()[0], 2, 1)])


def test_fifo_takes_depth_beats_while_its_output_stalls():
    attrs = {"tokens": 100, "channels": 2, "SIMD": 2, "depth": 73, "inputDataType": "INT8"}
    built = build_op("VitFIFO", attrs)
    data = beats.pack(random_stream(built.op.in_streams()[0], 1, 1), built.op.in_streams()[0])
    result = built.simulator.run(
        {"in0_V": data}, {"out0_V": 100}, stimulus=Stimulus(stall=1.0), idle_limit=50
    )
    assert len(result.in_cycles["in0_V"]) == 73
