"""FIFO depths that come from how an op takes its input."""

import numpy as np
import pytest
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.transforms.insert_fifos import InsertFifos, SetFifoDepths
from tests.rtl.helper import build_node
from tests.rtl.test_token_drop import attrs


def is_late(depth: int, beats: int, slot: int, pause: int) -> bool:
    """Whether a source of one token of ``beats`` every ``slot`` cycles falls after at a FIFO of ``depth``.

    The consumer takes a beat a cycle, but none in the first ``pause`` cycles.
    """
    waiting = sent = 0
    for cycle in range(8 * slot):
        taken = cycle >= pause and waiting > 0
        due = beats * (cycle // slot) + min(beats, cycle % slot + 1)
        if sent < due and waiting - taken < depth:
            sent, waiting = sent + 1, waiting + 1
        waiting -= taken
        if (cycle + 1) % slot == 0 and sent < beats * (cycle + 1) // slot:
            return True
    return False


@pytest.mark.parametrize("channels, simd, interval", [(64, 2, 1097), (64, 2, 1300), (96, 4, 800), (64, 1, 1200)])
def test_no_source_falls_behind_while_the_fused_token_leaves(channels, simd, interval):
    shape = attrs(17, channels, simd, 8) | {"interval": interval}
    op, model = build_node("VitTokenDrop", shape)
    slot = max(interval, op.get_exp_cycles()) // 17
    depths = op.pause_beats(), op.pause_beats() - 1
    pause = op.get_exp_cycles() - 17 * op.folding().beats
    assert depths[1] > 0 and [is_late(d, op.folding().beats, slot, pause) for d in depths] == [False, True]
    assert getCustomOp(model.transform(SetFifoDepths()).graph.node[0]).get_nodeattr("inFIFODepths")[0] == depths[0]


@pytest.mark.parametrize("rows, tokens, group", [(17, 4, 4), (17, 2, 2), (16, 4, 0), (17, 1, 0)])
def test_a_matrix_unit_has_a_group_on_both_sides_where_the_last_group_of_a_frame_is_smaller(rows, tokens, group):
    op, model = build_node("BlockSparseMVAU", {
        "tokens": rows, "MW": 16, "MH": 32, "block": 8, "shift": 20, "column_blocks": [2] * 4, "TOKENS": tokens,
        "in_width": 2, "inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "INT8",
    })  # fmt: skip
    assert (op.burst_tokens(), op.pause_beats()) == (group, group * 16 // 2)
    node = model.transform(SetFifoDepths()).graph.node[0]
    assert getCustomOp(node).get_nodeattr("inFIFODepths") == [max(2, group * 8)]


@pytest.mark.parametrize("prefix, channels, simd", [(1, 64, 2), (2, 64, 2), (1, 96, 4)])
def test_no_source_without_a_pause_falls_behind_while_prefix_tokens_leave(prefix, channels, simd):
    shape = {"tokens_in": 16, "prefix": prefix, "channels": channels, "SIMD": simd}
    op, model = build_node("VitTokenEmbed", shape, [np.zeros((prefix, channels)), np.zeros((prefix + 16, channels))])
    beats = channels // simd
    depths = op.pause_beats(), op.pause_beats() - 1
    assert [is_late(d, beats, beats, prefix * beats) for d in depths] == [False, True]
    node = model.transform(SetFifoDepths()).graph.node[0]
    assert getCustomOp(node).get_nodeattr("inFIFODepths")[0] == op.pause_beats()


def test_no_fifo_before_a_token_drop_that_is_never_in_the_way():
    for k, interval in ((8, 10_000), (16, 0)):
        op, model = build_node("VitTokenDrop", attrs(17, 64, 2, k) | {"interval": interval})
        assert op.pause_beats() == 0
        built = model.transform(SetFifoDepths()).transform(InsertFifos())
        assert [n.op_type for n in built.graph.node] == ["VitTokenDrop_rtl"]
