"""What units take of an ECP5: rules of products and memories by hand, and one of each against Yosys."""

import shutil

import pytest

from builds.experiments.timing_units import attention, matrix
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import build_node
from finn_vitprune.boards.place import map_unit
from finn_vitprune.custom_ops.op import ecp5
from finn_vitprune.custom_ops.op.memory import Holds, UnitMemory
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts
from finn_vitprune.synth.family import ECP5, ULTRASCALE
from tests.sampling import sampled


def memory(words: int, width: int, style: str, **more) -> UnitMemory:
    return UnitMemory(Holds.ROWS, "rows", words, width, style, **more)


@pytest.mark.parametrize("a, b, count", [(8, 8, 1), (18, 18, 1), (19, 8, 1), (20, 8, 2), (27, 9, 2), (36, 18, 2), (27, 27, 4), (37, 20, 4)])
def test_products_are_cut_into_parts_of_18_bits_and_a_single_bit_takes_luts(a, b, count):
    assert ecp5.multipliers(ProductGroup(3, a, b)) == 3 * count


@pytest.mark.parametrize(
    "words, width, rom, count",
    [
        (512, 36, False, 1), (1024, 18, False, 1), (2048, 9, False, 1), (16384, 1, False, 1), (513, 36, False, 2), (64, 72, False, 2),
        (2048, 10, False, 2), (4096, 4, False, 1), (32768, 1, False, 2), (36, 512, True, 15), (2304, 8, True, 2),
    ],
)  # fmt: skip
def test_block_ram_has_18_kbit_in_six_shapes(words, width, rom, count):
    assert ecp5.block_rams(memory(words, width, "block", rom=rom, count=2)) == 2 * count


@pytest.mark.parametrize("words, width, rams", [(16, 4, 1), (17, 4, 2), (16, 5, 2), (64, 16, 16), (31, 8, 4)])
def test_other_rams_are_of_16_words_of_4_bits(words, width, rams):
    assert ecp5.dpr_rams(memory(words, width, "distributed")) == rams
    assert ecp5.dpr_rams(memory(words, width, "block")) == ecp5.dpr_rams(memory(words, width, "distributed", rom=True)) == 0


def test_an_estimate_is_the_sum_of_parts_memories_and_units():
    prices = ecp5.table()
    inner = UnitParts.of("registers", {"one": 1, "bits": 8})
    unit = UnitParts.of("fifo", {"one": 2, "pointer": 5}, (ProductGroup(1, 20, 8),), (memory(16, 8, "distributed"),), (inner, inner))
    found = ecp5.estimate(unit)
    comb = 2 * prices["fifo"]["one"][0] + 5 * prices["fifo"]["pointer"][0] + 2 * ecp5.DPR_COMB + 8 * prices["memory"]["read"][0]
    comb += 2 * (prices["registers"]["one"][0] + 8 * prices["registers"]["bits"][0])
    assert found.COMB == pytest.approx(comb) and found.MULT18 == 2 and found.EBR == 0
    assert found.amounts == (found.COMB, 2, 0, found.FF) and len(found.amounts) == len(ECP5.kinds)


@pytest.mark.parametrize(
    "unit",
    sampled([
        matrix(32, 32, (2, 2, 2, 1), "portable", "block", block=8), matrix(32, 32, (1, 4, 2, 1), "lut", "block", block=8),
        attention(2, 1, "block", tokens=9, heads=2, head_dim=8),
    ], 1),
    ids=["matrix, multipliers", "matrix, LUTs", "attention"],
)  # fmt: skip
def test_yosys_takes_what_the_estimate_says(unit, tmp_path):
    op, model = build_node(*unit)
    if hasattr(op, "plan"):
        op.plan(model.get_initializer(op.onnx_node.input[1]))
    files = sources(op, model, tmp_path)
    for path in set(tmp_path.rglob("*.hex")) - set(tmp_path.glob("*.hex")):
        shutil.copy(path, tmp_path)
    cells = map_unit(op.onnx_node.name, files, tmp_path, contents=False)
    comb, mult18, ebr, ff = op.amounts(ECP5)
    assert (mult18, ebr) == (cells["MULT18"], cells["EBR"])
    assert comb == pytest.approx(cells["COMB"], rel=0.15) and ff == pytest.approx(cells["FF"], rel=0.1)
    assert op.amounts(ULTRASCALE) == op.resources().amounts
