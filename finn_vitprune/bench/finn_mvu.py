"""FINN+'s own matrix unit (``mvu_vvu_axi`` for DSP48E2) in Yosys, alone and with its weight streamer.

slang reads FINN+'s sources but for two things, which are edited in a copy of the installed files: a constant
function inside a generate block moves out of it, and a watchdog that only simulation knows is left out.
Neither is part of the netlist.
"""

from __future__ import annotations

import importlib.util
import math
import random
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from finn_vitprune.bench.results import FinnRow
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.errors import UserError
from finn_vitprune.sim.finn_sources import hoisted
from finn_vitprune.synth.yosys import NodeJob, netlist_key, yosys_version

CORE, WITH_MEMORY = "FINN+ MVU", "FINN+ MVU, memstream"
OPTIONS = "--ignore-assertions"

_FILES = (
    "mvu/mvu_pkg.sv",
    "mvu/replay_buffer.sv",
    "mvu/add_multi.sv",
    "mvu/mvu_vvu_8sx9_dsp58.sv",
    "mvu/mvu.sv",
    "mvu/mvu_vvu_axi.sv",
    "memstream/hdl/memstream.sv",
)
_WATCHDOG = re.compile(r"initial begin\s*#100ns;\s*Dirty <= 0;\s*end")
_STUBS = """(* blackbox *)
module LUT6_2 #(parameter [63:0] INIT = 64'd0) (output O6, output O5, input I0, I1, I2, I3, I4, I5);
endmodule
"""


@dataclass(frozen=True)
class FinnFold:
    """A fold of FINN+'s unit: SIMD inputs and PE outputs of an ``mw`` x ``mh`` matrix a cycle."""

    mw: int
    mh: int
    simd: int
    pe: int

    @property
    def matrix(self) -> str:
        return f"{self.mw}x{self.mh}"

    @property
    def products(self) -> int:
        return self.simd * self.pe

    @property
    def depth(self) -> int:
        """Words of the weight memory."""
        return self.mw * self.mh // self.products


QUOTED = FinnRow(
    matrix="384x384",
    bits="8x8",
    unit=CORE,
    target=384,
    fold={"SIMD": 24, "PE": 16},
    products=384,
    source="Yosys 0.70 on finn-plus 1.6.1, INT8, core alone",
    code="quoted",
    cost={"dsp": 192, "lut_sites": 10_600, "ff": 17_200},
)
"""Figures of an earlier run, for where Yosys cannot read FINN+'s sources."""


def tool() -> str:
    """What is compared with."""
    return f"finn-plus {version('finn-plus')}"


def fold(mw: int, mh: int, products: int) -> FinnFold:
    """The fold with most products up to ``products``, of these the most balanced (FINN's advice)."""
    pairs = [(s, p) for s in divisors(mw) for p in divisors(mh) if s * p <= products]
    simd, pe = max(pairs, key=lambda f: (f[0] * f[1], -abs(math.log(f[0] / f[1])), f[0]))
    return FinnFold(mw, mh, simd, pe)


def row(unit: str, f: FinnFold, bits: tuple[int, int], target: int, job: NodeJob) -> FinnRow:
    """The row of a unit, without figures."""
    return FinnRow(
        matrix=f.matrix,
        bits=f"{bits[0]}x{bits[1]}",
        unit=unit,
        target=target,
        fold={"SIMD": f.simd, "PE": f.pe},
        products=f.products,
        source=f"{yosys_version()} on {tool()}",
        code=netlist_key(job),
    )


def jobs(f: FinnFold, bits: tuple[int, int], folder: Path) -> dict[str, NodeJob]:
    """The unit alone and with its weight memory.

    Args:
        bits: widths of activations and weights.

    Raises:
        UserError: the installed FINN+ has other sources than this comparison knows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [*_library(folder), *_primitives(folder)]
    result = {}
    for name, top, text in ((CORE, "finn_mvu", _core(f, bits)), (WITH_MEMORY, "finn_mvu_memstream", _with_memory(f, bits, folder))):
        path = folder / f"{top}.sv"
        path.write_text(text)
        result[name] = NodeJob(top, (*files, path), OPTIONS)
    return result


def _library(folder: Path) -> list[Path]:
    """FINN+'s sources, the two edits made."""
    root = Path(importlib.util.find_spec("finn").origin).parent / "finn-rtllib"
    written = []
    for name in _FILES:
        try:
            text = (root / name).read_text()
        except OSError as e:
            raise UserError(f"FINN+ has no {name} at {root}") from e
        if name.endswith("add_multi.sv") and hoisted(text) == text:
            raise UserError(f"add_multi.sv of {tool()} is not the one that this comparison can read")
        written.append(folder / Path(name).name)
        written[-1].write_text(_WATCHDOG.sub("", hoisted(text)))
    return written


def _primitives(folder: Path) -> list[Path]:
    """Black boxes of the primitives that FINN+ instantiates, from Yosys' own library."""
    import pyosys

    cells = (Path(pyosys.__file__).parent / "share" / "xilinx" / "cells_xtra.v").read_text()
    dsp = re.search(r"^module DSP48E2\b.*?^endmodule", cells, re.DOTALL | re.MULTILINE)
    path = folder / "primitives.v"
    path.write_text(f"{_STUBS}(* blackbox *)\n{dsp[0]}\n")
    return [path]


def _ports(f: FinnFold, bits: tuple[int, int]) -> str:
    out = _bytes(f.pe * _accumulator(f, bits))
    return (
        "    input logic ap_clk, ap_rst_n,\n"
        f"    input logic [{_bytes(f.simd * bits[0]) - 1}:0] x, input logic x_valid, output logic x_ready,\n"
        f"    output logic [{out - 1}:0] y, output logic y_valid, input logic y_ready"
    )


def _instance(f: FinnFold, bits: tuple[int, int]) -> str:
    return (
        f"    mvu_vvu_axi #(.IS_MVU(1), .VERSION(2), .MW({f.mw}), .MH({f.mh}), .PE({f.pe}),\n"
        f"        .SIMD({f.simd}), .ACTIVATION_WIDTH({bits[0]}), .WEIGHT_WIDTH({bits[1]}),\n"
        f"        .ACCU_WIDTH({_accumulator(f, bits)}),\n"
        "        .NARROW_WEIGHTS(1), .SIGNED_ACTIVATIONS(1)) mvu (\n"
        "        .ap_clk, .ap_clk2x(1'b0), .ap_rst_n,\n"
        "        .s_axis_weights_tdata(w), .s_axis_weights_tvalid(w_valid),\n"
        "        .s_axis_weights_tready(w_ready),\n"
        "        .s_axis_input_tdata(x), .s_axis_input_tvalid(x_valid), .s_axis_input_tready(x_ready),\n"
        "        .m_axis_output_tdata(y), .m_axis_output_tvalid(y_valid), .m_axis_output_tready(y_ready));\n"
    )


def _core(f: FinnFold, bits: tuple[int, int]) -> str:
    width = _bytes(f.products * bits[1])
    return (
        f"module finn_mvu (\n{_ports(f, bits)},\n"
        f"    input logic [{width - 1}:0] w, input logic w_valid, output logic w_ready\n);\n"
        f"{_instance(f, bits)}endmodule\n"
    )


def _with_memory(f: FinnFold, bits: tuple[int, int], folder: Path) -> str:
    width = f.products * bits[1]
    rng = random.Random(0)  # fixed weights, so that equal folds make equal netlists
    words = [rng.getrandbits(width) for _ in range(f.depth)]
    contents = folder / "finn_mvu_weights.hex"
    contents.write_text("\n".join(f"{w:0{-(-width // 4)}x}" for w in words) + "\n")
    return (
        f"module finn_mvu_memstream (\n{_ports(f, bits)}\n);\n"
        f"    logic [{_bytes(width) - 1}:0] w;\n    logic w_valid, w_ready;\n"
        f'    memstream #(.SETS(1), .DEPTH({f.depth}), .WIDTH({width}), .INIT_FILE("{contents}")) memory (\n'
        "        .clk(ap_clk), .rst(!ap_rst_n), .config_ce(1'b0), .config_we(1'b0), .config_address('0),\n"
        "        .config_d0('0), .config_rack(), .config_q0(), .sidx('0), .svld(1'b0), .srdy(),\n"
        f"        .ordy(w_ready), .ovld(w_valid), .odat(w[{width - 1}:0]));\n"
        f"{_instance(f, bits)}endmodule\n"
    )


def _accumulator(f: FinnFold, bits: tuple[int, int]) -> int:
    """Signed bits of the sum of all products of a row."""
    return (f.mw << (sum(bits) - 2)).bit_length() + 1


def _bytes(width: int) -> int:
    return -(-width // 8) * 8
