"""Load balance of the sparse-block matrix unit: which lane works on which kept block, and when.

The sub-block is the kept block. Block columns are laid end to end and cut into ``lanes`` pieces of at most
``ceil(kept / lanes)`` blocks (McNaughton's wrap-around rule), so no lane ever holds more than that,
however uneven the columns are. A cut inside a column makes two parts of it; their partial sums meet
when the outputs are drained. Spare room in the last pieces moves cuts back to column borders, since
every cut inside a column costs a step of the drain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class ColumnPart:
    """Consecutive kept blocks of one block column that one lane works on.

    Attributes:
        column: block column.
        lane: lane that computes it.
        slot: position among the parts of this lane; its sums lie at this place of the result bank.
        first: how many kept blocks of the column precede it (in other lanes).
        count: kept blocks in it, at least 1.
    """

    column: int
    lane: int
    slot: int
    first: int
    count: int


@dataclass(frozen=True)
class Schedule:
    """Distribution of kept blocks over lanes. ``parts`` are in the order of the columns laid end to end.

    A block may be dealt in ``sub_blocks``, some of its rows each: counts, loads and parts are in sub_blocks then.
    """

    lanes: int
    column_blocks: tuple[int, ...]
    parts: tuple[ColumnPart, ...]
    sub_blocks: int = 1

    @cached_property
    def kept(self) -> int:
        """Kept blocks of the matrix."""
        return sum(self.column_blocks) // self.sub_blocks

    @cached_property
    def loads(self) -> tuple[int, ...]:
        """Kept blocks of each lane."""
        loads = [0] * self.lanes
        for part in self.parts:
            loads[part.lane] += part.count
        return tuple(loads)

    @cached_property
    def lane_sub_blocks(self) -> int:
        """Kept sub_blocks of the fullest lane, ``ceil(kept * sub_blocks / lanes)``; 1 for an empty matrix."""
        return max(1, *self.loads)

    @cached_property
    def lane_blocks(self) -> int:
        """Blocks that a lane must hold, the last one perhaps in part."""
        return -(-self.lane_sub_blocks // self.sub_blocks)

    @cached_property
    def lane_slots(self) -> int:
        """Most column parts in one lane, at least 1."""
        return max([1, *(part.slot + 1 for part in self.parts)])

    @cached_property
    def contributions(self) -> int:
        """Parts to drain per row of blocks; an empty column counts as one (it yields its bias)."""
        return len(self.parts) + sum(count == 0 for count in self.column_blocks)

    def column_parts(self, column: int) -> list[ColumnPart]:
        """The parts of one column, in block order."""
        return [part for part in self.parts if part.column == column]


def most_contributions(columns: int, lanes: int) -> int:
    """Upper bound of :attr:`Schedule.contributions` over all masks: each of ``lanes - 1`` cuts adds one."""
    return columns + lanes - 1


def schedule(column_blocks: Sequence[int], lanes: int, sub_blocks: int = 1) -> Schedule:
    """Cut the columns laid end to end into ``lanes`` pieces of at most ``ceil(kept / lanes)`` blocks.

    A piece ends at the last column border within reach if the lanes after it can still take the rest;
    otherwise it is filled up and cuts its last column.

    Args:
        column_blocks: kept blocks of each block column.
        lanes: number of lanes, at least 1.
        sub_blocks: pieces of a block that may be in different lanes.
    """
    counts = [int(count) * sub_blocks for count in column_blocks]
    borders = np.concatenate([[0], np.cumsum(counts)]).astype(int)
    total = int(borders[-1])
    cap = -(-total // lanes)
    parts: list[ColumnPart] = []
    column = start = 0
    for lane in range(lanes):
        end = _piece_end(start, cap, total, lanes - 1 - lane, borders)
        slot = 0
        while start < end:
            while borders[column + 1] <= start:
                column += 1
            stop = min(end, int(borders[column + 1]))
            parts.append(ColumnPart(column, lane, slot, start - int(borders[column]), stop - start))
            start, slot = stop, slot + 1
    return Schedule(lanes, tuple(counts), tuple(parts), sub_blocks)


def _piece_end(start: int, cap: int, total: int, lanes_after: int, borders: np.ndarray) -> int:
    """Where the piece that begins at block ``start`` ends (see :func:`schedule`)."""
    full = min(start + cap, total)
    border = int(borders[np.searchsorted(borders, full, side="right") - 1])
    return border if border > start and total - border <= cap * lanes_after else full


@dataclass(frozen=True)
class GroupTiming:
    """Cycles of the four stages for one full token group of the matrix unit, and their hand-over times.

    Attributes:
        load_row: input beats of one row.
        compute: steps of the fullest lane (a group costs this even when it is not full).
        drain_row: drain steps of one row, or of ``rows_per_step`` rows.
        latency: cycles from the last step of a group to its first drain step.
        rows_per_step: rows that are drained together.
        emit_row: output beats of one of these; they leave one after another, from a double buffer.
    """

    load_row: int
    compute: int
    drain_row: int
    latency: int
    rows_per_step: int = 1
    emit_row: int = 0

    LOAD_RELEASE = 1
    """Cycles from the end of a group's last step to the first beat loaded into its buffer."""

    DRAIN_RELEASE = 1
    """Cycles from the end of a group's last drain step to the first step that reuses its bank."""


def steady_interval(rows: Sequence[int], timing: GroupTiming, frames: int = 6) -> float:
    """Mean cycles per frame of overlapping frames without pauses and stalls.

    Double buffers on both sides: a group is loaded once the group two before it has been computed, is
    computed once it is loaded and the group two before it has been drained; rows are drained together
    once those drained two times before them have left. When compute is the longest stage by more than
    the hand-over times this is ``len(rows) * compute``.

    Args:
        rows: tokens of each group of a frame, such as ``[4, 4, 1]``.
        timing: cycles of the stages.
        frames: frames to follow; the mean is taken over the second half.
    """
    most = max(rows)
    drain = -(-most // timing.rows_per_step) * timing.drain_row + most * timing.emit_row
    if max(most * timing.load_row + timing.LOAD_RELEASE, timing.latency + drain + timing.DRAIN_RELEASE) <= timing.compute:
        return float(len(rows) * timing.compute)
    ends = row_ends(list(rows) * frames, timing)[sum(rows) - 1 :: sum(rows)]
    half = frames // 2
    return (ends[-1] - ends[half - 1]) / (frames - half)


def row_ends(rows: Sequence[int], timing: GroupTiming, arrivals: Sequence[float] = ()) -> list[float]:
    """Cycles in which each row has left, group after group, from a start with empty buffers (see :func:`steady_interval`).

    Args:
        arrivals: cycle by which each row has come; without them all rows wait at the input.
    """
    row = 0
    loaded: float = 0
    computed: float = 0
    drained: float = 0
    emitted: float = 0
    load_free: list[float] = [0, 0]
    bank_free: list[float] = [0, 0]
    order_free: list[float] = [0, 0]
    ends: list[float] = []
    rows_per_step, drain_row, emit_row = timing.rows_per_step, timing.drain_row, timing.emit_row
    for count in rows:
        loaded = max(loaded, load_free[0]) + count * timing.load_row
        if arrivals:
            for behind, arrival in enumerate(reversed(arrivals[row : row + count])):
                loaded = max(loaded, arrival + behind * timing.load_row)
            row += count
        start = max(loaded, computed, bank_free[0])
        computed = start + timing.compute
        drained = max(computed + timing.latency, drained)
        for i in range(0, count, rows_per_step):
            drained = max(drained, order_free[0]) + drain_row
            emitted = max(emitted, drained)
            for _ in range(min(rows_per_step, count - i)):
                emitted += emit_row
                ends.append(emitted)
            order_free = [order_free[1], emitted]
        load_free = [load_free[1], computed + timing.LOAD_RELEASE]
        bank_free = [bank_free[1], drained + timing.DRAIN_RELEASE]
    return ends
