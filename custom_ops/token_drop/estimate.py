"""Sizes, ranker, cycles and resources of the token-drop unit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import accumulate, combinations
from typing import NamedTuple

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import Folding
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, UnitMemory
from finn_vitprune.custom_ops.op.structure import UnitParts

RANK_SHARE = 0.01
"""Ranking may take this share of the interval, and prolong it by as much where it is what takes longest."""
MAX_LEVELS, MAX_KEY_BITS = 4, 16
"""Levels of histograms, and bits of a score that they rank."""
BINS_LUTRAM_BITS = 7
"""Bins numbered by so many bits are held in LUTRAM, more in block RAM."""
BLOCK_READ = 3
"""Cycles of a read of sums or scores in block RAM."""
BRAM18_LUTS = 320
"""LUTs that a block RAM of 18 Kbit is weighed with when rankers are compared: parts have so many."""


@dataclass(frozen=True)
class Ranking:
    """A ranker: ``digits`` of its histograms' levels, the top one first; none for insertion.

    ``cycles`` lie between the last score and the first decision that depends on it, ``frame`` until the
    next frame's scores may come; ``luts`` and the ``bins`` of the histograms are what it costs.
    """

    digits: tuple[int, ...]
    cycles: int
    frame: int
    luts: int
    bins: tuple[UnitMemory, ...] = ()

    @cached_property
    def cost(self) -> int:
        """LUTs, a block RAM weighed in."""
        bins = sum((level.resources for level in self.bins), Estimate())
        return self.luts + bins.LUT + BRAM18_LUTS * bins.BRAM_18K


class DropRange(NamedTuple):
    """The frames that a loaded unit is made for: the most tokens, the fewest that are kept, the most heads."""

    tokens: int
    k: int
    heads: int

    def joined(self, other: DropRange) -> DropRange:
        """Both."""
        return DropRange(max(self.tokens, other.tokens), min(self.k, other.k), max(self.heads, other.heads))


class DropSizes(NamedTuple):
    """What the hardware of a unit hangs on: N, cells of insertion, widths, and the shift behind the fused token's constant."""

    tokens: int
    cells: int
    rank_bits: int
    drop_bits: int
    acc_bits: int
    mult_bits: int
    shift: int


@dataclass(frozen=True)
class DropFolding(Folding):
    """The unit at a fold, and the sizes that follow from it.

    Attributes:
        tokens, channels: N and D. simd: elements a beat. k: tokens kept besides the prefix.
        mult, shift: mult 2**-shift stands for one over the number of heads. score_bits: width of a score.
        wanted: the ranker, or "auto". interval: cycles that a frame may take in the graph, or 0.
        ram_style: where the sums of the fused token are held, or "auto".
        loaded: whether N, k and the constant come through the load chain. least: what the unit is made for at least, if it is loaded.
        prefix: P, tokens at the start that always stay.
    """

    tokens: int
    channels: int
    simd: int
    k: int
    mult: int
    shift: int
    score_bits: int
    wanted: str
    interval: int
    ram_style: str
    loaded: bool = False
    least: DropRange | None = None
    prefix: int = 1

    @property
    def passes(self) -> bool:
        """Whether the unit is a mere register: nothing is dropped, and nothing is loaded."""
        return self.drops == 0 and not self.loaded

    @cached_property
    def sizes(self) -> DropSizes:
        """What the unit is made for; loaded, of all frames in its range.

        Of all constants at the largest shift the widest one counts: those of smaller shifts have zeros at their end.
        """
        tokens, k, heads = made = self.made_for
        ranked = tokens - self.prefix
        cells = min(max(k, ranked // 2), ranked - k) if self.loaded else min(self.drops, k)
        limit = heads << numerics.SCORE_BITS
        dropped_sum = limit * (ranked - k) // ranked
        constants = [self.constant()]
        if self.loaded:
            constants += [reduced(*numerics.head_mean_constant(h)) for h in range(1, made.heads + 1)]
        shift = max(shift for _, shift in constants)
        return DropSizes(
            tokens, max(1, cells), min(self.score_bits, (limit // k + 1).bit_length()),
            min(self.score_bits, (limit // (k + 1)).bit_length()), 16 + max(0, dropped_sum - 1).bit_length(),
            max((mult << shift - own).bit_length() for mult, own in constants), shift,
        )  # fmt: skip

    @property
    def made_for(self) -> DropRange:
        """The frames that the unit is made for."""
        own = DropRange(self.tokens, self.k, self.heads)
        return own if self.least is None else own.joined(self.least)

    @property
    def beats(self) -> int:
        """Beats of a token, D / SIMD."""
        return self.channels // self.simd

    @property
    def drops(self) -> int:
        """Tokens dropped a frame, N - P - k."""
        return self.tokens - self.prefix - self.k

    @property
    def tokens_out(self) -> int:
        """N_out: tokens that leave a frame."""
        return numerics.tokens_after_drop(self.tokens, self.k, self.prefix)

    @property
    def heads(self) -> int:
        """H_live, from the constant mult 2**-shift that stands for its reciprocal."""
        return max(1, round(2**self.shift / self.mult))

    @property
    def score_limit(self) -> int:
        """Most that the scores of a frame sum to."""
        return self.heads << numerics.SCORE_BITS

    @property
    def rank_bits(self) -> int:
        """Width of a score that is ranked: its largest code lies above any k-th largest score."""
        return self.sizes.rank_bits

    @property
    def drop_bits(self) -> int:
        """Width of a score that may be dropped."""
        return self.sizes.drop_bits

    @property
    def dropped_sum(self) -> int:
        """Most that the dropped scores sum to: their share if all are equal."""
        return self.score_limit * self.drops // (self.tokens - self.prefix)

    @property
    def acc_bits(self) -> int:
        """Width of the signed sums of score times x."""
        return self.sizes.acc_bits

    @property
    def fuse_lanes(self) -> int:
        """Elements of the fused token a cycle: it leaves in two tokens' time or a twentieth of a frame."""
        return next(q for q in divisors(self.simd) if self.simd // q <= max(2, self.sizes.tokens / 20))

    def constant(self) -> tuple[int, int]:
        """The constant mult 2**-shift of the sums, with mult odd."""
        return reduced(self.mult, self.shift)

    @property
    def requant_rows(self) -> int:
        """Rows of the product of a sum and the constant: five bits of the sum each, two where the constant is loaded."""
        return -(-self.acc_bits // (2 if self.loaded else 5))

    @property
    def requant_cycles(self) -> int:
        """Two rows a cycle; a product with a loaded constant has a register more."""
        return -(-self.requant_rows // 2) + int(self.loaded)

    @property
    def sums_read(self) -> int:
        """Cycles of a read of the sums; block RAM has a register at its output, and another one follows."""
        return BLOCK_READ if self.sums_style == "block" else 1

    @property
    def kept_cycles(self) -> int:
        """Cycles of a token that is kept: its beats, or those from decision to decision."""
        return max(self.beats, BLOCK_READ + 1 if self.score_style == "block" else 2)

    @property
    def dropped_cycles(self) -> int:
        """Cycles of a token that is dropped: its beats, or those until a changed sum may be read again."""
        return max(self.beats, self.sums_read + 3)

    @property
    def fused_cycles(self) -> int:
        """Cycles of the fused token after its requantisation, in which no token is taken."""
        return self.channels // self.fuse_lanes + self.requant_cycles + self.sums_read + 6

    @property
    def frame_cycles(self) -> int:
        """Cycles of a frame's tokens, and of the fused one."""
        fused = self.fused_cycles if self.drops else 0
        return (self.k + self.prefix) * self.kept_cycles + self.drops * self.dropped_cycles + fused

    @property
    def largest_frame_cycles(self) -> int:
        """The same of the largest frame that the unit is made for."""
        return self.sizes.tokens * self.dropped_cycles + self.fused_cycles if self.loaded else self.frame_cycles

    # --- ranking ---

    @property
    def index_bits(self) -> int:
        """Bits that number the scores."""
        return max(1, numerics.clog2(self.sizes.tokens - self.prefix))

    @cached_property
    def ranking(self) -> Ranking:
        """The ranker that ``wanted`` names, or the cheapest one that is fast enough."""
        insertion = self.insertion
        if self.wanted == "insert":
            return insertion
        tokens = self.sizes.tokens
        rankings = _histograms(self.rank_bits, tokens)
        interval = max(self.largest_frame_cycles, self.interval)
        fast = [r for r in rankings if r.cycles <= RANK_SHARE * interval and tokens + r.frame <= (1 + RANK_SHARE) * interval]
        if self.wanted == "histogram" and not fast:
            return min(rankings, key=lambda r: (r.cycles, r.cost))
        return min(fast if self.wanted == "histogram" else [insertion, *fast], key=lambda r: (r.cost, r.cycles))

    @property
    def insertion(self) -> Ranking:
        """A cell moves a key (1 LUT a bit) and compares it (2/3 a bit); the last key passes all cells.

        Cells that a loaded unit has too many are padded before a frame's first key.
        """
        cells, bits = self.sizes.cells, self.rank_bits + self.index_bits
        padding = self.pads + 1 if self.loaded else 0
        return Ranking((), cells + 5, cells + 5 + padding, round((cells + 0.6) * bits * 1.67))

    @property
    def pads(self) -> int:
        """Cells that are too many for this frame; nothing is ranked where nothing is dropped."""
        return self.sizes.cells - min(self.drops, self.k) if self.drops else 0

    # --- folding ---

    @property
    def cycles(self) -> int:
        """N D / SIMD and the fused token; more only where the ranker is busy for longer."""
        if self.passes:
            return max(self.tokens * self.beats, self.tokens)
        if self.drops == 0:
            return self.frame_cycles
        return max(self.frame_cycles, self.tokens + self.ranking.frame)

    def attributes(self) -> dict[str, int]:
        return {"SIMD": self.simd, "interval": self.interval}

    def for_interval(self, interval: int) -> DropFolding:
        """The smallest SIMD that keeps to ``interval``, which then bounds the time of ranking too."""
        folds = [replace(self, simd=simd, interval=interval) for simd in divisors(self.channels)]
        return next((fold for fold in folds if fold.cycles <= interval), folds[-1])

    # --- resources ---

    @property
    def places(self) -> int:
        """Beats that may be under way to the output or wait there, so that the fused token leaves at full pace."""
        groups = self.simd // self.fuse_lanes
        return (self.sums_read + self.requant_cycles + 7 + groups) // groups + 4

    @property
    def low_bits(self) -> int:
        """Bits of a sum that the RAM of the lower halves holds."""
        return min(self.drop_bits, 12)

    @property
    def sums_style(self) -> str:
        """Where the sums of the fused token are held."""
        return TABLE_MEMORY.style(self.beats, self.simd * self.acc_bits, self.ram_style)

    @property
    def score_words(self) -> int:
        """Words of the RAM that holds the scores of two frames."""
        return 2 << self.index_bits

    @property
    def score_style(self) -> str:
        """Where the scores are held."""
        return TABLE_MEMORY.style(self.score_words, self.rank_bits)

    @property
    def memories(self) -> tuple[UnitMemory, ...]:
        """Scores of two frames, sums in two halves, beats that leave, bins; none where nothing is dropped."""
        if self.passes:
            return ()
        scores = 2 * (self.sizes.tokens - self.prefix) * self.rank_bits
        return (
            UnitMemory(Holds.ROWS, "scores", self.score_words, self.rank_bits, self.score_style, stored=scores),
            UnitMemory(Holds.ROWS, "sums, low bits", self.beats, self.simd * self.low_bits, self.sums_style),
            UnitMemory(Holds.ROWS, "sums, high bits", self.beats, self.simd * (self.acc_bits - self.low_bits), self.sums_style),
            UnitMemory(Holds.FIFO, "beats that leave", self.places, 16 * self.simd, "distributed"),
            *self.ranking.bins,
        )

    @property
    def resources(self) -> Estimate:
        """LUTs: a lane's multiplexer, rows and sum; the fused token's lanes; ranking; LUTRAM; control; counters of the output."""
        if self.passes:
            return Estimate(LUT=16 * self.simd + 3)
        lane = 16 + 8 * (self.drop_bits + 2) + self.acc_bits - self.low_bits
        groups = self.simd // self.fuse_lanes
        row = self.sizes.mult_bits + 3
        fused = self.requant_rows * row + -(-(groups - 1) // 3) * self.acc_bits
        if self.loaded:  # multiples of the constant, for three kinds of rows
            fused += 6 * self.sizes.mult_bits
        control = 40 + self.drop_bits + self.rank_bits + 3 * numerics.clog2(self.tokens)
        output = 5 * self.places.bit_length() + 10
        luts = self.simd * lane + self.fuse_lanes * fused + self.ranking.luts + control + output
        return sum((memory.resources for memory in self.memories), Estimate(LUT=luts))

    @property
    def made_of(self) -> UnitParts:
        if self.passes:
            return UnitParts.of("registers", {"one": 1, "bits": 16 * self.simd})
        lane = 16 + 8 * (self.drop_bits + 2) + self.acc_bits - self.low_bits
        groups = self.simd // self.fuse_lanes
        parts = {
            "one": 1, "lanes": self.simd * lane, "fused": self.fuse_lanes * self.requant_rows * (self.sizes.mult_bits + 3),
            "held": groups * self.fuse_lanes * self.acc_bits, "ranking": self.ranking.luts, "loaded": int(self.loaded),
            "widths": self.drop_bits + self.rank_bits + numerics.clog2(self.tokens), "bits": 16 * self.simd,
        }  # fmt: skip
        return UnitParts.of("drop", parts, memories=self.memories)


def reduced(mult: int, shift: int) -> tuple[int, int]:
    """The constant of the sums of scores with one over H_live as mult 2**-shift: mult is odd."""
    return numerics.without_shared_twos(mult, shift + numerics.SCORE_BITS)


@cache
def _histograms(rank_bits: int, tokens: int) -> list[Ranking]:
    """Rankers by histograms, of all ways to split a key into the digits of 1 to MAX_LEVELS levels."""
    if rank_bits > MAX_KEY_BITS:
        return []
    all_cuts = (cuts for levels in range(MAX_LEVELS) for cuts in combinations(range(1, rank_bits), levels))
    splits = (tuple(b - a for a, b in zip((0, *cuts), (*cuts, rank_bits))) for cuts in all_cuts)
    return [_histogram(digits, rank_bits, tokens) for digits in splits]


def _histogram(digits: tuple[int, ...], rank_bits: int, tokens: int) -> Ranking:
    """LUTs: two a bit of the key; of the count one a bit on every level, and three; comparisons with bins under way; the bins."""
    count = numerics.clog2(tokens)
    levels = list(accumulate(digits))
    styles = ("distributed" if bits <= BINS_LUTRAM_BITS else "block" for bits in levels)
    bins = tuple(UnitMemory(Holds.ROWS, "bins of the ranking", 1 << bits, count, style) for bits, style in zip(levels, styles))
    under_way = sum(2 * (-(-bits // 3) + 1) for bits in levels)
    luts = 30 + 2 * rank_bits + (3 + len(digits)) * count + under_way
    cycles = sum(1 << d for d in digits) + 4 * len(digits) + 9
    return Ranking(digits, cycles, cycles + (1 << levels[-1]), luts, bins)
