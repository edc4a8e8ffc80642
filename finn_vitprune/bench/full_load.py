"""``python -m finn_vitprune.bench.full_load``: one load of a whole design over its bus, word by word against the back door.

The design is the load path alone: port, hops and memories of the real shapes, without what computes. After a load over
AXI4-Lite every memory is written out and compared with the file from which simulations fill it.
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import progress
from finn_vitprune.custom_ops.axilite import AXILITE, ports
from finn_vitprune.custom_ops.load_chain import CHAIN_BITS
from finn_vitprune.custom_ops.rtl_sources import rtl_sources
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.load_port import ADDRESS_BITS
from finn_vitprune.sim import BusPort, Port, Simulator, Stimulus, bus, compile_top
from finn_vitprune.sim.contents import Contents, Region, joined
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import Part, get_part
from finn_vitprune.transforms.insert_load_port import design_number
from finn_vitprune.transforms.plan import plan
from finn_vitprune.transforms.plan_options import PlanOptions

TOP = "load_only"
RESULT = "full_load.json"


@dataclass(frozen=True)
class FullLoad:
    """What one load showed: memory words compared, those that differ, clock cycles from reset to the open gate."""

    regions: int
    banks: int
    bits: int
    data_words: int
    memory_words: int
    differing: int
    cycles: int


def main(
    graph: Annotated[Path, typer.Argument(help="Hardware graph before folding, nodes specialised.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=f"Folder of {RESULT}.")],
    fpga_part: Annotated[str, typer.Option(help="Part or board that is planned for.")] = "U250",
    budget: Annotated[str, typer.Option(help="Shares of the part that the plan may use.")] = "LUT=0.7,DSP=0.85,BRAM=0.8,URAM=0.85",
) -> None:
    """Plan a network, load it over the bus, and compare every memory with the back door."""
    model = ModelWrapper(str(graph))
    write_plan(model, get_part(fpga_part), PlanOptions(budget=Budget.parse(budget), explain=False))
    contents = contents_of(model)
    result = compare(contents)
    write_json(output / RESULT, {"network": graph.stem.removesuffix("_hw"), "part": fpga_part, **asdict(result)}, indent=1)
    print(json.dumps(asdict(result)))
    raise typer.Exit(int(result.differing > 0))


def write_plan(model: ModelWrapper, part: Part, options: PlanOptions) -> None:
    """Write the plan of a hardware graph into it.

    Raises:
        UserError: no plan fits the part.
    """
    found, _ = plan(model, part, options, progress.status)
    if not found.fits:
        raise UserError(f"no plan of this network fits {part.name}: use a larger part or budget")
    found.write(model)


def contents_of(model: ModelWrapper) -> Contents:
    """What a planned graph is loaded with.

    Raises:
        UserError: the plan puts no weights where they are loaded.
    """
    parts = [part for node in model.graph.node if (part := getCustomOp(node).contents(model)) is not None]
    if not parts:
        raise UserError("nothing is loaded in this plan: it has no weights in UltraRAM")
    return joined(design_number(model), f"{AXILITE}_0", parts)


def compare(contents: Contents, stimulus: Stimulus = Stimulus()) -> FullLoad:
    """Load ``contents`` over the bus of a design of its regions, and compare with what the back door fills."""
    with tempfile.TemporaryDirectory(prefix="vitprune-load-") as name:
        folder = Path(name)
        simulator = _compiled(contents, folder)
        contents.fill(folder)
        beat = np.zeros((1, 1), np.uint8)
        progress.line(f"loading {len(contents.data)} words over the bus")
        result = simulator.run({"in0_V": beat}, {"out0_V": beat}, folder, stimulus, loads={AXILITE: bus.load(contents.words)})
        if not result.ok:
            raise UserError(f"the load does not end: {result.deadlock or result.violations}")
        files = [region.fill_file(i) for region in contents.regions for i in range(region.banks)]
        differing = sum(_differing(folder / file, folder / _dump(file)) for file in files)
        return FullLoad(
            regions=len(contents.regions), banks=len(files), bits=sum(r.banks * r.words * r.width for r in contents.regions),
            data_words=len(contents.data), memory_words=sum(r.banks * r.words for r in contents.regions), differing=differing,
            cycles=result.loads[AXILITE].cycles,
        )


def _compiled(contents: Contents, folder: Path) -> Simulator:
    top = folder / f"{TOP}.sv"
    write_text(top, top_text(contents))
    modules = ("vp_load_port", "vp_load_hop", "vp_loaded_ram", "vp_load_end")
    sources = dict.fromkeys(path for module in modules for path in rtl_sources(module))
    stream = [Port(f"{kind}0_V", 8) for kind in ("in", "out")]
    return compile_top(TOP, [*sources, top], stream[:1], stream[1:], loads=[BusPort(AXILITE, ADDRESS_BITS)])


def top_text(contents: Contents) -> str:
    """SystemVerilog of the load path of ``contents``; at the end of a simulation every memory is written to a file."""
    count = len(contents.regions)
    bind = ", ".join(f".{port.split()[-1]}" for port in ports(AXILITE, ADDRESS_BITS))
    declared = [
        "input wire ap_clk", "input wire ap_rst_n", "input wire [7:0] in0_V_tdata", "input wire in0_V_tvalid",
        "output wire in0_V_tready", "output wire [7:0] out0_V_tdata", "output wire out0_V_tvalid", "input wire out0_V_tready",
        *ports(AXILITE, ADDRESS_BITS),
    ]  # fmt: skip
    chain = [f"    wire [{CHAIN_BITS - 1}:0] load_{i};" for i in range(count + 2)]
    ends = [
        "    wire [7:0] data; wire valid, ready, left;",
        f"    vp_load_port #(.WIDTH(8), .BEATS(1), .WORDS({len(contents.data)}), .DESIGN(64'd{contents.design})) port (",
        "        .clk(ap_clk), .rst_n(ap_rst_n), .in0_tdata(in0_V_tdata), .in0_tvalid(in0_V_tvalid), .in0_tready(in0_V_tready),",
        f"        .out0_tdata(data), .out0_tvalid(valid), .out0_tready(ready), .load_in(load_{count + 1}), .load_out(load_0),",
        f"        .frame_left(left), .wrong_frames(0), {bind}",
        "    );",
        "    vp_load_end #(.WIDTH(8), .BEATS(1)) last (",
        "        .clk(ap_clk), .rst_n(ap_rst_n), .in0_tdata(data), .in0_tvalid(valid), .in0_tready(ready),",
        "        .out0_tdata(out0_V_tdata), .out0_tvalid(out0_V_tvalid), .out0_tready(out0_V_tready),",
        f"        .load_in(load_{count}), .load_out(load_{count + 1}), .frame_left(left)",
        "    );",
    ]
    body = [line for i, region in enumerate(contents.regions) for line in _region(i, region)]
    return "\n".join([f"module {TOP} (", "    " + ",\n    ".join(declared), ");", *chain, *ends, *body, "endmodule", ""])


def _region(i: int, region: Region) -> list[str]:
    """Hop and memories of region ``i``."""
    address = max(1, (region.words - 1).bit_length())
    lines = [
        f"    wire [{region.banks - 1}:0] we_{i}; wire [{address - 1}:0] addr_{i}; wire [{region.width - 1}:0] data_{i};",
        f"    vp_load_hop #(.BANKS({region.banks}), .DEPTH({region.words}), .WIDTH({region.width})) hop_{i} (",
        f"        .clk(ap_clk), .rst_n(ap_rst_n), .load_in(load_{i}), .load_out(load_{i + 1}), .we(we_{i}), .waddr(addr_{i}),",
        f"        .data(data_{i})",
        "    );",
    ]
    for bank in range(region.banks):
        name = f"ram_{i}_{bank}"
        lines += [
            f'    vp_loaded_ram #(.DEPTH({region.words}), .WIDTH({region.width}), .STYLE("ultra")) {name} (',
            f"        .clk(ap_clk), .we(we_{i}[{bank}]), .waddr(addr_{i}), .wdata(data_{i}), .re(1'b0), .raddr('0), .rdata()",
            "    );",
            f'    final $writememh("{_dump(region.fill_file(bank))}", {name}.g_whole.ram.mem);',
        ]
    return lines


def _dump(fill_file: str) -> str:
    return f"{fill_file}.loaded"


def _differing(filled: Path, loaded: Path) -> int:
    """Memory words that differ or lack."""
    words = ([line for line in path.read_text().split() if line[:1] not in "@/"] for path in (filled, loaded))
    return sum(a is None or b is None or int(a, 16) != int(b, 16) for a, b in zip_longest(*words))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    typer.run(main)
