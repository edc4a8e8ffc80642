"""Units placed and routed on a Lattice ECP5, beside the estimates of their timing.

``make route`` builds the design of which an encoder is routed too, and runs ``python -m builds.experiments.route``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from qonnx.core.modelwrapper import ModelWrapper
from scipy.stats import spearmanr

from builds.experiments.ecp5 import DEVICE, ROUTER, TOP, Ports, Routed, RouteJob, harness, route
from builds.experiments.study import Only, Output, Study, start
from builds.experiments.timing_units import UNITS as TIMED_UNITS
from builds.experiments.timing_units import Made, attention, drop, lookup, matrix, norm, requant, stream
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.units import build_node
from finn_vitprune.boards.tools import RouteError, program
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.op.rtl_sources import RTL_DIR
from finn_vitprune.errors import UserError
from finn_vitprune.report.tables import TextTable
from finn_vitprune.sim.toolchain import digest
from finn_vitprune.synth.timing import Timing
from finn_vitprune.synth.yosys import NodeJob, map_node, yosys_version
from finn_vitprune.transforms.streams.node_names import node_names


@dataclass(frozen=True)
class Encoder:
    """An encoder of a build."""

    build: Path
    number: int


UNITS: dict[str, Made | Encoder] = {
    **{name: made for name, made in TIMED_UNITS.items() if name.startswith("small: ")},
    "small: FIFO 2,048 x 64 bits, block RAM": TIMED_UNITS["FIFO 2,048 x 64 bits, block RAM"],
    "small: add, 16 bits, SIMD 8": TIMED_UNITS["add, 16 bits, SIMD 8"],
    "small: lookup, 8 to 8 bits, SIMD 16": lookup(16),
    "small: requant 48, 24 to 8 bits, SIMD 2": requant(2, 48),
    "small: LayerNorm 17x48, SIMD 2": norm(17, 48, 2, 2),
    "small: token drop 17x48, SIMD 4, k 12": drop(17, 48, 4, 12, 2),
    "small: width, 8 bits, 6 to 4": stream("VitWidthConverter", 6, "INT8", in_simd=6, out_simd=4),
    "small: attention 17x2x8, SIMD 4, PE 2": attention(4, 2, "auto", tokens=17, heads=2, head_dim=8),
    "small: matrix 48x48 b8, 1x4x4x1, 4 bits, lut": matrix(48, 48, (1, 4, 4, 1), "lut", "auto", 4, block=8),
    "encoder 1 of route": Encoder(Path("build/route"), 1),
}
"""Those of the timing table that fit, others as small, and an encoder of the digits example."""
TITLE = "Units on a Lattice ECP5, routed and estimated"
TEXT = f"""Yosys and nextpnr place and route each unit for {DEVICE}, between a shift register and a ring of registers, \
target 300 MHz,
one seed. MHz and ns: of the router. ECP5, ns: the estimate of the same netlist; UltraScale+, ns: that of the netlist that
`build` looks at, with its LUT levels and widest net. All estimates by the taken constants (`docs/timing.md`). The part is
another, and its multipliers say nothing of a DSP48E2: the table says how well estimates order units, no more.

```
make route
```
"""


@dataclass(frozen=True)
class RoutedUnit:
    """A unit as it was routed, the timing of its UltraScale+ netlist, and the digest of the RTL (:func:`rtl_digest`)."""

    routed: Routed
    ultrascale: Timing
    rtl: str


def main(output: Output = Path("builds/results/route"), only: Only = None) -> None:
    """Route units and write the table."""
    study().go(output, only)


def study(units: Mapping[str, Made | Encoder] = UNITS) -> Study[Made | Encoder, RoutedUnit]:
    """Units by name; a row holds for the same RTL."""
    rtl, version = rtl_digest(), program(ROUTER).version.removeprefix("nextpnr-")
    return Study(
        units, RoutedUnit, lambda unit: routed(unit, rtl), tables, f"{TITLE} ({yosys_version()}, nextpnr {version})", TEXT,
        lambda row: f"{row.routed.mhz:.0f} MHz, {1000 / row.routed.mhz:.2f} ns routed, {row.ultrascale.taken:.2f} estimated",
        lambda _, row: row.rtl == rtl, (RouteError,),
    )  # fmt: skip


def job_of(unit: Made | Encoder, folder: Path) -> RouteJob:
    """The sources of a unit in a folder, and its ports."""
    if isinstance(unit, Encoder):
        return encoder_job(unit, folder)
    op, model = build_node(*unit)
    return RouteJob(op.onnx_node.name, tuple(sources(op, model, folder)), ports_of(op))


def ports_of(op: VitRTLBackend) -> Ports:
    """The ports of a node's wrapper."""
    forth, back = ([], [])
    for kind, streams, there, here in (("in", op.in_streams(), forth, back), ("out", op.out_streams(), back, forth)):
        for i, of in enumerate(streams):
            there += [(f"{kind}{i}_V_tdata", of.tdata_bits), (f"{kind}{i}_V_tvalid", 1)]
            here.append((f"{kind}{i}_V_tready", 1))
    if op.axilite_bits():
        raise UserError(f"{op.onnx_node.name} has a bus: route a unit without one")
    for pin in op.side_pins():
        (forth if pin.way.strip() == "input" else back).append((pin.name, pin.bits))
    return Ports(tuple(forth), tuple(back))


def encoder_job(encoder: Encoder, folder: Path) -> RouteJob:
    """An encoder of a stitched design: its units with the streams between them, the others as ports.

    Raises:
        RouteError: there is no such build, it does not have the encoder, or the encoder has a load chain.
    """
    build, number = encoder.build, encoder.number
    if not (build / "stitched_ip").is_dir():
        raise RouteError(f"{build} holds no design: make route builds it")
    design = StitchedDesign.load(build / "stitched_ip")
    model = ModelWrapper(str(build / "intermediate_models" / "step_stitch.onnx"))
    inside = {name for name, layer in node_names(model).items() if layer.encoder == number}
    units = [unit for unit in design.units if unit.name in inside]
    if not units or any(unit.pins for unit in units):
        raise RouteError(f"{build} has no encoder {number}" if not units else f"encoder {number} of {build} has a load chain")
    nets = {net.tensor: net.bits for unit in units for net in (*unit.inputs, *unit.outputs)}
    place = {tensor: f"net{i}" for i, tensor in enumerate(nets)}
    made, taken = ({net.tensor for unit in units for net in getattr(unit, way)} for way in ("outputs", "inputs"))
    forth, back, inner, body = [], [], [], []
    for tensor, bits in nets.items():
        names = [(f"{place[tensor]}_tdata", bits), (f"{place[tensor]}_tvalid", 1)]
        ready = (f"{place[tensor]}_tready", 1)
        if tensor in made and tensor in taken:
            inner += [*names, ready]
        else:
            (back if tensor in made else forth).extend(names)
            (forth if tensor in made else back).append(ready)
    for unit in units:
        pins = [".ap_clk(ap_clk)", ".ap_rst_n(ap_rst_n)"]
        for kind, ports in (("in", unit.inputs), ("out", unit.outputs)):
            pins += [
                f".{kind}{i}_V_{signal}({place[net.tensor]}_{signal})"
                for i, net in enumerate(ports) for signal in ("tdata", "tvalid", "tready")
            ]  # fmt: skip
        body.append(f"    {unit.name} {unit.name} ({', '.join(pins)});")
    declared = ["input wire ap_clk", "input wire ap_rst_n", *_declared("input", forth), *_declared("output", back)]
    wires = [f"    {text};" for text in _declared("", inner)]
    top = folder / "vp_encoder.v"
    top.write_text("\n".join([f"module vp_encoder ({', '.join(declared)});", *wires, *body, "endmodule", ""]))
    files = dict.fromkeys(design.folder / source for unit in units for source in unit.sources)
    return RouteJob("vp_encoder", (*files, top), Ports(tuple(forth), tuple(back)))


def _declared(way: str, ports: Sequence[tuple[str, int]]) -> list[str]:
    return [f"{way} wire [{bits - 1}:0] {name}".strip() for name, bits in ports]


def rtl_digest() -> str:
    """Digest of all RTL sources: rows of other RTL are not shown beside those of this one."""
    return digest(*(path.read_bytes() for path in sorted(RTL_DIR.rglob("*.sv"))))


def routed(unit: Made | Encoder, rtl: str) -> RoutedUnit:
    """Route a unit, and estimate its timing on UltraScale+."""
    with tempfile.TemporaryDirectory(prefix="vitprune_route_") as name:
        folder = Path(name)
        job = job_of(unit, folder)
        found = route(job)
        around = folder / f"{TOP}.v"
        around.write_text(harness(job))
        timing = map_node(NodeJob(TOP, (*job.sources, around))).timing
        return RoutedUnit(replace(found, estimate=_short(found.estimate)), _short(timing), rtl)


def _short(timing: Timing) -> Timing:
    """Without the counts of all ends."""
    return replace(timing, ends={}, high_ends={})


def rank_correlations(found: Mapping[str, RoutedUnit]) -> dict[str, float]:
    """Spearman's rank correlation of the routed period with estimates, levels and the widest net."""
    rows = list(found.values())
    routed = [-row.routed.mhz for row in rows]
    measures = {
        "estimate of the ECP5 netlist": [row.routed.estimate.taken for row in rows],
        "estimate of the UltraScale+ netlist": [row.ultrascale.taken for row in rows],
        "LUT levels (UltraScale+)": [row.ultrascale.levels for row in rows],
        "loads of the widest net (UltraScale+)": [row.ultrascale.widest for row in rows],
    }  # fmt: skip
    return {name: float(spearmanr(routed, values).statistic) for name, values in measures.items()}


def _rank_table(found: Mapping[str, RoutedUnit]) -> TextTable:
    """Rank correlations of all units, and of those with and without multipliers, which are slow and unregistered on the ECP5."""
    without = {name: row for name, row in found.items() if not row.routed.mult18}
    others = {name: row for name, row in found.items() if name not in without}
    groups = {"all": found, "without multipliers": without, "with multipliers": others}
    ranks = {f"{name} ({len(rows)})": rank_correlations(rows) for name, rows in groups.items() if len(rows) > 2}
    measures = next(iter(ranks.values()))
    rows = tuple((measure, *(f"{found[measure]:.2f}" for found in ranks.values())) for measure in measures)
    return TextTable("Spearman's rank correlation with the routed period", ("measure", *ranks), rows)


def tables(found: Mapping[str, RoutedUnit]) -> list[TextTable]:
    """Units, and how well estimates order them."""
    columns = ("unit", "COMB", "FF", "MULT18", "EBR", "MHz", "ns", "ECP5, ns", "UltraScale+, ns", "levels", "widest",
               "slowest path, routed", "logic / wires, ns")  # fmt: skip
    rows = tuple(
        (
            name.removeprefix("small: "), f"{r.comb:,}", f"{r.ff:,}", str(r.mult18), str(r.ebr), f"{r.mhz:.0f}",
            f"{1000 / r.mhz:.2f}", f"{r.estimate.taken:.2f}", f"{u.taken:.2f}", str(u.levels), f"{u.widest:,}",
            f"{r.start} to {r.end}", f"{r.logic_ns:.2f} / {r.routing_ns:.2f}",
        )
        for name, r, u in ((name, unit.routed, unit.ultrascale) for name, unit in found.items())
    )  # fmt: skip
    return [TextTable("Units", columns, rows), *([_rank_table(found)] if len(found) > 2 else [])]


if __name__ == "__main__":
    start(lambda: typer.run(main))
