"""The hardware of an engine: one unit of each role for all of its encoders, connected as the layers of an encoder are.

The body of an engine is the flat graph of its encoders. Where a role is in some encoders only, the others pass it: a token
selection selects all tokens; token drops are units of their own, one an encoder, between a switch and a merge of the streams.
The last encoder's Q, for the class token alone, and its KV become one QKV, of whose queries the split passes the first. Where it does not turn
its query, the table of a rotation turns nothing for it.

All matrices may be on one unit, an array, which then has a port for each role; in the graph they go round in circles through it.

Where the patch embedding is a pass of one of the other units, a merge before that unit takes patches from the entry, and a switch behind it
gives what it makes of them to the token embedding, from which a frame goes to encoder 0 by the way back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.block_mask import BlockMask
from finn_vitprune.custom_ops.engine.array import VitArray
from finn_vitprune.custom_ops.engine.engine import SINK, SOURCE, VitEngine, rename_tensors
from finn_vitprune.custom_ops.engine.times import engine_cycles
from finn_vitprune.custom_ops.op.base import VitOp, divisors
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.registry import make_node
from finn_vitprune.custom_ops.tokens.select_token import REST
from finn_vitprune.numerics import ROTARY_ONE
from finn_vitprune.sim.beats import Stream
from finn_vitprune.transforms.engines.bind import ARRAY, BEFORE, EMBEDS, SAME_UNIT, BoundUnit
from finn_vitprune.transforms.streams.edges import StreamEdge, stream_edges
from finn_vitprune.transforms.streams.insert_fifos import InsertFifos, SetFifoDepths
from finn_vitprune.transforms.streams.insert_width_converters import InsertWidthConverters
from finn_vitprune.transforms.streams.node_names import kind_of

ENTRY, EXIT = "entry", "exit"
"""The ends of an engine, as roles."""
SPLIT, DROP, SELECT, ROTARY, FORK = "VitSplit", "VitTokenDrop", "VitSelectToken", "VitRotary", "VitFork"
PASSES = (SELECT, ROTARY)
"""Op types of units that pass frames of encoders without their role."""
WHOLE_FRAMES = ("attention", "attention add", "MLP add")
"""Roles behind FIFOs that hold a whole frame: of queries, and of the residual."""

MOST_PATCH_CODES = 32
"""Codes of patches that enter an engine a cycle, at most."""

End = tuple[str, int]
"""A role, and the number of one of its streams."""


def engine_units(engine: VitEngine) -> GraphProto:
    """The units of an engine, with FIFOs and converters; constants that the body lacks are in it.

    Raises:
        UserError: its encoders cannot share a unit; the text says in what they differ.
    """
    return _Units(engine).graph()


def bind_units(engine: VitEngine) -> None:
    """Give an engine the units that its folds make, and the interval that they have."""
    if engine.embeds:
        engine.set_nodeattr("patch_SIMD", _patch_width(engine))
    engine.set_graph("units", engine_units(engine))
    engine.set_nodeattr("interval", math.ceil(engine_cycles(engine.structure).interval))


def _patch_width(engine: VitEngine) -> int:
    """Codes a beat from outside: as many as the unit of the patch embedding takes, or a part of them that is wide enough."""
    role = shares_of(engine)
    (unit, *_) = next(ops for name, ops in role_ops(engine, engine.body) if name == role)
    return max(width for width in divisors(unit.get_nodeattr("in_width")) if width <= MOST_PATCH_CODES)


def role_depths(engine: VitEngine) -> dict[str, list[int]]:
    """The FIFO depths in beats at the inputs of each role, and of the FIFO at the entry."""
    units = _Units(engine)
    return {name: list(role.depths) for name, role in units.roles.items()} | {ENTRY: [units.batch_beats]}


def role_ops(engine: VitEngine, body: ModelWrapper) -> Iterator[tuple[str, list[VitOp]]]:
    """The roles of the units of an engine, and the ops of ``body``, its flat graph, that work as each: those on an array have one."""
    nodes = {node.name: node for node in body.graph.node}
    array, on_array = engine.get_nodeattr("array"), []
    for role, encoders in json.loads(engine.get_nodeattr("roles")):
        ops = [getCustomOp(nodes[name]) for names in encoders for name in names]
        if role in array:
            on_array += ops
        else:
            yield role, ops
    if on_array:
        yield array_role(engine), on_array


def array_role(engine: VitEngine) -> str:
    """The role of the unit of all matrices."""
    return ARRAY + EMBEDS * (BEFORE[0] in engine.get_nodeattr("array"))


def shares_of(engine: VitEngine) -> str:
    """The partition of an engine, as :func:`.bind` has it."""
    return next((role for role, _ in role_ops(engine, engine.body) if role == ARRAY or role.endswith(EMBEDS)), "")


def unit_name(engine: VitEngine, role: str) -> str:
    """The name of the unit of a role, in folding files too."""
    return f"{engine.onnx_node.name}_{role.replace(' ', '_')}"


def switch_name(drops: str) -> str:
    """The name of the switch before the token drops of a role, whose unit is called ``drops``."""
    return f"{drops}_switch"


@dataclass(frozen=True)
class _Role:
    """What stands for a role: its op in each encoder (None where that lacks it), and the FIFO depths at its inputs in beats."""

    name: str
    ops: tuple[VitOp | None, ...]
    depths: tuple[int, ...]

    @property
    def kind(self) -> str:
        return kind_of(next(op for op in self.ops if op is not None).onnx_node)


class _Units:
    def __init__(self, engine: VitEngine) -> None:
        self.engine, self.body = engine, engine.body.transform(SetFifoDepths())
        self.nodes = {node.name: node for node in self.body.graph.node}
        self.bound = [BoundUnit(role, tuple(map(tuple, names))) for role, names in json.loads(engine.get_nodeattr("roles"))]
        self.encoders = len(self.bound[0].nodes) - engine.embeds
        """Without the pass before them, whose column in the roles is the last."""
        self.least_depths: dict[str, list[int]] = json.loads(engine.get_nodeattr("least_depths") or "{}")
        self.frames = engine.batch
        self.array: list[str] = engine.get_nodeattr("array")
        self.constants: dict[str, np.ndarray] = {}
        self.tables: dict[str, np.ndarray] = {}
        """Different tables of rotations, by the first constant that has them."""
        self.edges = self._edges()
        self.roles = {unit.role: self._role(unit) for unit in self.bound}
        self.held = 2 * self.frames
        """Tags that wait at a unit, at most."""
        self.batch_beats = max([self.frames * engine.in_streams()[0].beats, *self.least_depths.get(ENTRY, [])])
        """Of a batch that waits for encoder 0."""

    # --- what the roles are ---

    def _role(self, unit: BoundUnit) -> _Role:
        ops = [self._op(unit, e) for e in self._columns(unit)]
        depths = [list(op.get_nodeattr("inFIFODepths")) for op in ops if op is not None]
        inputs = max(len(op.in_streams()) for op in ops if op is not None)
        least = self.least_depths.get(unit.role, [])
        depth = [max([d[i] for d in (*depths, least) if i < len(d)], default=2) for i in range(inputs)]
        if unit.role in WHOLE_FRAMES:
            slot = self._whole_slot(unit.role)
            depth[slot] = max(depth[slot], *(op.in_streams()[slot].beats for op in ops if op is not None))
        return _Role(unit.role, tuple(ops), tuple(depth))

    def _columns(self, unit: BoundUnit) -> Sequence[int]:
        """The encoders of a unit; the pass before them of one that works in it, and that alone of one that no encoder has."""
        if not any(unit.nodes[: self.encoders]):
            return (self.encoders,)
        return range(len(unit.nodes) if unit.role.endswith(EMBEDS) else self.encoders)

    def _whole_slot(self, role: str) -> int:
        """The input of a role before which a whole frame waits: the queries, or the residual, which comes past the others."""
        if role == "attention":
            return 0
        slots = {slot: source for (source, _), (sink, slot) in self.edges if sink == role}
        return next(slot for slot, source in slots.items() if kind_of(self._first(source).onnx_node) in (FORK, SELECT))

    def _first(self, role: str) -> VitOp:
        unit = next(unit for unit in self.bound if unit.role == role)
        return getCustomOp(self.nodes[next(names for names in unit.nodes if names)[0]])

    def _op(self, unit: BoundUnit, encoder: int) -> VitOp | None:
        """The op of a role in an encoder; what an encoder without it has in its place, where that is an op."""
        names = unit.nodes[encoder]
        if len(names) > 1:
            return self._queries_keys_values(*(getCustomOp(self.nodes[name]) for name in names))
        kind = kind_of(self._first(unit.role).onnx_node)
        if names:
            op = getCustomOp(self.nodes[names[0]])
            return self._with_common_table(op) if kind == ROTARY else op
        if kind == SELECT:
            return self._changed(self._first(unit.role), tokens=self._stream_at(unit.role, encoder).tokens, index=0, count=REST)
        if kind == ROTARY:
            return self._unturned(unit.role, encoder)
        if kind == SPLIT:
            qkv = next(u for u in self.bound if u.role == SAME_UNIT["KV"])
            q, kv = sorted((getCustomOp(self.nodes[name]) for name in qkv.nodes[encoder]), key=lambda op: op.get_nodeattr("MH"))
            channels = [op.get_nodeattr("MH") for op in (q, kv)]
            return self._changed(
                self._first(unit.role),
                tokens=kv.get_nodeattr("tokens"),
                channels=sum(channels),
                first=channels[0],
                first_tokens=q.get_nodeattr("tokens"),
            )
        return None

    def _queries_keys_values(self, *ops: VitOp) -> VitOp:
        """Q for one token and KV for all as one matrix for all."""
        q, kv = sorted(ops, key=lambda op: op.get_nodeattr("MH"))
        values = [np.concatenate(parts, axis=-1) for parts in zip(*(self._initialisers(op) for op in (q, kv)))]
        op = self._changed(kv, MH=sum(op.get_nodeattr("MH") for op in ops))
        op.set_nodeattr("column_blocks", BlockMask.of(values[0], op.get_nodeattr("block")).column_counts)
        for i, value in enumerate(values, start=1):
            name = f"{op.onnx_node.input[i]}_with_queries"
            self.constants[name] = value
            op.onnx_node.input[i] = name
        return op

    def _with_common_table(self, op: VitOp) -> VitOp:
        """A copy of a rotation that reads the first constant with its table: equal tables are one in a unit."""
        copy, own = self._changed(op), self.body.get_initializer(op.onnx_node.input[1])
        for name, table in self.tables.items():
            if np.array_equal(table, own):
                copy.onnx_node.input[1] = name
                return copy
        self.tables[op.onnx_node.input[1]] = own
        return copy

    def _unturned(self, role: str, encoder: int) -> VitOp:
        """A rotation that passes all tokens of an encoder."""
        stream, name = self._stream_at(role, encoder), f"{_word(role)}_of_encoder_{encoder}"
        self.constants[name] = np.tile(np.array([ROTARY_ONE, 0], np.float32), (stream.tokens, stream.channels // 2))
        sizes = {"rotated": stream.channels, "table_channels": stream.channels, "prefix": stream.tokens}
        op = self._changed(self._first(role), tokens=stream.tokens, channels=stream.channels, **sizes)
        op.onnx_node.input[1] = name
        return op

    def _initialisers(self, op: VitOp) -> list[np.ndarray]:
        return [self.body.get_initializer(name) for name in op.onnx_node.input[1:]]

    def _changed(self, op: VitOp, **attributes: int) -> VitOp:
        """A copy of an op with other attributes."""
        node = NodeProto()
        node.CopyFrom(op.onnx_node)
        copy = getCustomOp(node)
        for name, value in attributes.items():
            copy.set_nodeattr(name, value)
        return copy

    def _stream_at(self, role: str, encoder: int) -> Stream:
        """The stream that feeds a role in an encoder."""
        source = next(source for source, (sink, slot) in self.edges if sink == role and slot == 0)
        op = self._op(next(unit for unit in self.bound if unit.role == source[0]), encoder)
        assert op is not None  # what feeds a role that an encoder lacks has an op in all
        return op.out_streams()[source[1]]

    # --- how they are connected ---

    def _edges(self) -> list[tuple[End, End]]:
        """Streams between roles, entry and exit, each sink once."""
        role_of = {name: unit.role for unit in self.bound for names in unit.nodes for name in names}
        encoder_of = {name: e for unit in self.bound for e, names in enumerate(unit.nodes) for name in names}
        merged = {name for unit in self.bound for names in unit.nodes if len(names) > 1 for name in names}
        plain = {name for name in role_of if name not in merged}
        sources: dict[End, set[End]] = {}
        edges = stream_edges(self.body)
        copies = self._copies([edge for edge in edges if edge.consumer.name in role_of], role_of)
        for edge in edges:
            ends = edge.producer.name, edge.consumer.name
            if not all(name in plain for name in ends) or encoder_of[ends[0]] == self.encoders:
                continue  # what the pass before the encoders makes has ways of its own
            same = encoder_of[ends[0]] == encoder_of[ends[1]]
            if same:
                output = copies.get((ends[0], edge.output), edge.output)
                sources.setdefault((role_of[ends[1]], edge.input), set()).add((role_of[ends[0]], output))
            else:
                sources.setdefault((role_of[ends[1]], edge.input), set()).add((ENTRY, 0))
                sources.setdefault((EXIT, 0), set()).add((role_of[ends[0]], edge.output))
        return [(self._deepest(found, sources), sink) for sink, found in sources.items()]

    def _copies(self, edges: Sequence[StreamEdge], role_of: dict[str, str]) -> dict[tuple[str, int], int]:
        """Which copy of its unit an output of a fork is: the one that the same role reads in other encoders."""
        known: dict[str, dict[End, int]] = {}
        found: dict[tuple[str, int], int] = {}
        for name in dict.fromkeys(edge.producer.name for edge in edges if kind_of(edge.producer) == FORK and edge.producer.name in role_of):
            own = {edge.output: (role_of[edge.consumer.name], edge.input) for edge in edges if edge.producer.name == name}
            read = known.setdefault(role_of[name], {})
            swapped = any(read.get(sink, output) != output for output, sink in own.items())
            for output, sink in own.items():
                found[name, output] = read.setdefault(sink, 1 - output if swapped else output)
        return found

    def _deepest(self, found: set[End], sources: dict[End, set[End]]) -> End:
        """Of the sources of a stream in several encoders, the one behind all others: where it is missing its input passes."""

        def ahead(end: End) -> set[End]:
            above = sources.get((end[0], 0), set())
            return above | {e for a in above for e in ahead(a)} if end[0] != ENTRY else set()

        return next(end for end in found if found - {end} <= ahead(end))

    # --- the graph ---

    def graph(self) -> GraphProto:
        """Units, tags through those that take them, FIFOs and converters, entry, exit and the way back."""
        name = self.engine.onnx_node.name
        tensors = {source: f"{name}_{_word(source[0])}_{source[1]}" for source, _ in self.edges}
        forked = [source for source, _ in self.edges]
        if len(set(forked)) != len(forked):
            raise ValueError(f"{name}: a stream of its encoders is read twice")
        inputs = {sink: tensors[source] for source, sink in self.edges}
        self.made: list[NodeProto] = []
        self.tags = f"{name}_tags_0"
        outside, patches = [SOURCE, f"{name}_back", f"{name}_waiting"], [f"{name}_patches"] if self.engine.embeds else []
        self._add(self._port("Entry", name, outside, [tensors[ENTRY, 0], f"{name}_outside", *patches, self.tags]))
        if self.engine.embeds:
            self._fork_tags(name)
        for role in self._sorted():
            if role.name.endswith(EMBEDS):
                self._embedding(role, inputs[role.name, 0], tensors[role.name, 0])
                continue
            if role.name in self.array:
                if role.name == next(other.name for other in self._sorted() if other.name in self.array):
                    self._array(inputs, tensors)
                continue
            ins = [inputs[role.name, i] for i in range(len(role.depths))]
            outs = [tensors.get((role.name, i), f"{name}_{_word(role.name)}_{i}") for i in range(self._outputs(role))]
            (self._drops if role.kind == DROP else self._unit)(role, ins, outs)
        self._add(self._port("Exit", name, [inputs[EXIT, 0], self.tags], [SINK, f"{name}_turn"]))
        if self.engine.embeds:
            self._return(name)
        return self._with_streams(name)

    # --- the pass before the encoders ---

    def _fork_tags(self, name: str) -> None:
        """Two chains of tags: one through what works in the pass before the encoders, too, the other through all else."""
        self.all_tags, entry = f"{name}_all_tags_0", self.tags
        self._next_tags()
        self._add(make_node(
            "VitTagFork_rtl", [entry], [self.all_tags, self.tags], name=f"{name}_tag_fork", left_out=self.encoders,
        ))  # fmt: skip

    def _embedding(self, role: _Role, source: str, sink: str) -> None:
        """The unit of the patch embedding, between a merge and a switch; then the token embedding."""
        name, engine = unit_name(self.engine, role.name), self.engine.onnx_node.name
        others, self.tags, self.held = self.tags, self.all_tags, 3 * self.frames  # the tag of encoder 0 is there before that pass is over
        ops = [op for op in role.ops if op is not None]
        (came, *_), (left, *_) = zip(*((op.in_streams()[0], op.out_streams()[0]) for op in ops))
        rows, branches = [op.in_streams()[0] for op in ops], [0] * self.encoders + [1]
        whole, made, embedded = f"{name}_rows", f"{name}_made", f"{engine}_embedded"
        tags = self.tags
        merge = make_node(
            "VitMerge_rtl", [source, f"{engine}_patches", tags], [whole, self._next_tags()], name=f"{name}_merge",
            tokens=[row.tokens for row in rows], row_channels=[row.channels for row in rows], branches=branches,
            channels=came.channels, SIMD=came.simd, inputDataType=came.dtype.name, frames=self.held,
        )  # fmt: skip
        getCustomOp(merge).set_nodeattr("inFIFODepths", [role.depths[0], 2, 2])
        self._add(merge)
        self._unit(replace(role, depths=(2,)), [whole], [made])
        self._switch(f"{name}_switch", made, [sink, embedded], left, [op.out_streams()[0].tokens for op in ops], branches, 2)
        self.all_tags, self.tags, self.held = self.tags, others, 2 * self.frames
        self._unit(self.roles[BEFORE[1]], [embedded], [f"{engine}_frame"])

    # --- all matrices on one unit ---

    def _array(self, inputs: dict[End, str], tensors: dict[End, str]) -> None:
        """The array, in the chain of tags that the patch embedding is in, where it is on the array; then the token embedding."""
        engine, embeds = self.engine.onnx_node.name, self.engine.embeds
        passes = self.encoders + embeds
        layers: list[list[Any]] = []
        ins, outs = [], []
        for name in self.array:
            role, outside = self.roles[name], name == BEFORE[0]
            layers.append([None] * (passes - 1) + list(role.ops) if outside else list(role.ops) + [None] * embeds)
            ins.append(f"{engine}_patches" if outside else inputs[name, 0])
            outs.append(f"{engine}_embedded" if outside else tensors[name, 0])
        others = self.tags
        if embeds:
            self.tags, self.held = self.all_tags, 3 * self.frames
        faces = [unit_name(self.engine, name) for name in self.array]
        tags = self.tags
        node = VitArray.of(
            unit_name(self.engine, array_role(self.engine)), layers, faces, [*ins, tags], [*outs, self._next_tags()], self.held
        )  # fmt: skip
        getCustomOp(node).set_nodeattr("inFIFODepths", [*(self.roles[name].depths[0] for name in self.array), 2])
        self._add(node)
        if embeds:
            self.all_tags, self.tags, self.held = self.tags, others, 2 * self.frames
            self._unit(self.roles[BEFORE[1]], [f"{engine}_embedded"], [f"{engine}_frame"])

    def _return(self, name: str) -> None:
        """Frames for encoder 0 from the token embedding, for all others from the exit, on one way back."""
        ends, starts = self.made[-1], self.roles[BEFORE[1]].ops[0]
        assert starts is not None  # its only op
        tokens = getCustomOp(ends).get_nodeattr("tokens")
        get = self.engine.get_nodeattr
        self._add(make_node(
            "VitMerge_rtl", [f"{name}_turn", f"{name}_frame", self.all_tags], [f"{name}_return"], name=f"{name}_return_merge",
            tokens=[*tokens[:-1], 0, starts.out_streams()[0].tokens], branches=[0] * self.encoders + [1], channels=get("channels"),
            SIMD=get("SIMD"), inputDataType=get("inputDataType"), frames=3 * self.frames, ends_tags=1,
        ))  # fmt: skip

    def _outputs(self, role: _Role) -> int:
        return max(len(op.out_streams()) for op in role.ops if op is not None)

    def _sorted(self) -> list[_Role]:
        """Roles, each behind those that feed it."""
        done, waiting = {ENTRY}, {name: role for name, role in self.roles.items() if name not in BEFORE}
        found = []
        while waiting:
            ready = [name for name in waiting if all(source[0] in done for source, sink in self.edges if sink[0] == name)]
            for name in ready:
                found.append(waiting.pop(name))
                done.add(name)
        return found

    def _unit(self, role: _Role, inputs: list[str], outputs: list[str]) -> None:
        ops = [op for op in role.ops if op is not None]
        name = unit_name(self.engine, role.name)
        if isinstance(ops[0], SharedOp):
            node = type(ops[0]).share(name, ops, [*inputs, self.tags], [*outputs, self._next_tags()], self.held)
        else:
            tokens = {"tokens": max(op.get_nodeattr("tokens") for op in ops)} if len(ops) > 1 else {}
            node = self._changed(ops[0], **tokens).onnx_node
            node.name = name
            constants = list(node.input[len(ops[0].in_streams()) :])
            del node.input[:], node.output[:]
            node.input.extend([*inputs, *constants])
            node.output.extend(outputs)
        tagged = [2] * (len(node.output) - len(outputs))  # the tags need no FIFO
        getCustomOp(node).set_nodeattr("inFIFODepths", [*role.depths, *tagged])
        self._add(node)

    def _next_tags(self) -> str:
        number = int(self.tags.rsplit("_", 1)[1])
        self.tags = f"{self.tags.rsplit('_', 1)[0]}_{number + 1}"
        return self.tags

    def _drops(self, role: _Role, inputs: list[str], outputs: list[str]) -> None:
        """Token drops side by side, one an encoder that has one, and a way past them for the others."""
        name, (rows, scores) = unit_name(self.engine, role.name), inputs
        drops = [(e, op) for e, op in enumerate(role.ops) if op is not None]
        passing = len(drops) < self.encoders
        branch = {e: i + passing for i, (e, _) in enumerate(drops)}
        branches = [branch.get(e, 0) for e in range(self.encoders)]
        x, s = drops[0][1].in_streams()
        tokens = [self._stream_at(role.name, e).tokens for e in range(self.encoders)]
        ways = [f"{name}_way_{i}" for i in range(len(drops) + passing)]
        self._switch(switch_name(name), rows, ways, x, tokens, branches, role.depths[0])
        score_ways = [f"{name}_scores_{i}" for i in range(len(drops))]
        self._switch(
            f"{name}_score_switch",
            scores,
            score_ways,
            s,
            [op.in_streams()[1].tokens if op else 0 for op in role.ops],
            [max(0, b - passing) for b in branches],
            role.depths[1],
        )
        ends = [ways[0]] if passing else []
        for i, (_, op) in enumerate(drops):
            node = self._changed(op).onnx_node
            node.name = f"{name}_{i}"
            del node.input[:], node.output[:]
            ends.append(f"{name}_end_{i}")
            node.input.extend([ways[i + passing], score_ways[i]])
            node.output.append(ends[-1])
            getCustomOp(node).set_nodeattr("inFIFODepths", [2, 2])
            self._add(node)
        leaving = [op.out_streams()[0].tokens if op else tokens[e] for e, op in enumerate(role.ops)]
        tags = self.tags
        self._add(make_node(
            "VitMerge_rtl", [*ends, tags], [*outputs, self._next_tags()], name=f"{name}_merge", tokens=leaving, branches=branches,
            channels=x.channels, SIMD=x.simd, inputDataType=x.dtype.name, frames=self.held,
        ))  # fmt: skip

    def _switch(self, name: str, source: str, ways: Sequence[str], stream, tokens: list[int], branches: list[int], depth: int) -> None:
        tags = self.tags
        node = make_node(
            "VitSwitch_rtl", [source, tags], [*ways, self._next_tags()], name=name, tokens=tokens, branches=branches,
            channels=stream.channels, SIMD=stream.simd, inputDataType=stream.dtype.name, frames=self.held,
        )  # fmt: skip
        getCustomOp(node).set_nodeattr("inFIFODepths", [depth, 2])
        self._add(node)

    def _port(self, end: str, name: str, inputs: list[str], outputs: list[str]) -> NodeProto:
        get = self.engine.get_nodeattr
        sink = next(sink for source, sink in self.edges if source[0] == ENTRY)
        source = next(source for source, sink in self.edges if sink[0] == EXIT)
        role, port = sink if end == "Entry" else source
        ops = [op for op in self.roles[role].ops if op is not None]  # of every encoder: all have it
        streams = [(op.in_streams() if end == "Entry" else op.out_streams())[port] for op in ops]
        patches = {}
        if self.engine.embeds and end == "Entry":
            patches = {"patches": get("tokens_in")} | {what: get(what) for what in ("patch_channels", "patch_SIMD", "patchDataType")}
        return make_node(
            f"VitEngine{end}_rtl", inputs, outputs, name=f"{name}_{end.lower()}", tokens=[s.tokens for s in streams],
            channels=get("channels"), SIMD=get("SIMD"), inputDataType=get("inputDataType"), batch=self.frames, **patches,
        )  # fmt: skip

    def _add(self, node: NodeProto) -> None:
        """A unit; its name tells its role."""
        name = self.engine.onnx_node.name
        node.doc_string = f"{self.title}, {node.name.removeprefix(name + '_').replace('_', ' ')}"
        self.made.append(node)

    @property
    def title(self) -> str:
        """What reports call the engine."""
        encoders = self.engine.get_nodeattr("encoders")
        return f"engine of encoders {encoders[0]} to {encoders[self.encoders - 1]}"

    def _with_streams(self, name: str) -> GraphProto:
        """FIFOs and converters between the units, and the two FIFOs that close a circle: that of the way back, and at the entry."""
        model = ModelWrapper(helper.make_model(helper.make_graph(self.made, name, [], [])))
        for node in model.graph.node:
            op = getCustomOp(node)
            for tensors, streams in ((node.input, op.in_streams()), (node.output, op.out_streams())):
                for tensor, stream in zip(tensors, streams):
                    model.set_tensor_shape(tensor, list(stream.shape))
                    model.set_tensor_datatype(tensor, stream.dtype)
        units = {node.name for node in model.graph.node}
        for inserted in (InsertFifos(), InsertWidthConverters()):
            model = model.transform(inserted, cleanup=not self.array)  # qonnx sorts nodes, which go in circles through an array
        entry = next(node for node in model.graph.node if node.op_type == "VitEngineEntry_rtl")
        port = getCustomOp(entry)
        circles = [
            make_node(
                "VitFIFO_rtl", [f"{name}_{source}"], [f"{name}_{sink}"], name=f"{name}_{place}", tokens=stream.tokens,
                channels=stream.channels, SIMD=stream.simd, depth=depth, inputDataType=stream.dtype.name,
                doc_string=f"{self.title}, {place.replace('_', ' ')}",
            )
            for place, source, sink, stream, depth in (
                ("way_back", "return" if self.engine.embeds else "turn", "back", port.stream, self.frames * port.stream.beats),
                ("batch", "outside", "waiting", port.outside, self.batch_beats),
            )
        ]  # fmt: skip
        between = [node for node in model.graph.node if node.name not in units]
        model.graph.node.extend(circles)
        for node in between:
            behind, tensor = model.find_consumer(node.output[0]), node.output[0]
            while behind in between:
                behind, tensor = model.find_consumer(behind.output[0]), behind.output[0]
            slot = list(behind.input).index(tensor)
            node.name = f"{behind.name}_{kind_of(node)}_{slot}"
            word = "FIFO" if getCustomOp(node).is_buffer else "width converter"
            node.doc_string = f"{behind.doc_string} input {slot} {word}"
        graph, tensors = model.graph, {t for node in between for t in (*node.input, *node.output)}
        rename_tensors(graph, {tensor: f"{name}_{tensor}" for tensor in tensors if tensor.startswith("inner_")})
        graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in self.constants.items())
        return graph


def _word(role: str) -> str:
    """A role as a part of a Verilog name."""
    return role.replace(" ", "_")
