"""Integer LayerNorm and RMSNorm without gamma and beta (these are folded into the matrix that follows)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from finn_vitprune import numerics
from finn_vitprune.custom_ops.op.base import UnaryStreamOp, divisors
from finn_vitprune.custom_ops.op.fifo_folding import FifoFolding
from finn_vitprune.custom_ops.op.folding import Attributes
from finn_vitprune.custom_ops.op.load_chain import SPARE_SHIFTS, LoadedBackend, frame_rows
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, UnitMemory, read_latency
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import WORD_BITS

RSQRT_CYCLES = 36
"""Cycles from the start of a token's reciprocal square root to that of the next one in the same root, which waits there."""
MULTIPLIER_CYCLES = 5
"""More where it comes when the root's multiplier works on the end of the token before; and from the start of one root to that of another."""
MOST_ROOTS = 3
LOAD_CYCLES = 8
"""Cycles in which a token's scale goes to the lanes, besides one a group."""
PASS_LUTS = 10
"""Of the scale of rows that are passed."""
SCALE_CYCLES = 55
"""Cycles from a token's last beat to the read of its first, besides those of the adder tree."""
GROUP_LANES = 32
"""Lanes that one set of registers drives at most."""

GAIN_BITS, OFFSET_BITS = 37, 53
"""Of a token's scale."""
MOST_EXPONENT = 25
SEED_BITS = 13
SEED_TABLE = UnitMemory(Holds.TABLE, "seeds of the square root", 256, SEED_BITS, "distributed", rom=True)
MAX_CHANNELS = 1664
MAX_SHIFT = 29  # 8 + e + shift stays below 63, the golden model's int64


def _groups(simd: int) -> int:
    return -(-simd // GROUP_LANES)


class VitLayerNorm(SharedOp, UnaryStreamOp):
    """y_i = clip(round_half_even((D X_i - S1) rc 2**-(8 + e + shift))), per token of D codes X_i.

    S1 = sum X_i, S2 = sum X_i**2, v = D S2 - S1**2 + eps, (r, e) = reciprocal square root of v,
    rc = (r mult) >> 16, with 1 / s_out = mult 2**-shift. X: ``[tokens, channels]`` INT16, y: signed 4 or
    8 bits. Widths: v 52, rc 26, D X_i - S1 28 bits. ``numerics.layernorm`` is the specification.

    While a token is summed, the scales of others are made and another leaves. A square root takes 36 cycles; ``roots`` of
    them (1 to 3) work in turn, so a token takes max(D / SIMD, 36 / roots) cycles. ``least``: rows of a frame, smallest and largest shift, and
    rows of a token that the unit is made for at least. ``centred`` 0: an RMSNorm, whose S1 is 0 and takes no hardware.

    A token may be several ``rows`` of channels / rows codes, heads, each with a norm of its own; D is the width of a row then. The last
    ``passed`` of them are no norms: y = clip(round_half_even(X 2**-(16 - bits of y))), values beside the keys.

    Source: L. Ba et al., "Layer Normalization", arXiv 1607.06450; B. Zhang and R. Sennrich, "Root Mean Square Layer Normalization",
    arXiv 1910.07467; Newton iteration for 1 / sqrt(v).
    """

    token_wise = True
    ATTRIBUTES = {
        "eps": ("i", True, 1),
        "mult": ("i", True, 0),
        "shift": ("i", True, 0),
        "roots": ("i", False, 1),
        "least": ("ints", False, []),
        "centred": ("i", False, 1),
        "rows": ("i", False, 1),
        "passed": ("i", False, 0),
        "inputDataType": ("s", False, "INT16"),
        "outputDataType": ("s", False, "INT8"),
    }
    ENCODER_ATTRIBUTES = ("tokens", "channels", "rows", "passed", "eps", "mult", "shift")

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [self.target, *self.tags()]

    def verify_node(self) -> list[str]:
        """Raise UserError for what the widths of the unit do not hold; an empty list when all is well."""
        roots, source, target = (self.get_nodeattr(name) for name in ("roots", "inputDataType", "outputDataType"))
        for op in self.by_encoder():
            channels, rows, passed = (op.get_nodeattr(name) for name in ("channels", "rows", "passed"))
            self.require(0 <= passed < rows and channels % rows == 0, f"{rows} rows, {passed} of them passed, in {channels} channels")
            same = op.width == self.width and (passed > 0) == self.passes
            self.require(
                same, f"rows of {op.width} channels, {passed} of {rows} passed, beside {self.width} channels: encoders need alike rows"
            )
        d = self.width
        self.require(d % self.get_nodeattr("SIMD") == 0, f"SIMD {self.get_nodeattr('SIMD')} does not divide the {d} channels of a row")
        name = "LayerNorm" if self.centred else "RMSNorm"
        self.require(2 <= d <= MAX_CHANNELS, f"{name} over {d} channels: use 2 to {MAX_CHANNELS}")
        self.require(1 <= roots <= MOST_ROOTS, f"roots {roots}: use 1 to {MOST_ROOTS}")
        for op in self.by_encoder():
            eps = op.get_nodeattr("eps")
            most = numerics.layernorm_largest_eps(d, self.centred)
            self.require(1 <= eps <= most, f"eps {eps} must be 1 to {most}, check the scale of its input")
            op.check_multiplier(MAX_SHIFT)
        self.require(source == "INT16", f"input codes are {source}, only INT16 is supported")
        self.require(target in ("INT4", "INT8"), f"output codes are {target}, use INT4 or INT8")
        return []

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """X ``[..., tokens, channels]`` to y of the same shape."""
        eps, mult, shift = (self.get_nodeattr(a) for a in ("eps", "mult", "shift"))
        bits = self.target.dtype.bitwidth()
        x, rows = np.asarray(inputs[0]), self.get_nodeattr("rows")
        split = x.reshape(*x.shape[:-1], rows, -1)
        normed = rows - self.get_nodeattr("passed")
        made = numerics.layernorm(split[..., :normed, :], eps, mult, shift, bits, self.centred)
        passed = numerics.requantise(split[..., normed:, :], 1, self.source.dtype.bitwidth() - bits, bits)
        return [np.concatenate([made, passed], -2).reshape(x.shape)]

    @property
    def rows(self) -> int:
        """Norms of a frame, of each of which a part of a token is the input."""
        return self.source.tokens * self.get_nodeattr("rows")

    @property
    def passes(self) -> bool:
        """Whether rows pass beside norms."""
        return self.get_nodeattr("passed") > 0

    @property
    def width(self) -> int:
        """D: the channels of a row."""
        return self.source.channels // self.get_nodeattr("rows")

    @property
    def row_beats(self) -> int:
        """Beats of a row."""
        return self.width // self.source.simd

    @property
    def widths(self) -> tuple[int, ...]:
        """Those that divide a row."""
        return divisors(self.width)

    @property
    def centred(self) -> bool:
        """Whether the mean of a token is taken from its codes (LayerNorm)."""
        return bool(self.get_nodeattr("centred"))

    def get_exp_cycles(self) -> int:
        """:attr:`rows` * :attr:`row_cycles`."""
        return self.rows * self.row_cycles

    @property
    def row_cycles(self) -> int:
        """From one row to the next."""
        return max(self.row_beats, -(-RSQRT_CYCLES // self.roots), LOAD_CYCLES + self.groups)

    def folds(self) -> tuple[Attributes, ...]:
        """Of each width the numbers of roots that make a token faster."""
        return tuple((("SIMD", simd), ("roots", roots)) for simd in self.widths for roots in range(1, 1 + self._useful_roots(simd)))

    def _useful_roots(self, simd: int) -> int:
        """How many keep up with the tokens."""
        least = max(self.width // simd, LOAD_CYCLES + _groups(simd))
        return min(MOST_ROOTS, -(-RSQRT_CYCLES // least))

    @property
    def groups(self) -> int:
        """Of lanes."""
        return _groups(self.source.simd)

    @property
    def roots(self) -> int:
        """Square roots that work in turn."""
        return self.get_nodeattr("roots")

    @property
    def most_exponent(self) -> int:
        """Largest e, of a token of an encoder that shifts more than another."""
        return MOST_EXPONENT + self.made_for[2] - self.least_shift

    @property
    def least_shift(self) -> int:
        """Of all encoders."""
        return self.made_for[1]

    @property
    def made_for(self) -> tuple[int, int, int, int]:
        """Most rows of a frame, smallest and largest shift, most rows of a token."""
        ops = self.by_encoder()
        frames, (shifts, tokens) = [op.rows for op in ops], ([op.get_nodeattr(name) for op in ops] for name in ("shift", "rows"))
        if least := self.get_nodeattr("least"):
            frames, shifts, tokens = [*frames, least[0]], [*shifts, *least[1:3]], [*tokens, *least[3:]]
        return max(frames), min(shifts), max(shifts), max(tokens)

    def held_beats(self) -> int:
        """HELD of ``vp_layernorm``: beats that keep their words from input to output at the interval of rows."""
        beats, period = self.row_beats, self.row_cycles
        tokens, rest = divmod(beats + SCALE_CYCLES + numerics.clog2(self.source.simd), period)
        uneven = 2 * beats if beats < period else 0
        return tokens * beats + min(beats, rest) + uneven + (7 if self.roots * period > RSQRT_CYCLES else 2)

    def codes_ram(self) -> tuple[int, str]:
        """Words of the RAMs of the codes, and what they are made of."""
        words = 1 << numerics.clog2(self.held_beats())
        return words, TABLE_MEMORY.style(words, 16)

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """Codes that wait for their token's scale, three FIFOs, and the seeds of the square roots."""
        return (*self.memories_of_codes(), *(memory for fifo in self.fifos() for memory in fifo.memories), self.seed_tables())

    def seed_tables(self) -> UnitMemory:
        """A table a root."""
        return replace(SEED_TABLE, count=self.roots)

    def memories_of_codes(self) -> tuple[UnitMemory, ...]:
        """A RAM a group of lanes."""
        simd = self.source.simd
        groups = [min(simd - first, GROUP_LANES) for first in range(0, simd, GROUP_LANES)]
        words, style = self.codes_ram()
        return tuple(
            UnitMemory(Holds.FIFO, "codes that wait", words, 16 * lanes, style, groups.count(lanes)) for lanes in dict.fromkeys(groups)
        )

    def fifos(self) -> tuple[FifoFolding, ...]:
        """Of sums, of scales and of results."""
        tokens, results = self.held_beats() // self.row_beats, -(-self.target.width // 8) * 8
        scale = GAIN_BITS + OFFSET_BITS * self.centred + self.most_exponent.bit_length()
        shapes = ((tokens + 2, self.sum_bits()), (2 * self.roots + 2, scale), (self.leave_cycles() + 2, results))
        return tuple(FifoFolding(depth, width, self.source.beats, "auto") for depth, width in shapes)

    def resources(self) -> Estimate:
        """Square root and control: 548 LUTs; a further root 680, each two DSP slices. Sums: 50 LUTs an adder of the two trees, and a LUT a bit
        over the beats. A group of lanes: 26 LUTs (mask). A lane: 140 LUTs (product sum and offset 81, shifter and range
        check 59), five a bit of the result, one slice for x squared, two for x times D rc. The FIFOs and memories. What
        :meth:`shared_luts` says. An RMSNorm takes less of them: 18 LUTs an adder, 55 a root, 53 a lane."""
        simd, bits = self.get_nodeattr("SIMD"), self.get_output_datatype().bitwidth()
        sums, groups = 50 * (simd - 1) + self.sum_bits(), self.groups
        luts = 548 + 680 * (self.roots - 1) + sums + (1 + self.most_exponent) * groups + simd * (140 + 5 * bits) + self.shared_luts()
        luts -= 0 if self.centred else 18 * (simd - 1) + 55 * self.roots + 53 * simd
        luts += PASS_LUTS * self.passes
        fifos = (fifo.resources for fifo in self.fifos())
        memories = (memory.resources for memory in (*self.memories_of_codes(), self.seed_tables()))
        return sum((*fifos, *memories), Estimate(LUT=luts, DSP=3 * simd + 2 * self.roots))

    def made_of(self) -> UnitParts:
        simd = self.source.simd
        products = (
            ProductGroup(simd, 16, 16),
            ProductGroup(simd, 27, 16),
            ProductGroup(simd, 12, 16),
            ProductGroup(self.roots, 27, 18),
            ProductGroup(self.roots, 27, 10),
        )
        parts = {
            "one": 1, "simd": simd, "roots": self.roots, "groups": self.groups, "sums": max(0, simd - 1), "wide": self.sum_bits(),
            "shared": self.shared_luts(),
        }  # fmt: skip
        memories, fifos = (*self.memories_of_codes(), self.seed_tables()), tuple(fifo.made_of for fifo in self.fifos())
        return UnitParts.of("layernorm" if self.centred else "rmsnorm", parts, products, memories, fifos)

    def shared_luts(self) -> int:
        """Constants of encoders, one LUT a bit where they are used, and wider shifters of the lanes."""
        ops = self.by_encoder()
        eps, mult, shift = ([op.get_nodeattr(name) for op in ops] for name in ("eps", "mult", "shift"))
        if len(ops) == 1:
            return 0
        tops = [MOST_EXPONENT + s - min(shift) for s in shift]
        frame = self.frame_luts([op.rows for op in ops], eps, mult, tops)
        if self.passes:  # a second chain of tags
            frame += self.frame_luts([op.rows for op in ops], *zip(*self.rows_of_token()))
        shifter = 12 * (self.most_exponent.bit_length() - MOST_EXPONENT.bit_length()) * self.get_nodeattr("SIMD")
        return frame + max(eps).bit_length() + max(mult).bit_length() + shifter

    def rows_of_token(self) -> list[tuple[int, int]]:
        """Of each encoder the last row of a token, and the row before the first that passes."""
        numbers = [(op.get_nodeattr("rows"), op.get_nodeattr("passed")) for op in self.by_encoder()]
        return [(rows - 1, rows - passed - 1) for rows, passed in numbers]

    def sum_bits(self) -> int:
        """Bits of S1 and S2, or of S2 alone."""
        return (47 if self.centred else 31) + (1 + self.centred) * numerics.clog2(self.width)

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """A token is summed as it comes, then the root whose turn it is makes its scale, then it leaves."""
        (times,), beats, rows = inputs, self.row_beats, self.get_nodeattr("rows")
        ends = [last - (last - head + 1) * (rows - 1 - row) / rows for head, last in zip(times.first, times.last) for row in range(rows)]
        known, turn = SCALE_CYCLES + numerics.clog2(self.source.simd) + self.leave_cycles(), LOAD_CYCLES + self.groups
        starts: list[float] = []
        first: list[float] = []
        for end in ends:
            start = max(end, starts[-1] + MULTIPLIER_CYCLES) if starts else end
            if len(starts) >= self.roots:
                free = starts[-self.roots] + RSQRT_CYCLES
                start = max(start, free + MULTIPLIER_CYCLES) if start > free else free
            starts.append(start)
            first.append(max(start + known, first[-1] + max(beats, turn)) if first else start + known)
        return [TokenTimes(tuple(first[::rows]), tuple(t + beats - 1 for t in first[rows - 1 :: rows]))]

    def leave_cycles(self) -> int:
        """Cycles from the read of a beat to its results at the output: RAM, ten of a lane and the FIFO, one a further group."""
        _, style = self.codes_ram()
        return read_latency(self.held_beats(), style) + 9 + self.groups

    def held_tokens(self) -> int:
        """Tokens of which codes wait, and a part of one in the registers and the FIFO at the output."""
        return -(-(self.held_beats() + self.leave_cycles() + 2) // self.source.token_beats)


class VitLayerNorm_rtl(LoadedBackend, VitLayerNorm):
    """RTL of :class:`VitLayerNorm`."""

    RTL_TOP = "vp_layernorm"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        ops = self.by_encoder()
        return {
            "D": self.width,
            "SIMD": self.get_nodeattr("SIMD"),
            "ROOTS": self.roots,
            "OUT_WIDTH": self.target.dtype.bitwidth(),
            "ENCODERS": len(ops),
            "TOKEN_W": max(1, numerics.clog2(self.made_for[0])),
            "LEAST_SHIFT": self.least_shift,
            "MOST_E": self.most_exponent,
            "SEED_FILE": self.memory_file("seed"),
            **({} if self.centred else {"CENTRED": 0}),
            **({"ROW_W": numerics.clog2(self.made_for[3])} if self.passes else {}),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Tokens, eps (high and low half), the multiplier and the largest exponent; where rows pass, which of a token."""
        ops = self.by_encoder()
        eps, mult, shift = ([op.get_nodeattr(name) for op in ops] for name in ("eps", "mult", "shift"))
        tops = [MOST_EXPONENT + s - self.least_shift for s in shift]
        halves = [e >> WORD_BITS for e in eps], [e % (1 << WORD_BITS) for e in eps]
        rows = [op.rows for op in ops]
        passed = {"rows": frame_rows(rows, *zip(*self.rows_of_token()))} if self.passes else {}
        return {"shapes": frame_rows(rows, *halves, mult, tops)} | passed

    def memories(self, model) -> dict[str, Memory]:
        """The seed table of the reciprocal square root, which is always built in."""
        return {"seed": Memory(numerics.layernorm_seed_table(), SEED_BITS)}

    def spare(self, model) -> None:
        frames, low, high, tokens = self.made_for
        self.set_nodeattr("least", [frames, max(0, low - SPARE_SHIFTS), min(MAX_SHIFT, high + SPARE_SHIFTS), tokens])

    def widen(self, other: VitLayerNorm) -> None:
        (frames, low, high, tokens), (more, lower, higher, longer) = self.made_for, other.made_for
        self.set_nodeattr("least", [max(frames, more), min(low, lower), max(high, higher), max(tokens, longer)])

    def is_loaded(self, memory: str) -> bool:
        return not memory.startswith("seed") and super().is_loaded(memory)
