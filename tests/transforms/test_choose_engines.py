"""How many engines: every choice is planned, and the one is taken that the goal wants."""

import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.build import BuildOptions, build
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.errors import UserError
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.report.summary import Summary
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.synth.planned import EngineChoice
from finn_vitprune.transforms.engines.bind import encoder_count
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning.choose_engines import PlannedDesign, _rank, choose_engines
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from tests.conftest import PART
from tests.vit_models import random_vit

SMALL = Budget(LUT=0.1, DSP=0.1)
"""Of a ZCU104."""


@pytest.fixture(scope="module")
def specialised():
    """Three encoders of 17 tokens, of which the first drops half."""
    model = lower(random_vit(image=8, depth=3, drop_at=(0,))[0]).model.transform(TidyLowered()).transform(HardwareOnly())
    return model.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())


@pytest.mark.whole
@pytest.mark.parametrize("goal, key", [
    ("throughput", lambda c: (c.interval_cycles, c.latency_cycles)), ("latency", lambda c: (c.latency_cycles, c.interval_cycles)),
])  # fmt: skip
def test_the_choice_that_the_goal_wants_is_taken(specialised, goal, key):
    said_lines = []
    model, said = choose_engines(specialised, get_part("ZCU104"), PlanOptions(goal=goal, budget=SMALL), report=said_lines.append)
    tried = [(choice.engines, choice.frames_in_flight) for choice in said.engines]
    assert encoder_count(specialised) == 3 and tried == [(None, 1), (1, 1), (1, 2), (2, 1), (2, 2)]
    best = min((choice for choice in said.engines if choice.fits), key=key)
    assert said.fits and said.interval_cycles == best.interval_cycles
    engines = engines_of(model)
    assert [engine.get_nodeattr("frames_in_flight") for engine in engines] == [best.frames_in_flight] * len(engines)
    assert len(engines) == (0 if best.engines is None else 1), "of two engines for three encoders one stays flat"
    assert not engines_of(specialised), "the graph that is given stays as it is"
    assert said_lines[-1] == f"taken: {best.text}" and "Planned side by side" in " ".join(said.lines)


def test_what_fits_comes_first_then_what_the_goal_asks_for():
    def best(*plans, **options):
        made = [
            PlannedDesign(None, None, EngineChoice(engines=1, frames_in_flight=1, interval_cycles=i, latency_cycles=latency, fits=f), p)
            for i, latency, f, p in plans
        ]
        return made.index(min(made, key=lambda plan: _rank(plan, PlanOptions(**options))))

    fast, soon, cheap, large = (10, 50, True, 3.0), (12, 20, True, 2.0), (30, 60, True, 1.0), (5, 5, False, 9.0)
    assert best(large, cheap, soon, fast) == 3 and best(large, cheap, soon, fast, goal="latency") == 2
    assert best(large, fast, soon, cheap, interval=40) == 3, "what takes least of the part"
    assert best(large, fast, soon, cheap, interval=15) == 2, "of those that keep the interval"
    assert best(large, fast, soon, cheap, interval=7) == 1, "what comes nearest"
    assert best(fast, cheap, soon, interval=15, goal="latency") == 2, "what is soonest of those that keep the interval"
    assert best(soon, cheap, fast, interval=11, goal="latency") == 2
    assert best(large) == 0, "what does not fit only where nothing does"


@pytest.mark.whole
def test_a_target_takes_the_least_of_the_part_that_keeps_it(specialised):
    part = get_part("ZCU104")
    used = []
    for interval in (2_000, 30_000):
        _, said = choose_engines(specialised, part, PlanOptions(interval=interval), in_flight=1)
        assert said.fits and said.interval_cycles <= interval and {c.frames_in_flight for c in said.engines} == {1}
        used.append(sum(said.used.values()))
    assert used[1] < used[0]


@pytest.mark.whole
def test_a_build_takes_auto_and_says_what_it_tried(tmp_path):
    model, _ = random_vit()
    model.save(str(tmp_path / "model.onnx"))
    settings = BuildSettings(engines="auto", goal="latency", synth="none", budget=SMALL)
    options = BuildOptions(
        model=tmp_path / "model.onnx",
        output_dir=tmp_path / "b",
        fpga_part="ZCU104",
        target_fps=20_000,
        **dict(settings),
        estimate_only=True,
    )
    folder = build(options)
    assert [(choice.engines, choice.frames_in_flight) for choice in Summary.load(folder).plan.engines] == [(None, 1), (1, 1), (1, 2)]
    file = folder / "auto_folding_config.json"
    with pytest.raises(UserError, match="in place of --engines auto"):
        build(BuildOptions(model=tmp_path / "model.onnx", output_dir=tmp_path / "c", fpga_part="ZCU104", folding=file, **dict(settings)))
