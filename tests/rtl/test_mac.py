"""Every MAC implementation equals exact sums of products, and so the portable one."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.mvau.mac import MAC_STYLES, MAX_CHAIN, Dsp48e2Mac, Mac
from finn_vitprune.custom_ops.op.rtl_sources import rtl_source, rtl_sources
from finn_vitprune.numerics import clog2
from finn_vitprune.sim import Port, Simulator, compile_top
from finn_vitprune.sim.beats import pack_elements, unpack_elements
from finn_vitprune.sim.toolchain import SimulationError
from tests.sampling import sampled, spread

MAC_FILES = rtl_sources("vp_mac")
HARNESS = """
module mac_harness (input wire ap_clk, ap_rst_n,
    input wire [{x_top}:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    input wire [{w_top}:0] in1_V_tdata, input wire in1_V_tvalid, output wire in1_V_tready,
    input wire [7:0] in2_V_tdata, input wire in2_V_tvalid, output wire in2_V_tready,
    output wire [{a_top}:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready);
    assign in0_V_tready = 1'b1, in1_V_tready = 1'b1, in2_V_tready = 1'b1;
    logic [{w_bits}-1:0] w;
    for (genvar i = 0; i < {chain}; i++) begin : g_part
        logic [i:0][{w_bits}-1:0] later;
        assign later[0] = in1_V_tdata[{w_bits}-1:0];
        for (genvar k = 1; k <= i; k++) always_ff @(posedge ap_clk) later[k] <= later[k-1];
        for (genvar p = 0; p < {pe}; p++)
            assign w[(p*{simd}+i*{part})*{w}+:{part}*{w}] = later[i][(p*{simd}+i*{part})*{w}+:{part}*{w}];
    end
    wire [{a_bits}-1:0] acc;
    logic early, valid;
    always_ff @(posedge ap_clk) valid <= early;
    assign out0_V_tvalid = valid;
    {module} mac (.clk(ap_clk), .rst_n(ap_rst_n), .x(in0_V_tdata[{x_bits}-1:0]), .w,
        .first(in2_V_tdata[0]), .tag(in0_V_tvalid && in1_V_tvalid && in2_V_tvalid), .acc,
        .tag_out(early));
    assign out0_V_tdata = {a_pad}'(acc);
endmodule
"""


@dataclass(frozen=True)
class Array:
    """A MAC implementation, the shape and the operand types of an array, and the longest cascade that it may have."""

    mac_style: str
    tokens: int
    simd: int
    pe: int
    x: str
    w: str
    most_chain: int = MAX_CHAIN

    @property
    def mac(self) -> Mac:
        x, w = DataType[self.x], DataType[self.w]
        acc_bits = x.bitwidth() + w.bitwidth() + clog2(self.simd) + 4
        return MAC_STYLES[self.mac_style](self.tokens, self.simd, self.pe, x, w, acc_bits, self.most_chain)

    @property
    def module(self) -> str:
        """``vp_mac`` with its parameters."""
        m = self.mac
        values = {
            "MAC_STYLE": f'"{self.mac_style}"',
            "LATENCY": m.latency,
            "CHAIN": m.chain,
            "TOKENS_PER": m.tokens_per,
            "OUTPUTS_PER": m.outputs_per,
            "TOKENS": m.tokens,
            "SIMD": m.simd,
            "PE": m.pe,
            "X_BITS": m.x_bits,
            "X_SIGNED": f"1'b{m.x.signed():d}",
            "W_BITS": m.w_bits,
            "ACC_BITS": m.acc_bits,
            "TAG_BITS": 1,
        }
        return "vp_mac #(" + ", ".join(f".{k}({v})" for k, v in values.items()) + ")"

    @property
    def bits(self) -> tuple[int, int, int]:
        """Bits of activations, weights and accumulators of one step."""
        m = self.mac
        x, w = m.tokens * m.simd * m.x_bits, m.pe * m.simd * m.w_bits
        return x, w, m.tokens * m.pe * m.acc_bits


def simulator(array: Array, folder: Path, module: str = "", sources=MAC_FILES, lint: bool = True, defines=()) -> Simulator:
    """The array (or ``module`` in its place) after streams: a step a beat, weights in one piece."""
    m, (x, w, a) = array.mac, array.bits
    x_pad, w_pad, a_pad = (-(-n // 8) * 8 for n in (x, w, a))
    source = folder / "mac_harness.sv"
    source.write_text(
        HARNESS.format(
            a_pad=a_pad,
            x_top=x_pad - 1,
            w_top=w_pad - 1,
            a_top=a_pad - 1,
            x_bits=x,
            w_bits=w,
            a_bits=a,
            chain=m.chain,
            pe=m.pe,
            simd=m.simd,
            part=m.simd // m.chain,
            w=m.w_bits,
            module=module or array.module,
        )
    )
    ports = [Port("in0_V", x_pad), Port("in1_V", w_pad), Port("in2_V", 8)]
    outputs = [Port("out0_V", a_pad)]
    return compile_top("mac_harness", [*sources, source], ports, outputs, lint=lint, defines=defines, optimise=not defines)


def run(sim: Simulator, array: Array, x: np.ndarray, w: np.ndarray, first: np.ndarray) -> None:
    """Assert that the sums of ``x`` ``[steps, tokens, simd]`` and ``w`` ``[steps, pe, simd]`` are exact."""
    m, steps = array.mac, len(first)
    products = np.einsum("kts,kps->ktp", x, w)
    total = np.cumsum(products, axis=0)
    start = np.maximum.accumulate(np.where(first, np.arange(steps), 0))
    before = np.where((start > 0)[:, None, None], total[start - 1], 0)
    want = pack_elements((total - before).reshape(steps, -1), m.acc_bits)
    feed = {
        "in0_V": pack_elements(x.reshape(steps, -1), m.x_bits),
        "in1_V": pack_elements(w.reshape(steps, -1), m.w_bits),
        "in2_V": first.astype(np.uint8)[:, None],
    }
    result = sim.run(feed, {"out0_V": want})
    wrong = result.mismatches["out0_V"]
    if len(wrong):
        k = int(wrong[0])
        got = unpack_elements(result.outputs["out0_V"][k : k + 1], m.tokens * m.pe, m.acc_bits, True)
        pytest.fail(f"{array}: step {k} of {steps}: x {x[k]}, w {w[k]}, first {first[k]}: got {got}")
    assert result.ok
    assert int(result.out_cycles["out0_V"][0]) - int(result.in_cycles["in0_V"][0]) == m.latency


def corners(kind: str) -> list[int]:
    """Minimum, maximum and the values around zero that the type has."""
    low, high = int(DataType[kind].min()), int(DataType[kind].max())
    return sorted({low, high, max(low, -1), 0, 1})


def corner_steps(array: Array, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """All corners x all corners of the operands of a slice, in all places, in single places, and mixed."""
    m = array.mac
    xs, ws = corners(array.x), corners(array.w)
    operands = [xs] * m.tokens_per + [ws] * m.outputs_per
    one = np.array(list(itertools.product(*operands)))  # [combinations, operands of a slice]
    if len(one) ** m.simd <= 400_000:
        index = np.array(list(itertools.product(range(len(one)), repeat=m.simd)))
    else:
        same = np.repeat(np.arange(len(one))[:, None], m.simd, axis=1)
        single = rng.integers(len(one), size=(20_000, 1)) * np.ones((1, m.simd), int)
        single[np.arange(20_000), rng.integers(m.simd, size=20_000)] = rng.integers(len(one), size=20_000)
        index = np.concatenate([same, single, rng.integers(len(one), size=(20_000, m.simd))])
    slices = one[index]  # [steps, simd, operands of a slice]
    x = np.tile(slices[..., : m.tokens_per].transpose(0, 2, 1), (1, m.tokens // m.tokens_per, 1))
    w = np.tile(slices[..., m.tokens_per :].transpose(0, 2, 1), (1, m.pe // m.outputs_per, 1))
    return x, w


ARRAYS = [
    # two activations share the wide operand; 8 products reach 2^17, so that the offset is one less
    *(Array("dsp48e2", 2, simd, 1, "INT8", "INT8") for simd in (1, 2, 7, 8, 16)),
    Array("dsp48e2", 2, 4, 3, "UINT8", "INT8"),
    Array("dsp48e2", 4, 12, 1, "UINT8", "INT8"),
    Array("dsp48e2", 2, 16, 1, "INT8", "INT4"),
    Array("dsp48e2", 2, 6, 1, "INT4", "INT8"),
    Array("dsp48e2", 2, 8, 1, "INT8", "INT9"),
    # four products a slice
    *(Array("dsp48e2", 2, simd, 2, "INT4", "INT4") for simd in (1, 2, 16)),
    Array("dsp48e2", 2, 8, 2, "UINT4", "INT4"),
    Array("dsp48e2", 2, 16, 2, "INT4", "INT4", most_chain=8),
    Array("dsp48e2", 4, 8, 4, "INT5", "INT3"),
    Array("dsp48e2", 2, 16, 2, "INT2", "INT2"),
    # two weights share the wide operand
    *(Array("dsp48e2", 1, simd, 2, "INT9", "INT8") for simd in (1, 2, 4, 12)),
    Array("dsp48e2", 3, 8, 2, "INT8", "INT8"),
    Array("dsp48e2", 1, 8, 4, "INT16", "INT4"),
    # one product a slice, which accumulates
    *(Array("dsp48e2", 1, simd, 1, "INT16", "INT8") for simd in (1, 2, 5)),
    Array("dsp48e2", 1, 4, 3, "INT9", "INT9"),
    Array("dsp48e2", 2, 3, 1, "UINT16", "INT9"),
    # no multipliers
    *(Array("lut", 1, simd, 1, "INT8", "INT4") for simd in (1, 2, 16)),
    Array("lut", 2, 6, 2, "UINT8", "INT3"),
    Array("lut", 1, 5, 2, "INT4", "INT2"),
    Array("lut", 2, 4, 1, "INT16", "INT8"),
    # inferred
    Array("portable", 2, 8, 2, "INT8", "INT8"),
    Array("portable", 1, 3, 2, "UINT4", "INT4"),
]


@pytest.mark.parametrize("array", spread(ARRAYS, 16, first=4), ids=lambda a: f"{a.mac_style}-{a.tokens}x{a.simd}x{a.pe}-{a.x}-{a.w}")
def test_sums_are_exact_on_all_operand_corners_and_at_random(array, tmp_path):
    rng = np.random.default_rng(1)
    sim = simulator(array, tmp_path)
    x, w = corner_steps(array, rng)
    run(sim, array, x, w, np.ones(len(x), bool))
    run(sim, array, *random_steps(array, rng))


@pytest.mark.parametrize("array", spread(ARRAYS, 16), ids=lambda a: f"{a.mac_style}-{a.tokens}x{a.simd}x{a.pe}-{a.x}-{a.w}")
def test_the_model_is_exact_at_the_latency_of_every_implementation(array, tmp_path):
    """Weights come in the parts, and sums leave after the cycles, of the implementation that it stands for."""
    rng = np.random.default_rng(3)
    run(simulator(array, tmp_path, defines=["VP_MAC_MODEL"]), array, *random_steps(array, rng))


def random_steps(array: Array, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random operands, and sums of one to eight steps."""
    m, steps = array.mac, 4000
    lows, highs = ([int(k.min()) for k in (m.x, m.w)], [int(k.max()) for k in (m.x, m.w)])
    x = rng.integers(lows[0], highs[0], (steps, m.tokens, m.simd), endpoint=True)
    w = rng.integers(lows[1], highs[1], (steps, m.pe, m.simd), endpoint=True)
    return x, w, (np.arange(steps) % 8 == 0) | (rng.random(steps) < 0.3)


def test_products_share_slices_as_their_widths_allow():
    """Cascade lengths by hand: the fields hold 18 bits at 8 bits, 11 at four products of 4 x 4 bits."""

    def packing(tokens, simd, pe, x, w, *most_chain):
        m = Dsp48e2Mac(tokens, simd, pe, DataType[x], DataType[w], 24, *most_chain)
        return m.tokens_per, m.outputs_per, m.chain, m.dsp

    assert packing(2, 16, 16, "INT8", "INT8") == (2, 1, 8, 256)  # 8 x 2^14 = 2^17
    assert packing(2, 16, 16, "UINT8", "INT8") == (2, 1, 4, 256)  # 4 x 255 x 128 < 2^17
    assert packing(2, 16, 16, "INT8", "INT4") == (2, 1, 16, 256)
    assert packing(2, 16, 16, "INT4", "INT4") == (2, 2, 16, 128)  # 16 x 2^6 = 2^10
    assert packing(2, 16, 16, "INT4", "INT4", 8) == (2, 2, 8, 128)
    assert packing(2, 16, 16, "INT4", "INT4", 4) == (2, 1, 4, 256)  # too short for four products to pay
    assert packing(2, 16, 16, "UINT4", "INT4") == (2, 2, 8, 128)  # 8 x 15 x 8 < 2^10
    assert packing(1, 16, 16, "INT8", "INT8") == (1, 2, 8, 128)
    assert packing(2, 16, 16, "INT9", "INT8") == (1, 2, 4, 256)  # 4 x 2^15 = 2^17
    assert packing(2, 16, 16, "INT16", "INT8") == (1, 1, 16, 512)
    assert packing(1, 16, 1, "INT8", "INT8") == (1, 1, 16, 16)


def test_a_cascade_that_is_too_long_is_refused(tmp_path):
    """Sixteen products of 8 x 8 bits reach 2^18, beyond the field."""
    array = Array("dsp48e2", 2, 16, 1, "INT8", "INT8")
    with pytest.raises(SimulationError, match="in cascades of 16 do not fit"):
        simulator(array, tmp_path, module=array.module.replace(".CHAIN(8)", ".CHAIN(16)"))


MUTATIONS = [
    ("vp_mac_dsp48e2", "PLUS_ONE = X_SIGNED && LARGEST == 1 << HALF;", "PLUS_ONE = 1'b0;"),
    ("vp_mac_dsp48e2", "wire logic borrow = W_ON_A &&", "wire logic borrow = 1'b0 &&"),
    ("vp_mac_sum", "- {~kept, 1'b1}", "+ {kept, 1'b0}"),
    ("vp_mac_chain", ".BREG(2)", ".BREG(1)"),
]


@pytest.mark.parametrize("name, good, bad", spread(MUTATIONS, 4, several=True))
def test_a_broken_body_is_caught(name, good, bad, tmp_path):
    text = (rtl_source(f"{name}.sv")).read_text()
    assert text.count(good) == 1
    (tmp_path / f"{name}.sv").write_text(text.replace(good, bad))
    sources = [tmp_path / f.name if f.stem == name else f for f in MAC_FILES]
    array = Array("dsp48e2", 2, 8, 2, "INT4", "INT4")
    rng = np.random.default_rng(2)
    with pytest.raises((pytest.fail.Exception, SimulationError)):
        sim = simulator(array, tmp_path, sources=sources)
        x, w = corner_steps(array, rng)
        run(sim, array, x, w, np.ones(len(x), bool))


@pytest.mark.parametrize(
    "array", sampled([Array("dsp48e2", 2, 8, 2, "INT8", "INT8"), Array("dsp48e2", 2, 16, 4, "INT8", "INT8")], 1), ids=["2x8x2", "2x16x4"]
)
def test_the_synthesised_netlist_equals_the_source(array, tmp_path):
    """Yosys' netlist, its DSP48E2 instances kept, with the project's model and Yosys' own cell models."""
    x_bits, w_bits, a_bits = array.bits
    top = tmp_path / "mac_netlist_top.sv"
    top.write_text(
        f"module mac_netlist (input wire clk, rst_n, first, tag, input wire [{x_bits - 1}:0] x,\n"
        f"    input wire [{w_bits - 1}:0] w, output wire [{a_bits - 1}:0] acc, output wire tag_out);\n"
        f"    {array.module} mac (.*);\nendmodule\n"
    )
    netlist = tmp_path / "mac_netlist.v"
    cells = Path(importlib.util.find_spec("pyosys").origin).parent / "share/xilinx/cells_sim.v"
    script = "\n".join(
        [
            "from pyosys import libyosys as ys",
            "d = ys.Design()",
            f"ys.run_pass('read_slang -D VP_YOSYS --top mac_netlist {' '.join(map(str, [*MAC_FILES, top]))}', d)",
            "ys.run_pass('synth_xilinx -family xcup -noiopad -flatten -top mac_netlist', d)",
            f"ys.run_pass('select -assert-count {array.mac.dsp} t:DSP48E2', d)",
            f"ys.run_pass('write_verilog -noattr {netlist}', d)",
        ]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    sources = [rtl_source("vp_dsp48e2_model.sv"), cells, netlist]
    sim = simulator(array, tmp_path, module="mac_netlist", sources=sources, lint=False)
    rng = np.random.default_rng(3)
    x, w = corner_steps(array, rng)
    run(sim, array, x, w, np.ones(len(x), bool))
    m = array.mac
    x, w = (rng.integers(-128, 127, (3000, n, m.simd), endpoint=True) for n in (m.tokens, m.pe))
    run(sim, array, x, w, np.arange(3000) % 5 == 0)
