"""Networks as graphs of hardware ops: the one that is built, and others that its design is to be loaded with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finn.builder.build_dataflow_config import DataflowBuildConfig
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from onnx import GraphProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.records.folding_file import FOLDING_ATTRIBUTES
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256, whole_file
from finn_vitprune.graph.reading import read_proto, read_qonnx
from finn_vitprune.options.build import DENSE
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.engines.loadable import contents_for, like, make_loadable
from finn_vitprune.transforms.engines.room import EVERYTHING, with_room
from finn_vitprune.transforms.engines.same_drops import SameDrops, drop_encoders, score_bits
from finn_vitprune.transforms.lowering.lower import check_op_types, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.lowering.tidy_source import TidySource
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly

LAST = "step_stitch.onnx"
_SHA256, _GRAPH, _LOGIT_SCALE, _SOURCE = "contents_sha256", "graph_sha256", "logit_scale", "source"
"""Metadata of the network beside a file of contents: digests of the contents and of its own graph, the scale of its logits, metadata of
the model file as JSON."""


@dataclass(frozen=True)
class FlatNetwork:
    """RTL ops of a QONNX model, before folding and engines, with FINN's names.

    lowered: the graph as ``step_lower`` leaves it. logit_scale: what a logit of 1 is worth. metadata: of the model file.
    """

    hardware: ModelWrapper
    lowered: ModelWrapper
    logit_scale: float | list[float]
    metadata: Mapping[str, str]


def flat_hardware(model: ModelWrapper, cfg: DataflowBuildConfig) -> FlatNetwork:
    """The network of a QONNX model; nothing of it is written."""
    found = lower(model.transform(TidySource()))
    lowered = hardware = found.model.transform(TidyLowered())
    for step in (SpecializeLayers(cfg._resolve_fpga_part()), HardwareOnly(), GiveUniqueNodeNames()):
        hardware = hardware.transform(step)
    return FlatNetwork(hardware, lowered, found.logit_scale, {p.key: p.value for p in model.graph.metadata_props})


def read_network(path: Path, cfg: DataflowBuildConfig) -> FlatNetwork:
    """The same of a file.

    Raises:
        UserError: nothing can be built of it; the text names the file.
    """
    model = check_network(path)
    try:
        return flat_hardware(model, cfg)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def check_network(path: Path) -> ModelWrapper:
    """The model in a file, as far as a look at its nodes tells whether it can be built.

    Raises:
        UserError: nothing can be built of it; the text names the file.
    """
    model = ModelWrapper(read_qonnx(path))
    try:
        check_op_types(model)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return model


@dataclass(frozen=True)
class Reserved:
    """A network that a design is made for, flat and before folding, and what users call it."""

    name: str
    hardware: ModelWrapper


@dataclass(frozen=True)
class Reservation:
    """What a design is made for besides its own network: ``wanted`` are models, and a network with so much more, :data:`DENSE`
    or a share.
    """

    wanted: tuple[Path | float | Literal["dense"], ...] = ()
    loadable: bool = False

    @property
    def loads(self) -> bool:
        """Whether the design can be loaded with whole networks."""
        return self.loadable or bool(self.wanted)

    @property
    def models(self) -> tuple[Path, ...]:
        """Files of networks."""
        return tuple(value for value in self.wanted if isinstance(value, Path))

    @property
    def room(self) -> float | Literal["dense"] | None:
        """Share of tokens, heads, neurons and blocks more than the model keeps; dense: all."""
        return next((value for value in self.wanted if not isinstance(value, Path)), None)

    def check(self) -> None:
        """A look at the models, whether they can be built; errors are those of :func:`check_network`."""
        for path in self.models:
            check_network(path)

    def networks(self, own: ModelWrapper, cfg: DataflowBuildConfig) -> tuple[ModelWrapper, list[Reserved]]:
        """A flat network with token drops where any has some that its design is to be made for, and these networks.

        Raises:
            UserError: nothing can be built of a model; the text names its file.
        """
        networks = [Reserved(str(path), read_network(path, cfg).hardware) for path in self.models]
        if self.room is not None:
            name = "the dense network" if self.room == DENSE else f"a network that keeps {self.room:.0%} more"
            networks.append(Reserved(name, with_room(own, EVERYTHING if self.room == DENSE else self.room)))
        return alike(own, networks), networks


def alike(own: ModelWrapper, networks: Sequence[Reserved]) -> ModelWrapper:
    """A flat network with token drops where any of ``networks`` has some, and scores as wide as theirs."""
    graphs = [own, *(network.hardware for network in networks)]
    return own.transform(SameDrops(set().union(*map(drop_encoders, graphs)), max(map(score_bits, graphs))))


def reserve(design: ModelWrapper, networks: Sequence[Reserved]) -> None:
    """Let ``design``, folded, be loaded with its own network and those of ``networks``.

    Raises:
        UserError: a network does not fit the design's structure; the text names it.
    """
    alike = []
    for network in networks:
        try:
            alike.append(like(design, network.hardware, FOLDING_ATTRIBUTES))
        except UserError as error:
            raise UserError(f"{network.name} and the design differ in structure: {error}") from None
    make_loadable(design, alike)


@dataclass(frozen=True)
class LoadedNetwork:
    """What a design is loaded with to be a network, and that network."""

    contents: Contents
    network: FlatNetwork

    def write(self, path: Path) -> None:
        """Write the file for the load port, and the network beside it, which ``evaluate --contents`` reads."""
        self.contents.write(path)
        model = ModelWrapper(self.network.lowered.model, make_deepcopy=True)
        scale, source = json.dumps(self.network.logit_scale), json.dumps(dict(self.network.metadata))
        properties = {_SHA256: sha256(path), _GRAPH: _digest(model.graph), _LOGIT_SCALE: scale, _SOURCE: source}
        for name, value in properties.items():
            model.set_metadata_prop(name, value)
        with whole_file(network_file(path)) as partial:
            model.save(str(partial))


def _digest(graph: GraphProto) -> str:
    """SHA-256 of a graph without its metadata, which hold it."""
    bare = GraphProto()
    bare.CopyFrom(graph)
    del bare.metadata_props[:]
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()


def network_file(contents: Path) -> Path:
    """Where the network of a file of contents lies."""
    return contents.with_name(f"{contents.name}.onnx")


def loaded_network(contents: Path, build_dir: Path) -> tuple[Path, float | list[float], dict[str, str]]:
    """The lowered graph of what :meth:`LoadedNetwork.write` wrote, as a file, the scale of its logits, and the metadata of its
    model file.

    Raises:
        UserError: the file of contents is not for this build, or the network beside it is missing, another one, or changed.
    """
    Contents.other(contents, StitchedDesign.load(BuildFolder(build_dir.resolve()).stitched).folder)
    path, again = network_file(contents), f"write both again with finn-vitprune contents MODEL.onnx --for {build_dir} -o {contents}"
    if not path.is_file():
        raise UserError(f"{path} is missing, which `contents` writes beside {contents.name}: {again}")
    graph = read_proto(path).graph
    found = {p.key: p.value for p in graph.metadata_props}
    if found.get(_SHA256) != sha256(contents):
        raise UserError(f"{path} is the network of other contents than {contents.name} has: {again}")
    if found.get(_GRAPH) != _digest(graph):
        raise UserError(f"{path} is not as `contents` wrote it: {again}")
    return path, json.loads(found[_LOGIT_SCALE]), json.loads(found[_SOURCE])


def contents_of(path: Path, build_dir: Path) -> LoadedNetwork:
    """What the design in ``build_dir`` is loaded with to be the network in ``path``.

    Raises:
        UserError: the design in the folder cannot be loaded, or it is not made for this network.
    """
    folder = BuildFolder(build_dir.resolve())
    stitched = StitchedDesign.load(folder.stitched)
    if not (last := folder.intermediate_models / LAST).is_file():
        raise UserError(f"{last} is missing, which says how the design is folded: build again with save_intermediate_models")
    design = ModelWrapper(str(last))
    if not any(isinstance(op := getCustomOp(node), LoadedBackend) and op.get_nodeattr("loaded") for node in flattened(design).graph.node):
        raise UserError(f"the design in {build_dir} is not loaded with whole networks: build it with --loadable, or --reserve")
    part = Summary.load(folder.path).part.name
    cfg = DataflowBuildConfig(output_dir=str(folder.path), synth_clk_period_ns=5.0, generate_outputs=[], fpga_part=part)
    network = read_network(path, cfg)
    (port,) = stitched.loads
    return LoadedNetwork(contents_for(design, like(design, network.hardware, FOLDING_ATTRIBUTES), port.design, port.port), network)
