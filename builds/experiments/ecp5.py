"""Places and routes a unit on a Lattice ECP5 with Yosys and nextpnr, to compare estimates of timing with a router.

The part is another than those that the units are made for: what counts is the order of the units, not their periods. Inputs
come from a shift register and outputs go into a register and a ring of exclusive ors with one gate a stage, so that four pins
do for any unit and no path but the unit's own is long.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builds.experiments import timing_ecp5
from finn_vitprune import cache
from finn_vitprune.boards.place import LATTICE
from finn_vitprune.boards.tools import RouteError, program
from finn_vitprune.synth import yosys
from finn_vitprune.synth.timing import Timing
from finn_vitprune.synth.tool import failure
from finn_vitprune.synth.wiring import Wiring, readable

TOP = "vp_route_top"
"""The module around a unit."""
ROUTER = "nextpnr-ecp5"
DEVICE = "LFE5UM5G-85F, speed grade 8, CABGA756"
_OPTIONS = (
    "--um5g-85k --package CABGA756 --speed 8 --freq 300 --router router1 --seed 1 --timing-allow-fail --lpf-allow-unconstrained"
).split()
_SYNTH = (
    f"synth_lattice -family ecp5 -top {TOP} -run begin:check", *LATTICE, "write_json netlist.json",
)  # fmt: skip
TIMEOUT_S = 7200.0


@dataclass(frozen=True)
class Ports:
    """Ports of a unit beside ``ap_clk`` and ``ap_rst_n``: name and bits of inputs and of outputs."""

    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RouteJob:
    """A unit: its module, its sources in compile order, its ports."""

    top: str
    sources: tuple[Path, ...]
    ports: Ports


@dataclass(frozen=True)
class Routed:
    """A routed unit.

    Attributes:
        comb, ff, mult18, ebr: cells that are used, those of the harness included. mhz: of the routed clock. start, end: of the
            slowest path, the first and the last net of it that the sources name. logic_ns, routing_ns: its parts.
            estimate: of the same netlist.
    """

    comb: int
    ff: int
    mult18: int
    ebr: int
    mhz: float
    start: str
    end: str
    logic_ns: float
    routing_ns: float
    estimate: Timing


def harness(job: RouteJob) -> str:
    """Verilog of the unit between a shift register and a ring."""
    bits_in, bits_out = (sum(bits for _, bits in ports) for ports in (job.ports.inputs, job.ports.outputs))
    pins = [".ap_clk(clk)", ".ap_rst_n(rst_q)", *_bound("shift_q", job.ports.inputs), *_bound("y", job.ports.outputs)]
    return f"""module {TOP} (input wire clk, input wire rst_n, input wire si, output wire so);
    reg rst_q;
    reg [{bits_in - 1}:0] shift_q;
    wire [{bits_out - 1}:0] y;
    reg [{bits_out - 1}:0] y_q, ring_q;
    always @(posedge clk) begin
        rst_q   <= rst_n;
        shift_q <= {{shift_q, si}};
        y_q     <= y;
        ring_q  <= {{ring_q, ring_q[{bits_out - 1}]}} ^ y_q;
    end
    assign so = ring_q[{bits_out - 1}];
    {job.top} unit ({", ".join(pins)});
endmodule
"""


def _bound(vector: str, ports: Sequence[tuple[str, int]]) -> list[str]:
    bound, at = [], 0
    for name, bits in ports:
        bound.append(f".{name}({vector}[{at + bits - 1}:{at}])")
        at += bits
    return bound


def route(job: RouteJob, timeout_s: float = TIMEOUT_S) -> Routed:
    """Route a unit, or take it from the cache.

    Args:
        timeout_s: seconds that Yosys, and that nextpnr may take.
    Raises:
        RouteError: Yosys or nextpnr fails, the unit is too large for the part, or one takes too long.
        UserError: there is no nextpnr.
    """
    router = program(ROUTER)
    text = harness(job)

    def make(folder: Path) -> None:
        (folder / "harness.v").write_text(text)
        sources = " ".join(yosys.quote(s.resolve()) for s in job.sources)
        read = f"read_slang --keep-hierarchy -D VP_YOSYS --top {TOP} {sources} harness.v"
        (folder / "commands.ys").write_text("\n".join((read, *_SYNTH)))
        nextpnr = [router.path, *_OPTIONS, "--json", "netlist.json", "--report", "report.json"]
        for name, command in (("Yosys", yosys.run_script()), ("nextpnr", nextpnr)):
            if reason := failure(name, command, folder / f"{name.lower()}.log", timeout_s):
                raise RouteError(f"{job.top}: {reason}")

    key = hashlib.sha256(repr((yosys.yosys_version(), router.version, _OPTIONS, _SYNTH, text)).encode())
    for source in job.sources:
        key.update(source.read_bytes())
    folder = cache.entry(f"route/{key.hexdigest()[:32]}", make)
    report = json.loads((folder / "report.json").read_text())
    return _routed(report, timing_ecp5.estimate(Wiring.from_json(json.loads((folder / "netlist.json").read_text()))))


def _routed(report: dict, estimate: Timing) -> Routed:
    [clock] = report["fmax"].values()
    used = {name: cells["used"] for name, cells in report["utilization"].items()}
    path = next(p["path"] for p in report["critical_paths"] if p["from"] == p["to"])
    wires = [step for step in path if step["type"] == "routing"]
    routing = sum(step["delay"] for step in wires)
    last = next((w["net"] for w in reversed(wires[1:]) if not w["net"].startswith("$")), "$")
    return Routed(
        comb=used["TRELLIS_COMB"], ff=used["TRELLIS_FF"], mult18=used["MULT18X18D"], ebr=used["DP16KD"],
        mhz=round(clock["achieved"], 1), start=_label(wires[0]["net"], wires[0]["from"]["cell"]),
        end=_label(last, wires[-1]["to"]["cell"]), logic_ns=round(sum(step["delay"] for step in path) - routing, 3),
        routing_ns=round(routing, 3), estimate=estimate,
    )  # fmt: skip


def _label(net: str, cell: str) -> str:
    """The name of a net of the sources, else where the cell at it is."""
    return (net if not net.startswith("$") else readable(cell) or "logic").removeprefix("unit.")
