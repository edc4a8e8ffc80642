"""Resources and timing of units in Yosys: arrays, what is around them, and weight memory.

A unit is synthesised as one array and the unit with its arrays as black boxes, and is the sum of the two, the
array as often as there are lanes. Arrays begin and end in registers, so that no logic is shared across; they
are the same for every keep rate, and the largest part of a unit by far.

Timing is an estimate before placement (docs/timing.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.bench.units import PART, Unit, build_node
from finn_vitprune.custom_ops.op.memory import URAM_BITS, rom_bram18, rom_luts
from finn_vitprune.custom_ops.op.rtl_backend import Memory, VitRTLBackend
from finn_vitprune.synth.resources import Resources, total
from finn_vitprune.synth.timing import Timing, estimate
from finn_vitprune.synth.yosys import Netlist

TIMEOUT_S = 4 * 3600.0
BRAM36_BITS = 36 * 1024
LUT_BITS = 64
"""Bits of a ROM that a LUT holds."""

MAC, ARRAY, BOX = "vp_mac", "vp_bench_array", "vp_bench_box"
"""Module of the arrays in a unit; top that holds an array alone; what stands for an array."""

TAG_BITS = 4
"""Bits that travel beside the operands of an array, as vp_mvau_lane has it."""


def joined(around: Netlist, array: Netlist, lanes: int) -> tuple[Resources, Timing]:
    """A unit: what is around its arrays, with ``lanes`` times ``array`` in place of the black boxes."""
    whole = around.wiring().with_parts({BOX: array.wiring()})
    return total([around.resources, *[array.resources] * lanes]), estimate(whole)


@dataclass(frozen=True)
class Cost:
    """A netlist with the names of the benchmark's rows.

    ``lut`` are LUTs used as logic, ``lut_sites`` all. ``ns_low``, ``ns_taken`` and ``ns_high`` are the slowest path by the sets of
    constants (docs/timing.md), ``depth_lut`` the most levels of LUTs, ``depth_carry`` with carries, ``widest`` the loads of the
    widest net.
    """

    dsp: int
    lut: int
    lutram_sites: int
    srl: int
    lut_sites: int
    ff: int
    bram36: float
    uram: int
    depth_lut: int
    depth_carry: int
    ns_low: float
    ns_taken: float
    ns_high: float
    widest: int

    @classmethod
    def of(cls, r: Resources, timing: Timing) -> Cost:
        return cls(
            dsp=r.DSP,
            lut=r.LUT - r.LUTRAM - r.SRL,
            lutram_sites=r.LUTRAM,
            srl=r.SRL,
            lut_sites=r.LUT,
            ff=r.FF,
            bram36=r.BRAM36,
            uram=r.URAM,
            depth_lut=timing.levels,
            depth_carry=timing.carry_levels,
            ns_low=timing.low,
            ns_taken=timing.taken,
            ns_high=timing.high,
            widest=timing.widest,
        )

    @classmethod
    def of_netlist(cls, netlist: Netlist) -> Cost:
        return cls.of(netlist.resources, netlist.timing)


@dataclass(frozen=True)
class UnitEstimate:
    """What the op says it occupies."""

    dsp: int
    lut_sites: int
    bram36: float
    uram: int

    @classmethod
    def of(cls, op: VitRTLBackend) -> UnitEstimate:
        return cls(
            dsp=int(op.dsp_estimation(PART)),
            lut_sites=int(op.lut_estimation(PART)),
            bram36=op.bram_estimation(PART) / 2,
            uram=int(op.uram_estimation(PART)),
        )


@dataclass(frozen=True)
class WeightMemory:
    """Weights of the kept blocks and where they are.

    Attributes:
        weight_bits: kept weights times their width. index_bits: programs of lanes and of the drain.
        memory_bits: capacity of the block RAMs (UltraRAMs, LUTs) that hold the weights. memory_bram36: these
            block RAMs.
    """

    weight_bits: int
    index_bits: int
    memory_bits: int
    memory_bram36: float


def unit_op(unit: Unit, fold: dict[str, int], kept: list[int], lane_slots: int):
    """``(op, model)`` of a unit with ``kept`` blocks by column and room for ``lane_slots`` parts a lane."""
    mask = np.arange(unit.grid[0])[:, None] < np.asarray(kept)
    rng = np.random.default_rng(0)
    attributes = unit.attributes(fold, column_blocks=kept, lane_slots=lane_slots)
    return build_node("BlockSparseMVAU", attributes, [unit.weights(mask, rng), *unit.constants(rng)])


def sources(op: VitRTLBackend, model, folder: Path) -> tuple[Path, ...]:
    """HDL of an op in ``folder``, leaves first."""
    folder.mkdir(parents=True, exist_ok=True)
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, "", 0.0)
    return tuple(Path(f) for f in op.get_rtl_file_list(abspath=True))


def array_source(op: VitRTLBackend, folder: Path) -> Path:
    """A top :data:`ARRAY` that holds one lane's multiply-accumulate array and nothing else."""
    p = op.rtl_parameters()
    path = folder / f"{ARRAY}.sv"
    path.write_text(f"""module {ARRAY} ({_array_ports(p, TAG_BITS)});
    vp_mac #(
        .MAC_STYLE("{p["MAC_STYLE"]}"), .LATENCY({p["MAC_LATENCY"]}), .CHAIN({p["MAC_CHAIN"]}),
        .TOKENS_PER({p["MAC_TOKENS"]}), .OUTPUTS_PER({p["MAC_OUTPUTS"]}), .TOKENS({p["TOKENS"]}), .SIMD({p["SIMD"]}),
        .PE({p["PE"]}), .X_BITS({p["X_BITS"]}), .X_SIGNED(1'b{p["X_SIGNED"]}), .W_BITS({p["W_BITS"]}),
        .ACC_BITS({p["ACC_BITS"]}), .TAG_BITS({TAG_BITS})
    ) mac (.*);
endmodule
""")
    return path


def boxed(op: VitRTLBackend, files: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The sources of a unit with its arrays as black boxes :data:`BOX`."""
    [mac] = [path for path in files if path.stem == MAC]
    text = mac.read_text()
    header = text[text.index(f"module {MAC}") : text.index(");\n", text.index(") (")) + 3]
    box = folder / f"{BOX}.sv"
    box.write_text(
        f"(* blackbox *)\nmodule {BOX} ({_array_ports(op.rtl_parameters(), TAG_BITS)});\nendmodule\n"
        f"{header}    {BOX} box (.*);\nendmodule\n"
    )
    return (box, *(path for path in files if not path.stem.startswith((MAC, "vp_dsp48e2"))))


def _array_ports(p: dict[str, int | str], tag_bits: int) -> str:
    """Ports of an array of a unit with parameters ``p``."""
    tokens, simd, pe, acc = (p[name] for name in ("TOKENS", "SIMD", "PE", "ACC_BITS"))
    return f"""
    input wire clk, rst_n, first,
    input wire [{tokens * simd * p["X_BITS"] - 1}:0] x,
    input wire [{pe * simd * p["W_BITS"] - 1}:0] w,
    input wire [{tag_bits - 1}:0] tag,
    output wire [{tokens * pe * acc - 1}:0] acc,
    output wire [{tag_bits - 1}:0] tag_out
"""


def weight_memory(op: VitRTLBackend, model) -> WeightMemory:
    """The unit's weight memories: bits needed, and the block RAMs, UltraRAMs or LUTs that hold them."""
    memories = op.memories(model)
    weights = [m for name, m in memories.items() if name.startswith("weights")]
    bits = DataType[op.get_nodeattr("weightDataType")].bitwidth()
    style = op.rtl_parameters()["W_STYLE"]
    bram36 = sum(rom_bram18(*_shape(m), style) for m in weights) / 2
    luts = 0 if bram36 else sum(rom_luts(*_shape(m), style) for m in weights)
    return WeightMemory(
        weight_bits=op.param_counts()["weights"] * bits,
        index_bits=sum(math.prod(_shape(memories[name])) for name in ("program", "drain")),
        memory_bits=int(bram36 * BRAM36_BITS) + luts * LUT_BITS + int(op.uram_estimation(PART)) * URAM_BITS,
        memory_bram36=bram36,
    )


def _shape(memory: Memory) -> tuple[int, int]:
    return len(memory.words), memory.width
