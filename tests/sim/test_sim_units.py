"""Designs of units: what connected models do is what one Verilog top of them does, in every beat and cycle."""

import re

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.sim import Port, Probe, SimulationError, Stimulus
from finn_vitprune.sim.units import PlacedUnit, UnitsEdge, UnitSources, units_simulator
from tests.sim.test_sim import chain

STREAMS = """input wire ap_clk, input wire ap_rst_n,
    input wire [15:0] in0_V_tdata, input wire in0_V_tvalid, output wire in0_V_tready,
    output wire [15:0] out0_V_tdata, output wire out0_V_tvalid, input wire out0_V_tready"""
FIFO = f"""module NAME({STREAMS});
    vp_fifo #(.WIDTH(16), .DEPTH(DEPTH)) fifo (.clk(ap_clk), .rst_n(ap_rst_n), .in_data(in0_V_tdata),
        .in_valid(in0_V_tvalid), .in_ready(in0_V_tready), .out_data(out0_V_tdata), .out_valid(out0_V_tvalid),
        .out_ready(out0_V_tready));
endmodule
"""
# Everything passes through, but for what the expressions say.
WIRE = f"""module NAME({STREAMS});
    reg [7:0] n;
    always_ff @(posedge ap_clk) if (!ap_rst_n) n <= 0; else if (in0_V_tvalid && in0_V_tready) n <= n + 1;
    assign out0_V_tdata = in0_V_tdata;
    assign out0_V_tvalid = VALID;
    assign in0_V_tready = READY;
endmodule
"""
# Adds what its memory holds.
TABLE = f"""module NAME({STREAMS});
    reg [15:0] mem [0:0];
    initial $readmemh("NAME_table.hex", mem);
    assign out0_V_tdata = in0_V_tdata + mem[0];
    assign out0_V_tvalid = in0_V_tvalid;
    assign in0_V_tready = out0_V_tready;
endmodule
"""
PORTS = ([Port("in0_V", 16)], [Port("out0_V", 16)])
STIMULI = (
    Stimulus(seed=1),
    Stimulus(seed=2, pause=0.3, stall=0.3),
    Stimulus(seed=3, pause=0.05, stall=0.05, burst=40),
    Stimulus(seed=4, stall=0.7, reset_at=90),
)


def wire(valid="in0_V_tvalid", ready="out0_V_tready"):
    return WIRE.replace("VALID", valid).replace("READY", ready)


def in_a_row(folder, *texts, watched=()):
    """Units one behind another, unit0, unit1, ..., from net0 to the last; nets to watch, before and behind."""
    sources, run = folder / "rtl", folder / "run"
    for made in (sources, run):
        made.mkdir(exist_ok=True)
    leaves = rtl_sources("vp_fifo")
    for path in leaves:
        (sources / path.name).write_text(path.read_text())
    units = []
    for i, text in enumerate(texts):
        name = f"unit{i}"
        (sources / f"{name}.v").write_text(text.replace("NAME", name))
        unit = UnitSources(name, sources, (*(path.name for path in leaves), f"{name}.v"))
        unit.lay_out(run / name)
        structure = unit.structure(*PORTS)
        units.append(PlacedUnit(name, structure.compile(), run / name, structure, (f"net{i}",), (f"net{i + 1}",)))
    edges = [UnitsEdge(Probe(name, 16), before, behind) for name, before, behind in watched]
    return units_simulator(run, units, edges), run


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(1).integers(0, 256, (200, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The chain of test_sim in one piece, and of units; wires between, so that ready passes through three of them."""
    folder = tmp_path_factory.mktemp("chain")
    fifos = [FIFO.replace("DEPTH(DEPTH)", f"DEPTH({depth})") for depth in (8, 20)]
    watched = [("first", "net0", "net1"), ("second", "net3", "net4")]
    return chain(folder), *in_a_row(folder, fifos[0], wire(), wire(), fifos[1], watched=watched)


@pytest.mark.parametrize("stimulus", STIMULI, ids=str)
def test_units_do_in_every_cycle_what_one_top_does(both, data, stimulus):
    whole, units, folder = both
    expected = whole.run({"in0_V": data}, {"out0_V": data}, stimulus=stimulus, taps={"first": 200, "second": 50})
    found = units.run({"net0": data}, {"net4": data}, data_dir=folder, stimulus=stimulus, taps={"first": 200, "second": 50})
    assert found.ok and found.cycles == expected.cycles and found.edges == expected.edges
    assert np.array_equal(found.out_cycles["net4"], expected.out_cycles["out0_V"])
    assert np.array_equal(found.in_cycles["net0"], expected.in_cycles["in0_V"])
    assert {name: len(beats) for name, beats in found.taps.items()} == {"first": 200, "second": 50}
    for name, beats in expected.taps.items():
        assert np.array_equal(found.taps[name], beats)


SKIPPED = (*STIMULI, Stimulus(seed=5, pause=0.02, stall=0.02, burst=60), Stimulus(seed=6, pause=0.01, burst=90, reset_at=400))


@pytest.mark.parametrize("stimulus", SKIPPED, ids=str)
def test_skipped_units_make_no_difference_in_any_cycle(both, data, stimulus):
    _, units, folder = both
    given = ({"net0": data}, {"net4": data})
    every, found = (units.run(*given, data_dir=folder, stimulus=stimulus, skip=skip, record=True) for skip in (False, True))
    assert len(found.pins) >= found.cycles == every.cycles and len(set(found.pins.tolist())) > 100
    assert np.array_equal(found.pins, every.pins) and found.edges == every.edges
    assert not any(e.skipped for e in every.evaluations.values())
    if stimulus.burst > 1:
        assert all(e.skipped > 50 for e in found.evaluations.values()), found.evaluations
        assert all(e.done < every.evaluations[name].done for name, e in found.evaluations.items())


def test_a_reset_reaches_units_that_sleep(tmp_path, data):
    """One that gives a beat for four has got three, and nothing at its pins changes when the reset comes."""
    gather = f"""module NAME({STREAMS});
    reg [2:0] n;
    always_ff @(posedge ap_clk) if (!ap_rst_n) n <= 0; else if (in0_V_tvalid && in0_V_tready) n <= n + 1;
    assign {{out0_V_tdata, out0_V_tvalid, in0_V_tready}} = {{16'(n), n[2], !n[2]}};
endmodule
"""
    units, folder = in_a_row(tmp_path, gather)
    every, found = (
        units.run(
            {"net0": data[:3]},
            {"net1": 1},
            data_dir=folder,
            stimulus=Stimulus(stall=1, reset_at=200),
            idle_limit=300,
            skip=skip,
            record=True,
        )
        for skip in (False, True)
    )
    assert np.array_equal(found.pins, every.pins) and len(found.pins) == 200 + found.cycles
    assert found.deadlock == every.deadlock and not found.deadlock.outputs["net1"].valid
    assert found.evaluations["unit0"].skipped > 400


def test_a_unit_that_acts_at_the_falling_edge_does_so_when_it_wakes(tmp_path, data):
    """What is at its pins then is new: it would be late by a cycle if it had not seen the rising edge before."""
    late = f"""module NAME({STREAMS});
    reg [15:0] held; reg full, valid_then; reg [7:0] n;
    always_ff @(negedge ap_clk) valid_then <= in0_V_tvalid;
    always_ff @(posedge ap_clk) begin
        if (!ap_rst_n) {{full, n}} <= 0;
        else begin
            if (in0_V_tready) begin full <= in0_V_tvalid; held <= in0_V_tdata; end
            if (valid_then && in0_V_tready) n <= n + 1;
        end
    end
    assign {{out0_V_tdata, out0_V_tvalid, in0_V_tready}} = {{held ^ n, full, !full || out0_V_tready}};
endmodule
"""
    units, folder = in_a_row(tmp_path, late)
    every, found = (
        units.run(
            {"net0": data}, {"net1": len(data)}, data_dir=folder, stimulus=Stimulus(seed=5, pause=0.05, burst=100), skip=skip, record=True
        )
        for skip in (False, True)
    )
    assert np.array_equal(found.pins, every.pins) and found.evaluations["unit0"].skipped > 100


# What changes now and then by itself. The last two keep that outside of the bytes of the model.
CHANGES = {
    "register": "reg [15:0] n; reg [5:0] d; always_ff @(posedge ap_clk) if (!ap_rst_n) {n, d} <= 0; else {n, d} <= {n, d} + 1;",
    "falling edge": "reg [15:0] n; always_ff @(negedge ap_clk) if (!ap_rst_n) n <= 0; else n <= n + 1;",
    "memory": "reg [21:0] mem [0:3]; wire [15:0] n = mem[2][21:6]; always_ff @(posedge ap_clk) mem[2] <= !ap_rst_n ? 0 : mem[2] + 1;",
    "associative array": "int a [int]; reg [15:0] n; /* verilator lint_off BLKSEQ */"
    " always @(posedge ap_clk) begin a[0] = !ap_rst_n ? 0 : a[0] + 1; n <= 16'(a[0] >> 6); end",
    "random numbers": "reg [15:0] n; always_ff @(posedge ap_clk) if (!ap_rst_n) n <= 0; else if ($urandom % 64 == 0) n <= n + 1;",
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_unit_that_changes_by_itself_is_evaluated_in_every_cycle(tmp_path, data, kind):
    """Its pins are quiet while the sink stalls; what it became meanwhile comes out after that."""
    counting = f"""module NAME({STREAMS});
    {CHANGES[kind]}
    reg [15:0] held; reg full;
    always_ff @(posedge ap_clk)
        if (!ap_rst_n) full <= 0;
        else if (in0_V_tready) begin full <= in0_V_tvalid; held <= in0_V_tdata ^ n; end
    assign {{out0_V_tdata, out0_V_tvalid, in0_V_tready}} = {{held, full, !full || out0_V_tready}};
endmodule
"""
    units, folder = in_a_row(tmp_path, counting)
    stimulus = Stimulus(seed=5, pause=0.05, stall=0.05, burst=100)
    every, found = (
        units.run({"net0": data}, {"net1": len(data)}, data_dir=folder, stimulus=stimulus, skip=skip, record=True) for skip in (False, True)
    )
    assert np.array_equal(found.pins, every.pins) and np.array_equal(found.outputs["net1"], every.outputs["net1"])
    counted, all_of_them = found.evaluations["unit0"], every.evaluations["unit0"]
    assert counted.done + counted.skipped == all_of_them.done
    assert counted.skipped <= stimulus.reset_cycles + 4, "in the reset alone it stands still"


def test_a_standstill_is_the_same(tmp_path, data):
    sabotage = "reg [7:0] n; always_ff @(posedge ap_clk) if (!ap_rst_n) n <= 0; else if (av && ar) n <= n + 1;"
    whole = chain(tmp_path, sabotage + " assign b = a; assign bv = av && n < 50; assign ar = br && n < 50;")
    expected = whole.run({"in0_V": data}, {"out0_V": data}, idle_limit=100).deadlock
    fifos = [FIFO.replace("DEPTH(DEPTH)", f"DEPTH({depth})") for depth in (8, 20)]
    stuck = wire("in0_V_tvalid && n < 50", "out0_V_tready && n < 50")
    watched = [("first", "net0", "net1"), ("second", "net2", "net3")]
    units, folder = in_a_row(tmp_path, fifos[0], stuck, fifos[1], watched=watched)
    found = units.run({"net0": data}, {"net3": data}, data_dir=folder, idle_limit=100).deadlock
    assert found.cycle == expected.cycle and found.edges == expected.edges
    assert found.inputs["net0"] == expected.inputs["in0_V"] and found.outputs["net3"] == expected.outputs["out0_V"]


def test_units_of_one_structure_keep_their_own_contents(tmp_path, data):
    rtl = tmp_path / "rtl"
    rtl.mkdir()
    for name, value in (("unit0", "0100"), ("unit1", "0020"), ("unit2", "0003")):
        (rtl / f"{name}_table.hex").write_text(value + "\n")
    units, folder = in_a_row(tmp_path, TABLE, TABLE, TABLE)
    libraries = set(re.findall(r"^unit (\S+)", (folder / "units").read_text(), re.MULTILINE))
    assert len(libraries) == 1
    beats = (data.copy().view("<u2") + np.uint16(0x123)).view(np.uint8)
    assert units.run({"net0": data}, {"net3": beats}, data_dir=folder).ok


def test_a_file_that_lacks_stops_the_run(tmp_path, data):
    units, folder = in_a_row(tmp_path, TABLE)
    with pytest.raises(SimulationError, match="unit_table.hex.*not found"):
        units.run({"net0": data}, {"net1": data}, data_dir=folder)


def test_a_loop_that_does_not_come_to_rest_is_named(tmp_path, data):
    """Valid waits for ready and ready for the lack of valid, through two units."""
    first, second = wire("in0_V_tvalid && out0_V_tready"), wire("in0_V_tvalid", "out0_V_tready && !in0_V_tvalid")
    units, folder = in_a_row(tmp_path, first, second)
    with pytest.raises(SimulationError, match="valid and ready do not come to rest: unit[01]"):
        units.run({"net0": data}, {"net2": data}, data_dir=folder)


def test_a_source_that_lacks_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot read the RTL source .*absent.v"):
        UnitSources("absent", tmp_path, ("absent.v",)).structure(*PORTS)
