"""Builder steps of this project for FINN's ``build_dataflow_cfg`` (dotted names in a build YAML).

FINN's own steps do what they can: partition, specialisation, applying a folding, estimate
reports, HDL generation. The steps here do what FINN has not, or does only with Vivado.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from finn.builder.build_dataflow_config import DataflowBuildConfig, VerificationStepType
from finn.builder.build_dataflow_steps import verify_step
from finn.transformation.general import ApplyConfig
from finn.util.exception import FINNUserError
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames
from qonnx.util.config import extract_model_config_to_json

from finn_vitprune import progress
from finn_vitprune.builds.checks.lowering_check import check_lowering
from finn_vitprune.builds.checks.verify import verify
from finn_vitprune.builds.checks.verify_units import FRAMES, verify_units
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.networks import Reservation, Reserved, reserve
from finn_vitprune.builds.records.context import BuildContext
from finn_vitprune.builds.records.folder import QonnxReference, Synthesis
from finn_vitprune.builds.records.folding_file import (
    FOLDING_ATTRIBUTES,
    HARDWARE_ATTRIBUTES,
    check_folding_file,
    inserted,
    read_folding_file,
)
from finn_vitprune.builds.records.places import design_places, far_links
from finn_vitprune.builds.records.summarise import planned_fit, summarise
from finn_vitprune.builds.records.timing import design_timing
from finn_vitprune.builds.records.tokens import KEPT_IMAGES, TokenSample
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.place_constraints import place_constraints
from finn_vitprune.builds.stitched.stitch import TOP, StitchedDesign, annotate, stitch
from finn_vitprune.builds.stitched.units import simulated_by_units
from finn_vitprune.builds.vivado.export import VivadoTarget, export_vivado
from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of, flattened
from finn_vitprune.custom_ops.op.rtl_backend import VitRTLBackend
from finn_vitprune.custom_ops.registry import hardware_op
from finn_vitprune.errors import AnswerIsNo, DoesNotFit, TargetMissed, UserError
from finn_vitprune.execute import golden
from finn_vitprune.files import whole_file, write_json
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.budget import Budget, shares_for
from finn_vitprune.synth.planned import Planned, PlanTarget
from finn_vitprune.synth.resources import ESTIMATE, Resources
from finn_vitprune.synth.yosys import Netlist, NodeJob, map_many, yosys_version
from finn_vitprune.transforms.engines.engine_units import bind_units
from finn_vitprune.transforms.engines.fold_engines import write_folds, written_folds
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.lowering.tidy_source import TidySource
from finn_vitprune.transforms.planning.choose_engines import choose_engines
from finn_vitprune.transforms.planning.part_fit import cannot_fit, estimated
from finn_vitprune.transforms.planning.partition import plan_partition, shared_in
from finn_vitprune.transforms.planning.place_fifos import PlaceFifos
from finn_vitprune.transforms.planning.plan import plan, shares_of
from finn_vitprune.transforms.planning.plan_options import MEAN_ERROR, PlanOptions, room_of
from finn_vitprune.transforms.planning.slr import slrs_of, used_by
from finn_vitprune.transforms.streams.edges import link_stages, slr_of
from finn_vitprune.transforms.streams.insert_frame_check import InsertFrameCheck
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.reset_stages import SetResetStages

PLACED_FOR_REGISTERS = 3
"""How often units are placed, at most, where streams get registers: without them, and with those that the places before asked for."""
PLANS_WITH_ROOM = 4
"""Plans of a design that is loaded, each within less than the one before, until all fits."""
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
def step_tidy_up(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """FINN's step of this name without the inference of data types, which lowering does not read, in a third of its time."""
    tidy = model.transform(TidySource())
    if VerificationStepType.TIDY_UP_PYTHON in build.cfg._resolve_verification_steps():
        verify_step(tidy, build.cfg, "initial_python", need_parent=False)
    return tidy


@build_step
def step_lower(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """QONNX to the integer hardware graph, checked node by node on real images."""
    folder = build.folder
    folder.forget(
        *(r.path for r in (folder.lowering, folder.reference, folder.verification, folder.synthesis)), folder.summary, folder.tokens
    )
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
    checked = images.only(images.index[some])
    tensors = golden.run(hardware, {hardware.graph.input[0].name: checked.pixels})
    tidy = tensors[hardware.graph.output[0].name]
    if not np.array_equal(tidy.reshape(len(some), -1), logits[some]):
        raise UserError("narrowing the last encoder to the class token changed the logits: please report this model")
    TokenSample.of(hardware, tensors, checked).some(KEPT_IMAGES).save(folder.tokens)
    build.folder.reference.save(QonnxReference(images.source, qonnx.argmax(-1).tolist()))
    return hardware


@hardware_step
def step_fold(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The plan: for ``target_fps``, or of the smallest interval that fits the part. A folding file takes its place.

    ``mac_style`` of the settings then is what the file does not say.
    """
    model = model.transform(GiveUniqueNodeNames())
    build.folder.forget(build.folder.plan.path)
    networks = None
    reservation = Reservation(build.settings.reserve, build.settings.loadable)
    if reservation.loads:
        model, networks = reservation.networks(model, build.cfg)
    if (file := build.cfg.folding_config_file) is not None:
        shares = shared_in(read_folding_file(file))
        model = _folded_by(file, in_engines(model, build.settings, shares), build)
        if networks is not None:  # what room is made for hangs on the folds, which FINN applies in its next step
            model = model.transform(ApplyConfig(file, node_filter=lambda node: not isinstance(getCustomOp(node), VitEngine)))
        return _loadable(model, networks)
    interval = build.cfg._resolve_cycles_per_frame()
    options = replace(build.plan_options, interval=None if interval is None else int(interval))
    model, summary = _planned(model, networks, build, options)
    _save_attributes(model, build.folder.auto_folding, FOLDING_ATTRIBUTES)
    if interval is not None:
        target = PlanTarget(fps=build.cfg.target_fps, clk_ns=build.cfg.synth_clk_period_ns)
        summary = summary.model_copy(update={"target": target})
    build.folder.plan.save(summary)
    progress.line(f"planned: an image takes {summary.interval_cycles} cycles")
    return model


def _planned(
    model: ModelWrapper, networks: Sequence[Reserved] | None, build: BuildContext, options: PlanOptions
) -> tuple[ModelWrapper, Planned]:
    """The graph folded by a plan, loadable where ``networks`` are given, and the plan.

    What loading takes comes on top of a plan. Where both are more than the budget, the next plan has less of it.
    """
    room, within = room_of(build.part, options.budget).sum(0), options
    for left in reversed(range(PLANS_WITH_ROOM)):
        design, summary = _plan(ModelWrapper(model.model, make_deepcopy=True), build, within)
        if networks is None:
            return design, summary
        planned = np.array([summary.used[kind] for kind in build.part.planned_as.kinds]) * np.maximum(
            room_of(build.part, Budget(**summary.budget)).sum(0), 1
        )
        family = build.part.planned_as
        before = used_by(design.transform(InsertLoadPort(design=0)), family)
        design = _loadable(design, networks)
        used = planned + used_by(design.transform(InsertLoadPort(design=0)), family) - before
        fits = bool(np.all(used <= room))
        if fits or not left or not summary.fits or (less := within.less(planned, used, options.budget, build.part)) is None:
            break
        within = less
        said = ", ".join(f"{kind} {share:.1%}" for kind, share in shares_for(build.part, within.budget).items())
        progress.line(f"what is loaded takes more than the budget: planned again within {said}")
    budget = shares_for(build.part, options.budget)
    found = {"budget": budget, "used": shares_of(used, room, family), "fits": summary.fits and fits}
    summary = summary.model_copy(update=found)
    held = summary.mean_limit is None or summary.mean <= summary.mean_limit + MEAN_ERROR
    return design, summary.model_copy(update={"fits": summary.fits and held})


def _plan(model: ModelWrapper, build: BuildContext, options: PlanOptions) -> tuple[ModelWrapper, Planned]:
    """The graph folded by the plan that the settings ask for, and that plan."""
    if build.settings.dealt == "auto":
        return choose_engines(model, build.part, options, build.settings.frames_in_flight, progress.line)
    if (engines := build.settings.dealt) is not None:
        best = plan_partition(model, engines, build.settings.frames_in_flight or 1, build.part, options, progress.line)
        return best.model, best.said
    found, summary = plan(model, build.part, options, progress.line)
    found.write(model)
    return model, summary


def _loadable(model: ModelWrapper, networks: Sequence[Reserved] | None) -> ModelWrapper:
    """The folded graph, made to be loaded with its own network and with these; as it is where that is not asked for."""
    if networks is not None:
        reserve(model, networks)
        progress.line(f"made to be loaded: {', '.join(['its own network', *(network.name for network in networks)])}")
    return model


def in_engines(model: ModelWrapper, settings: BuildSettings, shares: str = "") -> ModelWrapper:
    """The graph with its encoders in the engines that are asked for; as it is where none are.

    Args:
        shares: which layers share a unit, as :func:`.bind` has it; "": none.
    Raises:
        UserError: the encoders cannot be dealt so, there is nothing to deal to, or a plan has to tell the number.
    """
    engines = settings.dealt
    if engines == "auto":
        raise UserError("a folding file is for the engines that it was made with: give their number in place of --engines auto")
    return model if engines is None else model.transform(DealEncoders(engines, settings.frames_in_flight or 1, shares))


def _folded_by(file: Path, model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The graph as a folding file has it."""
    if not (engines := engines_of(model)) and build.settings.mac_style is not None:
        for node in model.get_nodes_by_op_type("BlockSparseMVAU_rtl"):
            getCustomOp(node).set_nodeattr("mac_style", build.settings.mac_style)
    check_folding_file(file, model, build.part)
    folds = read_folding_file(file)
    for engine in engines:
        write_folds(engine, folds)
        bind_units(engine)
    return model


@hardware_step
def step_insert_streams(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """FIFO depths by formula (those set in a folding file stay), FIFOs, width converters, the load port where memories are loaded, the
    check of frames where it is asked for; then the memories of FIFOs, as a folding file has them."""
    for node in model.graph.node:
        op = getCustomOp(node)
        op.verify_node()
        op.check_part(build.part)
    by = build.settings.link_registers
    model = _with_streams(model, build) if by is None else _with_registers(model, build, by)
    _save_attributes(model, build.folder.final_hw_config, HARDWARE_ATTRIBUTES)
    return model


def _with_streams(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The graph with all that stands between its units."""
    model = model.transform(InsertStreams()).transform(InsertLoadPort())
    if (check := build.settings.frame_check) is not None:
        model = model.transform(InsertFrameCheck(each=check == "frame"))
    model = model.transform(PlaceFifos(build.part, build.plan_options.as_planned(build.folder.plan.load())))
    if (file := build.cfg.folding_config_file) is not None:
        model = model.transform(ApplyConfig(file, node_filter=lambda node: inserted(getCustomOp(node))))
    return model.transform(SetResetStages())


def _with_registers(model: ModelWrapper, build: BuildContext, by: str) -> ModelWrapper:
    """The same with registers on streams whose way would be too long by a set of constants: units are placed, and again with the registers."""
    for left in reversed(range(PLACED_FOR_REGISTERS)):
        graph = _with_streams(ModelWrapper(model.model, make_deepcopy=True), build)
        units = flattened(graph)
        progress.begin("placing the units, for registers on long ways")
        places = design_places(units, build.part, estimated(units, build.part.planned_as), ESTIMATE, build.cfg.synth_clk_period_ns, {})
        far = far_links(graph, places, by)
        if not far or not left:
            break
        for (name, output), stages in far.items():
            op = getCustomOp(model.get_node_from_name(name))
            own = list(op.get_nodeattr("link_stages"))
            own += [0] * (len(op.out_streams()) - len(own))
            own[output] = max(own[output], stages)
            op.set_nodeattr("link_stages", own)
    chains = [getCustomOp(node) for node in graph.graph.node if len(set(slrs_of(graph, node))) < 2 and getCustomOp(node).is_crossing]
    hops, luts = (sum(map(of, chains)) for of in (lambda op: op.get_nodeattr("stages"), lambda op: op.resources().LUT))
    progress.line(
        f"{hops} registers are on {len(chains)} streams, a cycle each and {luts:,.0f} LUTs together; "
        f"{len(places.slow_links(by))} links are too long by the {by} constants"
    )
    return graph


@hardware_step
def step_check_part(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The summary as far as estimates tell it. A design that cannot fit the part, or misses its target, stops here.

    With Yosys to come, only estimates without doubt do the first: then Yosys decides.
    """
    build.folder.forget(build.folder.verification.path, build.folder.synthesis.path)
    build.folder.places.path.unlink(missing_ok=True)  # also in a folder with a record: this step makes them, or none
    summary = summarise(model, build)
    summary.save(build.folder.path)
    fit = planned_fit(model, build)
    if cannot_fit(fit) or (fit.short and not build.synthesises):
        raise DoesNotFit(f"the design {fit.text}")
    if fit.short:
        progress.line(f"by estimate the design {fit.text}; Yosys will decide")
    elif build.settings.places:
        units = flattened(model)
        _place(units, build, estimated(units, build.part.planned_as), ESTIMATE)
        summarise(model, build).save(build.folder.path)
    _refuse_missed(summary)
    return model


def _place(
    units: ModelWrapper, build: BuildContext, used: dict[str, Resources], method: str, found: Mapping[str, Netlist] | None = None
) -> None:
    """Place the units of a graph, by their resources and what Yosys ``found`` of them, and say what came of it."""
    progress.begin("placing the units")
    timing = {name: netlist.timing for name, netlist in (found or {}).items()}
    with_distance = None if found is None else lambda name, corner_ns: found[name].timing_within(corner_ns)
    placed = design_places(units, build.part, used, method, build.cfg.synth_clk_period_ns, timing, with_distance)
    build.folder.places.save(placed)
    slow = placed.slow_nodes() or placed.slow_links()
    progress.line(f"{'warning: ' if slow else ''}{len(placed.nodes)} units are placed; {placed.text}")


def _refuse_missed(summary: Summary) -> None:
    """Raise where the plan does not reach its target."""
    if summary.plan is not None and summary.plan.missed:
        raise TargetMissed(f"the design {summary.plan.missed}")


@hardware_step
def step_stitch(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """One SystemVerilog top of all nodes in ``stitched_ip``; what is loaded at start-up in ``runtime_weights``."""
    parent = build.parent if build.folder.parent.is_file() else None
    design = stitch(model, build.folder.stitched, parent)
    design.copy_contents(build.folder.runtime_weights)
    annotate(model, design, build.cfg.synth_clk_period_ns)
    return model


@hardware_step
def step_simulate(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """The whole accelerator in Verilator: bit-exact on all images, with stalls, and its cycles; a large one unit by unit."""
    settings, clk_ns = build.settings, build.cfg.synth_clk_period_ns
    drawn, design = build.images(build.parent), StitchedDesign.load(build.folder.stitched)
    build.folder.simulation_seconds.path.unlink(missing_ok=True)
    if simulated_by_units(design, settings.simulation):
        images = drawn.only(drawn.index[drawn.some(settings.max_images or FRAMES)])
        patches = to_patches(build.parent, images.pixels)
        result, logits, seconds = verify_units(model, design, patches, settings.traced_images, settings.jobs, settings.seed)
        build.folder.simulation_seconds.save(seconds)
    else:
        images, patches = drawn, to_patches(build.parent, drawn.pixels)
        progress.begin("compiling the stitched design with Verilator")
        stalled, traced = images.some(settings.stalled_images), images.some(settings.traced_images)
        result, logits = verify(model, RtlAccelerator(design), patches, stalled, traced, settings.seed)
    for path, array in ((build.folder.rtl_logits, logits.astype(np.int32)), (build.folder.rtl_images, images.index)):
        with whole_file(path) as partial:
            np.save(partial, array)
    build.folder.verification.save(result)
    write_json(
        build.folder.rtlsim_performance,
        {
            "tool": "Verilator",
            "N": result.frames,
            "latency_cycles": result.latency_cycles,
            "interval_cycles": result.interval_cycles,
            "interval_cycles_max": result.interval_cycles_max,
            "fclk[mhz]": 1e3 / clk_ns,
            "throughput_fps": 1e9 / (clk_ns * result.interval_cycles),
        },
    )
    progress.line(f"{result.rtl_mismatches} mismatches on {result.images} images, interval {result.interval_cycles:.1f} cycles")
    lowering, reference = build.folder.lowering.load(), build.folder.reference.load()
    if lowering and reference and not result.rtl_mismatches:
        classes = np.array(reference.top1)
        classes[np.isin(drawn.index, images.index)] = logits.argmax(-1)
        if left := lowering.not_judged(classes, reference.top1):
            _judge(build, left)
    return model


def _judge(build: BuildContext, images: list[int]) -> None:
    """Hold images with another class than QONNX's against QONNX, code by code: step_lower of a build that was to stop early did not."""
    path, numbers = build.model_before("step_lower"), ", ".join(map(str, images))
    progress.status(f"comparing the codes of images {numbers} with QONNX")
    if path.is_file():
        source = ModelWrapper(str(path))
        check, _, _ = check_lowering(source, lower(source), build.images(source).pixels, images, images)
        if check.problem:
            raise AnswerIsNo(check.problem)
        if [change.image for change in check.class_changes] == images:
            said = f"{check.ties} of their {check.codes:,} codes differ, all by one beside a tie"
            progress.line(f"to images {numbers} QONNX gives another class: {said}")
            return
    raise AnswerIsNo(f"to images {numbers} QONNX gives another class, and their codes were not compared: build again without --start-step")


def node_job(op: VitRTLBackend) -> NodeJob:
    """What Yosys needs to map a node that has its HDL."""
    return NodeJob(op.onnx_node.name, tuple(map(Path, op.get_rtl_file_list(abspath=True))))


@hardware_step
def step_synthesise(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """Resources and timing of every node with Yosys (``synth: none`` and an ECP5 leave the estimated resources, without timing).

    A warning says where the clock's period does not hold by the estimate.
    """
    build.folder.synthesis.path.unlink(missing_ok=True)
    if not build.synthesises:
        return model
    units = flattened(model)
    jobs = [node_job(getCustomOp(node)) for node in units.graph.node]
    found = dict(map_many(jobs, build.settings.jobs))
    timing = {job.top: found[job].timing for job in jobs}
    used = {job.top: found[job].resources for job in jobs}
    build.folder.synthesis.save(Synthesis(yosys_version(), used, timing))
    whole = design_timing(units, timing, build.cfg.synth_clk_period_ns)
    progress.line(whole.text if whole.holds else f"warning: {whole.text}")
    if build.settings.places:
        _place(units, build, used, yosys_version(), {job.top: found[job] for job in jobs})
    return model


@build_step
def step_summarise(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """``report/vitprune_summary.json`` from what ran; a design that does not fit the part, or misses its target, goes no further."""
    summary = summarise(model, build)
    summary.save(build.folder.path)
    if summary.no_text:
        raise DoesNotFit(f"the design {summary.no_text}")
    _refuse_missed(summary)
    return model


@hardware_step
def step_export_vivado(model: ModelWrapper, build: BuildContext) -> ModelWrapper:
    """``vivado``: the design as a folder of its own for Vivado, once the simulation has found it right."""
    folder, verification, summary = build.folder, build.folder.verification.load(), summarise(model, build)
    if verification is None:
        raise UserError("step_export_vivado exports a design that was simulated: step_simulate comes before it")
    if verification.rtl_mismatches or verification.class_changes:
        raise AnswerIsNo(
            f"nothing is exported: the RTL differs from the hardware graph in {verification.rtl_mismatches} values and the class of "
            f"{verification.class_changes} images; `finn-vitprune report {folder.path}` shows the build"
        )
    if summary.no_text:
        raise DoesNotFit(f"nothing is exported: the design {summary.no_text}")
    target = VivadoTarget(build.part, build.cfg.synth_clk_period_ns, summary.model and summary.model.logit_scale)
    simulated = build.images(build.parent).only(np.load(folder.rtl_images)).pixels
    pblocks = place_constraints(model, summary.places, TOP) if summary.places else None
    export_vivado(StitchedDesign.load(folder.stitched), folder.vivado, target, verification, simulated, np.load(folder.rtl_logits), pblocks)
    progress.line(f"exported for Vivado to {folder.vivado}; nothing of it was run in Vivado")
    return model


def _save_attributes(model: ModelWrapper, path: Path, names: list[str]) -> None:
    """FINN's JSON of node attributes, as a folding file holds them; ``slr`` and ``link_stages`` only where nodes have some."""
    nodes = model.graph.node
    some = [
        name
        for name, has in (("slr", any(slr_of(node) >= 0 for node in nodes)), ("link_stages", any(any(link_stages(node)) for node in nodes)))
        if has
    ]
    with whole_file(path) as partial:
        extract_model_config_to_json(model, str(partial), [*names, *some])
        if engines := engines_of(model):
            found = json.loads(Path(partial).read_text())
            for engine in engines:
                del found[engine.onnx_node.name]
                found |= written_folds(engine, names)
            Path(partial).write_text(json.dumps(found, indent=2))
