"""The attention unit's mutants and what judges them."""

from __future__ import annotations

from functools import partial

from finn_vitprune.custom_ops.attention.pruned_attention import PrunedAttention_rtl
from finn_vitprune.custom_ops.op.rtl_backend import TAGS
from tests.mutation.self_check import SelfCheck, SharedCheck, Unit, loaded
from tests.rtl import test_pruned_attention as attention
from tests.rtl.benches.helper import PATTERNS


def _random(name: str) -> SelfCheck:
    """A shape of the unit's tests with random streams."""
    return SelfCheck(name, partial(attention.inputs, attention.SHAPES[name]), {"frames_overlap": 4})


def _extreme(name: str, *case: int) -> SelfCheck:
    """Frames at the corners; logits and outputs of ``case`` (bits, scores, SIMD, PE)."""
    return SelfCheck(name, partial(attention.extreme_inputs, *case), {"frames_overlap": 6, "interval": False})


def _shared(name: str) -> SharedCheck:
    """A unit that encoders share."""
    options = {"patterns": PATTERNS + attention.LATE}
    return SharedCheck(f"encoders, {name}", lambda: ("PrunedAttention", attention.SHARED[name]), options)


SHARED = (*map(_shared, attention.SHARED), *(loaded(_shared(name)) for name in ("three_sizes", "more_keys_at_once_than_tokens", "biases")))
SHARED_ATTENTION = Unit("shared attention", PrunedAttention_rtl.RTL_TOP, 24, SHARED, parts=(TAGS,), encoders=True)
ATTENTION = Unit(
    "attention",
    PrunedAttention_rtl.RTL_TOP,
    72,
    (
        *(
            _random(name)
            for name in ("three_heads", "odd_fold", "four_bits", "more_keys_than_channel_groups", "class_token_only", "one_head")
        ),
        *SHARED,
        *(_random(name) for name in ("biases", "biases_of_the_class_token_alone", "biases_in_block_ram")),
        _extreme("corners", 8, 1, 4, 3),
        _extreme("corners of four bits, no scores", 4, 0, 2, 5),
        *(
            _random(name)
            for name in (
                "no_scores",
                "one_key_group",
                "full_channel_width",
                "mixed_widths",
                "slow_divider",
                "two_tokens",
                "one_token_three_heads",
                "keys_and_values_take_longest",
                "wide_score_type",
                "logits_on_ties",
                "block_ram",
                "rows_of_block_ram",
                "ultra_ram_one_word_items",
                "rows_of_ultra_ram_many_keys",
                "many_rows_of_ultra_ram",
            )
        ),
        SelfCheck("last bits of reciprocals", attention.reciprocal_inputs, {"interval": False}),
        SelfCheck("last bit of the logit constant", attention.logit_inputs, {"interval": False}),
        SelfCheck("largest sums", attention.largest_inputs, {"frames_overlap": 6, "interval": False}),
        SelfCheck("negative logits", partial(attention.negative_inputs, 17, 9, 2)),
        SelfCheck(
            "one output stalls",
            partial(attention.inputs, attention.attributes(12, 12, 3, 8, 4, 4), 5),
            more=attention.check_one_stalled_output,
        ),
        SelfCheck(
            "one output stalls, class token",
            partial(attention.inputs, attention.attributes(12, 1, 3, 8, 4, 4), 5),
            more=attention.check_one_stalled_output,
        ),
        SelfCheck("late scores", partial(attention.inputs, attention.attributes(12, 12, 2, 8, 4, 4), 2), more=attention.check_late_scores),
        SelfCheck("late keys", partial(attention.inputs, attention.attributes(12, 12, 2, 8, 4, 4), 2), more=attention.check_late_keys),
    ),
    also=(
        "vp_attention_reciprocal.sv",
        "vp_attention_items.sv",
        "vp_attention_dot.sv",
        "vp_counter.sv",
        "vp_credits.sv",
        "vp_attention_exp.sv",
        "vp_divide.sv",
    ),
)
