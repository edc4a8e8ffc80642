"""Token embedding: class token (and other prefix tokens) in front, position embedding added."""

from __future__ import annotations

import numpy as np
from qonnx.core.datatype import DataType

from finn_vitprune.custom_ops.op.base import VitOp
from finn_vitprune.custom_ops.op.fifo_folding import credit_fifo_luts
from finn_vitprune.custom_ops.op.load_chain import LoadedBackend
from finn_vitprune.custom_ops.op.memory import TABLE_MEMORY, Estimate, Holds, RowRom, UnitMemory, lutram_luts
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.numerics import int_range
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region


class VitTokenEmbed(VitOp):
    """y = clip(concat(prefix, x) + positions).

    x ``[tokens_in, channels]``, prefix rows ``[prefix, channels]``, positions ``[prefix + tokens_in,
    channels]`` and y ``[prefix + tokens_in, channels]``, all of one signed type (INT16). ``ram_style`` auto
    puts tables of more than 64 beats into block RAM.
    """

    ATTRIBUTES = {
        "tokens_in": ("i", True, 0),
        "prefix": ("i", False, 1),
        "channels": ("i", True, 0),
        "SIMD": ("i", False, 1),
        "inputDataType": ("s", False, "INT16"),
        "ram_style": ("s", False, "auto", {"auto", "block", "distributed"}),
    }

    def _stream(self, tokens: int) -> Stream:
        get = self.get_nodeattr
        return Stream(tokens, get("channels"), get("SIMD"), DataType[get("inputDataType")])

    def in_streams(self) -> list[Stream]:
        return [self._stream(self.get_nodeattr("tokens_in"))]

    def out_streams(self) -> list[Stream]:
        return [self._stream(self.get_nodeattr("tokens_in") + self.get_nodeattr("prefix"))]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        x, prefix, positions = inputs
        rows = np.broadcast_to(
            prefix.reshape(self.get_nodeattr("prefix"), x.shape[-1]), (*x.shape[:-2], self.get_nodeattr("prefix"), x.shape[-1])
        )
        bits = self.out_streams()[0].dtype.bitwidth()
        return [np.clip(np.concatenate([rows, x], axis=-2) + positions, *int_range(bits, signed=True))]

    def pass_times(self, inputs: list[TokenTimes]) -> list[TokenTimes]:
        """The prefix enters once the first patch is there, a beat a cycle, and the patches behind it."""
        (patches,), beats, cycles = inputs, self.in_streams()[0].token_beats, self.beat_cycles()
        there = TokenTimes((patches.first[0],) * self.get_nodeattr("prefix"), (patches.first[0],) * self.get_nodeattr("prefix"))
        return [there.then(patches).served(beats, cycles)]

    def beat_cycles(self) -> int:
        """The input register, a read of the table, the sum's register, write and read of the FIFO."""
        return self._rom().latency + 4

    def pause_beats(self, inputs: list[TokenTimes]) -> int:
        """Beats of the prefix: patches come while it leaves, and their source may have no time to make up for it."""
        return self.get_nodeattr("prefix") * self.in_streams()[0].token_beats

    def _rom(self) -> RowRom:
        """The table of rows."""
        stream = self.out_streams()[0]
        style = TABLE_MEMORY.style(stream.beats, stream.width, self.get_nodeattr("ram_style"))
        return RowRom(stream.beats, stream.width, style)

    def memory_map(self) -> tuple[UnitMemory, ...]:
        rom = self._rom()
        return (UnitMemory(Holds.TABLE, "prefix and positions", rom.words, rom.width, rom.style, rom=True, in_rows=True),)

    def resources(self) -> Estimate:
        """Per bit: input register, sum, saturation; table, counter, output FIFO."""
        stream = self.out_streams()[0]
        luts = 3 * stream.width + stream.simd + (stream.beats - 1).bit_length() + 3
        places = self._rom().latency + 4
        luts += lutram_luts(places, stream.width) + credit_fifo_luts(places)
        return self.memory_map()[0].resources + Estimate(LUT=luts)

    def made_of(self) -> UnitParts:
        stream = self.out_streams()[0]
        waiting = UnitMemory(Holds.FIFO, "beats at the output", self._rom().latency + 4, stream.width, "distributed")
        return UnitParts.of("embed", {"one": 1, "bits": stream.width}, memories=(*self.memory_map(), waiting))


class VitTokenEmbed_rtl(LoadedBackend, VitTokenEmbed):
    """RTL of :class:`VitTokenEmbed`: the table holds prefix + position for the rows that are constant."""

    RTL_TOP = "vp_token_embed"

    def rtl_parameters(self) -> dict[str, int | str]:
        stream, rom = self.in_streams()[0], self._rom()
        return {
            "SIMD": stream.simd,
            "BITS": stream.dtype.bitwidth(),
            "TOKENS_IN": stream.tokens,
            "PREFIX": self.get_nodeattr("prefix"),
            "TOKEN_BEATS": stream.token_beats,
            "ROWS_FILE": self.memory_file("rows"),
            "STYLE": rom.style,
            "RAM_ROW": rom.row,
            "LATENCY": rom.latency,
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """None: the tokens are the part's alone."""
        return {}

    def regions(self) -> list[Region]:
        rom = self._rom()
        return [Region(self.onnx_node.name, "rows", rom.row, rom.rows * rom.width, 1)]

    def banks(self, model) -> dict[str, list[Memory]]:
        """The rows, as many side by side as the RAM has."""
        prefix, positions = (np.rint(model.get_initializer(name)).astype(np.int64) for name in self.onnx_node.input[1:3])
        stream = self.out_streams()[0]
        zeros = np.zeros((self.get_nodeattr("tokens_in"), stream.channels), np.int64)
        rows = self.compute(zeros, prefix, positions)[0]
        held = np.array_equal(rows[-len(zeros) :], positions.reshape(rows.shape)[-len(zeros) :])
        found = f"{positions.min()} to {positions.max()}"
        self.require(held, f"positions must fit {stream.dtype.name}, they are {found}")
        rom = self._rom()
        return {"rows": [Memory.packed(rom.side_by_side(rows.reshape(-1, stream.simd)), stream.dtype.bitwidth())]}
