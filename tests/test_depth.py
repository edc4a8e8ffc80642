"""Logic depth: levels counted by hand in small netlists, and against what Yosys maps."""

import re

import pytest

from finn_vitprune.custom_ops.rtl_sources import RTL_DIR, rtl_source
from finn_vitprune.synth.depth import CONTROL, Depth, logic_depth
from finn_vitprune.synth.yosys import NodeJob, map_node


def cell(kind, inputs, outputs):
    directions = {p: "input" for p in inputs} | {p: "output" for p in outputs}
    nets = {p: bits if isinstance(bits, list) else [bits] for p, bits in (inputs | outputs).items()}
    return {"type": kind, "port_directions": directions, "connections": nets}


def netlist(cells, names, ports=()):
    """``names``: net to public name; ``ports``: outputs, name to nets."""
    module = {
        "attributes": {"top": "1"},
        "ports": {name: {"direction": "output", "bits": bits} for name, bits in dict(ports).items()},
        "cells": {str(i): c for i, c in enumerate(cells)},
        "netnames": {name: {"bits": [net]} for net, name in names.items()},
    }
    return {"modules": {"other": {"attributes": {}}, "top": module}}


def lut(net, *sources):
    return cell("LUT3", {f"I{i}": s for i, s in enumerate(sources)}, {"O": net})


def register(d, q, **pins):
    return cell("FDRE", {"D": d, **pins}, {"Q": q})


# Nets: 1 and 2 come from registers; 10 and up are logic.
CHAIN = [register("0", 1), register("0", 2), lut(10, 1), lut(11, 10, 2), lut(12, 11), lut(13, 12)]


def test_levels_between_registers_are_counted():
    assert logic_depth(netlist([*CHAIN, register(12, 3)], {3: "unit.sum_q"})) == Depth(3, 3, 3, 3)


def test_control_registers_and_steering_pins_are_not_of_the_data_path():
    cells = [*CHAIN, register(10, 3), register(13, 4), register(11, 5, CE=12)]
    names = {3: "unit.sum_q[2]", 4: "unit.full_q", 5: "unit.word[7]"}
    assert logic_depth(netlist(cells, names)) == Depth(1, 4, 1, 4)


@pytest.mark.parametrize("pin, data", [("DIA", 4), ("WE", 0), ("ADDRA", 0)])
def test_memories_take_data_at_their_data_inputs(pin, data):
    ram = cell("RAM32M", {pin: [13]}, {"DOA": [20]})
    assert logic_depth(netlist([*CHAIN, ram], {})).data == data


@pytest.mark.parametrize("pin, data", [("A", 4), ("B", 4), ("CEP", 0), ("RSTB", 0)])
def test_dsp_slices_take_data_at_their_operands(pin, data):
    assert logic_depth(netlist([*CHAIN, cell("DSP48E2", {pin: [13]}, {"P": [20]})], {})).data == data


def test_carry_blocks_are_levels_of_their_own_and_wide_multiplexers_none():
    cells = [
        *CHAIN[:3],
        cell("CARRY4", {"S": [10]}, {"CO": [20], "O": [21]}),
        cell("CARRY4", {"CI": [20]}, {"O": [22]}),
        cell("MUXF7", {"I0": [22], "I1": [10]}, {"O": [23]}),
        register(23, 3),
    ]
    assert logic_depth(netlist(cells, {3: "sum_q"})) == Depth(1, 1, 3, 3)


def test_output_ports_end_paths():
    assert logic_depth(netlist(CHAIN, {}, {"tdata": [13], "tvalid": [13]})).data == 4
    assert logic_depth(netlist(CHAIN, {}, {"tdata": [10], "tvalid": [13]})) == Depth(1, 4, 1, 4)


def test_constants_and_registers_alone_have_no_depth():
    assert logic_depth(netlist([register("0", 1), register(1, 2)], {})) == Depth(0, 0, 0, 0)


def test_names_of_registers_that_hold_elements_are_never_control():
    text = "".join(path.read_text() for path in RTL_DIR.rglob("vp_mvau*.sv"))
    elements = set(re.findall(r"(?:sum|value|mult|product|part|data|acc|out)_\w*q\b", text)) - {"out_valid_q", "part_first_q"}
    assert elements and not [name for name in elements if CONTROL.search(name)]


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
    assert least <= depth.data == depth.any == depth.any_carry <= 2 * least - 1


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
    assert found.depth.data == 1 and found.resources.BRAM36 == 0
    assert 200 <= found.resources.LUT - 64 <= 210


@pytest.mark.parametrize("place, data", [("unit.program_rom.$abc$1", 0), ("unit.sums.$abc$1", 4)])
def test_what_chooses_a_row_of_a_rom_is_not_of_the_data_path(place, data):
    found = netlist([*CHAIN, register(13, 3)], {})
    cells = found["modules"]["top"]["cells"]
    cells[place] = cells.pop("6")
    assert logic_depth(found).data == data
