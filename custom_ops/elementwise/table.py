"""What units with a table of narrow codes have in common: the table, a copy of it for each element of a beat that leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from qonnx.core.datatype import BaseDataType

from finn_vitprune.custom_ops.op.base import UnaryStreamOp
from finn_vitprune.custom_ops.op.folding import StreamFolding, Styles, thriftiest, used_by
from finn_vitprune.custom_ops.op.load_chain import CountingBackend, frame_rows
from finn_vitprune.custom_ops.op.memory import Holds, UnitMemory
from finn_vitprune.custom_ops.op.rtl_backend import Memory
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region

STYLES = ("auto", "block", "distributed")
"""Where tables can be; auto is where Vivado puts them."""


@dataclass(frozen=True)
class TableFolding(StreamFolding):
    """A unit with a table, at a fold that says where the table is, too."""

    def in_memories(self, styles: Styles) -> tuple[TableFolding, ...]:
        kept = tuple(pair for pair in self.fold if pair[0] != "ram_style")
        folds = [replace(self, fold=(*kept, ("ram_style", style))) for style in styles.ram if style in STYLES and style != "auto"]
        return tuple(folds[i] for i in thriftiest(used_by(folds, styles.family)))


class TableOp(SharedOp, UnaryStreamOp):
    """A unit that looks codes of x up. Initialiser: a table ``[2**bits]`` of :attr:`entries`, smallest code of x first."""

    token_wise = True
    ENCODER_ATTRIBUTES = ("tokens", "channels")
    ATTRIBUTES = {"ram_style": ("s", False, "distributed", set(STYLES))}

    @property
    def entries(self) -> BaseDataType:
        """Type of an entry."""
        return self.target.dtype

    def in_streams(self) -> list[Stream]:
        return [self.source, *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [self.target, *self.tags()]

    def looked_up(self, codes: np.ndarray, table: np.ndarray) -> np.ndarray:
        """The entries of codes of x."""
        return table.reshape(-1)[codes - int(self.source.dtype.min())]

    def folding(self) -> TableFolding:
        """The unit at its present fold, as frozen data."""
        found = super().folding()
        assert isinstance(found, StreamFolding)
        return TableFolding(found.op, found.given, found.choices, found.fold)

    def _rom(self) -> tuple[int, int, str]:
        """Entries, bits and style of one copy of the tables of all encoders."""
        return self.encoders << self.source.dtype.bitwidth(), self.entries.bitwidth(), self.get_nodeattr("ram_style")

    def memory_map(self) -> tuple[UnitMemory, ...]:
        """A copy of the table for each element of a beat that leaves."""
        return (UnitMemory(Holds.TABLE, "table", *self._rom(), count=self.target.simd, rom=True),)

    def handshake_luts(self) -> int:
        """What counts the beats of a frame."""
        return self.frame_luts([op.source.beats for op in self.by_encoder()], range(self.encoders))


class TableBackend(CountingBackend, TableOp):
    """RTL of a :class:`TableOp`."""

    def table_parameters(self) -> dict[str, int | str]:
        """Parameters of the module that say what encoders share, where the tables are, and how they are loaded."""
        return {
            "ENCODERS": self.encoders,
            "COUNT_W": max(1, clog2(self.most.beats)),
            "TABLE_FILE": self.memory_file("table"),
            "STYLE": self.get_nodeattr("ram_style"),
            **self.load_parameters(),
        }

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Beats of a frame."""
        return {"shapes": frame_rows([op.source.beats for op in self.by_encoder()])}

    def regions(self) -> list[Region]:
        depth, bits, _ = self._rom()
        return [*super().regions(), Region(self.onnx_node.name, "table", depth, bits, 1)]

    def banks(self, model) -> dict[str, list[Memory]]:
        """The tables, the first encoder's first."""
        tables = [op.table(model) for op in self.by_encoder()]
        return {"table": [Memory.packed(np.concatenate(tables), self.entries.bitwidth())]}

    def table(self, model) -> np.ndarray:
        """The table of one encoder, ``[2**bits, 1]``.

        Raises:
            UserError: it has other entries than the types allow.
        """
        table = np.rint(model.get_initializer(self.onnx_node.input[1])).reshape(-1, 1)
        entries, depth = self.entries, 1 << self.source.dtype.bitwidth()
        held = len(table) == depth and entries.min() <= table.min() and table.max() <= entries.max()
        found = f"{len(table)} from {table.min():g} to {table.max():g}"
        self.require(held, f"the table must have {depth} entries of {entries.name}, it has {found}")
        return table
