"""Rotary position embedding: pairs of neighbouring channels of queries or keys, turned by an angle of the token."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Self

import numpy as np
from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.base import OneToken, StreamOp, divisors
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, RowRom, UnitMemory, lutram_luts
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp, frame_luts
from finn_vitprune.custom_ops.op.structure import ProductGroup, UnitParts
from finn_vitprune.numerics import ROTARY_BITS, ROTARY_ONE, rotary
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region

MULTIPLY, ROUND, FIFO = 3, 2, 2
"""Cycles of a product, of the sum and its rounding, and of the FIFO at the output."""


class VitRotary(SharedOp, StreamOp):
    """y_2i = clip(rhe((x_2i c_i - x_2i+1 s_i) 2**-8)), y_2i+1 = clip(rhe((x_2i+1 c_i + x_2i s_i) 2**-8)) of the first ``rotated`` channels.

    x and y ``[tokens, channels]`` are of one signed type of at most 8 bits; the channels from ``rotated`` on pass unchanged.
    Initialiser: the table ``[tokens, table_channels]``, c_0, s_0, c_1, s_1, ... of every token as codes of -256 to 256
    (256 is 1). It serves channels ``[0, table_channels)`` and again every further ``table_channels`` of the rotated ones: a head, or all
    heads if their tables differ. The first ``prefix`` tokens are not turned: c 256, s 0. SIMD is even and divides
    ``table_channels``. ``ram_style`` auto puts tables of more than 64 words into block RAM. :func:`numerics.rotary` is the specification.

    Encoders whose table is one constant read one ``table`` of the unit, whose number it is. ``room``, set by :meth:`by_encoder` alone, is
    how many codes all tables of the unit have. ``least``: codes of all tables, channels of a token and of a table that the unit is made for
    at least.
    """

    ATTRIBUTES = {
        "SIMD": ("i", False, 2),
        "rotated": ("i", True, 0),
        "table_channels": ("i", True, 0),
        "prefix": ("i", False, 0),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
        "table": ("i", False, 0),
        "room": ("i", False, 0),
        "least": ("ints", False, []),
    }
    ENCODER_ATTRIBUTES = ("tokens", "channels", "rotated", "table_channels", "prefix", "table")

    @classmethod
    def share(cls, name: str, ops: Sequence[Self], inputs: Sequence[str], outputs: Sequence[str], frames: int = 4) -> NodeProto:
        """As :meth:`.SharedOp.share`; ops with one constant share a table."""
        node = super().share(name, ops, inputs, outputs, frames)
        tables = list(dict.fromkeys(op.onnx_node.input[1] for op in ops))
        unit = getCustomOp(node)
        own = zip(unit.get_nodeattr("encoders"), ops, strict=True)
        unit.set_nodeattr("encoders", [json.dumps(json.loads(text) | {"table": tables.index(op.onnx_node.input[1])}) for text, op in own])
        return node

    def by_encoder(self) -> tuple[Self, ...]:
        ops = super().by_encoder()
        if self.shared:
            room = sum(op.codes for op in _with_tables(ops))
            for op in ops:
                op.set_nodeattr("room", room)
        return ops

    @property
    def codes(self) -> int:
        """Of the table of one encoder."""
        return self.get_nodeattr("tokens") * self.get_nodeattr("table_channels")

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def verify_node(self) -> list[str]:
        """Raise a UserError where sizes do not fit each other; an empty list when all is well."""
        for op in self.by_encoder():
            op.verify_sizes()
        return []

    def verify_sizes(self) -> None:
        """:meth:`verify_node` of one encoder."""
        get, source = self.get_nodeattr, self.source
        rotated, turn = get("rotated"), get("table_channels")
        self.require(source.dtype.signed() and source.dtype.bitwidth() <= 8, f"codes of {source.dtype.name}: use INT2 to INT8")
        self.require(0 < rotated <= source.channels, f"the first {rotated} of {source.channels} channels are rotated: use 1 or more")
        self.require(turn > 0 and turn % 2 == 0 and rotated % turn == 0, f"a table of {turn} channels for {rotated}: use an even divisor")
        self.require(source.simd in self.widths, f"SIMD {source.simd}: use {', '.join(map(str, self.widths))}")
        self.require(0 <= get("prefix") <= source.tokens, f"prefix {get('prefix')} of {source.tokens} tokens")

    @property
    def widths(self) -> Sequence[int]:
        """Whole pairs, of one part of the table."""
        sizes = [op.get_nodeattr(name) for op in self.by_encoder() for name in ("channels", "rotated", "table_channels")]
        common = math.gcd(*sizes)
        return tuple(width for width in divisors(common) if width % 2 == 0)

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, table = inputs
        rotated = self.get_nodeattr("rotated")
        table = table.reshape(self.get_nodeattr("tokens"), -1)
        whole = np.tile(table, rotated // table.shape[-1])
        turned = rotary(x[..., :rotated], whole[:, ::2], whole[:, 1::2], self.source.dtype.bitwidth())
        return [np.concatenate([turned, x[..., rotated:]], axis=-1)]

    def one_token(self, index: int) -> OneToken | None:
        """A token of the prefix passes unchanged; of another one the unit does not know the row."""
        return OneToken((0,)) if index < self.get_nodeattr("prefix") else None

    def beat_cycles(self) -> int:
        """A read of the table, the products, the sum and its rounding, the FIFO."""
        return self._rom().latency + MULTIPLY + ROUND + FIFO

    @property
    def places(self) -> int:
        """Beats under way and in the FIFO at the output."""
        return self.beat_cycles() + 1

    @property
    def made_for(self) -> tuple[int, int, int]:
        """Codes of all tables, most channels of a token and of a table."""
        ops = self.by_encoder()
        channels, tables = ([op.get_nodeattr(name) for op in ops] for name in ("channels", "table_channels"))
        own = self.get_nodeattr("room") or sum(op.codes for op in _with_tables(ops)), max(channels), max(tables)
        codes, channel, table = map(max, zip(own, self.get_nodeattr("least") or own))
        return codes, channel, table

    def _rom(self) -> RowRom:
        """The tables of all encoders, a word a beat."""
        words = self.made_for[0] // self.source.simd
        width = self.source.simd * ROTARY_BITS
        return RowRom(words, width, TABLE_MEMORY.style(words, width, self.get_nodeattr("ram_style")))

    @property
    def passes(self) -> bool:
        """Whether some channels of an encoder pass unchanged."""
        return any(op.get_nodeattr("rotated") < op.source.channels for op in self.by_encoder())

    def memory_map(self) -> tuple[UnitMemory, ...]:
        rom = self._rom()
        return (UnitMemory(Holds.TABLE, "cosines and sines", rom.words, rom.width, rom.style, rom=True, in_rows=True),)

    def resources(self) -> Estimate:
        """Per element the rounding and saturation of a sum (itself in a DSP), c and s of what passes; the table, its address, the FIFO."""
        source, rom = self.source, self._rom()
        bits = source.dtype.bitwidth()
        lane = 2 * bits + 6 + (2 if self.passes else 0)
        address = 3 * (rom.words - 1).bit_length() + (source.token_beats - 1).bit_length() + 6
        logic = Estimate(LUT=source.simd * lane + address, DSP=2 * source.simd)
        logic += Estimate(LUT=lutram_luts(self.places, source.width) + credit_fifo_luts(self.places))
        return self.memory_map()[0].resources + logic + Estimate(LUT=self.shared_luts())

    def shared_luts(self) -> int:
        """What counts beats and tokens of each encoder, and where its table begins."""
        if not self.shared:
            return 0
        rows = list(zip(*self.shapes()))
        return frame_luts(self.get_nodeattr("frames"), [1] * self.encoders, *rows) + (self._rom().words - 1).bit_length()

    def shapes(self) -> list[tuple[int, ...]]:
        """Numbers of each encoder, in words: where its table begins and its last token's part begins there; beats of a token, how many of
        them are turned, and words for a token, the first and the last less one.
        """
        ops, simd = self.by_encoder(), self.source.simd
        tables = _with_tables(ops)
        starts = dict(zip((op.get_nodeattr("table") for op in tables), accumulate((op.codes for op in tables), initial=0)))
        found: list[tuple[int, ...]] = []
        for op in ops:
            get, words = op.get_nodeattr, op.get_nodeattr("table_channels") // simd
            start, end = starts[get("table")] // simd, (get("tokens") - 1) * words
            found.append((start, end, op.source.token_beats - 1, get("rotated") // simd, words - 1))
        return found

    def made_of(self) -> UnitParts:
        source, bits = self.source, self.source.dtype.bitwidth()
        waiting = UnitMemory(Holds.FIFO, "beats at the output", self.places, source.width, "distributed")
        products = (ProductGroup(2 * source.simd, bits, ROTARY_BITS),)
        factors = 2 * source.simd * (bits + ROTARY_BITS)
        parts = {"one": 1, "factors": factors, "sums": source.simd * (bits + ROTARY_BITS + 1), "codes": source.width}
        parts["shared"] = self.encoders * self.shared
        return UnitParts.of("rotary", parts, products, (*self.memory_map(), waiting))


def _with_tables(ops: Sequence[VitRotary]) -> list[VitRotary]:
    """The first of the ops with each table, in the order of the tables."""
    return sorted({op.get_nodeattr("table"): op for op in reversed(ops)}.values(), key=lambda op: op.get_nodeattr("table"))


class VitRotary_rtl(LoadedBackend, VitRotary):
    """RTL of :class:`VitRotary`."""

    RTL_TOP = "vp_rotary"

    def rtl_parameters(self) -> dict[str, int | str]:
        self.verify_node()
        source, rom, (_, channels, table) = self.source, self._rom(), self.made_for
        return {
            "SIMD": source.simd,
            "BITS": source.dtype.bitwidth(),
            "ENCODERS": self.encoders,
            "WORDS": rom.words,
            "TOKEN_BEATS": channels // source.simd,
            "TABLE_BEATS": table // source.simd,
            "PASSES": int(self.passes),
            "TABLE_FILE": self.memory_file("turns"),
            "STYLE": rom.style,
            "RAM_ROW": rom.row,
            "LATENCY": rom.latency,
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        return {"shapes": self.shapes()}

    def regions(self) -> list[Region]:
        rom = self._rom()
        return [*super().regions(), Region(self.onnx_node.name, "turns", rom.row, rom.rows * rom.width, 1)]

    def banks(self, model) -> dict[str, list[Memory]]:
        """The words of the tables, as many side by side as the RAM has.

        Raises:
            UserError: a table has another size, a code beyond one, or turns a token of the prefix.
        """
        self.verify_node()
        rom, words = self._rom(), np.concatenate([op.turns(model) for op in _with_tables(self.by_encoder())])
        words = np.pad(words, ((0, rom.words - len(words)), (0, 0)))
        return {"turns": [Memory.packed(rom.side_by_side(words), ROTARY_BITS)]}

    def widen(self, other: VitRotary) -> None:
        self.set_nodeattr("least", list(map(max, zip(self.made_for, other.made_for))))

    def turns(self, model) -> np.ndarray:
        """The words of the table of one encoder, ``[words, SIMD]``."""
        table = np.rint(model.get_initializer(self.onnx_node.input[1])).astype(np.int64)
        self.require(table.size == self.codes, f"the table has {table.size} entries, there must be {self.codes}")
        self.require(np.abs(table).max() <= ROTARY_ONE, f"codes of the table are {table.min()} to {table.max()}, use -256 to 256")
        prefix = table.reshape(self.get_nodeattr("tokens"), -1, 2)[: self.get_nodeattr("prefix")]
        self.require(bool(np.all(prefix == (ROTARY_ONE, 0))), "the table turns a token of the prefix: it must be 256, 0 there")
        return table.reshape(-1, self.source.simd)
