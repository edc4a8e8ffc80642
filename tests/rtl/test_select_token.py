"""VitSelectToken: some tokens pass, the others are taken without waiting for the output."""

import numpy as np
import pytest

from finn_vitprune.custom_ops.tokens.select_token import REST
from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, build_op, check_frame_taken, check_op, random_stream
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.sampling import spread

# Tokens, channels, first token, SIMD, tokens that pass.
SHAPES = [
    (5, 12, 0, 3, 1), (5, 12, 4, 12, 1), (4, 6, 2, 1, 1), (1, 6, 0, 2, 1), (1, 4, 0, 4, 1),
    (3, 6, 0, 2, REST), (7, 6, 3, 2, REST), (6, 4, 1, 4, 3), (5, 4, 4, 2, REST),
]  # fmt: skip


def inputs(tokens, channels, index, simd, count=1):
    """Op type, attributes and a random stream."""
    attrs = {"tokens": tokens, "channels": channels, "index": index, "count": count, "SIMD": simd, "inputDataType": "INT16"}
    op, _ = build_node("VitSelectToken", attrs)
    return "VitSelectToken", attrs, [random_stream(op.in_streams()[0], 3, 1)]


@pytest.mark.parametrize("shape", spread(SHAPES, 4), ids=str)
def test_select_token_equals_golden_model(shape):
    check_op(*inputs(*shape))


def test_what_passes_by_hand():
    x = np.arange(24).reshape(1, 4, 6)
    for index, count, rows in ((0, 1, [0]), (2, REST, [2, 3]), (1, 2, [1, 2]), (0, REST, [0, 1, 2, 3])):
        op, _ = build_node(*inputs(4, 6, index, 2, count)[:2])
        assert np.array_equal(op.compute(x)[0], x[:, rows]) and op.out_streams()[0].tokens == len(rows)


@pytest.mark.parametrize("index, count", [(4, 1), (-1, 1), (3, 2), (4, REST), (0, 5)])
def test_tokens_that_no_frame_has_are_refused(index, count):
    op, _ = build_node("VitSelectToken", {"tokens": 4, "channels": 6, "index": index, "count": count, "inputDataType": "INT16"})
    with pytest.raises(UserError, match=rf"from token {index} of 4 on: use tokens 0 to 3"):
        op.verify_node()


def test_dropped_tokens_pass_a_stalled_output():
    check_frame_taken(build_op(*inputs(6, 4, 0, 4)[:2]))


SHARED = [([(5, 4, 1), (3, 0, REST), (1, 0, 1)], 6, 2), ([(4, 0, REST), (9, 2, 5), (6, 5, REST)], 4, 4)]
"""Tokens, first token that passes, and how many, of each encoder; channels, SIMD."""


def shared(encoders, channels, simd):
    """Op type, and what each encoder needs."""
    return "VitSelectToken", [Use(inputs(tokens, channels, index, simd, count)[1]) for tokens, index, count in encoders]


@pytest.mark.parametrize("case", spread(SHARED, 4), ids=str)
def test_encoders_share_a_selection(case):
    check_shared(*shared(*case))
