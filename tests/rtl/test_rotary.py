"""VitRotary: pairs of channels turned by an angle of the token, against complex numbers, and its RTL against the golden model."""

from fractions import Fraction

import numpy as np
import pytest
from finn.util.basic import getHWCustomOp

from finn_vitprune.errors import UserError
from finn_vitprune.numerics import rotary_codes
from tests.rtl.benches.helper import build_node, build_op, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, check_shared, generate_shared
from tests.sampling import spread

CASES = [
    # tokens, prefix, channels, rotated, table_channels, simd, dtype
    (5, 1, 12, 12, 6, 2, "INT8"),
    (4, 0, 24, 12, 6, 6, "INT8"),
    (7, 2, 16, 8, 8, 2, "INT4"),
    (3, 1, 8, 8, 8, 8, "INT8"),
    (6, 5, 16, 8, 4, 4, "INT8"),
    (1, 0, 4, 2, 2, 2, "INT2"),
    (70, 1, 16, 8, 4, 2, "INT8"),
]


def attributes(tokens, prefix, channels, rotated, table_channels, simd, dtype, **more):
    shape = {"tokens": tokens, "prefix": prefix, "channels": channels, "rotated": rotated}
    return shape | {"table_channels": table_channels, "SIMD": simd, "inputDataType": dtype} | more


def turns(tokens, prefix, pairs, seed=3):
    """The table of random angles, none of them of the prefix."""
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, (tokens, pairs))
    angles[:prefix] = 0
    return np.stack([rotary_codes(np.cos(angles)), rotary_codes(np.sin(angles))], axis=-1).reshape(tokens, 2 * pairs)


def inputs(*case, frames=3, **more):
    """Op type, attributes, a random stream and a table of random angles."""
    attrs = attributes(*case, **more)
    table = turns(case[0], case[1], case[4] // 2)
    op, _ = build_node("VitRotary", attrs, [table])
    return "VitRotary", attrs, [random_stream(op.in_streams()[0], frames, 1)], [table]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_compute_turns_pairs(case):
    op_type, attrs, [x], [table] = inputs(*case)
    tokens, _, _, rotated, table_channels, _, dtype = case
    op, _ = build_node(op_type, attrs, [table])
    high = (1 << (int(dtype[3:]) - 1)) - 1
    got = op.compute(x, table)[0]
    for frame, result in zip(x.tolist(), got.tolist(), strict=True):
        for t in range(tokens):
            wanted = list(frame[t])
            for d in range(0, rotated, 2):
                c, s = table[t, d % table_channels : d % table_channels + 2].tolist()
                a, b = frame[t][d : d + 2]
                exact = round(Fraction(a * c - b * s, 256)), round(Fraction(b * c + a * s, 256))
                wanted[d : d + 2] = [min(max(v, -high - 1), high) for v in exact]
            assert result[t] == wanted


def test_compute_is_near_the_product_with_a_complex_number():
    _, _, [x], [table] = inputs(*CASES[0], frames=50)
    op, _ = build_node("VitRotary", attributes(*CASES[0]), [table])
    x = np.clip(x, -85, 85)
    angle = np.tile(np.arctan2(table[:, 1::2], table[:, ::2]), 2)
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    got = op.compute(x, table)[0]
    assert np.abs(got[..., ::2] - turned.real).max() < 1 and np.abs(got[..., 1::2] - turned.imag).max() < 1


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_rtl_equals_golden_model(case):
    check_op(*inputs(*case))


def tie_inputs():
    """Op type, attributes, every pair of some codes, and angles of which many make ties or leave the range."""
    codes = np.array([-128, -127, -2, -1, 0, 1, 2, 127])
    x = np.stack(np.meshgrid(codes, codes), axis=-1).reshape(1, 1, -1)
    pairs = x.size // 2
    x = np.repeat(x, 4, axis=1)
    table = np.stack([np.tile((c, s), pairs) for c, s in ((128, 128), (-128, 64), (256, 0), (-181, -181))])
    return "VitRotary", attributes(4, 0, 2 * pairs, 2 * pairs, 2 * pairs, 4, "INT8"), [x], [table]


def test_ties_go_to_the_even_neighbour_and_ends_are_clipped():
    op_type, attrs, [x], [table] = case = tie_inputs()
    [golden] = build_node(op_type, attrs, [table])[0].compute(x, table)
    assert golden.min() == -128 and golden.max() == 127
    exact = (x[0, 0, ::2] - x[0, 0, 1::2]) / 2
    assert np.array_equal(golden[0, 0, ::2], np.clip(np.rint(exact), -128, 127))
    check_op(*case, patterns=())


def loaded_inputs():
    """Op type, attributes and contents of a unit whose table comes through the load chain, in rows of a block RAM."""
    return inputs(*CASES[6], loaded=1, ram_style="block")


def test_loaded_table():
    check_op(*loaded_inputs())


SHARED = [
    # SIMD, codes, ram_style, loaded; of each encoder tokens, prefix, channels, rotated, table_channels
    (2, "INT8", "auto", 0, [(5, 1, 24, 12, 6), (3, 0, 12, 12, 12), (1, 1, 8, 8, 8), (4, 2, 36, 18, 6)]),
    (4, "INT4", "auto", 0, [(40, 2, 16, 8, 8), (40, 1, 8, 8, 8), (1, 1, 8, 8, 8)]),
    (8, "INT8", "block", 0, [(9, 1, 8, 8, 8), (2, 0, 16, 16, 8)]),
    (2, "INT8", "block", 1, [(5, 1, 24, 12, 6), (1, 1, 8, 8, 8), (40, 1, 8, 4, 4)]),
]


def shared(simd, dtype, style, loaded, encoders):
    """Op type, and what each encoder needs: a table of its own."""
    return "VitRotary", [
        Use(
            attributes(tokens, prefix, channels, rotated, table_channels, simd, dtype, ram_style=style, loaded=loaded),
            (turns(tokens, prefix, table_channels // 2, seed=7 + e),),
        )
        for e, (tokens, prefix, channels, rotated, table_channels) in enumerate(encoders)
    ]


@pytest.mark.parametrize("case", spread(SHARED, 2), ids=str)
def test_encoders_share_a_unit(case):
    check_shared(*shared(*case))


def test_equal_tables_are_one():
    """A third encoder that reads the table of the first: as many words as with two, and its own is not among them."""
    op_type, uses = shared(*SHARED[1])
    alone, _, _alone = generate_shared(op_type, uses)
    ops = [build_node(op_type, use.attrs, use.initialisers, f"encoder{e}")[0] for e, use in enumerate([*uses, uses[0]])]
    for name, op in zip("abca", ops):
        op.onnx_node.input[1] = name
    unit = getHWCustomOp(type(ops[0]).share("dut", ops, ["in0", "tags"], ["out0", "tags_on"]))
    assert unit.encoders == 4 and [own.get_nodeattr("table") for own in unit.by_encoder()] == [0, 1, 2, 0]
    assert unit.rtl_parameters()["WORDS"] == alone.rtl_parameters()["WORDS"] == (40 * 8 + 40 * 8 + 8) // 4
    assert unit.shapes()[3] == unit.shapes()[0]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"SIMD": 3}, "SIMD 3: use 2, 6"),
        ({"rotated": 13}, "the first 13 of 12 channels are rotated"),
        ({"table_channels": 5}, "a table of 5 channels for 12: use an even divisor"),
        ({"inputDataType": "UINT8"}, "codes of UINT8"),
        ({"prefix": 3}, "the table turns a token of the prefix"),
        ({"tokens": 4}, "the table has 30 entries, there must be 24"),
    ],
)
def test_what_the_unit_does_not_hold_is_named(change, message):
    with pytest.raises(UserError, match=message):
        build_op("VitRotary", attributes(*CASES[0]) | change, [turns(5, 1, 3)])
