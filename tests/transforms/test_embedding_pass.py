"""The patch embedding as one more pass of a unit of the only engine: the same bits, the cycles of the plan, kept by a folding file."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.stitched.accelerator import INPUT, OUTPUT, in_one_piece
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import Stimulus, beats
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.engines.bind import bind, no_embedding
from finn_vitprune.transforms.engines.insert_engines import DealEncoders
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning import partition
from finn_vitprune.transforms.planning.engine_graph import EngineGraph
from finn_vitprune.transforms.planning.partition import PlannedPartition, partitions, plan_partition, shared_in
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.planning.plan_problem import When
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.sampling import sampled
from tests.vit_models import random_vit

PART = "xczu7ev-ffvc1156-2-e"
ROLE = "MLP 2"
SHARES = f"{ROLE} and patch embedding"
UNIT = "VitEngine_rtl_0_MLP_2_and_patch_embedding"
BUDGET = Budget(LUT=0.12, DSP=0.15, BRAM=0.3, URAM=0.5)
"""A part so small that the multipliers of the patch embedding are missed elsewhere."""
IMAGES = 8


def network(depth: int = 3, **options) -> tuple[ModelWrapper, np.ndarray]:
    """A network of 17 tokens that drops some twice, and images."""
    drops = tuple(range(1, depth))
    return random_vit(image=16, patch=4, dim=32, heads=2, depth=depth, drop_at=drops, token_keep="0.7", seed=3, **options)


def flat(depth: int = 3, **options) -> ModelWrapper:
    """Its hardware graph, not folded."""
    hardware = lower(network(depth, **options)[0]).model.transform(TidyLowered()).transform(HardwareOnly())
    return hardware.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())


@pytest.fixture(scope="module")
def hardware() -> ModelWrapper:
    return flat()


def logits(model: ModelWrapper, x: np.ndarray) -> np.ndarray:
    return golden.run(model, {model.graph.input[0].name: x})[model.graph.output[0].name]


@pytest.mark.parametrize("depth", sampled([2, 4], 1))
def test_the_partition_does_not_change_a_bit(depth):
    """Of patches over the whole range of pixels: codes that are signed less half their range, and biases that make up for it."""
    model = flat(depth)
    stream = getCustomOp(model.graph.node[0]).in_streams()[0]
    x = np.random.default_rng(depth).integers(0, 256, (5, stream.tokens, stream.channels))
    x[0], x[1] = 0, 255
    dealt = model.transform(DealEncoders(1, shares=SHARES))
    (engine,) = engines_of(dealt)
    assert list(engine.get_nodeattr("encoders")) == [*range(1, depth + 1), 0] and not dealt.get_nodes_by_op_type("VitTokenEmbed_rtl")
    assert np.array_equal(logits(dealt, x), logits(model, x)) and np.array_equal(
        logits(model.transform(DealEncoders(1)), x), logits(model, x)
    )
    roles = dict(json.loads(engine.get_nodeattr("roles")))
    columns = {role for role, nodes in roles.items() if nodes[-1]}
    assert columns == {f"{ROLE} and patch embedding", "token embedding"} and {len(nodes) for nodes in roles.values()} == {depth + 1}


@pytest.mark.parametrize("engines, role, options, reason", sampled([
    ((2, 1), ROLE, {}, "it needs one engine of all encoders"), (1, "MLP 1", {}, "its outputs are INT8, those of the patch embedding INT16"),
    (1, ROLE, {"bits": 4}, "its inputs are INT4, pixels UINT8"), (1, "LayerNorm 1", {}, "it is no matrix of every encoder"),
], 1, several=True))  # fmt: skip
def test_what_cannot_share_is_refused_with_the_reason(engines, role, options, reason):
    model = flat(**options)
    assert no_embedding(model, bind(model, engines), role).startswith(reason)
    with pytest.raises(UserError, match=f"the patch embedding cannot run on {role}: {reason}"):
        model.transform(DealEncoders(engines, shares=f"{role} and patch embedding"))
    if role == ROLE:
        assert partitions(model, engines, PlanOptions(goal="latency")) == ([""] if engines != 1 else ["", "array"])


def test_only_plans_for_a_short_latency_try_it(hardware):
    for options in (PlanOptions(goal="latency"), PlanOptions(goal="latency", interval=5000)):
        assert partitions(hardware, 1, options) == ["", SHARES, "array and patch embedding"]
    for options in (PlanOptions(), PlanOptions(interval=5000)):
        assert partitions(hardware, 1, options) == [""]
    assert shared_in(["VitEngine_rtl_0", UNIT]) == SHARES and shared_in(["VitEngine_rtl_0_MLP_2"]) == ""


def test_an_engine_without_that_pass_has_no_trace_of_it(hardware, tmp_path):
    model = hardware.transform(DealEncoders(1))
    graph = EngineGraph(model)
    (engine,) = engines_of(graph.model)
    engine.set_nodeattr("code_gen_dir_ipgen", str(tmp_path))
    engine.generate_hdl(graph.model, PART, 5.0)
    wrappers = "".join(path.read_text() for path in tmp_path.glob("VitEngine_rtl_0*.v"))
    assert "vp_engine_tag_fork" not in wrappers and "EMBEDS" not in wrappers and "return_merge" not in wrappers


def test_that_pass_is_in_the_wave_of_the_first_queries(hardware):
    graph = EngineGraph(hardware.transform(DealEncoders(1, shares=SHARES)))
    waves, units = graph.waves, graph.units
    worked = [step for wave in waves for step in wave.works]
    assert len(set(worked)) == len(worked) == sum(len(unit.folding.each) for unit in units)
    first = {(units[number].name, layer) for number, layer in waves[0].works}
    assert (UNIT, 3) in first and ("VitEngine_rtl_0_QKV", 0) in first and len(waves) == 3 + 1 + 2, (
        "encoders, one more, LayerNorm, classifier"
    )
    assert {units[number].when for number, _ in waves[0].works} == {When.BEFORE, When.REST}


def plan_of(model: ModelWrapper, shares: str) -> PlannedPartition:
    """The plan with that partition alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "partitions", lambda *_: [shares])
        options = PlanOptions(goal="latency", budget=BUDGET, explain=False)
        return plan_partition(model, 1, 1, get_part(PART), options, lambda _: None)


def test_a_plan_takes_the_partition_that_is_sooner(hardware):
    said: list[str] = []
    best = plan_partition(hardware, 1, 1, get_part(PART), PlanOptions(goal="latency", budget=BUDGET, explain=False), said.append)
    assert best.plan.fits
    plans = (
        re.fullmatch(r"(.* unit.*): an image each [\d,]+ cycles, through in ([\d,]+)(, more than the part has)?", line) for line in said
    )
    found = {plan[1]: math.inf if plan[3] else int(plan[2].replace(",", "")) for plan in plans if plan and " cycles a unit" not in plan[0]}
    own, shared, array = (found[what] for what in (
        "patch embedding on a unit of its own", "patch embedding on the unit of MLP 2", "all matrices and patch embedding on one unit",
    ))  # fmt: skip
    assert best.latency == min(own, shared, array) and shared < own
    best = plan_of(hardware, SHARES)
    (engine,) = engines_of(best.model)
    passes = engine.passes(1)
    order = [p.encoder for p in passes if p.unit == UNIT]
    assert order == [3, 0, 1, 2] and {p.encoder for p in passes if p.unit == "VitEngine_rtl_0_token_embedding"} == {3}


def built_of(folder: Path, shares: str = SHARES, depth: int = 3, **more: object) -> Path:
    """The build of the network, in ``folder``, with this partition."""
    model, images = network(depth)
    model.save(str(folder / "model.onnx"))
    np.savez(folder / "model.npz", images=images)
    common = {"model": folder / "model.onnx", "fpga_part": PART, "synth": "none", "engines": 1, "max_images": IMAGES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "partitions", lambda *_: [shares])
        return build(BuildOptions(output_dir=folder / "b", **(common | more)))


@pytest.fixture(scope="module")
def sooner(tmp_path_factory) -> Path:
    """Planned for a short latency, an image in flight."""
    return built_of(tmp_path_factory.mktemp("sooner"), goal="latency", budget=BUDGET)


@pytest.fixture(scope="module")
def two_in_flight(sooner, tmp_path_factory) -> Path:
    """By the folding file of the first, two images in flight."""
    return built_of(tmp_path_factory.mktemp("two"), folding=sooner / "auto_folding_config.json", frames_in_flight=2)


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.whole) for name in ("sooner", "two_in_flight")]
)  # test_arrays.py always builds one
def either(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.slow
@pytest.mark.xdist_group("embedding pass")
def test_a_build_is_bit_exact_in_every_stream(either):
    """Images back to back, with pauses and stalls; every stream of every pass is compared."""
    s = Summary.load(either)
    assert s.verify.images == IMAGES and s.verify.stalled_images and s.verify.rtl_mismatches == 0 and s.verify.class_changes == 0
    streams = StitchedDesign.load(either / "stitched_ip").edges
    assert s.verify.traced_streams == len(streams) > 60 and s.verify.left_out_streams == 0
    inside = [e for e in streams if e.inside and not e.tags]
    assert {e.inside.encoders[-1] for e in inside} == {0}
    carried = {e.producer for e in inside if e.inside.beats[-1]}
    assert {UNIT, f"{UNIT}_merge", "VitEngine_rtl_0_token_embedding", "VitEngine_rtl_0_return_merge"} <= carried
    assert "VitEngine_rtl_0_QKV" not in carried
    assert not [n for n in s.nodes if n.layer == "patch embedding"]


@pytest.mark.slow
@pytest.mark.xdist_group("embedding pass")
def test_cycles_are_those_of_the_plan(either):
    s, model = Summary.load(either), ModelWrapper(str(either / "intermediate_models" / "step_stitch.onnx"))
    (engine,) = engines_of(model)
    assert s.rtlsim.latency_cycles == pytest.approx(latency_cycles(model), rel=0.02)
    batch = engine.batch
    if batch == 1:  # of more a first image is alone, which a mean of few images has in it
        assert s.rtlsim.interval_cycles == pytest.approx(engine.get_exp_cycles(), rel=0.02)
        assert s.plan.latency_cycles == pytest.approx(s.rtlsim.latency_cycles, rel=0.02)
    assert engine.get_exp_cycles() == pytest.approx(engine_cycles(engine.hardware).interval, abs=1)


@pytest.mark.slow
@pytest.mark.xdist_group("embedding pass")
def test_images_leave_whatever_patches_of_the_next_one_do_not_come(either):
    check_images_leave(either)


def check_images_leave(folder: Path) -> None:
    """Images of a build leave though the next one is cut off, after one beat, half of them, all but one."""
    model = ModelWrapper(str(folder / "intermediate_models" / "step_stitch.onnx"))
    design = StitchedDesign.load(folder / "stitched_ip")
    simulated, (source, sink) = in_one_piece(design), (design.input, design.output)
    x = np.random.default_rng(8).integers(0, 256, (4, source.tokens, source.channels))
    expected = logits(model, x)
    for images, stimulus in ((1, Stimulus()), (2, Stimulus(seed=7, pause=0.01, burst=300)), (3, Stimulus(seed=8, stall=0.2))):
        for more in (1, source.beats // 2, source.beats - 1):
            result = simulated.simulator.run(
                {INPUT: beats.pack(x, source)[: images * source.beats + more]}, {OUTPUT: beats.pack(expected[:images], sink)},
                data_dir=simulated.folder, stimulus=stimulus, idle_limit=2 * design.silent_cycles,
            )  # fmt: skip
            assert result.ok, (images, more, stimulus, result.deadlock)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.xdist_group("embedding pass")
def test_a_folding_file_keeps_the_partition(sooner, tmp_path):
    """The names of its units say it, of a design that is loaded, too."""
    file = sooner / "auto_folding_config.json"
    assert UNIT in json.loads(file.read_text())
    again = built_of(tmp_path, folding=file, estimate_only=True)
    same, first = (Summary.load(folder).nodes for folder in (again, sooner))
    assert [(n.node, n.cycles) for n in same] == [(n.node, n.cycles) for n in first]
    loaded = Summary.load(built_of(tmp_path, folding=file, estimate_only=True, loadable=True))
    assert UNIT in {n.node for n in loaded.nodes}
