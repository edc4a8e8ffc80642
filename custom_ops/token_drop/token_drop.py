"""Token drop: keep the prefix tokens and the k best of the others, fuse what is dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.base import FoldedOp, OneToken, divisors
from finn_vitprune.custom_ops.op.finn_op import by_node
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.custom_ops.token_drop.estimate import MAX_KEY_BITS, DropFolding, DropRange
from finn_vitprune.sim.beats import Stream

MAX_TOKENS = 8192
"""More tokens could take the fused one to the end of INT16, where the unit does not saturate."""
PASS_CYCLES = 3
"""From a beat of a row to the same one at the output: a register, write and read of the FIFO."""


class VitTokenDrop(FoldedOp):
    """Passes rows 0 to P-1 and the k rows of highest score among P to N-1, in order, then one row that fuses the others.

    fused_d = round_half_even(sum over dropped i of S_i X_id  mult 2**-(16 + shift)), mult 2**-shift standing
    for 1 / H_live. P is ``prefix``: class token, distillation token, registers. X: ``[N, D]`` INT16; S: ``[N, 1]``
    unsigned with 16 fraction bits a head, S_0..S_{P-1} ignored, the lower index wins ties. Out: ``[N_out, D]``,
    N_out = P + k + 1, or N when k = N - P and nothing is dropped. ``numerics.token_drop`` is the specification.

    The scores of one frame sum to at most H_live 2**16, which bounds everything inside: the k-th largest
    is at most H_live 2**16 / k, so that higher scores may saturate before ranking; a dropped one at most
    H_live 2**16 / (k + 1), as k others are no smaller; the dropped ones together hold at most their share
    (N - P - k) / (N - P). So the fused token never saturates.

    No DSP: a lane multiplies by the score with one LUT a bit of score and two bits of x. ``ranking``
    "insert" keeps the min(k, N - P - k) keys at one end sorted, a score a cycle; "histogram" counts
    the scores in histograms of several levels and walks down them, small for many tokens; "auto" takes
    the cheapest of insertion and of histograms whose cycles are at most 1 % of the interval: of the graph's
    (``interval``, which folding sets), or of the op's own. A frame takes N D / SIMD + D / fuse lanes cycles whichever tokens are kept.

    Source: Y. Liang et al., "Not All Patches are What You Need" (EViT), arXiv 2202.07800; FCCM 2024,
    arXiv 2403.14047.
    """

    ATTRIBUTES = {
        "tokens": ("i", True, 0),
        "channels": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "k": ("i", True, 0),
        "prefix": ("i", False, 1),
        "mult": ("i", True, 0),
        "shift": ("i", True, 0),
        "ranking": ("s", False, "auto", {"auto", "insert", "histogram"}),
        "interval": ("i", False, 0),
        "ram_style": ("s", False, "auto", {"auto", "distributed", "block"}),
        "inputDataType": ("s", False, "INT16"),
        "scoreDataType": ("s", True, ""),
        "outputDataType": ("s", False, "INT16"),
        "least": ("ints", False, []),
    }
    """``least``: the numbers of a :class:`.DropRange`, what the unit is made for at least."""

    # --- folding ---

    @by_node
    def folding(self) -> DropFolding:
        get = self.get_nodeattr
        return DropFolding(
            tokens=get("tokens"), channels=get("channels"), simd=get("SIMD"), k=get("k"), mult=get("mult"),
            shift=get("shift"), score_bits=DataType[get("scoreDataType")].bitwidth(), wanted=get("ranking"),
            interval=get("interval"), ram_style=get("ram_style"), least=DropRange(*least) if len(least := get("least")) else None,
            prefix=get("prefix"),
        )  # fmt: skip

    def pause_beats(self, inputs: list[TokenTimes]) -> int:
        """Beats that come while the fused token leaves, or until the scores are ranked; the first P rows need not wait for these.

        A source that sends a token at once may finish it without loss when the next is due: whole tokens
        are buffered, and of the one under way what does not fit into the rest of its share of the interval.
        """
        (rows, scores), f = inputs, self.folding()
        if f.drops == 0:
            return 0
        ranked = scores.last[-1] + f.ranking.cycles
        early = sum(first < ranked for first in rows.first[f.prefix :])
        share, pause = max(f.interval, f.frame_cycles) // f.tokens, f.fused_cycles
        whole = pause // share
        return max(whole * f.beats, pause - (whole + 1) * (share - f.beats), early * f.beats)

    def output_fifo_tokens(self) -> int:
        """Depth in tokens of the FIFO that must follow, so that the interval never depends on the image.

        The consumer takes N_out tokens a frame, evenly. It has most to catch up when one frame keeps its
        last k rows and the next its first k: with a fused token and P others between them these are 2 k + P + 1
        tokens without a pause. For keep rates of 1/2 and more what is left of them is at most N_out.
        """
        f = self.folding()
        if f.drops == 0:
            return f.tokens_out
        burst = f.frame_cycles - f.drops * f.dropped_cycles + f.k * f.kept_cycles
        return max(f.tokens_out, 2 * f.k + f.prefix + 1 - burst * f.tokens_out // f.frame_cycles)

    def verify_node(self) -> list[str]:
        """Raise UserError for what the unit does not hold; an empty list when all is well."""
        f, score, require = self.folding(), DataType[self.get_nodeattr("scoreDataType")], self.require
        n, k, prefix, mult, shift = f.tokens, f.k, f.prefix, f.mult, f.shift
        require(n <= MAX_TOKENS, f"{n} tokens: use at most {MAX_TOKENS}")
        simds = list(divisors(f.channels))
        require(f.simd in simds, f"SIMD {f.simd} is not possible: use one of {simds}")
        require(f.interval >= 0, f"interval {f.interval} is not possible: use 0 or more cycles")
        require(1 <= prefix < n, f"prefix {prefix} of {n} tokens: use 1 to {n - 1}")
        besides = "" if prefix == 1 else f" besides the first {prefix}"
        require(1 <= k <= n - prefix, f"k {k} tokens to keep of {n}{besides}: use 1 to {n - prefix}")
        self.check_multiplier(30)
        exact = abs(mult * f.heads - (1 << shift)) <= 2.0 ** (shift - 14)
        require(exact, f"mult {mult} * 2**-{shift} must be one over the number of heads")
        held = score.is_integer() and not score.signed() and score.bitwidth() <= 26
        require(held, f"scores are {score.name}, use an unsigned type of at most 26 bits")
        held = f.wanted != "histogram" or f.rank_bits <= MAX_KEY_BITS
        require(held, f"ranking histogram takes {MAX_KEY_BITS} bits of score, not {f.rank_bits}: use insert")
        for attribute in ("inputDataType", "outputDataType"):
            value = self.get_nodeattr(attribute)
            require(value == "INT16", f"{attribute} is {value}, only INT16 is supported")
        return []

    # --- streams and golden model ---

    def in_streams(self) -> list[Stream]:
        f = self.folding()
        x = Stream(f.tokens, f.channels, f.simd, DataType["INT16"])
        return [x, Stream(f.tokens, 1, 1, DataType[self.get_nodeattr("scoreDataType")])]

    def out_streams(self) -> list[Stream]:
        f = self.folding()
        return [Stream(f.tokens_out, f.channels, f.simd, DataType["INT16"])]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """X ``[..., N, D]`` and S ``[..., N, 1]`` to ``[..., N_out, D]``.

        Raises:
            ValueError: scores of tokens P..N-1 sum to more than H_live 2**16, which no attention gives.
        """
        x, scores, f = inputs[0], inputs[1][..., 0], self.folding()
        if f.drops and np.any(scores[..., f.prefix :].sum(-1) > f.score_limit):
            raise ValueError(f"scores of a frame sum to more than {f.score_limit}, 2**16 a head of {f.heads}")
        return [numerics.token_drop(x, scores, f.k, f.mult, f.shift, prefix=f.prefix)]

    def one_token(self, index: int) -> OneToken | None:
        """Prefix tokens pass unchanged."""
        return OneToken((0,)) if 0 <= index < self.get_nodeattr("prefix") else None

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The first P rows pass at once, the others when the scores are ranked; the fused one leaves last.

        Which rows pass depends on the image: they are taken as evenly spread.
        """
        (rows, scores), f = inputs, self.folding()
        if f.passes:
            return [rows.served(f.beats, 1)]
        ahead = f.prefix - 1
        kept = [*range(f.prefix), *(ahead + round((i + 1) * (f.tokens - f.prefix) / f.k) for i in range(f.k))]
        stay = set(kept)
        ranked = scores.last[-1] + f.ranking.cycles + PASS_CYCLES if f.drops else 0.0
        free = 0.0
        first: list[float] = []
        last: list[float] = []
        for row, (head, tail) in enumerate(zip(rows.first, rows.last)):
            first.append(max(head + PASS_CYCLES, free))
            last.append(max(tail + PASS_CYCLES, first[-1] + f.beats - 1))
            free = max(ranked if row >= ahead else 0.0, last[-1] + 1 + (f.kept_cycles if row in stay else f.dropped_cycles) - f.beats)
        passing = TokenTimes(tuple(first), tuple(last))
        if f.drops == 0:
            return [passing]
        end = free - 1 + f.fused_cycles
        return [passing.at(kept).then(TokenTimes((end - f.channels // f.fuse_lanes + 1,), (end,)))]

    def held_tokens(self) -> int:
        """The first row passes at once: the beats of two registers."""
        return -(-3 // self.folding().beats)


class VitTokenDrop_rtl(LoadedBackend, VitTokenDrop):
    """RTL of :class:`VitTokenDrop`."""

    RTL_TOP = "vp_token_drop"

    def folding(self) -> DropFolding:
        return replace(super().folding(), loaded=bool(self.get_nodeattr("loaded")))

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        f = self.folding()
        shape = {
            "TOKENS": f.sizes.tokens, "PREFIX": f.prefix, "D": f.channels, "SIMD": f.simd, "SCORE_WIDTH": f.score_bits,
            **self.load_parameters(),
        }  # fmt: skip
        if f.passes:
            return shape
        digits = f.ranking.digits
        return shape | {
            "CELLS": f.sizes.cells,
            "RANK_WIDTH": f.rank_bits,
            "DROP_WIDTH": f.drop_bits,
            "ACC_WIDTH": f.acc_bits,
            "MULT_WIDTH": f.sizes.mult_bits,
            "SHIFT": f.sizes.shift,
            "TIES": int(f.loaded or f.dropped_sum << 15 >= 1 << (f.sizes.shift - 1)),
            "FUSE_LANES": f.fuse_lanes,
            "LEVELS": len(digits),
            "DIGITS": int("".join(f"{d:x}" for d in digits) or "0", 16),
            "SUMS_STYLE": f.sums_style,
            "SCORE_STYLE": f.score_style,
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """The frame: token before the last one, k - 1, cells that are too many, whether the dropped ones are ranked, whether there are
        none; the constant, at the unit's shift.
        """
        f = self.folding()
        mult, shift = f.constant()
        return {"shapes": [(f.tokens - 2, f.k - 1, f.pads, int(f.drops < f.k), int(f.drops == 0), mult << f.sizes.shift - shift)]}

    def widen(self, other: Self) -> None:
        widest = max((op.get_nodeattr("scoreDataType") for op in (self, other)), key=lambda name: DataType[name].bitwidth())
        self.set_nodeattr("scoreDataType", widest)
        self.set_nodeattr("least", list(self.folding().made_for.joined(other.folding().made_for)))

    def spare(self, model) -> None:
        """Any number of tokens may be kept; where ranking by histograms is asked for, as few as their keys hold."""
        f = self.folding()
        fewest = f.made_for.heads + 1 if f.wanted == "histogram" else 1
        self.set_nodeattr("least", list(f.made_for._replace(k=min(f.made_for.k, fewest))))
