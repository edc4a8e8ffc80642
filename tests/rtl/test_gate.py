"""VitGate: gates through their table, times the values, against exact fractions, and its RTL against the golden model."""

from fractions import Fraction

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.numerics import gate_shift, gate_table, shift_of_scales
from tests.rtl.benches.helper import build_node, build_op, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.sampling import spread

CASES = [
    # codes in and out, SIMD, ram_style
    ("INT8", "INT8", 4, "distributed"),
    ("INT4", "INT4", 2, "block"),
    ("INT8", "INT8", 12, "auto"),
    ("INT4", "INT8", 6, "distributed"),
    ("INT2", "INT2", 2, "distributed"),
    ("INT8", "INT14", 2, "block"),
]


def attributes(source, target, simd, style, **more):
    shape = {"tokens": 5, "channels": 24, "SIMD": simd}
    return shape | {"inputDataType": source, "outputDataType": target, "ram_style": style} | more


def inputs(source, target, simd, style, **more):
    """Op type, attributes, random gates and values, and random factors, of which some send every value out of range."""
    attrs = attributes(source, target, simd, style, **more)
    op, _ = build_node("VitGate", attrs)
    entries = 1 << op.source.dtype.bitwidth()
    rng = np.random.default_rng(1)
    table = np.rint(rng.uniform(-1, 1, entries) * 2.0 ** rng.integers(8, 18, entries)).astype(np.int64)
    table[:2] = -1 << 17, (1 << 17) - 1
    return "VitGate", attrs, [random_stream(op.in_streams()[0], 4, 1)], [table]


def exact(factor, value, bits):
    """By fractions; Python rounds half to even."""
    most = 1 << (bits - 1)
    return min(max(round(Fraction(factor * value, 1 << 12)), -most), most - 1)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compute_is_the_product_of_factor_and_value(case):
    op_type, attrs, [x], [table] = inputs(*case)
    op, _ = build_node(op_type, attrs, [table])
    [got] = op.compute(x, table)
    assert got.shape == (4, 5, 12)
    lowest, bits = int(op.source.dtype.min()), op.target.dtype.bitwidth()
    flat = zip(x[..., ::2].reshape(-1).tolist(), x[..., 1::2].reshape(-1).tolist(), got.reshape(-1).tolist(), strict=True)
    for gate, value, result in flat:
        assert result == exact(int(table[gate - lowest]), value, bits)


def test_a_table_of_silu_gives_products_of_real_numbers():
    """To half a code, and what rounding a factor is worth: half of its last bit for each code of the value."""
    s_gate, s_value, s_out = 0.05, 0.03, 0.1
    codes = np.arange(-128, 128)
    activated = codes * s_gate / (1 + np.exp(-codes * s_gate))
    shift = gate_shift(128 * s_gate, s_value, s_out)
    s_factor = s_out / s_value * 2.0**-shift
    assert shift == 10 and shift_of_scales(s_factor, s_value, s_out) == 10
    table = gate_table(np.rint(activated / s_factor), shift)
    x = np.stack(np.meshgrid(codes, codes), axis=-1).reshape(1, 1, -1)
    attrs = attributes("INT8", "INT8", 2, "distributed") | {"tokens": 1, "channels": x.size}
    op, _ = build_node("VitGate", attrs, [table])
    [got] = op.compute(x, table)
    real = activated[x[..., ::2] + 128] * x[..., 1::2] * s_value / s_out
    inside = np.abs(real) < 127
    assert np.abs(got - real)[inside].max() <= 0.5 + 128 * 2.0 ** -(shift + 1)
    assert set(np.abs(got[~inside]).tolist()) <= {127, 128}


@pytest.mark.parametrize("largest, shift", [(1.0, 10), (1.9, 10), (2.1, 9), (0.01, 12), (31.0, 6), (1000.0, 6)])
def test_factors_have_as_many_bits_after_the_point_as_the_largest_leaves(largest, shift):
    assert gate_shift(largest, 0.5, 0.5) == shift


@pytest.mark.parametrize(
    "factor, shift", [(2.0**-6, 6), (2.0**-12 * (1 + 1e-7), 12), (2.0**-5, None), (2.0**-13, None), (0.9 * 2.0**-8, None)]
)
def test_scales_that_are_a_shift_apart(factor, shift):
    assert shift_of_scales(factor * 0.3, 0.7, 0.21) == shift


@pytest.mark.parametrize("case", spread(CASES, 3), ids=str)
def test_rtl_equals_golden_model(case):
    check_op(*inputs(*case))


def tie_inputs():
    """Op type, attributes, all values by some factors: ties at even and odd codes, one beside them, and both ends."""
    factors = [1 << 11, -1 << 11, (1 << 11) + 1, (1 << 11) - 1, 3 << 11, (1 << 12) - 16, (1 << 12) + 16, -(1 << 12) - 16, -1 << 17, 1 << 12]
    table = np.zeros(256, np.int64)
    table[: len(factors)] = factors
    gates = np.arange(-128, -128 + len(factors))
    x = np.stack(np.meshgrid(gates, np.arange(-128, 128)), axis=-1).reshape(1, 10, -1)
    return "VitGate", attributes("INT8", "INT8", 4, "distributed") | {"tokens": 10, "channels": x.shape[-1]}, [x], [table]


def test_ties_go_to_the_even_neighbour_and_ends_are_clipped():
    op_type, attrs, [x], [table] = case = tie_inputs()
    [golden] = build_node(op_type, attrs, [table])[0].compute(x, table)
    halves = table[x[..., ::2] + 128] == 1 << 11
    assert np.array_equal(golden[halves], np.rint(x[..., 1::2][halves] / 2)) and (golden.min(), golden.max()) == (-128, 127)
    check_op(*case, patterns=())


@pytest.mark.parametrize("case", spread(CASES[:2], 4, first=1), ids=str)
def test_encoders_share_a_gate(case):
    check_shared(*shared(*case))


def shared(*case):
    """Op type, and what each encoder needs."""
    op_type, attrs, _, (table,) = inputs(*case)
    shapes = [(6, 12), (1, 4), (3, 24)]
    return op_type, [Use(attrs | {"tokens": t, "channels": c}, (np.roll(table, 7 * i),)) for i, (t, c) in enumerate(shapes)]


@pytest.mark.parametrize(
    "change, entries, message",
    [
        ({"SIMD": 3}, 256, "SIMD 3: use 2, 4, 6"),
        ({"channels": 21, "SIMD": 3}, 256, "21 channels: gates and values are pairs"),
        ({"inputDataType": "UINT8"}, 256, "codes of UINT8: use INT2 to INT8"),
        ({"outputDataType": "UINT8"}, 256, "results of UINT8: use INT2 to INT14"),
        ({"outputDataType": "INT16"}, 256, "results of INT16: use INT2 to INT14"),
        ({}, 255, "must have 256 entries of INT18, it has 255"),
    ],
)
def test_what_the_unit_does_not_hold_is_named(change, entries, message):
    with pytest.raises(UserError, match=message):
        build_op("VitGate", attributes("INT8", "INT8", 4, "distributed") | change, [np.zeros(entries)])


def test_a_factor_of_more_bits_is_named():
    with pytest.raises(UserError, match="entries of INT18, it has 256 from 0 to 131072"):
        build_op("VitGate", attributes("INT8", "INT8", 4, "distributed"), [np.where(np.arange(256) == 9, 1 << 17, 0)])
