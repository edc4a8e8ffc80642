"""VitFIFO: holds its depth, changes nothing."""

import pytest
from tests.rtl.helper import build_node, build_op, check_op, random_stream

from finn_vitprune.sim import Stimulus, beats

CASES = [
    # depth, ram_style, SIMD, codes
    (1, "auto", 1, "INT4"),
    (2, "auto", 3, "INT16"),
    (33, "auto", 3, "INT16"),
    (70, "auto", 6, "INT8"),
    (40, "block", 2, "INT16"),
    (90, "distributed", 1, "INT16"),
    (40, "ultra", 6, "INT16"),
]


def inputs(depth, style, simd, dtype):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": 30, "channels": 12, "SIMD": simd, "depth": depth, "ram_style": style, "inputDataType": dtype}
    op, _ = build_node("VitFIFO", attrs)
    return "VitFIFO", attrs, [random_stream(op.in_streams()[0], 2, 1)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fifo_equals_golden_model(case):
    check_op(*inputs(*case))


def check_depth(built):
    """As many beats as the FIFO is deep go in while its output stalls (2 where the depth is 1)."""
    stream, depth = built.op.in_streams()[0], built.op.get_nodeattr("depth")
    data = beats.pack(random_stream(stream, 1 + depth // stream.beats, 1), stream)
    result = built.simulator.run(
        {"in0_V": data}, {"out0_V": len(data)}, stimulus=Stimulus(stall=1.0), idle_limit=50
    )
    assert len(result.in_cycles["in0_V"]) == max(2, depth)


@pytest.mark.parametrize("depth, style", [(73, "auto"), (1, "auto"), (40, "block")])
def test_fifo_takes_depth_beats_while_its_output_stalls(depth, style):
    check_depth(build_op(*inputs(depth, style, 1, "INT8")[:2]))
