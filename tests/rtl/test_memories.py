"""RAM and ROM read in READ_LATENCY cycles, with an enable for each register on the way."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.memory import choose_cycles
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Port, SimulationError, compile_top
from tests.rtl.test_stream_blocks import build
from tests.sampling import spread

WORDS, BITS = 6, 8


class Words:
    """Memory and the registers after it, as the header of vp_ram.sv says; unknown words are None."""

    def __init__(self, latency: int, contents: list[int | None]):
        self.contents, self.registers = contents, [None] * latency

    def cycle(self, enables: int, address: int, zero: bool = False) -> int | None:
        """One clock edge; what is at the output after it."""
        before = [0 if zero else self.contents[address], *self.registers]
        self.registers = [before[i] if enables >> i & 1 else held for i, held in enumerate(self.registers)]
        return self.registers[-1]


def outputs(sim, data, folder=None):
    return sim.run({"in0_V": data}, {"out0_V": len(data)}, data_dir=folder).outputs["out0_V"][:, 0]


@pytest.mark.parametrize("style, latency", spread(product(["distributed", "block", "ultra"], [1, 2, 3, 4]), 6, several=True))
def test_ram_moves_words_as_its_enables_say(tmp_path, latency, style):
    body = f"""
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
    vp_ram #(.DEPTH({WORDS}), .WIDTH({BITS}), .STYLE("{style}"), .READ_LATENCY({latency})) dut (
        .clk(ap_clk), .we(in0_V_tvalid && in0_V_tdata[0]), .waddr(in0_V_tdata[10:8]), .wdata(in0_V_tdata[23:16]),
        .re({{{latency}{{in0_V_tvalid}}}} & in0_V_tdata[4+:{latency}]), .zero(in0_V_tdata[1]),
        .raddr(in0_V_tdata[14:12]), .rdata(out0_V_tdata)
    );"""
    sim = build(tmp_path, body, ["vp_ram"], 24, [BITS])
    rng = np.random.default_rng(latency)
    data, model, want = [], Words(latency, [None] * WORDS), []
    for _ in range(3000):
        write, zero, enables = rng.random() < 0.4, rng.random() < 0.1, int(rng.integers(16))
        waddr, value = int(rng.integers(WORDS)), int(rng.integers(256))
        raddr = int(rng.choice([a for a in range(WORDS) if not write or a != waddr]))
        data.append([write | zero << 1 | enables << 4, waddr | raddr << 4, value])
        want.append(model.cycle(enables, raddr, zero))
        if write:
            model.contents[waddr] = value
    got = outputs(sim, np.array(data, np.uint8))
    known = [i for i, value in enumerate(want) if value is not None]
    assert len(known) > 2500 and [int(got[i]) for i in known] == [want[i] for i in known]


@pytest.mark.parametrize("style, depth, row", spread([
    ("distributed", 11, 11), ("block", 11, 11), ("block", 11, 4), ("block", 27, 4), ("ultra", 11, 11), ("ultra", 11, 4),
    ("ultra", 27, 4), ("block", 9, 8),
], 6, several=True))  # fmt: skip
def test_rows_of_ram_are_one_memory(tmp_path, style, depth, row):
    """Every word read is what was written last, in the cycles that RowRam promises."""
    body = f"""
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
    vp_row_ram #(.DEPTH({depth}), .WIDTH({BITS}), .STYLE("{style}"), .ROW({row})) dut (
        .clk(ap_clk), .we(in0_V_tvalid && in0_V_tdata[0]), .waddr(in0_V_tdata[8+:{(depth - 1).bit_length()}]),
        .wdata(in0_V_tdata[31:24]), .re(in0_V_tdata[1]), .raddr(in0_V_tdata[16+:{(depth - 1).bit_length()}]),
        .rdata(out0_V_tdata)
    );"""
    sim = build(tmp_path, body, ["vp_ram", "vp_row_ram"], 32, [BITS])
    rows = -(-depth // row)
    groups = -(-rows // {"block": 6, "ultra": 3, "distributed": 1}[style])
    latency = (1 if style == "distributed" else 2) + (rows > 1) + (groups > 1)
    rng = np.random.default_rng(depth + row)
    contents, data, want = [None] * depth, [], [None] * (latency - 1)
    for _ in range(3000):
        write, read = rng.random() < 0.4, rng.random() < 0.9
        waddr, value = int(rng.integers(depth)), int(rng.integers(256))
        raddr = int(rng.choice([a for a in range(depth) if not write or a != waddr]))
        data.append([write | read << 1, waddr, raddr, value])
        want.append(contents[raddr] if read else None)
        if write:
            contents[waddr] = value
    got = outputs(sim, np.array(data, np.uint8))
    known = [i for i, value in enumerate(want[: len(got)]) if value is not None]
    assert len(known) > 2400 and [int(got[i]) for i in known] == [want[i] for i in known]


@pytest.mark.parametrize("latency", spread([1, 2, 3, 4], 6))
def test_rom_moves_words_as_its_enables_say(tmp_path, latency):
    body = f"""
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
    vp_rom #(.DEPTH({WORDS}), .WIDTH({BITS}), .FILE("words.hex"), .STYLE("block"), .READ_LATENCY({latency})) dut (
        .clk(ap_clk), .en({{{latency}{{in0_V_tvalid}}}} & in0_V_tdata[4+:{latency}]), .addr(in0_V_tdata[2:0]),
        .data(out0_V_tdata)
    );"""
    sim = build(tmp_path, body, ["vp_rom"], 8, [BITS])
    rng = np.random.default_rng(latency)
    contents = rng.integers(0, 256, WORDS).tolist()
    (tmp_path / "words.hex").write_text("".join(f"{value:02x}\n" for value in contents))
    model, steps = Words(latency, contents), [(int(rng.integers(16)), int(rng.integers(WORDS))) for _ in range(1000)]
    want = [model.cycle(*step) for step in steps]
    data = np.array([[enables << 4 | address] for enables, address in steps], np.uint8)
    got = outputs(sim, data, tmp_path)
    known = [i for i, value in enumerate(want) if value is not None]
    assert len(known) > 900 and [int(got[i]) for i in known] == [want[i] for i in known]


@pytest.mark.parametrize("kind", ["ram", "rom"])
@pytest.mark.parametrize("latency", [0, 5])
def test_other_latencies_stop_the_elaboration(tmp_path, kind, latency):
    ports = {
        "ram": "input wire we, input wire [2:0] waddr, input wire [7:0] wdata, input wire re, input wire zero,"
        " input wire [2:0] raddr, output wire [7:0] rdata",
        "rom": "input wire en, input wire [2:0] addr, output wire [7:0] data",
    }[kind]
    names = ", ".join(f".{part.split()[-1]}" for part in ports.split(","))
    top = tmp_path / "top.sv"
    top.write_text(
        f"module top(input wire ap_clk, input wire ap_rst_n, {ports});\n"
        f" vp_{kind} #(.DEPTH(8), .READ_LATENCY({latency})) dut (.clk(ap_clk), {names});\nendmodule\n"
    )
    with pytest.raises(SimulationError, match=f"READ_LATENCY is {latency}, use 1 to 4"):
        compile_top("top", [*rtl_sources(f"vp_{kind}"), top], [Port("in0_V", 8)], [Port("out0_V", 8)])


@pytest.mark.parametrize("words", spread([1, 2, 3, 4, 5, 16, 17, 48, 65], 8))
def test_one_of_several_words_is_chosen(tmp_path, words):
    """Others of them change meanwhile; the estimate knows how many cycles it takes."""
    width = max(1, (words - 1).bit_length())
    body = f"""
    logic valid_q;
    always_ff @(posedge ap_clk) valid_q <= ap_rst_n && in0_V_tvalid;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = valid_q;
    vp_choose #(.N({words}), .WIDTH({BITS})) dut (
        .clk(ap_clk), .words(in0_V_tdata[8+:{words * BITS}]), .choice(in0_V_tdata[{width - 1}:0]), .word(out0_V_tdata)
    );"""
    sim = build(tmp_path, body, ["vp_choose"], 8 + words * BITS, [BITS])
    rng = np.random.default_rng(words)
    data = rng.integers(0, 256, (500, 1 + words), np.uint8)
    data[:, 0] = rng.integers(words, size=500)
    want = data[np.arange(500), 1 + data[:, 0]]
    late = choose_cycles(words) - 1
    assert np.array_equal(outputs(sim, data)[late:], want[: 500 - late])


def test_a_region_of_very_wide_words_compiles(tmp_path):
    """Verilator warns of a constant of more than 8,192 bits."""
    body = """
    logic [33:0] passed;
    logic        we, filled;
    logic [1:0]  waddr;
    logic [10751:0] data;
    vp_load_region #(.DEPTH(4), .WIDTH(10752)) dut (
        .clk(ap_clk), .rst_n(ap_rst_n), .load_in('0), .load_out(passed), .we, .waddr, .data, .filled
    );
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = in0_V_tvalid;
    assign out0_V_tdata = in0_V_tdata ^ {7'b0, ^{data, passed, we, waddr, ~filled}};"""
    sim = build(tmp_path, body, ["vp_load_region", "vp_load_hop"], BITS, [BITS])
    assert outputs(sim, np.arange(8, dtype=np.uint8)[:, None]).tolist() == list(range(8))
