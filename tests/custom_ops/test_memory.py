"""Block RAM estimates equal what Yosys maps, on memories drawn at test time and on measured ones."""

import os

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.memory import Holds, RowRam, RowRom, UnitMemory, ram_bram18, ram_estimate, ram_urams, rom_bram18, rom_luts
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.synth.yosys import NodeJob, map_node, synth_node
from tests.sampling import sampled

SEED = int(os.environ.get("VITPRUNE_ESTIMATE_SEED", "1"))

# (module, words, bits): RAMB18 units that Yosys 0.70 gave; shapes where the cheapest cut is not obvious.
MEASURED = {
    ("ram", 600, 40): 3,
    ("ram", 1500, 40): 4,
    ("ram", 3000, 40): 8,
    ("ram", 4096, 40): 10,
    ("ram", 1500, 100): 9,
    ("ram", 8698, 64): 36,
    ("ram", 25576, 24): 39,
    ("ram", 8310, 128): 68,
    ("ram", 19077, 17): 20,
    ("ram", 28798, 48): 90,
    ("rom", 4096, 40): 9,
    ("rom", 6000, 40): 14,
    ("rom", 10000, 20): 12,
    ("rom", 3000, 40): 7,
}


@pytest.mark.parametrize("kind, words, bits", MEASURED)
def test_measured_memories(kind, words, bits):
    got = ram_bram18(words, bits) if kind == "ram" else rom_bram18(words, bits, "block")
    assert got == MEASURED[kind, words, bits]


# (words, bits): URAM288 that Yosys 0.70 gave; rows of 4,096 words share one in bytes of eight or nine bits.
MEASURED_ULTRA = {
    (8192, 12): 1,
    (10000, 20): 1,
    (20000, 73): 6,
    (5000, 36): 1,
    (12288, 30): 2,
    (4096, 73): 2,
    (16384, 18): 1,
    (8192, 65): 2,
    (40000, 10): 3,
    (65536, 36): 8,
}


@pytest.mark.parametrize("words, bits", MEASURED_ULTRA)
def test_measured_ultraram(words, bits):
    assert ram_urams(words, bits) == MEASURED_ULTRA[words, bits]


@pytest.mark.parametrize("words, bits, luts", [
    (600, 192, 0), (1152, 192, 192), (1400, 100, 100), (2304, 64, 128), (3072, 192, 192), (5000, 64, 128), (4608, 64, 320),
])  # fmt: skip
def test_multiplexers_between_the_block_rams_of_a_deep_rom(words, bits, luts):
    """Measured in Yosys 0.70."""
    assert rom_luts(words, bits, "block") == pytest.approx(luts, rel=0.2)


@pytest.mark.parametrize("words, bits, luts", [
    (768, 72, 0), (1536, 64, 67), (2500, 16, 19), (12000, 36, 39), (5000, 30, 65), (9000, 9, 23), (17000, 9, 54), (70000, 4, 29),
])  # fmt: skip
def test_multiplexers_between_the_block_rams_of_a_deep_ram(words, bits, luts):
    """Measured in Yosys 0.70."""
    assert ram_estimate(words, bits, "block").LUT == pytest.approx(luts, rel=0.2)


@pytest.mark.parametrize("words, bits, luts", [
    (8, 100, 64), (8, 656, 177), (24, 656, 657), (64, 100, 100), (128, 40, 80), (256, 40, 160), (576, 7, 91), (1024, 10, 228),
])  # fmt: skip
def test_tables_in_luts(words, bits, luts):
    """Measured in Yosys 0.70, mapped apart."""
    assert rom_luts(words, bits, "distributed") == pytest.approx(luts, rel=0.06)


@pytest.mark.parametrize("index", sampled(range(6), 1))
def test_drawn_memories_against_yosys(tmp_path, index):
    rng = np.random.default_rng([SEED, index])
    words = int(2 ** rng.uniform(6, 12.5))
    bits = int(rng.integers(3, 1 + min(140, 150_000 // words)))
    kind = "rom" if index % 2 else "ram"
    ports = {"rom": ".clk, .en(we), .addr(raddr), .data(q)", "ram": ".clk, .we, .waddr, .wdata, .re, .zero(1'b0), .raddr, .rdata(q)"}[kind]
    top = tmp_path / "memory.sv"
    top.write_text(
        f"module memory(input logic clk, we, re, input logic [{(words - 1).bit_length() - 1}:0] waddr, raddr,"
        f" input logic [{bits - 1}:0] wdata, output logic [{bits - 1}:0] q);"
        f' vp_{kind} #(.DEPTH({words}), .WIDTH({bits}), .STYLE("block")) m ({ports}); endmodule\n'
    )
    resources = synth_node([*rtl_sources(f"vp_{kind}"), top], "memory")
    estimate = rom_bram18(words, bits, "block") if kind == "rom" else ram_bram18(words, bits)
    assert 2 * resources.BRAM36 == estimate, f"{kind} of {words} x {bits}, seed {SEED}"


@pytest.mark.parametrize("words, bits, style, row, latency", [
    (2496, 32, "block", 2048, 3), (384, 64, "block", 384, 2), (600, 8, "distributed", 600, 1), (4096, 64, "ultra", 4096, 2),
    (9000, 8, "ultra", 4096, 3), (21504, 8, "ultra", 4096, 4),
])  # fmt: skip
def test_rows_of_a_deep_memory(words, bits, style, row, latency):
    """Block RAM of 18 Kbit: four of 2,048 x 9 and one of 512 x 36 hold 2,496 words of 32 bits, as five of 512 x 36 do."""
    memory = RowRam(words, bits, style)
    assert (memory.row, memory.latency) == (row, latency)


@pytest.mark.parametrize("index", sampled(range(4), 1))
def test_drawn_rows_against_yosys(tmp_path, index):
    rng = np.random.default_rng([SEED, 7, index])
    words, bits = int(rng.integers(600, 6000)), int(rng.integers(3, 70))
    style = ("block", "block", "ultra", "ultra")[index]
    memory = RowRam(words, bits, style)
    top = tmp_path / "memory.sv"
    top.write_text(
        f"module memory(input logic clk, we, re, input logic [{(words - 1).bit_length() - 1}:0] waddr, raddr,"
        f" input logic [{bits - 1}:0] wdata, output logic [{bits - 1}:0] q);"
        f' vp_row_ram #(.DEPTH({words}), .WIDTH({bits}), .STYLE("{style}"), .ROW({memory.row})) m ('
        ".clk, .we, .waddr, .wdata, .re, .raddr, .rdata(q)); endmodule\n"
    )
    found, promised = synth_node([*rtl_sources("vp_row_ram"), top], "memory"), memory.resources
    assert (2 * found.BRAM36, found.URAM) == (promised.BRAM_18K, promised.URAM), f"{words} x {bits}, seed {SEED}"
    assert found.LUT == pytest.approx(promised.LUT, rel=0.2, abs=4), f"{words} x {bits}, seed {SEED}"


@pytest.mark.parametrize("words, bits, row, latency", [
    (25216, 48, 2048, 4), (12608, 96, 1024, 4), (1040, 48, 512, 3), (2200, 48, 512, 4), (900, 8, 900, 3),
])  # fmt: skip
def test_rows_of_a_deep_rom(words, bits, row, latency):
    """The first two are tables of DeiT-Small's token embedding: 13 rows in 35 block RAMs of 2,048 x 18 or 1,024 x 36 bits."""
    memory = RowRom(words, bits, "block")
    assert (memory.row, memory.latency) == (row, latency)


@pytest.mark.parametrize("words, bits", sampled([(1040, 48), (2200, 20)], 1, several=True))
def test_rows_of_a_deep_rom_against_yosys(tmp_path, words, bits):
    """Block RAM to the unit, one LUT after a RAM."""
    memory = RowRom(words, bits, "block")
    top = tmp_path / "memory.sv"
    top.write_text(
        f"module memory(input logic clk, input logic [{(words - 1).bit_length() - 1}:0] addr, output logic [{bits - 1}:0] q);"
        f" vp_row_rom #(.DEPTH({words}), .WIDTH({bits}), .STYLE(\"block\"), .ROW({memory.row})) m (.clk, .we(1'b0), .waddr('0), .wdata('0), .addr, .data(q));"
        " endmodule\n"
    )
    found = map_node(NodeJob("memory", (*rtl_sources("vp_row_rom"), top)), 300)
    assert memory.rows > 1 and 2 * found.resources.BRAM36 == memory.resources.BRAM_18K
    assert found.resources.LUT == pytest.approx(memory.resources.LUT, rel=0.1, abs=4)
    assert found.timing.levels == 1 and found.timing.ram_levels <= 1


def test_loaded_weights_in_rows_of_ultraram_count_as_the_ram_that_they_are():
    weights = UnitMemory(Holds.WEIGHTS, "weights", 18_000, 64, "ultra", rom=True, in_rows=True)
    assert weights.resources == RowRam(18_000, 64, "ultra").resources
