"""Plans of graphs with engines: folds of shared units, goals, parts."""

import copy
import itertools
import math
import re
from dataclasses import astuple

import numpy as np
import pytest
from finn.builder.build_dataflow_config import DataflowBuildConfig
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.builds.networks import read_network
from finn_vitprune.builds.steps import in_engines
from finn_vitprune.custom_ops.elementwise.lookup import VitLookup
from finn_vitprune.custom_ops.engine.engine import engines_of, flattened
from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.custom_ops.layernorm.layernorm import MOST_ROOTS, RSQRT_CYCLES, VitLayerNorm
from finn_vitprune.custom_ops.mvau.candidates import SLACK
from finn_vitprune.custom_ops.mvau.fold import Fold
from finn_vitprune.custom_ops.op.fifo_folding import FifoFolding
from finn_vitprune.custom_ops.op.folding import STREAM_SLACK, Styles
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.errors import UserError
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.synth.budget import Budget
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.engines.engine_units import bind_units, engine_units, role_ops, unit_name
from finn_vitprune.transforms.engines.fold_engines import StreamFolds, write_folds, written_folds
from finn_vitprune.transforms.engines.loadable import like
from finn_vitprune.transforms.planning.choose_engines import planned_design
from finn_vitprune.transforms.planning.engine_graph import regions_of
from finn_vitprune.transforms.planning.place_fifos import PlaceFifos, place_in_engines
from finn_vitprune.transforms.planning.plan import plan, search_of, shares_of
from finn_vitprune.transforms.planning.plan_options import PlanOptions, room_of
from finn_vitprune.transforms.planning.plan_problem import Paces, on_grid, solve
from finn_vitprune.transforms.planning.slr import used_by, used_by_slr
from finn_vitprune.transforms.streams.edges import slr_of
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.custom_ops.test_folding import PART
from tests.sampling import sampled, spread
from tests.transforms.test_plan import dies, hardware
from tests.vit_models import random_vit

SMALL = "ZCU104"


@pytest.fixture(scope="module")
def specialised(example):
    return example.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())


def planned(specialised, part, engines=1, frames=1, **options):
    """The graph with a plan, and what is said of it."""
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=engines, frames_in_flight=frames))
    return model, planned_into(model, get_part(part), PlanOptions(**options))


def planned_into(model, part, options):
    """What is said of a plan, which is written into the graph: the search leaves that as it is."""
    before = model.model.SerializeToString(deterministic=True)
    found, said = plan(model, part, options)
    assert model.model.SerializeToString(deterministic=True) == before
    found.write(model)
    return said


@pytest.fixture(scope="module")
def goals(specialised):
    """Plans that fill the part, by goal."""
    return {goal: planned(specialised, SMALL, goal=goal) for goal in ("throughput", "latency")}


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
@pytest.mark.parametrize("goal", ["throughput", "latency"])
def test_a_plan_is_as_the_graph_that_it_wrote(goals, goal):
    model, said = goals[goal]
    (engine,) = engines_of(model)
    assert said.goal == goal and said.fits and max(said.used.values()) <= 1
    assert said.interval_cycles == max(getCustomOp(node).get_exp_cycles() for node in model.graph.node)
    assert engine.get_exp_cycles() == pytest.approx(engine_cycles(engine.hardware).interval, abs=1)
    for node in engine.hardware.graph.node:
        getCustomOp(node).verify_node()


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_what_loads_memories_is_part_of_the_plan(specialised):
    """A plan that fills the budget once left the load port out, and the design took more than the budget."""
    options = PlanOptions(budget=Budget(LUT=0.3, DSP=0.3, BRAM=0.04))
    model, said = planned(specialised, SMALL, **vars(options))
    part = get_part(SMALL)
    room = room_of(part, options.budget).sum(0)
    whole = model.transform(InsertStreams()).transform(InsertLoadPort())
    assert said.fits and whole.get_nodes_by_op_type("VitLoadPort_rtl"), "weights in UltraRAM are loaded"
    assert said.used == shares_of(used_by(whole), room)
    assert np.all(used_by(whole.transform(PlaceFifos(part, options))) <= room)


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
@pytest.mark.parametrize("frames", [1, 2])
def test_passes_of_a_batch_are_encoder_by_encoder(goals, frames):
    (engine,) = engines_of(goals["throughput"][0])
    passes = engine.passes(frames)
    units = {p.unit for p in passes}
    for unit in (name for name in units if name.endswith(("_QKV", "_attention", "_MLP_2"))):
        own = [p for p in passes if p.unit == unit]
        assert [p.encoder for p in own] == [encoder for encoder in range(4) for _ in range(frames)]
        assert all(p.first <= p.last for p in own) and all(a.last < b.last for a, b in itertools.pairwise(own))
    if frames == 1:
        assert max(p.last for p in passes) <= engine_cycles(engine.hardware).latency


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_each_goal_is_better_at_what_it_is_for(goals):
    """Both are searches downhill: with one image in flight they may end in one plan, or in two of which each is a little better at both."""
    (fast, rate), (soon, latency) = goals["throughput"], goals["latency"]
    assert rate.interval_cycles <= 1.1 * latency.interval_cycles and latency_cycles(soon) <= 1.01 * latency_cycles(fast)


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_a_larger_part_is_not_slower(goals, specialised):
    """Nodes outside of engines were once planned for an interval that the engines did not have: an image was a quarter later."""
    small, _ = goals["latency"]
    large, said = planned(specialised, "U250", goal="latency")
    assert said.fits and latency_cycles(large) < 1.05 * latency_cycles(small)


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_no_unit_without_products_takes_longer_than_those_with(goals):
    """Where an encoder lacks a role its frames pass the unit all the same; so they do the ports. A LayerNorm takes twelve cycles a
    token at least."""
    for model, _ in goals.values():
        (engine,) = engines_of(model)
        units = [getCustomOp(node) for node in engine.hardware.graph.node]
        shared = [unit for unit in units if isinstance(unit, SharedOp)]

        fastest = RSQRT_CYCLES // MOST_ROOTS

        def cycles(unit, fastest=fastest):
            ops = list(unit.by_encoder())
            return sum(op.get_exp_cycles() for op in ops if not (isinstance(op, VitLayerNorm) and op.row_cycles == fastest))

        slowest = max(cycles(unit) for unit in shared if unit.macs())
        assert {unit.onnx_node.name: cycles(unit) for unit in shared if cycles(unit) > slowest} == {}
        for unit in units:
            if unit.onnx_node.op_type in ("VitEngineEntry_rtl", "VitSwitch_rtl"):
                tokens = unit.get_nodeattr("tokens")
                assert sum(tokens) * unit.get_nodeattr("channels") // unit.get_nodeattr("SIMD") <= slowest, unit.onnx_node.name


@pytest.mark.parametrize("interval", sampled([400, 800, 1_600], 1))
def test_what_passes_by_token_drops_is_as_fast_as_what_is_dropped(specialised, interval):
    """A drop alone would keep the interval with narrower beats than the switch before it, which all frames pass."""
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1))
    (engine,) = engines_of(model)
    bind_units(engine)
    streams = StreamFolds(engine)
    ((name, elements),) = streams.past.items()
    assert elements / streams.within(interval)[name]["SIMD"] <= STREAM_SLACK * interval + 1


@pytest.mark.parametrize("interval", sampled([1_600, 4_000, 20_000], 1))
def test_a_token_drop_takes_no_more_than_the_share_of_its_encoder(specialised, interval):
    """The second of two images finds it free where it finds the other units of the encoder free."""
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1, frames_in_flight=2))
    (engine,) = engines_of(model)
    bind_units(engine)
    streams = StreamFolds(engine)
    ((name, tokens),) = streams.tokens.items()
    write_folds(engine, {name: streams.within(interval)[name]})
    bind_units(engine)
    drops = [op for op in map(getCustomOp, engine.structure.graph.node) if op.onnx_node.op_type == "VitTokenDrop_rtl"]
    assert len(drops) == 2
    for op in drops:
        assert op.get_exp_cycles() <= STREAM_SLACK * interval * op.get_nodeattr("tokens") / tokens + 1


def in_one_engine(mlp_ratio: float, dim: int = 48):
    """A network of ``dim`` channels and so many times as many neurons, in an engine, and the name of its GELU."""
    model, _ = random_vit(dim=dim, depth=3, keep="1", mlp_ratio=mlp_ratio)
    specialised = hardware(model).transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())
    model = in_engines(specialised, BuildSettings(engines=1))
    (engine,) = engines_of(model)
    ((name, _),) = ((unit_name(engine, role), ops) for role, ops in role_ops(engine, engine.body) if isinstance(ops[0], VitLookup))
    return model, specialised, engine, name


@pytest.mark.parametrize("interval", spread([60, 100, 200, 1_000], 4))
def test_what_works_on_neurons_is_as_wide_as_a_port(interval):
    """96 neurons in blocks of 8 pass ports of 1, 2, 4, 8, 16 or 32 neurons; 24, which is enough for one of the intervals, is none."""
    _, _, engine, name = in_one_engine(2)
    bind_units(engine)
    assert StreamFolds(engine).within(interval)[name]["SIMD"] in (1, 2, 4, 8, 16, 32)


def test_neurons_that_fill_no_whole_beats_are_filled_up():
    design, _, engine, name = in_one_engine(2)
    write_folds(engine, {name: {"SIMD": 32}})
    bind_units(engine)
    _, network, *_ = in_one_engine(5 / 3)  # 80 neurons
    (found,) = engines_of(like(design, network, ["SIMD"]))
    lookups = [op for _, ops in role_ops(found, found.body) for op in ops if isinstance(op, VitLookup)]
    assert [op.get_nodeattr("channels") for op in lookups] == [96] * 3


def test_a_network_whose_rows_pass_no_whole_beats_is_refused():
    design, _, engine, _ = in_one_engine(2)
    name = unit_name(engine, "LayerNorm 2")
    write_folds(engine, {name: {"SIMD": 24}})
    bind_units(engine)
    _, network, *_ = in_one_engine(2, dim=80)
    with pytest.raises(UserError, match=f"{name}: 24 elements a beat do not divide 80 channels: the design is not made for rows of that"):
        like(design, network, ["SIMD"])


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
@pytest.mark.parametrize("frames", spread([1, 2], 4, first=1))
def test_a_plan_for_a_target_keeps_it_with_less_for_a_longer_one(specialised, frames):
    used = []
    for interval in (6_000, 12_000):
        model, said = planned(specialised, PART, frames=frames, interval=interval)
        assert said.goal == "target" and said.fits and said.interval_cycles <= interval
        assert not any(op.loaded_regions() for op in map(getCustomOp, model.graph.node))
        used.append(said.used)
    assert used[1]["LUT"] + used[1]["DSP"] < used[0]["LUT"] + used[0]["DSP"]


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_fifos_of_engines_are_placed_where_block_ram_is_short(specialised):
    options = PlanOptions(interval=12_000, budget=Budget(BRAM=0.04))
    model, said = planned(specialised, SMALL, **vars(options))
    assert said.fits
    whole = model.transform(InsertStreams())
    for engine in engines_of(whole):
        bind_units(engine)  # as a folding file does: FIFOs stand where they stand by themselves
    part = get_part(SMALL)
    room = room_of(part, options.budget).sum(0)
    assert np.any(used_by(whole) > room)
    whole = whole.transform(PlaceFifos(part, options))
    (engine,) = engines_of(whole)
    assert np.all(used_by(whole) <= room) and fifo_styles(engine) <= {"distributed", "block"}
    assert engine.get_exp_cycles() == pytest.approx(engine_cycles(engine.hardware).interval, abs=1)


def fifo_styles(engine):
    ops = map(getCustomOp, engine.hardware.graph.node)
    return {op.get_nodeattr("ram_style") for op in ops if op.is_buffer}


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_fifos_of_engines_go_to_ultraram_where_nothing_else_is_left(goals):
    (engine,) = engines_of(copy.deepcopy(goals["throughput"][0]))
    ops = [op for op in map(getCustomOp, engine.hardware.graph.node) if op.is_buffer]
    room, before = np.array([2_000.0, 0, 0, 76]), sum(np.array(astuple(op.resources())) for op in ops)
    assert before[2] > 0
    placing = place_in_engines([engine], room - before, np.ones(4), Styles(), lambda op: op.is_buffer)
    assert np.all(placing.after <= room) and np.array_equal(placing.before, before) and "ultra" in fifo_styles(engine)


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
@pytest.mark.parametrize("prices, style", [((1, 0, 1e-6, 0), "block"), ((1e-6, 0, 1, 0), "distributed")])
def test_tables_of_engines_are_where_they_cost_least(goals, prices, style):
    """They stay there when the engine makes its units from the encoders again."""
    (engine,) = engines_of(copy.deepcopy(goals["throughput"][0]))
    units = engine.structure
    tables = [op for op in map(getCustomOp, units.graph.node) if isinstance(op, VitLookup)]
    placing = place_in_engines([engine], np.full(4, 1e6), np.array(prices), Styles(), lambda op: isinstance(op, VitLookup))
    assert np.array_equal(placing.before, sum(np.array(astuple(op.resources())) for op in tables))
    bind_units(engine)
    placed = [op for op in map(getCustomOp, engine.structure.graph.node) if isinstance(op, VitLookup)]
    assert {op.get_nodeattr("ram_style") for op in placed} == {style}
    assert np.array_equal(placing.after, sum(np.array(astuple(op.resources())) for op in placed))


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_a_part_without_room_gets_the_smallest_plan_that_is_known_not_to_fit(specialised):
    _, said = planned(specialised, SMALL, budget=Budget(LUT=0.1, DSP=0.1, BRAM=0.06, URAM=0.01))
    assert not said.fits and max(said.used.values()) > 1
    assert said.relief[0] == "with weights of 4 bits it fits"
    share = float(re.match(r"with ([.\d]+) of the kept blocks it fits, with ([.\d]+) it does not", said.relief[1])[1])
    assert 0.5 < share < 0.9 and said.relief[1] in " ".join(said.lines)


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_a_target_out_of_reach_gets_about_the_fastest_plan(specialised):
    _, said = planned(specialised, PART, interval=100)
    assert said.goal == "target" and said.interval_cycles > 100 and not said.fits
    assert re.fullmatch(r"\d[,\d]* cycles are about as few as fit", *said.relief)
    _, soon = planned(specialised, PART, goal="latency", interval=100)
    assert soon.goal == "target" and not soon.fits, "no plan for a short latency has images so often"
    _, large = planned(specialised, SMALL, interval=6_000, budget=Budget(LUT=0.05, DSP=0.05))
    assert not large.fits and large.interval_cycles <= 6_000, "the figures of what was asked for"


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_an_image_is_through_soon_at_no_fewer_images_than_asked_for(specialised):
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1, frames_in_flight=2))
    search = search_of(model, get_part(SMALL), PlanOptions(goal="latency", interval=1_700))
    assert search.latency and search.limit == search.changed(search.problem).limit == 1_700
    slowest = [max(sum(own.cycles for own in folding.each) for folding in search._sooner(None, busy).foldings) for busy in (math.inf, 600)]
    assert slowest[1] <= 600 < slowest[0], "each unit has less time for an image"
    found = search.best()
    assert found is not None and found.fits and found.interval <= 1_700
    said = planned_into(model, get_part(SMALL), PlanOptions(goal="latency", interval=1_700, explain=False))
    assert said.goal == "latency" and said.interval_cycles == found.interval


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
def test_engines_as_many_as_dies_stand_in_one_each_and_everything_is_counted(specialised):
    part = dies(2, LUT=60_000, FF=800_000, DSP=300, BRAM36=200, URAM=10)
    model = in_engines(copy.deepcopy(specialised), BuildSettings(encoders_per_engine=(2, 2), frames_in_flight=2))
    said = planned_into(model, part, PlanOptions(interval=6_000))
    assert said.fits and len(said.slrs) == 2 and said.interval_cycles <= 6_000
    whole = model.transform(InsertStreams())
    slrs = [slr_of(node) for node in whole.graph.node]
    assert [slr_of(node) for node in whole.get_nodes_by_op_type("VitEngine_rtl")] == [0, 1]
    assert [node.op_type for node, slr in zip(whole.graph.node, slrs) if slr < 0] == ["VitCrossing_rtl"]
    assert [slr for slr in slrs if slr >= 0] == sorted(slr for slr in slrs if slr >= 0)
    used = np.array([astuple(own) for own in used_by_slr(flattened(whole), 2)])
    room = room_of(part, Budget())
    assert [shares_of(*pair) for pair in zip(used, room)] == [pytest.approx(slr, rel=0.01) for slr in said.slrs]
    folds = written_folds(engines_of(model)[1], ["SIMD"])
    assert folds[engines_of(model)[1].onnx_node.name]["slr"] == 1, "a folding file knows it"


def test_fewer_engines_than_dies_count_the_part_as_a_whole(specialised):
    model = in_engines(copy.deepcopy(specialised), BuildSettings(encoders_per_engine=(2, 2)))
    assert set(regions_of(model, 3)) == {0} and set(regions_of(model, 1)) == {0}
    assert regions_of(model, 2) == sorted(regions_of(model, 2)) and set(regions_of(model, 2)) == {0, 1}


def test_encoders_of_each_engine_are_not_given_beside_auto():
    with pytest.raises(UserError, match="--engines auto and --encoders-per-engine 2,2: give one of the two"):
        BuildSettings(engines="auto", encoders_per_engine=(2, 2))


def test_latency_needs_engines(specialised):
    with pytest.raises(UserError, match="--goal latency is for a plan with engines: add --engines auto"):
        in_engines(specialised, BuildSettings(goal="latency"))


@pytest.mark.parametrize("seed", range(3))
def test_candidates_of_shared_units_can_be_had_by_all_layers(specialised, seed):
    """Every candidate has ports that all layers can have, keeps the interval by its lanes' work, and none is worse in everything."""
    rng = np.random.default_rng(seed)
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=int(rng.integers(1, 3))))
    interval = int(rng.integers(1_500, 20_000))
    for engine in engines_of(model):
        engine.set_graph("units", engine_units(engine))
        units = {node.name: getCustomOp(node) for node in engine.hardware.graph.node}
        for role, ops in role_ops(engine, engine.body):
            if not ops[0].macs():
                continue
            layers = tuple(op.folding() for op in ops)
            found = units[unit_name(engine, role)].folding().candidates(interval, Styles(), layers)
            assert found, (role, interval)
            used = np.array([list(vars(c.resources).values()) for c in found])
            for i, mine in enumerate(used):
                others = np.delete(used, i, 0)
                assert not np.any(np.all(others <= mine, axis=1) & np.any(others < mine, axis=1)), (role, interval, i)
            for candidate in found:
                if hasattr(candidate, "fold"):
                    fold = candidate.fold
                    assert all(fold.in_width in Fold.in_widths(layer.fold.mw, fold.simd) for layer in layers)
                    assert all(fold.out_width in Fold.out_widths(layer.fold.mh, fold.pe, fold.block) for layer in layers)
                    assert sum(own.cycles for own in candidate.each) <= SLACK * interval, (role, interval, fold)
                else:
                    assert sum(own.cycles for own in candidate.each) <= interval


def test_layers_that_share_a_unit_are_planned_as_data(specialised):
    """A partition changes the problem, not what solves it: QKV and the MLP's first matrix on one unit, one after the other."""
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1))
    (engine,) = engines_of(model)
    names, engine_encoders = [unit_name(engine, role) for role in ("QKV", "MLP 1")], len(engine.get_nodeattr("encoders"))
    interval, search = 9_000, search_of(model, get_part(SMALL), PlanOptions())
    apart, joined = search.problem, search.problem.joined(*names)
    assert [unit.name for unit in joined.units] == [unit.name for unit in apart.units if unit.name != names[1]]
    shared = {unit.name: unit for unit in apart.units}
    ((index, unit),) = ((i, unit) for i, unit in enumerate(joined.units) if unit.name == names[0])
    assert unit.macs == sum(shared[name].macs for name in names) and len(unit.folding.each) == 2 * engine_encoders
    found = solve(joined, interval)
    fold = found.foldings[index].fold
    assert np.all(joined.used_by([folding.resources.amounts for folding in found.foldings]) <= joined.room)
    assert sum(own.cycles for own in fold.encoders) <= SLACK * interval
    for matrix in (layer.fold for layer in unit.layers):
        assert fold.in_width in Fold.in_widths(matrix.mw, fold.simd)
        assert fold.out_width in Fold.out_widths(matrix.mh, fold.pe, fold.block)
    kept = [sum(own.schedule.kept for own in unit.fold.each) for unit in (shared[name].folding for name in names)]
    assert sum(own.schedule.kept for own in fold.encoders) == sum(kept), "the weights of both"
    partition = type(search)(search.graph, joined, latency=False)
    assert partition.smallest(Paces()).interval > search.smallest(Paces()).interval, "two layers take longer than one"
    with pytest.raises(UserError, match="planned on one: that can be planned, but not yet be built"):
        partition.graph.written(found, 1.0, 1)


def test_layers_of_other_types_cannot_share_a_unit(specialised):
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1))
    problem = search_of(model, get_part(SMALL), PlanOptions()).problem
    (name,) = (unit_name(engine, "attention") for engine in engines_of(model))
    with pytest.raises(UserError, match="cannot share a unit"):
        problem.joined(name, next(unit.name for unit in problem.units if unit.name != name))


def test_a_unit_that_is_not_there_is_named(specialised):
    model = in_engines(copy.deepcopy(specialised), BuildSettings(engines=1))
    problem = search_of(model, get_part(SMALL), PlanOptions()).problem
    with pytest.raises(UserError, match=r"no unit MLP2: use .*_projection"):
        problem.joined(*(unit_name(engine, "projection") for engine in engines_of(model)), "MLP2")


def test_intervals_on_the_grid_are_near():
    for interval in (1, 2, 17, 1_000, 123_456):
        assert 0.985 * interval - 1 <= on_grid(interval) <= interval


@pytest.mark.parametrize("style", ["auto", "distributed", "block", "ultra"])
def test_a_fifo_of_very_wide_beats_is_one(style):
    """No number of FIFOs makes the RAM of each fast."""
    assert FifoFolding(40, 100_000, 10, style).parts >= 1 and FifoFolding(40, 64, 10, style).parts == 1


@pytest.mark.slow
@pytest.mark.parametrize("ratio, relief", sampled([
    (41, ["VitEngine_rtl_0_MLP_2 takes 8 elements a cycle at most, of rows of 328: rows of a multiple of 32, as 352, enter faster"]),
    (40, []),
], 1, several=True))  # fmt: skip
def test_a_plan_says_which_rows_keep_it_from_being_faster(ratio, relief, tmp_path):
    random_vit(image=8, mlp_ratio=ratio)[0].save(str(tmp_path / "net.onnx"))  # 328 = 8 x 41, or 320 = 64 x 5 neurons
    cfg = DataflowBuildConfig(output_dir=str(tmp_path), synth_clk_period_ns=5.0, generate_outputs=[], fpga_part=PART)
    network = read_network(tmp_path / "net.onnx", cfg).hardware
    assert planned_design(network, get_part("U250"), PlanOptions(), 1).said.relief == relief
