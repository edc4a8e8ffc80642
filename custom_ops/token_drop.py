"""Token drop: keep the class token and the k best of the others, fuse what is dropped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.custom_ops.base import VitOp, divisors
from finn_vitprune.custom_ops.memory import TABLE_MEMORY, lutram_luts, ram_bram18
from finn_vitprune.custom_ops.rtl_backend import VitRTLBackend
from finn_vitprune.errors import UserError
from finn_vitprune.sim.beats import Stream

MAX_TOKENS = 8192
"""More tokens could take the fused one to the end of INT16, where the unit does not saturate."""
RANK_SHARE = 0.01
"""Ranking may take this share of the interval, and prolong it by as much where it is what takes longest."""
MAX_LEVELS, MAX_KEY_BITS = 4, 16
"""Levels of histograms, and bits of a score that they rank."""
BINS_LUTRAM_BITS = 7
"""Bins numbered by so many bits are held in LUTRAM, more in block RAM."""
BRAM18_LUTS = 320
"""LUTs that a block RAM of 18 Kbit is weighed with when rankers are compared: parts have so many."""


@dataclass(frozen=True)
class Ranking:
    """A ranker: ``digits`` of its histograms' levels, the top one first; none for insertion.

    ``cycles`` lie between the last score and the first decision that depends on it, ``frame`` until the
    next frame's scores may come; ``luts`` and ``bram18`` (block RAMs of 18 Kbit) are what it costs.
    """

    digits: tuple[int, ...]
    cycles: int
    frame: int
    luts: int
    bram18: int

    @property
    def cost(self) -> int:
        """LUTs, a block RAM weighed in."""
        return self.luts + BRAM18_LUTS * self.bram18


class VitTokenDrop(VitOp):
    """Rows 0 and those of the k highest scores among 1..N-1, in order; then one fused row of the others.

    fused_d = round_half_even(sum over dropped i of S_i X_id  mult 2**-(16 + shift)), mult 2**-shift standing
    for 1 / H_live. X: ``[N, D]`` INT16; S: ``[N, 1]`` unsigned with 16 fraction bits a head, S_0 ignored,
    the lower index wins ties. Out: ``[N_out, D]``, N_out = k + 2, or N when k = N - 1 and nothing is
    dropped. ``numerics.token_drop`` is the specification.

    The scores of one frame sum to at most H_live 2**16, which bounds everything inside: the k-th largest
    is at most H_live 2**16 / k, so that higher scores may saturate before ranking; a dropped one at most
    H_live 2**16 / (k + 1), as k others are no smaller; the dropped ones together hold at most their share
    (N - 1 - k) / (N - 1). So the fused token never saturates.

    No DSP: a lane multiplies by the score with one LUT a bit of score and two bits of x. ``ranking``
    "insert" keeps the min(k, N - 1 - k) keys at one end sorted, a score a cycle; "histogram" counts
    the scores in histograms of several levels and walks down them, small for many tokens; "auto" takes
    the cheapest whose cycles are at most 1 % of the interval: of the graph's (``interval``, which folding
    sets), or of the op's own. A frame takes N D / SIMD + D / fuse lanes cycles whichever tokens are kept.

    Source: Y. Liang et al., "Not All Patches are What You Need" (EViT), arXiv 2202.07800; FCCM 2024,
    arXiv 2403.14047.
    """

    def get_nodeattr_types(self):
        return super().get_nodeattr_types() | {
            "tokens": ("i", True, 0),
            "channels": ("i", True, 0),
            "SIMD": ("i", False, 1),
            "k": ("i", True, 0),
            "mult": ("i", True, 0),
            "shift": ("i", True, 0),
            "ranking": ("s", False, "auto", {"auto", "insert", "histogram"}),
            "interval": ("i", False, 0),
            "ram_style": ("s", False, "auto", {"auto", "distributed", "block"}),
            "inputDataType": ("s", False, "INT16"),
            "scoreDataType": ("s", True, ""),
            "outputDataType": ("s", False, "INT16"),
        }

    # --- what the attributes mean ---

    @property
    def beats(self) -> int:
        """Beats of a token, D / SIMD."""
        return self.get_nodeattr("channels") // self.get_nodeattr("SIMD")

    @property
    def drops(self) -> int:
        """Tokens dropped a frame, N - 1 - k."""
        return self.get_nodeattr("tokens") - 1 - self.get_nodeattr("k")

    @property
    def tokens_out(self) -> int:
        """N_out: tokens that leave a frame."""
        return numerics.tokens_after_drop(self.get_nodeattr("tokens"), self.get_nodeattr("k"))

    @property
    def heads(self) -> int:
        """H_live, from the constant mult 2**-shift that stands for its reciprocal."""
        return max(1, round(2 ** self.get_nodeattr("shift") / self.get_nodeattr("mult")))

    @property
    def score_limit(self) -> int:
        """Most that the scores of a frame sum to."""
        return self.heads << numerics.SCORE_BITS

    @property
    def score_bits(self) -> int:
        """Width of a score."""
        return DataType[self.get_nodeattr("scoreDataType")].bitwidth()

    @property
    def rank_bits(self) -> int:
        """Width of a score that is ranked: its largest code lies above any k-th largest score."""
        return min(self.score_bits, (self.score_limit // self.get_nodeattr("k") + 1).bit_length())

    @property
    def drop_bits(self) -> int:
        """Width of a score that may be dropped."""
        return min(self.score_bits, (self.score_limit // (self.get_nodeattr("k") + 1)).bit_length())

    @property
    def dropped_sum(self) -> int:
        """Most that the dropped scores sum to: their share if all are equal."""
        return self.score_limit * self.drops // (self.get_nodeattr("tokens") - 1)

    @property
    def acc_bits(self) -> int:
        """Width of the signed sums of score times x."""
        return 16 + (self.dropped_sum - 1).bit_length()

    @property
    def fuse_lanes(self) -> int:
        """Elements of the fused token a cycle: it leaves in two tokens' time or a twentieth of a frame."""
        simd, n = self.get_nodeattr("SIMD"), self.get_nodeattr("tokens")
        return next(q for q in divisors(simd) if simd // q <= max(2, n / 20))

    def constant(self) -> tuple[int, int]:
        """The constant mult 2**-shift of the sums, with mult odd."""
        mult, shift = self.get_nodeattr("mult"), self.get_nodeattr("shift") + numerics.SCORE_BITS
        while mult % 2 == 0:
            mult, shift = mult // 2, shift - 1
        return mult, shift

    @property
    def _fused_cycles(self) -> int:
        """Cycles of the fused token behind its requantisation, in which no token is taken."""
        return self.get_nodeattr("channels") // self.fuse_lanes + -(-self._requant_rows // 2) + 8

    @property
    def _frame_cycles(self) -> int:
        """Cycles of a frame's tokens, and of the fused one."""
        kept = (self.get_nodeattr("k") + 1) * max(self.beats, 2)
        return kept + self.drops * max(self.beats, 4) + self._fused_cycles

    def pause_beats(self) -> int:
        """Beats that come while the fused token leaves.

        A source that sends a token at once may finish it without loss when the next is due: whole tokens
        are buffered, and of the one under way what does not fit into the rest of its share of the interval.
        """
        if self.drops == 0:
            return 0
        interval = max(self.get_nodeattr("interval"), self._frame_cycles)
        share, pause = interval // self.get_nodeattr("tokens"), self._fused_cycles
        whole = pause // share
        return max(whole * self.beats, pause - (whole + 1) * (share - self.beats))

    @property
    def _requant_rows(self) -> int:
        """Rows of the product of a sum and the constant: five bits of the sum each."""
        return -(-self.acc_bits // 5)

    def output_fifo_tokens(self) -> int:
        """Depth in tokens of the FIFO that must follow, so that the interval never depends on the image.

        The consumer takes N_out tokens a frame, evenly. It has most to catch up when one frame keeps its
        last k rows and the next its first k: with a fused and a class token between them these are 2 k + 2
        tokens without a pause. For keep rates of 1/2 and more what is left of them is at most N_out.
        """
        if self.drops == 0:
            return self.tokens_out
        k, frame = self.get_nodeattr("k"), self._frame_cycles
        burst = frame - self.drops * max(self.beats, 4) + k * max(self.beats, 2)
        return max(self.tokens_out, 2 * k + 2 - burst * self.tokens_out // frame)

    # --- ranking ---

    def ranking(self) -> Ranking:
        """The ranker that the attribute names, or the cheapest one that is fast enough."""
        wanted, n = self.get_nodeattr("ranking"), self.get_nodeattr("tokens")
        insertion = self._insertion()
        if wanted == "insert":
            return insertion
        rankings = [self._histogram(digits) for digits in _digit_choices(self.rank_bits)]
        interval = max(self._frame_cycles, self.get_nodeattr("interval"))
        fast = [r for r in rankings
                if r.cycles <= RANK_SHARE * interval and n + r.frame <= (1 + RANK_SHARE) * interval]
        if wanted == "histogram" and not fast:
            return min(rankings, key=lambda r: (r.cycles, r.cost))
        return min(fast if wanted == "histogram" else [insertion, *fast], key=lambda r: (r.cost, r.cycles))

    def _insertion(self) -> Ranking:
        """A cell moves a key (1 LUT a bit) and compares it (2/3 a bit)."""
        bits = self.rank_bits + _index_bits(self.get_nodeattr("tokens") - 1)
        return Ranking((), 6, 0, round((min(self.drops, self.get_nodeattr("k")) + 0.6) * bits * 1.67), 0)

    def _histogram(self, digits: tuple[int, ...]) -> Ranking:
        """Two LUTs a bit of the key, one a bit of the count on every level, and the bins."""
        count = (self.get_nodeattr("tokens") - 1).bit_length()
        luts, bram18, cut = 30 + 2 * self.rank_bits + 2 * count, 0, 0
        for digit in digits:
            cut += digit
            small = cut <= BINS_LUTRAM_BITS
            luts += count + (lutram_luts(1 << cut, count) if small else 0)
            bram18 += 0 if small else ram_bram18(1 << cut, count)
        cycles = sum(1 << d for d in digits) + len(digits) + 7
        return Ranking(digits, cycles, cycles + (1 << cut), luts, bram18)

    def rank_cycles(self) -> int:
        """Cycles from the last score of a frame to the first decision that depends on it."""
        return self.ranking().cycles

    def verify_node(self) -> list[str]:
        """Raise UserError for what the unit does not hold; an empty list when all is well."""
        n, k = self.get_nodeattr("tokens"), self.get_nodeattr("k")
        mult, shift = self.get_nodeattr("mult"), self.get_nodeattr("shift")
        name = self.onnx_node.name or "VitTokenDrop"
        if n > MAX_TOKENS:
            raise UserError(f"{name}: {n} tokens: use at most {MAX_TOKENS}")
        if not 1 <= k <= n - 1:
            raise UserError(f"{name}: k {k} tokens to keep of {n}: use 1 to {n - 1}")
        if not 0 < mult < 1 << numerics.MULT_BITS or not 0 <= shift <= 30:
            raise UserError(f"{name}: mult {mult} must be 1 to 2**17 - 1 and shift {shift} 0 to 30")
        if abs(mult * self.heads - (1 << shift)) > 2.0 ** (shift - 14):
            raise UserError(f"{name}: mult {mult} * 2**-{shift} must be one over the number of heads")
        score = DataType[self.get_nodeattr("scoreDataType")]
        if score.signed() or not score.is_integer() or score.bitwidth() > 26:
            raise UserError(f"{name}: scores are {score.name}, use an unsigned type of at most 26 bits")
        most, bits = MAX_KEY_BITS, self.rank_bits
        if self.get_nodeattr("ranking") == "histogram" and bits > most:
            raise UserError(f"{name}: ranking histogram takes {most} bits of score, not {bits}: use insert")
        for attribute in ("inputDataType", "outputDataType"):
            if self.get_nodeattr(attribute) != "INT16":
                value = self.get_nodeattr(attribute)
                raise UserError(f"{name}: {attribute} is {value}, only INT16 is supported")
        return []

    # --- streams and golden model ---

    def in_streams(self) -> list[Stream]:
        n = self.get_nodeattr("tokens")
        x = Stream(n, self.get_nodeattr("channels"), self.get_nodeattr("SIMD"), DataType["INT16"])
        return [x, Stream(n, 1, 1, DataType[self.get_nodeattr("scoreDataType")])]

    def out_streams(self) -> list[Stream]:
        simd = self.get_nodeattr("SIMD")
        return [Stream(self.tokens_out, self.get_nodeattr("channels"), simd, DataType["INT16"])]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """X ``[..., N, D]`` and S ``[..., N, 1]`` to ``[..., N_out, D]``.

        Raises:
            ValueError: scores of tokens 1..N-1 sum to more than H_live 2**16, which no attention gives.
        """
        x, scores = inputs[0], inputs[1][..., 0]
        if self.drops and np.any(scores[..., 1:].sum(-1) > self.score_limit):
            raise ValueError(
                f"scores of a frame sum to more than {self.score_limit}, 2**16 a head of {self.heads}"
            )
        k, mult, shift = (self.get_nodeattr(a) for a in ("k", "mult", "shift"))
        return [numerics.token_drop(x, scores, k, mult, shift)]

    def get_exp_cycles(self) -> int:
        """N D / SIMD and the fused token; more only where the ranker is busy for longer."""
        n = self.get_nodeattr("tokens")
        if self.drops == 0:
            return max(n * self.beats, n)
        return max(self._frame_cycles, n + self.ranking().frame)

    def fold_for(self, interval: int) -> dict[str, int]:
        """The smallest SIMD that keeps to ``interval``, which then bounds the time of ranking too."""
        before = self.get_nodeattr("interval")
        self.set_nodeattr("interval", interval)
        choice = super().fold_for(interval)
        self.set_nodeattr("interval", before)
        return choice | {"interval": interval}

    def held_tokens(self) -> int:
        """Row 0 passes at once: the beats of two registers."""
        return -(-3 // self.beats)

    # --- estimates ---

    def _low_bits(self) -> int:
        """Bits of a sum that the RAM of the lower halves holds."""
        return min(self.drop_bits, 12)

    def sums_style(self) -> str:
        """Where the sums of the fused token are held."""
        return TABLE_MEMORY.style(self.beats, self.get_nodeattr("SIMD") * self.acc_bits, self.get_nodeattr("ram_style"))

    def _scores_style(self) -> str:
        """Where the scores of two frames are held."""
        return TABLE_MEMORY.style(self._score_words(), self.rank_bits)

    def _score_words(self) -> int:
        """Words of the RAM that holds the scores of two frames."""
        return 2 << _index_bits(self.get_nodeattr("tokens") - 1)

    def _memories(self) -> list[tuple[int, int, bool]]:
        """(words, bits, in block RAM) of the RAMs of scores and sums."""
        if self.drops == 0:
            return []
        simd, low = self.get_nodeattr("SIMD"), self._low_bits()
        block = self.sums_style() == "block"
        return [(self._score_words(), self.rank_bits, self._scores_style() == "block"),
                (self.beats, simd * low, block), (self.beats, simd * (self.acc_bits - low), block)]

    def dsp_estimation(self, fpgapart: str) -> int:
        return 0

    def bram_estimation(self, fpgapart: str) -> int:
        """Block RAMs of 18 Kbit."""
        if self.drops == 0:
            return 0
        memory = sum(ram_bram18(words, bits) for words, bits, block in self._memories() if block)
        return memory + self.ranking().bram18

    def lut_estimation(self, fpgapart: str) -> int:
        """LUTs: a lane's multiplexer, rows and sum; the fused token's lanes; ranking; LUTRAM; control."""
        simd, n = self.get_nodeattr("SIMD"), self.get_nodeattr("tokens")
        if self.drops == 0:
            return 16 * simd + 3
        lane = 16 + 8 * (self.drop_bits + 2) + self.acc_bits - self._low_bits()
        groups = simd // self.fuse_lanes
        row = self.constant()[0].bit_length() + 3
        fused = self._requant_rows * row + -(-(groups - 1) // 3) * self.acc_bits
        memory = sum(lutram_luts(words, bits) for words, bits, block in self._memories() if not block)
        control = 40 + self.drop_bits + self.rank_bits + 3 * (n - 1).bit_length()
        return simd * lane + self.fuse_lanes * fused + self.ranking().luts + memory + control


def _index_bits(count: int) -> int:
    """Bits that number ``count`` scores."""
    return max(1, (count - 1).bit_length())


@cache
def _digit_choices(bits: int) -> list[tuple[int, ...]]:
    """All ways to split a key into the digits of 1 to MAX_LEVELS levels."""
    if bits > MAX_KEY_BITS:
        return []
    return [tuple(b - a for a, b in zip((0, *cuts), (*cuts, bits)))
            for levels in range(1, MAX_LEVELS + 1) for cuts in combinations(range(1, bits), levels - 1)]


class VitTokenDrop_rtl(VitRTLBackend, VitTokenDrop):
    """RTL of :class:`VitTokenDrop`."""

    RTL_TOP = "vp_token_drop"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        mult, shift = self.constant()
        shape = {"TOKENS": self.get_nodeattr("tokens"), "D": self.get_nodeattr("channels"),
                 "SIMD": self.get_nodeattr("SIMD"), "KEEP": self.get_nodeattr("k"),
                 "SCORE_WIDTH": self.score_bits}
        if self.drops == 0:
            return shape
        digits = self.ranking().digits
        return shape | {
            "RANK_WIDTH": self.rank_bits,
            "DROP_WIDTH": self.drop_bits,
            "ACC_WIDTH": self.acc_bits,
            "MULT": mult,
            "MULT_WIDTH": mult.bit_length(),
            "SHIFT": shift,
            "TIES": int(self.dropped_sum << 15 >= 1 << (shift - 1)),
            "FUSE_LANES": self.fuse_lanes,
            "LEVELS": len(digits),
            "DIGITS": int("".join(f"{d:x}" for d in digits) or "0", 16),
            "SUMS_STYLE": self.sums_style(),
            "SCORE_STYLE": self._scores_style(),
        }
