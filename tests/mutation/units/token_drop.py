"""The token drop's mutants and what judges them."""

from __future__ import annotations

from finn_vitprune.custom_ops.token_drop.token_drop import VitTokenDrop_rtl
from tests.mutation.self_check import SelfCheck, Unit
from tests.rtl import test_token_drop as token_drop
from tests.rtl.benches.helper import PATTERNS


def _drop(name: str, shape: tuple, *, ties: bool = False, data=None, more=None, least: tuple = (), **options) -> SelfCheck:
    """Token drop of ``shape`` (tokens, channels, SIMD, k, heads, ranking, prefix): random, tied or given frames; with ``least`` it is loaded,
    and made for these tokens, k and heads, too.
    """

    def inputs():
        n, channels, _, k, heads, *_ = shape
        if data is not None:
            streams = data(heads)
        elif ties:
            streams = [token_drop.codes(12, n, channels), token_drop.tied_scores(n, heads, k)]
        else:
            streams = [token_drop.codes(5, n, channels), token_drop.attention_scores(5, n, heads)]
        made_for = {"loaded": 1, "least": list(least), "scoreDataType": f"UINT{(least[2] << 16).bit_length()}"} if least else {}
        return "VitTokenDrop", token_drop.attrs(*shape) | made_for, streams

    patterns = {"patterns": token_drop.LATE_SCORES[:2] if ties else PATTERNS + token_drop.LATE_SCORES}
    return SelfCheck(name, inputs, patterns | {"interval": not (ties or data)} | options, more)


TOKEN_DROP = Unit(
    "token drop",
    VitTokenDrop_rtl.RTL_TOP,
    41,
    (
        _drop("half kept", (17, 48, 4, 8, 2, "insert")),
        _drop("ties, dropped ones ranked", (11, 32, 8, 7, 3, "insert"), ties=True),
        _drop("histograms", (17, 48, 1, 12, 1, "histogram")),
        _drop("histograms, ties", (60, 32, 8, 30, 1, "histogram"), ties=True),
        _drop("a beat a token, one dropped", (9, 16, 16, 7, 3, "insert")),
        _drop("three beats a token", (9, 24, 8, 4, 12, "insert")),
        _drop("none dropped", (17, 48, 4, 16, 2, "insert")),
        _drop("ties", (11, 32, 8, 4, 2, "insert"), ties=True),
        _drop("ends of the range", (6, 8, 2, 1, 1), data=token_drop.extreme_frames),
        _drop("ends of the range, three heads", (6, 8, 2, 1, 3), data=token_drop.extreme_frames),
        _drop("halves", (4, 16, 4, 1, 1), data=token_drop.half_frames),
        _drop("two beats a token", (9, 16, 8, 4, 12, "insert")),
        _drop("four groups a beat", (80, 16, 8, 30, 3, "insert")),
        _drop("three groups a beat", (60, 12, 3, 20, 2, "insert")),
        _drop("one kept", (17, 48, 6, 1, 1, "insert")),
        _drop("one element a beat", (17, 48, 1, 5, 6, "insert")),
        _drop("histograms, scores in block RAM", (200, 24, 2, 99, 1, "histogram")),
        _drop(
            "pace for every image",
            (17, 48, 4, 8, 2),
            data=lambda _: [token_drop.codes(1, 17, 48), token_drop.attention_scores(1, 17, 2)],
            more=token_drop.check_pace,
        ),
        _drop("ranking cycles, insertion", (60, 48, 1, 30, 1, "insert"), more=token_drop.check_rank),
        _drop("ranking cycles, histograms", (60, 48, 1, 30, 1, "histogram"), more=token_drop.check_rank),
        _drop("histograms, ranked long before they are asked", (60, 96, 1, 30, 1, "histogram")),
        _drop("prefix of five", (21, 48, 4, 8, 2, "insert", 5)),
        _drop("prefix of two, dropped ones ranked", (12, 32, 8, 7, 3, "insert", 2), ties=True),
        _drop("prefix of five, histograms", (64, 32, 8, 30, 1, "histogram", 5), ties=True),
        _drop("loaded, fewer cells", (12, 48, 4, 3, 2, "insert"), ties=True, least=(17, 3, 4)),
        _drop("loaded again", (12, 48, 4, 6, 2, "insert"), least=(17, 3, 4), more=token_drop.check_loaded_again),
        _drop("loaded, dropped ones ranked", (17, 48, 4, 12, 3, "insert"), least=(17, 3, 4)),
        _drop("loaded, all kept", (12, 48, 4, 11, 1, "insert"), least=(17, 3, 4)),
        _drop("loaded, prefix of three, all kept", (12, 48, 4, 9, 1, "insert", 3), least=(17, 3, 4)),
        _drop("loaded, prefix of three", (12, 48, 4, 6, 2, "insert", 3), least=(17, 3, 4)),
        _drop("loaded, histograms", (40, 48, 4, 20, 3, "histogram"), ties=True, least=(60, 20, 3)),
        _drop("loaded, ends of the range", (6, 8, 2, 1, 3, "insert"), data=token_drop.extreme_frames, least=(6, 1, 3)),
        _drop("loaded, halves", (4, 16, 4, 1, 1, "insert"), data=token_drop.half_frames, least=(4, 1, 3)),
    ),
    also=("vp_token_drop_lane.sv",),
    written=(
        ("vp_token_drop_rank.sv", "!full_q[write_bank_q]", "!full_q[!write_bank_q]"),
        ("vp_token_drop_rank.sv", "|| full_q[read_bank_q]", "|| full_q[!read_bank_q]"),
        ("vp_token_drop_rank.sv", "in_q == TOKEN_COUNT_W'(PREFIX - 1)", "in_q == TOKEN_COUNT_W'(PREFIX)"),
        ("vp_token_drop_rank.sv", "first_q && token_q != TOKEN_COUNT_W'(PREFIX - 1)", "first_q && token_q != TOKEN_COUNT_W'(PREFIX)"),
        ("vp_token_drop_rank.sv", "!in_last_q && (in_ranked_q", "(in_ranked_q"),
    ),
)
