"""VitLookup: every code through its table entry, smallest code first."""

import numpy as np
import pytest

from finn_vitprune.errors import UserError
from tests.rtl.benches.helper import build_node, build_op, check_op
from tests.rtl.benches.shared_helper import Use, check_shared
from tests.sampling import spread

CASES = [
    # codes in and out, SIMD, ram_style
    ("INT8", "INT8", 4, "distributed"),
    ("UINT8", "INT4", 1, "block"),
    ("INT4", "UINT8", 3, "auto"),
    ("UINT4", "INT16", 12, "distributed"),
]


def inputs(source, target, simd, style):
    """Op type, attributes, a stream of every code and a random table."""
    attrs = {"tokens": 6, "channels": 12, "SIMD": simd, "inputDataType": source, "outputDataType": target, "ram_style": style}
    probe, _ = build_node("VitLookup", attrs)
    lo, hi = int(probe.in_streams()[0].dtype.min()), int(probe.in_streams()[0].dtype.max())
    out = probe.out_streams()[0].dtype
    table = np.random.default_rng(1).integers(int(out.min()), int(out.max()), hi - lo + 1, endpoint=True)
    codes = np.resize(np.arange(lo, hi + 1), (4, 6, 12))
    return "VitLookup", attrs, [codes], [table]


@pytest.mark.parametrize("case", spread(CASES, 4), ids=str)
def test_lookup_equals_golden_model_for_every_code(case):
    check_op(*inputs(*case))


def test_lookup_by_hand_and_wrong_table_size():
    attrs = {"tokens": 1, "channels": 3, "SIMD": 1, "inputDataType": "INT4", "outputDataType": "INT8"}
    table = np.arange(16) * 5
    op, _ = build_node("VitLookup", attrs, [table])
    assert op.compute(np.array([[[-8, 0, 7]]]), table)[0].tolist() == [[[0, 40, 75]]]
    with pytest.raises(UserError, match="16 entries of INT8, it has"):
        build_op("VitLookup", attrs, [np.arange(15)])


@pytest.mark.parametrize("case", spread(CASES[:2], 4, first=1), ids=str)
def test_encoders_share_a_lookup(case):
    check_shared(*shared(*case))


def shared(*case):
    """Op type, and what each encoder needs."""
    op_type, attrs, _, (table,) = inputs(*case)
    shapes = [(6, 12), (1, 4), (3, 24)]
    return op_type, [Use(attrs | {"tokens": t, "channels": c}, (np.roll(table, 7 * i),)) for i, (t, c) in enumerate(shapes)]
