"""Mutants of the small units and what judges them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from finn_vitprune.custom_ops.elementwise.add import VitAdd_rtl
from finn_vitprune.custom_ops.elementwise.gate import VitGate_rtl
from finn_vitprune.custom_ops.elementwise.lookup import VitLookup_rtl
from finn_vitprune.custom_ops.elementwise.requant import VitRequant_rtl
from finn_vitprune.custom_ops.elementwise.rotary import VitRotary_rtl
from finn_vitprune.custom_ops.engine.switch import VitMerge_rtl, VitSwitch_rtl
from finn_vitprune.custom_ops.loading.frame_check import VitFrameCheck_rtl
from finn_vitprune.custom_ops.op.rtl_backend import TAGS
from finn_vitprune.custom_ops.streams.crossing import VitCrossing_rtl
from finn_vitprune.custom_ops.streams.fifo import VitFIFO_rtl
from finn_vitprune.custom_ops.streams.fork import VitFork_rtl
from finn_vitprune.custom_ops.streams.split import VitSplit_rtl
from finn_vitprune.custom_ops.streams.width_converter import VitWidthConverter_rtl
from finn_vitprune.custom_ops.tokens.select_token import VitSelectToken_rtl
from finn_vitprune.custom_ops.tokens.token_embed import VitTokenEmbed_rtl
from finn_vitprune.custom_ops.tokens.token_mean import VitTokenMean_rtl
from tests.mutation.self_check import BranchCheck, FrameCheckCheck, Inputs, SelfCheck, SharedCheck, Unit, loaded
from tests.rtl import (
    test_add,
    test_crossing,
    test_fifo,
    test_fork,
    test_gate,
    test_lookup,
    test_requant,
    test_rotary,
    test_select_token,
    test_split,
    test_switch,
    test_token_embed,
    test_token_mean,
    test_width_converter,
)
from tests.rtl.benches.frame_check_design import CHECKS
from tests.rtl.benches.helper import check_frame_taken

SAMPLE = 12


def _all(inputs: Callable[..., Inputs], cases: Sequence[tuple], **more) -> tuple[SelfCheck, ...]:
    """A check for each of ``cases``; ``more``: attributes of all checks."""
    return tuple(SelfCheck(str(case), partial(inputs, *case), **more) for case in cases)


def _shared(inputs: Callable[..., tuple], cases: Sequence[tuple]) -> tuple[SharedCheck, ...]:
    """A check for each of ``cases``, a unit that encoders share, and one of the first with its contents loaded."""
    checks = tuple(SharedCheck(f"encoders {case}", partial(inputs, *case)) for case in cases)
    return (*checks, loaded(checks[0]))


def _branches(kind: str) -> tuple[BranchCheck, ...]:
    built_in = (BranchCheck(str(shape), lambda shape=shape: (kind, *shape)) for shape in test_switch.SHAPES)
    return (*built_in, *(BranchCheck(f"loaded {i}", lambda i=i: (kind, *test_switch.SHAPES[i], 1)) for i in (0, 1)))


STREAM_UNITS = (
    Unit(
        "requant",
        VitRequant_rtl.RTL_TOP,
        SAMPLE + 9,
        (
            *_all(test_requant.inputs, test_requant.CASES),
            SelfCheck("ties", test_requant.tie_inputs),
            SelfCheck("one beside ties", test_requant.near_tie_inputs),
            SelfCheck("last bits of multipliers", test_requant.precise_inputs),
            SelfCheck("loaded", test_requant.loaded_inputs),
        ),
        written=(("vp_credit_fifo.sv", ".DEPTH(DEPTH + 1)", ".DEPTH(DEPTH)"),),
        also=("vp_stream_requant.sv", "vp_requant.sv"),
    ),
    Unit(
        "rotary",
        VitRotary_rtl.RTL_TOP,
        SAMPLE,
        (
            *_all(test_rotary.inputs, test_rotary.CASES),
            SelfCheck("ties and ends", test_rotary.tie_inputs),
            SelfCheck("loaded", test_rotary.loaded_inputs),
            *_shared(test_rotary.shared, test_rotary.SHARED[:2]),
        ),
        parts=(TAGS,),
    ),
    Unit(
        "lookup",
        VitLookup_rtl.RTL_TOP,
        2 * SAMPLE,
        (
            *_shared(test_lookup.shared, test_lookup.CASES[:1]),
            *_all(test_lookup.inputs, test_lookup.CASES),
            *_shared(test_lookup.shared, test_lookup.CASES[1:2]),
        ),
        parts=(TAGS,),
        also=("vp_lookup.sv", "vp_contents.sv"),
    ),
    Unit(
        "gate",
        VitGate_rtl.RTL_TOP,
        2 * SAMPLE,
        (
            *_shared(test_gate.shared, test_gate.CASES[:1]),
            *_all(test_gate.inputs, test_gate.CASES),
            SelfCheck("ties and ends", test_gate.tie_inputs),
            *_shared(test_gate.shared, test_gate.CASES[1:2]),
        ),
        parts=(TAGS,),
        also=("vp_gate.sv",),
    ),
    Unit(
        "FIFO",
        VitFIFO_rtl.RTL_TOP,
        SAMPLE + 4,
        _all(test_fifo.inputs, test_fifo.CASES, more=test_fifo.check_depth),
        also=("vp_stream_fifo.sv",),
    ),
    Unit("fork", VitFork_rtl.RTL_TOP, SAMPLE, _all(test_fork.inputs, test_fork.SHAPES, options={"patterns": test_fork.UNEVEN})),
    Unit("width converter", VitWidthConverter_rtl.RTL_TOP, SAMPLE, _all(test_width_converter.inputs, test_width_converter.CASES)),
    Unit("crossing", VitCrossing_rtl.RTL_TOP, SAMPLE, _all(test_crossing.inputs, test_crossing.CASES, more=test_crossing.check_capacity)),
    Unit(
        "frame check",
        VitFrameCheck_rtl.RTL_TOP,
        2 * SAMPLE,
        tuple(FrameCheckCheck(name, lambda check=check: check.attributes) for name, check in CHECKS.items()),
    ),
    Unit(
        "token embed",
        VitTokenEmbed_rtl.RTL_TOP,
        SAMPLE + 7,
        (*_all(test_token_embed.inputs, test_token_embed.SHAPES), SelfCheck("loaded", test_token_embed.loaded_inputs)),
        also=("vp_row_rom.sv", "vp_choose.sv", "vp_loaded_ram.sv"),
    ),
    Unit(
        "select",
        VitSelectToken_rtl.RTL_TOP,
        2 * SAMPLE,
        (
            *_all(test_select_token.inputs, test_select_token.SHAPES),
            *_shared(test_select_token.shared, test_select_token.SHARED),
            SelfCheck("stalled output", partial(test_select_token.inputs, 6, 4, 0, 4), more=check_frame_taken),
        ),
        parts=(TAGS,),
    ),
    Unit("add", VitAdd_rtl.RTL_TOP, SAMPLE, _all(test_add.inputs, test_add.SHAPES)),
    Unit(
        "split",
        VitSplit_rtl.RTL_TOP,
        2 * SAMPLE,
        (*_all(test_split.inputs, test_split.SHAPES), *_shared(test_split.shared, test_split.SHARED)),
        parts=(TAGS,),
    ),
    Unit("switch", VitSwitch_rtl.RTL_TOP, 3 * SAMPLE, _branches("VitSwitch"), parts=(TAGS,)),
    Unit("merge", VitMerge_rtl.RTL_TOP, 3 * SAMPLE, _branches("VitMerge"), parts=(TAGS,)),
    Unit(
        "token mean",
        VitTokenMean_rtl.RTL_TOP,
        SAMPLE,
        (
            *_all(test_token_mean.inputs, test_token_mean.CASES),
            SelfCheck("ends of the range", test_token_mean.extreme_inputs),
            SelfCheck("stalled output", partial(test_token_mean.inputs, 6, 1, 4, 4, "INT8", "INT8", 70000, 19), more=check_frame_taken),
        ),
    ),
)
