"""The fold search: within its interval, as cheap as trying every fold, ports no wider than needed."""

import itertools
from functools import cache

import numpy as np
import pytest

from finn_vitprune.custom_ops.mvau import choose as mvau_choose
from finn_vitprune.custom_ops.mvau.fold import TOKENS_CHOICES, Fold
from tests.rtl.benches.helper import build_node

FOLD = ("SIMD", "PE", "TOKENS", "LANES", "in_width", "out_width")


def unit(seed: int, **changes):
    """A unit of a few blocks with a random mask, not folded."""
    rng = np.random.default_rng(seed)
    block = int(rng.choice([4, 8]))
    rows, columns = (int(v) for v in rng.integers(2, 7, 2))
    attributes = {
        "tokens": int(rng.integers(1, 20)),
        "MW": rows * block,
        "MH": columns * block,
        "block": block,
        "shift": 20,
        "column_blocks": [int(v) for v in rng.integers(0, rows, columns, endpoint=True)],
        "inputDataType": "INT8",
        "weightDataType": "INT8",
        "outputDataType": "INT8",
        "mac_style": "dsp48e2",
    }
    op, _ = build_node("BlockSparseMVAU", attributes | changes, [])
    return op


def with_fold(op, values):
    for name, value in zip(FOLD, values):
        op.set_nodeattr(name, int(value))
    return op


def widest(op, simd, pe):
    get = op.get_nodeattr
    return Fold.in_widths(get("MW"), simd)[-1], Fold.out_widths(get("MH"), pe, get("block"))[-1]


@cache
def every_fold(seed, lanes=6):
    """Cycles of every fold of a unit with its widest ports, of at most ``lanes`` lanes."""
    op = unit(seed, tokens=16)
    block = op.get_nodeattr("block")
    sides = [d for d in (1, 2, 4, 8) if block % d == 0]
    found = []
    for simd, pe, tokens, n in itertools.product(sides, sides, TOKENS_CHOICES, range(1, lanes + 1)):
        values = (simd, pe, tokens, n, *widest(op, simd, pe))
        found.append((with_fold(op, values).get_exp_cycles(), values))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("interval", [40, 300, 2000, 100_000])
def test_the_interval_is_kept_wherever_a_fold_keeps_it(seed, interval):
    fastest = min(cycles for cycles, _ in every_fold(seed))
    op = unit(seed, tokens=16)
    fold = op.folding().for_interval(interval).attributes()
    assert [op.get_nodeattr(name) for name in FOLD] == [1] * 6, "the search leaves the op as it was"
    assert with_fold(op, fold.values()).get_exp_cycles() <= max(interval, fastest)


@pytest.mark.parametrize("seed", range(4))
def test_no_fold_of_the_same_interval_is_much_cheaper(seed):
    """Against all folds. The search reckons with the worst mask for the ports, which may cost a little."""
    op = unit(seed, tokens=16)
    interval = 400
    within = [values for cycles, values in every_fold(seed) if cycles <= interval]
    least = min(_cost(narrow(op, values, interval)) for values in within)
    assert _cost(with_fold(op, op.folding().for_interval(interval).attributes().values())) <= 1.15 * least


def narrow(op, values, interval):
    """The op at a fold with the narrowest ports that keep the interval, one after the other."""
    simd, pe, *_ = values
    get = op.get_nodeattr
    ins, outs = Fold.in_widths(get("MW"), simd), Fold.out_widths(get("MH"), pe, get("block"))
    in_width = next(w for w in ins if with_fold(op, (*values[:4], w, outs[-1])).get_exp_cycles() <= interval)
    out_width = next(w for w in outs if with_fold(op, (*values[:4], in_width, w)).get_exp_cycles() <= interval)
    return with_fold(op, (*values[:4], in_width, out_width))


def _cost(op):
    return mvau_choose.cost(op.fold())


@pytest.mark.parametrize("seed", range(6))
def test_ports_are_the_narrowest_that_keep_the_interval(seed):
    op = unit(seed)
    interval = 500
    values = list(op.folding().for_interval(interval).attributes().values())
    goal = max(interval, with_fold(op, values).get_exp_cycles())
    get = op.get_nodeattr
    ports = {4: Fold.in_widths(get("MW"), values[0]), 5: Fold.out_widths(get("MH"), values[1], get("block"))}
    for place, choices in ports.items():
        at = choices.index(values[place])
        if at:
            narrower = [*values]
            narrower[place] = choices[at - 1]
            assert with_fold(op, narrower).get_exp_cycles() > goal


def test_the_drain_is_made_as_wide_as_the_interval_needs():
    """384 inputs at r_b .5: 4,096 products a cycle yield 21 outputs a cycle, more than a block column has."""
    op, _ = build_node(
        "BlockSparseMVAU",
        {
            "tokens": 128,
            "MW": 384,
            "MH": 768,
            "block": 16,
            "shift": 20,
            "column_blocks": [12] * 48,
            "inputDataType": "INT8",
            "weightDataType": "INT8",
            "outputDataType": "INT8",
            "mac_style": "dsp48e2",
        },
        [],
    )
    interval = 128 * 384 * 768 // 2 // 4096
    fold = op.folding().for_interval(interval).attributes()
    assert fold["out_width"] == 32 and with_fold(op, fold.values()).get_exp_cycles() == interval
    assert op.fold().rows_per_step == 2
    op.set_nodeattr("out_width", 16)
    assert op.get_exp_cycles() > 1.3 * interval
