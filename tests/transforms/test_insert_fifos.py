"""FIFO depths that come from how an op takes its input."""

import numpy as np
import pytest
from finn.util.basic import getHWCustomOp
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.transforms.streams.insert_fifos import InsertFifos, SetFifoDepths
from tests.rtl.benches.helper import build_node
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


def paced(tokens: int, slot: int) -> TokenTimes:
    """A token every ``slot`` cycles, at once."""
    times = tuple(float(i * slot) for i in range(tokens))
    return TokenTimes(times, times)


AT_ONCE = TokenTimes((0.0,), (0.0,))
"""Scores that are there before the rows."""


@pytest.mark.parametrize("channels, simd, interval", [(64, 2, 1097), (64, 2, 1300), (96, 4, 800), (64, 1, 1200)])
def test_no_source_falls_behind_while_the_fused_token_leaves(channels, simd, interval):
    op, _ = build_node("VitTokenDrop", attrs(17, channels, simd, 8) | {"interval": interval})
    slot = max(interval, op.get_exp_cycles()) // 17
    held = op.pause_beats([paced(17, slot), AT_ONCE])
    pause = op.get_exp_cycles() - 17 * op.folding().beats
    assert held > 1 and [is_late(d, op.folding().beats, slot, pause) for d in (held, held - 1)] == [False, True]


@pytest.mark.parametrize("rows, tokens, group", [(17, 4, 4), (17, 2, 2), (16, 4, 0), (17, 1, 0)])
def test_a_matrix_unit_has_a_group_on_both_sides_where_the_last_group_of_a_frame_is_smaller(rows, tokens, group):
    op, model = build_node("BlockSparseMVAU", {
        "tokens": rows, "MW": 16, "MH": 32, "block": 8, "shift": 20, "column_blocks": [2] * 4, "TOKENS": tokens,
        "in_width": 2, "inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "INT8",
    })  # fmt: skip
    assert (op.burst_tokens(), op.pause_beats([])) == (group, group * 16 // 2)
    node = model.transform(SetFifoDepths()).graph.node[0]
    assert getCustomOp(node).get_nodeattr("inFIFODepths") == [max(2, group * 8)]


@pytest.mark.parametrize("prefix, channels, simd", [(1, 64, 2), (2, 64, 2), (1, 96, 4)])
def test_no_source_without_a_pause_falls_behind_while_prefix_tokens_leave(prefix, channels, simd):
    shape = {"tokens_in": 16, "prefix": prefix, "channels": channels, "SIMD": simd}
    op, model = build_node("VitTokenEmbed", shape, [np.zeros((prefix, channels)), np.zeros((prefix + 16, channels))])
    beats = channels // simd
    held = op.pause_beats([])
    assert [is_late(d, beats, beats, prefix * beats) for d in (held, held - 1)] == [False, True]
    node = model.transform(SetFifoDepths()).graph.node[0]
    assert getCustomOp(node).get_nodeattr("inFIFODepths")[0] == held


def test_no_fifo_before_a_token_drop_that_is_never_in_the_way():
    op, _ = build_node("VitTokenDrop", attrs(17, 64, 2, 8) | {"interval": 10_000})
    assert op.pause_beats([paced(17, 10_000 // 17), AT_ONCE]) == 0
    op, model = build_node("VitTokenDrop", attrs(17, 64, 2, 16))
    assert op.pause_beats([paced(17, 32), AT_ONCE]) == 0
    built = model.transform(SetFifoDepths()).transform(InsertFifos())
    assert [n.op_type for n in built.graph.node] == ["VitTokenDrop_rtl"]


@pytest.mark.parametrize("heads, simd, pe, tokens, least", [(6, 64, 12, 197, 11), (6, 64, 16, 100, 6), (3, 8, 4, 33, 0), (1, 4, 1, 17, 0)])
def test_before_a_token_drop_stand_the_rows_that_come_until_the_scores_are_ranked(heads, simd, pe, tokens, least):
    """Attention, projection, drop: rows leave at the pace of attention, and all but the first wait for the scores."""
    channels = 64 * heads
    shapes = {"query": (tokens, channels), "keys": (tokens, 2 * channels), "rows": (tokens, channels)}
    attention = make_node("PrunedAttention_rtl", ["query", "keys", "table"], ["o", "scores"], tokens=tokens, queries=tokens, heads=heads,
                          head_dim=64, SIMD=simd, PE=pe, scores=1, logit_mult=1, logit_shift=1, recip_num=1, recip_shift=1)  # fmt: skip
    projection = make_node("BlockSparseMVAU_rtl", ["o", "weights", "bias", "mult"], ["rows"], tokens=tokens, MW=channels, MH=channels, block=16,
                           shift=20, column_blocks=[channels // 64] * (channels // 16), SIMD=16, PE=16, in_width=4, out_width=8, LANES=3,
                           inputDataType="INT8", weightDataType="INT4", outputDataType="INT16")  # fmt: skip
    drop = make_node("VitTokenDrop_rtl", ["rows", "scores"], ["kept"], **attrs(tokens, channels, 8, tokens // 2, heads))
    first, unit, last = map(getHWCustomOp, (attention, projection, drop))
    last.set_nodeattr("interval", first.get_exp_cycles())
    graph = helper.make_graph(
        [attention, projection, drop], "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, (1, *shapes[n])) for n in ("query", "keys")],
        [helper.make_tensor_value_info("kept", TensorProto.FLOAT, (1, tokens // 2 + 2, channels))],
    )  # fmt: skip
    model = ModelWrapper(helper.make_model(graph)).transform(SetFifoDepths())
    held = getCustomOp(model.graph.node[2]).get_nodeattr("inFIFODepths")[0] // (channels // 8)

    o, scores = first.pass_times([TokenTimes((0.0,) * tokens, (0.0,) * tokens)] * 2)
    (rows,) = unit.pass_times([o])
    ranked = scores.last[-1] + last.folding().ranking.cycles
    waiting = sum(t < ranked for t in rows.last[1:])  # the first passes at once
    assert least <= waiting <= held
