"""Units placed and routed on a Lattice ECP5, beside the estimates of their timing.

``python -m finn_vitprune.bench.route -o builds/results/route [UNIT...]``
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from qonnx.core.modelwrapper import ModelWrapper
from scipy.stats import spearmanr

from finn_vitprune import progress
from finn_vitprune.bench.large_units import Made, attention, matrix
from finn_vitprune.bench.resources import sources
from finn_vitprune.bench.timing import UNITS as TIMED_UNITS
from finn_vitprune.bench.timing import drop, lookup, norm, requant, stream
from finn_vitprune.bench.units import node
from finn_vitprune.builds.stitch import StitchedDesign
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.rtl_sources import RTL_DIR
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_json, write_text
from finn_vitprune.report.tables import TextTable, to_markdown
from finn_vitprune.sim.toolchain import digest
from finn_vitprune.synth.route import DEVICE, TOP, Ports, Routed, RouteError, RouteJob, harness, program, route
from finn_vitprune.synth.timing import Timing
from finn_vitprune.synth.yosys import NodeJob, map_node, yosys_version
from finn_vitprune.transforms.node_names import node_names

UNITS: dict[str, Made] = {
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
}
"""Those of the timing table that fit, and others as small."""
TITLE = "Units on a Lattice ECP5, routed and estimated"
TEXT = f"""Yosys and nextpnr place and route each unit for {DEVICE}, between a shift register and a ring of registers, target 300 MHz,
one seed. MHz and ns: of the router. ECP5, ns: the estimate of the same netlist; UltraScale+, ns: that of the netlist that
`build` looks at, with its LUT levels and widest net. All estimates by the taken constants (`docs/timing.md`). The part is
another, and its multipliers say nothing of a DSP48E2: the table says how well estimates order units, no more.

```
{{command}}
```
"""


@dataclass(frozen=True)
class RoutedUnit:
    """A unit as it was routed, the timing of its UltraScale+ netlist, and the digest of the RTL (:func:`rtl_digest`)."""

    routed: Routed
    ultrascale: Timing
    rtl: str


_ROWS = TypeAdapter(dict[str, RoutedUnit])


def main(
    units: Annotated[list[str] | None, typer.Argument(help="Only units whose name holds one of these texts.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o")] = Path("builds/results/route"),
    build: Annotated[Path | None, typer.Option(help="A build of which an encoder is routed, too.")] = None,
    encoder: Annotated[int, typer.Option(min=1, help="Which encoder of it.")] = 1,
    before: Annotated[Path | None, typer.Option(help="results.json of other RTL, shown beside.")] = None,
) -> None:
    """Route units and write the table."""
    path = output / "results.json"
    rtl = rtl_digest()
    found = _ROWS.validate_json(path.read_bytes()) if path.exists() else {}
    found = {name: row for name, row in found.items() if row.rtl == rtl}
    earlier = _ROWS.validate_json(before.read_bytes()) if before else {}
    wanted = [name for name in UNITS if any(text in name for text in units or [""])]
    if not wanted:
        raise UserError(f"no unit has {' or '.join(units)} in its name: there are {', '.join(UNITS)}")
    command = f"python -m finn_vitprune.bench.route -o {output}" + (f" --before {before}" if before else "")
    command += f" --build {build} --encoder {encoder}" if build else ""
    with tempfile.TemporaryDirectory(prefix="vitprune_route_") as name:
        folder = Path(name)
        jobs = {unit: (lambda unit=unit: _unit_job(unit, folder)) for unit in wanted}
        if build:
            jobs[f"encoder {encoder} of {build.name}"] = lambda: encoder_job(build, encoder, folder)
        for unit, job in jobs.items():
            progress.status(unit)
            try:
                found[unit] = _routed(job(), folder, rtl)
            except RouteError as error:
                progress.line(str(error))
                continue
            row = found[unit]
            progress.line(f"{unit}: {row.routed.mhz:.0f} MHz, {1000 / row.routed.mhz:.2f} ns routed, {row.ultrascale.taken:.2f} estimated")
            order = [*UNITS, *(name for name in found if name not in UNITS)]
            found = {name: found[name] for name in order if name in found}
            write_json(path, _ROWS.dump_python(found, mode="json"), indent=1)
            write_text(output / "RESULTS.md", page(found, earlier, command))


def _unit_job(unit: str, folder: Path) -> RouteJob:
    op, model = node(*UNITS[unit])
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


def encoder_job(build: Path, encoder: int, folder: Path) -> RouteJob:
    """An encoder of a stitched design: its units with the streams between them, the others as ports.

    Raises:
        UserError: the build does not have the encoder, or the encoder has a load chain.
    """
    design = StitchedDesign.load(build / "stitched_ip")
    model = ModelWrapper(str(build / "intermediate_models" / "step_stitch.onnx"))
    inside = {name for name, layer in node_names(model).items() if layer.encoder == encoder}
    units = [unit for unit in design.units if unit.name in inside]
    if not units or any(unit.pins for unit in units):
        raise UserError(f"{build} has no encoder {encoder}" if not units else f"encoder {encoder} of {build} has a load chain")
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


def _routed(job: RouteJob, folder: Path, rtl: str) -> RoutedUnit:
    routed = route(job)
    around = folder / f"{TOP}.v"
    around.write_text(harness(job))
    timing = map_node(NodeJob(TOP, (*job.sources, around))).timing
    return RoutedUnit(replace(routed, estimate=_short(routed.estimate)), _short(timing), rtl)


def _short(timing: Timing) -> Timing:
    """Without the counts of all ends."""
    return replace(timing, ends={}, high_ends={})


def rank_correlations(found: dict[str, RoutedUnit]) -> dict[str, float]:
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


def _rank_table(found: dict[str, RoutedUnit]) -> TextTable:
    """Rank correlations of all units, and apart of those with and without multipliers: multipliers of the ECP5 are slow and unregistered."""
    without = {name: row for name, row in found.items() if not row.routed.mult18}
    groups = {"all": found, "without multipliers": without, "with multipliers": {n: row for n, row in found.items() if n not in without}}
    ranks = {f"{name} ({len(rows)})": rank_correlations(rows) for name, rows in groups.items() if len(rows) > 2}
    measures = next(iter(ranks.values()))
    rows = tuple((measure, *(f"{found[measure]:.2f}" for found in ranks.values())) for measure in measures)
    return TextTable("Spearman's rank correlation with the routed period", ("measure", *ranks), rows)


def page(found: dict[str, RoutedUnit], before: dict[str, RoutedUnit], command: str) -> str:
    """The table of units, and how well estimates order them."""
    columns = ["unit", "COMB", "FF", "MULT18", "EBR", *["MHz before"] * bool(before), "MHz", "ns", "ECP5, ns",
               "UltraScale+, ns", "levels", "widest", "slowest path, routed", "logic / wires, ns"]  # fmt: skip
    rows = []
    for name, unit in found.items():
        r, u = unit.routed, unit.ultrascale
        was = (f"{before[name].routed.mhz:.0f}" if name in before else "-",) * bool(before)
        rows.append((
            name.removeprefix("small: "), f"{r.comb:,}", f"{r.ff:,}", str(r.mult18), str(r.ebr), *was, f"{r.mhz:.0f}",
            f"{1000 / r.mhz:.2f}", f"{r.estimate.taken:.2f}", f"{u.taken:.2f}", str(u.levels), f"{u.widest:,}",
            f"{r.start} to {r.end}", f"{r.logic_ns:.2f} / {r.routing_ns:.2f}",
        ))  # fmt: skip
    tables = [TextTable("Units", tuple(columns), tuple(rows))]
    if len(found) > 2:
        tables.append(_rank_table(found))
    return to_markdown(f"{TITLE} ({yosys_version()}, nextpnr {program()[1]})", TEXT.format(command=command), tables)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    typer.run(main)
