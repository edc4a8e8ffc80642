"""Memory contents of the sparse-block matrix unit: weights, the two programs, biases and multipliers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from finn_vitprune.block_mask import BlockMask, pad_to_block
from finn_vitprune.custom_ops.mvau.balance import Schedule
from finn_vitprune.custom_ops.mvau.fold import WRAP_AHEAD, Fold
from finn_vitprune.custom_ops.op.rtl_backend import Memory, pack_words
from finn_vitprune.numerics import clog2


def lane_contents(f: Fold, plan: Schedule, weights: np.ndarray) -> tuple[Memory, list[Memory]]:
    """Program of the lanes, an entry a word, and the banks of their weights.

    Order in a lane: its column parts; in a part the groups of PE outputs; in a group the kept sub_blocks of
    the part (one program entry each); in an entry the weight words of its steps. Each position of the arrays'
    cascades has its bank.
    """
    kept = np.repeat(BlockMask.of(weights, f.block).grid, f.sub_blocks, axis=0)
    rows, columns, groups = (np.zeros((f.lanes, f.program_entries), dtype=np.int64) for _ in range(3))
    used, last = (np.zeros((f.lanes, f.program_entries), dtype=bool) for _ in range(2))
    position = [0] * f.lanes
    for part in plan.parts:
        part_rows = np.flatnonzero(kept[:, part.column])[part.first : part.first + part.count]
        start, size = position[part.lane], part.count * f.groups
        span = slice(start, start + size)
        rows[part.lane, span] = np.tile(part_rows, f.groups)
        columns[part.lane, span] = part.column
        groups[part.lane, span] = np.repeat(np.arange(f.groups), part.count)
        used[part.lane, span] = True
        last[part.lane, start + part.count - 1 : start + size : part.count] = True
        position[part.lane] = start + size

    bits = f.x_index_bits
    fields = (last.astype(np.int64) << bits) | rows * f.entry_steps
    program = pack_words(fields.T, 1 + bits)
    length, width = f.entries, f.lanes * (1 + bits) + 1
    program[length - 1] |= 1 << (width - 1)

    tiles = (
        pad_to_block(weights, f.block)
        .reshape(f.block_rows * f.sub_blocks, f.entry_steps, f.simd, f.block_columns, f.groups, f.pe)
        .transpose(0, 3, 4, 1, 5, 2)
    )  # [sub-block, block column, output group, step, PE, SIMD]
    words = tiles[rows, columns, groups] * used[..., None, None, None]
    chain = f.mac.chain
    words = words.transpose(1, 2, 0, 3, 4).reshape(-1, f.lanes * f.pe, chain, f.simd // chain)
    words = np.pad(words, [(0, f.weight_words), (0, 0), (0, 0), (0, 0)])[: f.weight_words]
    banks = [words[:, :, i].reshape(f.weight_words, -1) for i in range(chain)]
    return cyclic(program[:length], f.program_entries, width), [Memory.packed(bank, f.w.bitwidth()) for bank in banks]


def drain_contents(f: Fold, plan: Schedule) -> Memory:
    """Program of the drain: for each ``DRAIN_WIDTH`` outputs in channel order, the parts to add.

    What a program of a shared unit lacks in length are parts that add nothing, before the first.
    """
    sub_bits = max(1, clog2(f.r_elems // f.drain_width))
    lane_bits = max(1, clog2(f.lanes))
    words = []
    for column in range(f.block_columns):
        parts = plan.column_parts(column)
        for offset in range(0, min(f.block, f.mh - column * f.block), f.drain_width):
            place, inside = divmod(offset, f.r_elems)
            sub = inside // f.drain_width
            fields = [(0, p.lane, p.slot * (f.block // f.r_elems) + place) for p in parts] or [(1, 0, 0)]
            for i, (none, lane, word) in enumerate(fields):
                head = ((i == len(fields) - 1) << 1) | none
                words.append((((head << sub_bits | sub) << lane_bits | lane) << f.r_word_bits) | word)
    width = 3 + sub_bits + lane_bits + f.r_word_bits
    nothing = 1 << (width - 3)
    words = [nothing] * (f.least_entries - len(words)) + words
    words[-1] |= 1 << (width - 1)
    return cyclic(words, f.drain_entries, width)


def cyclic(words, depth: int, width: int) -> Memory:
    """A program that ``vp_mvau_program`` runs over and over: shorter ones repeat, the flag of its end stands above the words."""
    program = np.tile(np.array(words, dtype=object), -(-WRAP_AHEAD // len(words)))
    program[-WRAP_AHEAD] |= 1 << width
    return Memory(pad_words(program, depth), width + 1)


def constant_contents(f: Fold, bias: np.ndarray, mult: np.ndarray | None) -> Memory:
    """Biases (low) and multipliers (high) of ``DRAIN_WIDTH`` outputs a word."""
    size = f.drain_width
    words = pack_words(bias.reshape(-1, size), f.bias_bits)
    width = size * f.bias_bits
    if mult is not None:
        words |= pack_words(mult.reshape(-1, size), f.mult_bits) << width
        width += size * f.mult_bits
    return Memory(pad_words(words, f.constants), width)


def behind_one_another(memories: Sequence[Memory]) -> Memory:
    """One memory with the words of all ``memories``, which are equally wide."""
    return Memory(np.concatenate([memory.words for memory in memories]), memories[0].width)


def pad_words(words, depth: int) -> np.ndarray:
    """``words`` followed by zeros up to ``depth``."""
    padded = np.zeros(depth, dtype=object)
    padded[: len(words)] = words
    return padded
