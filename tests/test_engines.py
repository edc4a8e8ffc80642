"""Engines: encoders in one node, the same bits as the flat graph, units that are one of each role."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.transformation.general import GiveUniqueNodeNames
from test_folding import EXAMPLE, PART, example  # noqa: F401 (a fixture: four encoders, drops in two, the last one for the class token)

from finn_vitprune.bench.cycles import simulator_of
from finn_vitprune.custom_ops.engine import VitEngine_rtl
from finn_vitprune.custom_ops.engine_times import engine_cycles
from finn_vitprune.execute import golden
from finn_vitprune.sim import Simulator, Stimulus, beats
from finn_vitprune.transforms.bind import bind
from finn_vitprune.transforms.insert_engines import InsertEngines
from finn_vitprune.transforms.plan_engines import engines_of, fold_for


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
    bodies = [{t.name for t in op.body.graph.initializer} for op in engines_of(inside)]
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

    def run(self, frames: int, stimulus: Stimulus = Stimulus()):
        """The first frames."""
        (source,), (sink,) = self.op.in_streams(), self.op.out_streams()
        feed, want = (beats.pack(v[:frames], s) for v, s in ((self.given, source), (self.expected, sink)))
        limit = 3 * self.op.get_exp_cycles() + 20_000
        return self.simulator.run({"in0_V": feed}, {"out0_V": want}, data_dir=self.folder, stimulus=stimulus, idle_limit=limit)


IMAGES = 7


@pytest.fixture(scope="module")
def specialised(example):  # noqa: F811
    return example.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())


@pytest.fixture(scope="module")
def tensors(specialised):
    """All streams of some images."""
    return golden.run(specialised, {specialised.graph.node[0].input[0]: patches(IMAGES)})


@pytest.fixture(scope="module", params=[(1, 1), (1, 2), ((2, 2), 2)], ids=str)
def built(request, specialised, tensors, tmp_path_factory):
    engines, frames = request.param
    model = specialised.transform(InsertEngines(bind(specialised, engines), frames))
    fold_for(model, 4500)
    op = engines_of(model)[-1]
    folder = tmp_path_factory.mktemp("engine")
    op.set_nodeattr("code_gen_dir_ipgen", str(folder))
    op.generate_hdl(model, PART, 5.0)
    given, expected = (tensors[name] for name in (op.onnx_node.input[0], op.onnx_node.output[0]))
    return BuiltEngine(op, simulator_of(op), folder, given, expected)


@pytest.mark.parametrize("stimulus", [
    Stimulus(), Stimulus(seed=1, pause=0.002, stall=0.01, burst=300), Stimulus(seed=2, pause=0.02, burst=200), Stimulus(seed=3, stall=0.4),
    Stimulus(seed=4, reset_at=5_000), Stimulus(seed=5, pause=0.3, stall=0.3, reset_at=9_000),
], ids=str)  # fmt: skip
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
