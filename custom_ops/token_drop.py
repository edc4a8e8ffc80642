"""Token drop: keep the class token and the k best of the others, fuse what is dropped."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune import numerics
from finn_vitprune.custom_ops.base import Stream, VitOp, VitRTLBackend
from finn_vitprune.custom_ops.memory import lutram_luts, multiplier_dsps, ram_bram18
from finn_vitprune.errors import UserError

SEARCH_LANES = (4, 8, 16, 32, 64)
"""Comparators that the bisecting ranker may have."""


class VitTokenDrop(VitOp):
    """Rows 0 and those of the k highest scores among 1..N-1, in order; then one fused row of the others.

    fused_d = clip(round_half_even(sum over dropped i of S_i X_id  mult 2**-(16 + shift))), mult 2**-shift
    standing for 1 / H_live. X: ``[N, D]`` INT16; S: ``[N, 1]`` unsigned with 16 fraction bits a head, S_0
    ignored, the lower index wins ties. Out: ``[N_out, D]``, N_out = k + 2, or N when k = N - 1 and nothing
    is dropped. As the scores of one frame sum to at most H_live 2**16, the accumulator has
    32 + ceil(log2 H_live) bits. ``numerics.token_drop`` is the specification.

    Ranking is a selection without DSP. ``ranking`` "insert" keeps the min(k, N - 1 - k) keys at one end
    sorted, a score a cycle (N cycles); "search" bisects the threshold bit by bit, ``SEARCH_LANES``
    scores a cycle, far smaller for many tokens; "auto" takes the search where it ends within two rows'
    time (row 1 is that far behind the scores: one row gathers, one is multiplied in the projection)
    and 1 % of the interval. A frame takes N D / SIMD cycles whichever tokens are kept.

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
            "ranking": ("s", False, "auto", {"auto", "insert", "search"}),
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
    def score_bits(self) -> int:
        """Width of a score."""
        return DataType[self.get_nodeattr("scoreDataType")].bitwidth()

    @property
    def acc_bits(self) -> int:
        """Width of the signed accumulator of the fused token."""
        return 32 + (self.heads - 1).bit_length()

    @property
    def key_bits(self) -> int:
        """Width of a ranking key: score and index."""
        return self.score_bits + max(1, (self.get_nodeattr("tokens") - 2).bit_length())

    def output_fifo_tokens(self) -> int:
        """Depth in tokens of the FIFO that must follow, so that the interval never depends on the image.

        The consumer takes N_out tokens in the time of N rows. It has most to catch up when one frame keeps
        its last k rows and the next its first k: these, with a fused and a class token between them, are
        2 k + 2 tokens in as many rows' time, in which (2 k + 2) N_out / N leave. For keep rates of 1/2 and
        more what is left is at most N_out.
        """
        if self.drops == 0:
            return self.tokens_out
        n, k = self.get_nodeattr("tokens"), self.get_nodeattr("k")
        return max(self.tokens_out, -(-(2 * k + 2) * (n - self.tokens_out) // n))

    def search_lanes(self) -> int:
        """Comparators of the bisecting ranker; 0 when ranking is by insertion."""
        ranking = self.get_nodeattr("ranking")
        if ranking == "insert" or self.drops == 0:
            return 0
        n = self.get_nodeattr("tokens")
        hidden = self.beats * (2 + n / 100)
        choices = [p for p in SEARCH_LANES if p < 2 * n]
        fitting = [p for p in choices if self._search_cycles(p) <= hidden]
        if ranking == "search":
            return fitting[0] if fitting else choices[-1]
        return fitting[0] if fitting and self._search_luts(fitting[0]) < self._insert_luts() else 0

    def _search_cycles(self, lanes: int) -> int:
        words = -(-(self.get_nodeattr("tokens") - 1) // lanes)
        return self.key_bits * (words + 2) + 4

    def rank_cycles(self) -> int:
        """Cycles from the last score of a frame to the first decision that depends on it."""
        lanes = self.search_lanes()
        return self._search_cycles(lanes) if lanes else 2

    def verify_node(self) -> list[str]:
        """Raise UserError for what the unit does not hold; an empty list when all is well."""
        n, k = self.get_nodeattr("tokens"), self.get_nodeattr("k")
        mult, shift = self.get_nodeattr("mult"), self.get_nodeattr("shift")
        name = self.onnx_node.name or "VitTokenDrop"
        if not 1 <= k <= n - 1:
            raise UserError(f"{name}: k {k} tokens to keep of {n}: use 1 to {n - 1}")
        if not 0 < mult < 1 << numerics.MULT_BITS or not 0 <= shift <= 30:
            raise UserError(f"{name}: mult {mult} must be 1 to 2**17 - 1 and shift {shift} 0 to 30")
        score = DataType[self.get_nodeattr("scoreDataType")]
        if score.signed() or not score.is_integer() or score.bitwidth() > 26:
            raise UserError(f"{name}: scores are {score.name}, use an unsigned type of at most 26 bits")
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
        limit = self.heads << numerics.SCORE_BITS
        if self.drops and np.any(scores[..., 1:].sum(-1) > limit):
            raise ValueError(f"scores of a frame sum to more than {limit}, 2**16 a head of {self.heads}")
        k, mult, shift = (self.get_nodeattr(a) for a in ("k", "mult", "shift"))
        return [numerics.token_drop(x, scores, k, mult, shift)]

    def get_exp_cycles(self) -> int:
        """N D / SIMD; more only where that is less than the scores' beats and their ranking."""
        n = self.get_nodeattr("tokens")
        if self.drops == 0:
            return max(n * self.beats, n)
        lanes = self.search_lanes()
        return max(n * self.beats, n - 1 + self._search_cycles(lanes) if lanes else n + 1)

    def held_tokens(self) -> int:
        """Tokens in the kept FIFO; row 0 passes at once."""
        return 1 if self.drops == 0 else -(-(self.fifo_depth() + 4) // self.beats)

    def fifo_depth(self) -> int:
        """Beats of the FIFO of kept tokens, and of the one of the fused token."""
        return max(self.beats, 12) + 4

    def constant(self) -> tuple[int, int]:
        """The accumulator's constant mult 2**-shift with mult odd, so that a power of two needs no DSP."""
        mult, shift = self.get_nodeattr("mult"), self.get_nodeattr("shift") + numerics.SCORE_BITS
        while mult % 2 == 0 and shift > 0:
            mult, shift = mult // 2, shift - 1
        return mult, shift

    # --- estimates ---

    def _memories(self) -> list[tuple[int, int, bool]]:
        """(words, bits, in block RAM) of the FIFOs of scores, kept and fused tokens, and of the sums."""
        if self.drops == 0:
            return []
        width = 16 * self.get_nodeattr("SIMD")
        rams = []
        scores = 2 * (self.get_nodeattr("tokens") - 1)
        tokens = (self.fifo_depth(), width)
        for depth, bits in ((scores, self.score_bits), tokens, tokens):
            block = depth > 64 and depth * bits > 1024
            rams.append((depth - 2 if block else depth - 1, bits, block))
        if self.drops > 1 and self.beats > 1:
            rams.append((self.beats, self.get_nodeattr("SIMD") * self.acc_bits, self.beats > 64))
        return rams

    def _insert_luts(self) -> int:
        """A cell moves a key (1 a bit) and compares it (2/3 a bit)."""
        return round(min(self.drops, self.get_nodeattr("k")) * self.key_bits * 1.7)

    def _search_luts(self, lanes: int) -> int:
        """A lane compares a key (2/3 a bit); control 92; LUTRAM of the scores."""
        words = -(-(self.get_nodeattr("tokens") - 1) // lanes)
        return round(92 + lanes * self.key_bits * 0.66) + lutram_luts(words, lanes * self.score_bits)

    def dsp_estimation(self, fpgapart: str) -> int:
        """A lane: one for score times x, and the requantisation unless its constant is a power of two."""
        if self.drops == 0:
            return 0
        mult = self.constant()[0]
        requant = multiplier_dsps(self.acc_bits, mult.bit_length() + 1) if mult > 1 else 0
        return self.get_nodeattr("SIMD") * (1 + requant)

    def bram_estimation(self, fpgapart: str) -> int:
        """Block RAMs of 18 Kbit."""
        return sum(ram_bram18(words, bits) for words, bits, block in self._memories() if block)

    def lut_estimation(self, fpgapart: str) -> int:
        """LUTs: control 57 + 23 a bit of the token index; a lane 56 (registers, output mux, saturation), its
        sum, and 58 for the halves of the requantisation's product; ranking; LUTRAM."""
        simd = self.get_nodeattr("SIMD")
        if self.drops == 0:
            return 16 * simd + 3
        lane = 56 + (self.acc_bits if self.drops > 1 else 0) + (58 if self.constant()[0] > 1 else 0)
        lanes = self.search_lanes()
        ranking = self._search_luts(lanes) if lanes else self._insert_luts()
        memory = sum(lutram_luts(words, bits) for words, bits, block in self._memories() if not block)
        return 57 + 23 * (self.get_nodeattr("tokens") - 1).bit_length() + simd * lane + ranking + memory


class VitTokenDrop_rtl(VitRTLBackend, VitTokenDrop):
    """RTL of :class:`VitTokenDrop`."""

    RTL_TOP = "vp_token_drop"
    RTL_FILES = (
        "vp_skid.sv",
        "vp_ram.sv",
        "vp_fifo.sv",
        "vp_requant.sv",
        "vp_token_drop_insert.sv",
        "vp_token_drop_search.sv",
        "vp_token_drop_rank.sv",
        "vp_token_drop_fuse.sv",
        "vp_token_drop.sv",
    )

    def get_nodeattr_types(self):
        return VitTokenDrop.get_nodeattr_types(self) | VitRTLBackend.get_nodeattr_types(self)

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        mult, shift = self.constant()
        return {
            "TOKENS": self.get_nodeattr("tokens"),
            "D": self.get_nodeattr("channels"),
            "SIMD": self.get_nodeattr("SIMD"),
            "KEEP": self.get_nodeattr("k"),
            "SCORE_WIDTH": self.score_bits,
            "ACC_WIDTH": self.acc_bits,
            "MULT": mult,
            "MULT_WIDTH": mult.bit_length(),
            "SHIFT": shift,
            "SEARCH_LANES": self.search_lanes(),
        }
