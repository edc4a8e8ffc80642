"""Logic depth: levels counted by hand in small netlists, and against what Yosys maps."""

import pytest

from finn_vitprune.custom_ops.rtl_sources import rtl_source
from finn_vitprune.synth.depth import Depth, logic_depth
from finn_vitprune.synth.yosys import NodeJob, map_node


def cell(kind, inputs, outputs):
    directions = {p: "input" for p in inputs} | {p: "output" for p in outputs}
    nets = {p: bits if isinstance(bits, list) else [bits] for p, bits in (inputs | outputs).items()}
    return {"type": kind, "port_directions": directions, "connections": nets}


def netlist(*cells):
    top = {"attributes": {"top": "1"}, "cells": {str(i): c for i, c in enumerate(cells)}}
    return {"modules": {"other": {"attributes": {}}, "top": top}}


def lut(net, *sources):
    return cell("LUT3", {f"I{i}": s for i, s in enumerate(sources)}, {"O": net})


def register(d, q, **pins):
    return cell("FDRE", {"D": d, **pins}, {"Q": q})


# Nets: 1 and 2 come from registers; 10 and up are logic.
CHAIN = [register("0", 1), register("0", 2), lut(10, 1), lut(11, 10, 2), lut(12, 11), lut(13, 12)]


def test_levels_between_registers_are_counted():
    assert logic_depth(netlist(*CHAIN[:-1], register(12, 3))) == Depth(3, 3)


@pytest.mark.parametrize("end", [
    register(10, 3, CE=13), cell("RAM32M", {"ADDRA": [13]}, {"DOA": [20]}), cell("DSP48E2", {"A": [13]}, {"P": [20]}),
])  # fmt: skip
def test_a_path_counts_whatever_it_ends_at(end):
    assert logic_depth(netlist(*CHAIN, end)) == Depth(4, 4)


@pytest.mark.parametrize("kind", ["RAM32M", "DSP48E2", "FDRE"])
def test_paths_end_at_memories_slices_and_registers(kind):
    between = cell(kind, {"D": [13]}, {"Q": [20]})
    assert logic_depth(netlist(*CHAIN, between, lut(21, 20), register(21, 3))) == Depth(4, 4)


def test_carry_blocks_are_levels_of_their_own_and_wide_multiplexers_none():
    cells = [
        *CHAIN[:3],
        cell("CARRY4", {"S": [10]}, {"CO": [20], "O": [21]}),
        cell("CARRY4", {"CI": [20]}, {"O": [22]}),
        cell("MUXF7", {"I0": [22], "I1": [10]}, {"O": [23]}),
        register(23, 3),
    ]
    assert logic_depth(netlist(*cells)) == Depth(1, 3)


def test_constants_and_registers_alone_have_no_depth():
    assert logic_depth(netlist(register("0", 1), register(1, 2))) == Depth(0, 0)


XOR = """
module xors (input wire clk, input wire [{width}:0] x, output logic [1:0] data);
    logic [{width}:0] x_q;
    always_ff @(posedge clk) begin
        x_q  <= x;
        data <= {{^x_q, x_q[0]}};
    end
endmodule
"""


@pytest.mark.parametrize("inputs, least", [(6, 1), (36, 2), (216, 3)])
def test_a_tree_of_an_exclusive_or_is_at_least_as_deep_as_luts_of_six_inputs_allow(tmp_path, inputs, least):
    source = tmp_path / "xors.sv"
    source.write_text(XOR.format(width=inputs - 1))
    depth = map_node(NodeJob("xors", (source,)), 300).depth
    assert least <= depth.lut == depth.carry <= 2 * least - 1


def test_a_table_beside_carry_chains_is_one_level_deep(tmp_path):
    """ROMs are mapped apart: in one piece with adders, Yosys makes seven levels of this one."""
    source = tmp_path / "beside.sv"
    source.write_text("""
module beside (input wire clk, input wire [4:0] a, input wire [63:0] b, output logic [63:0] sum_q, output wire [199:0] data);
    logic [4:0] addr_q;
    always_ff @(posedge clk) begin
        addr_q <= a;
        sum_q  <= sum_q + b;
    end
    vp_rom #(.DEPTH(24), .WIDTH(200), .STYLE("distributed")) rom (.clk, .en(1'b1), .addr(addr_q), .data);
endmodule
""")
    found = map_node(NodeJob("beside", (rtl_source("vp_rom.sv"), source)), 300)
    assert found.depth.lut == 1 and found.resources.BRAM36 == 0
    assert 200 <= found.resources.LUT - 64 <= 210
