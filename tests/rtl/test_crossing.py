"""VitCrossing: the same stream, later, through registers alone."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus, beats
from tests.rtl.benches.helper import build_node, build_op, check_op, random_stream
from tests.sampling import spread

CASES = [
    # stages, SIMD, codes
    (1, 3, "INT4"),
    (2, 1, "INT4"),
    (2, 6, "INT16"),
    (5, 4, "UINT8"),
]


def inputs(stages, simd, dtype):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": 7, "channels": 12, "SIMD": simd, "stages": stages, "inputDataType": dtype}
    op, _ = build_node("VitCrossing", attrs)
    return "VitCrossing", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_crossing_equals_golden_model(case):
    """And one frame takes its beats and a cycle for every register on the way."""
    checked = check_op(*inputs(*case))
    op = checked.built.op
    assert checked.latency == op.in_streams()[0].beats + case[0] and op.beat_cycles() == case[0]


def check_capacity(built):
    """Two beats for every stage go in while the output stalls."""
    stream = built.op.in_streams()[0]
    data = beats.pack(random_stream(stream, 2, 1), stream)
    result = built.simulator.run({"in0_V": data}, {"out0_V": len(data)}, stimulus=Stimulus(stall=1.0), idle_limit=50)
    assert len(result.in_cycles["in0_V"]) == 2 * built.op.get_nodeattr("stages")


@pytest.mark.parametrize("stages", spread([1, 2, 4], 4))
def test_every_stage_holds_two_beats(stages):
    check_capacity(build_op(*inputs(stages, 4, "INT8")[:2]))


@pytest.mark.parametrize("stages, simd, tokens", spread([
    (1, 12, 1), (2, 12, 2), (2, 6, 1), (3, 6, 2), (8, 1, 1), (13, 1, 2),
], 4, several=True))  # fmt: skip
def test_tokens_inside_when_the_first_one_leaves(stages, simd, tokens):
    """Counted in simulation: tokens of which some beat is in when the last beat of the first one is out."""
    built = build_op(*inputs(stages, simd, "INT8")[:2])
    stream = built.op.in_streams()[0]
    result = built.run([random_stream(stream, 1, 1)])
    first = result.out_cycles["out0_V"][stream.token_beats - 1]
    inside = np.count_nonzero(np.asarray(result.in_cycles["in0_V"]) < first) - (stream.token_beats - 1)
    assert built.op.held_tokens() == tokens == -(-inside // stream.token_beats)


def test_a_chain_without_a_stage_is_refused():
    op, _ = build_node("VitCrossing", inputs(1, 1, "INT8")[1] | {"stages": 0})
    with pytest.raises(UserError, match="stages 0 is not possible: use 1 or more"):
        op.verify_node()
