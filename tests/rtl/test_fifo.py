"""VitFIFO: holds its depth, changes nothing."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus, beats
from tests.rtl.benches.helper import PATTERNS, assert_ok, build_node, build_op, check_op, random_stream
from tests.sampling import spread

CASES = [
    # depth, ram_style, SIMD, codes
    (1, "auto", 1, "INT4"),
    (2, "auto", 3, "INT16"),
    (33, "auto", 3, "INT16"),
    (70, "auto", 6, "INT8"),
    (40, "block", 2, "INT16"),
    (90, "distributed", 1, "INT16"),
    (40, "ultra", 6, "INT16"),
    (4100, "ultra", 3, "INT8"),
    (16390, "ultra", 6, "INT4"),
]


def inputs(depth, style, simd, dtype):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": 30, "channels": 12, "SIMD": simd, "depth": depth, "ram_style": style, "inputDataType": dtype}
    op, _ = build_node("VitFIFO", attrs)
    return "VitFIFO", attrs, [random_stream(op.in_streams()[0], 2, 1)]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_fifo_equals_golden_model(case):
    check_op(*inputs(*case))


def check_depth(built):
    """As many beats as the FIFO is deep go in while its output stalls (2 where the depth is 1)."""
    stream, depth = built.op.in_streams()[0], built.op.get_nodeattr("depth")
    data = beats.pack(random_stream(stream, 1 + depth // stream.beats, 1), stream)
    result = built.simulator.run({"in0_V": data}, {"out0_V": len(data)}, stimulus=Stimulus(stall=1.0), idle_limit=50)
    assert len(result.in_cycles["in0_V"]) == max(2, depth)


@pytest.mark.parametrize(
    "depth, style",
    spread(
        [(73, "auto"), (1, "auto"), (40, "block"), (4096, "ultra"), (4097, "ultra"), (4100, "ultra"), (16390, "ultra"), (40960, "block")],
        4,
        several=True,
    ),
)
def test_fifo_takes_depth_beats_while_its_output_stalls(depth, style):
    check_depth(build_op(*inputs(depth, style, 1, "INT8")[:2]))


@pytest.mark.parametrize("depth, style, latency, parts", spread([
    (4096, "ultra", 2, 1), (4100, "ultra", 3, 1), (16384, "ultra", 3, 1), (16390, "ultra", 3, 2), (49153, "ultra", 3, 4),
    (1024, "block", 2, 1), (9000, "block", 2, 3), (1000, "distributed", 1, 1), (1100, "distributed", 1, 2),
], 6, several=True))  # fmt: skip
def test_deep_fifos_read_ahead(depth, style, latency, parts):
    """Rows of RAMs, and parts: a beat every cycle, and the same beats in bursts that fill and empty it."""
    _, attrs, _ = inputs(depth, style, 6, "INT8")
    built = build_op("VitFIFO", attrs)
    parameters = built.op.rtl_parameters()
    assert (parameters["READ_LATENCY"], parameters["PARTS"]) == (latency, parts)
    stream = built.op.in_streams()[0]
    data = random_stream(stream, 1 + 2 * depth // stream.beats, 1)
    free, filled = Stimulus(), Stimulus(seed=1, stall=0.7, burst=200)
    results = {stimulus: built.run([data], stimulus) for stimulus in (free, filled, PATTERNS[0])}
    for stimulus, result in results.items():
        assert_ok(result, built, [data], stimulus)
    assert np.all(np.diff(results[free].out_cycles["out0_V"]) == 1)
    assert np.diff(results[filled].in_cycles["in0_V"]).max() > 1, "it was full"
    first = results[free].out_cycles["out0_V"][0] - results[free].in_cycles["in0_V"][0]
    assert first == built.op.beat_cycles()


def test_a_part_without_ultraram_is_named(tmp_path):
    op, model = build_node("VitFIFO", inputs(5000, "ultra", 6, "INT8")[1])
    op.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    with pytest.raises(UserError, match=r"part xczu3eg-sbva484-1-e has no UltraRAM for the beats of node unit .*use ram_style auto"):
        op.generate_hdl(model, "xczu3eg-sbva484-1-e", 5.0)
