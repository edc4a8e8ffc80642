"""The timing estimate: paths by hand, what makes it worse, parts put together, and a second way to compute it.

Nanoseconds in the formulas below are those of ``timing.json``, written out: LUT .090, flip-flop CLK to Q .077, its set-up -.025
(D) and .060 (CE, reset), a net .208 and .060 a doubling of its loads (taken; .100 high), .100 more at macros (.150 high), .050
from a LUT to a flip-flop in its slice and .100 from elsewhere.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.synth.timing import broadcast_ns, estimate
from finn_vitprune.synth.timing_cells import ULTRASCALE_PLUS
from finn_vitprune.synth.timing_graph import CombinationalLoopError
from finn_vitprune.synth.wiring import Wiring
from finn_vitprune.synth.yosys import NodeJob, map_node
from tests.sampling import sampled, spread


def cell(kind, inputs, outputs, **parameters):
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    nets = {p: bits if isinstance(bits, list) else [bits] for p, bits in (inputs | outputs).items()}
    return {"type": kind, "port_directions": directions, "connections": nets, "parameters": parameters}


def module(cells, names=None, ports=None):
    return {
        "attributes": {}, "cells": cells if isinstance(cells, dict) else {f"$cell{i}": c for i, c in enumerate(cells)},
        "netnames": {name: {"hide_name": 0, "bits": bits} for name, bits in (names or {}).items()},
        "ports": {name: {"direction": direction, "bits": bits} for name, (direction, bits) in (ports or {}).items()},
    }  # fmt: skip


def wiring(*cells, names=None, ports=None):
    top = module(cells, names, ports) | {"attributes": {"top": "1"}}
    return Wiring.from_json({"modules": {"box": module([]) | {"attributes": {"blackbox": "1"}}, "top": top}})


def timing(*cells, names=None, ports=None):
    return estimate(wiring(*cells, names=names, ports=ports))


def lut(net, *sources):
    return cell(f"LUT{max(len(sources), 1)}", {f"I{i}": s for i, s in enumerate(sources)}, {"O": net})


def register(d, q, enable="1", reset="0", kind="FDRE"):
    return cell(kind, {"C": 1, "CE": enable, "D": d, {"FDRE": "R", "FDSE": "S"}[kind]: reset}, {"Q": q})


def approx(*ns):
    return pytest.approx(ns, abs=6e-4)


def sets(found):
    return found.low, found.taken, found.high


# --- paths by hand -------------------------------------------------------------------------------


def test_from_a_register_through_a_lut_to_a_register():
    found = timing(register("0", 2), lut(3, 2), register(3, 4), names={"a_q": [2], "b_q": [4]})
    assert sets(found) == approx(*[0.077 + 0.208 + 0.090 + 0.050 - 0.025] * 3)
    [path] = found.paths
    assert (path.start, path.end, path.levels, path.carries) == ("a_q", "b_q.D", 1, 0)
    assert path.through == ("a_q (1)", "into b_q.D (1)")


def test_from_a_register_to_a_register_alone():
    assert timing(register("0", 2), register(2, 3)).taken == pytest.approx(0.077 + 0.208 + 0.100 - 0.025, abs=6e-4)


def test_a_net_slows_down_with_every_doubling_of_its_loads():
    cells = [register("0", 2), *(register("0", 10 + i, enable=2) for i in range(8))]
    found = timing(*cells, names={"enable_q": [2]})
    assert sets(found) == approx(*(0.077 + 0.208 + 3 * slope + 0.060 for slope in (0, 0.060, 0.100)))
    assert (found.nets[0].name, found.nets[0].loads, found.paths[0].widest.loads) == ("enable_q", 8, 8)


def test_a_lut_reaches_one_register_in_its_slice_and_others_outside():
    cells = [register("0", 2), lut(3, 2), register(3, 4), register(3, 5)]
    assert timing(*cells).taken == pytest.approx(0.077 + 0.208 + 0.090 + 0.208 + 0.060 + 0.100 - 0.025, abs=6e-4)


def adder(first, out):
    """Two CARRY4 of which S[0] comes from a LUT, CO[3] goes on, and O[3] of the second ends in a register."""
    low = {"CI": "0", "CYINIT": "0", "DI": ["0"] * 4, "S": [first + 1, "1", "1", "1"]}
    high = {"CI": 93, "CYINIT": "0", "DI": ["0"] * 4, "S": ["1"] * 4}
    return [
        lut(first + 1, first), cell("CARRY4", low, {"CO": [90, 91, 92, 93], "O": [94, 95, 96, 97]}),
        cell("CARRY4", high, {"CO": [98, 99, 100, 101], "O": [102, 103, 104, out]}),
    ]  # fmt: skip


def test_carries_go_bit_by_bit():
    """S0 to CO3 .186, from CI to O3 .082, O to a register in the slice .025."""
    found = timing(register("0", 2), *adder(2, 50), register(50, 51))
    assert found.taken == pytest.approx(0.077 + 0.208 + 0.090 + 0.015 + 0.186 + 0.082 + 0.025 - 0.025, abs=6e-4)
    assert (found.levels, found.carry_levels) == (1, 3)


def test_wide_multiplexers_are_no_levels():
    """F7 from a LUT .025 + .070, F8 .070, to a register .032."""
    cells = [
        register("0", 2), lut(3, 2), cell("MUXF7", {"I0": 3, "I1": "0", "S": "0"}, {"O": 4}),
        cell("MUXF8", {"I0": 4, "I1": "0", "S": "0"}, {"O": 5}), register(5, 6),
    ]  # fmt: skip
    found = timing(*cells)
    assert found.taken == pytest.approx(0.077 + 0.208 + 0.090 + 0.025 + 0.070 + 0.070 + 0.032 - 0.025, abs=6e-4)
    assert (found.levels, found.carry_levels) == (1, 1)


def ram(data, **parameters):
    pins = {"CLKARDCLK": 1, "ADDRARDADDR": [20, 21], "ENARDEN": "1", "REGCEAREGCE": "1"}
    return cell("RAMB36E2", pins, {"DOUTADOUT": data}, DOA_REG=format(0, "032b"), **parameters)


def test_a_block_ram_without_and_with_its_output_register():
    """CLK to DOUT 1.003, 0.229 with the register; 0.100 more for a net at it."""
    names = {"held_q": [4], "word": [3]}
    bare = timing(ram([3]), lut(5, 3), register(5, 6), names=names)
    assert bare.taken == pytest.approx(1.003 + 0.208 + 0.100 + 0.090 + 0.050 - 0.025, abs=6e-4)
    assert bare.ram_levels == 1 and bare.paths[0].start == "word"
    held = timing(ram([3]), register(3, 4), lut(5, 4), register(5, 6), names=names)
    assert held.taken == pytest.approx(0.229 + 0.208 + 0.100 + 0.090 + 0.050 - 0.025, abs=6e-4)
    two = timing(ram([3]), register(3, 4), lut(5, 3), register(5, 6), names=names)
    assert two.taken == pytest.approx(1.003 + 0.208 + 0.060 + 0.100 + 0.090 + 0.050 - 0.025, abs=6e-4), "a register and a LUT"


def test_the_address_of_a_block_ram_is_set_up():
    found = timing(register("0", 20), ram([3]))
    assert sets(found) == approx(*(0.077 + 0.208 + macro + 0.383 for macro in (0, 0.100, 0.150)))
    assert list(found.ends) == ["block RAM"]


def dsp(a, b, p):
    zero = {name: format(0, "032b") for name in ("AREG", "BREG", "MREG", "PREG", "ADREG", "CREG", "DREG", "OPMODEREG")}
    return cell("DSP48E2", {"A": a, "B": b}, {"P": p}, AMULTSEL="A", **zero)


def test_registers_move_into_a_multiplier():
    """Operands and product: 1.838 inside; one register more behind it: 1.290. From P on: 0.280."""
    before = [register(2, 3), register(4, 5)]
    one = timing(*before, dsp([3], [5], [6]), register(6, 7))
    assert (one.taken, one.paths[0].start, one.bare_multipliers) == (1.838, "inside of a DSP slice", 1)
    two = timing(*before, dsp([3], [5], [6]), register(6, 7), register(7, 8), lut(9, 8), register(9, 10))
    assert (two.taken, two.bare_multipliers) == (1.290, 0)
    assert two.paths[1].taken == pytest.approx(0.280 + 0.208 + 0.100 + 0.090 + 0.050 - 0.025, abs=6e-4)


@pytest.mark.parametrize("other", [lut(8, 3), register(3, 8), register("0", 8, enable=3)])
def test_a_register_that_goes_elsewhere_stays_outside(other):
    """Then an operand has 1.450 before P."""
    found = timing(register(2, 3), register(4, 5), dsp([3], [5], [6]), register(6, 7), other)
    assert found.taken == pytest.approx(0.077 + 0.208 + 0.060 + 0.100 + 1.450, abs=6e-4)


@pytest.mark.parametrize("change", [{"enable": 30}, {"reset": 30}, {"reset": 30, "kind": "FDSE"}])
def test_registers_of_a_port_share_their_controls(change):
    """Two bits of A, of which one has another enable, another reset, or is set."""
    cells = [register(2, 3), register(4, 5, **change), register(6, 7), dsp([3, 5], [7], [8]), register(8, 9)]

    def outside(*cells):
        """Bits of A that have 1.450 before P."""
        slow = pytest.approx(0.077 + 0.208 + 0.100 + 1.450, abs=6e-4)
        return sum(path.ends for path in timing(*cells).paths if path.taken == slow)

    assert outside(*cells) == 2
    assert outside(register(2, 3, **change), *cells[1:]) == (2 if "kind" in change else 0)


def test_one_enable_of_a_slice_stands_for_those_of_the_registers_in_it():
    operands = [register(10 + i, 30 + i, enable=9) for i in range(6)]
    unit = [dsp(list(range(30, 36)), [51], [60]), register(60, 61)]
    found = timing(register("0", 9), *operands, register(50, 51), *unit, names={"en_q": [9]})
    assert found.nets == () and found.ends["DSP"] == ((math.ceil((0.077 + 0.208 + 0.100 + 0.220) * 100) / 100, 1),)


def test_a_memory_in_luts_reads_as_a_lut_and_is_written_by_the_clock():
    """CLK to O .312, read .090, set-up of data .081, WE .180, the write address .117."""
    memory = cell("RAM32X1D", {"WCLK": 1, "WE": 2, "D": 3, "A0": 4, "DPRA0": 5}, {"SPO": 6, "DPO": 7})
    read = timing(register("0", 5), memory, register(7, 8))
    assert read.taken == pytest.approx(0.077 + 0.208 + 0.090 + 0.050 - 0.025, abs=6e-4) and read.levels == 1
    assert timing(memory, register(7, 8)).taken == pytest.approx(0.312 + 0.050 - 0.025, abs=6e-4)
    for net, before in ((2, 0.180), (3, 0.081), (4, 0.117)):
        assert timing(register("0", net), memory).taken == pytest.approx(0.077 + 0.208 + before, abs=6e-4)


def test_inverters_before_luts_cost_nothing_and_others_are_luts():
    into_luts = [register("0", 2), cell("INV", {"I": 2}, {"O": 3}), lut(4, 3), lut(5, 2), register(4, 6), register(5, 7)]
    assert timing(*into_luts).taken == pytest.approx(0.077 + 0.208 + 0.060 + 0.090 + 0.050 - 0.025, abs=6e-4)
    found = timing(register("0", 2), cell("INV", {"I": 2}, {"O": 3}), register(3, 4))
    assert (found.taken, found.levels) == (pytest.approx(0.077 + 0.208 + 0.090 + 0.050 - 0.025, abs=6e-4), 1)


# --- resets, and what is apart --------------------------------------------------------------------


def test_resets_are_paths_and_nets_like_others():
    """A reset goes through two registers of its own to 20 others, and through a LUT, with data, to one more."""
    resets = [register(2, 7), register(7, 3), *(register("0", 30 + i, reset=3) for i in range(20))]
    ports = {"ap_rst_n": ("input", [2])}
    found = timing(*resets, ports=ports, names={"reset_q": [3]})
    spread = 0.077 + 0.208 + 0.060 * math.log2(20) + 0.060
    assert (found.taken, found.reset_ns) == (pytest.approx(spread, abs=6e-4),) * 2
    assert (found.reset.name, found.reset.loads, found.widest) == ("reset_q", 20, 20) and found.nets[0] == found.reset
    assert found.from_ports == pytest.approx(0.208 + 0.100 - 0.025, abs=6e-4), "from the port to the first register alone"
    mixed = timing(*resets, register("0", 4), lut(5, 3, 4), register("0", 6, reset=5), ports=ports)
    assert mixed.reset_ns == pytest.approx(0.077 + 0.208 + 0.060 * math.log2(21) + 0.090 + 0.208 + 0.060, abs=6e-4)
    no_reset = timing(register("0", 4), register(4, 5))
    assert no_reset.reset is None and no_reset.reset_ns == 0


def test_a_register_reaches_many():
    assert broadcast_ns(1) == pytest.approx(0.077 + 0.208 + 0.100 - 0.025, abs=6e-4)
    assert broadcast_ns(320) == pytest.approx(broadcast_ns(1) + 0.060 * math.log2(320), abs=1e-3)


def test_paths_at_ports_are_apart():
    """x through a LUT to a register, the register through a LUT to y, ready through a LUT to ready."""
    ports = {"x": ("input", [2]), "y": ("output", [5]), "out_ready": ("input", [7]), "in_ready": ("output", [8])}
    found = timing(lut(3, 2), register(3, 4), lut(5, 4), lut(8, 7), ports=ports)
    assert sets(found) == (0, 0, 0) and found.paths == () and found.ends == {}
    assert found.from_ports == pytest.approx(0.208 + 0.090 + 0.050 - 0.025, abs=6e-4)
    assert found.to_ports == pytest.approx(0.077 + 0.208 + 0.090, abs=6e-4)
    assert found.through_ports == pytest.approx(0.208 + 0.090, abs=6e-4)


def test_a_circle_is_refused_by_name():
    with pytest.raises(CombinationalLoopError, match="circle through ready"):
        timing(lut(3, 4), lut(4, 3), names={"ready": [3]})


def test_ends_over_a_limit_are_counted_by_class():
    """To eight enables in 0.842 ns, and to D of two registers 0.015 ns later, and slower all with the slope of the high set."""
    cells = [register("0", 2), lut(3, 2), *(register("0", 10 + i, enable=3) for i in range(8)), register(3, 30), register(3, 31)]
    found = timing(*cells)
    enable = 0.077 + 0.208 + 0.090 + 0.208 + 0.060 * math.log2(10) + 0.060
    assert found.over(enable - 0.02) == {"register CE": 8, "register D": 2}
    assert found.over(enable + 0.01) == {"register D": 2}
    assert found.over(0.87) == {} and sum(found.over(0.87, high=True).values()) == 10


# --- a second way to compute it ------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_random_logic_equals_a_search_of_every_path(seed):
    """Registers and LUTs in a random graph, by recursion over drivers."""
    rng = np.random.default_rng(seed)
    inputs, logic = 6, 60
    first, drivers = 10, {}
    cells = [register("0", first + i) for i in range(inputs)]
    for i in range(logic):
        net = first + inputs + i
        drivers[net] = rng.choice(np.arange(first, net), size=min(int(rng.integers(1, 5)), net - first), replace=False).tolist()
        cells.append(lut(net, *drivers[net]))
    last = first + inputs + logic
    ends = rng.choice(np.arange(first, last), 12, replace=False).tolist()
    cells += [register(net, last + i) for i, net in enumerate(ends)]
    loads = {net: sum(net in d for d in drivers.values()) + ends.count(net) for net in range(first, last)}

    @lru_cache(None)
    def arrival(net, slope):
        if net not in drivers:
            return 0.077
        return 0.090 + max(arrival(d, slope) + 0.208 + slope * math.log2(loads[d]) for d in drivers[net])

    def at_end(net, slope):
        way = 0.050 if net in drivers else 0.208 + slope * math.log2(loads[net]) + 0.100
        return arrival(net, slope) + way - 0.025

    def levels(net):
        return 1 + max(map(levels, drivers[net])) if net in drivers else 0

    found = timing(*cells)
    assert sets(found) == approx(*(max(at_end(net, slope) for net in ends) for slope in (0, 0.060, 0.100)))
    assert found.levels == max(map(levels, ends))
    assert found.nets[0].loads == max(loads.values())


# --- parts ---------------------------------------------------------------------------------------


def test_parts_put_together_are_the_flat_netlist():
    """Three of a part that has another in it, one output of which is an input: a net through all of them counts all loads."""
    inner = module({"$l": lut(3, 2)}, ports={"a": ("input", [2]), "y": ("output", [3])})
    part = module(
        {"$r": register(4, 5), "deep": cell("inner", {"a": 2}, {"y": 4})}, names={"x": [2], "held_q": [5]},
        ports={"clk": ("input", [1]), "x": ("input", [2]), "q": ("output", [5]), "same": ("output", [2])},
    )  # fmt: skip
    parts = {name: Wiring.from_json({"modules": {name: m}}) for name, m in (("inner", inner), ("part", part))}
    parts["part"] = parts["part"].with_parts(parts)
    around = {f"u{i}": cell("part", {"clk": 1, "x": [10]}, {"q": 20 + i, "same": 30 + i}) for i in range(3)}
    around |= {"$start": register("0", 10), "$sum": lut(40, 20, 21, 22, 31), "$end": register(40, 41)}
    names = {"start_q": [10], "end_q": [41]}
    whole = Wiring.from_json({"modules": {"top": module(around, names)}}).with_parts(parts)
    flat = wiring(
        register("0", 10), *(lut(50 + i, 10) for i in range(3)), *(register(50 + i, 20 + i) for i in range(3)),
        lut(40, 20, 21, 22, 10), register(40, 41), names=names,
    )  # fmt: skip
    assert whole.count() == flat.count() == {"FDRE": 5, "LUT1": 3, "LUT4": 1}
    together, alone = estimate(whole), estimate(flat)
    assert sets(together) == sets(alone) and together.ends == alone.ends and together.levels == alone.levels
    assert [(n.name, n.loads) for n in together.nets] == [("start_q", 4)]
    labels = {whole.net_label(net) for net in range(whole.nets)}
    assert {"u0.held_q", "u1.held_q", "u2.held_q", "start_q"} <= labels


def test_a_netlist_is_kept_as_it_is(tmp_path):
    first = wiring(register("0", 2), *adder(2, 50), register(50, 51), ram([3]), dsp([3], [5], [6]), names={"a_q": [2]})
    first.save(tmp_path / "wiring.npz")
    again = Wiring.load(tmp_path / "wiring.npz")
    assert again.count() == first.count() and estimate(again) == estimate(first)


# --- what must move it ---------------------------------------------------------------------------

SOURCES = """
module moves (input wire clk, input wire [{x}:0] x, output logic [{y}:0] y);
    logic [{x}:0] x_q;
    always_ff @(posedge clk) x_q <= x;
{body}
endmodule
"""
XOR = "    always_ff @(posedge clk) y <= ^x_q;"
TREE = "    logic [5:0] part_q;\n    always_ff @(posedge clk) begin\n{parts}        y <= ^part_q;\n    end"
PARTS = "".join(f"        part_q[{i}] <= ^x_q[{6 * i}+:6];\n" for i in range(6))
GATED = "    always_ff @(posedge clk) if (x_q[0]) y <= {y[0], y[$high(y):1]} ^ {$bits(y){x_q[1]}};"
ADD = "    always_ff @(posedge clk) y <= x_q[{half}-1:0] + x_q[{half}+:{half}];"
RAM = """    logic [35:0] data;
    vp_ram #(.DEPTH(1024), .WIDTH(36), .STYLE("block"), .READ_LATENCY({latency})) ram (
        .clk, .we(x_q[0]), .waddr(x_q[10:1]), .wdata(36'(x_q)), .re({latency}'(-1)), .zero(1'b0), .raddr(x_q[20:11]),
        .rdata(data));
    always_ff @(posedge clk) y <= ^data[5:0] ^ ^data[11:6];"""


def mapped(folder, body, x=35, y=0):
    path = folder / "moves.sv"
    path.write_text(SOURCES.format(body=body, x=x, y=y))
    return map_node(NodeJob("moves", (*rtl_sources("vp_ram"), path)), 300).timing


@pytest.mark.parametrize("better, worse, name", spread([
    pytest.param((TREE.format(parts=PARTS), 35, 0), (XOR, 35, 0), "x_q", id="a register removed"),
    pytest.param((GATED, 35, 63), (GATED, 35, 127), "x_q[1]", id="a fan-out doubled"),
    pytest.param((RAM.format(latency=2), 35, 0), (RAM.format(latency=1), 35, 0), "data", id="an output register dropped"),
    pytest.param((ADD.format(half=16), 31, 15), (ADD.format(half=64), 127, 63), "x_q", id="a carry chain lengthened"),
], 2, several=True))  # fmt: skip
def test_it_gets_worse_and_names_the_net(tmp_path, better, worse, name):
    first, then = (mapped(tmp_path, body, x, y) for body, x, y in (better, worse))
    for one, other in zip(sets(first), sets(then)):
        assert other >= one
    assert then.taken > first.taken + 0.05
    assert name in then.paths[0].start, then.paths[0]
    assert then.paths[0].low <= then.paths[0].taken <= then.paths[0].high


@pytest.mark.parametrize("inputs, least", sampled([(6, 1), (36, 2), (216, 3)], 1, several=True))
def test_a_tree_of_an_exclusive_or_is_at_least_as_deep_as_luts_of_six_inputs_allow(tmp_path, inputs, least):
    found = mapped(tmp_path, XOR, inputs - 1)
    assert least <= found.levels == found.carry_levels <= 2 * least - 1


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
    found = map_node(NodeJob("beside", (*rtl_sources("vp_rom"), source)), 300)
    assert found.timing.levels == 1 and found.resources.BRAM36 == 0
    assert 200 <= found.resources.LUT - 64 <= 210


# --- constants -----------------------------------------------------------------------------------


def test_every_constant_has_a_source_and_the_sets_are_in_order():
    content = ULTRASCALE_PLUS.content()
    rows = [row for key in ("sets", "ns", "tables") for row in content[key].values()]
    assert {row["source"] for row in rows} == content["sources"].keys()
    c = ULTRASCALE_PLUS.constants
    assert c.slope[0] <= c.slope[1] <= c.slope[2] and c.macro[0] <= c.macro[1] <= c.macro[2]
