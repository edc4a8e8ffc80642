"""VitTokenEmbed: prefix rows in front, positions added, saturating."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, build_op, check_op, random_stream
from tests.sampling import spread

# Tokens in, constant tokens, channels, SIMD, ram_style.
SHAPES = [
    (5, 1, 12, 3, "auto"),
    (4, 2, 6, 6, "block"),
    (3, 0, 6, 1, "distributed"),
    (1, 1, 4, 4, "auto"),
    (128, 2, 24, 3, "auto"),
    (274, 1, 24, 3, "auto"),
]
LATENCIES = [1, 3, 1, 1, 3, 4]
"""Cycles of a read: LUTs, block RAM, three and five rows of block RAMs."""


def inputs(tokens, prefix, channels, simd, style, loaded=0):
    """Op type, attributes, a random stream, random rows and positions."""
    attrs = {"tokens_in": tokens, "prefix": prefix, "channels": channels, "SIMD": simd, "ram_style": style, "loaded": loaded}
    rng = np.random.default_rng(3)
    rows = rng.integers(-32768, 32767, (prefix, channels), endpoint=True)
    positions = rng.integers(-32768, 32767, (prefix + tokens, channels), endpoint=True)
    op, _ = build_node("VitTokenEmbed", attrs, [rows, positions])
    return "VitTokenEmbed", attrs, [random_stream(op.in_streams()[0], 3, 1)], [rows, positions]


def loaded_inputs():
    """The same with a table in block RAM that is loaded."""
    return inputs(*SHAPES[4], loaded=1)


@pytest.mark.parametrize("loaded", [0, 1], ids=["built in", "loaded"])
@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_token_embed_equals_golden_model(shape, loaded):
    check_op(*inputs(*shape, loaded))


def test_shapes_reach_every_read_latency():
    assert [build_node(*inputs(*shape)[:2])[0].rtl_parameters()["LATENCY"] for shape in SHAPES] == LATENCIES


def test_token_embed_by_hand():
    attrs = {"tokens_in": 1, "prefix": 1, "channels": 2, "SIMD": 1}
    rows, positions = np.array([[10, 20]]), np.array([[1, 2], [30000, -4]])
    op, _ = build_node("VitTokenEmbed", attrs, [rows, positions])
    assert op.compute(np.array([[[30000, 4]]]), rows, positions)[0].tolist() == [[[11, 22], [32767, 0]]]
    assert op.compute(np.zeros((3, 2, 1, 2), int), rows, positions)[0].shape == (3, 2, 2, 2)


def test_positions_that_do_not_fit_are_named():
    attrs = {"tokens_in": 1, "prefix": 1, "channels": 2, "SIMD": 1}
    with pytest.raises(UserError, match="positions must fit INT16, they are -4 to 40000"):
        build_op("VitTokenEmbed", attrs, [np.array([[10, 20]]), np.array([[1, 2], [40000, -4]])])
