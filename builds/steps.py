"""Builder steps of this project for FINN's ``build_dataflow_cfg`` (dotted names in a build YAML).

FINN's own steps do what they can: tidy-up, partition, specialisation, applying a folding, estimate
reports, HDL generation. The steps here do what FINN has not, or does only with Vivado.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from finn.builder.build_dataflow_config import DataflowBuildConfig
from finn.util.exception import FINNUserError
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames, SortGraph
from qonnx.util.config import extract_model_config_to_json

from finn_vitprune import progress
from finn_vitprune.execute import golden
from finn_vitprune.builds.accelerator import Accelerator
from finn_vitprune.builds.images import load_images, to_patches
from finn_vitprune.builds.lowering_check import check_lowering
from finn_vitprune.builds.settings import BuildSettings
from finn_vitprune.builds.stitch import StitchedDesign, annotate, stitch
from finn_vitprune.builds.summarise import summarise
from finn_vitprune.builds.verify import verify
from finn_vitprune.errors import UserError
from finn_vitprune.execute.qonnx_runner import QonnxRunner
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.fold import GraphFolding, slowest_cycles
from finn_vitprune.transforms.insert_fifos import InsertFifos, SetFifoDepths
from finn_vitprune.transforms.insert_width_converters import InsertWidthConverters
from finn_vitprune.transforms.lower import lower
from finn_vitprune.transforms.tidy_lowered import TidyLowered

FOLDING_ATTRIBUTES = [
    "SIMD", "PE", "TOKENS", "LANES", "in_width", "out_width", "mac_body", "interval", "ranking", "ram_style",
    "recip_bits_per_cycle",
]
HARDWARE_ATTRIBUTES = [*FOLDING_ATTRIBUTES, "inFIFODepths", "depth"]
Step = Callable[[ModelWrapper, DataflowBuildConfig], ModelWrapper]


class StepFailure(FINNUserError):
    """A :class:`UserError` on its way through FINN's builder; ``build`` turns it back."""


def build_step(function: Step) -> Step:
    """Hand a UserError through FINN's builder as its own kind of user error."""

    @functools.wraps(function)
    def step(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
        try:
            return function(model, cfg)
        except UserError as error:
            (Path(cfg.output_dir) / "failure.txt").write_text(str(error) + "\n")
            raise StepFailure(str(error)) from error

    return step


def _write_json(cfg: DataflowBuildConfig, name: str, data) -> None:
    (cfg.get_report_directory() / name).write_text(json.dumps(data, indent=2) + "\n")


@build_step
def step_lower(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """QONNX to the integer hardware graph, checked node by node on real images."""
    settings = BuildSettings.load(cfg.output_dir)
    lowered = lower(model)
    images = load_images(settings, model.get_tensor_shape(model.graph.input[0].name))
    pixels = images.pixels[: settings.lowering_images]
    check = check_lowering(model, lowered, pixels)
    progress.line(
        f"lowered {len(model.graph.node)} QONNX nodes to {len(lowered.model.graph.node)}; on {check.images} images "
        f"{check.differing_share:.2e} of the codes differ, by {check.max_code_difference} at most"
    )
    name, output = lowered.model.graph.input[0].name, lowered.model.graph.output[0].name
    before = golden.run(lowered.model, {name: pixels})[output]
    hardware = lowered.model.transform(TidyLowered())
    after = golden.run(hardware, {name: pixels})[hardware.graph.output[0].name]
    if not np.array_equal(before.reshape(len(pixels), -1), after.reshape(len(pixels), -1)):
        raise UserError("narrowing the last encoder to the class token changed the logits: please report this model")
    reference = QonnxRunner(model).run(images.pixels)
    top1 = np.argmax(next(iter(reference.values())).reshape(len(images.pixels), -1), -1)
    _write_json(cfg, "qonnx_reference.json", {"images": images.source, "top1": top1.tolist()})
    for node in hardware.get_nodes_by_op_type("BlockSparseMVAU"):
        getCustomOp(node).plan(hardware.get_initializer(node.input[1]))
    _write_json(cfg, "lowering.json", check.as_dict() | {
        "logit_scale": lowered.logit_scale, "largest_scale_change": lowered.snap_error,
        "source": {p.key: p.value for p in model.graph.metadata_props},
    })
    return hardware


@build_step
def step_fold(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """Folding for ``target_fps``, or to fill the part; left alone where a folding file is given.

    ``mac_body`` of the settings is set in either case: the entries of a folding file come later.
    """
    model = model.transform(GiveUniqueNodeNames())
    settings = BuildSettings.load(cfg.output_dir)
    if settings.mac_body is not None:
        for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl"):
            getCustomOp(node).set_nodeattr("mac_body", settings.mac_body)
    if cfg.folding_config_file is not None:
        return model
    interval, folding = cfg._resolve_cycles_per_frame(), GraphFolding.of(model)
    if interval is not None:
        folding = folding.for_interval(int(interval))
        if folding.cycles > interval:
            progress.line(f"target of {interval} cycles a frame is out of reach: the slowest node needs {folding.cycles}")
    else:
        folding = folding.to_fill(get_part(cfg._resolve_fpga_part(), settings.part_resources), progress.line)
    folding.write(model)
    extract_model_config_to_json(model, str(Path(cfg.output_dir) / "auto_folding_config.json"), FOLDING_ATTRIBUTES)
    progress.line(f"folded: slowest node {folding.cycles} cycles a frame")
    return model


@build_step
def step_insert_streams(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """FIFO depths by formula (those set in a folding file stay), FIFOs, width converters."""
    part = get_part(cfg._resolve_fpga_part(), BuildSettings.load(cfg.output_dir).part_resources)
    for node in model.graph.node:
        op = getCustomOp(node)
        op.verify_node()
        op.check_part(part)
    model = model.transform(SetFifoDepths())
    model = model.transform(InsertFifos())
    model = model.transform(InsertWidthConverters())
    model = model.transform(SortGraph())
    model = model.transform(GiveUniqueNodeNames())
    extract_model_config_to_json(model, str(Path(cfg.output_dir) / "final_hw_config.json"), HARDWARE_ATTRIBUTES)
    return model


@build_step
def step_stitch(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """One SystemVerilog top of all nodes in ``<output_dir>/stitched_ip``; load images in ``runtime_weights``."""
    design = stitch(model, (Path(cfg.output_dir) / "stitched_ip").resolve())
    design.copy_loads(Path(cfg.output_dir) / "runtime_weights")
    annotate(model, design, cfg.synth_clk_period_ns)
    return model


@build_step
def step_simulate(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """The whole accelerator in Verilator: bit-exact on all images, with stalls, and its cycles."""
    settings = BuildSettings.load(cfg.output_dir)
    parent = ModelWrapper(str(cfg.get_intermediate_models_directory() / "dataflow_parent.onnx"))
    images = load_images(settings, parent.get_tensor_shape(parent.graph.input[0].name))
    patches = to_patches(parent, images.pixels)
    design = StitchedDesign.load((Path(cfg.output_dir) / "stitched_ip").resolve())
    progress.line("compiling the stitched design with Verilator")
    accelerator = Accelerator(design, slowest_cycles(model))
    result, logits = verify(
        model, accelerator, patches, settings.stalled_images, settings.traced_images, settings.seed,
    )
    np.save(cfg.get_verification_output_directory() / "rtl_logits.npy", logits.astype(np.int32))
    _write_json(cfg, "rtl_verification.json", result.as_dict())
    fps = 1e9 / (cfg.synth_clk_period_ns * result.interval_cycles)
    _write_json(cfg, "rtlsim_performance.json", {
        "tool": "Verilator", "N": result.frames, "latency_cycles": result.latency_cycles,
        "interval_cycles": result.interval_cycles, "interval_cycles_max": result.interval_cycles_max,
        "fclk[mhz]": 1e3 / cfg.synth_clk_period_ns, "throughput_fps": fps,
    })
    progress.line(
        f"{result.rtl_mismatches} mismatches on {result.images} images, interval {result.interval_cycles:.1f} cycles"
    )
    return model


@build_step
def step_synthesise(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """Resources of every node with Yosys (``synth: none`` leaves the estimates)."""
    settings = BuildSettings.load(cfg.output_dir)
    if settings.synth == "none":
        return model
    from finn_vitprune.synth.yosys import NodeJob, synth_many, yosys_version

    jobs = []
    for node in model.graph.node:
        sources = tuple(Path(p) for p in getCustomOp(node).get_rtl_file_list(abspath=True))
        jobs.append(NodeJob(node.name, sources))
    done = []

    def synthesised(name, resources, seconds):
        done.append(name)
        progress.status(f"synthesised {len(done)} of {len(jobs)} nodes")

    resources = synth_many(jobs, settings.workers, synthesised)
    _write_json(cfg, "yosys_resources.json", {
        "tool": yosys_version(), "per_node": {name: r.as_dict() for name, r in resources.items()},
    })
    return model


@build_step
def step_summarise(model: ModelWrapper, cfg: DataflowBuildConfig) -> ModelWrapper:
    """``report/vitprune_summary.json`` from what ran."""
    summarise(model, cfg, BuildSettings.load(cfg.output_dir))
    return model
