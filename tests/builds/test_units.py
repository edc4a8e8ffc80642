"""A design unit by unit: the stitched accelerator in every cycle, every node alone, what is wrong by its node's name."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.checks.verify_units import verify_units
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.simulate import simulate
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator, in_one_piece
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.builds.stitched.units import LARGE, DesignUnits, simulated_by_units
from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.builds import build_tables
from finn_vitprune.report.summary import Summary
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import CONTENTS, Contents
from tests.conftest import PART, Built

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("small_build")]

AT_ONCE = Stimulus(load_first=False)
"""Streams start right after reset: where nothing is loaded over the ports, they do so unit by unit."""
STIMULI = (
    AT_ONCE,
    replace(AT_ONCE, seed=3, pause=0.3, stall=0.3),
    replace(AT_ONCE, seed=4, pause=0.01, stall=0.05, burst=60),
    replace(AT_ONCE, seed=5, stall=0.6, reset_at=700),
)


def design_of(built: Built) -> StitchedDesign:
    return StitchedDesign.load(built.folder / "stitched_ip")


def patches_of(built: Built, frames: int) -> np.ndarray:
    parent = ModelWrapper(str(built.folder / "intermediate_models" / "dataflow_parent.onnx"))
    return to_patches(parent, built.images[:frames])


def graph_of(built: Built) -> ModelWrapper:
    return ModelWrapper(str(built.folder / "intermediate_models" / "step_stitch.onnx"))


@pytest.fixture(scope="module")
def loaded_build(small_build, tmp_path_factory) -> Built:
    """The small build again, weights of two matrix units in UltraRAM, simulated unit by unit."""
    folder = tmp_path_factory.mktemp("loaded")
    folding = json.loads((small_build.folder / "final_hw_config.json").read_text())
    names = [name for name in folding if name.startswith("BlockSparseMVAU")][1:3]
    for name in names:
        folding[name]["ram_style"] = "ultra"
    (folder / "folding.json").write_text(json.dumps(folding))
    settings = BuildSettings(images=small_build.model.with_suffix(".npz"), synth="none", simulation="units", max_images=20)
    build(BuildOptions(model=small_build.model, output_dir=folder / "b", fpga_part=PART, folding=folder / "folding.json", **dict(settings)))
    return Built(folder / "b", small_build.model, small_build.images)


def filled(design: StitchedDesign, folder) -> RtlAccelerator:
    """In one piece, with nothing loaded: what is loaded comes from files, as it does unit by unit."""
    shutil.copytree(design.folder, folder)
    if CONTENTS in design.digests:
        Contents.load(folder).fill(folder)
    return RtlAccelerator(design, replace(in_one_piece(design), folder=folder, loads={}, fill=True))


@pytest.fixture(scope="module", params=["small_build", pytest.param("loaded_build", marks=pytest.mark.whole)])
def both(request, tmp_path_factory):
    """A design in one piece and of units, and images."""
    built = request.getfixturevalue(request.param)
    design = design_of(built)
    with DesignUnits(design) as units:
        units.compile(workers=2)
        whole = filled(design, tmp_path_factory.mktemp("filled") / "design")
        yield whole, RtlAccelerator(design, units.simulated()), patches_of(built, 6)


@pytest.mark.parametrize("stimulus", STIMULI, ids=str)
def test_units_are_the_stitched_top_in_every_cycle(both, stimulus):
    whole, units, patches = both
    expected, found = (a.run(patches, stimulus, traced=len(patches)) for a in (whole, units))
    assert np.array_equal(found.logits, expected.logits)
    assert found.cycles == expected.cycles and found.latency_cycles == expected.latency_cycles
    assert np.array_equal(found.intervals, expected.intervals)
    assert found.max_fill == expected.max_fill
    assert found.traces.keys() == expected.traces.keys() and len(found.traces) > 25
    for tensor in expected.traces:
        assert np.array_equal(found.trace(tensor), expected.trace(tensor)), tensor


@pytest.mark.whole
def test_units_whose_weights_come_from_files_give_what_a_loaded_accelerator_gives(loaded_build):
    logits = np.load(loaded_build.folder / "verification_output" / "rtl_logits.npy")[:3]
    index = np.load(loaded_build.folder / "verification_output" / "rtl_images.npy")[:3]
    assert design_of(loaded_build).loads
    assert np.array_equal(simulate(loaded_build.folder, loaded_build.images[index]), logits)


def test_the_latency_of_a_frame_is_that_of_one_alone(both):
    _, units, patches = both
    assert units.run(patches).latency_cycles == units.run(patches[:1]).latency_cycles


def test_equal_units_are_compiled_once(small_build):
    with DesignUnits(design_of(small_build)) as units:
        assert len(units.groups) < len(units.design.units)
        assert sum(map(len, units.groups.values())) == len(units.design.units)


def test_a_build_unit_by_unit_says_what_ran(loaded_build):
    report = json.loads((loaded_build.folder / "report" / "rtl_verification.json").read_text())
    assert report["rtl_mismatches"] == 0 and report["images"] == report["frames"] == 20
    assert report["traced_images"] == report["stalled_images"] == report["units"]["frames"] == 4
    nodes = graph_of(loaded_build).graph.node
    assert report["units"]["nodes"] == len(nodes) > report["units"]["structures"]
    summary = Summary.load(loaded_build.folder)
    assert summary.verify.images == 20 and summary.verify.images_total == 64
    seconds = json.loads((loaded_build.folder / "report" / "simulation_seconds.json").read_text())
    assert seconds.keys() == {"compile", "nodes", "units", "accelerator"} and min(seconds.values()) > 0


def test_the_cycles_of_nodes_alone_are_those_of_the_estimate(loaded_build):
    """Also of those that wait for a frame: a node alone has one behind the other, as it has in the accelerator."""
    rows = Summary.load(loaded_build.folder).nodes
    for row in rows:
        assert row.cycles_alone == pytest.approx(row.cycles, rel=0.02, abs=2), row.node
    table = build_tables(Summary.load(loaded_build.folder))[2]
    (text,) = (value for name, value in table.rows if name == "cycles of nodes alone")
    assert text.startswith(f"within 2% of the estimate (or 2 cycles): {len(rows)} of {len(rows)}; farthest ")


def test_a_build_unit_by_unit_measures_what_one_in_one_piece_does(loaded_build):
    """The same folding with weights elsewhere has the same interval and, but for reads of UltraRAM, latency."""
    summary = Summary.load(loaded_build.folder)
    estimates = json.loads((loaded_build.folder / "report" / "estimate_layer_cycles.json").read_text())
    assert summary.rtlsim.interval_cycles == pytest.approx(max(estimates.values()), rel=0.02)


def spoil(built: Built, folder, name: str, change) -> StitchedDesign:
    """The design with another file ``name``, which its description agrees with."""
    copy = folder / "stitched_ip"
    shutil.copytree(built.folder / "stitched_ip", copy)
    (copy / name).write_text(change((copy / name).read_text()))
    design = design_of(built)
    spoiled = replace(design, folder=copy, digests=design.digests | {name: sha256(copy / name)})
    spoiled.save()
    return StitchedDesign.load(copy)


def test_wrong_contents_of_one_unit_are_named_and_counted(small_build, tmp_path, monkeypatch):
    """One bias that differs: its unit alone is wrong, and the accelerator from there on."""
    lines = []
    monkeypatch.setattr("finn_vitprune.progress.line", lines.append)
    name = next(n.name for n in graph_of(small_build).graph.node if n.op_type == "BlockSparseMVAU_rtl")

    def flip(text: str) -> str:
        first, rest = text.split("\n", 1)
        return f"{int(first, 16) ^ 1 << 4:0{len(first)}x}\n{rest}"

    design = spoil(small_build, tmp_path, f"{name}_constants.hex", flip)
    found, logits, _ = verify_units(graph_of(small_build), design, patches_of(small_build, 4), 4, workers=2)
    assert found.rtl_mismatches > 0 and len(logits) == 4 and found.frames == 12
    assert lines[0].startswith(f"{name} (patch embedding) alone: ") and lines[0].endswith("beats differ")
    assert lines[0].split()[-5] in lines[1], "it is the only one that differs"
    assert lines[1].startswith(f"{found.units.nodes} nodes alone, of {found.units.structures} structures: ")
    assert lines[1].endswith(f" of {found.units.beats:,} beats differ")
    assert lines[2].startswith(f"{name} -> ") and lines[2].endswith("codes differ") and ": image 0: " in lines[2]
    assert found.differing[0] == lines[2], "streams from there on, the nearest first"


def test_a_unit_that_comes_to_a_standstill_is_named(small_build, tmp_path):
    """A FIFO whose output never is valid."""
    name = next(n.name for n in graph_of(small_build).graph.node if n.op_type == "VitFIFO_rtl")

    def stuck(text: str) -> str:
        free = text.replace(".out0_tvalid(out0_V_tvalid)", ".out0_tvalid()")
        return free.replace("endmodule", "    assign out0_V_tvalid = 1'b0;\nendmodule")

    design = spoil(small_build, tmp_path, f"{name}.v", stuck)
    with pytest.raises(UserError, match=rf"^{name} \(.*\) alone: back to back, no beat moved after cycle"):
        verify_units(graph_of(small_build), design, patches_of(small_build, 4), 4, workers=2)


@pytest.mark.whole
def test_a_deadlock_of_units_is_explained_as_in_one_piece(small_build, tmp_path):
    """A FIFO beside a longer branch that holds too little."""
    design = design_of(small_build)
    deep = max((e for e in design.edges if e.fifo), key=lambda e: e.depth)
    depth = f".DEPTH({deep.depth})"
    assert depth in (design.folder / f"{deep.fifo}.v").read_text()
    design = spoil(small_build, tmp_path, f"{deep.fifo}.v", lambda text: text.replace(depth, ".DEPTH(2)"))
    patches, said = patches_of(small_build, 2), []
    with DesignUnits(design) as units:
        units.compile(workers=2)
        for accelerator in (RtlAccelerator(design), RtlAccelerator(design, units.simulated())):
            with pytest.raises(UserError) as error:
                accelerator.run(patches)
            said.append(str(error.value))
    assert said[0] == said[1] and said[0].startswith(f"deadlock: FIFO {deep.fifo} on ")


def test_size_decides_unless_the_build_is_told(small_build):
    design = design_of(small_build)
    assert 0 < design.size < LARGE
    large = replace(design, size=LARGE)
    for wish, decided in {"auto": (False, True), "whole": (False, False), "units": (True, True)}.items():
        assert (simulated_by_units(design, wish), simulated_by_units(large, wish)) == decided


def test_a_large_build_is_simulated_unit_by_unit(small_build, monkeypatch):
    expected = np.load(small_build.folder / "verification_output" / "rtl_logits.npy")[:3]
    monkeypatch.setattr("finn_vitprune.builds.stitched.units.LARGE", 1)
    monkeypatch.setattr("finn_vitprune.builds.stitched.accelerator.compile_top", None)
    assert np.array_equal(simulate(small_build.folder, small_build.images[:3]), expected)
