"""Units that would not change are skipped: random designs do the same in every cycle as when every unit is evaluated."""

import numpy as np
import pytest

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.builds.images import to_patches
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.builds.stitched.stitch import StitchedDesign
from finn_vitprune.builds.stitched.units import DesignUnits
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.beats import pack
from tests.conftest import PART
from tests.random_builds.check import exported
from tests.random_builds.draw import DrawnDesign, draw_engines, draw_network, network
from tests.sampling import sampled

pytestmark = pytest.mark.slow

FRAMES = 4
STIMULI = (
    Stimulus(),
    Stimulus(seed=2, pause=0.3, stall=0.3),
    Stimulus(seed=3, pause=0.005, stall=0.02, burst=200),
    Stimulus(seed=4, pause=0.01, stall=0.4, burst=30, reset_at=600),
)
DRAWN = [draw_engines(5), draw_network(5), draw_engines(8), *map(draw_network, (1, 2, 3, 4, 6, 7, 8))]
"""Ten small designs, two of them with engines."""


def stitched(drawn: DrawnDesign, folder) -> tuple[StitchedDesign, np.ndarray]:
    """The design of a network, and patches of images."""
    inner = drawn.network
    engines = (
        {"encoders_per_engine": drawn.encoders_per_engine, "frames_in_flight": drawn.frames_in_flight} if drawn.encoders_per_engine else {}
    )
    frozen, images = network(inner)
    path = folder / "model.onnx"
    exported(inner, frozen).save(str(path))
    np.savez(path.with_suffix(".npz"), images=images)
    build(
        BuildOptions(
            model=path,
            output_dir=folder / "build",
            fpga_part=PART,
            target_fps=inner.target_fps,
            stop_step="step_stitch",
            synth="none",
            lowering_images=1,
            **engines,
        )
    )
    design = StitchedDesign.load(BuildFolder(folder / "build").stitched)
    return design, to_patches(design.host(), images[:FRAMES])


@pytest.mark.parametrize(
    "drawn", sampled(DRAWN, 1), ids=lambda drawn: f"{'engines' if drawn.encoders_per_engine else 'network'} {drawn.network.seed}"
)
def test_a_design_does_the_same_in_every_cycle_whether_units_are_skipped_or_not(tmp_path, drawn):
    design, patches = stitched(drawn, tmp_path)
    with DesignUnits(design) as units:
        units.compile(workers=1)
        simulated = units.simulated()
        simulator = simulated.simulator
        (source,), (sink,) = simulator.inputs, simulator.outputs
        for stimulus in STIMULI:
            every, found = (
                simulator.run(
                    {source.name: pack(patches, design.input)},
                    {sink.name: FRAMES * design.output.beats},
                    data_dir=simulated.folder,
                    stimulus=stimulus,
                    idle_limit=max(2 * design.silent_cycles, 1000),
                    fill=True,
                    skip=skip,
                    record=True,
                )
                for skip in (False, True)
            )
            assert every.ok and found.ok and found.cycles == every.cycles <= len(found.pins)
            assert np.array_equal(found.pins, every.pins), f"cycle {np.flatnonzero(found.pins != every.pins)[:1]} differs"
            assert len(np.unique(found.pins)) > found.cycles / 10, "the digests tell cycles apart"
            assert found.edges == every.edges and len(found.edges) > 10
            for port, beats in every.outputs.items():
                assert np.array_equal(found.outputs[port], beats)
            done, skipped = (sum(getattr(e, name) for e in found.evaluations.values()) for name in ("done", "skipped"))
            print(f"{drawn}: {skipped / (done + skipped):.1%} of {done + skipped:,} evaluations skipped, {found.cycles} cycles")
            assert skipped > 0.2 * (done + skipped)
            assert not any(e.skipped for e in every.evaluations.values())
