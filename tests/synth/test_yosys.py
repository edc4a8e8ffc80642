"""Yosys back end: exact counts of known modules, cache, independence from weights, clear failures."""

import shutil
import subprocess
import time

import pytest

from finn_vitprune import progress
from finn_vitprune.synth import yosys
from finn_vitprune.synth.resources import Resources, total
from finn_vitprune.synth.yosys import NodeJob, SynthesisError, cache_key, map_many, synth_node
from tests.said import Said

MULTIPLIERS = """
module {name} (input logic clk, input logic signed [15:0] x [3], y [3], output logic signed [31:0] z [3]);
    for (genvar i = 0; i < 3; i++) begin : g
        always_ff @(posedge clk) z[i] <= x[i] * y[i];
    end
endmodule
"""

RAM = """
module {name} (input logic clk, we, input logic [9:0] wa, ra, input logic [35:0] d, output logic [35:0] q);
    (* ram_style = "block" *) logic [35:0] mem [1024];
    always_ff @(posedge clk) begin
        if (we) mem[wa] <= d;
        q <= mem[ra];
    end
endmodule
"""

ROM_LEAF = """
module test_rom #(parameter FILE = "", int unsigned DEPTH = 512) (
    input logic clk, input logic [8:0] a, output logic [31:0] q);
    (* rom_style = "block" *) logic [31:0] mem [DEPTH];
`ifdef VP_YOSYS
    initial for (int unsigned i = 0; i < DEPTH; i++) mem[i] = i * 32'd2654435761;
`else
    initial $readmemh(FILE, mem);
`endif
    always_ff @(posedge clk) q <= mem[a];
endmodule
"""

ROM_WRAPPER = """
module {name} (input wire ap_clk, input wire [8:0] a, output wire [31:0] q);
    test_rom #(.FILE("{name}_weights.hex"), .DEPTH({depth})) inst (.clk(ap_clk), .a(a), .q(q));
endmodule
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))


def write(folder, name, text, **values):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.sv"
    path.write_text(text.format(name=name, **values) if "{name}" in text else text)
    return path


def rom_node(folder, name, depth=512, weights="deadbeef\n"):
    """A node as the op classes write it: leaf, ROM file, wrapper named after the node."""
    leaf = write(folder / name, "test_rom", ROM_LEAF)
    (folder / name / f"{name}_weights.hex").write_text(weights * depth)
    return NodeJob(name, (leaf, write(folder / name, name, ROM_WRAPPER, depth=depth)))


def test_three_16_bit_products_are_three_dsps(tmp_path):
    r = synth_node([write(tmp_path, "mult3", MULTIPLIERS)], "mult3")
    assert (r.DSP, r.BRAM36, r.URAM) == (3, 0, 0)


def test_1024_words_of_36_bits_are_one_ramb36(tmp_path):
    r = synth_node([write(tmp_path, "ram", RAM)], "ram")
    assert (r.DSP, r.BRAM36, r.LUTRAM) == (0, 1.0, 0)


def test_512_words_of_32_bits_are_half_a_ramb36(tmp_path):
    job = rom_node(tmp_path, "rom_half")
    assert synth_node(job.sources, job.top).BRAM36 == 0.5


def test_flip_flops_of_a_pipeline_are_exact(tmp_path):
    text = """
module {name} (input logic clk, rst_n, input logic [7:0] x, output logic [7:0] y);
    logic [7:0] a;
    always_ff @(posedge clk) if (!rst_n) begin a <= '0; y <= '0; end else begin a <= x; y <= a ^ x; end
endmodule
"""
    r = synth_node([write(tmp_path, "pipe", text)], "pipe")
    assert (r.FF, r.LUT - r.SRL) == (16, 8)


def test_cell_table_counts_sites_not_cells():
    r = Resources.from_cells(
        {"LUT6": 10, "LUT1": 1, "INV": 5, "SRL16E": 3, "RAM32M16": 2, "RAM64X1D": 1, "RAM64M8": 1, "FDRE": 7}
        | {"RAMB18E2": 3, "RAMB36E2": 2, "DSP48E2": 4, "URAM288": 1, "CARRY8": 6, "MUXF7": 9, "BUFG": 1}
    )
    assert r == Resources(LUT=10 + 1 + 3 + 16 + 2 + 8, FF=7, DSP=4, BRAM36=3.5, URAM=1, LUTRAM=26, SRL=3, carry=6)


def test_cells_without_a_known_size_are_refused():
    with pytest.raises(ValueError, match=r"\$mul"):
        Resources.from_cells({"LUT2": 1, "$mul": 1})


def test_total_adds_every_field():
    a = Resources(LUT=1, FF=2, DSP=3, BRAM36=0.5, URAM=4, LUTRAM=5, SRL=6, carry=7)
    assert total([a, a]) == Resources(2, 4, 6, 1.0, 8, 10, 12, 14)


def test_weights_never_change_the_result(tmp_path):
    one = rom_node(tmp_path / "a", "node_a", weights="00000000\n")
    other = rom_node(tmp_path / "b", "node_b", weights="ffffffff\n")
    assert cache_key(one) == cache_key(other)
    first = synth_node(one.sources, one.top)
    shutil.rmtree(tmp_path / "cache")  # so that the second one runs too
    assert synth_node(other.sources, other.top) == first


def test_parameters_and_sources_do_change_the_key(tmp_path):
    base = rom_node(tmp_path / "a", "n")
    assert cache_key(rom_node(tmp_path / "b", "n", depth=256)) != cache_key(base)
    changed = rom_node(tmp_path / "c", "n")
    changed.sources[0].write_text(ROM_LEAF.replace("2654435761", "2654435762"))
    assert cache_key(changed) != cache_key(base)


@pytest.mark.whole
def test_second_synthesis_comes_from_the_cache(tmp_path, monkeypatch):
    sources = [write(tmp_path, "mult3", MULTIPLIERS)]
    first = synth_node(sources, "mult3")
    monkeypatch.setattr(yosys, "_run_yosys", lambda *a: pytest.fail("Yosys ran again"))
    assert synth_node(sources, "mult3") == first


def test_a_damaged_cache_entry_is_replaced(tmp_path):
    sources = [write(tmp_path, "mult3", MULTIPLIERS)]
    first = synth_node(sources, "mult3")
    (entry,) = (tmp_path / "cache" / "yosys").glob("*/*.json")
    intact, said = entry.read_text(), Said()
    entry.write_text(intact.replace('"DSP48E2": 3', '"DSP48E2": 2'))
    with progress.shown_by(said):
        [(_, netlist)] = map_many([NodeJob("mult3", tuple(sources))])
    assert netlist.resources == first and entry.read_text() == intact
    assert said == [f"the cache entry {entry.parent} is damaged and is made again", "Yosys: 0 of 1 (synthesis of mult3)", ""]


def test_equal_nodes_of_a_network_run_once(tmp_path):
    jobs = [rom_node(tmp_path, f"node_{i}") for i in range(3)] + [NodeJob("mult3", (write(tmp_path, "mult3", MULTIPLIERS),))]
    found = list(map_many(jobs, workers=2))
    result = {job.top: netlist.resources for job, netlist in found}
    assert sorted(job.top for job, _ in found) == ["mult3", "node_0", "node_1", "node_2"]
    assert [result[f"node_{i}"].BRAM36 for i in range(3)] == [0.5] * 3
    assert len(list((tmp_path / "cache" / "yosys").glob("*/*.json"))) == 2


def test_a_run_of_what_the_cache_holds_starts_no_process(tmp_path, monkeypatch):
    nodes = [rom_node(tmp_path, f"node_{i}") for i in range(2)]
    first = synth_node(nodes[0].sources, nodes[0].top)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert {job.top: netlist.resources for job, netlist in map_many(nodes)} == {"node_0": first, "node_1": first}


def test_a_failure_names_the_node_and_the_reason(tmp_path):
    source = write(tmp_path, "broken", "module {name} (input logic a); assign nothing = b; endmodule")
    with pytest.raises(SynthesisError, match=r"synthesis of broken: .*undeclared identifier") as e:
        synth_node([source], "broken")
    assert "\n" not in str(e.value)
    assert not list((tmp_path / "cache" / "yosys").glob("*/*.json"))


def test_one_failure_ends_a_run_of_many(tmp_path):
    jobs = [NodeJob("broken", (write(tmp_path, "broken", "module {name}; nonsense endmodule"),))]
    with pytest.raises(SynthesisError, match="synthesis of broken"):
        list(map_many([*jobs, rom_node(tmp_path, "fine")]))


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(SynthesisError, match=r"synthesis of gone: cannot read .*gone\.sv"):
        synth_node([tmp_path / "gone.sv"], "gone")


def test_a_time_out_stops_yosys(tmp_path):
    started = time.monotonic()
    with pytest.raises(SynthesisError, match="synthesis of mult3: Yosys took longer than 0.05 s"):
        synth_node([write(tmp_path, "mult3", MULTIPLIERS)], "mult3", timeout_s=0.05)
    assert time.monotonic() - started < 5
