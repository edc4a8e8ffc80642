"""Networks as graphs of hardware ops: the one that is built, and others that its design is to be loaded with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finn.builder.build_dataflow_config import DataflowBuildConfig
from finn.builder.build_dataflow_steps import step_tidy_up
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.folder import BuildFolder
from finn_vitprune.builds.folding_file import FOLDING_ATTRIBUTES
from finn_vitprune.builds.settings import DENSE, BuildSettings
from finn_vitprune.builds.stitch import StitchedDesign
from finn_vitprune.custom_ops.engine import flattened
from finn_vitprune.custom_ops.load_chain import LoadedBackend
from finn_vitprune.errors import UserError
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.hardware_only import HardwareOnly
from finn_vitprune.transforms.loadable import contents_for, like, make_loadable
from finn_vitprune.transforms.lower import check_op_types, lower
from finn_vitprune.transforms.room import EVERYTHING, with_room
from finn_vitprune.transforms.same_drops import SameDrops, drop_encoders
from finn_vitprune.transforms.tidy_lowered import TidyLowered

LAST = "step_stitch.onnx"


@dataclass(frozen=True)
class FlatNetwork:
    """RTL ops of a QONNX model, before folding and engines, with FINN's names, and the scale of its integer logits."""

    hardware: ModelWrapper
    logit_scale: float


def flat_hardware(model: ModelWrapper, cfg: DataflowBuildConfig) -> FlatNetwork:
    """The network of a QONNX model; nothing of it is written."""
    lowered = lower(step_tidy_up(model, cfg))
    hardware = lowered.model
    for step in (TidyLowered(), SpecializeLayers(cfg._resolve_fpga_part()), HardwareOnly(), GiveUniqueNodeNames()):
        hardware = hardware.transform(step)
    return FlatNetwork(hardware, lowered.logit_scale)


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


def reserved(own: ModelWrapper, settings: BuildSettings, cfg: DataflowBuildConfig) -> tuple[ModelWrapper, list[Reserved]]:
    """A flat network with token drops where any has some that its design is to be made for, and these networks.

    Raises:
        UserError: nothing can be built of a model; the text names its file.
    """
    networks = [Reserved(str(path), read_network(path, cfg).hardware) for path in settings.reserve]
    if settings.room is not None:
        name = "the dense network" if settings.room == DENSE else f"a network that keeps {settings.room:.0%} more"
        networks.append(Reserved(name, with_room(own, EVERYTHING if settings.room == DENSE else settings.room)))
    encoders = drop_encoders(own).union(*(drop_encoders(network.hardware) for network in networks))
    return own.transform(SameDrops(encoders)), networks


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


def contents_of(path: Path, build_dir: Path) -> tuple[Contents, float]:
    """What the design in ``build_dir`` is loaded with to be the network in ``path``, and the scale of its logits then.

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
    contents = contents_for(design, like(design, network.hardware, FOLDING_ATTRIBUTES), port.design, port.port)
    return contents, network.logit_scale
