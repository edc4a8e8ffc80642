"""The plan: the best choice of candidates, everything counted, inside every SLR, and reasons that hold."""

from __future__ import annotations

import itertools
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.general import GiveUniqueNodeNames

from finn_vitprune.custom_ops.attention.folding import KV_RAM
from finn_vitprune.custom_ops.mvau.balance import GroupTiming, row_ends, steady_interval
from finn_vitprune.custom_ops.op.folding import Folding, Styles, thriftiest, used_by
from finn_vitprune.custom_ops.op.memory import Estimate
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.errors import UserError
from finn_vitprune.synth.budget import FF_PER_LUT, SHELL_MEAN, Budget, mean_for, shares_for
from finn_vitprune.synth.parts import Part, get_part
from finn_vitprune.synth.resources import Resources
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.planning.choice import EVEN, GAP, Candidates, Item, choose, least_share
from finn_vitprune.transforms.planning.place_fifos import PlaceFifos
from finn_vitprune.transforms.planning.plan import FASTER, plan, search_of, shares_of
from finn_vitprune.transforms.planning.plan_options import PlanOptions, prices_of, room_of
from finn_vitprune.transforms.planning.plan_pipeline import STEP
from finn_vitprune.transforms.planning.plan_problem import Steps, smallest, solve
from finn_vitprune.transforms.planning.slr import used_by_slr
from finn_vitprune.transforms.streams.edges import slr_of
from finn_vitprune.transforms.streams.hardware_only import HardwareOnly
from finn_vitprune.transforms.streams.insert_load_port import InsertLoadPort
from finn_vitprune.transforms.streams.insert_streams import InsertStreams
from tests.rtl.benches.helper import build_node
from tests.sampling import sampled
from tests.vit_models import random_vit

EXAMPLE = Path(__file__).parents[2] / "builds" / "example" / "deit_digits.onnx"
ZU7EV = "xczu7ev-ffvc1156-2-e"
ZU9EG = "xczu9eg-ffvb1156-2-e"
"""A part without UltraRAM."""


@pytest.fixture(scope="module")
def example():
    return hardware(ModelWrapper(str(EXAMPLE)))


@pytest.fixture(scope="module")
def filling(example):
    """Plans that fill a part, by its name."""
    return lru_cache(lambda name: plan(example, get_part(name), PlanOptions()))


def hardware(model: ModelWrapper) -> ModelWrapper:
    """The hardware graph as a build plans it."""
    model = lower(model).model.transform(TidyLowered()).transform(HardwareOnly())
    return model.transform(SpecializeLayers(ZU7EV)).transform(GiveUniqueNodeNames())


def dies(count: int, **each: int) -> Part:
    """A part of equal SLRs."""
    one = Resources(**each)
    whole = {kind: count * value for kind, value in each.items()}
    return replace(get_part(ZU7EV), **whole, slrs=count, dies=(one,) * count)


def built(model, found, part, options):
    """The graph of a plan, as the builder's steps make it."""
    model = ModelWrapper(model.model.__deepcopy__())
    found.write(model)
    return model.transform(InsertStreams()).transform(InsertLoadPort()).transform(PlaceFifos(part, options))


def foldings_of(found) -> list[Folding]:
    return [getCustomOp(node).folding() for node in found.graph.graph.node]


def slrs_of(found) -> list[int]:
    return [slr_of(node) for node in found.graph.graph.node]


# --- choice --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed(Folding):
    """A candidate that takes so much."""

    used: Estimate
    cycles = 1
    made_of = UnitParts("fixed")

    @property
    def resources(self):
        return self.used

    def attributes(self):
        return {}

    def for_interval(self, interval):
        return self


def random_items(rng) -> list[Item]:
    def candidates() -> Candidates:
        return Candidates.of([Fixed(Estimate(*map(int, rng.integers(0, 50, 4)))) for _ in range(int(rng.integers(1, 5)))])

    return [Item(candidates(), int(rng.integers(1, 4))) for _ in range(int(rng.integers(1, 5)))]


def every_choice(items) -> np.ndarray:
    """``[choices, kinds]``: what each combination of candidates takes."""
    combinations = itertools.product(*(range(len(item.candidates.folds)) for item in items))
    return np.array([sum(item.used[i] for item, i in zip(items, places)) for places in combinations])


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_is_the_cheapest_of_all_that_fit(seed):
    rng = np.random.default_rng(seed)
    items, prices = random_items(rng), rng.random(4)
    every = every_choice(items)
    room = np.quantile(every, rng.random(), axis=0)
    fitting = every[np.all(every <= room, axis=1)]
    choice = choose(items, room, prices)
    assert (choice is None) is (len(fitting) == 0)
    if choice is not None:
        taken = sum(item.count * np.array(astuple(pick.resources)) for item, pick in zip(items, choice.picks))
        assert np.array_equal(taken, choice.used) and np.all(choice.used <= room)
        costs = fitting @ prices + EVEN * (fitting * prices).max(axis=1)
        assert choice.used @ prices + EVEN * (choice.used * prices).max() <= (1 + GAP) * costs.min() + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_the_least_share_is_the_least_of_all(seed):
    rng = np.random.default_rng(100 + seed)
    items, room = random_items(rng), rng.integers(20, 200, 4).astype(float)
    least = (every_choice(items) / room).max(axis=1).min()
    assert (least_share(items, room).used / room).max() <= (1 + GAP) * least + 1e-9
    assert (least_share(items, room, relaxed=True).used / room).max() <= least + 1e-6, "mixtures can only be better"


@pytest.mark.parametrize("seed", range(10))
def test_candidates_are_those_that_none_beats(seed):
    rng = np.random.default_rng(seed)
    folds = [Fixed(Estimate(*map(int, rng.integers(0, 6, 4)))) for _ in range(40)]
    admitted = set(rng.choice(40, 30, replace=False).tolist())
    kept = [folds[i] for i in thriftiest(used_by(folds), lambda i: i in admitted)]
    of = [folds[i] for i in sorted(admitted)]
    unbeaten = {f for f in of if not any(o != f and np.all(np.array(astuple(o.used)) <= astuple(f.used)) for o in of)}
    assert set(kept) == unbeaten and len(kept) == len(unbeaten)


# --- candidates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_candidates_of_a_matrix_unit_hold_for_every_mask_of_as_many_blocks(seed):
    rng = np.random.default_rng(seed)
    rows, columns, kept = 6, 8, int(rng.integers(8, 40))
    attributes = {
        "tokens": int(rng.integers(5, 40)),
        "MW": rows * 8,
        "MH": columns * 8,
        "block": 8,
        "shift": 20,
        "inputDataType": "INT8",
        "weightDataType": "INT8",
        "outputDataType": "INT8",
    }
    units = []
    for _ in range(3):
        counts = np.bincount(rng.permutation(rows * columns)[:kept] % columns, minlength=columns)
        op, _ = build_node("BlockSparseMVAU", attributes | {"column_blocks": [int(c) for c in counts]}, [])
        units.append(op)
    interval = attributes["tokens"] * kept * 64 // int(rng.integers(8, 100))
    unfolded = [op.folding() for op in units]
    candidates = unfolded[0].candidates(interval, Styles())
    assert len({folding.shape for folding in unfolded}) == 1 and len(candidates) > 3
    for pick in candidates:
        roomy = pick.with_room_for(unfolded)
        folded = [folding.folded_as(roomy) for folding in unfolded]
        assert all(f.cycles <= 1.05 * interval for f in folded)
        assert {f.resources for f in folded} == {roomy.resources}, "the same hardware"
        for op, fold in zip(units, folded):
            for name, value in fold.attributes().items():
                op.set_nodeattr(name, value)
            assert op.folding() == fold and op.resources() == fold.resources
            assert fold.fold.lane_slots >= fold.fold.schedule.lane_slots and fold.fold.lane_blocks >= fold.fold.schedule.lane_blocks


@pytest.mark.parametrize(
    ("tokens", "interval", "bits"), [(n, interval, bits) for n in (197, 100, 52, 28) for interval, bits in ((46_000, 8), (21_400, 4))]
)
def test_keys_and_values_take_at_most_twice_their_bits(tokens, interval, bits):
    """Two ping-pong buffers of N x 2 H D' codes, H = 6, D' = 64, whatever candidate is chosen."""
    op, _ = build_node(
        "PrunedAttention",
        {
            "tokens": tokens,
            "queries": tokens,
            "heads": 6,
            "head_dim": 64,
            "scores": 0,
            "logit_mult": 1000,
            "logit_shift": 16,
            "recip_num": 1 << 30,
            "recip_shift": 40,
            "inputDataType": f"INT{bits}",
            "outputDataType": f"INT{bits}",
        },
        [],
    )
    candidates = op.folding().candidates(interval, Styles())
    assert candidates and all(c.cycles <= interval for c in candidates)
    codes = 2 * tokens * 2 * 6 * 64 * bits
    assert all(c.kv_ram_bits <= KV_RAM * codes for c in candidates) and KV_RAM == 2


@pytest.mark.parametrize("seed", range(60))
def test_a_unit_that_waits_for_nothing_takes_its_groups_times_their_cycles(seed):
    """The interval of a unit whose lanes are the longest stage, against the frames followed row by row."""
    rng = np.random.default_rng(seed)
    most, per_step = int(rng.integers(1, 9)), int(rng.choice([1, 2]))
    rows = [most] * int(rng.integers(1, 6)) + [1] * int(rng.integers(0, 2))
    load, drain, latency, emit = (int(v) for v in rng.integers([1, 1, 1, 0], [12, 12, 12, 4]))
    least = max(most * load + 1, latency + -(-most // per_step) * drain + most * emit + 1)
    timing = GroupTiming(load, least + int(rng.integers(0, 3)), drain, latency, per_step, emit)
    ends = row_ends(rows * 12, timing)[sum(rows) - 1 :: sum(rows)]
    assert set(np.diff(ends[2:])) == {steady_interval(rows, timing)} == {len(rows) * timing.compute}


# --- plans ---------------------------------------------------------------------------------------


@pytest.mark.xdist_group("plans that fill a part")
@pytest.mark.parametrize("name", sampled([ZU7EV, ZU9EG], 1))
def test_a_plan_counts_everything_and_stays_within_its_budget(example, filling, name):
    part, options = get_part(name), PlanOptions()
    found, planned = filling(name)
    model = built(example, found, part, options)
    ops = [getCustomOp(node) for node in model.graph.node]
    used = np.array(astuple(sum((op.resources() for op in ops), Estimate())))
    assert found.fits and planned.fits and np.array_equal(used, found.used.sum(0))
    assert np.all(used <= np.array([part.LUT * 0.7, part.DSP * 0.8, 2 * part.BRAM36 * 0.8, part.URAM * 0.8]))
    assert max(op.get_exp_cycles() for op in ops) == found.interval == planned.interval_cycles
    assert planned.goal == "throughput" and max(planned.used.values()) <= 1
    if not part.URAM:
        assert all(op.get_nodeattr("ram_style") != "ultra" for op in ops if "ram_style" in op.get_nodeattr_types())


@pytest.mark.whole
def test_more_of_what_binds_makes_it_faster_and_more_of_the_rest_does_not(example):
    """By definition of the binding resource; the search knows intervals to a step."""
    part = get_part("xczu3eg")
    found, planned = plan(example, part, PlanOptions())
    assert planned.binding and set(planned.binding) < {"LUT", "DSP", "BRAM", "URAM"}

    def interval(names) -> int:
        more = Budget(**dict.fromkeys(names, 1.0))
        larger = replace(part, **{{"BRAM": "BRAM36"}.get(k, k): 10 * getattr(part, {"BRAM": "BRAM36"}.get(k, k)) for k in names})
        return plan(example, larger, PlanOptions(budget=more))[0].interval

    assert interval(planned.binding) <= found.interval / FASTER * (1 + 2 * STEP)
    rest = [k for k in ("LUT", "DSP", "BRAM") if k not in planned.binding]
    assert interval(rest) >= found.interval / FASTER * (1 - STEP)


def test_a_budget_without_ultraram_admits_what_takes_none(example):
    search = search_of(example, get_part(ZU7EV), PlanOptions(budget=Budget(URAM=1e-6)))
    room = search.problem.room[0]
    assert room[3] == 0 and solve(search.problem, 20_000) is not None
    assert search.may_fit(20_000, room)


@pytest.mark.parametrize("seed", range(20))
def test_the_bisection_finds_the_smallest_that_fits(seed):
    rng = np.random.default_rng(seed)
    least, most = sorted(map(int, rng.integers(1, 5_000, 2)))
    border, first = int(rng.integers(least, most + 200)), int(rng.integers(least, most + 1))
    tried = []
    steps = Steps(lambda i, n: int(i * 1.15**2**n) + 1, lambda i, n: int(i / 1.15**2**n))
    found = smallest(lambda i: tried.append(i) or i >= border, least, first, most, steps)
    assert found == (border if border <= most else None)
    assert all(least <= i <= most for i in tried) and len(tried) < 30


@pytest.mark.whole
@pytest.mark.xdist_group("plans that fill a part")
def test_a_target_takes_less_than_the_whole_part(example, filling):
    part, (fastest, _) = get_part(ZU7EV), filling(ZU7EV)
    found, planned = plan(example, part, PlanOptions(interval=4 * fastest.interval))
    assert planned.goal == "target" and found.interval <= 4 * fastest.interval
    assert not planned.binding, "a faster one is possible"
    assert np.sum(found.used * prices_of(found.room)) < 0.6 * np.sum(fastest.used * prices_of(fastest.room))


@pytest.mark.whole
def test_a_plan_in_several_slrs_keeps_the_room_of_each(example):
    part = dies(3, LUT=26_000, FF=80_000, DSP=500, BRAM36=60, URAM=20)
    found, planned = plan(example, part, PlanOptions())
    model = built(example, found, part, PlanOptions())
    slrs = slrs_of(found)
    assert found.fits and slrs == sorted(slrs) and set(slrs) == {0, 1, 2} and len(planned.slrs) == 3
    for used, room in zip(used_by_slr(model, 3), room_of(part, Budget())):
        assert np.all(np.array(astuple(used)) <= room)
    assert any(node.op_type == "VitCrossing_rtl" for node in model.graph.node)


def test_a_plan_that_only_borders_keep_from_fitting_does_not_fit():
    model, _ = random_vit()
    model, part = hardware(model), dies(3, LUT=6_300, FF=80_000, DSP=60, BRAM36=20, URAM=4)
    options = PlanOptions(interval=200)
    found, planned = plan(model, part, options)
    used = np.array([astuple(slr) for slr in used_by_slr(built(model, found, part, options), 3)])
    room = room_of(part, Budget())
    assert np.array_equal(used, found.used) and np.all(used.sum(0) <= room.sum(0)) and np.any(used > room)
    assert not planned.fits and planned.binding == ["SLR"] and len(planned.slrs) == 3


@pytest.mark.whole
@pytest.mark.parametrize("earlier", sampled([PlanOptions(interval=9_000), PlanOptions(mac_style="portable")], 1))
def test_an_earlier_plan_leaves_nothing_behind(example, earlier):
    part = dies(3, LUT=26_000, FF=80_000, DSP=500, BRAM36=60, URAM=20)
    planned = ModelWrapper(example.model.__deepcopy__())
    plan(planned, part, earlier)[0].write(planned)
    again, anew = (plan(model, part, PlanOptions())[0] for model in (planned, example))
    assert slrs_of(again) == slrs_of(anew) and again.interval == anew.interval
    assert [n.attributes() for n in foldings_of(again)] == [n.attributes() for n in foldings_of(anew)]


def test_a_plan_that_one_slr_holds_has_no_crossings(example):
    part = dies(3, LUT=400_000, FF=800_000, DSP=3_000, BRAM36=600, URAM=20)
    found, planned = plan(example, part, PlanOptions(interval=3000))
    assert set(slrs_of(found)) == {-1} and not planned.slrs and found.fits


@pytest.mark.whole
@pytest.mark.xdist_group("plans that fill a part")
def test_equal_shapes_get_equal_hardware(example, filling):
    found, _ = filling(ZU7EV)
    shapes: dict = {}
    for node, folding in zip(example.graph.node, foldings_of(found)):
        if node.op_type.startswith("BlockSparseMVAU"):
            shapes.setdefault(getCustomOp(node).folding().shape, []).append(folding.attributes())
    assert max(map(len, shapes.values())) > 1
    assert all(attributes == group[0] for group in shapes.values() for attributes in group)


@pytest.mark.whole  # of a target that cannot fit it is said always
def test_what_cannot_fit_is_said_with_what_would_help(example):
    part = dies(1, LUT=15_000, FF=80_000, DSP=500, BRAM36=60, URAM=0)
    found, planned = plan(example, part, PlanOptions())
    assert not found.fits and not planned.fits and max(planned.used.values()) > 1
    named = next(line for line in planned.relief if line.startswith("on the part "))
    larger, cycles = get_part(named.split()[3]), int(named.split()[4].replace(",", ""))
    there, _ = plan(example, larger, PlanOptions())
    assert there.fits and there.interval <= cycles


def test_a_share_of_no_room_is_not_zero():
    assert shares_of(np.array([50, 0, 3, 2]), np.array([0, 0, 12, 4])) == {"LUT": 50.0, "DSP": 0.0, "BRAM": 0.25, "URAM": 0.5}


def test_a_target_that_cannot_fit_says_what_can(example):
    part = get_part("xczu3eg")
    found, planned = plan(example, part, PlanOptions(interval=300))
    assert not found.fits
    cycles = int(next(line for line in planned.relief if line.endswith("are as few as fit")).split()[0].replace(",", ""))
    assert plan(example, part, PlanOptions(interval=cycles))[0].fits


# --- budget --------------------------------------------------------------------------------------


def test_a_budget_names_what_differs():
    bare = get_part(ZU7EV)
    assert shares_for(bare, Budget.parse("")) == {"LUT": 0.7, "DSP": 0.8, "BRAM": 0.8, "URAM": 0.8}
    assert shares_for(bare, Budget.parse("lut=.6, uram=1")) == {"LUT": 0.6, "DSP": 0.8, "BRAM": 0.8, "URAM": 1.0}
    assert str(Budget.parse("lut=.6, uram=1")) == "LUT=0.6,URAM=1" and str(Budget()) == ""


def test_memories_and_multipliers_of_a_card_have_the_mean_that_finn_asks_for():
    card = get_part("U250").with_shell(None)
    shares = shares_for(card, Budget())
    assert sum(shares[kind] for kind in ("DSP", "BRAM", "URAM")) / 3 == pytest.approx(SHELL_MEAN) and max(shares.values()) == 0.8
    assert shares_for(card, Budget(BRAM=0.5)) == shares | {"BRAM": 0.5}
    assert shares_for(get_part("U250"), Budget()) == shares_for(get_part(ZU7EV), Budget()) != shares


def test_flip_flops_of_a_budget_limit_luts_and_the_mean_is_that_of_finn_beside_a_shell():
    card = get_part("U250").with_shell(None)  # two flip-flops a LUT
    assert shares_for(card, Budget.parse("FF=.5"))["LUT"] == pytest.approx(0.5 * 2 / FF_PER_LUT)
    assert shares_for(card, Budget.parse("FF=.9")) == shares_for(card, Budget()), "more than the LUTs bring"
    assert mean_for(card, Budget()) == SHELL_MEAN and mean_for(get_part(ZU7EV), Budget()) == 1
    assert mean_for(get_part(ZU7EV), Budget.parse("mean=.4")) == 0.4
    with pytest.raises(UserError, match="MEAN.*parts of ECP5 have other resources"):
        shares_for(get_part("ULX3S-85F"), Budget(MEAN=0.5))


def mean_of(part: Part, used: np.ndarray) -> float:
    """The mean share of DSP slices, block RAM and UltraRAM of ``[kinds]``."""
    return float((used[1:] / np.array([part.DSP, 2 * part.BRAM36, part.URAM])).mean())


@pytest.mark.xdist_group("plans that fill a part")
def test_the_mean_of_a_budget_binds(example, filling):
    part, (found, planned) = get_part(ZU7EV), filling(ZU7EV)
    mean = mean_of(part, found.used.sum(0))
    assert planned.mean == pytest.approx(mean, abs=1e-3) and planned.mean_limit is None

    limit = 0.8 * mean
    less, said = plan(example, part, PlanOptions(budget=Budget(MEAN=limit), explain=False))
    options = PlanOptions(budget=Budget(MEAN=limit)).as_planned(said)
    model = ModelWrapper(less.graph.model.__deepcopy__())
    model = model.transform(InsertStreams()).transform(InsertLoadPort(design=0)).transform(PlaceFifos(part, options))
    used = np.array(astuple(sum((getCustomOp(node).resources() for node in model.graph.node), Estimate())))
    assert less.fits and said.fits and mean_of(part, used) <= limit
    assert less.interval > found.interval and said.binding == ["MEAN"]
    assert f"The mean of DSP, BRAM and URAM is {100 * said.mean:.1f} of {100 * limit:g} % of the part." in said.lines
    told = said.model_copy(update={"binding": ["MEAN", "LUT"], "next_needs": {"LUT": 1.0}})
    assert "What binds: the mean of DSP, BRAM, URAM and LUT." in told.lines


@pytest.mark.whole
@pytest.mark.xdist_group("plans that fill a part")
def test_where_the_mean_of_a_budget_does_not_bind_the_plan_is_the_same(example, filling):
    part, (found, planned) = get_part(ZU7EV), filling(ZU7EV)
    limit = min(1.0, mean_of(part, found.used.sum(0)) + 0.001)
    same, said = plan(example, part, PlanOptions(budget=Budget(MEAN=limit), explain=False))
    assert same.graph.model.SerializeToString() == found.graph.model.SerializeToString() and said.budget == planned.budget


@pytest.mark.parametrize("text", ["LUT", "LUT=", "LUT=0", "LUT=1.1", "FOO=0.5", "LUT=nan", "LUT=0.5;DSP=1"])
def test_a_budget_that_is_none_is_named(text):
    with pytest.raises(UserError, match="budget "):
        Budget.parse(text)


def test_what_comes_on_top_of_a_plan_leaves_less_for_the_next():
    """60 BRAM18 of 100 became 90, where 80 may be: 10 too many, and RAM grew by half."""
    part, options = dies(1, LUT=1000, DSP=100, BRAM36=50, URAM=100), PlanOptions(budget=Budget(LUT=0.7, DSP=0.8, BRAM=0.8, URAM=0.6))
    planned = np.array([600, 50, 60, 0])
    less = options.less(planned, np.array([650, 50, 90, 0]), options.budget, part)
    assert less.budget.given == pytest.approx({"LUT": 0.7, "DSP": 0.8, "BRAM": 0.8 / 1.5, "URAM": 0.6 / 1.5})
    again = less.less(planned, np.array([720, 50, 78, 0]), options.budget, part)
    assert again.budget.given == pytest.approx(less.budget.given | {"LUT": 0.68}), "RAM fits"


def test_where_nothing_would_be_left_there_is_no_next_plan():
    part, options = dies(1, LUT=1000, DSP=100, BRAM36=50, URAM=100), PlanOptions()
    assert options.less(np.array([600, 50, 60, 0]), np.array([1500, 50, 60, 0]), options.budget, part) is None
