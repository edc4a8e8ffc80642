"""VitSelectToken: one token passes, the others are taken without waiting for the output."""

import pytest

from tests.rtl.benches.helper import build_node, build_op, check_frame_taken, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.sampling import spread

# Tokens, channels, index, SIMD.
SHAPES = [(5, 12, 0, 3), (5, 12, 4, 12), (4, 6, 2, 1), (1, 6, 0, 2), (1, 4, 0, 4), (3, 6, -1, 2)]


def inputs(tokens, channels, index, simd):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": tokens, "channels": channels, "index": index, "SIMD": simd, "inputDataType": "INT16"}
    op, _ = build_node("VitSelectToken", attrs)
    return "VitSelectToken", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_select_token_equals_golden_model(shape):
    check_op(*inputs(*shape))


def test_dropped_tokens_pass_a_stalled_output():
    check_frame_taken(build_op(*inputs(6, 4, 0, 4)[:2]))


SHARED = [([(5, 4), (3, -1), (1, 0)], 6, 2), ([(4, -1), (9, 0)], 4, 4)]
"""Tokens and index of each encoder, channels, SIMD."""


def shared(encoders, channels, simd):
    """Op type, and what each encoder needs."""
    return "VitSelectToken", [Use(inputs(tokens, channels, index, simd)[1]) for tokens, index in encoders]


@pytest.mark.parametrize("case", spread(SHARED, 4), ids=str)
def test_encoders_share_a_selection(case):
    check_shared(*shared(*case))
