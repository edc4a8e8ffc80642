"""The matrix unit's mutants and what judges them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.op.rtl_backend import TAGS
from tests.mutation.self_check import SelfCheck, SharedCheck, Unit, loaded
from tests.rtl import test_block_sparse_mvau as matrix


def _ultra(name: str) -> SelfCheck:
    """A matrix unit with its weights in UltraRAM, which must be loaded."""
    case = matrix.ultra(matrix.ULTRA_CASES[name])
    return replace(_matrix(f"{name}, UltraRAM", case), more=lambda built: matrix.check_load(built, case.stream()))


def _matrix(name: str, case: matrix.Case) -> SelfCheck:
    """A matrix unit of a test case, with a random stream."""

    def inputs():
        return matrix.OP, case.attributes(), [case.stream()], case.initialisers()

    return SelfCheck(name, inputs)


def _with_mac(name: str, mac_style: str) -> SelfCheck:
    case = matrix.BODY_CASES[name]
    return _matrix(f"{name}, {mac_style}", replace(case, more=case.more | {"mac_style": mac_style}))


def _shared(name: str) -> tuple:
    """A unit that encoders share: op type, and what each needs."""
    return matrix.OP, matrix.uses(matrix.SHARED_CASES[name])


def _halves() -> tuple:
    """One weight of 1, multiplier 1, shift 1: x / 2, so that every odd x is a tie."""
    case = matrix.Case(mw=8, mh=8, tokens=16, shift=1, in_width=4)
    weights, x = np.zeros((8, 8), int), np.zeros((1, 16, 8), int)
    weights[0] = 1
    x[0, :, 0] = np.arange(-8, 8)
    return matrix.OP, case.attributes(), [x], [weights, np.zeros(8, int), np.ones(8, int)]


LOADED = ("UltraRAM, two banks", "rows fewer than a group, one row, other sides and shifts")
SHARED = (
    *(SharedCheck(f"encoders, {name}", partial(_shared, name), {"patterns": matrix.TRAFFIC}) for name in matrix.SHARED_CASES),
    *(loaded(SharedCheck(f"encoders, {name}", partial(_shared, name), {"patterns": matrix.TRAFFIC[:2]})) for name in LOADED),
    SharedCheck("encoders, many groups of short programs", partial(_shared, "short programs"), {"frames": 40, "patterns": matrix.BURSTS}),
)
SHARED_MATRIX = Unit("shared matrix", BlockSparseMVAU_rtl.RTL_TOP, 30, SHARED, parts=(TAGS,), encoders=True)
MATRIX = Unit(
    "matrix",
    BlockSparseMVAU_rtl.RTL_TOP,
    63,
    (
        _matrix("three lanes", matrix.Case(lanes=3, mw=16, mh=40, simd=2, pe=2, keep=0.8, in_width=4, out_width=4, seed=3)),
        _with_mac("4 by 4 bits, four products a slice", "dsp48e2"),
        *(
            _matrix(name, matrix.CASES[name])
            for name in ("input narrower than SIMD, output wider than PE", "input wider than SIMD, output narrower than PE")
        ),
        _with_mac("INT16 input, 3-bit weights", "lut"),
        _with_mac("8 by 8 bits, two cascades", "dsp48e2"),
        *SHARED,
        *(
            _matrix(name, matrix.CASES[name])
            for name in (
                "wide ports",
                "three steps an entry",
                "rows that end in the middle of a word",
                "two tokens at once, three beats a row",
                "padded sides",
                "unsigned output",
                "INT16 output",
                "raw accumulators",
                "one of everything",
                "one token a group, output wider than a block",
                "unsigned input",
                "wide products, added from an odd number of sums",
                "9-bit input does not pack",
                "many tokens a group",
                "empty columns",
                "very uneven",
            )
        ),
        SelfCheck("halves", _halves),
        _matrix("loaded, dsp48e2", matrix.Case(keep=0.6, more={"mac_style": "dsp48e2", "loaded": 1})),
        replace(_matrix("loaded again", matrix.LOADED_AGAIN), more=matrix.check_other_program),
        _ultra("words of 96 bits: three parts in four places"),
        _ultra("two banks"),
        _ultra("one weight a cycle: a word of less than 32 bits"),
        _with_mac("INT16 input", "dsp48e2"),
        _with_mac("unsigned input", "lut"),
        _with_mac("unsigned input", "dsp48e2"),
        _with_mac("blocks cut between lanes", "dsp48e2"),
        *(
            _matrix(f"weights read in {latency} cycles, {mac_style}", matrix.read_ahead(mac_style, style, words))
            for mac_style, style, words, latency in (
                ("portable", "block", 608, 2),
                ("dsp48e2", "ultra", 4112, 3),
                ("lut", "ultra", 16400, 4),
            )
        ),
        _matrix("groups of one step", matrix.one_step("ultra", 4097)),
    ),
    also=("vp_mvau_lane.sv", "vp_mac.sv", "vp_mac_chain.sv", "vp_mac_sum.sv", "vp_mac_lut.sv"),
)
