"""The lanes of the matrix unit share the kept blocks evenly, and the timing model follows its rules."""

import math

import numpy as np
import pytest

from finn_vitprune.custom_ops.mvau.balance import GroupTiming, most_contributions, schedule, steady_interval

MASKS = [
    [3, 3, 3, 3],
    [12, 0, 1, 0, 7],
    [0, 0, 0],
    [1],
    [24] * 24,
    [0, 0, 40, 0, 1],
    list(np.random.default_rng(1).integers(0, 25, 72)),
    list(np.random.default_rng(2).integers(0, 3, 31)),
]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 7, 12, 16])
@pytest.mark.parametrize("counts", MASKS, ids=range(len(MASKS)))
def test_every_block_is_placed_once_and_no_lane_exceeds_the_mean(counts, lanes):
    plan = schedule(counts, lanes)
    placed = [(p.column, p.first + i) for p in plan.parts for i in range(p.count)]
    assert sorted(placed) == [(c, i) for c, n in enumerate(counts) for i in range(n)]
    total = int(sum(counts))
    assert max(plan.loads) == math.ceil(total / lanes)
    assert sum(plan.loads) == total
    assert all(p.count >= 1 and 0 <= p.lane < lanes for p in plan.parts)


@pytest.mark.parametrize("lanes", [1, 3, 5, 16])
@pytest.mark.parametrize("counts", MASKS, ids=range(len(MASKS)))
def test_slots_number_the_parts_of_a_lane_and_contributions_stay_below_the_bound(counts, lanes):
    plan = schedule(counts, lanes)
    for lane in range(lanes):
        slots = [p.slot for p in plan.parts if p.lane == lane]
        assert slots == list(range(len(slots)))
    assert plan.contributions <= most_contributions(len(counts), lanes)
    for column, count in enumerate(counts):
        parts = plan.column_parts(column)
        assert len({p.lane for p in parts}) == len(parts), "two parts of a column in one lane"
        assert sum(p.count for p in parts) == count


def test_columns_that_fit_are_not_cut():
    plan = schedule([6] * 12, 4)
    assert len(plan.parts) == 12 and plan.loads == (18, 18, 18, 18)
    spare = schedule([4, 3, 4, 3], 4)  # cap 4: room enough to stop at every border
    assert len(spare.parts) == 4 and spare.loads == (4, 3, 4, 3)


def test_a_full_column_among_empty_ones_is_cut_over_all_lanes():
    plan = schedule([0, 24, 0], 5)
    assert plan.loads == (5, 5, 5, 5, 4)
    assert plan.contributions == 5 + 2


@pytest.mark.parametrize("lanes", [4, 8, 12, 16])
def test_split_columns_keep_uneven_heads_above_98_percent(lanes):
    worst = 1.0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        columns = rng.binomial(24, rng.choice([0.0, 0.3, 0.6, 0.9], size=24))
        plan = schedule(columns, lanes)
        if plan.kept > 50 * lanes:  # enough blocks that rounding up to whole blocks is small
            worst = min(worst, plan.kept / (lanes * plan.lane_blocks))
    dense = schedule([24] * 72, lanes)
    assert dense.kept / (lanes * dense.lane_blocks) == 1.0
    assert worst >= 0.98


def test_interval_is_the_longest_stage_when_it_is_longest_by_far():
    rows = [4, 4, 4, 1]
    assert steady_interval(rows, GroupTiming(load_row=2, compute=100, drain_row=3, latency=8)) == 400
    assert steady_interval(rows, GroupTiming(load_row=50, compute=10, drain_row=3, latency=8)) == 50 * 13
    assert steady_interval(rows, GroupTiming(load_row=2, compute=10, drain_row=60, latency=8)) == 60 * 13


def test_interval_of_a_short_last_group_that_double_buffers_cannot_hide():
    """Loading 4 rows takes 100 cycles and starts only once the buffer is free: 60 + 1 + 100 a frame."""
    timing = GroupTiming(load_row=25, compute=60, drain_row=1, latency=0)
    assert steady_interval([4, 1], timing, frames=20) == pytest.approx(161, abs=1)


@pytest.mark.parametrize("rows, drain, emit, interval", [
    ([4, 4], 20, 15, 8 * 15),  # rows leave more slowly than they are drained, two at once
    ([4, 4], 40, 15, 4 * 40),
    ([3, 3], 20, 15, 2 * (30 + 20)),  # while one row leaves in 15, two cannot be drained
    ([3, 3], 40, 15, 4 * 40),
])  # fmt: skip
def test_interval_of_rows_that_are_collected_together_and_leave_one_by_one(rows, drain, emit, interval):
    timing = GroupTiming(load_row=1, compute=10, drain_row=drain, latency=0, rows_per_step=2, emit_row=emit)
    assert steady_interval(rows, timing, frames=20) == pytest.approx(interval, abs=1)
