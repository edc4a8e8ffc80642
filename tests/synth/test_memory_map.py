"""The memory map of a unit: the memories that its RTL has, by contents, and exactly the block RAMs and UltraRAMs of its estimate."""

from dataclasses import astuple

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from builds.experiments.deit_models import hardware_graph
from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU
from finn_vitprune.custom_ops.op.memory import Estimate, Holds, RamKind, RowRom, UnitMemory
from finn_vitprune.transforms.planning.fold import FoldForInterval
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from tests.rtl.benches.helper import build_node
from tests.transforms.test_node_names import CASES, DEMO

KINDS = ("distributed", "block", "ultra")


@pytest.fixture(scope="module")
def graphs():
    """The demo at two speeds, and a network that pools by the mean, with FIFOs; weights of the first in all kinds of RAM."""
    demo = hardware_graph(ModelWrapper(str(DEMO)))
    mean = hardware_graph(CASES["mean"]())
    found = [m.transform(FoldForInterval(i), make_deepcopy=True) for m, i in ((demo, 1_100), (demo, 40_000), (mean, 300))]
    for i, node in enumerate(found[0].get_nodes_by_op_type("BlockSparseMVAU_rtl")):
        getCustomOp(node).set_nodeattr("ram_style", KINDS[i % 3])
    return [model.transform(InsertStreams()) for model in found]


def ops_of(graphs):
    return [(getCustomOp(node), model) for model in graphs for node in model.graph.node]


def test_block_rams_and_ultrarams_are_those_of_the_estimate(graphs):
    seen = set()
    for op, _ in ops_of(graphs):
        used = sum((memory.resources for memory in op.memory_map()), Estimate())
        whole = op.resources()
        assert (used.BRAM_18K, used.URAM, used.DSP) == (whole.BRAM_18K, whole.URAM, 0), op.onnx_node.name
        assert used.LUT <= whole.LUT
        seen |= {memory.kind for memory in op.memory_map()}
    assert seen == set(RamKind)


def file_of(memory: UnitMemory) -> tuple[int, int]:
    """Words and width of a ROM's file: rows lie side by side."""
    rom = RowRom(memory.words, memory.width, memory.style)
    return (rom.row, rom.rows * rom.width) if memory.in_rows else (memory.words, memory.width)


def test_every_rom_file_is_a_memory_of_its_words_and_width(graphs):
    """The contents come from elsewhere: what :meth:`memories` writes for the RTL."""
    files = 0
    for op, model in ops_of(graphs):
        roms = {file_of(m) for m in op.memory_map() if m.rom}
        banks = 0
        for suffix, memory in op.memories(model).items():
            assert (len(memory.words), memory.width) in roms, (op.onnx_node.name, suffix)
            banks += suffix.startswith("weights")
            files += 1
        if isinstance(op, BlockSparseMVAU) and op.get_nodeattr("ram_style") != "ultra":
            (weights,) = [m for m in op.memory_map() if m.holds == Holds.WEIGHTS]
            assert weights.count == banks
    assert files > 100


def test_the_contents_of_weights_are_the_kept_blocks(graphs):
    for op, model in ops_of(graphs):
        if isinstance(op, BlockSparseMVAU):
            (weights,) = [m for m in op.memory_map() if m.holds == Holds.WEIGHTS]
            values, b = model.get_initializer(op.onnx_node.input[1]), op.get_nodeattr("block")
            padded = np.pad(values, [(0, -values.shape[i] % b) for i in range(2)])
            blocks = padded.reshape(padded.shape[0] // b, b, -1, b).any(axis=(1, 3)).sum()
            assert weights.bits == blocks * b * b * 8


def test_contents_fit_and_no_memory_is_larger_than_it_must_be(graphs):
    for op, _ in ops_of(graphs):
        for memory in op.memory_map():
            assert 0 < memory.bits <= memory.count * memory.words * memory.width, (op.onnx_node.name, memory)
            if memory.capacity is not None:
                assert memory.bits <= memory.capacity


def test_keys_and_values_are_those_of_two_frames(graphs):
    for op, _ in ops_of(graphs):
        if isinstance(op, PrunedAttention):
            (memory,) = [m for m in op.memory_map() if m.holds == Holds.KEYS_AND_VALUES]
            tokens, channels = op.in_streams()[1].tokens, op.in_streams()[1].channels
            assert memory.bits == 2 * tokens * channels * 8


# (words, width, style, rom): RAM kind, RAMs (18 Kbit, UltraRAMs or LUTRAMs of 8 LUTs), capacity in bits
BY_HAND = [
    ((512, 36, "block", False), RamKind.BRAM, Estimate(BRAM_18K=1), 18_432),
    ((2048, 72, "block", False), RamKind.BRAM, Estimate(BRAM_18K=8), 8 * 18_432),
    ((4096, 144, "ultra", True), RamKind.URAM, Estimate(URAM=2), 2 * 294_912),
    ((64, 14, "distributed", False), RamKind.LUTRAM, Estimate(LUT=16), 2 * 64 * 7),
    ((20, 28, "distributed", False), RamKind.LUTRAM, Estimate(LUT=16), 2 * 32 * 14),
    ((64, 5, "distributed", True), RamKind.LUT, Estimate(LUT=5), None),
    ((1, 20, "block", True), RamKind.LUT, Estimate(), None),
]


@pytest.mark.parametrize("shape, kind, used, capacity", BY_HAND, ids=[str(row[0]) for row in BY_HAND])
def test_memories_by_hand(shape, kind, used, capacity):
    words, width, style, rom = shape
    memory = UnitMemory(Holds.TABLE, "some", words, width, style, rom=rom)
    assert (memory.kind, memory.resources, memory.capacity, memory.bits) == (kind, used, capacity, words * width)
    three = UnitMemory(Holds.TABLE, "some", words, width, style, count=3, rom=rom, stored=7)
    assert astuple(three.resources) == tuple(3 * n for n in astuple(used)) and three.bits == 7
    assert three.capacity == (None if capacity is None else 3 * capacity)


LOST = {
    # 8 kept blocks of 64 products a row, 64 products a cycle. 17 rows in groups of 4: the fifth group lacks three
    "rows": ({"TOKENS": 4, "SIMD": 4, "PE": 4, "LANES": 1}, 17 * 8 * 64 / 64, 3 * 8 * 64 / 64, 0.0),
    # two of the 32 columns are padding
    "padding": ({"TOKENS": 1, "SIMD": 8, "PE": 8, "MH": 30}, 17 * 8 * 64 * 30 / 32 / 64, 0.0, 17 * 8 * 64 * 2 / 32 / 64),
}


@pytest.mark.parametrize("case", LOST)
def test_lost_cycles_by_hand(case):
    fold, ideal, rows, padding = LOST[case]
    op, _ = build_node("BlockSparseMVAU", {
        "tokens": 17, "MW": 16, "MH": 32, "block": 8, "shift": 20, "column_blocks": [2] * 4, "in_width": 4, "out_width": 2,
        "inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "INT8",
    } | fold)  # fmt: skip
    unit = op.folding()
    assert unit.ideal_cycles == pytest.approx(ideal)
    assert (unit.lost.rows, unit.lost.padding) == pytest.approx((rows, padding))
    assert ideal + sum(astuple(unit.lost)) == pytest.approx(op.get_exp_cycles())


def test_lanes_that_hold_fewer_blocks_are_lost():
    """Seven blocks in two lanes, one sub-block a block: the fullest has four, of which an eighth of both is lost."""
    op, _ = build_node("BlockSparseMVAU", {
        "tokens": 4, "MW": 16, "MH": 32, "block": 8, "shift": 20, "column_blocks": [2, 2, 2, 1], "SIMD": 8, "PE": 2, "LANES": 2,
        "in_width": 8, "out_width": 8, "inputDataType": "INT8", "weightDataType": "INT8", "outputDataType": "INT8",
    })  # fmt: skip
    lost = op.folding().lost
    assert lost.lanes == pytest.approx(4 * (4 * 4 - 7 * 64 / 32)) and lost.rows == lost.padding == 0


def test_keys_rounded_up_are_lost():
    op, _ = build_node("PrunedAttention", {
        "tokens": 17, "queries": 17, "heads": 2, "head_dim": 8, "scores": 0, "SIMD": 4, "PE": 4, "logit_mult": 1000, "logit_shift": 16,
        "recip_num": 255 << 20, "recip_shift": 30,
    }, [np.zeros(256)])  # fmt: skip
    unit = op.folding()
    assert unit.macs == 2 * 17 * 17 * 2 * 8 and unit.lost.rows == pytest.approx(17 * 2 * 2 * (20 - 17) / 4)
    assert unit.ideal_cycles + sum(astuple(unit.lost)) == pytest.approx(unit.cycles)
