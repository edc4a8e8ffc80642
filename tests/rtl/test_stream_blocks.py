"""The leaf blocks keep every beat in order under any traffic, hold what they promise, and round to even."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.sim import Port, SimulationError, Simulator, Stimulus, compile_top
from finn_vitprune.sim.beats import pack_elements, unpack_elements
from tests.rtl.benches.helper import PATTERNS
from tests.rtl.benches.precision import near_ties
from tests.sampling import spread


def build(folder, body: str, leaves: list[str], in_bits: int, out_bits: list[int], name: str = "block") -> Simulator:
    """A top with one input and one stream per entry of ``out_bits`` around ``body``."""
    ports = [f"input wire [{in_bits - 1}:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready"]
    for i, bits in enumerate(out_bits):
        ports.append(f"output wire [{bits - 1}:0] out{i}_V_tdata, output wire out{i}_V_tvalid, input wire out{i}_V_tready")
    text = f"module {name}(input wire ap_clk, input wire ap_rst_n, {', '.join(ports)});\n{body}\nendmodule\n"
    (folder / f"{name}.sv").write_text(text)
    sources = [*dict.fromkeys(path for leaf in leaves for path in rtl_sources(leaf)), folder / f"{name}.sv"]
    return compile_top(name, sources, [Port("in0_V", in_bits)], [Port(f"out{i}_V", b) for i, b in enumerate(out_bits)])


def simple(folder, module: str, parameters: str, leaves: list[str], in_bits: int, out_bits: int) -> Simulator:
    """A top around one block with a single input and output."""
    body = (
        f"{module} #({parameters}) dut (.clk(ap_clk), .rst_n(ap_rst_n), .in_data(in0_V_tdata),"
        " .in_valid(in0_V_tvalid), .in_ready(in0_V_tready), .out_data(out0_V_tdata),"
        " .out_valid(out0_V_tvalid), .out_ready(out0_V_tready));"
    )
    return build(folder, body, leaves, in_bits, [out_bits])


def random_beats(beats: int, bits: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (beats, bits // 8), dtype=np.uint8)


FIFO_LEAVES = ["vp_skid", "vp_ram", "vp_fifo"]


@pytest.mark.parametrize(
    "depth, style",
    spread(
        [
            (1, "auto"),
            (2, "auto"),
            (3, "auto"),
            (4, "auto"),
            (17, "auto"),
            (64, "auto"),
            (3, "block"),
            (4, "block"),
            (65, "block"),
            (200, "auto"),
            (1025, "auto"),
            (100, "distributed"),
            (40, "ultra"),
        ],
        6,
        several=True,
    ),
)
def test_fifo_keeps_order_holds_its_depth_and_never_bubbles(tmp_path, depth, style):
    check_fifo(tmp_path, depth, style)


@pytest.mark.parametrize("latency", spread([1, 2, 3, 4], 6))
@pytest.mark.parametrize("style, depths", [("block", (6, 7, 65)), ("ultra", (6, 40)), ("distributed", (3, 9))])
def test_fifo_reads_ahead_at_every_latency(tmp_path, style, depths, latency):
    for depth in depths:
        check_fifo(tmp_path, depth, style, latency)


def check_fifo(folder, depth, style, latency=2):
    """Order, full rate from the first beat to the last, latency and capacity; LUTRAM ignores ``latency``."""
    parameters = f'.WIDTH(24), .DEPTH({depth}), .STYLE("{style}"), .READ_LATENCY({latency})'
    sim = simple(folder, "vp_fifo", parameters, FIFO_LEAVES, 24, 24)
    data = random_beats(5 * depth + 300, 24)
    result = sim.run({"in0_V": data}, {"out0_V": data})
    assert result.ok
    assert np.all(np.diff(result.out_cycles["out0_V"]) == 1)
    assert result.latency() <= len(data) + 1 + latency
    for stimulus in (*PATTERNS, Stimulus(seed=9, pause=0.4, stall=0.4, reset_at=len(data) // 2)):
        assert sim.run({"in0_V": data}, {"out0_V": data}, stimulus=stimulus).ok, stimulus
    full = sim.run({"in0_V": data}, {"out0_V": len(data)}, stimulus=Stimulus(stall=1.0), idle_limit=100)
    assert full.deadlock is not None
    assert len(full.in_cycles["in0_V"]) == max(depth, 2)


@pytest.mark.parametrize("in_elems, out_elems", spread([(1, 1), (1, 4), (4, 1), (3, 12), (12, 3), (1, 7), (7, 1)], 6, several=True))
def test_width_change_keeps_element_order(tmp_path, in_elems, out_elems):
    parameters = f".IN_ELEMS({in_elems}), .OUT_ELEMS({out_elems}), .ELEM_WIDTH(8)"
    sim = simple(tmp_path, "vp_width", parameters, ["vp_skid", "vp_width"], 8 * in_elems, 8 * out_elems)
    stream = random_beats(84 * 5, 8).reshape(-1)
    data, expected = stream.reshape(-1, in_elems), stream.reshape(-1, out_elems)
    for stimulus in (Stimulus(), *PATTERNS, Stimulus(seed=9, pause=0.4, stall=0.4, reset_at=101)):
        assert sim.run({"in0_V": data}, {"out0_V": expected}, stimulus=stimulus).ok, stimulus
    result = sim.run({"in0_V": data}, {"out0_V": expected})
    assert result.latency() <= max(len(data), len(expected)) + max(in_elems, out_elems) + 1


def test_skid_and_stage_pass_every_beat_at_full_rate(tmp_path):
    for module in ("vp_skid", "vp_stage"):
        sim = simple(tmp_path, module, ".WIDTH(40)", [module], 40, 40)
        data = random_beats(400, 40)
        assert sim.run({"in0_V": data}, {"out0_V": data}).latency() == 401
        for stimulus in PATTERNS:
            assert sim.run({"in0_V": data}, {"out0_V": data}, stimulus=stimulus).ok


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    body = """
    vp_fork #(.WIDTH(16), .NUM(3)) dut (.clk(ap_clk), .rst_n(ap_rst_n), .in_data(in0_V_tdata),
        .in_valid(in0_V_tvalid), .in_ready(in0_V_tready), .out_data(out0_V_tdata),
        .out_valid({out2_V_tvalid, out1_V_tvalid, out0_V_tvalid}),
        .out_ready({out2_V_tready, out1_V_tready, out0_V_tready}));
    assign out1_V_tdata = out0_V_tdata;
    assign out2_V_tdata = out0_V_tdata;"""
    return build(tmp_path_factory.mktemp("fork"), body, ["vp_fork"], 16, [16, 16, 16])


def test_fork_gives_every_output_every_beat_once(fork):
    data = random_beats(300, 16)
    expected = {f"out{i}_V": data for i in range(3)}
    stalls = {"out0_V": 0.1, "out1_V": 0.5, "out2_V": 0.7}
    for stimulus in (Stimulus(), Stimulus(3, 0.3, stalls), Stimulus(4, 0.3, stalls, burst=9), *PATTERNS):
        assert fork.run({"in0_V": data}, expected, stimulus=stimulus).ok
    assert len(fork.run({"in0_V": data}, expected).in_cycles["in0_V"]) == 300


def test_fork_does_not_hold_a_beat_back_from_a_ready_output(fork):
    data = random_beats(10, 16)
    counts = {f"out{i}_V": 10 for i in range(3)}
    result = fork.run({"in0_V": data}, counts, stimulus=Stimulus(stall={"out1_V": 1.0}), idle_limit=50)
    assert [len(result.outputs[f"out{i}_V"]) for i in range(3)] == [1, 0, 1]


REQUANT = [
    # acc bits, mult bits, largest shift, out bits, signed, span of shifts
    (24, 17, 16, 8, True, 0),
    (24, 17, 23, 8, False, 0),
    (20, 17, 0, 16, True, 0),
    (12, 17, 1, 8, True, 0),
    (8, 17, 2, 4, True, 0),
    (9, 17, 17, 4, False, 0),
    (32, 25, 40, 16, True, 0),
    (44, 17, 46, 8, True, 0),
    (28, 17, 24, 8, True, 0),
    (19, 25, 24, 8, True, 0),
    (44, 25, 40, 16, True, 0),
    (60, 20, 50, 16, True, 0),
    (10, 17, 36, 8, True, 0),
    (4, 3, 1, 16, True, 0),
    (24, 17, 25, 8, True, 1),
    (32, 25, 40, 16, True, 7),
    (12, 17, 5, 4, False, 5),
]


@pytest.mark.parametrize("acc_bits, mult_bits, shift, out_bits, signed, span", spread(REQUANT, 6, several=True))
def test_requantiser_rounds_half_to_even_and_saturates(tmp_path, acc_bits, mult_bits, shift, out_bits, signed, span):
    lanes = 2
    padded = -(-lanes * out_bits // 8) * 8
    body = f"""
    wire push;
    wire take = in0_V_tvalid && in0_V_tready;
    wire [{lanes * out_bits - 1}:0] y;
    logic [2:0] left;
    always_ff @(posedge ap_clk) if (!ap_rst_n) left <= '0; else if (take) left <= left == 3'd{span} ? '0 : left + 1'b1;
    vp_requant #(.LANES({lanes}), .ACC_WIDTH({acc_bits}), .MULT_WIDTH({mult_bits}), .SHIFT({shift}),
        .SPAN({span}), .OUT_WIDTH({out_bits}), .OUT_SIGNED({int(signed)})) dut (.clk(ap_clk), .rst_n(ap_rst_n),
        .acc(in0_V_tdata[{lanes * acc_bits - 1}:0]),
        .mult(in0_V_tdata[{lanes * (64 + mult_bits) - 1}:{lanes * 64}]), .left(dut.LEFT_W'(left)), .tag(take), .out(y), .out_tag(push));
    vp_credit_fifo #(.WIDTH({padded}), .DEPTH(10)) results (.clk(ap_clk), .rst_n(ap_rst_n), .take, .can_take(in0_V_tready),
        .push, .push_data({padded}'(y)), .out_data(out0_V_tdata), .out_valid(out0_V_tvalid), .out_ready(out0_V_tready));"""
    leaves = ["vp_delay", "vp_copy", "vp_multiply", "vp_requant", *FIFO_LEAVES, "vp_credit_fifo"]
    sim = build(tmp_path, body, leaves, lanes * 128, [padded])
    rng = np.random.default_rng(5)
    n = 4000
    lo, hi = -(1 << (acc_bits - 1)), (1 << (acc_bits - 1)) - 1
    acc = rng.integers(lo, hi, (n, lanes), endpoint=True)
    small = rng.integers(0, acc_bits, (n, lanes))  # every magnitude, so that not all results saturate
    acc = np.where(rng.random((n, lanes)) < 0.5, acc >> small, acc)
    acc[:2], acc[2] = lo, hi
    mult = rng.integers(0, (1 << mult_bits) - 1, (n, lanes), endpoint=True)
    ties = rng.random((n, lanes)) < 0.3  # powers of two give ties
    mult = np.where(ties, 1 << rng.integers(0, mult_bits, (n, lanes)), mult)
    mult[1:3] = (1 << mult_bits) - 1
    tight = near_ties(acc_bits, mult_bits, shift, out_bits)
    acc[10 : 10 + len(tight), 0], mult[10 : 10 + len(tight), 0] = tight.T
    assert len(tight) >= 12 or acc_bits + mult_bits < shift, "products that short of a tie do not exist"

    data = np.zeros((n, lanes * 16), np.uint8)
    packed_acc, packed_mult = pack_elements(acc, acc_bits), pack_elements(mult, mult_bits)
    data[:, : packed_acc.shape[1]] = packed_acc
    data[:, lanes * 8 : lanes * 8 + packed_mult.shape[1]] = packed_mult
    bottom, top = (-(1 << (out_bits - 1)), (1 << (out_bits - 1)) - 1) if signed else (0, (1 << out_bits) - 1)
    exact = [
        [round(Fraction(int(a) * int(m), 1 << shift - i % (span + 1))) for a, m in zip(*rows)] for i, rows in enumerate(zip(acc, mult))
    ]
    expected = np.array([[min(max(v, bottom), top) for v in row] for row in exact])
    result = sim.run({"in0_V": data}, {"out0_V": n}, stimulus=Stimulus(seed=3, pause=0.2, stall=0.2))
    got = unpack_elements(result.outputs["out0_V"], lanes, out_bits, signed)
    wrong = np.argwhere(got != expected)
    assert len(wrong) == 0, [(acc[tuple(w)], mult[tuple(w)], got[tuple(w)], expected[tuple(w)]) for w in wrong[:3]]


@pytest.mark.parametrize("a_bits, b_bits", spread([(27, 18), (12, 7), (40, 18), (30, 27), (60, 20)], 4, several=True))
def test_products_of_any_signs_are_exact(tmp_path, a_bits, b_bits):
    """In one slice, and cut into parts, with the ends of the ranges."""
    bits, pad = a_bits + b_bits, -(-(a_bits + b_bits) // 8) * 8
    body = f"""
    wire [{bits - 1}:0] product;
    logic [15:0] late;
    always_ff @(posedge ap_clk) late <= ap_rst_n ? {{late[14:0], in0_V_tvalid}} : '0;
    assign in0_V_tready = 1'b1;
    assign out0_V_tvalid = late[dut.LATENCY-1];
    assign out0_V_tdata = {pad}'(product);
    vp_multiply #(.A_WIDTH({a_bits}), .B_WIDTH({b_bits})) dut (.clk(ap_clk), .a(in0_V_tdata[{a_bits - 1}:0]),
        .b(in0_V_tdata[{64 + b_bits - 1}:64]), .product);"""
    sim = build(tmp_path, body, ["vp_delay", "vp_multiply"], 128, [pad])
    rng = np.random.default_rng(1)
    a, b = (
        np.concatenate([rng.integers(-(1 << (n - 1)), 1 << (n - 1), 500), [-(1 << (n - 1)), (1 << (n - 1)) - 1, 0, -1]])
        for n in (a_bits, b_bits)
    )
    b[-4:-2] = b[-3], b[-4]
    data = np.concatenate([pack_elements(v[:, None], 64) for v in (a, b)], axis=1)
    result = sim.run({"in0_V": data}, {"out0_V": len(a)})
    got = [int.from_bytes(bytes(row), "little") & ((1 << bits) - 1) for row in result.outputs["out0_V"]]
    assert got == [(int(x) * int(y)) & ((1 << bits) - 1) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(
    "module, parameters, message",
    [
        ("vp_fifo", ".WIDTH(8), .DEPTH(0)", "DEPTH 0"),
        ("vp_width", ".IN_ELEMS(2), .OUT_ELEMS(3), .ELEM_WIDTH(4)", "divide"),
        ("vp_fifo", '.WIDTH(8), .DEPTH(100), .STYLE("blok")', "blok"),
    ],
)
def test_bad_parameters_stop_the_elaboration_with_their_value(tmp_path, module, parameters, message):
    with pytest.raises(SimulationError, match=message):
        simple(tmp_path, module, parameters, [*FIFO_LEAVES, "vp_width"], 8, 8)
