"""An array: one sparse-block matrix unit on which several layers of an engine run, group of rows by group of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

import numpy as np
from onnx import NodeProto
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.mvau.block_sparse_mvau import BlockSparseMVAU, BlockSparseMVAU_rtl
from finn_vitprune.custom_ops.mvau.candidates import Matrices, drain_cycles, folded, in_style, widths
from finn_vitprune.custom_ops.mvau.choose import MatrixFolding
from finn_vitprune.custom_ops.mvau.fold import Fold, shared_fold
from finn_vitprune.custom_ops.op.base import divisors
from finn_vitprune.custom_ops.op.fifo_folding import FifoFolding
from finn_vitprune.custom_ops.op.finn_op import by_node
from finn_vitprune.custom_ops.op.folding import FOLDINGS_KEPT, Styles
from finn_vitprune.custom_ops.op.load_chain import CHAIN_BITS, LOAD_IN, LOAD_OUT, frame_rows, table_vector
from finn_vitprune.custom_ops.op.memory import Estimate, UnitMemory
from finn_vitprune.custom_ops.op.rtl_backend import SIGNALS, TAG_PINS, Beside, Pin
from finn_vitprune.custom_ops.op.shared import frame_luts, vector
from finn_vitprune.numerics import clog2
from finn_vitprune.sim.beats import Stream
from finn_vitprune.sim.contents import Region

WAYS = "vp_engine_array"
"""The module round the matrix unit."""
LOAD_BETWEEN = "load_between"
"""The load chain from the unit to that module."""
FEWEST_TOKENS = 4
"""Rows of a group, where frames have so many: each group costs the arbiter some cycles."""
FEWEST_LANES = 4
"""Of a fold that a plan looks at, where there is one: large parts of a block a cycle need fewer memories, few lanes are hard to place."""
LOADS, DRAINS = 0.5, 0.9
"""Of the lanes' cycles that rows may take to enter, and results to be drained: groups of short layers follow one another, too."""
KINDS = 12
"""Steps in which lanes of an array are divided into both kinds."""
BUFFERS, HELD = 4, 3
"""Row buffers and result banks of the unit, so that a short group waits for no long one; groups that the arbiter lets in before their turn, fewer,
so that it chooses late."""
IN_GROUPS, OUT_GROUPS = 3, 4
"""Groups of rows of which the FIFO of a port holds the largest ones, before the unit and behind it."""


class Group(NamedTuple):
    """What the unit takes as a frame: rows of a layer (by its number), ``beats`` of them, and ``results``, the beats that they become."""

    layer: int
    rows: int
    beats: int
    results: int


@dataclass(frozen=True)
class ArrayFolding(MatrixFolding):
    """The matrix unit of an array at a fold. Its rows come in whole groups, and layers take turns: ports are so wide that the lanes
    seldom wait for them."""

    @cached_property
    def each(self) -> tuple[MatrixFolding, ...]:
        return tuple(map(ArrayFolding, self.fold.each))

    @property
    def delay(self) -> int:
        """As in other units, but the rows of a group leave one after another."""
        f = self.slowest
        return min(f.rows, f.tokens) * f.timing.emit_row + super().delay

    def candidates(self, interval: int, styles: Styles, layers: Sequence[MatrixFolding] = ()) -> tuple[MatrixFolding, ...]:
        """Of each TOKENS the fold that takes most of a block a cycle and has some lanes, in all styles."""
        matrices, block = Matrices.of(self.fold), self.fold.block
        found: list[ArrayFolding] = []
        for tokens in matrices.tokens_choices():
            shapes = [(simd, pe, *matrices.lanes(simd, pe, tokens, interval)) for simd in divisors(block) for pe in divisors(block)]
            fitting = [shape for shape in shapes if shape[3] <= interval]
            if tokens >= min(FEWEST_TOKENS, max(fold.rows for fold in matrices.each)) and fitting:
                several = [shape for shape in fitting if shape[2] >= FEWEST_LANES] or fitting
                found += _in_styles(matrices, *max(several, key=lambda shape: (shape[0] * shape[1], shape[0])), tokens, styles)
        return tuple(found)


@lru_cache(maxsize=FOLDINGS_KEPT)
def _in_styles(
    matrices: Matrices, simd: int, pe: int, lanes: int, cycles: int, tokens: int, styles: Styles
) -> tuple[ArrayFolding, ...]:  # fmt: skip
    """A fold in all styles, with lanes of both kinds where there are some in LUTs and some in DSP slices."""
    fold = folded(matrices, simd, pe, tokens, lanes, *_ports(matrices, simd, pe, tokens, lanes, cycles))
    found: list[Fold] = []
    for ram in styles.ram:
        found += [in_style(fold, mac, ram) for mac in styles.mac]
        if {"dsp48e2", "lut"} <= set(styles.mac):
            found += _mixed(in_style(fold, "dsp48e2", ram))
    return tuple(map(ArrayFolding, found))


def _ports(matrices: Matrices, simd: int, pe: int, tokens: int, lanes: int, cycles: int) -> tuple[int, int]:
    """Widths of the ports: the narrowest with which all rows enter, and results are drained, in a share of the lanes' ``cycles``."""
    ins, outs = widths(matrices.sides, simd, pe, matrices.block)
    groups = matrices.groups(tokens)
    rows = tokens * sum(g * fold.mw for g, fold in zip(groups, matrices.each))

    def drained(width: int) -> float:
        return sum(g * drain_cycles(fold.mh, matrices.block, tokens, lanes, width) for g, fold in zip(groups, matrices.each))

    return (
        next((width for width in ins if rows <= width * LOADS * cycles), ins[-1]),
        next((width for width in outs if drained(width) <= DRAINS * cycles), outs[-1]),
    )


def _mixed(fold: Fold) -> list[Fold]:
    """A fold of lanes in DSP slices with some of them in LUTs, where these can be side by side."""
    counts = sorted({round(fold.lanes * i / KINDS) for i in range(1, KINDS)} - {0, fold.lanes})
    found = [shared_fold([replace(own, lut_lanes=count) for own in fold.encoders], fold.least) for count in counts]
    return [mixed for mixed in found if mixed.mac.chain == mixed.lut_mac.chain]


class VitArray(BlockSparseMVAU):
    """Y = clip(round_half_even((X W + bias) mult[c] 2^-shift)) of several layers of an engine, each with streams of its own (a port).

    A layer is an encoder's here, in what :class:`.BlockSparseMVAU` calls an encoder: ``encoders``, ``ports``, ``passes`` have for each its
    attributes, the number of its port, and the tag of the pass in which it works. Input p and output p are the rows of port p, and what
    becomes of them: frames in the order of the tags, ``engine_tags`` of which there are. Tags come last on both sides. Ports are in the order
    in which their groups go first. ``faces`` are the names of the layers' roles, by port.

    All layers have the same types of inputs and weights, blocks and folds; outputs are signed, each port's of one type.
    ``least_places``: beats that the FIFOs before and behind the unit hold at least, by port.
    """

    ATTRIBUTES = {
        "ports": ("ints", True, []), "passes": ("ints", True, []), "engine_tags": ("i", True, 0), "faces": ("strings", True, []),
        "least_places": ("ints", False, []),
    }  # fmt: skip

    @classmethod
    def of(
        cls, name: str, layers: Sequence[Sequence[BlockSparseMVAU | None]], roles: Sequence[str], inputs: Sequence[str],
        outputs: Sequence[str], frames: int,
    ) -> NodeProto:  # fmt: skip
        """The node of an array.

        Args:
            layers: of each port the op in each pass, by tag; None where it has none. roles: names of the ports.
            inputs, outputs: tensors of the ports, the tags last. frames: that are in the engine at most.
        Raises:
            UserError: the layers differ in what a unit has once.
        """
        placed = [(port, tag, op) for port, own in enumerate(layers) for tag, op in enumerate(own) if op is not None]
        node = BlockSparseMVAU_rtl.share(name, [op for _, _, op in placed], ["rows", "tags"], ["results", "tags_on"], frames)
        constants = list(node.input[2:])
        node.op_type = cls.__name__ + "_rtl"
        del node.input[:], node.output[:]
        node.input.extend([*inputs, *constants])
        node.output.extend(outputs)
        array = getCustomOp(node)
        array.set_nodeattr("buffers", BUFFERS)
        array.set_nodeattr("ports", [port for port, _, _ in placed])
        array.set_nodeattr("passes", [tag for _, tag, _ in placed])
        array.set_nodeattr("engine_tags", max(map(len, layers)))
        array.set_nodeattr("faces", list(roles))
        return node

    # --- its layers ---

    @property
    def port_count(self) -> int:
        """How many ports there are."""
        return len(self.get_nodeattr("faces"))

    @cached_property
    def layer_at(self) -> dict[tuple[int, int], int]:
        """The number of a layer by its port and the tag of its pass."""
        return {at: layer for layer, at in enumerate(zip(self.get_nodeattr("ports"), self.get_nodeattr("passes"), strict=True))}

    @property
    def any_rows(self) -> bool:
        """Whether each layer has the tags of all groups that frames of any number of rows have, as it must where that number is loaded."""
        return False

    def _unit(self, layers: Sequence[int], inputs: Sequence[str], outputs: Sequence[str]) -> NodeProto:
        """A matrix unit of some of the layers."""
        node, own = NodeProto(), VitArray.ATTRIBUTES
        node.CopyFrom(self.onnx_node)
        node.op_type = BlockSparseMVAU_rtl.__name__
        first = self.port_count + 1
        each = (len(self.onnx_node.input) - first) // self.encoders
        constants = [list(self.onnx_node.input[first + each * layer : first + each * (layer + 1)]) for layer in layers]
        texts = self.get_nodeattr("encoders")
        del node.input[:], node.output[:], node.attribute[:]
        node.input.extend([*inputs, *(name for names in constants for name in names)])
        node.output.extend(outputs)
        node.attribute.extend(a for a in self.onnx_node.attribute if a.name not in own)
        getCustomOp(node).set_nodeattr("encoders", [texts[layer] for layer in layers])
        return node

    def by_encoder(self) -> tuple[BlockSparseMVAU, ...]:
        """The layers, each as a matrix unit alone, with the unit's room."""
        node = self._unit(range(self.encoders), ["rows", "tags"], ["results", "tags_on"])
        layers = getCustomOp(node).by_encoder()
        for port, op in zip(self.get_nodeattr("ports"), layers):
            op.onnx_node.input[0], op.onnx_node.output[0] = self.onnx_node.input[port], self.onnx_node.output[port]
        return layers

    @property
    def shared(self) -> bool:
        return True

    def face(self, port: int) -> NodeProto:
        """A matrix unit with the layers of a port alone, called as they are: what the array is to those that follow one stream."""
        layers = [layer for (at, _), layer in sorted(self.layer_at.items()) if at == port]
        if len(layers) == 1:
            node = NodeProto()
            node.CopyFrom(self.by_encoder()[layers[0]].onnx_node)
        else:
            node = self._unit(layers, [self.onnx_node.input[port], self.onnx_node.input[self.port_count]], [self.onnx_node.output[port]])
        node.name = self.get_nodeattr("faces")[port]
        return node

    def groups_of(self, layer: int) -> list[Group]:
        """The groups of a frame of a layer: whole ones, one kind, and the rows that are left, where some are, or :attr:`any_rows`."""
        f, own = self.fold(), self.fold().each[layer]
        whole, rest = own.rows >= f.tokens or self.any_rows, own.rows % f.tokens
        sizes = [f.tokens] * whole + [rest or f.tokens] * (rest > 0 or self.any_rows)
        return [Group(layer, rows, rows * (own.mw // f.in_width), rows * (own.mh // f.out_width)) for rows in sizes]

    @property
    def groups(self) -> list[Group]:
        """All kinds of groups, by the tag that they have for the unit."""
        return [group for layer in range(self.encoders) for group in self.groups_of(layer)]

    @by_node
    def folding(self) -> ArrayFolding:
        return ArrayFolding(self.fold())

    def ports_of(self, values: Sequence[int]) -> list[list[int]]:
        """What layers have of something, by port."""
        return [
            [value for at, value in zip(self.get_nodeattr("ports"), values, strict=True) if at == port] for port in range(self.port_count)
        ]

    # --- as an op ---

    def in_streams(self) -> list[Stream]:
        return [*self._streams([Stream(f.rows, f.mw, f.in_width, f.x) for f in self.fold().each]), *self.tags()]

    def out_streams(self) -> list[Stream]:
        return [*self._streams([Stream(f.rows, f.mh, f.out_width, f.y) for f in self.fold().each]), *self.tags()]

    def _streams(self, of_layers: Sequence[Stream]) -> list[Stream]:
        """Of each port the largest frame."""
        found: dict[int, list[Stream]] = {}
        for port, stream in zip(self.get_nodeattr("ports"), of_layers, strict=True):
            found.setdefault(port, []).append(stream)
        return [
            replace(streams[0], tokens=max(s.tokens for s in streams), channels=max(s.channels for s in streams))
            for _, streams in sorted(found.items())
        ]

    def compute(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Refused: which layer a frame is of is told by its port and tag (:meth:`by_encoder` has the layers)."""
        raise NotImplementedError(f"{self.onnx_node.op_type} has no meaning outside of its engine")

    def get_exp_cycles(self) -> int:
        """Of an image in all layers, the lanes alone."""
        return sum(own.cycles for own in self.fold().each)

    def verify_node(self) -> list[str]:
        """Raise UserError where layers do not fit one unit, or their outputs one port."""
        super().verify_node()
        for face, kinds in zip(self.get_nodeattr("faces"), self.ports_of([f.y.name for f in self.fold().each])):
            self.require(len(set(kinds)) == 1, f"layers of {face} have outputs {', '.join(sorted(set(map(str, kinds))))}: use one type")
        return []

    # --- resources ---

    @property
    def in_depths(self) -> list[int]:
        """Beats that the FIFOs before the unit hold."""
        return self._places([IN_GROUPS * most for most in map(max, self.ports_of(self._most_beats("beats")))], 0)

    @property
    def out_depths(self) -> list[int]:
        """Beats that the FIFOs behind the unit hold."""
        return self._places([OUT_GROUPS * most for most in map(max, self.ports_of(self._most_beats("results")))], self.port_count)

    def _places(self, needed: list[int], first: int) -> list[int]:
        least = self.get_nodeattr("least_places")[first : first + self.port_count]
        return list(map(max, zip(needed, least, strict=True))) if least else needed

    def _most_beats(self, what: str) -> list[int]:
        return [max(getattr(group, what) for group in self.groups_of(layer)) for layer in range(self.encoders)]

    @property
    def _fifos(self) -> list[FifoFolding]:
        streams = zip((*self.in_streams()[:-1], *self.out_streams()[:-1]), (*self.in_depths, *self.out_depths))
        return [FifoFolding(depth, stream.width, depth, "auto") for stream, depth in streams]

    def memory_map(self) -> tuple[UnitMemory, ...]:
        return (*super().memory_map(), *(memory for fifo in self._fifos for memory in fifo.memories))

    def resources(self) -> Estimate:
        """The matrix unit, a FIFO on both sides of each port, the choice of rows, and of each port its frames, counts and comparisons."""
        f, ports = self.fold(), self.port_count
        rows = f.in_width * f.x.bitwidth() * -(-ports // 3)
        counts = 4 * max(self.in_depths + self.out_depths).bit_length() + 30
        frames = sum(frame_luts(self.get_nodeattr("frames"), *map(list, zip(*table))) for table in self._frame_tables())
        fifos = sum((fifo.resources for fifo in self._fifos), Estimate())
        return super().resources() + fifos + Estimate(LUT=rows + ports * counts + frames + 60)

    def _frame_tables(self) -> list[list[tuple[int, ...]]]:
        """By port and tag: groups of a frame; the tags of its groups and of the last one, their beats, and those of their results."""
        first, rows_of = self._first_groups, self.fold().each
        found: list[list[tuple[int, ...]]] = []
        for port in range(self.port_count):
            rows: list[tuple[int, ...]] = []
            for tag in range(self.get_nodeattr("engine_tags")):
                if (layer := self.layer_at.get((port, tag))) is None:
                    rows.append((0, 0, 0, 0, 0, 0, 0))
                    continue
                kinds, number, own = self.groups_of(layer), first[layer], rows_of[layer]
                at_last = len(kinds) - 1 if own.rows % own.tokens else 0
                whole, last = kinds[0], kinds[at_last]
                rows.append((len(own.token_groups), number, number + at_last, whole.beats, last.beats, whole.results, last.results))
            found.append(rows)
        return found

    @property
    def _first_groups(self) -> list[int]:
        """The tag of the first kind of group of each layer."""
        counts = [len(self.groups_of(layer)) for layer in range(self.encoders)]
        return [sum(counts[:layer]) for layer in range(self.encoders)]


class VitArray_rtl(BlockSparseMVAU_rtl, VitArray):
    """RTL of :class:`VitArray`: ``vp_mvau``, whose frames are groups, with ``vp_engine_array`` round it."""

    def frame_rows(self) -> list[tuple[int, int]]:
        return [(group.layer, group.rows) for group in self.groups]

    def most_rows(self) -> int:
        return max(group.rows for group in self.groups)

    @property
    def any_rows(self) -> bool:
        return bool(self.get_nodeattr("loaded"))

    def tables(self) -> dict[str, list[tuple[int, ...]]]:
        """Those of the unit by tag of a group, and what the arbiter knows of frames, by port."""
        return super().tables() | self._ways_tables()

    def _ways_tables(self) -> dict[str, list[tuple[int, ...]]]:
        return {f"groups_{port}": frame_rows(*map(list, zip(*table))) for port, table in enumerate(self._frame_tables())}

    def regions(self) -> list[Region]:
        return [*super().regions(), *map(self.table_region, self._ways_tables())]

    def load_parameters(self) -> dict[str, int | str]:
        """Parameters of the unit alone: :meth:`beside` gives the others to the ways round it."""
        ways = self._ways_tables()
        return {name: value for name, value in super().load_parameters().items() if name.lower() not in ways}

    def widen(self, other: Self) -> None:
        super().widen(other)
        self.set_nodeattr("least_places", list(map(max, zip(self._all_places, other._all_places, strict=True))))

    def move_into(self, made: Self) -> None:
        super().move_into(made)
        self.set_nodeattr("least_places", made._all_places)

    @property
    def _all_places(self) -> list[int]:
        return [*self.in_depths, *self.out_depths]

    def built_in(self) -> dict[str, int | str]:
        return super().built_in() | self._ways_parameters()

    def rtl_parameters(self) -> dict[str, int | str]:
        return super().rtl_parameters() | {"CREDITS": 1}

    def tag_queue(self) -> tuple[int, int]:
        return self.get_nodeattr("engine_tags"), self.get_nodeattr("frames")

    def top_net(self, pin: Pin) -> str:
        """The load chain goes on from the unit to what stands round it."""
        return LOAD_BETWEEN if pin.name == LOAD_OUT and self.get_nodeattr("loaded") else super().top_net(pin)

    def _ways_parameters(self) -> dict[str, int | str]:
        """Parameters of what stands round the unit, but for the frames of a network."""
        f, ports = self.fold(), self.port_count
        ins, outs = self.in_streams()[:-1], self.out_streams()[:-1]
        loaded = {"LOADED": 1, "UNIT": self.onnx_node.name} if self.get_nodeattr("loaded") else {}
        return {
            "PORTS": ports, "ENCODERS": self.get_nodeattr("engine_tags"), "FRAMES": self.get_nodeattr("frames"), "GROUPS": len(self.groups),
            "BEAT_W": (max(self._all_places) + 4).bit_length(), "HELD": HELD, "COUNT_W": max(1, clog2(-(-f.rows // f.tokens))),
            "IN_BITS": ins[0].width, "OUT_ELEMS": f.out_width, "OUT_BITS": f.y.bitwidth(),
            "PORT_BITS": vector([s.dtype.bitwidth() for s in outs]), "IN_DEPTHS": vector(self.in_depths), "OUT_DEPTHS": vector(self.out_depths),
        } | loaded  # fmt: skip

    def stream_pins(self) -> list[str]:
        """The unit's streams end at the ways round it."""
        return [f".{top}_{signal}({wire}_{signal})" for top, wire in (("in0", "rows"), ("out0", "results")) for signal in SIGNALS]

    def tag_pins(self) -> list[str]:
        return [f".{pin}({net})" for pin, net in zip(TAG_PINS, ("group", "group_valid", "freed"))]

    def beside(self) -> list[Beside]:
        """The ways round the unit, too."""
        f, ports = self.fold(), self.port_count
        ins, outs = self.in_streams()[:-1], self.out_streams()[:-1]
        row_bits, result_bits = ins[0].tdata_bits, replace(outs[0], dtype=f.y).tdata_bits
        groups = max(1, clog2(len(self.groups)))
        parameters = self._ways_parameters()
        loaded = bool(self.get_nodeattr("loaded"))
        if not loaded:
            parameters["SHAPES"] = table_vector([row for table in self._ways_tables().values() for row in table])
        wires = {f"{wire}_{signal}": 1 for wire in ("rows", "results") for signal in ("tvalid", "tready")}
        wires |= {"rows_tdata": row_bits, "results_tdata": result_bits, "group": groups, "group_valid": 1, "freed": 1}
        spare = {f"spare_{p}": result_bits - s.tdata_bits for p, s in enumerate(outs) if s.tdata_bits < result_bits}
        taken = {p: f"spare_{p}, " if f"spare_{p}" in spare else "" for p in range(ports)}
        pins = [".clk(ap_clk)", ".rst_n(rst_n)", *(f".{pin}({pin})" for pin in TAG_PINS)]
        for kind in ("in", "out"):
            for signal in SIGNALS:
                nets = [(taken[p] if (kind, signal) == ("out", "tdata") else "") + f"{kind}{p}_V_{signal}" for p in reversed(range(ports))]
                pins.append(f".{kind}_{signal}({{{', '.join(nets)}}})")
        pins += [f".{name}({name})" for name in wires]
        before, after = (LOAD_BETWEEN, LOAD_OUT) if loaded else (f"{CHAIN_BITS}'d0", "")
        pins += [f".{LOAD_IN}({before})", f".{LOAD_OUT}({after})"]
        between = {LOAD_BETWEEN: CHAIN_BITS} if loaded else {}
        return [*super().beside(), Beside(WAYS, "ways", parameters, pins, wires | spare | between)]
