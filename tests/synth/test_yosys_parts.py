"""Modules that repeat are mapped once: counts by hand, a module for equal instances, and a unit against its flat netlist.

Larger units: ``builds/results/large_units``.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune.custom_ops.op.requant_estimate import requant_dsps, requant_luts
from finn_vitprune.custom_ops.op.rtl_sources import rtl_sources
from finn_vitprune.synth import hierarchy
from finn_vitprune.synth.hierarchy import merged
from finn_vitprune.synth.yosys import NodeJob, SynthesisError, map_node
from tests.rtl.benches.helper import generate_op
from tests.sampling import sampled


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "cache"))


ARRAY = """
module array (input wire clk, first, input wire [{bits}:0] x, output wire [{out}:0] y, output wire [4:0][23:0] acc);
    for (genvar i = 0; i < 5; i++) begin : g
        localparam int unsigned N = i < 3 ? 2 : 7;
        vp_mac_chain #(.CHAIN(N)) chain (
            .clk, .first, .a(x[i*600+:N*27]), .d(x[i*600+200+:N*27]), .b(x[i*600+400+:N*18]), .p(y[i*48+:48]));
        vp_mac_sum #(.NUM(1), .WIDTH(13), .ACC_BITS(24)) sum (.clk, .first, .terms(x[i*600+:13]), .acc(acc[i]));
    end
endmodule
"""


def array(folder: Path) -> NodeJob:
    """Three cascades of two slices, two of seven, five accumulators of 24 bits."""
    path = folder / "array.sv"
    path.write_text(ARRAY.format(bits=5 * 600 - 1, out=5 * 48 - 1))
    sources = dict.fromkeys((*rtl_sources("vp_mac_chain"), *rtl_sources("vp_mac_sum"), path))
    return NodeJob("array", tuple(sources))


def test_instances_are_counted_by_hand(tmp_path):
    found = map_node(array(tmp_path), 300)
    assert found.resources.DSP == 3 * 2 + 2 * 7
    assert found.resources.FF == 5 * 24
    assert 5 * 24 <= found.resources.LUT <= 5 * 26
    assert found.timing.levels == 1


def test_a_part_within_a_part_counts_with_it(tmp_path):
    """RTLIL by hand: two vp_mac_lut_output of equal text with a vp_mac_sum in each."""
    inner = "module \\vp_mac_sum${path}\n  wire input 1 \\a\n  wire width 2 output 2 \\y\n  wire \\inside\nend\n"
    outer = "module \\vp_mac_lut_output${path}\n  cell \\vp_mac_sum${path}.sum \\sum\n    connect \\a 1'0\n  end\nend\n"
    cells = "".join(f"  cell \\vp_mac_lut_output$top.{n} \\{n}\n  end\n" for n in "uv")
    text = "".join(inner.format(path=f"top.{n}.sum") + outer.format(path=f"top.{n}") for n in "uv")
    made = merged(f"{text}module \\top\n{cells}end\n", "top")
    names = re.findall(r"^module \\(\S+)", made, re.MULTILINE)
    assert [name.split(".")[0] for name in names] == ["vp_mac_sum", "vp_mac_lut_output", "top"]
    assert made.count("attribute \\keep_hierarchy 1\nmodule \\vp_mac_") == 2 and f"cell \\{names[0]} \\sum" in made
    assert made.count(f"cell \\{names[1]} ") == 2


@pytest.mark.parametrize("timeout_s, reason", [(0, "took longer than 0 s"), (300, "undeclared identifier")])
def test_a_failure_names_the_node(tmp_path, timeout_s, reason):
    job = array(tmp_path)
    job.sources[-1].write_text("module array (input wire a); assign nothing = b; endmodule")
    with pytest.raises(SynthesisError, match=f"synthesis of array: .*{reason}"):
        map_node(job, timeout_s)


def matrix(mac_style: str, bits: str, tokens: int, simd: int, pe: int, ram_style: str) -> tuple[str, dict, list]:
    """A unit of 48 x 64 elements in blocks of 16, half of them kept, on two lanes."""
    rng = np.random.default_rng(5)
    attrs = {"tokens": 20, "MW": 48, "MH": 64, "block": 16, "SIMD": simd, "PE": pe, "TOKENS": tokens, "LANES": 2}
    attrs |= {"in_width": simd, "out_width": pe, "requant": 1, "shift": 18, "mac_style": mac_style}
    attrs |= {"inputDataType": bits, "weightDataType": bits, "outputDataType": bits, "ram_style": ram_style}
    kept = np.array([[1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1]])
    weights = rng.integers(1, 7, (48, 64)) * np.kron(kept, np.ones((16, 16), int))
    return "BlockSparseMVAU", attrs, [weights, rng.integers(-99, 99, 64), rng.integers(1, 1 << 16, 64)]


REQUANT = """
module requant (input wire clk, rst_n, input wire [{acc}:0] acc, input wire [{mult}:0] mult, input wire [{left}:0] left, output wire [7:0] out);
    vp_requant #(.ACC_WIDTH({acc} + 1), .MULT_WIDTH({mult} + 1), .SHIFT({shift}), .SPAN({span})) unit (
        .clk, .rst_n, .acc, .mult, .left, .tag(1'b0), .out, .out_tag());
endmodule
"""


@pytest.mark.parametrize(
    "acc, mult, shift, span",
    sampled([(24, 17, 20, 8), (24, 17, 20, 0), (24, 17, 20, 3), (24, 17, 24, 18), (27, 25, 30, 8)], 1, several=True),
)
def test_a_requantiser_that_shifts_by_what_is_loaded_takes_what_is_estimated(tmp_path, acc, mult, shift, span):
    path = tmp_path / "requant.sv"
    path.write_text(REQUANT.format(acc=acc - 1, mult=mult - 1, left=max(0, span.bit_length() - 1), shift=shift, span=span))
    found = map_node(NodeJob("requant", tuple(dict.fromkeys((*rtl_sources("vp_requant"), path)))), 300).resources
    assert found.LUT == pytest.approx(requant_luts(acc, mult, shift, 8, signed=True, span=span), rel=0.13)
    assert found.DSP == requant_dsps(acc, mult)


UNITS = {
    "products in LUTs": matrix("lut", "INT4", 2, 4, 2, "auto"),
    "cascades of 8x8 bits, UltraRAM": matrix("dsp48e2", "INT8", 2, 4, 4, "ultra"),
}


def _array(register: str) -> str:
    return register.partition("[")[0]


@pytest.mark.slow
@pytest.mark.parametrize("unit", sampled(UNITS, 0))
def test_parts_add_up_to_the_flat_netlist(unit, monkeypatch, tmp_path):
    """LUTs within 3 %, all else equal; the slowest path within 8 %: what Yosys makes a reset hangs on the piece."""
    op, _model, _folder = generate_op(*UNITS[unit])
    job = NodeJob("dut", tuple(map(Path, op.get_rtl_file_list(abspath=True))))
    parts = map_node(job, 600)
    monkeypatch.setattr(hierarchy, "PARTS", frozenset())
    monkeypatch.setenv("FINN_VITPRUNE_CACHE", str(tmp_path / "flat"))
    both = [map_node(job, 600), parts]
    flat, parts = (found.resources for found in both)
    assert (parts.DSP, parts.BRAM36, parts.URAM, parts.LUTRAM) == (flat.DSP, flat.BRAM36, flat.URAM, flat.LUTRAM)
    assert parts.FF == pytest.approx(flat.FF, rel=0.01)
    assert parts.LUT == pytest.approx(flat.LUT, rel=0.03)
    one, other = (found.timing for found in both)
    assert (other.levels, other.bare_multipliers) == (one.levels, one.bare_multipliers)
    assert other.taken == pytest.approx(one.taken, rel=0.08)
    slowest, others = ({(_array(p.start), _array(p.end)): p.taken for p in reversed(t.paths)} for t in (one, other))
    common = slowest.keys() & others.keys()
    assert len(common) > len(slowest) / 2, "the slowest paths are between the same registers; near ties change places"
    assert [others[ends] for ends in common] == pytest.approx([slowest[ends] for ends in common], rel=0.08)
    assert other.widest == pytest.approx(one.widest, rel=0.02)
