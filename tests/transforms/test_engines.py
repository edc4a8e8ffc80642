"""Engines: encoders in one node, the same bits as the flat graph, units that are one of each role."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.checks.verify_units import verify_units
from finn_vitprune.builds.stitched.accelerator import INPUT, OUTPUT, RtlAccelerator, RtlRun, in_one_piece
from finn_vitprune.builds.stitched.edges import InEngine
from finn_vitprune.builds.stitched.node_streams import AllNodeStreams
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.builds.stitched.traces import Place, compare, deal, order
from finn_vitprune.builds.stitched.units import DesignUnits
from finn_vitprune.custom_ops.engine.engine import VitEngine_rtl, engines_of
from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import Simulator, Stimulus, beats
from finn_vitprune.sim.contents import Contents
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.engines.bind import bind
from finn_vitprune.transforms.engines.engine_streams import specification
from finn_vitprune.transforms.engines.engine_units import bind_units
from finn_vitprune.transforms.engines.fold_engines import StreamFolds, write_folds
from finn_vitprune.transforms.engines.insert_engines import InsertEngines
from finn_vitprune.transforms.planning.plan import plan
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from tests.custom_ops.test_folding import EXAMPLE, PART
from tests.sampling import sampled


def patches(images: int) -> np.ndarray:
    """Patches of 2 x 2 pixels of the example's first images."""
    data = np.load(EXAMPLE.parent / "images.npz")["images"][:images]
    return data.reshape(images, 4, 2, 4, 2).transpose(0, 1, 3, 2, 4).reshape(images, 16, 4)


@pytest.mark.parametrize("engines, encoders", [(1, [[1, 2, 3, 4]]), ((2, 2), [[1, 2], [3, 4]]), ((3, 1), [[1, 2, 3]])])
def test_engines_compute_what_their_encoders_do(example, engines, encoders):
    binding = bind(example, engines)
    inside = example.transform(InsertEngines(binding))
    assert [list(op.get_nodeattr("encoders")) for op in engines_of(inside)] == encoders
    source, sink = example.graph.node[0].input[0], example.graph.node[-1].output[0]
    flat, whole = (golden.run(model, {source: patches(3)})[sink] for model in (example, inside))
    assert np.array_equal(flat, whole)
    kept = {t.name for t in inside.graph.initializer}
    bodies = [{t.name.partition("/")[2] for t in op.body.graph.initializer} for op in engines_of(inside)]
    used = {name for node in example.graph.node for name in node.input if example.get_initializer(name) is not None}
    assert sorted([*kept, *(name for body in bodies for name in body)]) == sorted(used), "a constant is lost, or kept twice"


@dataclass(frozen=True)
class BuiltEngine:
    """An engine with its HDL and simulator, and frames: what enters and what must leave."""

    op: VitEngine_rtl
    simulator: Simulator
    folder: Path
    given: np.ndarray
    expected: np.ndarray

    def run(self, frames: int, stimulus: Stimulus = Stimulus(), more: int = 0):
        """The first frames, and so many beats more of the next one; all of the first ones must leave."""
        (source,), (sink,) = self.op.in_streams(), self.op.out_streams()
        feed, want = (beats.pack(v, s) for v, s in ((self.given, source), (self.expected[:frames], sink)))
        feed = feed[: frames * source.beats + more]
        limit = 3 * self.op.get_exp_cycles() + 20_000
        return self.simulator.run({"in0_V": feed}, {"out0_V": want}, data_dir=self.folder, stimulus=stimulus, idle_limit=limit)


IMAGES = 7


def test_units_have_as_many_registers_of_their_reset_as_the_engine(specialised, tmp_path):
    """And none of them is in a Pblock."""
    model = planned(specialised, 1, 1)
    (op,) = engines_of(model)
    for name, value in (("reset_stages", 6), ("code_gen_dir_ipgen", str(tmp_path))):
        op.set_nodeattr(name, value)
    op.generate_hdl(model, PART, 5.0)
    units = [node.name for node in op.hardware.graph.node]
    assert len(units) > 20
    cells = set(op.unit_cells())
    assert cells >= {f"inst_{unit}/inst" for unit in units}
    tagged = {unit for unit in units if "vp_engine_tags" in (tmp_path / f"{unit}.v").read_text()}
    assert tagged and cells - {f"inst_{unit}/inst" for unit in units} == {f"inst_{unit}/tags" for unit in tagged}
    assert all("vp_reset #(.STAGES(6)," in (tmp_path / f"{unit}.v").read_text() for unit in units)
    assert {getCustomOp(node).get_nodeattr("reset_stages") for node in op.hardware.graph.node} == {6}


@pytest.fixture(scope="module")
def specialised(example):
    return example.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())


@pytest.fixture(scope="module")
def tensors(specialised):
    """All streams of some images."""
    return golden.run(specialised, {specialised.graph.node[0].input[0]: patches(IMAGES)})


CASES = ((1, 1), (1, 2), ((2, 2), 2))
"""Engines, and images in flight."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(case, marks=[pytest.mark.xdist_group(f"engines {case}")] + [pytest.mark.whole] * (case != CASES[-1])) for case in CASES
    ],
    ids=str,
)
def built(request, specialised, tensors, tmp_path_factory):
    engines, frames = request.param
    return build_last(planned(specialised, engines, frames), tensors, tmp_path_factory.mktemp("engine"))


def planned(specialised, engines, frames: int) -> ModelWrapper:
    """The example on engines, each with units for an image in 4,500 cycles."""
    model = specialised.transform(InsertEngines(bind(specialised, engines), frames))
    plan(model, get_part(PART), PlanOptions(interval=4500))[0].write(model)
    return model


def build_last(model: ModelWrapper, tensors, folder: Path) -> BuiltEngine:
    """The last engine of a model."""
    op = engines_of(model)[-1]
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, PART, 5.0)
    given, expected = (tensors[name] for name in (op.onnx_node.input[0], op.onnx_node.output[0]))
    return BuiltEngine(op, simulator_of(op), folder, given, expected)


@pytest.mark.parametrize("stimulus", sampled([
    Stimulus(), Stimulus(seed=5, pause=0.3, stall=0.3, reset_at=9_000), Stimulus(seed=1, pause=0.002, stall=0.01, burst=300),
    Stimulus(seed=2, pause=0.02, burst=200), Stimulus(seed=3, stall=0.4), Stimulus(seed=4, reset_at=5_000),
], 1), ids=str)  # fmt: skip
def test_an_engine_gives_the_bits_of_its_encoders(built, stimulus):
    result = built.run(IMAGES, stimulus)
    assert result.ok, (result.deadlock, result.mismatches, result.violations)


def test_a_lone_image_comes_out_when_the_plan_says(built):
    """Which tokens a drop keeps hangs on the image, and with them when the MLP behind it can begin: 3 % of a single engine."""
    result = built.run(1)
    assert result.ok
    assert result.latency() == pytest.approx(engine_cycles(built.op.hardware).latency, rel=0.03)


def test_images_that_wait_come_at_the_planned_interval(built):
    result = built.run(IMAGES)
    frames = built.op.get_nodeattr("frames_in_flight")
    ends = result.out_cycles["out0_V"].reshape(IMAGES, -1)[:, -1]
    measured = (ends[1 + 2 * frames] - ends[1]) / (2 * frames)
    assert measured == pytest.approx(built.op.get_exp_cycles(), rel=0.02)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_images_leave_whatever_beats_of_the_next_one_do_not_come(built, share):
    """One to three images, and the first beats of another: one, half of them, all but one."""
    more = 1 + int(share * (built.op.in_streams()[0].beats - 2))
    for images, stimulus in (
        (1, Stimulus()),
        (2, Stimulus()),
        (2, Stimulus(seed=7, pause=0.01, burst=300)),
        (3, Stimulus(seed=8, stall=0.2)),
    ):
        result = built.run(images, stimulus, more)
        assert result.ok, (images, more, stimulus, result.deadlock)


def test_a_slow_token_drop_stops_the_images_behind_it(specialised):
    """Bins of a ranking that are cleared for longer than all other units need for a frame."""
    (engine,) = engines_of(planned(specialised, 1, 2))
    fast = engine_cycles(engine.structure).interval
    ((drops, _),) = StreamFolds(engine).past.items()
    write_folds(engine, {drops: {"ranking": "histogram"}})
    bind_units(engine)
    slowest = max(getCustomOp(node).get_exp_cycles() for node in engine.structure.graph.node if node.op_type == "VitTokenDrop_rtl")
    assert engine_cycles(engine.structure).interval >= slowest > 2 * fast


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The example on two engines, two images in flight, on a part of two dies: the whole build on 24 images."""
    folder = tmp_path_factory.mktemp("two")
    die = {"LUT": 100_000, "FF": 200_000, "DSP": 800, "BRAM36": 200, "URAM": 40}
    (folder / "part.json").write_text(json.dumps({PART: {k: 2 * v for k, v in die.items()} | {"dies": [die, die]}}))
    return build(
        BuildOptions(model=None, output_dir=folder / "b", fpga_part=PART, target_fps=62_000, **dict(of_two(folder / "b", max_images=24)))
    )


def of_two(folder: Path, **more: object) -> BuildSettings:
    """Settings of the build of two engines in ``folder``, and others."""
    resources = folder.parent / "part.json"
    return BuildSettings(encoders_per_engine=(2, 2), frames_in_flight=2, synth="none", part_resources=resources, **more)


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_a_build_on_engines_is_bit_exact_and_as_planned(two):
    s = Summary.load(two)
    assert s.verify.images == 24 and s.verify.rtl_mismatches == 0 and s.verify.class_changes == 0
    assert s.rtlsim.latency_cycles == pytest.approx(s.plan.latency_cycles, rel=0.02)
    assert s.rtlsim.interval_cycles == pytest.approx(s.plan.interval_cycles, rel=0.045)  # one of 12 batches has one image
    assert {n.node: n.slrs for n in s.nodes if n.op_type == "VitCrossing_rtl"} == {"VitCrossing_rtl_0": [0, 1]}
    assert {n.slrs[0] for n in s.nodes if "_rtl_0_" in n.node} == {0} and {n.slrs[0] for n in s.nodes if "_rtl_1_" in n.node} == {1}
    streams = StitchedDesign.load(two / "stitched_ip").edges
    assert s.verify.traced_streams == len(streams) > 80
    assert json.loads((two / "report" / "rtl_verification.json").read_text())["left_out"] == []
    units = [n for n in s.resources.per_node if n.node.startswith("VitEngine_rtl_")]
    assert len(units) > 40 and len({n.node for n in units}) == len(units)
    for kind in ("LUT", "DSP", "BRAM36", "URAM"):
        assert sum(getattr(n, kind) for n in s.resources.per_node) == pytest.approx(getattr(s.resources, kind))
    # An image in all encoders of a unit; the last encoder's queries are made for all tokens.
    assert s.model.macs <= sum(row.macs for row in s.balance) <= 1.1 * s.model.macs
    for row in s.balance:
        assert row.macs == pytest.approx(row.ideal_cycles * row.macs_per_cycle)
        assert row.ideal_cycles + sum(asdict(row.lost).values()) == pytest.approx(row.cycles)
    assert {n.layer for n in s.nodes if n.node.endswith("_QKV")} == {"engine of encoders 1 to 2, QKV", "engine of encoders 3 to 4, QKV"}


@dataclass(frozen=True)
class TracedDesign:
    """A design with engines, images, and all tensors that its streams must carry for them."""

    model: ModelWrapper
    design: StitchedDesign
    patches: np.ndarray
    tensors: dict[str, np.ndarray]

    def run(self, folder: Path | None = None) -> RtlRun:
        """All streams, with the files of ``folder``."""
        simulated = replace(in_one_piece(self.design), folder=folder or self.design.folder)
        return RtlAccelerator(self.design, simulated).run(self.patches, traced=len(self.patches))

    def places(self, run: RtlRun) -> list[Place]:
        """What differs."""
        return list(compare(self.design.edges, run, self.tensors, len(self.patches)).differing)


@pytest.fixture(scope="module")
def traced(two):
    """Three images, of which two go through the engines together."""
    model, given = ModelWrapper(str(two / "intermediate_models" / "step_stitch.onnx")), patches(3)
    tensors = golden.run(specification(model), {model.graph.input[0].name: given})
    return TracedDesign(model, StitchedDesign.load(two / "stitched_ip"), given, tensors)


def spoil(design: Path, folder: Path, unit: str, encoder: int) -> None:
    """A copy of a design with another first constant of an encoder; each of two encoders of an engine has half of them."""
    shutil.copytree(design, folder)
    file = folder / f"{unit}_constants.hex"
    words = file.read_text().split()
    words[0 if encoder % 2 else len(words) // 2] = "0" * len(words[0])
    file.write_text("\n".join(words) + "\n")


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
@pytest.mark.parametrize("unit, encoder", sampled([
    ("VitEngine_rtl_0_MLP_2", 1), ("VitEngine_rtl_0_QKV", 2), ("VitEngine_rtl_1_projection", 4),
], 1, several=True))  # fmt: skip
def test_a_wrong_constant_of_one_encoder_is_named_by_stream_encoder_and_image(traced, tmp_path, unit, encoder):
    """What is wrong begins behind that unit in that encoder, in every image; nothing before it is wrong."""
    spoil(traced.design.folder, tmp_path / "spoiled", unit, encoder)
    places = traced.places(traced.run(tmp_path / "spoiled"))
    behind = next(e for e in traced.design.edges if e.producer == unit and not e.tags)
    found = [place for place in places if place.stream == behind.name]
    first = [place.image for place in found if place.encoder == encoder]
    assert first == [0, 1, 2] and places[0] == found[0], "the first that differs is nearest to the cause"
    assert str(places[0]).startswith(f"{behind.name}: encoder {encoder}, image 0: ")
    before = {e.name for e in traced.design.edges[: traced.design.edges.index(behind)] if e.inside and e.inside.engine in unit}
    assert all(place.encoder is None or place.encoder >= encoder for place in places)
    assert not [place for place in places if place.encoder == encoder and place.stream in before]


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
@pytest.mark.parametrize("images", [1, 2])
def test_in_a_design_images_leave_whatever_beats_of_the_next_one_do_not_come(traced, images):
    simulated, (source, sink) = in_one_piece(traced.design), (traced.design.input, traced.design.output)
    logits = traced.tensors[traced.model.graph.output[0].name]
    for more in (1, source.beats // 2, source.beats - 1):
        result = simulated.simulator.run(
            {INPUT: beats.pack(traced.patches, source)[: images * source.beats + more]}, {OUTPUT: beats.pack(logits[:images], sink)},
            data_dir=simulated.folder, idle_limit=2 * traced.design.silent_cycles,
        )  # fmt: skip
        assert result.ok, (more, result.deadlock)


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_one_wrong_bit_in_any_frame_of_any_stream_is_named(traced):
    """Of each stream, encoder and image one bit of the first beat of the frame."""
    run, flips = traced.run(), 0
    assert traced.places(run) == []
    edges = traced.design.edges
    entered = {e.inside.engine: run.traces[e.tensor][0].ravel().tolist() for e in edges if e.tags and e.of_entry}
    assert entered["VitEngine_rtl_0"] == [0, 1, 0, 0, 1, 1], "an image alone, then two together"
    for edge in edges:
        beats, stream = run.traces[edge.tensor]
        if edge.tags and edge.of_entry:  # it says how the others are cut
            for beat in range(len(beats)):
                wrong = beats.copy()
                wrong[beat, 0] ^= 1
                places = traced.places(replace(run, traces=run.traces | {edge.tensor: (wrong, stream)}))
                assert places and {p.encoder is None for p in places} == {False}
            continue
        order, sizes = (entered[edge.inside.engine], edge.inside.beats) if edge.inside else ([0] * 3, [stream.beats])
        beat, seen = 0, [0] * len(sizes)
        for encoder in order:
            if not sizes[encoder]:
                continue
            wrong = beats.copy()
            wrong[beat, 0] ^= 1
            places = traced.places(replace(run, traces=run.traces | {edge.tensor: (wrong, stream)}))
            assert places == [Place(edge.name, edge.inside and edge.inside.encoders[encoder], seen[encoder], 1)]
            beat, seen[encoder], flips = beat + sizes[encoder], seen[encoder] + 1, flips + 1
        assert beat == len(beats)
    assert flips > 2 * 3 * 70


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_units_of_an_engine_run_alone_on_the_frames_of_all_encoders(traced):
    """Some of them; one code of the class token's queries in the last encoder is expected to be another."""
    names = [f"VitEngine_rtl_1_{unit}" for unit in ("entry", "exit", "QKV_split", "token_drop_switch", "token_drop_merge")]
    some = [unit for unit in traced.design.units if unit.name in names]
    (queries,) = next(e for e in traced.design.edges if e.producer == names[2]).inside.carries[1]
    wrong = traced.tensors[queries].copy()
    assert wrong.shape[:2] == (3, 1)
    wrong[1, 0, 5] ^= 1
    with DesignUnits(replace(traced.design, units=some)) as units:
        streams = AllNodeStreams(traced.model, traced.tensors | {queries: wrong})
        ran = [node for structure in units.run(1, streams) for node in structure.nodes]
    assert sorted(node.name for node in ran) == sorted(names[1:]), "in which order an entry takes frames hangs on when they come"
    assert all(node.beats > 1000 and not node.problem for node in ran)
    assert {node.name: node.mismatches for node in ran if node.mismatches} == {names[2]: 2}, "once a run"


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_engines_unit_by_unit_are_the_stitched_top_in_every_cycle(traced):
    """Of the same cycles and bits on all streams; and verified so."""
    with DesignUnits(traced.design) as units:
        units.compile(workers=2)
        by_units, whole = RtlAccelerator(traced.design, units.simulated()), RtlAccelerator(traced.design)
        for stimulus in (Stimulus(), Stimulus(seed=3, pause=0.3, stall=0.3), Stimulus(seed=5, stall=0.6, reset_at=7_000)):
            found, expected = (a.run(traced.patches, stimulus, traced=3) for a in (by_units, whole))
            assert found.cycles == expected.cycles and found.max_fill == expected.max_fill
            assert all(np.array_equal(found.traces[name][0], beats) for name, (beats, _) in expected.traces.items())
    result, logits, _ = verify_units(traced.model, traced.design, traced.patches, 2, workers=2)
    assert result.rtl_mismatches == 0 and result.traced_streams == len(traced.design.edges)
    assert result.units.nodes == len(traced.design.units) - 2, "all but the entries run alone"
    assert np.array_equal(logits, found.logits) and result.latency_cycles == whole.run(traced.patches[:1]).latency_cycles


@pytest.mark.parametrize("sent, images, expected", [
    ([0, 1, 2, 0, 0, 1, 1, 2, 2], 3, [0, 1, 2, 0, 0, 1, 1, 2, 2]),
    ([0, 0, 1, 1, 2, 2, 0], 3, [0, 0, 1, 1, 2, 2, 0, 1, 2]),  # cut, or tags that lack
    ([0, 0, 0, 1, 1, 2], 3, [0, 0, 1, 1, 2, 2, 0, 1, 2]),  # three in a batch of two
    ([1, 0, 2], 1, [0, 1, 2]),
])  # fmt: skip
def test_frames_are_dealt_by_batches(sent, images, expected):
    inside = InEngine("engine", [5, 6, 7], batch=2, beats=[3, 2, 0], carries=[["a"], ["b"], []])
    encoders = order(inside, np.array(sent), images)
    assert encoders == expected
    values = np.arange(2 * 5 * images)
    first, second, _none = deal(inside, 2, values, encoders)
    assert [len(f) for f in first] == [6] * images and [len(f) for f in second] == [4] * images
    assert sorted(np.concatenate([*first, *second])) == values.tolist()


@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_a_stream_of_which_it_is_not_known_what_it_carries_is_named(traced):
    run, edges = traced.run(), list(traced.design.edges)
    number = next(i for i, edge in enumerate(edges) if edge.inside and not edge.tags)
    unknown = replace(edges[number].inside, beats=[0, 0], carries=[[], []])
    edges[number] = replace(edges[number], inside=unknown)
    found = compare(edges, run, traced.tensors, 3)
    assert found.left_out == (edges[number].name,) and found.streams == len(edges) - 1 and found.codes == 0


@pytest.mark.whole  # tests/builds/test_folding_file.py takes those of pipelines
@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_a_folding_file_names_the_units_of_engines(two, tmp_path):
    """What a plan wrote makes the same hardware again; a unit that is not there is named."""
    folds = json.loads((two / "auto_folding_config.json").read_text())
    assert folds["VitEngine_rtl_0_MLP_1"]["PE"] >= 1 and folds["VitEngine_rtl_1"].keys() == {"SIMD", "slr"}
    settings = of_two(two)

    def again(name, content):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return build(
            BuildOptions(
                model=None,
                output_dir=tmp_path / name,
                fpga_part=PART,
                folding=tmp_path / f"{name}.json",
                estimate_only=True,
                **dict(settings),
            )
        )

    same, first = (Summary.load(folder).nodes for folder in (again("same", folds), two))
    assert [(n.node, n.cycles) for n in same] == [(n.node, n.cycles) for n in first]
    head = "BlockSparseMVAU_rtl_1"  # behind the engines: FINN numbers it without what is in them
    changed = Summary.load(again("changed", folds | {head: folds[head] | {"PE": 2 * folds[head]["PE"]}})).nodes
    assert {n.node for n, m in zip(changed, first) if n.cycles != m.cycles and n.op_type == "BlockSparseMVAU_rtl"} == {head}
    unit = "VitEngine_rtl_1_attention"
    engine = engines_of(ModelWrapper(str(two / "intermediate_models" / "step_fold.onnx")))[1]
    attention = next(getCustomOp(node) for node in engine.hardware.graph.node if node.name == unit)
    tokens = [op.get_nodeattr("tokens") for op in attention.by_encoder()]
    assert min(tokens) < max(tokens), "the wider of two encoders has more keys at once than the other has tokens"
    wide = Summary.load(again("keys", folds | {unit: folds[unit] | {"PE": max(tokens)}})).nodes
    assert next(n for n in wide if n.node == unit).cycles < next(n for n in first if n.node == unit).cycles
    with pytest.raises(UserError, match=f"PE {max(tokens) + 1} exceeds the {max(tokens)} tokens"):
        again("more keys", folds | {unit: folds[unit] | {"PE": max(tokens) + 1}})
    with pytest.raises(UserError, match="no node VitEngine_rtl_0_MLP_3"):
        again("other", folds | {"VitEngine_rtl_0_MLP_3": {"PE": 1}})
    with pytest.raises(UserError, match="PE cannot be set for node VitEngine_rtl_0; use SIMD, slr, or the names of its units"):
        again("engine", folds | {"VitEngine_rtl_0": {"PE": 1}})
    with pytest.raises(UserError, match="SIMD 5 of node VitEngine_rtl_0 is not possible; use 1, 2, 4, 8, 16"):
        again("width", folds | {"VitEngine_rtl_0": {"SIMD": 5}})
    with pytest.raises(UserError, match=f"link_stages cannot be set for {unit}: streams in an engine get no registers; leave it out"):
        again("registers", folds | {unit: folds[unit] | {"link_stages": [1]}})


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.xdist_group("two engines")
def test_weights_of_engines_are_loaded(two, tmp_path, request):
    """In UltraRAM they come through the load port, those of all encoders of a unit as one region, before the first image: over
    the bus in the design, from files in units that run alone. An engine's first tag leaves while the port is still loading."""
    folds = json.loads((two / "auto_folding_config.json").read_text())
    loaded = ["VitEngine_rtl_0_QKV", "VitEngine_rtl_0_MLP_2", "VitEngine_rtl_1_projection"]
    folds |= {name: folds[name] | {"ram_style": "ultra"} for name in loaded}
    (tmp_path / "folds.json").write_text(json.dumps(folds))
    designs = []
    for simulation in ("whole", "units") if request.config.getoption("--whole") else ("whole",):
        settings = of_two(two, max_images=5, simulation=simulation)
        folder = build(
            BuildOptions(model=None, output_dir=tmp_path / simulation, fpga_part=PART, folding=tmp_path / "folds.json", **dict(settings))
        )
        found = Summary.load(folder).verify
        assert found.rtl_mismatches == 0 and found.class_changes == 0 and found.images == 5
        contents = Contents.load(folder / "runtime_weights")
        assert [(region.unit, region.memory) for region in contents.regions] == [(name, "weights") for name in loaded]
        designs.append(contents.design)
    assert len(set(designs)) == 1 and Summary.load(folder).resources.URAM > 0


@pytest.mark.whole
@pytest.mark.xdist_group("two engines")
def test_finn_runs_an_engine_alone(two):
    """``exec_mode`` rtlsim of the node, as FINN does it."""
    model = ModelWrapper(str(two / "intermediate_models" / "step_hw_codegen.onnx"))
    op = next(op for op in engines_of(model))
    x = np.random.default_rng(5).integers(-3000, 3000, (1, *op.in_streams()[0].shape[1:]))
    (golden_y,) = op.compute(x)
    op.prepare_rtlsim(behav=False)
    op.set_nodeattr("exec_mode", "rtlsim")
    context = {op.onnx_node.input[0]: x.astype(np.float32)}
    op.execute_node(context, model.graph)
    assert np.array_equal(context[op.onnx_node.output[0]], golden_y)


@pytest.mark.parametrize("engines, message", sampled([
    ({"engines": 5}, "5 engines for 4 encoders"), ({"encoders_per_engine": (1, 2)}, "encoders per engine 1,2: use numbers"),
], 1, several=True))  # fmt: skip
def test_engines_that_cannot_be_are_refused(tmp_path, engines, message):
    with pytest.raises(UserError, match=message):
        build(BuildOptions(model=None, output_dir=tmp_path / "b", fpga_part=PART, synth="none", **engines))
