"""Units on an ECP5: estimates of netlists written by hand, the harness, two small units routed."""

import numpy as np
import pytest

from builds.experiments import ecp5, timing_ecp5
from builds.experiments import route as experiment
from builds.experiments.ecp5 import Ports, RouteJob
from builds.experiments.route import Encoder
from finn_vitprune.boards import tools
from finn_vitprune.boards.tools import RouteError
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Port, compile_top
from finn_vitprune.synth.wiring import Wiring

NS = timing_ecp5.ECP5.constants.ns


def netlist(cells: dict[str, tuple[str, dict[str, list]]]) -> Wiring:
    """A module of ``cells``: type and nets by port; Z, F, Q, S, COUT, P and DO are outputs."""
    outputs = ("Z", "Q", "S0", "S1", "COUT", "DOA0", *(f"P{i}" for i in range(36)))
    return Wiring.from_json({"modules": {"top": {"attributes": {"top": "1"}, "cells": {
        name: {"type": kind, "connections": pins, "port_directions": {p: "output" if p in outputs else "input" for p in pins}}
        for name, (kind, pins) in cells.items()
    }}}})  # fmt: skip


def ff(d: int, q: int) -> tuple[str, dict]:
    return "TRELLIS_FF", {"CLK": [2], "DI": [d], "Q": [q]}


def lut(*pins: int) -> tuple[str, dict]:
    return "LUT4", dict(zip("ABCD", ([n] for n in pins[:-1]))) | {"Z": [pins[-1]]}


def test_a_path_of_two_luts_by_hand():
    timing = timing_ecp5.estimate(netlist({"a": ff(9, 10), "b": lut(10, 11), "c": lut(11, 12), "d": ff(12, 13)}))
    assert timing.levels == 2
    assert timing.low == pytest.approx(NS["ff_out"] + 2 * NS["net"] + 2 * NS["lut"] + NS["lut_to_ff"], abs=1e-3)


def test_a_carry_chain_takes_what_its_bits_add():
    def chain(pairs: int) -> float:
        cells = {"a": ff(9, 10), "end": ff(100 + pairs, 200)}
        for i in range(pairs):
            sums = {"S1": [100 + pairs]} if i == pairs - 1 else {}
            cells[f"c{i}"] = ("CCU2C", {"A0": [10 if i == 0 else 0], "CIN": [50 + i] if i else ["0"], "COUT": [51 + i], **sums})
        return timing_ecp5.estimate(netlist(cells)).low

    assert chain(5) - chain(4) == pytest.approx(NS["carry_chain"], abs=1e-3)


def test_a_multiplier_and_a_memory_count():
    product = netlist({"a": ff(9, 10), "m": ("MULT18X18D", {"A0": [10], "P0": [11]}), "d": ff(11, 12)})
    expected = NS["ff_out"] + 2 * NS["net"] + NS["multiply"] + NS["ff_d"] + NS["to_ff"]
    assert timing_ecp5.estimate(product).low == pytest.approx(expected, abs=1e-3)
    memory = timing_ecp5.estimate(netlist({"r": ("DP16KD", {"CLKA": [2], "DOA0": [10]}), "b": lut(10, 11), "d": ff(11, 12)}))
    assert memory.ram_levels == 1 and memory.low > NS["bram_out"] + NS["net"] + NS["lut"]


def test_the_harness_leads_from_pin_to_pin(tmp_path):
    """What goes in at one pin comes to every input, and every output to the other pin."""
    unit = tmp_path / "unit.sv"
    unit.write_text(
        "module unit (input wire ap_clk, input wire ap_rst_n, input wire [2:0] a, input wire b, output wire [3:0] y);"
        " assign y = {a, b}; endmodule"
    )
    text = ecp5.harness(RouteJob("unit", (unit,), Ports((("a", 3), ("b", 1)), (("y", 4),))))
    assert "unit unit (.ap_clk(clk), .ap_rst_n(rst_q), .a(shift_q[2:0]), .b(shift_q[3:3]), .y(y[3:0]));" in text
    around, top = tmp_path / "around.sv", tmp_path / "top.sv"
    around.write_text(text)
    top.write_text(f"""module top (input wire ap_clk, input wire ap_rst_n, input wire [7:0] a_tdata, input wire a_tvalid,
        output wire a_tready, output wire [7:0] b_tdata, output reg b_tvalid, input wire b_tready);
        wire so;
        reg [7:0] age;
        assign a_tready = 1'b1;
        assign b_tdata = {{7'd0, so}};
        {ecp5.TOP} inst (.clk(ap_clk), .rst_n(ap_rst_n), .si(a_tvalid & a_tdata[0]), .so(so));
        initial age = 0;
        always @(posedge ap_clk) begin age <= age + 8'd1; b_tvalid <= age > 8'd40; end
    endmodule""")
    sim = compile_top("top", [unit, around, top], [Port("a", 8)], [Port("b", 8)], lint=False)
    ones = sim.run({"a": np.ones((100, 1), np.uint8)}, {"b": np.zeros((60, 1), np.uint8)})
    zeros = sim.run({"a": np.zeros((100, 1), np.uint8)}, {"b": np.zeros((60, 1), np.uint8)})
    assert not np.array_equal(ones.outputs["b"], zeros.outputs["b"])


@pytest.mark.slow
def test_two_small_units_are_routed(tmp_path, monkeypatch):
    names = ["small: add, 16 bits, SIMD 4", "small: requant 48, 24 to 8 bits, SIMD 4"]
    units = {name: experiment.UNITS[name] for name in names}
    found = experiment.study(units).go(tmp_path)
    add, requant = (found[name] for name in names)
    assert add.routed.mhz > requant.routed.mhz > 50, "multipliers without registers are slow there"
    assert add.ultrascale.taken < 3 and add.routed.estimate.taken < requant.routed.estimate.taken
    assert requant.routed.mult18 > 0 == add.routed.mult18
    assert "| add, 16 bits, SIMD 4 |" in (tmp_path / "RESULTS.md").read_text()
    monkeypatch.setattr(experiment, "rtl_digest", lambda: "other RTL")
    assert list(experiment.study(units).go(tmp_path, ["add"])) == names[:1], "a row of other RTL does not stay"


def test_an_encoder_of_a_build_is_a_unit(small_build, tmp_path):
    job = experiment.encoder_job(Encoder(small_build.folder, 1), tmp_path)
    text = job.sources[-1].read_text()
    assert "PrunedAttention_rtl_0 PrunedAttention_rtl_0" in text and "PrunedAttention_rtl_1" not in text
    ready = [name for name, _ in (*job.ports.inputs, *job.ports.outputs) if name.endswith("_tready")]
    assert len(ready) == 2, "one stream in, one out"
    with pytest.raises(RouteError, match="has no encoder 7"):
        experiment.encoder_job(Encoder(small_build.folder, 7), tmp_path)


def test_without_a_build_its_encoder_alone_has_no_row(tmp_path, capsys):
    assert experiment.study({"encoder 1": Encoder(tmp_path / "none", 1)}).go(tmp_path) == {}
    assert "none holds no design: make route builds it" in capsys.readouterr().out


def test_what_cannot_be_routed_is_named(tmp_path, monkeypatch):
    unit = tmp_path / "unit.sv"
    job = RouteJob("unit", (unit,), Ports((("a", 1),), (("y", 1),)))
    unit.write_text("module unit (input wire a); syntax")
    with pytest.raises(RouteError, match="^unit: unit.sv:1: "):
        ecp5.route(job)
    unit.write_text("module unit (input wire ap_clk, input wire ap_rst_n, input wire a, output wire y); assign y = a; endmodule")
    monkeypatch.setattr(ecp5, "_OPTIONS", ["--um5g-85k", "--package", "CABGA7"])
    with pytest.raises(RouteError, match="^unit: .*CABGA7"):
        ecp5.route(job)


def test_a_missing_router_is_named(tmp_path, monkeypatch):
    unit = tmp_path / "unit.sv"
    unit.write_text("module unit (input wire ap_clk, input wire ap_rst_n, input wire a, output wire y); assign y = a; endmodule")
    tools.program.cache_clear()
    monkeypatch.setattr(tools.shutil, "which", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"nextpnr-ecp5 is missing: pip install 'finn-vitprune\[board\]', or apt install nextpnr-ecp5"):
        ecp5.route(RouteJob("unit", (unit,), Ports((("a", 1),), (("y", 1),))))
    tools.program.cache_clear()
