"""The LayerNorm's mutants and what judges them."""

from __future__ import annotations

from functools import partial

from finn_vitprune.custom_ops.layernorm.layernorm import VitLayerNorm_rtl
from finn_vitprune.custom_ops.op.rtl_backend import TAGS
from tests.mutation.self_check import SelfCheck, SharedCheck, Unit, loaded
from tests.rtl import test_layernorm as layernorm


def _random(name: str, *shape, roots: int = 3, centred: int = 1) -> SelfCheck:
    """Tokens of every spread; ``shape``: tokens, channels, SIMD, output codes; ``centred`` 0: an RMSNorm."""
    return SelfCheck(name, partial(layernorm.inputs, *shape, roots=roots, centred=centred))


SHARED = tuple(SharedCheck(f"encoders, {case.id}", partial(layernorm.shared, *case.values)) for case in layernorm.SHARED)
HEADS = tuple(
    SharedCheck(f"heads of encoders, {case.id}", partial(layernorm.shared_heads, *case.values)) for case in layernorm.HEADS_SHARED
)
SHARED = (*SHARED, *HEADS, loaded(SHARED[0]))
SHARED_LAYERNORM = Unit("shared LayerNorm", VitLayerNorm_rtl.RTL_TOP, 18, SHARED, parts=(TAGS,), encoders=True)
LAYERNORM = Unit(
    "LayerNorm",
    VitLayerNorm_rtl.RTL_TOP,
    44,
    (
        _random("three roots in turn", 17, 48, 4, "INT8"),
        *SHARED[:3],
        SHARED[-1],
        _random("37 beats", 6, 74, 2, "INT4", roots=1),
        _random("24 beats wait for one root", 11, 48, 2, "INT8", roots=1),
        SelfCheck("extreme tokens", layernorm.extreme_inputs, {"patterns": (), "interval": False}),
        SelfCheck(
            "extreme tokens, largest shift",
            partial(layernorm.extreme_inputs, 2.0**-13, layernorm.WIDEST),
            {"patterns": (), "interval": False},
        ),
        _random("a token a beat", 7, 24, 24, "INT4"),
        _random("beats are the bottleneck", 5, 48, 1, "INT8", roots=1),
        _random("adder tree of three", 4, 48, 3, "INT4"),
        _random("two channels", 9, 2, 1, "INT8"),
        *(SelfCheck(name, partial(layernorm.scaled_inputs, *case)) for name, case in layernorm.SCALES.items()),
        SelfCheck("ties, even below", partial(layernorm.tie_inputs, 0)),
        SelfCheck("ties, odd below", partial(layernorm.tie_inputs, 1)),
        SelfCheck("next to ties", layernorm.near_tie_inputs, {"patterns": ()}),
        SelfCheck("highest exponent", layernorm.highest_exponent_inputs),
        _random("RMSNorm, three roots in turn", 17, 48, 4, "INT8", centred=0),
        _random("RMSNorm, a token a beat", 7, 24, 24, "INT4", centred=0),
        SelfCheck("RMSNorm, extreme tokens", partial(layernorm.extreme_inputs, centred=0), {"patterns": (), "interval": False}),
        *(SelfCheck(case.id, partial(layernorm.head_inputs, *case.values)) for case in layernorm.HEADS if case.values[6]),
        SelfCheck("slow sink", partial(layernorm.inputs, 6, 48, 12, "INT8"), more=layernorm.check_slow_sink),
    ),
    written=(("vp_copy.sv", "copy_q <= in;", "copy_q <= copy_q;"), ("vp_copy.sv", "assign out = copy_q;", "assign out = in;")),
)
