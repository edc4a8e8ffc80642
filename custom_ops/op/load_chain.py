"""What units have in common that stand on the load chain, through which memories are loaded (docs/loading.md)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np

from finn_vitprune.custom_ops.op.memory import Estimate, Holds, UnitMemory, lutram_luts
from finn_vitprune.custom_ops.op.netlist import StitchedPin
from finn_vitprune.custom_ops.op.rtl_backend import STAGES_A_BORDER, Beside, Memory, Pin, VitRTLBackend
from finn_vitprune.custom_ops.op.shared import SharedOp, vector
from finn_vitprune.custom_ops.op.structure import UnitParts
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import WORD_BITS, Region, fill_file

CHAIN_BITS = WORD_BITS + 2
"""A word, valid, start."""
LOAD_IN, LOAD_OUT = "load_in", "load_out"
DELAY, LATER = "vp_delay", "load_later"
"""The module of the registers before the top, and the wire behind them."""
TABLE = "numbers by encoder"
"""What the memory of a table is called."""
BANK = "@"
"""Between the name of a memory and the number of its bank."""
SPARE_SHIFTS = 2
"""Shifts more and less that a unit of a loadable design is made for than its networks have: other networks have other scales."""


class LoadChainBackend(VitRTLBackend):
    """RTL half of a unit whose top has the pins ``load_in`` and ``load_out``.

    ``load_from`` is the node before on the chain, "" for none. ``load_stages`` registers stand before the top: two keep
    the units on both sides of a border between two SLRs apart.
    """

    STAGES_IN_TOP: ClassVar[bool] = False
    """Whether the top has these registers itself."""

    ATTRIBUTES = {"load_from": ("s", False, ""), "load_stages": ("i", False, STAGES_A_BORDER)}

    @property
    def on_load_chain(self) -> bool:
        """Whether this node has the pins that its top has."""
        return True

    def beside(self) -> list[Beside]:
        if self.STAGES_IN_TOP or not self.on_load_chain:
            return super().beside()
        pins = [".clk(ap_clk)", ".rst_n(rst_n)", f".in({LOAD_IN})", f".out({LATER})"]
        parameters = {"WIDTH": CHAIN_BITS, "LENGTH": self.get_nodeattr("load_stages")}
        return [*super().beside(), Beside(DELAY, "load", parameters, pins, {LATER: CHAIN_BITS})]

    def top_net(self, pin: Pin) -> str:
        return LATER if pin.name == LOAD_IN and not self.STAGES_IN_TOP else super().top_net(pin)

    def side_pins(self) -> list[Pin]:
        if not self.on_load_chain:
            return []
        return [Pin("input", LOAD_IN, CHAIN_BITS), Pin("output", LOAD_OUT, CHAIN_BITS)]

    def tied_pins(self) -> list[str]:
        return [] if self.on_load_chain else [f".{LOAD_IN}({CHAIN_BITS}'d0)", f".{LOAD_OUT}()"]

    def made_of(self) -> UnitParts:
        """With :meth:`load_parts`."""
        made = super().made_of()
        return replace(made, units=(*made.units, *self.load_parts())) if self.on_load_chain else made

    def load_parts(self) -> tuple[UnitParts, ...]:
        """What a unit on the chain has beside its own: registers before the top (``stages``, bits), and what loads its regions: ``hops``, bits
        of ``data`` that they keep, of ``places`` and of ``banks``, and of the ``table`` of a single word.
        """
        return (UnitParts.of("load", {"stages": CHAIN_BITS * self.get_nodeattr("load_stages")}),)

    def code_generation_ipi(self) -> list[str]:
        before, here = self.get_nodeattr("load_from"), self.onnx_node.name
        if not (self.on_load_chain and before):
            return super().code_generation_ipi()
        return [*super().code_generation_ipi(), f"connect_bd_net [get_bd_pins {before}/{LOAD_OUT}] [get_bd_pins {here}/{LOAD_IN}]"]


class LoadedBackend(LoadChainBackend):
    """RTL half of a unit whose contents are built in, or with ``loaded`` = 1 come through the load chain.

    Contents are all that a network decides and the hardware's size does not hang on: memories, and tables of numbers by encoder.
    The top has the parameters ``LOADED`` and ``UNIT``, a parameter for each table by its name, and regions in the order of
    :meth:`regions`.
    """

    ATTRIBUTES = {"loaded": ("i", False, 0, {0, 1})}

    @abstractmethod
    def tables(self) -> Mapping[str, Sequence[Sequence[int]]]:
        """Numbers by encoder, by the name of the table: a row of non-negative integers below 2**32 an encoder."""

    def regions(self) -> list[Region]:
        """All that can be loaded, in the order of the chain. The default is for units that have tables alone."""
        return [self.table_region(name) for name in self.tables()]

    def banks(self, model) -> dict[str, list[Memory]]:
        """The banks of the memories, tables aside, by the region's name."""
        return {}

    def fit(self, model) -> None:
        """Take from the constants what the unit's sizes hang on."""

    def widen(self, other: Self) -> None:
        """Make room for what ``other`` is loaded with, the same unit of another network: it is then made for both."""

    def move_into(self, made: Self) -> None:
        """Be the unit ``made`` of a design, as far as that has the room; where it has not, ``rtl_parameters`` differ from those of ``made``.

        What ``made`` is planned for stays: this network may be slower in it than in a design of its own.
        """
        self.widen(made)

    def spare(self, model) -> None:
        """Make room for networks that are not at hand: scales that differ by :data:`SPARE_SHIFTS` either way, any number of tokens up to
        the most that the unit is made for.

        Args:
            model: has the constants.
        """

    def is_loaded(self, memory: str) -> bool:
        """Whether the region of that name is loaded."""
        return bool(self.get_nodeattr("loaded"))

    def fixed_part(self, index: int, values: np.ndarray) -> np.ndarray:
        return values[:0] if self.get_nodeattr("loaded") else values

    @property
    def on_load_chain(self) -> bool:
        """Whether something is loaded."""
        return bool(self.get_nodeattr("loaded"))

    def tag_queue(self) -> tuple[int, int] | None:
        return (self.encoders, self.get_nodeattr("frames")) if isinstance(self, SharedOp) else super().tag_queue()

    def loaded_regions(self) -> list[Region]:
        return [region for region in self.regions() if self.is_loaded(region.memory)] if self.on_load_chain else []

    def loaded_banks(self, model) -> list[list[Memory]]:
        banks = self.banks(model) | {name: [table_memory(rows)] for name, rows in self.tables().items()}
        return [banks[region.memory] for region in self.loaded_regions()]

    def memories(self, model) -> dict[str, Memory]:
        """Those that are not loaded; a bank of several has its number behind the name."""
        if self.get_nodeattr("loaded"):
            return {}
        built_in = {name: banks for name, banks in self.banks(model).items() if not self.is_loaded(name)}
        return {
            f"{name}{BANK}{i:02d}" if len(banks) > 1 else name: bank for name, banks in built_in.items() for i, bank in enumerate(banks)
        }

    def memory_file(self, suffix: str) -> str:
        """Bare file name of a memory; a bank has its number in front, where the top can put it."""
        name, _, bank = suffix.partition(BANK)
        file = fill_file(self.onnx_node.name, name) if self.is_loaded(name) else super().memory_file(name)
        return f"{bank}_{file}" if bank else file

    def resources(self) -> Estimate:
        return super().resources() + self.loading()

    def loading(self) -> Estimate:
        """Where all is loaded: RAMs in the place of ROMs, a hop for each region, and tables."""
        used = Estimate()
        if not self.get_nodeattr("loaded"):
            return used
        for memory in self.memory_map():
            if self._written(memory) and memory.style != "ultra":
                used += replace(memory, rom=False).resources + -1 * memory.resources
        tables = self.tables()
        for region in self.regions():
            width = _used_width(region, tables)
            if region.memory in tables and region.words > 1:
                used += Estimate(LUT=lutram_luts(region.words, width))
            used += hop_estimate(region.words, width)
        return used

    def made_of(self) -> UnitParts:
        """With RAMs in the place of ROMs that are loaded."""
        return self._with_rams(super().made_of()) if self.get_nodeattr("loaded") else super().made_of()

    def _with_rams(self, unit: UnitParts) -> UnitParts:
        memories = tuple(replace(memory, rom=False) if self._written(memory) else memory for memory in unit.memories)
        return replace(unit, memories=memories, units=tuple(map(self._with_rams, unit.units)))

    def _written(self, memory: UnitMemory) -> bool:
        """Whether a memory has its contents from the chain."""
        return memory.rom and self.is_loaded(memory.name)

    def load_parts(self) -> tuple[UnitParts, ...]:
        (chain,) = super().load_parts()
        names = self.tables()
        regions = [(region, _used_width(region, names)) for region in self.loaded_regions()]
        tables = [(region.words, width) for region, width in regions if region.memory in names]
        parts = {
            "hops": len(regions), "data": sum(width for _, width in regions), "banks": sum(region.banks for region, _ in regions),
            "places": sum(region.parts + 2 * clog2(region.words) for region, _ in regions),
            "table": sum(width for words, width in tables if words == 1),
        }  # fmt: skip
        memories = tuple(UnitMemory(Holds.TABLE, TABLE, words, width, "distributed") for words, width in tables if words > 1)
        return (replace(chain, parts=(*chain.parts, *parts.items()), memories=memories),)

    def table_region(self, name: str) -> Region:
        """The region of a table."""
        rows = self.tables()[name]
        return Region(self.onnx_node.name, name, len(rows), WORD_BITS * len(rows[0]), 1)

    def load_parameters(self) -> dict[str, int | str]:
        """Parameters of the top for what can be loaded: where it is loaded, or what is built in."""
        if self.get_nodeattr("loaded"):
            return {"LOADED": 1, "UNIT": self.onnx_node.name}
        return {name.upper(): table_vector(rows) for name, rows in self.tables().items()}


class CountingBackend(LoadedBackend):
    """RTL half of a unit without sizes but those of its counters. ``most_tokens``, ``most_channels``: of a frame that it is made for at
    least.
    """

    ATTRIBUTES = {"most_tokens": ("i", False, 0), "most_channels": ("i", False, 0)}

    @property
    def most(self) -> Stream:
        """The largest frame that the unit is made for."""
        source = self.source
        sizes = {name: max(getattr(source, name), self.get_nodeattr(f"most_{name}")) for name in ("tokens", "channels")}
        return replace(source, **sizes)

    def widen(self, other: Self) -> None:
        for name in ("tokens", "channels"):
            self.set_nodeattr(f"most_{name}", max(getattr(op.most, name) for op in (self, other)))


def frame_rows(steps: Sequence[int], *numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """The table of a ``vp_engine_frame``: frames of so many steps by encoder, none where that is 0, and further numbers by encoder."""
    return [(int(n == 0), int(n == 1), max(0, n - 2), *further) for n, *further in zip(steps, *numbers, strict=True)]


def table_memory(rows: Sequence[Sequence[int]]) -> Memory:
    """A word an encoder; its first number is highest, as in a packed struct."""
    return Memory(np.array([table_vector([row]) for row in rows], object), WORD_BITS * len(rows[0]))


def table_vector(rows: Sequence[Sequence[int]]) -> int:
    """A parameter of the words of :func:`table_memory`, the first encoder's lowest."""
    return vector([number for row in rows for number in reversed(row)], WORD_BITS)


def chain_pins(pins: Mapping[str, Sequence[Pin]], ring: bool) -> dict[str, list[StitchedPin]]:
    """What the pins of units are at, in the order of the chain: net ``load_0`` comes to the first, ``load_<n>`` from the n-th; in a
    ring what leaves the last comes back to the first. A pin that is not of the chain is at a net of its own name.

    Args:
        pins: of each unit, by its name; units without those of the chain are not on it.
    """
    chain = [name for name, of_unit in pins.items() if any(pin.name == LOAD_IN for pin in of_unit)]
    nets: dict[str, dict[str, str]] = {name: {} for name in pins} | {
        name: {LOAD_IN: f"load_{i}", LOAD_OUT: f"load_{(i + 1) % len(chain) if ring else i + 1}"} for i, name in enumerate(chain)
    }
    return {
        name: [StitchedPin(pin.name, nets[name].get(pin.name, pin.name), pin.bits) for pin in of_unit] for name, of_unit in pins.items()
    }


def _used_width(region: Region, tables: Container[str]) -> int:
    """Bits of a word that the unit looks at: of the numbers of tables a third."""
    return region.width // 3 if region.memory in tables else region.width


def hop_estimate(words: int, width: int) -> Estimate:
    """``vp_load_hop``: what is kept and forwarded, the place of the next word, an enable for each part of a memory word.

    Banks cost registers alone.
    """
    return Estimate(LUT=5 + clog2(words) // 2 + -(-width // WORD_BITS))
