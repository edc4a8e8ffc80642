"""Stitches the generated HDL of all nodes to one top with FINN's port names."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from onnx import NodeProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.stitched.edges import InEngine, StitchedEdge, stitched_edges
from finn_vitprune.builds.stitched.slr_constraints import slr_constraints
from finn_vitprune.built.record import DESIGN, need_design
from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.custom_ops.loading.frame_check import COUNT_BITS, LAST_PIN, WRONG_FRAMES
from finn_vitprune.custom_ops.op import axilite
from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.load_chain import chain_pins
from finn_vitprune.custom_ops.op.netlist import StitchedNet, StitchedPin, StitchedUnit, UnitNetlist, instance, unit_of
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, sha256, whole_file, write_json, write_text
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import CONTENTS, INDEX, Contents, joined

DSP_SIZE = 8
"""Size of a DSP slice in LUTs, for tools that simulate."""

TOP = "finn_design"
MONITORED_TOP = "finn_design_monitored"
"""What a stitched folder is described in."""
FORMAT = 5
"""Of ``design.json``; format 1 had no digests, format 2 no units, format 3 another limit of idle cycles, format 4 no engines."""
HOST = "host.onnx"
"""The parent graph, whose host nodes bring images into the accelerator's input order."""
LAST = "s_axis_0_tlast"
"""TLAST of the input of a design with a frame check. The monitored top has it in the byte above tdata, so that it is part of a beat."""
LAST_BITS = 8
CONSTRAINTS = "finn_slr.xdc"
"""Which unit stands in which SLR; only where the nodes say so."""


@dataclass(frozen=True)
class StitchedLoad:
    """The load port of the top: its node, the number of the design, how many data words it takes."""

    port: str
    node: str
    design: int
    words: int
    address_bits: int


@dataclass(frozen=True)
class StitchedDesign:
    """The stitched design in ``folder``: Verilog files in compile order, ports, units, internal edges, load images.

    ``units`` and ``edges`` have what is inside of engines in the place of these.

    ``silent_cycles``: the longest that a node may show nothing while it works, ``size`` the sum of :func:`unit_size`. ``digests``
    holds the SHA-256 of every file of the design, by its name: sources, tops, ROM files, what is loaded, host graph, constraints.
    ``frame_check``: the input has TLAST, and frames whose beats do not add up are counted.
    """

    folder: Path
    sources: list[str]
    input: Stream
    output: Stream
    units: list[StitchedUnit]
    edges: list[StitchedEdge]
    loads: list[StitchedLoad]
    silent_cycles: int
    size: int
    digests: dict[str, str]
    frame_check: bool = False

    @property
    def batch(self) -> int:
        """Frames that go through an engine together, at most."""
        return max((edge.inside.batch for edge in self.edges if edge.inside), default=1)

    @property
    def number(self) -> int:
        """What tells the design from others, 32 bits: the first four bytes of the SHA-256 over name and SHA-256 of each of its files, by name."""
        return int(_digest("".join(f"{name} {digest}\n" for name, digest in sorted(self.digests.items())))[:8], 16)

    def save(self) -> None:
        """Write ``design.json`` into the folder, so that later commands need no model."""
        data = {"format": FORMAT, **asdict(self)}
        del data["folder"]
        text = json.dumps(data, indent=1, default=lambda value: value.name)
        write_json(self.folder / DESIGN, json.loads(text) | {"digest": _digest(text)}, indent=1)

    @classmethod
    def load(cls, folder: Path) -> StitchedDesign:
        """Read what :meth:`save` wrote, and check the files; the folder may have been moved.

        Raises:
            UserError: there is no design, another version wrote it, or a file is missing or has changed.
        """
        path = need_design(folder)
        changed = "is not as the build wrote it: build again"
        try:
            data = read_json(path, "design")
            found, digest = data.pop("format", 1), data.pop("digest", "")
        except (UserError, TypeError, AttributeError):
            raise UserError(f"{path} {changed}") from None
        if found != FORMAT:
            raise UserError(f"{path} has format {found}, this version reads {FORMAT}: build again")
        if _digest(json.dumps({"format": found, **data}, indent=1)) != digest:
            raise UserError(f"{path} {changed}")
        for name, digest in data["digests"].items():
            if not (folder / name).is_file():
                raise UserError(f"{folder / name} is missing: build again")
            if sha256(folder / name) != digest:
                raise UserError(f"{folder / name} {changed}")
        edges = [_edge(**entry) for entry in data["edges"]]
        ports = [StitchedLoad(**entry) for entry in data["loads"]]
        streams = {name: _stream(data[name]) for name in ("input", "output")}
        units = [_unit(**entry) for entry in data["units"]]
        return cls(folder, **data | streams | {"units": units, "edges": edges, "loads": ports})

    def host(self) -> ModelWrapper:
        """The graph around the accelerator.

        Raises:
            UserError: the design was stitched without one.
        """
        if HOST not in self.digests:
            raise UserError(f"{self.folder} has no {HOST}: its builder kept no graph around the accelerator")
        return ModelWrapper(str(self.folder / HOST))

    def copy_contents(self, folder: Path) -> None:
        """Copy what is loaded to ``folder``, for the host; no folder where nothing is."""
        for name in (CONTENTS, INDEX):
            (folder / name).unlink(missing_ok=True)
            if self.loads:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, folder / name)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _stream(data: dict) -> Stream:
    return Stream(**{**data, "dtype": DataType[data["dtype"]]})


def _edge(stream: dict, inside: dict | None, **rest) -> StitchedEdge:
    return StitchedEdge(**rest, stream=_stream(stream), inside=inside and InEngine(**inside))


def unit_size(op: VitOp) -> int:
    """How large a unit is for tools: LUTs as estimated, and :data:`DSP_SIZE` for each DSP slice."""
    estimate = op.resources()
    return estimate.LUT + DSP_SIZE * estimate.DSP


def _unit(name: str, sources: list[str], inputs: list[dict], outputs: list[dict], pins: list[dict]) -> StitchedUnit:
    nets = ([StitchedNet(**net) for net in nets] for nets in (inputs, outputs))
    return StitchedUnit(name, sources, *nets, [StitchedPin(**pin) for pin in pins])


def stitched_units(model: ModelWrapper) -> list[StitchedUnit]:
    """The nodes, in graph order, an engine as one."""
    chain = chain_pins({node.name: getCustomOp(node).side_pins() for node in model.graph.node}, ring=True)
    return [unit_of(node, [_at_top(pin) for pin in chain[node.name]]) for node in model.graph.node]


def _at_top(pin: StitchedPin) -> StitchedPin:
    """``pin``, where it is TLAST of the input at the top's port."""
    return replace(pin, net=LAST) if pin.net == LAST_PIN else pin


def _units_of(node: NodeProto, unit: StitchedUnit) -> list[StitchedUnit]:
    """Those of an engine, or the node itself."""
    op = getCustomOp(node)
    return op.netlist.units if isinstance(op, VitEngine) else [unit]


def stitch(model: ModelWrapper, folder: Path, parent: ModelWrapper | None = None) -> StitchedDesign:
    """Copy the nodes' sources and ROM files to ``folder`` and write the plain and the monitored top.

    Args:
        model: all nodes are ``*_rtl`` with generated HDL, one input and one output stream.
        folder: holds everything that a simulation needs, and no ``design.json`` before the rest is there.
        parent: the graph around the accelerator, where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (DESIGN, CONSTRAINTS):
        (folder / name).unlink(missing_ok=True)
    ops = [getCustomOp(node) for node in model.graph.node]
    units = stitched_units(model)
    names = list(dict.fromkeys(name for unit in units for name in unit.sources))
    files = {*names, f"{TOP}.v", f"{MONITORED_TOP}.v"}
    generated: dict[str, Path] = {}
    for op in ops:
        contents = [p.name for p in op.hdl_folder().glob("*.hex")]
        files.update(contents)
        generated.update((name, op.hdl_folder() / name) for name in [*op.get_rtl_file_list(), *contents])
    for name, path in generated.items():
        shutil.copyfile(path, folder / name)
    ports = stitched_loads(model)
    for port in ports:
        parts = [Contents.load(op.hdl_folder()) for op in ops if op.loaded_regions()]
        joined(port.design, port.port, parts).save(folder)
        files.update((CONTENTS, INDEX))
    edges = stitched_edges(model)
    inside = {
        tensor: f"{instance(engine.onnx_node.name)}.{net}"
        for engine in engines_of(model)
        for tensor, (net, _) in engine.netlist.nets.items()
    }
    for top, monitored in ((TOP, []), (MONITORED_TOP, edges)):
        write_text(folder / f"{top}.v", _top_text(units, top, monitored, ports, inside))
    if constraints := slr_constraints(model, TOP):
        write_text(folder / CONSTRAINTS, constraints)
        files.add(CONSTRAINTS)
    if parent is not None:
        _save_host(parent, folder / HOST)
        files.add(HOST)
    everything = [str(folder / n) for n in [*names, f"{TOP}.v"]]
    write_text(folder / "all_verilog_srcs.txt", "\n".join(everything) + "\n")
    first = getCustomOp(model.find_consumer(model.graph.input[0].name)).in_streams()[0]
    last_node = model.find_producer(model.graph.output[0].name)
    last = getCustomOp(last_node).out_streams()[0]
    digests = {name: sha256(folder / name) for name in sorted(files)}
    alone = [inner for node, unit in zip(model.graph.node, units) for inner in _units_of(node, unit)]
    silent, size = max(op.silent_cycles() for op in ops), sum(map(unit_size, ops))
    checked = any(pin.net == LAST for unit in units for pin in unit.pins)
    design = StitchedDesign(folder, names, first, last, alone, edges, ports, silent, size, digests, checked)
    design.save()
    return design


def _save_host(parent: ModelWrapper, path: Path) -> None:
    """``parent`` without the place of its partition's file, which differs from folder to folder."""
    host = copy.deepcopy(parent)
    for node in host.get_nodes_by_op_type("StreamingDataflowPartition"):
        getCustomOp(node).set_nodeattr("model", "")
    with whole_file(path) as partial:
        host.save(str(partial))


def stitched_loads(model: ModelWrapper) -> list[StitchedLoad]:
    """The load port of the top, if there is one, with FINN's name.

    Raises:
        UserError: memories are to be loaded that the port does not count.
    """
    found = []
    words = sum(region.size for node in model.graph.node for region in getCustomOp(node).loaded_regions())
    for node in model.graph.node:
        op = getCustomOp(node)
        if bits := op.axilite_bits():
            found.append(StitchedLoad(f"{axilite.AXILITE}_0", node.name, op.get_nodeattr("design"), op.get_nodeattr("words"), bits))
    if words != sum(load.words for load in found):
        raise UserError(
            f"memories of {words} words are loaded and the load port takes {sum(load.words for load in found)}: "
            "step_insert_streams comes after all that sets ram_style and folding"
        )
    return found


def annotate(model: ModelWrapper, design: StitchedDesign, clk_ns: float) -> None:
    """Set the metadata by which FINN finds a stitched design (``exec_mode`` ``rtlsim``)."""
    names = {
        "clk": ["ap_clk"],
        "rst": ["ap_rst_n"],
        "aximm": [],
        "axilite": [load.port for load in design.loads],
        "s_axis": [("s_axis_0", design.input.tdata_bits)],
        "m_axis": [("m_axis_0", design.output.tdata_bits)],
        "ap_none": [WRONG_FRAMES] if design.frame_check else [],
    }
    model.set_metadata_prop("vivado_stitch_proj", str(design.folder))
    model.set_metadata_prop("wrapper_filename", str(design.folder / f"{TOP}.v"))
    model.set_metadata_prop("vivado_stitch_ifnames", str(names))
    model.set_metadata_prop("clk_ns", str(clk_ns))


def _top_text(
    units: list[StitchedUnit], top: str, monitored: list[StitchedEdge], loader_ports: list[StitchedLoad], inside: dict[str, str]
) -> str:
    """The Verilog of a top; ``inside``: nets in engines, by tensor."""
    netlist = UnitNetlist(units)
    nets = netlist.nets
    (source,), (sink,) = netlist.ends
    in_bits, out_bits = nets[source][1], nets[sink][1]
    checked = [pin.net for unit in units for pin in unit.pins if pin.net in (LAST, WRONG_FRAMES)]
    with_last = bool(checked and monitored)
    beat_bits = in_bits + LAST_BITS * with_last
    ports = [
        "input  wire ap_clk",
        "input  wire ap_rst_n",
        f"input  wire [{beat_bits - 1}:0] s_axis_0_tdata",
        "input  wire s_axis_0_tvalid",
        "output wire s_axis_0_tready",
        f"output wire [{out_bits - 1}:0] m_axis_0_tdata",
        "output wire m_axis_0_tvalid",
        "input  wire m_axis_0_tready",
    ]
    data = f"s_axis_0_tdata[{in_bits - 1}:0]" if with_last else ""
    body = [*netlist.declarations(checked), *netlist.joined_in(source, "s_axis_0", data), *netlist.joined_out(sink, "m_axis_0")]
    if checked:
        ports.append(f"output wire [{COUNT_BITS - 1}:0] {WRONG_FRAMES}")
        if with_last:
            body.append(f"    wire {LAST} = s_axis_0_tdata[{in_bits}];")
        else:
            ports.append(f"input  wire {LAST}")
    if monitored:
        count = len(monitored)
        bits = sum(e.stream.tdata_bits for e in monitored)
        ports += [
            f"output wire [{2 * count - 1}:0] mon_valid",
            f"output wire [{2 * count - 1}:0] mon_ready",
            f"output wire [{bits - 1}:0] tap_data",
        ]
        net_of = inside | {tensor: net for tensor, (net, _) in nets.items()}
        sides = [net_of[t] for e in monitored for t in (e.source_tensor, e.tensor)]
        for signal, port in (("tvalid", "mon_valid"), ("tready", "mon_ready")):
            body.append(f"    assign {port} = {{{', '.join(f'{n}_{signal}' for n in reversed(sides))}}};")
        taps = ", ".join(f"{net_of[e.tensor]}_tdata" for e in reversed(monitored))
        body.append(f"    assign tap_data = {{{taps}}};")
    ports += [text for load in loader_ports for text in axilite.ports(load.port, load.address_bits)]
    buses = {load.node: axilite.binds(axilite.AXILITE, load.port) for load in loader_ports}
    body += netlist.instances(buses)
    return (
        "// Stitched accelerator, generated by finn-vitprune\n"
        f"module {top} (\n    " + ",\n    ".join(ports) + "\n);\n" + "\n".join(body) + "\nendmodule\n"
    )
