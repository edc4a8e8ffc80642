"""An engine: encoders that run one after another on one unit of each role, as one node of FINN's graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import GraphProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.times import EngineTimes, UnitPass, engine_cycles, lone_times
from finn_vitprune.custom_ops.op.base import VitOp, divisors
from finn_vitprune.custom_ops.op.folding import Folding
from finn_vitprune.custom_ops.op.load_chain import LOAD_IN, LOAD_OUT, LoadChainBackend, chain_pins
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.netlist import UnitNetlist, instance, unit_of
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.errors import UserError
from finn_vitprune.files import write_text
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import CHAIN, Contents, Region, joined

SOURCE, SINK = "engine_in", "engine_out"
"""The tensors outside, as ``units`` calls them."""


@dataclass(frozen=True)
class EngineFolding(Folding):
    """An engine with its units as they are: what they take together, and the cycles of a frame."""

    name: str
    interval: int
    taken: Estimate
    held: tuple[UnitMemory, ...]
    engine: VitEngine = field(compare=False, repr=False)

    @property
    def cycles(self) -> int:
        return self.interval

    @property
    def resources(self) -> Estimate:
        return self.taken

    @property
    def made_of(self) -> UnitParts:
        return self.engine.made_of()

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        return self.held

    def attributes(self) -> dict[str, int]:
        return {}

    def for_interval(self, interval: int) -> EngineFolding:
        """Itself: its interval comes from its units."""
        return self


class VitEngine(VitOp):
    """x ``[tokens_in, channels]`` through the encoders of ``body`` to y ``[tokens_out, channels]``.

    ``body`` is the flat graph of the encoders, a node a layer: the specification. ``units`` is the graph of the hardware that runs
    it (:mod:`finn_vitprune.transforms.engines.engine_units`): the units, FIFOs and converters, the entry, and the exit with the way back, which
    closes a circle. Its constants are those of the body, and its own. Both are attributes of the node as bytes: FINN's steps go
    into attributes that are graphs. ``interval``: cycles of a frame, as planned.

    Where the patch embedding runs on one of the units, x are patches, ``[tokens_in, patch_channels]``, and ``encoders`` ends with 0, the
    pass before encoder 1. ``array``: the roles that share one matrix unit (:class:`.VitArray`), in the order of its ports.
    """

    ATTRIBUTES = {
        "tokens_in": ("i", True, 0),
        "tokens_out": ("i", True, 0),
        "channels": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "inputDataType": ("s", False, "INT16"),
        "patch_channels": ("i", False, 0),
        "patch_SIMD": ("i", False, 1),
        "patchDataType": ("s", False, "UINT8"),
        "encoders": ("ints", True, []),
        "roles": ("s", True, ""),
        "array": ("strings", False, []),
        "frames_in_flight": ("i", False, 1),
        "interval": ("i", False, 0),
        "least_depths": ("s", False, ""),
    }

    @property
    def batch(self) -> int:
        """Images that it works on at once, at most."""
        return self.get_nodeattr("frames_in_flight")

    def _stream(self, tokens: str) -> Stream:
        get = self.get_nodeattr
        return Stream(get(tokens), get("channels"), get("SIMD"), DataType[get("inputDataType")])

    @property
    def embeds(self) -> bool:
        """Whether the patch embedding runs on one of its units."""
        return self.get_nodeattr("patch_channels") > 0

    def in_streams(self) -> list[Stream]:
        get = self.get_nodeattr
        if not self.embeds:
            return [self._stream("tokens_in")]
        return [Stream(get("tokens_in"), get("patch_channels"), get("patch_SIMD"), DataType[get("patchDataType")])]

    def out_streams(self) -> list[Stream]:
        return [self._stream("tokens_out")]

    @property
    def body(self) -> ModelWrapper:
        """The encoders, a node a layer."""
        return _model(self._graph("body"))

    @property
    def hardware(self) -> ModelWrapper:
        """The units with their constants.

        Raises:
            UserError: they are not there yet.
        """
        units = self._graph("units")
        units.initializer.extend(self._graph("body").initializer)
        return self._named(units)

    @property
    def structure(self) -> ModelWrapper:
        """The units without their constants: all that sizes, times and resources hang on.

        Raises:
            UserError: they are not there yet.
        """
        return self._named(self._graph("units"))

    def _named(self, units: GraphProto) -> ModelWrapper:
        """``units`` with the tensors that are at the engine."""
        rename_tensors(units, {SOURCE: self.onnx_node.input[0], SINK: self.onnx_node.output[0]})
        return _model(units)

    def set_units(self, hardware: ModelWrapper) -> None:
        """Take the attributes of the units of ``hardware``, which :attr:`hardware` gave."""
        units = self._graph("units")
        for node, made in zip(units.node, hardware.graph.node, strict=True):
            del node.attribute[:]
            node.attribute.extend(made.attribute)
        self.set_graph("units", units)

    @property
    def flat(self) -> ModelWrapper:
        """The body with the tensors that are at the engine; what is written in it has the engine's name before its own."""
        body, name = self._graph("body"), self.onnx_node.name
        inside = {tensor: f"{name}/{tensor}" for node in body.node for tensor in node.output}
        ends = {body.input[0].name: self.onnx_node.input[0], body.output[0].name: self.onnx_node.output[0]}
        rename_tensors(body, inside | ends)
        return _model(body)

    def _graph(self, attribute: str) -> GraphProto:
        """A copy of ``body`` or ``units``.

        Raises:
            UserError: there are no units yet.
        """
        for found in self.onnx_node.attribute:
            if found.name == attribute:
                return GraphProto.FromString(found.s)
        raise UserError(f"{self.label} has no units yet: step_fold comes first")

    def set_graph(self, attribute: str, graph: GraphProto) -> None:
        """Set ``body`` or ``units``."""
        kept = [a for a in self.onnx_node.attribute if a.name != attribute]
        del self.onnx_node.attribute[:]
        self.onnx_node.attribute.extend([*kept, helper.make_attribute(attribute, graph.SerializeToString())])

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        body = self.body
        values = {body.graph.input[0].name: inputs[0]}
        for node in body.graph.node:
            arrays = [values[n] if n in values else np.rint(body.get_initializer(n)).astype(np.int64) for n in node.input]
            values |= zip(node.output, getCustomOp(node).compute(*arrays))
        return [values[body.graph.output[0].name]]

    def get_exp_cycles(self) -> int:
        return self.get_nodeattr("interval") or super().get_exp_cycles()

    def silent_cycles(self) -> int:
        """A batch goes through all encoders before anything shows."""
        return self.batch * engine_cycles(self.structure).latency

    def folding(self) -> Folding:
        """Nothing is chosen here: its units are folded in the body."""
        return EngineFolding(self.onnx_node.name, self.get_exp_cycles(), self.resources(), self.memory_map(), self)

    @property
    def widths(self) -> Sequence[int]:
        """What the SIMD of its ports can be."""
        return divisors(self.get_nodeattr("channels"))

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """A lone frame goes through all encoders."""
        return [lone_times(self.structure, inputs[0])]

    def passes(self, frames: int) -> list[UnitPass]:
        """Every pass through a unit while a batch of so many frames, which are there at once, goes through all encoders, by formula."""
        times = EngineTimes(self.hardware)
        tokens = times.port.outside.tokens
        at_once = TokenTimes((0.0,) * tokens, (0.0,) * tokens)
        times.batches([[at_once] * frames])
        return times.passes

    def macs(self) -> int:
        return sum(getCustomOp(node).macs() for node in self.body.graph.node)

    def param_counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in self.body.graph.node:
            for what, n in getCustomOp(node).param_counts().items():
                counts[what] = counts.get(what, 0) + n
        return counts

    def resources(self) -> Estimate:
        """Of the units, each once."""
        return sum((getCustomOp(node).resources() for node in self.structure.graph.node), Estimate())

    def made_of(self) -> UnitParts:
        """Of the units, each once."""
        return UnitParts("engine", units=tuple(getCustomOp(node).made_of() for node in self.structure.graph.node))

    def memory_map(self) -> tuple[UnitMemory, ...]:
        return tuple(memory for node in self.structure.graph.node for memory in getCustomOp(node).memory_map())


def engines_of(model: ModelWrapper) -> list[VitEngine]:
    """The engines of a graph."""
    return [op for op in map(getCustomOp, model.graph.node) if isinstance(op, VitEngine)]


def rename_tensors(graph: GraphProto, names: dict[str, str]) -> None:
    """Give tensors of ``graph`` other names: at its nodes, among its constants, and in what it knows of them."""
    for node in graph.node:
        for tensors in (node.input, node.output):
            for i, tensor in enumerate(tensors):
                tensors[i] = names.get(tensor, tensor)
    for known in (*graph.initializer, *graph.value_info):
        known.name = names.get(known.name, known.name)
    for annotation in graph.quantization_annotation:
        annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)


def _model(graph: GraphProto) -> ModelWrapper:
    """A model of a graph whose tensors have their shapes: none is looked for, since a plan makes hundreds of these."""
    return ModelWrapper(helper.make_model(graph), fix_missing_initializer_valueinfo=False)


def flattened(model: ModelWrapper) -> ModelWrapper:
    """``model`` with the units of its engines in their place, for what looks at one unit after another. Engines are circles in it."""
    return _expanded(model, lambda engine: engine.hardware)


def layers(model: ModelWrapper) -> ModelWrapper:
    """``model`` with the layers of its engines in their place: the flat graph."""
    return _expanded(model, lambda engine: engine.flat)


def _expanded(model: ModelWrapper, of: Callable[[VitEngine], ModelWrapper]) -> ModelWrapper:
    if not model.get_nodes_by_op_type("VitEngine_rtl"):
        return model
    whole = copy.deepcopy(model)
    nodes = []
    for node in model.graph.node:
        op = getCustomOp(node)
        if isinstance(op, VitEngine):
            inside = of(op).graph
            for unit in inside.node:
                getCustomOp(unit).set_nodeattr("slr", op.get_nodeattr("slr"))
            nodes += inside.node
            whole.graph.initializer.extend(inside.initializer)
            whole.graph.value_info.extend(inside.value_info)
            whole.graph.quantization_annotation.extend(inside.quantization_annotation)
        else:
            nodes.append(node)
    nodes = [copy.deepcopy(node) for node in nodes]
    del whole.graph.node[:]
    whole.graph.node.extend(nodes)
    return whole


class VitEngine_rtl(LoadChainBackend, VitEngine):
    """RTL of :class:`VitEngine`: the wrapper connects the units. The load chain goes through those that are loaded, in graph order.

    The units have the registers of the reset.
    """

    def rtl_parameters(self) -> dict[str, int | str]:
        return {}

    def memories(self, model: ModelWrapper) -> dict[str, Memory]:
        """None of its own: the units have them."""
        return {}

    @property
    def _loaded(self) -> list[LoadChainBackend]:
        """Units that are loaded."""
        return [op for node in self._graph("units").node if (op := getCustomOp(node)).loaded_regions()]

    @property
    def on_load_chain(self) -> bool:
        return bool(self._loaded)

    def load_parts(self) -> tuple[UnitParts, ...]:
        """None of its own: the units have them."""
        return ()

    def loaded_regions(self) -> list[Region]:
        return [region for op in self._loaded for region in op.loaded_regions()]

    def loaded_banks(self, model: ModelWrapper) -> list[list[Memory]]:
        hardware = self.hardware
        return [banks for op in self._loaded for banks in op.loaded_banks(hardware)]

    def generate_hdl(self, model: ModelWrapper, fpgapart: str, clk: float) -> None:
        """Write the HDL of all units, what they are loaded with, and the wrapper, into ``code_gen_dir_ipgen``.

        Raises:
            UserError: a unit cannot be built.
        """
        folder, hardware = Path(self.get_nodeattr("code_gen_dir_ipgen")), self.hardware
        loaded: list[Contents] = []
        for node in hardware.graph.node:
            op = getCustomOp(node)
            op.set_nodeattr("code_gen_dir_ipgen", str(folder))
            op.set_nodeattr("reset_stages", self.get_nodeattr("reset_stages"))
            if op.loaded_regions() and not loaded:
                op.set_nodeattr("load_stages", self.get_nodeattr("load_stages"))
            op.generate_hdl(hardware, fpgapart, clk)
            if op.loaded_regions():
                loaded.append(Contents.load(folder))
        if loaded:
            joined(0, CHAIN, loaded).save(folder)
        self.set_units(hardware)
        write_text(folder / f"{self.onnx_node.name}.v", self.wrapper_text())
        for attribute, value in (("gen_top_module", self.onnx_node.name), ("ipgen_path", str(folder)), ("ip_path", str(folder))):
            self.set_nodeattr(attribute, value)

    @property
    def netlist(self) -> UnitNetlist:
        """The units, with generated HDL, as the wrapper connects them."""
        nodes = self.hardware.graph.node
        pins = chain_pins({node.name: getCustomOp(node).side_pins() for node in nodes}, ring=False)
        return UnitNetlist([unit_of(node, pins[node.name]) for node in nodes])

    def wrapper_text(self) -> str:
        netlist = self.netlist
        (source,), (sink,) = netlist.ends
        ports = ["input  wire ap_clk", "input  wire ap_rst_n"]
        for tensor, name, forth, back in ((source, "in0_V", "input ", "output"), (sink, "out0_V", "output", "input ")):
            bits = netlist.nets[tensor][1]
            ports += [f"{forth} wire [{bits - 1}:0] {name}_tdata", f"{forth} wire {name}_tvalid", f"{back} wire {name}_tready"]
        ports += [f"{pin.way} wire [{pin.bits - 1}:0] {pin.name}" for pin in self.side_pins()]
        body = [*netlist.declarations(), *netlist.joined_in(source, "in0_V"), *netlist.joined_out(sink, "out0_V"), *netlist.instances()]
        if count := len(self._loaded):
            body += [f"    assign load_0 = {LOAD_IN};", f"    assign {LOAD_OUT} = load_{count};"]
        return (
            f"// {self.onnx_node.op_type}, generated by finn-vitprune\nmodule {self.onnx_node.name} (\n    "
            + ",\n    ".join(ports)
            + "\n);\n"
            + "\n".join(body)
            + "\nendmodule\n"
        )

    def unit_cells(self) -> list[str]:
        units = self._graph("units").node
        return [f"{instance(node.name)}/{cell}" for node in units for cell in getCustomOp(node).unit_cells()]

    def get_rtl_file_list(self, abspath: bool = False) -> list[str]:
        """The sources of all units, then the wrapper."""
        units = (getCustomOp(node).get_rtl_file_list() for node in self.hardware.graph.node)
        names = [*dict.fromkeys(name for unit in units for name in unit), f"{self.onnx_node.name}.v"]
        return [str(self.hdl_folder() / n) for n in names] if abspath else names
