"""VitRequant: multiplier and shift per channel or per tensor."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from finn_vitprune.sim import Stimulus
from finn_vitprune.sim.contents import Contents
from tests.rtl.benches.helper import PATTERNS, assert_ok, build_node, build_op, check_loaded_again, check_op, random_stream
from tests.rtl.benches.precision import deciding, near_ties
from tests.sampling import spread

CASES = [
    # source, target, simd, shift, per_channel, mult_bits
    ("INT16", "INT8", 3, 23, 1, 17),
    ("INT24", "INT4", 1, 30, 1, 17),
    ("UINT8", "UINT4", 6, 20, 1, 17),
    ("INT32", "INT16", 2, 38, 0, 25),
    ("INT8", "INT8", 12, 16, 0, 17),
    ("INT8", "UINT8", 4, 0, 1, 2),
]


def inputs(source, target, simd, shift, per_channel, mult_bits, seed=2, **more):
    """Op type, attributes, a random stream and random multipliers."""
    attrs = {
        "tokens": 5,
        "channels": 12,
        "SIMD": simd,
        "shift": shift,
        "per_channel": per_channel,
        "mult_bits": mult_bits,
        "inputDataType": source,
        "outputDataType": target,
        **more,
    }
    mult = np.random.default_rng(seed).integers(0, 1 << mult_bits, 12 if per_channel else 1)
    mult[0] = (1 << mult_bits) - 1
    op, _ = build_node("VitRequant", attrs, [mult])
    return "VitRequant", attrs, [random_stream(op.in_streams()[0], 3, 1)], [mult]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_requant_equals_golden_model(case):
    check_op(*inputs(*case))


def loaded_inputs(index=0):
    """The same with contents that are loaded, in a unit that is made for shifts of one less to two more."""
    case = CASES[index]
    return inputs(*case, loaded=1, least=[max(0, case[3] - 1), case[3] + 2])


@pytest.mark.parametrize("index", spread(range(len(CASES)), 3))
def test_a_loaded_unit_equals_its_golden_model(index):
    check_op(*loaded_inputs(index))


SCALES = {
    "a multiplier a channel": [("INT16", "INT8", 3, shift, 1, 17) for shift in (23, 21, 26)],
    "a multiplier for all": [("INT16", "INT8", 4, shift, 0, 17) for shift in (2, 0, 5)],
}


@pytest.mark.parametrize("name", SCALES)
def test_one_unit_serves_networks_of_other_scales(name):
    """Contents by the chain, from files, and after what another network has; a reset keeps them."""
    uses = [inputs(*case, seed=i, loaded=1) for i, case in enumerate(SCALES[name])]
    ops = [build_node(op_type, attrs, initialisers)[0] for op_type, attrs, _, initialisers in uses]
    for op in ops:
        for other in ops:
            op.widen(other)
    assert len({op.wrapper_text() for op in ops}) == 1 and len({tuple(op.loaded_regions()) for op in ops}) == 1
    made = [(op_type, attrs | {"least": list(op.made_for)}, *rest) for op, (op_type, attrs, *rest) in zip(ops, uses)]
    for own, other in zip(made, [made[-1], *made]):
        built = check_op(*own, patterns=PATTERNS[:2]).built
        Contents.load(built.folder).fill(built.folder)
        assert_ok(built.run(own[2], fill=True), built, own[2], Stimulus())
        check_loaded_again(built, (other[0], other[1], other[3]), own[2])


def test_a_design_has_room_for_other_shifts():
    """Two more and two less, and none below 0."""
    for shift, room in ((23, (21, 25)), (1, (0, 3))):
        op, _ = build_node(*inputs("INT16", "INT8", 3, shift, 0, 17, loaded=1)[:2])
        op.spare(None)
        assert op.made_for == room and (op.rtl_parameters()["SHIFT"], op.rtl_parameters()["SPAN"]) == (room[1], room[1] - room[0])
        assert op.tables() == {"lefts": [(room[1] - shift,)]}


def precise_inputs():
    """Codes at which one more or one less in the multiplier of any channel gives another output."""
    mult = np.random.default_rng(4).integers(1 << 16, 1 << 17, 12)
    x = np.stack([deciding(np.arange(-(1 << 15), 1 << 15), m, 23, 8) for m in mult.tolist()], axis=-1)
    attrs = {
        "tokens": len(x),
        "channels": 12,
        "SIMD": 3,
        "shift": 23,
        "per_channel": 1,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [x[None]], [mult]


def test_every_bit_of_every_multiplier_counts():
    op_type, attrs, [x], [mult] = case = precise_inputs()
    op, _ = build_node(op_type, attrs, [mult])
    [golden] = op.compute(x, mult)
    for step in (-1, 1):
        assert np.all(np.any(op.compute(x, mult + step)[0] != golden, axis=(0, 1)))
    check_op(*case, patterns=())


def tie_inputs():
    """x / 128 at every tie, and one beside each: the output is the even neighbour, and the nearer one."""
    x = (64 + 128 * np.arange(-128, 128))[:, None] + np.array([-1, 0, 1])
    attrs = {
        "tokens": 64,
        "channels": 12,
        "SIMD": 4,
        "shift": 23,
        "per_channel": 0,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [x.reshape(1, 64, 12)], [np.array([1 << 16])]


def near_tie_inputs():
    """Codes whose product with their channel's multiplier is a tie, or one off."""
    pairs = near_ties(16, 17, 23, 8)[:60]
    attrs = {
        "tokens": 1,
        "channels": len(pairs),
        "SIMD": 4,
        "shift": 23,
        "per_channel": 1,
        "mult_bits": 17,
        "inputDataType": "INT16",
        "outputDataType": "INT8",
    }
    return "VitRequant", attrs, [pairs[:, 0].reshape(1, 1, -1)], [pairs[:, 1]]


def test_one_beside_a_tie_is_no_tie():
    check_op(*near_tie_inputs(), patterns=())


def test_ties_go_to_the_even_neighbour():
    op_type, attrs, [x], [mult] = case = tie_inputs()
    [golden] = build_node(op_type, attrs, [mult])[0].compute(x, mult)
    assert np.array_equal(golden, np.clip(np.rint(x / 128), -128, 127))
    check_op(*case, patterns=())


def test_multiplier_that_does_not_fit_is_named():
    attrs = {"tokens": 1, "channels": 2, "shift": 17, "inputDataType": "INT16", "outputDataType": "INT8"}
    with pytest.raises(UserError, match="2 multipliers of 0 to 131071, there are 2 from"):
        build_op("VitRequant", attrs, [np.array([1, 1 << 17])])
