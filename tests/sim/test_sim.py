"""The Verilator back end reports what happened: data, cycles, standstills, internal streams, errors."""

from __future__ import annotations

import multiprocessing
import shutil

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Port, Probe, SimulationError, Stimulus, compile_top, toolchain

STREAMS = """input wire ap_clk, input wire ap_rst_n,
    input wire [15:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    output wire [15:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready"""

# Two FIFOs in a row, the second one watched as edge 1; sabotage goes between them.
CHAIN = f"""
module chain({STREAMS},
    output wire [3:0] mon_valid, output wire [3:0] mon_ready, output wire [31:0] tap_data);
    wire [15:0] a, b;
    wire av, ar, bv, br;
    vp_fifo #(.WIDTH(16), .DEPTH(8)) first (.clk(ap_clk), .rst_n(ap_rst_n), .in_data(in0_V_tdata),
        .in_valid(in0_V_tvalid), .in_ready(in0_V_tready), .out_data(a), .out_valid(av), .out_ready(ar));
    SABOTAGE
    vp_fifo #(.WIDTH(16), .DEPTH(20)) second (.clk(ap_clk), .rst_n(ap_rst_n), .in_data(b), .in_valid(bv),
        .in_ready(br), .out_data(out0_V_tdata), .out_valid(out0_V_tvalid), .out_ready(out0_V_tready));
    assign mon_valid = {{out0_V_tvalid, bv, av, in0_V_tvalid}};
    assign mon_ready = {{out0_V_tready, br, ar, in0_V_tready}};
    assign tap_data = {{out0_V_tdata, a}};
endmodule
"""
HONEST = "assign b = a; assign bv = av; assign ar = br;"
COUNTER = "reg [7:0] n; always_ff @(posedge ap_clk) if (!ap_rst_n) n <= 0; else if (av && ar) n <= n + 1;"
LEAVES = [*rtl_sources("vp_fifo")]
PORTS = {"inputs": [Port("in0_V", 16)], "outputs": [Port("out0_V", 16)]}


def chain(folder, sabotage=HONEST):
    source = folder / "chain.sv"
    source.write_text(CHAIN.replace("SABOTAGE", sabotage))
    return compile_top("chain", [*LEAVES, source], **PORTS, edges=[Probe("first", 16), Probe("second", 16)])


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(1).integers(0, 256, (200, 2), dtype=np.uint8)


def test_edges_count_beats_and_fill_and_capture_data(tmp_path, data):
    sim = chain(tmp_path)
    result = sim.run({"in0_V": data}, {"out0_V": data}, stimulus=Stimulus(seed=2, stall=0.7), taps={"first": 200})
    assert result.ok
    assert {name: e.beats_out for name, e in result.edges.items()} == {"first": 200, "second": 200}
    assert {name: e.max_fill for name, e in result.edges.items()} == {"first": 8, "second": 20}
    assert np.array_equal(result.taps["first"], data)
    assert np.all(np.diff(result.out_cycles["out0_V"]) > 0)
    assert len(result.in_cycles["in0_V"]) == 200
    with pytest.raises(ValueError, match="third"):
        sim.run({"in0_V": data}, {"out0_V": data}, taps={"third": 1})


def test_same_seed_same_run_other_seed_other_run(tmp_path, data):
    sim = chain(tmp_path)
    runs = [sim.run({"in0_V": data}, {"out0_V": data}, stimulus=Stimulus(seed=s, pause=0.4, stall=0.4)) for s in (3, 3, 4)]
    assert np.array_equal(runs[0].out_cycles["out0_V"], runs[1].out_cycles["out0_V"])
    assert not np.array_equal(runs[0].out_cycles["out0_V"], runs[2].out_cycles["out0_V"])
    busy = 200 / runs[0].cycles
    assert 0.5 < busy < 0.65  # sources and sinks that idle 40 % of the time, FIFOs between them


def test_standstill_names_the_stream_that_waits(tmp_path, data):
    stuck = COUNTER + " assign b = a; assign bv = av && n < 50; assign ar = br && n < 50;"
    result = chain(tmp_path, stuck).run({"in0_V": data}, {"out0_V": data}, idle_limit=100)
    assert not result.ok
    deadlock = result.deadlock
    assert deadlock.inputs["in0_V"].beats == 58 and deadlock.outputs["out0_V"].beats == 50
    assert deadlock.edges["first"].beats_in - deadlock.edges["first"].beats_out == 8
    assert "first: full with 8 beats" in str(deadlock) and "second: empty after 50 beats" in str(deadlock)
    assert result.mismatches["out0_V"].tolist() == list(range(50, 200))


@pytest.mark.parametrize(
    "sabotage, finding",
    [
        ("assign b = a ^ 16'(n == 77); assign bv = av; assign ar = br;", "mismatch"),
        ("assign b = a; assign bv = av && n != 30; assign ar = br;", "loss"),
        ("assign b = a; assign bv = av; assign ar = br && !(n == 40 && !held);", "double"),
    ],
)
def test_broken_designs_are_caught(tmp_path, data, sabotage, finding):
    held = "reg held; always_ff @(posedge ap_clk) if (!ap_rst_n) held <= 0;"
    held += " else if (n == 40 && av && br) held <= 1;"
    result = chain(tmp_path, COUNTER + held + sabotage).run({"in0_V": data}, {"out0_V": data}, idle_limit=100)
    assert not result.ok
    if finding == "mismatch":
        assert result.mismatches["out0_V"].tolist() == [77]
    if finding == "loss":
        assert result.deadlock.outputs["out0_V"].beats == 199
    if finding == "double":
        assert result.extra_beats["out0_V"] == 1


def test_valid_that_falls_before_ready_is_a_violation(tmp_path, data):
    source = tmp_path / "flaky.sv"
    source.write_text(
        f"module flaky({STREAMS}); reg t; always_ff @(posedge ap_clk) t <= ap_rst_n && !t;"
        " assign out0_V_tdata = in0_V_tdata; assign out0_V_tvalid = in0_V_tvalid && t;"
        " assign in0_V_tready = out0_V_tready && t; endmodule"
    )
    sim = compile_top("flaky", [source], **PORTS)
    assert sim.run({"in0_V": data}, {"out0_V": data}).ok
    result = sim.run({"in0_V": data}, {"out0_V": data}, stimulus=Stimulus(stall=0.5))
    assert not len(result.mismatches["out0_V"])
    assert result.violations and not result.ok


def test_reset_starts_again_from_the_first_beat(tmp_path, data):
    sim = chain(tmp_path)
    for reset_at in (1, 20, 100, 10**6):
        result = sim.run({"in0_V": data}, {"out0_V": data}, stimulus=Stimulus(pause=0.1, reset_at=reset_at))
        assert result.ok and result.edges["second"].beats_out == 200
    unreset = "reg [7:0] n; initial n = 0; always_ff @(posedge ap_clk) if (av && ar) n <= n + 1;"
    keeps_state = unreset + " assign b = a ^ 16'(n > 201 && n < 204); assign bv = av; assign ar = br;"
    broken = chain(tmp_path, keeps_state)
    assert broken.run({"in0_V": data}, {"out0_V": data}).ok
    assert not broken.run({"in0_V": data}, {"out0_V": data}, stimulus=Stimulus(reset_at=60)).ok


def test_long_runs_report_progress_and_stop_at_the_cycle_limit(tmp_path):
    data = np.zeros((300_000, 2), np.uint8)
    seen = []
    sim = chain(tmp_path)
    assert sim.run({"in0_V": data}, {"out0_V": data}, progress=lambda cycles, beats: seen.append((cycles, beats))).ok
    assert [cycles for cycles, _ in seen] == [65536 * i for i in range(1, 5)]
    assert all(cycles - 40 <= beats <= cycles for cycles, beats in seen)
    cut = sim.run({"in0_V": data}, {"out0_V": data}, max_cycles=1000)
    assert cut.cycles == 1000 and cut.deadlock is not None


def test_missing_rom_file_and_model_error_are_reported(tmp_path, data):
    source = tmp_path / "rom.sv"
    source.write_text(
        f'module rom({STREAMS}); vp_rom #(.DEPTH(16), .WIDTH(16), .FILE("gone.hex")) r (.clk(ap_clk),'
        " .en(1'b1),"
        " .addr(in0_V_tdata[3:0]), .data(out0_V_tdata)); assign out0_V_tvalid = in0_V_tvalid;"
        " assign in0_V_tready = out0_V_tready; endmodule"
    )
    sim = compile_top("rom", [*rtl_sources("vp_rom"), source], **PORTS)
    with pytest.raises(SimulationError, match="gone.hex"):
        sim.run({"in0_V": data}, {"out0_V": 200})
    (tmp_path / "gone.hex").write_text("\n".join(f"{v:x}" for v in range(16)))
    assert len(sim.run({"in0_V": data}, {"out0_V": 200}, data_dir=tmp_path).outputs["out0_V"]) == 200


def test_compile_errors_carry_verilators_message(tmp_path):
    source = tmp_path / "bad.sv"
    source.write_text(f"module bad({STREAMS}); assign out0_V_tdata = nonsense; endmodule")
    with pytest.raises(SimulationError, match="nonsense"):
        compile_top("bad", [source], **PORTS)
    source.write_text(f"module bad({STREAMS}); assign out0_V_tdata = {{in0_V_tdata, 1'b0}}; endmodule")
    with pytest.raises(SimulationError, match="WIDTHTRUNC"):
        compile_top("bad", [source], **PORTS)
    with pytest.raises(UserError, match="absent.sv"):
        compile_top("bad", [tmp_path / "absent.sv"], **PORTS)


def test_missing_compiler_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    toolchain.compiler.cache_clear()
    with pytest.raises(UserError, match="no-such-compiler"):
        toolchain.compiler()
    toolchain.compiler.cache_clear()


def _build(folder):
    return str(chain(folder).executable)


def test_builds_of_one_design_at_once_share_one_result(tmp_path, monkeypatch, data):
    runtime, cache = toolchain.runtime(), tmp_path / "cache"
    shutil.copytree(runtime, cache / "verilator" / runtime.name)
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(cache))
    folders = [tmp_path / str(i) for i in range(3)]
    for folder in folders:
        folder.mkdir()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        built = pool.map(_build, folders)
    assert len(set(built)) == 1
    left = {p.name.split("-")[0] for p in (cache / "verilator").iterdir()}
    assert left <= {"chain", "runtime"}
    before = (cache / "verilator").stat().st_mtime_ns
    assert chain(tmp_path).run({"in0_V": data}, {"out0_V": data}).ok
    assert (cache / "verilator").stat().st_mtime_ns == before
