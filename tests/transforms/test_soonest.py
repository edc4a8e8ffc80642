"""Plans for a short latency: the integer program finds what trying everything finds, and its waves are what engines do."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention
from finn_vitprune.custom_ops.engine.engine import engines_of
from finn_vitprune.options.build import BuildSettings
from finn_vitprune.synth.parts import get_part
from finn_vitprune.transforms.engines.engine_units import bind_units
from finn_vitprune.transforms.planning import soonest as planning
from finn_vitprune.transforms.planning.plan import search_of
from finn_vitprune.transforms.planning.plan_options import PlanOptions
from finn_vitprune.transforms.planning.plan_problem import Paces, When
from finn_vitprune.transforms.planning.soonest import TimedFolds, Wave, soonest, timed_folds
from finn_vitprune.transforms.streams.latency import latency_cycles
from tests.transforms.test_plan import hardware
from tests.transforms.test_plan_engines import PART, SMALL, in_engines
from tests.vit_models import random_vit

WAVES = tuple(Wave(works, "engine") for works in (((0, 0), (1, 0)), ((0, 1), (2, 0)), ((1, 1), (2, 1))))


def random_folds(seed: int) -> list[TimedFolds]:
    """Three units of two layers; the faster a fold, the more it takes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(3):
        speed = rng.uniform(1, 8, 5)
        used = np.column_stack(
            [speed * rng.uniform(50, 150, 5), speed * rng.uniform(1, 9, 5), rng.integers(0, 9, 5), rng.integers(0, 2, 5)]
        )
        found.append(TimedFolds(tuple(range(5)), used, rng.uniform(800, 1200, (5, 2)) / speed[:, None], rng.uniform(0, 60, 5)))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_no_other_folds_are_sooner_than_the_gap_says(seed, monkeypatch):
    monkeypatch.setattr(planning, "PART", 0.0)
    options, room = random_folds(seed), np.array([[1000.0, 60.0, 20.0, 3.0]])

    def time(picks) -> float:
        if np.any(sum(o.used[p] for o, p in zip(options, picks)) > room[0]):
            return np.inf
        waves = sum(max(options[unit].cycles[picks[unit], layer] for unit, layer in wave.works) for wave in WAVES)
        return waves + sum(o.delay[p] for o, p in zip(options, picks))

    best = min(map(time, itertools.product(range(5), repeat=3)))

    def found(gap: float) -> tuple[float, float] | None:
        """The time of what is found when the solver may stop ``gap`` from the best, and the gap that it says."""
        monkeypatch.setattr(planning, "GAP", gap)
        solution = planning._program(options, [0, 0, 0], WAVES, room, room[0], 1000.0)
        return solution and (time([int(np.argmax(solution[0][5 * i : 5 * i + 5])) for i in range(3)]), solution[1])

    if best == np.inf:
        assert found(1e-6) is None
    else:
        assert found(1e-6) == (pytest.approx(best), pytest.approx(0, abs=2e-6))
        reached, gap = found(0.5)
        assert best >= (1 - gap - 1e-6) * reached, "the bound holds however early the solver stops"


def test_no_unit_is_busy_for_longer_than_asked_for():
    options = random_folds(3)
    busy = float(np.median(options[0].cycles.sum(1)))
    within = options[0].within(busy)
    assert 0 < len(within.folds) < len(options[0].folds)
    assert [fold in within.folds for fold in options[0].folds] == list(options[0].cycles.sum(1) <= busy)
    assert within.used.shape == (len(within.folds), 4) and len(within.delay) == len(within.cycles) == len(within.folds)
    assert not options[0].within(1.0).folds


def test_a_place_that_is_full_takes_no_more():
    options = random_folds(0)

    def last(luts: float) -> int:
        """The fold of the third unit, which is alone in its place."""
        room = np.array([[1000.0, 60.0, 20.0, 3.0], [luts, 60.0, 20.0, 3.0]])
        x, _ = planning._program(options, [0, 0, 1], WAVES, room, room.sum(0), 1000.0)
        return int(np.argmax(x[10:15]))

    least = int(np.argmin(options[2].used[:, 0]))
    assert last(options[2].used[least, 0] + 1) == least and last(2000.0) != least
    none = np.zeros((2, 4))
    assert planning._program(options, [0, 0, 1], WAVES, none, none.sum(0) + 1, 1000.0) is None


@pytest.fixture(scope="module")
def search(example):
    model = example.transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())
    dealt = in_engines(copy.deepcopy(model), BuildSettings(engines=2))
    return search_of(dealt, get_part(SMALL), PlanOptions(goal="latency"))


def test_every_layer_works_in_one_wave(search):
    waves, units = search.graph.waves, search.graph.units
    worked = [step for wave in waves for step in wave.works]
    assert len(set(worked)) == len(worked) == sum(len(unit.folding.each) for unit in units)
    first = {units[number].name for number, layer in waves[0].works}
    assert {unit.name for unit in units if unit.when is When.BEFORE} & first and any(
        units[n].when is When.OUTSIDE for n, _ in waves[0].works
    )
    encoders = [len(engine.get_nodeattr("encoders")) for engine in engines_of(search.graph.model)]
    assert len(waves) >= sum(encoders) + len(encoders), "one more than an engine has encoders"
    for wave in waves:
        layers = {units[number].when: layer for number, layer in wave.works if units[number].when is not When.OUTSIDE}
        if len(layers) == 2:
            assert layers[When.BEFORE] == layers[When.REST] + 1, "keys are made while the encoder before ends"


@pytest.mark.slow
@pytest.mark.xdist_group("engine plans")
@pytest.mark.whole
def test_a_latency_is_the_waves_and_little_more(search):
    solved = search._sooner(None)
    assert np.all(search.problem.used_by([f.resources.amounts for f in solved.foldings]) <= search.problem.room)
    found = search.planned(solved, Paces())
    latency = latency_cycles(found.graph)
    delays = sum(own.delay for folding in solved.foldings for own in folding.each)
    assert solved.interval < latency < 2 * (solved.interval + delays), "in a network so small the way between units is long"
    near = soonest(search.problem, timed_folds(search.problem, solved), search.graph.waves)
    assert near.interval <= 1.02 * solved.interval


def test_wider_inputs_let_a_group_enter_sooner(search):
    wider = 0
    for unit in search.problem.units:
        for fold in unit.candidates(max(own.cycles for own in unit.folding.for_interval(4000).each), search.problem.styles):
            for found in fold.with_wider_inputs(unit.layers):
                was, now = fold.slowest.timing, found.slowest.timing
                rows = min(fold.slowest.rows, fold.slowest.tokens)
                assert fold.delay - found.delay == rows * (was.load_row - now.load_row) + fold.slowest.timing.latency - now.latency
                assert found.products_per_cycle == fold.products_per_cycle and now.load_row < was.load_row
                for layer in unit.layers:  # each can have that input
                    assert found.fold.in_width in type(layer.fold).in_widths(layer.fold.mw, found.fold.simd)
                for own in found.fold.each:
                    own.check(unit.name)
                wider += 1
        assert unit.folding.macs or not unit.folding.with_wider_inputs()
    assert wider


def test_a_plan_that_is_near_can_have_wider_inputs(search):
    solved = search._sooner(None)
    near = timed_folds(search.problem, solved)
    number = next(n for n, unit in enumerate(search.problem.units) if unit.layers and solved.foldings[n].with_wider_inputs(unit.layers))
    own, unit = solved.foldings[number], search.problem.units[number]
    widest = max(fold.fold.in_width for fold in own.with_wider_inputs(unit.layers))
    alike = [
        fold
        for fold in near[number].folds
        if (fold.fold.simd, fold.fold.tokens, fold.fold.lanes) == (own.fold.simd, own.fold.tokens, own.fold.lanes)
    ]
    assert any(fold.fold.in_width == widest for fold in alike)


@pytest.fixture(scope="module")
def alike():
    """Two engines of two encoders, without pruning: frames of the first engine are equal."""
    model, _ = random_vit(depth=4, keep="1", drop_at=())
    model = hardware(model).transform(SpecializeLayers(PART)).transform(GiveUniqueNodeNames())
    return in_engines(model, BuildSettings(engines=2))


def test_encoders_that_are_alike_take_their_time_one_after_another(alike):
    found = search_of(alike, get_part(SMALL), PlanOptions(goal="latency"))
    units = found.graph.units
    works = [sum((n, layer) in wave.works for wave in found.graph.waves for layer in range(9)) for n in range(len(units))]
    assert [len(unit.folding.each) for unit in units] == works and max(works) == 2
    plan = found.best()
    assert plan is not None and plan.fits
    engine, _ = engines_of(plan.graph)
    (attention,) = (op.folding() for op in map(getCustomOp, engine.structure.graph.node) if isinstance(op, PrunedAttention))
    assert [own.cycles for own in attention.each] == 2 * [attention.cycles] and attention.several
    assert plan.interval >= 2 * attention.cycles


def test_what_a_unit_is_made_for_does_not_change_what_its_encoders_have(alike):
    """Larger frames of a network that is loaded later: memories grow, the time of this one stays."""
    engine, _ = engines_of(ModelWrapper(alike.model, make_deepcopy=True))
    bind_units(engine)
    (op,) = (op for op in map(getCustomOp, engine.structure.graph.node) if isinstance(op, PrunedAttention))
    before = op.folding()
    most = op.made_for.most
    op.set_nodeattr("least", op.made_for._replace(frames=(most._replace(tokens=2 * most.tokens),)).text())
    after = op.folding()
    assert [own.cycles for own in after.each] == [own.cycles for own in before.each] and len(after.each) == 2
    assert after.tag_bits == before.tag_bits == 1 and after.several
    assert (after.unit.tokens, after.z_bits) == (2 * before.unit.tokens, before.z_bits + 1)
