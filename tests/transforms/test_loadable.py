"""One design, several networks: what it is made for, what it is loaded with, and what does not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.networks import contents_of
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.cli import run
from finn_vitprune.custom_ops.engine.engine import flattened
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.errors import UserError
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents
from finn_vitprune.transforms.engines.loadable import check_same_memories
from finn_vitprune.transforms.lowering.lower import lower
from tests.reloads import golden_logits, reload
from tests.sampling import sampled
from tests.vit_models import random_vit

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loadable")]
PART = "xczu7ev-ffvc1156-2-e"
NETWORKS = {
    "built": {"seed": 1, "keep": "0.5"},
    "reserved": {"seed": 2, "keep": "0.75"},
    "not reserved": {"seed": 5, "keep": "0.5"},
    "larger": {"seed": 3, "keep": "1.0"},
    "deeper": {"seed": 4, "depth": 4},
    "wider": {"seed": 6, "dim": 64},
}
DROPPING = {
    "half": {"seed": 1},
    "dense": {"seed": 7, "keep": "1.0", "drop_at": ()},
    "most": {"seed": 8, "keep": "0.6", "token_keep": "0.9"},
    "some": {"seed": 9, "keep": "0.4", "token_keep": "0.7"},
    "elsewhere": {"seed": 3, "drop_at": (1, 2)},
}
"""Networks of 10 tokens that drop them in other encoders, or other ones, or none."""
SEEDS = {
    f"seed {seed}": {"seed": seed, "keep": keep, "token_keep": token_keep}
    for seed, (keep, token_keep) in enumerate(2 * [("0.5", "0.8"), ("0.5", "0.5"), ("0.75", "0.3"), ("1.0", "0.9"), ("0.4", "0.2")], 11)
}
"""Ten networks of the same structure: of other weights, calibrated on other images, pruned otherwise."""

SMALL = {"first": {"seed": 11, "keep": "0.5"}, "second": {"seed": 12, "keep": "0.5"}}
"""Networks of one encoder and 5 tokens, with other blocks and programs."""


RELOADED = (Stimulus(seed=31), Stimulus(seed=32, pause=0.3, stall=0.3, burst=9), Stimulus(seed=33, stall=0.6, burst=90))
"""Traffic beside loads; in the last one images are still inside when the next network comes."""


class Networks(dict[str, tuple[Path, np.ndarray]]):
    """Random models by name, each made when it is first asked for: its file in ``folder``, with its images beside it, and its images."""

    def __init__(self, folder: Path, options: dict[str, dict], **common):
        self.folder, self.options, self.common = folder, options, {"dim": 32, "heads": 4, "depth": 3} | common

    def __missing__(self, name: str) -> tuple[Path, np.ndarray]:
        model, images = random_vit(**self.common | self.options[name])
        file = self.folder / f"{name}.onnx"
        model.save(str(file))
        np.savez(file.with_suffix(".npz"), images=images)
        self[name] = file, images
        return self[name]


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Networks:
    """Models of one kind; all but the last two of the same structure."""
    return Networks(tmp_path_factory.mktemp("networks"), NETWORKS)


@pytest.fixture(scope="module")
def design(networks, tmp_path_factory) -> Path:
    """A design on one engine, made for two networks."""
    settings = BuildSettings(engines=1, frames_in_flight=2, reserve=(networks["reserved"][0],), synth="none")
    return build(
        BuildOptions(
            model=networks["built"][0],
            output_dir=tmp_path_factory.mktemp("design") / "b",
            fpga_part=PART,
            target_fps=100_000,
            **dict(settings),
        )
    )


@pytest.fixture(scope="module")
def dropping(tmp_path_factory) -> Networks:
    """Models that drop tokens."""
    return Networks(tmp_path_factory.mktemp("dropping"), DROPPING | SEEDS, image=6, drop_at=(1,))


@pytest.fixture(scope="module")
def roomy(dropping, tmp_path_factory) -> Path:
    """A design on one engine with room for the dense network."""
    return build(
        BuildOptions(
            model=dropping["half"][0],
            output_dir=tmp_path_factory.mktemp("roomy") / "b",
            fpga_part=PART,
            target_fps=60_000,
            engines=1,
            frames_in_flight=2,
            reserve=("dense",),
            synth="none",
            max_images=4,
        )
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Networks:
    """Two small networks."""
    return Networks(tmp_path_factory.mktemp("small"), SMALL, depth=1, drop_at=(1,), bias=0.5)


@pytest.fixture(scope="module")
def pipeline(small, tmp_path_factory) -> Path:
    """A pipeline made for both: each unit has its own hardware, each matrix unit a single program, which it reads ahead."""
    settings = BuildSettings(reserve=(small["second"][0],), synth="none", max_images=2, stalled_images=1, traced_images=1)
    return build(
        BuildOptions(
            model=small["first"][0],
            output_dir=tmp_path_factory.mktemp("pipeline") / "b",
            fpga_part=PART,
            target_fps=100_000,
            **dict(settings),
        )
    )


@pytest.fixture(scope="module")
def shared_and_alone(dropping, tmp_path_factory) -> Path:
    """The same on an engine of two encoders, and units of the third's own."""
    return build(
        BuildOptions(
            model=dropping["half"][0],
            output_dir=tmp_path_factory.mktemp("shared") / "b",
            fpga_part=PART,
            target_fps=60_000,
            encoders_per_engine=(2, 1),
            frames_in_flight=2,
            reserve=("dense",),
            synth="none",
            max_images=4,
        )
    )


def shared_unit(dropping: Networks, folder: Path, unit: str, in_width: int, out_width: int = 8, own: str = "half", other: str = "") -> Path:
    """A design with room for the dense network, or ``other``, on one engine with layers on one unit, which a folding file asks for."""
    fold = {"SIMD": 4, "PE": 4, "TOKENS": 4, "LANES": 2, "in_width": in_width, "out_width": out_width}
    (folder / "folds.json").write_text(json.dumps({"Defaults": {}, f"VitEngine_rtl_0_{unit}": fold}))
    reserve = str(dropping[other][0]) if other else "dense"
    settings = BuildSettings(engines=1, frames_in_flight=2, reserve=(reserve,), synth="none", max_images=4)
    options = BuildOptions(model=dropping[own][0], output_dir=folder / "b", fpga_part=PART, folding=folder / "folds.json", **dict(settings))
    return build(options)


@pytest.fixture(scope="module")
def on_array(dropping, tmp_path_factory) -> Path:
    """All matrices of the encoders on one unit, with ports of 16 elements: networks of 72 neurons fill no whole beats."""
    return shared_unit(dropping, tmp_path_factory.mktemp("array"), "array", 16, 16, "dense", "seed 13")


@pytest.fixture(scope="module")
def on_array_too(dropping, tmp_path_factory) -> Path:
    """The patch embedding on it, too."""
    return shared_unit(dropping, tmp_path_factory.mktemp("array"), "array_and_patch_embedding", 4)


@pytest.fixture(scope="module")
def as_a_pass(dropping, tmp_path_factory) -> Path:
    """The patch embedding a pass of the second MLP matrix's unit."""
    return shared_unit(dropping, tmp_path_factory.mktemp("pass"), "MLP_2_and_patch_embedding", 4)


def logits(model: Path, images: np.ndarray) -> np.ndarray:
    """Of the hardware graph."""
    return golden_logits(lower(ModelWrapper(str(model))).model, images)


def test_the_design_is_verified_with_its_own_network(design):
    summary = Summary.load(design)
    assert summary.verify.images == 16 and summary.verify.rtl_mismatches == 0


def test_all_contents_are_loaded(design):
    model = flattened(ModelWrapper(str(design / "intermediate_models" / "step_stitch.onnx")))
    ops = [op for op in map(getCustomOp, model.graph.node) if isinstance(op, LoadedBackend)]
    assert len(ops) > 10 and all(op.get_nodeattr("loaded") for op in ops)
    built_in = {path.name for path in (design / "stitched_ip").glob("*.hex")}
    assert all(name.endswith("_seed.hex") for name in built_in), built_in


def test_the_contents_of_its_own_network_are_those_of_the_build(design, networks, tmp_path):
    contents_of(networks["built"][0], design).contents.write(tmp_path / "c.bin")
    assert (tmp_path / "c.bin").read_bytes() == (design / "runtime_weights" / "contents.bin").read_bytes()


@pytest.mark.parametrize("dealt", sampled([None, (2, 1)], 0), ids=str)
def test_the_folding_file_of_a_plan_is_taken_where_the_network_that_is_reserved_for_drops_tokens(dealt, dropping, tmp_path):
    """The token drop that only the other network has is in the file."""
    settings = BuildSettings(encoders_per_engine=dealt, reserve=(dropping["half"][0],), synth="none", lowering_images=1)
    options = BuildOptions(
        model=dropping["dense"][0], output_dir=tmp_path / "plan", fpga_part=PART, target_fps=20_000, estimate_only=True, **dict(settings)
    )
    planned = BuildFolder(build(options))
    assert any("drop" in name.lower() for name in json.loads(planned.auto_folding.read_text()))
    folded = BuildFolder(build(options.changed(target_fps=None, output_dir=tmp_path / "folded", folding=planned.auto_folding)))
    assert Summary.load(folded.path).resources == Summary.load(planned.path).resources


@pytest.mark.parametrize(
    "name, simulation", sampled([("not reserved", "whole"), ("reserved", "whole"), ("reserved", "units")], 1, several=True)
)
def test_another_network_gives_its_own_logits_bit_for_bit(design, networks, name, simulation, tmp_path):
    model, images = networks[name]
    contents_of(model, design).contents.write(tmp_path / "c.bin")
    found = simulate(design, images, tmp_path / "c.bin", simulation)
    expected = logits(model, images)
    assert np.array_equal(found, expected)
    assert not np.array_equal(expected, logits(networks["built"][0], images)), "the networks differ"


@pytest.mark.parametrize("folder, of, names", [
    ("pipeline", "small", ("first", "second")),
    pytest.param("design", "networks", ("built", "reserved"), marks=pytest.mark.whole),
    pytest.param("roomy", "dropping", ("half", "most"), marks=pytest.mark.whole),
    pytest.param("on_array_too", "dropping", ("half", "most"), marks=pytest.mark.whole),
    pytest.param("as_a_pass", "dropping", ("half", "most"), marks=pytest.mark.whole),
])  # fmt: skip
def test_a_design_is_loaded_again_while_images_flow(folder, of, names, request, tmp_path):
    """The first network, the second, the first again: nothing of a network is left in the next one, and none begins too early. On an
    engine with room the second network drops fewer tokens, too.
    """
    build_dir, models = request.getfixturevalue(folder), request.getfixturevalue(of)
    images = np.tile(models[names[0]][1], (2, 1, 1, 1))
    files = []
    for name in names:
        files.append(tmp_path / f"{name}.bin")
        contents_of(models[name][0], build_dir).contents.write(files[-1])
    wanted = [logits(models[name][0], images) for name in names]
    assert (wanted[0] != wanted[1]).any(axis=1).all(), "an image has the same logits in both"
    for stimulus in RELOADED:
        found = reload(build_dir, files, images, wanted, stimulus)
        assert not found.mismatches and all(found.frames), (stimulus, found)


@pytest.mark.whole
def test_a_design_of_a_folding_file_has_the_room_too(roomy, dropping, tmp_path):
    """Room is made for the folds of the file, those of nodes outside of the engine among them."""
    settings = BuildSettings(engines=1, frames_in_flight=2, reserve=("dense",), synth="none", max_images=4)
    again = build(
        BuildOptions(
            model=dropping["half"][0],
            output_dir=tmp_path / "b",
            fpga_part=PART,
            folding=roomy / "auto_folding_config.json",
            stop_step="step_stitch",
            **dict(settings),
        )
    )
    words = [len(contents_of(dropping["dense"][0], folder).contents.data) for folder in (roomy, again)]
    assert words[1] == pytest.approx(words[0], rel=0.1)


@pytest.mark.whole
@pytest.mark.parametrize("name", ["dense", "most", "some"])
@pytest.mark.parametrize("folder", ["on_array_too", "as_a_pass", "roomy"])
def test_room_for_the_dense_network_is_room_for_all_that_drop_less(folder, dropping, name, request, tmp_path):
    build_dir, (model, images) = request.getfixturevalue(folder), dropping[name]
    contents_of(model, build_dir).contents.write(tmp_path / "c.bin")
    assert np.array_equal(simulate(build_dir, images, tmp_path / "c.bin", "whole"), logits(model, images))


@pytest.mark.whole
@pytest.mark.parametrize("name", ["dense", "most", "seed 13"])
def test_an_array_of_wide_ports_runs_networks_of_fewer_neurons(on_array, dropping, name, tmp_path):
    """Of three quarters of the neurons, too, 72 in beats of 16; a network of fewer heads, whose values fill no beat, is refused."""
    model, images = dropping[name]
    contents_of(model, on_array).contents.write(tmp_path / "c.bin")
    assert np.array_equal(simulate(on_array, images, tmp_path / "c.bin", "whole"), logits(model, images))
    with pytest.raises(UserError, match="out_width 16 .* must divide MH 8"):
        contents_of(dropping["some"][0], on_array)


@pytest.mark.whole
@pytest.mark.parametrize("folder", ["on_array_too", "as_a_pass", "shared_and_alone"])
@pytest.mark.parametrize("name", SEEDS)
def test_networks_of_other_seeds_give_their_own_logits(folder, dropping, name, request, tmp_path):
    """On an array, whose groups of tokens are others, and with the patch embedding a pass; also on an engine of one encoder; fewer tokens than those for which the attention
    and the FIFOs are planned."""
    build_dir, (model, images) = request.getfixturevalue(folder), dropping[name]
    contents_of(model, build_dir).contents.write(tmp_path / "c.bin")
    assert np.array_equal(simulate(build_dir, images[:6], tmp_path / "c.bin", "whole"), logits(model, images[:6]))


@pytest.mark.whole
def test_a_network_that_drops_where_the_design_has_no_drop_is_refused(roomy, dropping):
    with pytest.raises(UserError, match="token_drop"):
        contents_of(dropping["elsewhere"][0], roomy)


def test_a_network_that_is_too_large_is_refused_with_the_size(design, networks):
    with pytest.raises(UserError, match=r"unit VitEngine_rtl_0_\w+ needs \w+ \d+ for this network, the design has \d+: .*--reserve"):
        contents_of(networks["larger"][0], design)


@pytest.mark.parametrize("name", sampled(["deeper", "wider"], 1))
def test_a_network_of_another_structure_is_refused(design, networks, name):
    with pytest.raises(UserError):
        contents_of(networks[name][0], design)


def test_contents_for_another_design_are_refused(design, networks, tmp_path):
    good = contents_of(networks["built"][0], design).contents
    other = Contents(good.design ^ 1, good.regions, good.data, good.port)
    other.write(tmp_path / "c.bin")
    with pytest.raises(UserError, match="is for design"):
        simulate(design, networks["built"][1], tmp_path / "c.bin")
    (tmp_path / "c.bin").write_bytes((tmp_path / "c.bin").read_bytes()[:-8])
    with pytest.raises(UserError, match="words"):
        simulate(design, networks["built"][1], tmp_path / "c.bin")
    with pytest.raises(UserError, match="no such file"):
        simulate(design, networks["built"][1], tmp_path / "none.bin")


def test_a_folder_without_its_last_graph_is_named(design, networks, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(design, part)
    (part / "intermediate_models" / "step_stitch.onnx").unlink()
    with pytest.raises(UserError, match="step_stitch.onnx is missing"):
        contents_of(networks["built"][0], part)


def test_what_is_built_in_of_a_unit_that_cannot_be_loaded_must_be_equal():
    one, other = ({"mult": Memory(np.array(words, object), 17)} for words in ([3, 4], [3, 5]))
    check_same_memories(one, one, "requantisation")
    with pytest.raises(UserError, match="unit requantisation has other mult for this network, and they are built in"):
        check_same_memories(one, other, "requantisation")


def test_the_commands_say_what_they_did(design, networks, tmp_path, capsys):
    out = tmp_path / "c.bin"
    assert run(["contents", str(networks["reserved"][0]), "--for", str(design), "-o", str(out)]) == 0
    assert "data words for design" in capsys.readouterr().out and out.is_file()
    assert run(["contents", str(networks["larger"][0]), "--for", str(design), "-o", str(tmp_path / "no.bin")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "no.bin").exists()
    before = (model := networks["reserved"][0]).read_bytes()
    assert (
        run(["contents", str(model), "--for", str(design), "-o", str(model)]) == 2
        and run(["contents", str(model), "--for", str(design), "-o", str(out)]) == 0
    )
    assert "is there already and is no file of contents" in capsys.readouterr().err and model.read_bytes() == before
    assert run(["build", str(networks["built"][0]), "--reserve", str(tmp_path / "none.onnx"), "-o", str(tmp_path / "b")]) == 2
    assert "none.onnx" in capsys.readouterr().err and not (tmp_path / "b").exists()


def test_the_settings_tell_what_a_design_is_made_for(design, networks):
    settings = json.loads((design / "vitprune.json").read_text())
    assert settings["reserve"] == [str(networks["reserved"][0])]


@pytest.mark.whole
def test_a_design_with_contents_built_in_is_no_place_for_another_network(networks, tmp_path):
    folder = build(
        BuildOptions(
            model=networks["built"][0], output_dir=tmp_path / "b", fpga_part=PART, target_fps=20_000, stop_step="step_stitch", synth="none"
        )
    )
    with pytest.raises(UserError, match="--loadable, or --reserve"):
        contents_of(networks["reserved"][0], folder)
