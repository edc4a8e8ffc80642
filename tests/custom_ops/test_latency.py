"""Latency by formula against simulation, and the event models it is made of against times worked out by hand."""

import json

import numpy as np
import pytest
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.custom_ops.engine.times import EngineNode
from finn_vitprune.custom_ops.mvau.balance import GroupTiming, row_ends
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim.beats import Stream
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.rtl.benches.helper import build_node
from tests.sampling import sampled
from tests.vit_models import random_vit

PART = "xcu250-figd2104-2L-e"
ERROR = 0.03
"""Share of the simulated latency: which tokens stay, and FIFOs that fill, are not followed."""


def simulated_and_by_formula(folder):
    model = ModelWrapper(str(folder / "intermediate_models" / "step_insert_streams.onnx"))
    return Summary.load(folder).rtlsim.latency_cycles, latency_cycles(model)


def test_latency_of_a_small_build_is_what_simulation_shows(small_build):
    simulated, formula = simulated_and_by_formula(small_build.folder)
    assert formula == pytest.approx(simulated, rel=ERROR)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "target_fps", "folding"),
    sampled(
        [
            (dict(image=8, depth=2, drop_at=(1,), token_keep="0.5"), 40_000, {}),
            (dict(image=16, patch=4, dim=48, heads=3, depth=3, drop_at=(2,), token_keep="0.7", block=16), 20_000, {}),
            (
                dict(image=8, depth=2, drop_at=(1,), token_keep="0.5"),
                None,
                {"Defaults": {"TOKENS": [4, ["BlockSparseMVAU_rtl"]], "LANES": [2, ["BlockSparseMVAU_rtl"]]}},
            ),
            (dict(image=8, depth=2, drop_at=(), global_pool="avg", class_token=False, fc_norm=True), 100_000, {}),
        ],
        1,
        several=True,
    ),
    ids=["slow", "three heads, three encoders", "groups of tokens, lanes", "mean pooling"],
)
def test_latency_of_other_folds_is_what_simulation_shows(tmp_path, network, target_fps, folding):
    model, _ = random_vit(**network)
    path = tmp_path / "model.onnx"
    model.save(str(path))
    size = network["image"]
    np.savez(tmp_path / "model.npz", images=np.random.default_rng(5).integers(0, 256, (2, size, size, 1), dtype=np.uint8))
    (tmp_path / "folding.json").write_text(json.dumps(folding))
    build(BuildOptions(
        model=path, output_dir=tmp_path / "build", fpga_part=PART, target_fps=target_fps,
        folding=tmp_path / "folding.json" if folding else None, synth="none",
    ))  # fmt: skip
    simulated, formula = simulated_and_by_formula(tmp_path / "build")
    assert formula == pytest.approx(simulated, rel=ERROR)


def test_tokens_that_come_slowly_leave_as_they_come_and_fast_ones_wait():
    slow = TokenTimes((0, 100, 200), (3, 103, 203))
    assert slow.served(beats=4, latency=2) == TokenTimes((2, 102, 202), (5, 105, 205))
    fast = TokenTimes.steady(3, 1)
    assert fast.served(beats=10, latency=2) == TokenTimes((2, 12, 22), (11, 21, 31))
    assert fast.served(beats=1, latency=2, start=50) == TokenTimes((50, 51, 52), (50, 51, 52))


def test_rows_of_the_matrix_unit_by_hand():
    timing = GroupTiming(load_row=2, compute=10, drain_row=3, latency=8)
    # loaded by 4, computed 4 to 14, drained from 22 on; the second group is computed 14 to 24, drained from 32 on
    assert row_ends([2, 2], timing) == [25, 28, 35, 38]
    # the second row comes at 50: its group starts then
    assert row_ends([2, 2], timing, [2, 50, 52, 54]) == [71, 74, 81, 84]
    # the first row comes late: the second one, at the same time, is loaded after it
    assert row_ends([2], timing, [50, 50]) == [52 + 10 + 8 + 3, 52 + 10 + 8 + 6]
    together = GroupTiming(load_row=2, compute=10, drain_row=3, latency=8, rows_per_step=2, emit_row=5)
    assert row_ends([2], together) == [25 + 5, 25 + 10]


def test_constant_tokens_leave_behind_the_first_beat_of_a_patch():
    op, _ = build_node("VitTokenEmbed", {"tokens_in": 2, "prefix": 1, "channels": 6, "SIMD": 3})
    [times] = op.pass_times([TokenTimes((100, 110), (101, 111))])
    # 5 registers and memories; a beat a cycle: the constant token, then the patch that waited for it
    assert times == TokenTimes((105, 107, 115), (106, 108, 116))


def test_what_passes_an_engine_has_the_size_of_its_encoder():
    """A FIFO and a converter that are made for 12 channels, in an encoder of 4."""
    for op_type, attributes in (("VitFIFO", {"SIMD": 1, "depth": 40}), ("VitWidthConverter", {"in_simd": 1, "out_simd": 2})):
        op, _ = build_node(op_type, {"tokens": 3, "channels": 12, "inputDataType": "INT8"} | attributes)
        node = EngineNode(op.onnx_node, [{"in0": Stream(3, 12, 1, DataType["INT8"])}, {"in0": Stream(3, 4, 1, DataType["INT8"])}, {}])
        for encoder, came, last in ((0, TokenTimes.steady(3, 12), 35), (1, TokenTimes((100, 104, 108), (103, 107, 111)), 111)):
            times, ends = node.pass_times(encoder, [came], 0)
            assert times["out0"].last[-1] == ends == last + op.beat_cycles()
        assert node.pass_times(2, [], 7) == ({}, 7)
