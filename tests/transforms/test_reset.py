"""The reset of a design: as many registers before every unit, no beat lost around it, its nets bounded, its registers counted."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import load_port
from finn_vitprune.builds.records.timing import design_timing, reset_path
from finn_vitprune.builds.stitched.accelerator import RtlAccelerator
from finn_vitprune.builds.stitched.slr_constraints import slr_constraints
from finn_vitprune.custom_ops.op.rtl_backend import RESET, RESET_STAGES
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.report.timing import timing_tables
from finn_vitprune.sim import Stimulus, bus, compile_top
from finn_vitprune.sim.run import RESET_CYCLES
from finn_vitprune.synth.timed import DesignTiming
from finn_vitprune.synth.timing import Timing, WideNet
from finn_vitprune.synth.yosys import NodeJob, map_node
from finn_vitprune.transforms.streams.insert_load_port import design_number
from finn_vitprune.transforms.streams.reset_stages import SetResetStages
from tests.builds.test_build import model_of, patches_of
from tests.rtl.benches import engine_design, load_design
from tests.rtl.benches.helper import generate_op
from tests.rtl.benches.load_design import BUS
from tests.sampling import sampled
from tests.transforms.test_crossings import CHANNELS, TOKENS, cut_at, network, placed, stitched

FOUR_SLRS = cut_at(2, 3, 5)
SEEDS = range(8)


def stages_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Registers before each unit of a design, and bits of its reset, as its wrappers have them."""
    pattern = re.compile(rf"module (\w+) .*?{RESET} #\(\.STAGES\((\d+)\), \.WIDTH\((\d+)\)\)", re.DOTALL)
    texts = (path.read_text() for path in folder.glob("*.v"))
    return {m[1]: (int(m[2]), int(m[3])) for text in texts if (m := pattern.search(text))}


def skewed(model, seed):
    """Another number of registers for each node."""
    rng = np.random.default_rng(seed)
    for node in model.graph.node:
        getCustomOp(node).set_nodeattr("reset_stages", int(rng.integers(1, RESET_CYCLES)))
    return model


def random_resets(seed, longest, shortest=RESET_CYCLES):
    """Traffic with a reset of any length at any time."""
    rng = np.random.default_rng(seed)
    share = rng.choice([0.0, 0.2, 0.6], 2)
    return Stimulus(
        seed + 1, pause=share[0], stall=share[1], reset_at=int(rng.integers(0, longest)),
        reset_cycles=int(rng.integers(shortest, 3 * RESET_CYCLES)),
    )  # fmt: skip


# --- as many registers before every unit -----------------------------------------------------------


@pytest.mark.parametrize("slrs, stages", [([-1] * 7, 2), ([2] * 7, 2), (cut_at(3), 4), ([1, 1, 1, 3, 3, 3, 3], 6), (FOUR_SLRS, 8)])
def test_every_unit_has_as_many_registers_of_its_reset(slrs, stages, tmp_path):
    """Two, and two for each border between the SLRs in use; a crossing has a row of them for each hop."""
    model = placed(slrs).transform(SetResetStages())
    design = stitched(model, tmp_path)
    found = stages_of(design.folder)
    assert found == {
        node.name: (stages, getCustomOp(node).get_nodeattr("stages") if getCustomOp(node).is_crossing else 1) for node in model.graph.node
    }
    assert reset_path(model).stages == stages < RESET_CYCLES
    assert reset_path(model).loads == sum(bits for _, bits in found.values())
    for unit in found:
        text = (design.folder / f"{unit}.v").read_text().partition(");\n")[2]
        assert re.findall(r"\((ap_rst_n|rst_n)\)", text) == ["ap_rst_n", "rst_n", "rst_n"], "only the registers see the design's reset"


def test_slrs_too_far_apart_are_refused():
    assert placed([0, 0, 0, 6, 6, 6, 6]).transform(SetResetStages())
    with pytest.raises(UserError, match="SLRs 0 to 7 need 16 registers .*: use SLRs that are at most 6 apart"):
        placed([0, 0, 0, 7, 7, 7, 7]).transform(SetResetStages())


def test_registers_of_a_reset_are_in_no_pblock():
    """They are on the way from the SLR of the port to that of the unit."""
    text = slr_constraints(placed(FOUR_SLRS), "top")
    cells = re.findall(r"\[get_cells (\S+)\]", text)
    assert cells and all(cell.endswith("/inst") for cell in cells)


def test_the_number_of_a_design_does_not_depend_on_them():
    assert design_number(placed(FOUR_SLRS).transform(SetResetStages())) == design_number(placed(FOUR_SLRS))


# --- no beat is lost --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(1).integers(-20_000, 20_000, (4, TOKENS, CHANNELS))


@pytest.fixture(scope="module")
def expected(frames):
    return golden.run(network(), {"x": frames})["y"].reshape(len(frames), -1)


@pytest.fixture(scope="module")
def balanced(tmp_path_factory):
    """The network in four SLRs: eight registers before each unit."""
    return RtlAccelerator(stitched(placed(FOUR_SLRS).transform(SetResetStages()), tmp_path_factory.mktemp("balanced")))


@pytest.fixture(scope="module", params=[1, 2])
def uneven(request, tmp_path_factory):
    """The same with 1 to 15 registers before a unit, so that neighbours leave a reset up to 14 cycles apart."""
    return RtlAccelerator(stitched(skewed(placed(FOUR_SLRS), request.param), tmp_path_factory.mktemp("uneven")))


@pytest.mark.parametrize("seed", SEEDS)
def test_resets_of_any_length_at_any_time_change_no_bit(balanced, seed, frames, expected):
    """Down to one cycle more than there are registers; frames come in the very cycle in which the reset ends."""
    stimulus = random_resets(seed, 300, shortest=8 + 1)
    assert np.array_equal(balanced.run(frames, stimulus).logits, expected), stimulus


@pytest.mark.parametrize("seed", SEEDS)
def test_units_that_leave_a_reset_at_other_times_lose_no_beat(uneven, seed, frames, expected):
    stimulus = random_resets(seed, 300)
    assert np.array_equal(uneven.run(frames, stimulus).logits, expected), stimulus


def test_registers_of_a_reset_delay_the_first_beat_alone(balanced, frames, tmp_path):
    """Against two registers before each unit: six cycles more until the first beat enters, and no other."""
    few = RtlAccelerator(stitched(placed(FOUR_SLRS), tmp_path))
    two, eight = few.run(frames), balanced.run(frames)
    assert (two.latency_cycles, two.interval_cycles) == (eight.latency_cycles, eight.interval_cycles)
    assert eight.cycles - two.cycles == 8 - RESET_STAGES


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled([1, 2], 1))
def test_a_pipeline_with_a_token_drop_and_attention_loses_no_beat(small_build, seed, tmp_path):
    model = skewed(model_of(small_build, "step_stitch"), seed)
    accelerator = RtlAccelerator(stitched(model, tmp_path))
    patches = patches_of(small_build, small_build.images[:5])
    want = golden.run(model, {model.graph.input[0].name: patches})[model.graph.output[0].name].reshape(5, -1)
    for i in range(4):
        stimulus = random_resets(10 * seed + i, 6000)
        assert np.array_equal(accelerator.run(patches, stimulus).logits, want), stimulus


@pytest.mark.parametrize("name", list(engine_design.SHAPES)[:2])
def test_an_engine_loses_no_beat(name):
    """Units of an engine that leave a reset at other times, its entry and exit among them."""
    engine = engine_design.build(engine_design.SHAPES[name], lambda model: skewed(model, 3))
    for seed in SEEDS:
        engine.run(6, random_resets(seed, 400))


@pytest.mark.parametrize("stages", [2, 8])
def test_a_host_may_begin_as_soon_as_the_reset_ends(stages):
    """The port takes nothing before it is out of reset itself, and every hop of the chain is out of it then."""
    d = load_design.loadable(reset_stages=stages)
    d = replace(d, simulator=compile_top("finn_design", d.sources, *d.ports[:2], loads=d.ports[2]))
    steps = [load_design.begin(), load_design.put(d.words[0]), bus.poll(load_port.STATUS, load_port.OPEN)]
    for seed in SEEDS:
        stimulus = replace(random_resets(seed, 600, shortest=stages + 1), load_first=False)
        result = d.run(steps, d.frames(2), stimulus)
        assert result.ok, (stimulus, result.deadlock, result.loads[BUS], result.mismatches)


# --- bounded, counted, said ------------------------------------------------------------------------


def test_registers_are_counted_and_are_no_shift_register(tmp_path):
    found = {}
    for stages in (2, 8):
        op, _, keep = generate_op(
            "VitFIFO", {"tokens": 4, "channels": 8, "SIMD": 2, "inputDataType": "INT8", "depth": 40, "reset_stages": stages}
        )
        found[stages] = map_node(NodeJob("dut", tuple(map(Path, op.get_rtl_file_list(abspath=True)))))
        keep.cleanup()
    few, many = found[2], found[8]
    assert many.resources == replace(few.resources, FF=few.resources.FF + 6) and many.resources.SRL == 0
    assert many.timing.reset.name == "reset.rst_n_q[7]" and few.timing.reset.loads == many.timing.reset.loads > 10
    assert 0 < many.timing.reset_ns == few.timing.reset_ns < many.timing.taken


def timing(taken, loads, ns):
    return Timing(taken, taken, taken, 1, 1, reset=WideNet("reset.rst_n_q[7]", loads), reset_ns=ns)


def test_the_report_says_the_way_of_the_reset():
    model = placed(FOUR_SLRS).transform(SetResetStages())
    names = [node.name for node in model.graph.node]
    found = {name: timing(2.0, 100 + i, 0.7) for i, name in enumerate(names)} | {names[3]: timing(2.0, 90, 1.2)}
    whole = design_timing(model, found, 3.333)
    bits = reset_path(model).loads
    assert whole.reset.taken == pytest.approx(0.077 + 0.208 + 0.060 * np.log2(bits) + 0.100 - 0.025, abs=1e-3)
    assert f"each of {len(names)} units through 8 registers: from the port {bits} loads" in whole.reset_text
    assert f"{100 + len(names) - 1} loads ({names[-1]}) and 1.20 ns ({names[3]})" in whole.reset_text
    assert whole.reset_text in timing_tables(whole)[0].note
    again = DesignTiming.model_validate_json(whole.model_dump_json())
    assert again == whole
    assert DesignTiming.model_validate(whole.model_dump(exclude={"reset"})).reset_text == ""


def test_a_reset_that_is_slower_than_all_else_is_the_slowest_path():
    model = placed([-1] * 7)
    whole = design_timing(model, {node.name: timing(0.5, 5, 0.4) for node in model.graph.node}, 3.333)
    assert whole.border.source == "ap_rst_n" and whole.taken == whole.border.taken == whole.reset.taken > 0.5
