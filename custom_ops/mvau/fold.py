"""Structure of a sparse-block matrix unit: its fold, checked, and every size that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import count

from qonnx.core.datatype import BaseDataType

from finn_vitprune.custom_ops.mvau.balance import GroupTiming, Schedule, most_contributions, schedule, steady_interval
from finn_vitprune.custom_ops.mvau.mac import MAX_CHAIN, Mac, mac_array
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT
from finn_vitprune.custom_ops.op.memory import MATRIX_MEMORY, MUX_INPUTS, block_ram_cut, choose_cycles, read_latency
from finn_vitprune.custom_ops.op.requant_estimate import requant_cycles
from finn_vitprune.errors import UserError
from finn_vitprune.numerics import clog2

TOKENS_CHOICES = (1, 2, 4, 8, 16)

BALANCED = 150
"""Sub-blocks of a lane from which on rounding up to whole sub_blocks costs less than 0.7 %."""

SPARSE = 0.5
"""Kept share of blocks down to which lanes have so many."""

MIN_PROGRAM, MIN_DATA = 32, 8
"""Fewest words of a program and of a weight or constant ROM."""

WRAP_AHEAD = 4
"""Entries from the one that says so to the first of the program that follows (``vp_mvau_program``)."""

DRAIN_CYCLES = 3
"""From a drain step to the beat that it makes, without reading the results and requantisation: address, lane, sum, FIFO."""
REORDER_CYCLES, WIDEN_CYCLES = 4, 2
"""More where rows are put in order, and where beats are made wider."""
CLIP_CYCLES = 2
"""More where outputs of some encoders have fewer bits than those of others."""

_schedule = lru_cache(maxsize=FOLDINGS_KEPT)(schedule)
_steady_interval = lru_cache(maxsize=FOLDINGS_KEPT)(steady_interval)


def product_sum_bits(mw: int, x: BaseDataType, w: BaseDataType) -> int:
    """Signed bits of any sum of ``mw`` products of the two types."""
    x_max = max(abs(int(x.min())), abs(int(x.max())))
    return (mw * x_max * abs(int(w.min()))).bit_length() + 1


def sub_block_count(steps: int, lanes: int, blocks: int) -> int:
    """Sub-blocks of a block, each some of its rows, that may be in different lanes.

    One, where there is one lane or a lane holds many blocks; else as few as balance the lanes when half of
    the ``blocks`` of the matrix are kept, if the ``steps`` of a block are enough. All masks have the same.
    """
    if lanes == 1:
        return 1
    return next((d for d in divisors(steps) if d * blocks * SPARSE >= BALANCED * lanes), max(1, steps))


def _choices(values) -> str:
    values = [str(v) for v in values]
    return values[0] if len(values) == 1 else f"{', '.join(values[:-1])} or {values[-1]}"


@dataclass(frozen=True)
class Room:
    """What a unit of several encoders is made for, as far as the fold of one of them cannot say.

    Attributes:
        mw: elements of a row, most of all encoders. sub_blocks: of a block. weight_words: of all encoders.
        span: largest shift of the requantisation less the smallest.
        fewer: bits of an output, most of all encoders, less the fewest.
    """

    mw: int
    sub_blocks: int
    weight_words: int
    span: int
    fewer: int = 0

    @classmethod
    def of(cls, folds: Sequence[Fold], least: Capacity | None = None) -> Room:
        """For encoders with such folds; blocks are cut so finely that the smallest matrix is balanced, too, or as ``least``, of
        the unit, has it."""
        shifts = [fold.shift for fold in folds] if folds[0].requant else [0]
        mw, sub_blocks = max(fold.mw for fold in folds), max(fold.sub_blocks for fold in folds)
        if least is not None:
            mw, sub_blocks = max(mw, least.mw), least.sub_blocks
            shifts += [least.least_shift, least.most_shift] if folds[0].requant else []
        bits = [fold.y.bitwidth() for fold in folds]
        room = cls(mw, sub_blocks, 0, max(shifts) - min(shifts), max(bits) - min(bits))
        words = sum(replace(fold, room=room).weight_words for fold in folds)
        return replace(room, weight_words=max(words, least.weight_words) if least else words)


@dataclass(frozen=True)
class Capacity:
    """What a unit is made for at least, beside what its encoders need: the largest that networks need that it may be loaded with.

    Attributes:
        slots: column parts of a lane. weight_words to constants: of all encoders. least_shift, most_shift: of the requantisation.
    """

    rows: int
    mw: int
    mh: int
    sub_blocks: int
    slots: int
    weight_words: int
    program_entries: int
    drain_entries: int
    constants: int
    bias_bits: int
    least_shift: int
    most_shift: int

    @classmethod
    def of(cls, unit: Fold) -> Capacity:
        """What a unit has."""
        return cls(
            unit.rows, unit.mw, unit.mh, unit.sub_blocks, unit.lane_slots, unit.weight_words, unit.program_entries, unit.drain_entries,
            unit.constants, unit.bias_bits, unit.shift - unit.span, unit.shift,
        )  # fmt: skip

    def joined(self, other: Capacity) -> Capacity:
        """Enough for both."""
        most = {name: max(value, getattr(other, name)) for name, value in asdict(self).items()}
        return Capacity(**most | {"least_shift": min(self.least_shift, other.least_shift)})


@dataclass(frozen=True)
class Fold:
    """Shapes, types, kept blocks and folding of one matrix unit.

    Attributes:
        rows: tokens of a frame. mw, mh: sides of the matrix. block: side of a block.
        simd, pe: rows and columns of a block taken in one cycle. tokens: rows of X that share a weight word.
        lanes: lists of blocks that run at once.
        in_width, out_width: elements of an input and an output beat.
        x, w, y: integer types of input, weights and output. requant: whether the output is requantised.
        mult_bits, shift: width of the multipliers and right shift of the requantisation.
        bias_bits: signed width of the biases.
        mac_style: MAC implementation, a name of :data:`.mvau_mac.MAC_STYLES`.
        buffers: of rows, and of results, 2 or 4.
        lut_lanes: lanes whose products are made in LUTs, where those of the others are in DSP slices ("dsp48e2").
        ram_style: where the weights are, one of :data:`.mvau_estimate.RAM_STYLES`.
        column_blocks: kept blocks of each block column; all of them, where it is empty.
        room_blocks, room_slots: blocks and column parts of a lane that the memories hold; 0: those of the mask.
        room: of the unit, where its encoders are several; then a program has at least :data:`WRAP_AHEAD` entries.
        least: of the fold of a unit, what it is made for at least.
        encoders: the folds of these, in the fold of the unit, whose sizes are the largest of theirs (:func:`shared_fold`).
    """

    rows: int
    mw: int
    mh: int
    block: int
    simd: int
    pe: int
    tokens: int
    lanes: int
    in_width: int
    out_width: int
    x: BaseDataType = field(hash=False)
    w: BaseDataType = field(hash=False)
    y: BaseDataType = field(hash=False)
    requant: bool
    mult_bits: int
    shift: int
    bias_bits: int
    mac_style: str
    ram_style: str = "auto"
    lut_lanes: int = 0
    buffers: int = 2
    column_blocks: tuple[int, ...] = ()
    room_blocks: int = 0
    room_slots: int = 0
    room: Room | None = None
    encoders: tuple[Fold, ...] = ()
    least: Capacity | None = None

    def check(self, node: str) -> Fold:
        """The fold itself.

        Raises:
            UserError: a size, width or type does not fit; the text names it, the ``node`` and what would.
        """
        for held, text in self._conditions():
            if not held:
                raise UserError(text.replace("{node}", f"(node {node})"))
        return self

    def _conditions(self) -> Iterator[tuple[bool, str]]:
        """What must hold, and the text for where it does not. Those that come later rely on those before."""
        for what, value in (
            ("tokens", self.rows),
            ("MW", self.mw),
            ("MH", self.mh),
            ("block size", self.block),
            ("LANES", self.lanes),
            ("SIMD", self.simd),
            ("PE", self.pe),
        ):
            yield value >= 1, f"{what} {value} {{node}} must be at least 1"
        use = _choices(divisors(self.block))
        for what, value in (("SIMD", self.simd), ("PE", self.pe)):
            yield self.block % value == 0, f"{what} {value} does not divide block size {self.block} {{node}}: use {use}"
        use = _choices(TOKENS_CHOICES)
        yield self.tokens in TOKENS_CHOICES, f"TOKENS {self.tokens} {{node}} is not possible: use {use}"
        held = not self.lut_lanes or (
            self.mac_style == "dsp48e2" and 0 < self.lut_lanes < self.lanes and self.mac.chain == self.lut_mac.chain
        )
        what = f"lut_lanes {self.lut_lanes} of {self.lanes} LANES {{node}} is not possible with mac_style {self.mac_style}"
        cascades = f"; cascades are {self.mac.chain} and {self.lut_mac.chain} long" if self.lut_lanes else ""
        yield held, f"{what}: use 0, or with dsp48e2 fewer than LANES, where the cascades of both kinds are equally long{cascades}"
        ins, outs = self.in_widths(self.mw, self.simd), self.out_widths(self.mh, self.pe, self.block)
        yield (
            self.in_width in ins,
            (
                f"in_width {self.in_width} {{node}} must divide MW {self.mw}, and divide SIMD {self.simd} or"
                f" be 1, 2, 4, ... times it: use {_choices(ins)}"
            ),
        )
        yield (
            self.out_width in outs,
            (
                f"out_width {self.out_width} {{node}} must divide MH {self.mh} and go with PE {self.pe} and"
                f" block size {self.block}: use {_choices(outs)}"
            ),
        )
        x, w, y, bits = self.x, self.w, self.y, self.sum_bits
        held = x.is_integer() and 2 <= x.bitwidth() <= 16
        yield held, f"input type {x.name} {{node}} is not possible: use INT or UINT of 2 to 16 bits"
        held = w.is_integer() and w.signed() and 2 <= w.bitwidth() <= 9
        yield held, f"weight type {w.name} {{node}} is not possible: use INT2 to INT9"
        if not self.requant:
            yield (
                y.signed() and y.bitwidth() >= bits,
                (f"output type {y.name} {{node}} does not hold the accumulators of {bits} bits: use INT{bits} or wider"),
            )
            return
        held = y.is_integer() and 2 <= y.bitwidth() <= 32
        yield held, f"output type {y.name} {{node}} is not possible: use INT or UINT of 2 to 32 bits"
        yield 1 <= self.mult_bits <= 25, f"mult_bits {self.mult_bits} {{node}} is not possible: use 1 to 25"
        yield 0 <= self.shift <= 62, f"shift {self.shift} {{node}} is not possible: use 0 to 62"

    @staticmethod
    def in_widths(mw: int, simd: int) -> list[int]:
        """Possible elements of an input beat."""
        return [d for d in divisors(mw) if simd % d == 0 or (d % simd == 0 and (d // simd).bit_count() == 1)]

    @staticmethod
    def out_widths(mh: int, pe: int, block: int) -> list[int]:
        """Possible elements of an output beat: the outputs of a drain step, or a multiple of the most.

        A step takes outputs of one block column, as many in each: a divisor of ``block`` and ``mh``. They are
        some of a group of ``pe`` outputs, or some of these groups.
        """
        most = math.gcd(mh, block)
        steps = [d for d in divisors(most) if pe % d == 0 or d % pe == 0]
        return sorted({*steps, *(d for d in divisors(mh) if d % most == 0 and most in steps)})

    # --- sizes (same names as in vp_mvau.sv); depths of memories of a shared unit are sums ---

    @property
    def each(self) -> tuple[Fold, ...]:
        """The folds of the encoders of a shared unit; else the fold alone."""
        return self.encoders or (self,)

    @property
    def row_elems(self) -> int:
        """Elements of the longest row."""
        return self.room.mw if self.room else self.mw

    @property
    def span(self) -> int:
        """Largest shift of the encoders less the smallest (SPAN)."""
        return self.room.span if self.room else 0

    @property
    def clips(self) -> bool:
        """Whether outputs of some encoders have fewer bits than those of others (CLIPS)."""
        return bool(self.room and self.room.fewer)

    @property
    def least_entries(self) -> int:
        """Fewest entries of a program."""
        return WRAP_AHEAD if self.room else 1

    @property
    def block_rows(self) -> int:
        return -(-self.mw // self.block)

    @property
    def block_columns(self) -> int:
        return -(-self.mh // self.block)

    @property
    def steps(self) -> int:
        """Cycles of one block and one group of PE outputs."""
        return self.block // self.simd

    @cached_property
    def sub_blocks(self) -> int:
        """Sub-blocks of a block (see :func:`sub_block_count`)."""
        if self.room:
            return self.room.sub_blocks
        return sub_block_count(self.steps, self.lanes, self.block_rows * self.block_columns)

    @property
    def entry_steps(self) -> int:
        """Cycles of one program entry: a sub-block and a group of PE outputs."""
        return self.steps // self.sub_blocks

    @property
    def groups(self) -> int:
        """Groups of PE outputs of a block."""
        return self.block // self.pe

    @property
    def token_groups(self) -> tuple[int, ...]:
        """Tokens of each group of a frame."""
        full, rest = divmod(self.rows, self.tokens)
        return (self.tokens,) * full + (rest,) * bool(rest)

    @property
    def drain_width(self) -> int:
        """Outputs of a token that the drain handles a step (DRAIN_WIDTH)."""
        return math.gcd(self.out_width, self.mh, self.block)

    @property
    def rows_per_step(self) -> int:
        """Tokens that the drain handles at once (ROWS_PER_STEP): as many as the output port has room for."""
        return min(self.tokens, 1 << ((self.out_width // self.drain_width).bit_length() - 1))

    @property
    def reorder_shape(self) -> tuple[int, int, int]:
        """Depth, width and number of the memories that put rows drained at once in order."""
        ratio = self.out_width // self.drain_width
        words = self.mh // self.out_width
        count = self.rows_per_step * ratio if self.rows_per_step > 1 else 0
        return 2 << max(1, clog2(words)), self.drain_width * self.y.bitwidth(), count

    @property
    def x_elems(self) -> int:
        """Elements of a word of the row memories."""
        return max(self.in_width, self.simd)

    @property
    def x_words(self) -> int:
        return -(-(-(-self.row_elems // self.block) * self.block) // self.x_elems)

    @property
    def x_index_bits(self) -> int:
        """Bits of a row's index in units of SIMD elements, as the lanes' program holds it."""
        return max(1, clog2(self.x_words)) + clog2(self.x_elems // self.simd)

    @property
    def r_elems(self) -> int:
        """Outputs of a word of the result banks."""
        return max(self.drain_width, self.pe)

    @property
    def r_words(self) -> int:
        return self.lane_slots * self.block // self.r_elems

    @property
    def r_word_bits(self) -> int:
        return max(1, clog2(self.r_words))

    @property
    def program_entries(self) -> int:
        """Depth of the lanes' program; like the other depths, never so few that synthesis could prove things from them."""
        if self.encoders:
            return self._all("program_entries")
        return max(MIN_PROGRAM, self.lane_blocks * self.sub_blocks * self.groups)

    @property
    def program_bits(self) -> int:
        """Bits of an entry: last of a part and first word of every lane, end of the group, wrap."""
        return 2 + self.lanes * (1 + self.x_index_bits)

    @cached_property
    def program_per(self) -> int:
        """Entries of a word of its ROM (P_PER): so many that one LUT joins the block RAMs that follow one another."""
        shapes = ((n, -(-self.program_entries // n), n * self.program_bits) for n in (1 << i for i in count()))
        return next(n for n, words, bits in shapes if block_ram_cut(words, bits, written=False).rows <= MUX_INPUTS)

    @property
    def weight_words(self) -> int:
        if self.encoders:
            return self._all("weight_words")
        return max(MIN_DATA, self.lane_blocks * self.groups * self.steps, self.least_entries * self.entry_steps)

    @property
    def weight_memory(self) -> tuple[int, int, str]:
        """Words, bits and style of a bank of weights; there are ``mac.chain`` of them."""
        return self.weight_memory_in(self.ram_style)

    def weight_memory_in(self, ram_style: str) -> tuple[int, int, str]:
        """The same in another memory."""
        width = self.lanes * self.simd // self.mac.chain * self.pe * self.w.bitwidth()
        words = self.room.weight_words if self.room else self.weight_words
        return words, width, MATRIX_MEMORY.style(words, width, ram_style)

    @property
    def weight_latency(self) -> int:
        """Cycles of a read of the weights (W_LATENCY); an UltraRAM takes two registers and leaves the arrays theirs."""
        words, _, style = self.weight_memory
        return max(3, read_latency(words, style)) if style == "ultra" else read_latency(words, style)

    @property
    def row_latency(self) -> int:
        """Cycles from a step to its rows' elements at the arrays (X_CYCLES): addresses, read, choice."""
        words, width = self.row_memory
        return 1 + read_latency(words, MATRIX_MEMORY.style(words, width)) + choose_cycles(self.x_elems // self.simd)

    @property
    def result_choices(self) -> int:
        """Values of a lane of which the drain takes one for each of its outputs: rows and parts of a word."""
        return self.tokens * self.r_elems // (self.rows_per_step * self.drain_width)

    @property
    def result_latency(self) -> int:
        """Cycles from an address of the drain to the values of the lanes (R_CYCLES): copies of it, read, choice."""
        return 2 + choose_cycles(self.result_choices)

    @property
    def behind(self) -> int:
        """Cycles from a drain step to the beat that it makes."""
        cycles = DRAIN_CYCLES + self.result_latency + (requant_cycles(self.sum_bits, self.mult_bits, self.span) if self.requant else 0)
        cycles += CLIP_CYCLES if self.clips else 0
        if self.rows_per_step > 1:
            return cycles + REORDER_CYCLES
        return cycles + (WIDEN_CYCLES if self.out_width > self.drain_width else 0)

    @property
    def row_memory(self) -> tuple[int, int]:
        """Words and bits of the memory of a row: its buffers."""
        return self.buffers << max(1, clog2(self.x_words)), self.x_elems * self.x.bitwidth()

    @property
    def drain_entries(self) -> int:
        """Entries of the drain program that no mask exceeds."""
        if self.encoders:
            return self._all("drain_entries")
        most = most_contributions(self.block_columns, self.lanes)
        return max(MIN_PROGRAM, most * (self.block // self.drain_width))

    @property
    def constants(self) -> int:
        if self.encoders:
            return self._all("constants")
        return max(MIN_DATA, self.mh // self.drain_width)

    def _all(self, depth: str) -> int:
        """A depth of a unit's memory: those of its encoders together, or what it is made for."""
        own = sum(getattr(fold, depth) for fold in self.encoders)
        return max(own, getattr(self.least, depth)) if self.least else own

    # --- what the mask decides ---

    @property
    def schedule(self) -> Schedule:
        """Distribution of the kept blocks over the lanes."""
        return self.schedule_of(self.column_blocks)

    def schedule_of(self, column_blocks: tuple[int, ...]) -> Schedule:
        """That of another mask; of all blocks, where it is empty."""
        return _schedule(column_blocks or (self.block_rows,) * self.block_columns, self.lanes, self.sub_blocks)

    @property
    def lane_blocks(self) -> int:
        """Most blocks of a lane that the memories hold."""
        return self.room_blocks or self.schedule.lane_blocks

    @property
    def lane_slots(self) -> int:
        """Most column parts of a lane that the memories hold."""
        return self.room_slots or self.schedule.lane_slots

    @property
    def entries(self) -> int:
        """Entries of the lanes' program in use."""
        return max(self.least_entries, self.schedule.lane_sub_blocks * self.groups)

    @property
    def kept_weights(self) -> int:
        """Weights of the kept blocks. Padding of a side that the block does not divide is left out, in
        proportion (exactly, where all blocks are kept)."""
        share = self.mw * self.mh / (self.block_rows * self.block_columns * self.block**2)
        return round(self.schedule.kept * self.block**2 * share)

    @cached_property
    def timing(self) -> GroupTiming:
        """Cycles of the stages for one token group."""
        plan = self.schedule
        padding = self.block_columns * self.block - self.mh  # outputs of the last column that have no drain step
        last_parts = len(plan.column_parts(self.block_columns - 1)) or 1
        steps = plan.contributions * (self.block // self.drain_width) - last_parts * (padding // self.drain_width)
        return GroupTiming(
            load_row=self.mw // self.in_width,
            compute=self.entries * self.entry_steps,
            drain_row=max(self.least_entries, steps),
            latency=max(self.weight_latency, self.row_latency) + self.mac_latency,
            rows_per_step=self.rows_per_step,
            emit_row=self.mh // self.out_width if self.rows_per_step > 1 else 0,
        )

    @cached_property
    def cycles(self) -> int:
        """Steady interval of overlapping frames: the lanes' cycles, or what caps them.

        Per group of n tokens: n MW / in_width input beats, steps of the fullest lane, and n drain steps
        for each part of each column, block / DRAIN_WIDTH of them (DRAIN_WIDTH: outputs of a step, at most block). Where
        the output port is wider than that, the steps of several rows are one. Of a shared unit: frames of its slowest encoder.
        """
        if self.encoders:
            return max(fold.cycles for fold in self.encoders)
        return math.ceil(_steady_interval(self.token_groups, self.timing))

    # --- widths ---

    @cached_property
    def acc_bits(self) -> int:
        """Signed bits of any sum of products: |sum| <= MW max|x| max|w| over the full ranges of the types."""
        return product_sum_bits(self.row_elems, self.x, self.w)

    @property
    def sum_bits(self) -> int:
        """Signed bits of bias plus sum of products."""
        return max(self.acc_bits, self.bias_bits) + 1

    @cached_property
    def mac(self) -> Mac:
        """The multiply-accumulate array of a lane. Lanes with products in LUTs beside it limit the length of its cascades to their own."""
        most = self.lut_mac.chain if self.lut_lanes else MAX_CHAIN
        return mac_array(self.mac_style, self.tokens, self.simd, self.pe, self.x, self.w, self.acc_bits, most)

    @cached_property
    def lut_mac(self) -> Mac:
        """That of a lane with products in LUTs beside lanes of DSP slices."""
        return mac_array("lut", self.tokens, self.simd, self.pe, self.x, self.w, self.acc_bits)

    @property
    def mac_latency(self) -> int:
        """Cycles from the operands to sums, which are there in all lanes at once."""
        return max(self.mac.latency, self.lut_mac.latency) if self.lut_lanes else self.mac.latency


def shared_fold(folds: Sequence[Fold], least: Capacity | None = None) -> Fold:
    """The fold of a unit whose encoders have ``folds``, all with its :class:`Room` and what they have in common."""
    rows, mw, mh, shift = (max(getattr(f, name) for f in folds) for name in ("rows", "mw", "mh", "shift"))
    if least is not None:
        rows, mw, mh, shift = max(rows, least.rows), max(mw, least.mw), max(mh, least.mh), max(shift, least.most_shift)
    y = max((fold.y for fold in folds), key=lambda dtype: dtype.bitwidth())
    return replace(folds[0], rows=rows, mw=mw, mh=mh, shift=shift, y=y, column_blocks=(), encoders=tuple(folds), least=least)
