"""Builder steps of this project for FINN's ``build_dataflow_cfg`` (dotted names in a build YAML).

FINN's own steps do what they can: tidy-up, partition, specialisation, applying a folding, estimate
reports, HDL generation. The steps here do what FINN has not, or does only with Vivado.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
from finn.builder.build_dataflow_config import DataflowBuildConfig
from finn.transformation.general import ApplyConfig
from finn.util.exception import FINNUserError
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames
from qonnx.util.config import extract_model_config_to_json

from finn_vitprune import progress
from finn_vitprune.builds.accelerator import Accelerator
from finn_vitprune.builds.context import BuildContext
from finn_vitprune.builds.folder import QonnxReference, Synthesis
from finn_vitprune.builds.folding_file import FOLDING_ATTRIBUTES, HARDWARE_ATTRIBUTES, check_folding_file, inserted
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.lowering_check import check_lowering
from finn_vitprune.builds.stitch import StitchedDesign, annotate, stitch
from finn_vitprune.builds.summarise import summarise
from finn_vitprune.builds.verify import verify
from finn_vitprune.custom_ops.registry import hardware_op
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.errors import AnswerIsNo, DoesNotFit, UserError
from finn_vitprune.execute import golden
from finn_vitprune.files import whole_file, write_json
from finn_vitprune.synth.yosys import NodeJob, map_many, yosys_version
from finn_vitprune.transforms.fold import GraphFolding
from finn_vitprune.transforms.insert_streams import InsertStreams
from finn_vitprune.transforms.lower import lower
from finn_vitprune.transforms.part_fit import cannot_fit, part_fit
from finn_vitprune.transforms.tidy_lowered import TidyLowered

FinnStep = Callable[[ModelWrapper, DataflowBuildConfig], ModelWrapper]


def build_step(function: Callable[[ModelWrapper, BuildContext], ModelWrapper]) -> FinnStep:
    """A step of FINN's builder; a UserError travels through the builder as the cause of its own kind of user error."""

    @functools.wraps(function)
    def step(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
        try:
            return function(model, BuildContext.of(cfg))
        except UserError as error:
            raise FINNUserError(str(error)) from error

    return step


def hardware_step(function: Callable[[ModelWrapper, BuildContext], ModelWrapper]) -> FinnStep:
    """A :func:`build_step` that takes a graph of this project's RTL ops alone, and names a node that is none."""

    @functools.wraps(function)
    def checked(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
        for node in model.graph.node:
            if not isinstance(hardware_op(node), VitRTLBackend):
                raise UserError(
                    f"{function.__name__} takes RTL ops of this project alone, and {node.name} is a {node.op_type}: "
                    "step_lower, step_create_dataflow_partition and step_specialize_layers come before it, and no step "
                    "that makes ops of FINN, as step_convert_to_hw does"
                )
        return function(model, build)

    return build_step(checked)


@build_step
def step_lower(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """QONNX to the integer hardware graph, checked node by node on real images."""
    folder = build.folder
    folder.forget(*(r.path for r in (folder.lowering, folder.reference, folder.verification, folder.synthesis)), folder.summary)
    lowered = lower(model)
    images = build.images(model)
    some = images.some(build.settings.lowering_images)
    whole = None if build.simulates else some
    check, logits, qonnx = check_lowering(model, lowered, images.pixels, some, whole)
    build.folder.lowering.save(check)
    if check.problem:
        raise AnswerIsNo(check.problem)
    progress.line(
        f"lowered {len(model.graph.node)} QONNX nodes to {len(lowered.model.graph.node)}; on {len(check.images)} images "
        f"{check.ties} of {check.codes:,} codes differ, all by one beside a tie"
    )
    hardware = lowered.model.transform(TidyLowered())
    pixels = images.pixels[some]
    tidy = golden.run(hardware, {hardware.graph.input[0].name: pixels})[hardware.graph.output[0].name]
    if not np.array_equal(tidy.reshape(len(pixels), -1), logits[some]):
        raise UserError("narrowing the last encoder to the class token changed the logits: please report this model")
    build.folder.reference.save(QonnxReference(images.source, qonnx.argmax(-1).tolist()))
    for node in hardware.get_nodes_by_op_type("BlockSparseMVAU"):
        getCustomOp(node).plan(hardware.get_initializer(node.input[1]))
    return hardware


@hardware_step
def step_fold(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """Folding for ``target_fps``, or to fill the part; left alone where a folding file is given.

    ``mac_style`` of the settings is set in either case: the entries of a folding file come later.
    """
    model = model.transform(GiveUniqueNodeNames())
    if build.settings.mac_style is not None:
        for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl"):
            getCustomOp(node).set_nodeattr("mac_style", build.settings.mac_style)
    if (file := build.cfg.folding_config_file) is not None:
        check_folding_file(file, model, build.part)
        return model
    folding, interval = GraphFolding.of(model), build.cfg._resolve_cycles_per_frame()
    if interval is None:
        folding = folding.to_fill(build.part, progress.line)
    else:
        folding = folding.for_interval(int(interval))
        if folding.cycles > interval:
            progress.line(f"target of {interval} cycles a frame is out of reach: the slowest node needs {folding.cycles}")
    folding.write(model)
    _save_attributes(model, build.folder.auto_folding, FOLDING_ATTRIBUTES)
    progress.line(f"folded: slowest node {folding.cycles} cycles a frame")
    return model


@hardware_step
def step_insert_streams(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """FIFO depths by formula (those set in a folding file stay), FIFOs (as a folding file has them), width converters."""
    for node in model.graph.node:
        op = getCustomOp(node)
        op.verify_node()
        op.check_part(build.part)
    model = model.transform(InsertStreams())
    if (file := build.cfg.folding_config_file) is not None:
        model = model.transform(ApplyConfig(file, node_filter=lambda node: inserted(getCustomOp(node))))
    _save_attributes(model, build.folder.final_hw_config, HARDWARE_ATTRIBUTES)
    return model


@hardware_step
def step_check_part(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The summary as far as estimates tell it. A design that cannot fit the part stops here.

    With Yosys to come, only estimates without doubt do that: then Yosys decides.
    """
    build.folder.forget(build.folder.verification.path, build.folder.synthesis.path)
    summarise(model, build).save(build.folder.path)
    fit = part_fit(model, build.part)
    if cannot_fit(fit) or (fit.short and build.settings.synth == "none"):
        raise DoesNotFit(f"the design {fit.text}")
    if fit.short:
        progress.line(f"by estimate the design {fit.text}; Yosys will decide")
    return model


@hardware_step
def step_stitch(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """One SystemVerilog top of all nodes in ``stitched_ip``; load images in ``runtime_weights``."""
    parent = build.parent if build.folder.parent.is_file() else None
    design = stitch(model, build.folder.stitched, parent)
    design.copy_loads(build.folder.runtime_weights)
    annotate(model, design, build.cfg.synth_clk_period_ns)
    return model


@hardware_step
def step_simulate(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The whole accelerator in Verilator: bit-exact on all images, with stalls, and its cycles."""
    settings, clk_ns = build.settings, build.cfg.synth_clk_period_ns
    images = build.images(build.parent)
    patches = to_patches(build.parent, images.pixels)
    progress.line("compiling the stitched design with Verilator")
    accelerator = Accelerator(StitchedDesign.load(build.folder.stitched))
    stalled, traced = images.some(settings.stalled_images), images.some(settings.traced_images)
    result, logits = verify(model, accelerator, patches, stalled, traced, settings.seed)
    for path, array in ((build.folder.rtl_logits, logits.astype(np.int32)), (build.folder.rtl_images, images.index)):
        with whole_file(path) as partial:
            np.save(partial, array)
    build.folder.verification.save(result)
    write_json(build.folder.rtlsim_performance, {
        "tool": "Verilator", "N": result.frames, "latency_cycles": result.latency_cycles,
        "interval_cycles": result.interval_cycles, "interval_cycles_max": result.interval_cycles_max,
        "fclk[mhz]": 1e3 / clk_ns, "throughput_fps": 1e9 / (clk_ns * result.interval_cycles),
    })
    progress.line(
        f"{result.rtl_mismatches} mismatches on {result.images} images, interval {result.interval_cycles:.1f} cycles"
    )
    lowering, reference = build.folder.lowering.load(), build.folder.reference.load()
    if lowering and reference and not result.rtl_mismatches:
        lowering.check_classes(logits.argmax(-1), reference.top1)
    return model


@hardware_step
def step_synthesise(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """Resources of every node with Yosys (``synth: none`` leaves the estimates)."""
    build.folder.synthesis.path.unlink(missing_ok=True)
    if build.settings.synth == "none":
        return model
    jobs = [
        NodeJob(node.name, tuple(map(Path, getCustomOp(node).get_rtl_file_list(abspath=True)))) for node in model.graph.node
    ]
    found = {}
    for job, netlist in map_many(jobs, build.settings.workers):
        found[job] = netlist.resources
        progress.status(f"synthesised {len(found)} of {len(jobs)} nodes")
    build.folder.synthesis.save(Synthesis(yosys_version(), {job.top: found[job] for job in jobs}))
    return model


@build_step
def step_summarise(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """``report/vitprune_summary.json`` from what ran; a design that does not fit the part goes no further."""
    summary = summarise(model, build)
    summary.save(build.folder.path)
    if summary.no_text:
        raise DoesNotFit(f"the design {summary.no_text}")
    return model


def _save_attributes(model: ModelWrapper, path: Path, names: list[str]) -> None:
    """FINN's JSON of node attributes, as a folding file holds them."""
    with whole_file(path) as partial:
        extract_model_config_to_json(model, str(partial), names)
