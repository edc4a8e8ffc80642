"""bench-units: exact, seeded masks; folds from the op's search; resuming; limits; one unit whole."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finn_vitprune import progress
from finn_vitprune.bench import finn_mvu, masks, plan, run, synthesis, token_drop
from finn_vitprune.bench.cycles import CycleBench, Cycles, room
from finn_vitprune.bench.limits import Checks
from finn_vitprune.bench.plan import BenchPlan, Measurement
from finn_vitprune.bench.resources import (
    ARRAY,
    BOX,
    Cost,
    UnitEstimate,
    WeightMemory,
    array_source,
    boxed,
    joined,
    sources,
    unit_op,
    weight_memory,
)
from finn_vitprune.bench.results import BenchResults, DropRow, FinnRow, MatrixRow
from finn_vitprune.bench.table import tables
from finn_vitprune.bench.units import PORT_SLACK, ColumnsInOrder, Unit, build_node, find_fold, nearest_folds, products_of, with_mask
from finn_vitprune.builds.build import EXAMPLE
from finn_vitprune.cli import run as command
from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.errors import UserError
from finn_vitprune.synth.yosys import NodeJob, map_node
from tests.said import Said
from tests.sampling import sampled

EXAMPLE_MODEL = EXAMPLE / "deit_digits.onnx"
TINY = Unit(32, 48, 8, 48)
TRAINED = [np.eye(6, dtype=bool), np.tri(6, dtype=bool)]


def draw(kind, grid=(24, 24), keep=0.7, number=3, lanes=4):
    return masks.draw(kind, grid, keep, number, lanes, TRAINED)


def half(unit=TINY):
    """A mask with one kept block in the first column, two in the second, ... of a 4 x 6 grid."""
    rows, columns = unit.grid
    return np.arange(rows)[:, None] < np.array([1, 2, 3, 4, 2, 0])[None, :columns]


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", masks.KINDS)
@pytest.mark.parametrize("grid, keep", [((24, 24), 0.7), ((24, 63), 0.5), ((3, 5), 0.29), ((4, 4), 0.01)])
def test_every_mask_keeps_exactly_its_share(kind, grid, keep):
    count = max(1, int(round(keep * 1000) * grid[0] * grid[1] // 1000))
    drawn = draw(kind, grid, keep)
    assert [(m.shape, m.dtype, int(m.sum())) for m in drawn] == [(grid, np.dtype(bool), count)] * 3


@pytest.mark.parametrize("kind", masks.KINDS)
def test_masks_are_reproducible_and_differ(kind):
    a, b = draw(kind), draw(kind)
    assert all(np.array_equal(x, y) for x, y in zip(a, b))
    assert not np.array_equal(a[0], a[1])


def test_dense_is_one_mask_with_all_blocks():
    [mask] = draw(masks.DENSE, keep=1.0)
    assert mask.all()


def test_uniform_columns_vary_as_drawing_without_replacement_does():
    """Variance of a column's kept blocks: hypergeometric, n p (1 - p) (N - n) / (N - 1)."""
    columns = np.concatenate([m.sum(axis=0) for m in draw("uniform", number=60)])
    p, n, total = 403 / 576, 24, 576
    assert columns.var() == pytest.approx(n * p * (1 - p) * (total - n) / (total - 1), rel=0.15)


def test_uneven_columns_vary_as_the_beta_distribution_does():
    """Densities of beta(1.5, 1.5) have mean 1/2 and variance 1/16; keeping half leaves them as they are."""
    columns = np.concatenate([m.sum(axis=0) / 24 for m in draw("uneven", keep=0.5, number=60)])
    assert columns.mean() == pytest.approx(0.5)
    assert columns.var() == pytest.approx(1 / 16, rel=0.15)
    assert columns.var() > 4 * np.concatenate([m.sum(axis=0) / 24 for m in draw("uniform", keep=0.5)]).var()


def test_uneven_counts_follow_the_densities_up_to_full_columns():
    assert masks.column_counts(np.array([1.0, 1.0, 2.0]), 8, 8).tolist() == [2, 2, 4]
    assert masks.column_counts(np.array([0.1, 0.1, 9.0]), 8, 12).tolist() == [2, 2, 8]
    assert masks.column_counts(np.array([1.0, 1.0, 1.0]), 8, 4).tolist() in ([2, 1, 1], [1, 2, 1], [1, 1, 2])
    assert masks.column_counts(np.array([0.5, 0.5]), 8, 16).tolist() == [8, 8]


@pytest.mark.parametrize("lanes, groups", [(4, 4), (3, 3), (16, 8), (7, 1)])
def test_balanced_masks_give_every_group_of_columns_equally_many_blocks(lanes, groups):
    for mask in draw("balanced", lanes=lanes):
        loads = mask.reshape(24, groups, 24 // groups).sum(axis=(0, 2))
        assert loads.max() - loads.min() <= 1


def test_trained_masks_are_the_model_s_repeated():
    """Where the model keeps the share asked for, nothing is trimmed."""
    model = sum(np.eye(6, k=k, dtype=bool) for k in (0, 1, -4, 5)) > 0
    model[3, 0] = model[0, 4] = model[1, 4] = model[2, 5] = True
    assert model.sum() == 18
    [mask] = masks.draw("trained", (12, 18), 0.5, 1, 1, [model])
    assert np.array_equal(mask[:6], mask[6:]) and np.array_equal(mask[:, :6], mask[:, 12:])
    assert any(np.array_equal(mask[:6, :6], np.roll(model, s, (0, 1))) for s in np.ndindex(6, 6))


def test_masks_of_the_bundled_example_are_read():
    loaded = masks.load(EXAMPLE_MODEL)
    assert loaded and all(m.dtype == bool and 0 < m.sum() < m.size for m in loaded)


@pytest.mark.parametrize(
    "name, text",
    [("no.onnx", "model file .*no.onnx does not exist"), ("no.pt", "no.pt: use the .onnx file that finn-vitprune export makes")],
)
def test_models_that_are_not_there_are_named(tmp_path, name, text):
    with pytest.raises(UserError, match=text):
        masks.load(tmp_path / name)


# --- units ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("products", [16, 48, 64, 100])
def test_the_fold_has_the_products_asked_for_and_no_mask_uses_it_badly(products):
    """Or the nearest number of products there is; the worst mask uses no other fold of as many 1 % better."""
    unit = replace(TINY, products=products)
    drawn = [np.ones(unit.grid, bool), half()]
    fold = find_fold(unit, drawn)
    assert products_of(fold) == {100: 104}.get(products, products)

    def worst(fold):
        ops = [build_node("BlockSparseMVAU", unit.attributes(fold, tokens=128))[0] for _ in drawn]
        return min(f.ideal_cycles / f.cycles for f in (with_mask(op, m).folding() for op, m in zip(ops, drawn)))

    widest = {"in_width": 32, "out_width": 48}
    best = max(worst(fold | widest) for fold in nearest_folds(unit))
    assert worst(fold) >= min(0.985, 0.99 * best)


def test_folds_that_miss_a_limit_come_last():
    """At 4,096 products a cycle, 16 tokens share a weight word: narrower words waste no block RAM."""
    unit = Unit(384, 384, 16, 4096)
    sparse = np.arange(24)[:, None] < np.full(24, 12)
    fold = find_fold(unit, [np.ones(unit.grid, bool), sparse])
    assert products_of(fold) == 4096 and fold["TOKENS"] == 16
    kept = [int(n) for n in sparse.sum(axis=0)]
    memory = weight_memory(*unit_op(unit, fold, kept, 25))
    assert memory.memory_bits <= 2 * memory.weight_bits


def test_ports_are_as_narrow_as_hardly_slows_a_mask():
    drawn = [np.ones(TINY.grid, bool), half()]
    fold = find_fold(TINY, drawn)

    def cycles(**ports):
        ops = [build_node("BlockSparseMVAU", TINY.attributes(fold, tokens=128, **ports))[0] for _ in drawn]
        return [with_mask(op, m).get_exp_cycles() for op, m in zip(ops, drawn)]

    def slowed(**ports):
        return max(a / b for a, b in zip(cycles(**ports), cycles(in_width=32, out_width=48))) - 1

    assert slowed() <= 2 * PORT_SLACK
    for port in ("in_width", "out_width"):
        if fold[port] > 1:
            assert slowed(**{port: fold[port] // 2}) > PORT_SLACK


def test_columns_in_order_are_dealt_whole():
    op, _ = build_node("BlockSparseMVAU", TINY.attributes({"SIMD": 2, "PE": 8, "TOKENS": 1, "LANES": 4, "in_width": 2, "out_width": 8}))
    plan = ColumnsInOrder(with_mask(op, half()).onnx_node).schedule()
    scale = sum(plan.column_blocks) // half().sum()  # a block may be counted in several parts
    assert [(p.column, p.lane, p.slot, p.first, p.count // scale) for p in plan.parts] == [
        (0, 0, 0, 0, 1), (1, 1, 0, 0, 2), (2, 2, 0, 0, 3), (3, 3, 0, 0, 4), (4, 0, 1, 0, 2),
    ]  # fmt: skip


def test_weights_are_zero_exactly_outside_the_kept_blocks():
    weights = TINY.weights(half(), np.random.default_rng(0))
    inside = np.kron(half(), np.ones((8, 8), int)) > 0
    assert (weights[~inside] == 0).all() and (weights[inside] != 0).all() and np.abs(weights).max() <= 127


@pytest.mark.parametrize("lanes", [1, 4])
def test_one_unit_serves_all_masks_in_the_cycles_of_one_made_for_each(lanes):
    """Both schedules fit the memories; larger memories change no cycle count."""
    fold = {"SIMD": 2, "PE": 8, "TOKENS": 1, "LANES": lanes, "in_width": 16, "out_width": 8}
    drawn = [np.ones(TINY.grid, bool), half()]
    most = room(build_node("BlockSparseMVAU", TINY.attributes(fold))[0], drawn)
    for mask in drawn:
        for kind in (BlockSparseMVAU_rtl, ColumnsInOrder):
            fitting = with_mask(kind(build_node("BlockSparseMVAU", TINY.attributes(fold))[0].onnx_node), mask)
            roomy = with_mask(kind(build_node("BlockSparseMVAU", TINY.attributes(fold, **most))[0].onnx_node), mask)
            assert fitting.get_exp_cycles() == roomy.get_exp_cycles()
            plan = fitting.schedule()
            assert plan.lane_blocks <= most["lane_blocks"] and plan.lane_slots <= most["lane_slots"]


def test_part_of_a_run_has_the_folds_of_the_whole(monkeypatch):
    """The fold is searched for masks of all standard keep rates, whichever are run."""
    seen = []
    monkeypatch.setattr(plan, "find_fold", lambda unit, drawn: seen.append(drawn) or find_fold(unit, drawn))
    folds = [plan.bench_case(TINY, BenchPlan(EXAMPLE_MODEL, keeps=keeps, number=1), TRAINED).fold for keeps in ((1.0, 0.7, 0.5), (0.5,))]
    assert folds[0] == folds[1]
    assert [int(m.sum()) for m in seen[1]] == [24, 16, 16, 16, 12, 12, 12]


# --- the whole benchmark, tiny -------------------------------------------------------------------


def tiny_plan(**changes):
    asked = BenchPlan(
        EXAMPLE_MODEL, shapes=((16, 16),), blocks=(4,), keeps=(1.0, 0.5), products=(12,), bits=((4, 4),),
        mac_style="portable", number=2, parts=(Measurement.CYCLES, Measurement.RESOURCES),
    )  # fmt: skip
    return replace(asked, **changes)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Results file, rows and what was said of one run."""
    path = tmp_path_factory.mktemp("bench") / "units.json"
    said = Said()
    with progress.shown_by(said):
        found = run.run(tiny_plan(), BenchResults(path))
    return path, found, said


@pytest.mark.whole
def test_a_unit_is_measured_whole(tiny):
    path, found, _ = tiny
    assert [(r.keep, r.mask) for r in found.rows] == [(1.0, "dense"), *((0.5, kind) for kind in masks.KINDS)]
    for row in found.rows:
        blocks = 16 if row.keep == 1 else 8
        groups = row.fold["TOKENS"] * blocks * 16 / row.products
        found, cost = row.cycles, row.cost
        assert found.exact and found.ideal_cycles == pytest.approx(groups)
        assert found.utilisation == pytest.approx(found.ideal_cycles / found.cycles) and found.utilisation <= 1
        assert found.cycles_unbalanced >= found.cycles and found.cycles_error < 0.02
        assert cost.lut_sites == cost.lut + cost.lutram_sites + cost.srl > row.array.lut_sites > 0
        assert cost.ff > row.array.ff and 0 < row.array.depth_lut <= cost.depth_lut
        assert row.array.ns_taken <= cost.ns_taken and cost.ns_low <= cost.ns_taken <= cost.ns_high
        assert row.memory.weight_bits == blocks * 16 * 4 <= row.memory.memory_bits
    assert {r["mask"] for r in json.loads(path.read_text())["rows"]} == {"dense", *masks.KINDS}


@pytest.mark.whole
@pytest.mark.parametrize("mac_style", sampled(["dsp48e2", "portable"], 1))
def test_a_unit_is_its_arrays_and_what_is_around_them(mac_style, tmp_path):
    """Against the whole unit in one synthesis."""
    unit = Unit(16, 16, 8, 64, mac_style=mac_style)
    fold = {"SIMD": 4, "PE": 4, "TOKENS": 2, "LANES": 2, "in_width": 4, "out_width": 8}
    op, model = unit_op(unit, fold, [2, 1], 2)
    files = sources(op, model, tmp_path)
    around = NodeJob("unit", boxed(op, files, tmp_path), boxes=(BOX,))
    array = NodeJob(ARRAY, (*files[:-1], array_source(op, tmp_path)))
    parts = [map_node(job, 600) for job in (around, array)]
    whole, (resources, timing) = map_node(NodeJob("unit", files), 600), joined(*parts, lanes=2)
    for name in ("DSP", "BRAM36", "URAM", "LUTRAM"):
        assert getattr(resources, name) == getattr(whole.resources, name), name
    assert resources.DSP >= 2 * parts[1].resources.DSP > 0
    assert resources.LUT == pytest.approx(whole.resources.LUT, rel=0.05)
    assert abs(timing.levels - whole.timing.levels) <= 1
    assert timing.taken == pytest.approx(whole.timing.taken, rel=0.05)


def test_a_second_run_takes_everything_from_the_file(tiny, monkeypatch):
    path, found, _ = tiny
    monkeypatch.setattr(CycleBench, "measure", lambda *_: pytest.fail("simulated again"))
    monkeypatch.setattr(synthesis, "map_many", lambda jobs, *_: jobs and pytest.fail("synthesised again"))
    assert run.run(tiny_plan(), BenchResults(path)).rows == found.rows


def test_only_what_is_missing_or_of_other_sources_runs_again(tiny, tmp_path, monkeypatch):
    path, found, _ = tiny
    content = json.loads(path.read_text())
    content["rows"][0]["code"] = "older"
    del content["rows"][2]
    (tmp_path / "units.json").write_text(json.dumps(content))
    measured = []
    whole = CycleBench.measure

    def measure(bench, group):
        measured.append(len(group))
        return whole(bench, group)

    monkeypatch.setattr(CycleBench, "measure", measure)
    again = run.run(tiny_plan(parts=(Measurement.CYCLES,)), BenchResults(tmp_path / "units.json"))
    assert measured == [1, 2]
    assert [r.cycles for r in again.rows] == [r.cycles for r in found.rows]


@pytest.mark.whole
def test_several_processes_find_the_same_cycles(tiny):
    asked = tiny_plan(parts=(Measurement.CYCLES,), blocks=(4, 8), jobs=2)
    rows = run.run(asked, BenchResults()).rows
    assert {row.b for row in rows} == {4, 8} and all(row.cycles.exact for row in rows)
    assert [row.cycles for row in rows if row.b == 4] == [row.cycles for row in tiny[1].rows]


def test_the_tables_hold_every_figure_against_its_limit(tiny):
    _, found, _ = tiny
    checks = Checks()
    made = tables(found.rows, [], [], checks)
    assert [sheet.title[0] for sheet in made] == ["1", "2", "3", "4", "5"]
    assert all(len(row) == len(sheet.columns) for sheet in made for row in sheet.rows)
    worse = [
        replace(r, cycles=replace(r.cycles, utilisation=0.5, cycles_error=0.03),
                cost=replace(r.cost, depth_lut=6, lut_sites=10**6))
        for r in found.rows
    ]  # fmt: skip
    missed = Checks()
    tables(worse, [], [], missed)
    text = "\n".join(missed.missed)
    assert text.count("utilisation of 16x16 b4 r_b 0.5 4x4") == 4
    for what in ("depth of 16x16", "cycles, estimate", "LUT, estimate"):
        assert what in text and what not in "\n".join(checks.missed)


def row(**changes):
    """A row that misses no limit; names of costs among the changes are of its cost."""
    cost = Cost(dsp=768 + 16, lut=5000, lutram_sites=4000, srl=1000, lut_sites=10_000, ff=9000, bram36=8.0, uram=0,
                depth_lut=5, depth_carry=7, ns_low=1.0, ns_taken=2.0, ns_high=3.0, widest=99)  # fmt: skip
    array = replace(cost, dsp=256, lut_sites=2560)
    cost = replace(cost, **{name: changes.pop(name) for name in set(changes) & set(vars(cost))})
    base = MatrixRow(
        matrix="384x384", b=16, keep=1.0, mask="dense", bits="8x8", mac_style="dsp48e2", target=4096,
        fold={"SIMD": 16, "PE": 16, "TOKENS": 2, "LANES": 3, "in_width": 8, "out_width": 8},
        products=1536, masks=1, code="x", cost=cost, array=array, estimate=UnitEstimate(784, 9000, 8.0, 0),
        memory=WeightMemory(weight_bits=1000, index_bits=20, memory_bits=2000, memory_bram36=8.0),
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize("changes, missed", [
    ({}, []),
    ({"array": replace(row().array, dsp=257)}, ["DSP per product of 384x384"]),
    ({"array": replace(row().array, lut_sites=2561)}, ["LUT per product of the array"]),
    ({"lut_sites": 12_289}, ["LUT sites per product", "LUT, estimate"]),
    ({"depth_lut": 6}, ["depth of 384x384"]),
    ({"dsp": 783}, ["dsp, estimate"]),
    ({"bram36": 8.5}, ["bram36, estimate"]),
    ({"lut_sites": 7400}, ["LUT, estimate"]),
    ({"products": 4096, "memory": replace(row().memory, memory_bits=2001)}, ["weight memory of 384x384"]),
])  # fmt: skip
def test_each_limit_is_where_the_text_says(changes, missed):
    checks = Checks()
    tables([row(**changes)], [], [], checks)
    assert len(checks.missed) == len(missed)
    assert all(text.startswith(start) for text, start in zip(checks.missed, missed))


@pytest.mark.parametrize("bits, cycles, missed", [(530, 53.0, 0), (540, 53.0, 1), (530, 54.0, 1)])
def test_half_of_the_blocks_is_held_against_dense(bits, cycles, missed):
    dense = row(cycles=Cycles(100.0, 100.0, 1.0, 1.0, 100.0, 100.0, 0.0, exact=True))
    sparse = replace(
        dense,
        keep=0.5,
        mask="uniform",
        cycles=replace(dense.cycles, cycles=cycles),
        memory=replace(dense.memory, weight_bits=bits - 20, memory_bits=bits),
    )
    checks = Checks()
    tables([dense, sparse], [], [], checks)
    assert sum("of dense" in m for m in checks.missed) == missed


def test_outputs_that_differ_from_the_golden_model_fail(tiny):
    checks = Checks()
    tables([replace(r, cycles=replace(r.cycles, exact=False)) for r in tiny[1].rows], [], [], checks)
    assert sum("outputs differ" in m for m in checks.missed) == 5


# --- token drop and FINN+ ------------------------------------------------------------------------


def test_token_drop_is_measured_for_every_kind_of_image():
    unit = token_drop.DropUnit(0.5, 48, tokens=9, channels=8, heads=2)
    op, _ = unit.op()
    found = token_drop.measure(unit)
    assert set(found.interval) == {"first", "last", "alternating", "random"} and found.exact
    assert all(v == pytest.approx(op.get_exp_cycles(), rel=0.02) for v in found.interval.values())
    assert 0 < found.rank_cycles < 40


def test_images_keep_the_tokens_that_they_are_named_for():
    from finn_vitprune.numerics import rank_tokens

    kept = {name: rank_tokens(s[0, :, 0], 4) for name, s in token_drop.images(9, 2).items()}
    assert np.flatnonzero(kept["first"]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(kept["last"]).tolist() == [0, 5, 6, 7, 8]
    assert np.flatnonzero(kept["alternating"]).tolist() == [0, 2, 4, 6, 8]


def test_token_drop_that_is_slower_for_some_images_fails():
    interval = {"first": 100.0, "last": 101.5, "alternating": 100.0, "random": 100.0}
    drop = DropRow(198, 384, 0.5, 384, 1000, {"SIMD": 1}, "x", token_drop.DropCycles(interval, 100, 9, 8, True))
    checks = Checks()
    tables([], [drop], [], checks)
    assert checks.missed == ["token drop, 198 tokens, r_t 0.5, SIMD 1, intervals: 1.50 %"]


@pytest.mark.parametrize("changes, missed", [
    ({}, ""),
    ({"rank_cycles": 11}, "ranking: 1.10%"),
    ({"ranker": 2001}, "ranker: 2,001"),
    ({"depth_lut": 6}, "depth: 6"),
])  # fmt: skip
def test_each_limit_of_the_token_drop_is_where_the_text_says(changes, missed):
    cycles = token_drop.DropCycles({"first": 100.0}, 100, changes.get("rank_cycles", 10), 8, True)
    depths = {name: depth for name, depth in changes.items() if name.startswith("depth")}
    cost = replace(row().array, lut_sites=10_000, **depths)
    ranker = replace(cost, lut_sites=changes.get("ranker", 2000))
    estimate = replace(row().estimate, dsp=256, lut_sites=10_000)
    found = DropRow(198, 384, 0.5, 1536, 1000, {"SIMD": 1}, "x", cycles, cost, ranker, estimate)
    checks = Checks()
    tables([], [found], [], checks)
    assert [text.split(", ")[-1] for text in checks.missed] == [missed] * bool(missed)


@pytest.mark.whole
def test_the_ranker_is_measured_alone():
    results = BenchResults()
    asked = tiny_plan(parts=(Measurement.TOKEN_DROP,), products=(384,), token_keeps=(0.9,))
    [drop] = run.run(asked, results).drops
    assert 0 < drop.ranker.lut_sites < drop.cost.lut_sites and drop.ranker.ff < drop.cost.ff
    assert drop.pace == 198 * 384 and drop.cycles.rank_cycles < 0.01 * drop.pace


def test_finn_is_folded_as_balanced_as_its_matrix_allows():
    assert finn_mvu.fold(384, 384, 384) == finn_mvu.FinnFold(384, 384, 24, 16)
    assert finn_mvu.fold(384, 384, 4096) == finn_mvu.FinnFold(384, 384, 64, 64)
    assert finn_mvu.fold(6, 6, 5).products == 4


def test_the_edit_of_finn_moves_one_function_and_leaves_the_rest(tmp_path):
    jobs = finn_mvu.jobs(finn_mvu.fold(8, 8, 4), (8, 8), tmp_path)
    assert list(jobs) == [finn_mvu.CORE, finn_mvu.WITH_MEMORY]
    import finn

    root = next(iter(finn.__path__))
    original = Path(root, "finn-rtllib/mvu/add_multi.sv").read_text()
    edited = (tmp_path / "add_multi.sv").read_text()
    assert edited != original and sorted(edited.splitlines()) == sorted(original.splitlines())
    assert edited.index("init_leaf_loads()") < edited.index("begin : genTrivial")
    assert len((tmp_path / "finn_mvu_weights.hex").read_text().split()) == 16


def test_finn_is_quoted_where_its_sources_cannot_be_read(monkeypatch):
    def reject(*_):
        raise UserError("FINN+ has other sources")

    monkeypatch.setattr(finn_mvu, "jobs", reject)
    said = Said()
    asked = tiny_plan(parts=(Measurement.FINN,), shapes=((384, 384),), products=(384,))
    with progress.shown_by(said):
        found = run.run(asked, BenchResults())
    assert [(r.cost["dsp"], r.fold) for r in found.finn] == [(192, {"SIMD": 24, "PE": 16})]
    assert "Yosys" in found.finn[0].source and any("quoted" in text for text in said)
    [sheet] = tables([], [], found.finn, Checks())
    assert "27.60" in sheet.rows[0]


# --- results file and command line ---------------------------------------------------------------


def test_rows_of_other_masks_or_folds_do_not_meet(tmp_path):
    results = BenchResults(tmp_path / "r.json")
    rows = [row(), row(masks=2), row(target=384), row(b=32), row(keep=0.5), row(bits="4x4"), row(mac_style="lut")]
    results.change(rows)
    assert len({r.key for r in rows}) == 7
    assert [BenchResults(tmp_path / "r.json").find(r) for r in rows] == rows
    other = replace(row(code="y"), cost=None)
    assert results.find(other) is other


def _drop():
    return DropRow(9, 8, 0.9, 48, 12, {"SIMD": 2}, "x", token_drop.DropCycles({"first": 1.5}, 100, 9, 8, True))


def test_rows_of_every_kind_survive_the_file(tmp_path):
    kept = [
        DropRow(9, 8, 0.5, 48, 12, {"SIMD": 2}, "x"),
        replace(_drop(), cost=row().cost, ranker=row().array, estimate=row().estimate),
        row(keep=0.7),
        replace(row(), cost=None, array=None, cycles=Cycles(9.0, 8.0, 0.9, 0.8, 9.5, 9.0, 0.01, True)),
        FinnRow("8x8", "8x8", "u", 4, {"SIMD": 2, "PE": 2}, 4, "s", "x", {"dsp": 2}),
    ]
    for kind in kept:
        results = BenchResults(tmp_path / "r.json")
        results.change([kind])
    assert [BenchResults(tmp_path / "r.json").find(replace(r)) for r in kept] == kept


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"rows": [{"matrix": 1}], "token_drop": [], "finn": []}', "[]"])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=r"--json-file .*r.json holds no results of bench-units"):
        BenchResults(tmp_path / "r.json")


@pytest.mark.whole
def test_weights_in_ultraram_are_measured_beside_the_others(tiny):
    """The same unit with another memory of its weights: rows of their own, the same cycles, RAM in UltraRAM."""
    path, found, _ = tiny
    ultra = run.run(tiny_plan(ram_style="ultra"), BenchResults(path)).rows
    assert [(r.mask, r.fold, r.cycles) for r in ultra] == [(r.mask, r.fold, r.cycles) for r in found.rows]
    for row in ultra:
        assert row.cycles.exact and row.cost.uram == row.estimate.uram == 1
        assert row.memory.memory_bits == 4096 * 72 and row.memory.memory_bram36 == 0
    styles = [r["ram_style"] for r in json.loads(path.read_text())["rows"]]
    assert styles.count("auto") == styles.count("ultra") == len(found.rows)


@pytest.mark.parametrize("arguments, text", [
    (["--shape", "384"], "--shape 384: expected two positive numbers, for example 384x1152"),
    (["--shape", "0x4"], "--shape 0x4: expected two positive numbers"),
    (["--bits", "8x"], "--bits 8x: use numbers of bits, or weights/activations, as 4/8"),
    (["--bits", "4/y"], "--bits 4/y: use numbers of bits, or weights/activations, as 4/8"),
    (["--block-keep", "1.5"], "--block-keep 1.5 is not a share: use more than 0 and at most 1"),
    (["--block-keep", "half"], "--block-keep half is not a share"),
    (["--fold", "0"], "--fold: use 1 or more"),
    (["--block-size", "-3"], "--block-size: use 1 or more"),
    (["--measure", "speed"], "--measure speed is unknown: use cycles, resources, token-drop, finn"),
    (["--mac-style", "fpga"], "--mac-style fpga is unknown: use portable, dsp48e2, lut"),
    (["--ram-style", "uram"], "--ram-style uram is unknown: use auto, block, distributed, ultra"),
    (["--measure", "cycles", "--masks-from", "none.onnx"], "model file none.onnx does not exist"),
])  # fmt: skip
def test_wrong_flags_are_named(arguments, text, capsys):
    assert command(["bench-units", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_the_command_writes_limits_and_fails_when_one_is_missed(tiny, tmp_path, capsys):
    path, found, _ = tiny
    flags = "--shape 16x16 --block-size 4 --fold 12 --bits 4 --mac-style portable --masks 2 --block-keep 1 --block-keep 0.5"
    flags = [*flags.split(), "--measure", "cycles", "--measure", "resources", "--json-file", str(path)]
    flags += ["--markdown", str(tmp_path / "units.md")]
    missed = Checks()
    tables(found.rows, [], [], missed)
    assert command(["bench-units", *flags]) == (1 if missed.missed else 0)
    out = capsys.readouterr().out
    assert "1. Utilisation in Verilator" in out and f"{missed.held} figures within their limits" in out
    about = json.loads(path.read_text())["about"]
    assert about["limits_held"] == missed.held and about["limits_missed"] == missed.missed
    page = (tmp_path / "units.md").read_text()
    assert page.startswith("# Matrix and token-drop units") and f"{missed.held} figures within" in page
    assert page.count("| 16x16 b4 r_b 0.5 4x4 | 12 |") == len(tables(found.rows, [], [], Checks()))
