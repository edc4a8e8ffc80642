"""When frames pass an engine: its units followed pass by pass, token by token.

A pass is a frame in an encoder. Passes enter in the order of the entry: of a batch all frames in encoder 0, then all in encoder 1,
... Every unit says when its tokens leave, given when they come (``pass_times``), and gives no token of a pass sooner than its
pace allows after the last one of the pass before (``get_exp_cycles`` of the pass, evenly). FIFOs are taken as deep enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from operator import is_
from typing import NamedTuple

from onnx import ModelProto, NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.array import VitArray
from finn_vitprune.custom_ops.engine.array_times import ArrayTimes
from finn_vitprune.custom_ops.engine.ports import VitEngineEntry, VitEngineExit
from finn_vitprune.custom_ops.engine.switch import VitMerge, VitSwitch
from finn_vitprune.custom_ops.op.base import StreamOp, VitOp
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.token_times import LATE, TokenTimes
from finn_vitprune.errors import UserError
from finn_vitprune.sim.beats import Stream

PORT_CYCLES = 2
"""From a beat at the entry, or the exit, to the same one at its output: two skids."""
FEED_CYCLES = 1
"""From a beat that comes from outside to the same one at the FIFO of the entry."""
BEGIN_CYCLES = 1
"""More at the entry for the beat with which a frame of encoder 0 may begin."""
TURN_CYCLES = 3
"""Cycles between the last beat of a frame at the entry and the first one of the next."""

PASSING = VitEngineExit | VitSwitch | VitMerge
"""What frames pass as they come."""

Times = dict[str, TokenTimes]
Streams = dict[str, Stream]
"""What passes in an encoder, by tensor."""


@dataclass(frozen=True)
class EngineCycles:
    """Cycles of an engine: ``interval`` of images that wait, mean of a batch; ``latency`` of a lone one, first beat in to last beat out."""

    interval: float
    latency: int


@dataclass(frozen=True)
class UnitPass:
    """A pass through a unit: its node's name, the encoder (from 0) and when its first and its last token left."""

    unit: str
    encoder: int
    first: float
    last: float


class EngineNode:
    """A node of the hardware, and what it is in each encoder: None where no frame passes it.

    Args:
        passing: what passes in each encoder before the node; what it gives is added.
    """

    def __init__(self, node: NodeProto, passing: Sequence[Streams]) -> None:
        self.node, self.op = node, getCustomOp(node)
        shared = self.op.by_encoder() if isinstance(self.op, SharedOp) and self.op.shared else None
        self.by_encoder: list[VitOp | None] = []
        for encoder, streams in enumerate(passing):
            if shared:
                self.by_encoder.append(shared[encoder] if encoder < len(shared) else None)
            else:
                self.by_encoder.append(self._own(encoder, streams))
            streams |= self._outputs(encoder, streams)
        for own in filter(None, self.by_encoder):
            object.__setattr__(
                own, "get_nodeattr", cache(own.get_nodeattr)
            )  # nobody changes the node any more, and it is asked over and over
        self.reads = [len(own.in_streams()) if own and not isinstance(own, VitEngineExit | VitSwitch) else 1 for own in self.by_encoder]
        self.cycles = [own.get_exp_cycles() if own and not isinstance(own, PASSING) else 0 for own in self.by_encoder]
        """Streams that it reads, and its pace, in each encoder."""

    def _own(self, encoder: int, streams: Streams) -> VitOp | None:
        """An op that is not shared: with frames of the size that comes, where it only passes them on."""
        if isinstance(self.op, VitEngineExit):
            return self.op if self.node.input[0] in streams else None
        if (came := next((streams[name] for name in self.node.input if name in streams), None)) is None:
            return None
        if not isinstance(self.op, StreamOp) and not self.op.is_converter:
            return self.op
        node = NodeProto()
        node.CopyFrom(self.node)
        own = getCustomOp(node)
        own.set_nodeattr("tokens", came.tokens)
        own.set_nodeattr("channels", came.channels)
        return own

    def _outputs(self, encoder: int, streams: Streams) -> Streams:
        op, own, inputs = self.op, self.by_encoder[encoder], self.node.input
        if own is None:
            return {}
        if isinstance(op, VitEngineExit):
            return {self.node.output[op.way(encoder)]: streams[inputs[0]]}
        if isinstance(op, VitSwitch):
            way = op.branch(encoder)
            return {} if way is None else {self.node.output[way]: streams[inputs[0]]}
        if isinstance(op, VitMerge):
            way = op.branch(encoder)
            return {} if way is None else {self.node.output[0]: streams[inputs[way]]}
        return dict(zip(self.node.output, own.out_streams()))

    def read(self, encoder: int, times: Times) -> list[TokenTimes]:
        """When the tokens that it reads come in an encoder's pass; none where no frame passes it."""
        op, own, inputs = self.op, self.by_encoder[encoder], self.node.input
        if own is None:
            return []
        if isinstance(op, VitMerge):
            way = op.branch(encoder)
            return [] if way is None else [times[inputs[way]]]
        return [times[name] for name in inputs[: self.reads[encoder]] if name in times]

    def pass_times(self, encoder: int, arrivals: list[TokenTimes], free: float) -> tuple[Times, float]:
        """When tokens leave in an encoder's pass, by tensor, and when the last of them does.

        Args:
            arrivals: of :meth:`read`. free: when the last token of the pass before left.
        """
        op, own = self.op, self.by_encoder[encoder]
        if own is None or not arrivals:
            return {}, free
        if isinstance(op, VitEngineExit):
            return {self.node.output[op.way(encoder)]: _later(arrivals[0], PORT_CYCLES)}, free
        if isinstance(op, VitSwitch):
            way = op.branch(encoder)
            return ({} if way is None else {self.node.output[way]: _later(arrivals[0], op.beat_cycles())}), free
        if isinstance(op, VitMerge):
            return {self.node.output[0]: _later(arrivals[0], op.beat_cycles())}, free
        leaving = own.pass_times(arrivals)
        found = {name: _paced(t, free, self.cycles[encoder]) for name, t in zip(self.node.output, leaving)}
        if own.scores_leave_early and len(leaving) > 1:
            (main, scores), late = self.node.output[:2], found[self.node.output[0]].first[0] - leaving[0].first[0]
            found = {main: found[main], scores: _later(leaving[1], late)}
        return found, max(t.last[-1] for t in found.values())


def _later(times: TokenTimes, cycles: float) -> TokenTimes:
    return TokenTimes(tuple(t + cycles for t in times.first), tuple(t + cycles for t in times.last))


def _paced(times: TokenTimes, free: float, pace: float) -> TokenTimes:
    """No sooner than a unit's pace allows after ``free``."""
    if free + pace <= times.last[0]:
        return times
    each = pace / times.tokens
    bounds = [free + each * (i + 1) for i in range(times.tokens)]
    last = tuple(max(t, b) for t, b in zip(times.last, bounds))
    spent = [b - a for a, b in zip(times.first, times.last)]
    return TokenTimes(tuple(max(f, t - s) for f, t, s in zip(times.first, last, spent)), last)


class Entry(NamedTuple):
    """When the next frame may enter, and, where images have a pass before the encoders, the next image."""

    free: float = 0.0
    image: float = 0.0


class EnginePass:
    """A frame in an encoder: when its tokens pass, as far as that is known (before :data:`.LATE`).

    Args:
        number: of all passes, in the order in which they enter. first, last: whether its frame is the first of its batch, or one that fills it.
        arrivals: when its tokens come to the entry, where they come from outside.
        before: the pass that entered before it. earlier: that of its image in the encoder before.
    """

    def __init__(
        self,
        number: int,
        encoder: int,
        first: bool,
        last: bool,
        arrivals: TokenTimes | None,
        before: EnginePass | None,
        earlier: EnginePass | None,
    ) -> None:
        self.number, self.encoder, self.first, self.last, self.arrivals = number, encoder, first, last, arrivals
        self.before, self.earlier = before, earlier
        self.times: Times = {}
        self.entry: Entry | None = None
        self.free: dict[str, float] = {}
        """When the last token left each node, by its name, of the passes up to this one."""
        self.exit: TokenTimes | None = None
        self.known: dict[str, tuple[list[TokenTimes], float, Times, float]] = {}
        """Of each node what went into its times, and these."""


class EngineTimes:
    """Follows passes through the units of an engine, from an idle engine on.

    Args:
        hardware: the units, as :attr:`.VitEngine.structure` has them.
    """

    def __init__(self, hardware: ModelWrapper) -> None:
        self.hardware = hardware
        self.entry = next(node for node in hardware.graph.node if node.op_type == "VitEngineEntry_rtl")
        self.port: VitEngineEntry = getCustomOp(self.entry)
        to_engine, _, *new = self.entry.output
        passing = [{to_engine: self.port.of_encoder(encoder)} for encoder in range(self.encoders)]
        if self.port.embeds:
            passing.append({new[0]: self.port.embedded})
        self.nodes = [EngineNode(node, passing) for node in in_order(hardware) if node.name != self.entry.name]
        (self.exit,) = (n.node for n in self.nodes if isinstance(n.op, VitEngineExit))
        back = next(node for node in hardware.graph.node if self.entry.input[1] in node.output)
        self.back, self.returning = getCustomOp(back).beat_cycles(), back.input[0]
        """Cycles of a beat in the FIFO between exit and entry, and what goes into it."""
        self.fifo_cycles = FEED_CYCLES + sum(
            getCustomOp(n).beat_cycles() for n in hardware.graph.node if n.output[0] == self.entry.input[2]
        )
        """Through the FIFO at the entry."""
        arrays = [op for op in map(getCustomOp, hardware.graph.node) if isinstance(op, VitArray)]
        self.array = ArrayTimes(arrays[0]) if arrays else None
        self.ports = {name: port for array in arrays for port, name in enumerate(array.get_nodeattr("faces"))}
        readers = {tensor: node.name for node in hardware.graph.node for tensor in node.input}
        self.port_tensors = [
            (array.onnx_node.input[port], made, readers[made])
            for array in arrays for port, made in enumerate(array.onnx_node.output[: array.port_count])
        ]  # fmt: skip
        """Of each port of the array what goes in, what comes out, and what reads that."""
        self.all: list[EnginePass] = []
        """Every pass so far."""

    @property
    def passes(self) -> list[UnitPass]:
        """Every pass through every unit so far."""
        found = []
        for one in self.all:
            for node in self.nodes:
                left = one.known[node.node.name][2] if node.node.name in one.known else {}
                if left and node.node is not self.exit:
                    begins, ends = min(t.first[0] for t in left.values()), max(t.last[-1] for t in left.values())
                    found.append(UnitPass(node.node.name, one.encoder, begins, ends))
        return found

    @cached_property
    def encoders(self) -> int:
        return len(self.port.get_nodeattr("tokens"))

    @property
    def tags(self) -> list[int]:
        """The passes of an image in their order: the encoders from 0, before them that of the patch embedding, which has the last tag."""
        return [*([self.encoders] if self.port.embeds else ()), *range(self.encoders)]

    def batches(self, arrivals: Sequence[Sequence[TokenTimes]]) -> list[list[TokenTimes]]:
        """Batches through all encoders, one after another: when the tokens of each frame leave.

        Args:
            arrivals: when the tokens of each frame of each batch come.
        """
        most, known = self.port.get_nodeattr("batch"), len(self.all)
        ends: list[list[EnginePass]] = []
        for batch in arrivals:
            there: dict[int, EnginePass] = {}
            for encoder in self.tags:
                for i, times in enumerate(batch):
                    outside, before = times if encoder == self.tags[0] else None, self.all[-1] if self.all else None
                    there[i] = EnginePass(len(self.all), encoder, i == 0, i == most - 1, outside, before, there.get(i))
                    self.all.append(there[i])
            ends.append(list(there.values()))
        if self.array is None:
            for one in self.all[known:]:
                self._evaluate(one)
        else:
            self._follow(self.array, known)
        return [[one.exit for one in batch if one.exit] for batch in ends]

    def _follow(self, array: ArrayTimes, ended: int) -> None:
        """Evaluate the passes from number ``ended`` on, group by group of the array."""
        array.begin([one.encoder for one in self.all[ended:]])
        changed: int | None = ended
        while True:
            if changed is not None:
                for number in range(changed, len(self.all)):
                    if not self._evaluate(self.all[number]) and number > changed:
                        break
                changed = None
                while ended < len(self.all) and (left := self.all[ended].exit) is not None and left.last[-1] < LATE:
                    ended += 1
                if ended == len(self.all):
                    return
            news = LATE
            while (choice := array.choice(self._came, self._gone)).when < news:  # what the groups since the last look make comes later
                number, leaves = array.take(choice)
                changed, news = number if changed is None else min(changed, number), min(news, leaves)
            if changed is None:
                raise UserError("an array has no group to take while frames are not through: please report this model")

    def _came(self, number: int, port: int) -> TokenTimes | None:
        """When rows come to a port of the array in a pass."""
        return self.all[number].times.get(self.port_tensors[port][0])

    def _gone(self, number: int, port: int) -> TokenTimes | None:
        """When rows have left for what reads them from a port; None where that makes other tokens of them."""
        one, (_, made, reader) = self.all[number], self.port_tensors[port]
        rows = one.times[made].tokens
        left = one.known[reader][2].values() if reader in one.known else ()
        return next((times for times in left if times.tokens == rows), None)

    def _evaluate(self, one: EnginePass) -> bool:
        """Make the times of a pass of what is known now; whether something has changed."""
        if (entered := self._entered(one)) is None:
            return False
        encoder, before, was = one.encoder, one.before, one.entry
        one.entry = self._entry_after(one, entered)
        name, changed = self.entry.output[2 if encoder == self.encoders else 0], False
        if one.times.get(name) != entered:
            one.times[name], changed = entered, True
        for node in self.nodes:
            key = node.node.name
            free = before.free.get(key, 0.0) if before else 0.0
            came, known = node.read(encoder, one.times), one.known.get(key)
            port = self.ports.get(key) if self.array else None
            if port is not None:
                left, ends = ({node.node.output[0]: self.array.times(one.number, port)} if came else {}), free  # type: ignore[union-attr]
            elif known and known[1] == free and len(known[0]) == len(came) and all(map(is_, known[0], came)):
                left, ends = known[2:]
            else:
                left, ends = node.pass_times(encoder, came, free)
            if known and known[3] == ends and known[2] == left:
                left = known[2]
            else:
                changed = True
            one.known[key] = came, free, left, ends
            one.times |= left
            one.free[key] = ends
            if left and encoder == self.encoders and node.op.macs():
                one.entry = self._let_in(one, entered, next(iter(left.values())), node.op.held_tokens() // 2)
        one.exit = one.times[self.exit.output[0] if encoder == self.encoders - 1 else self.returning]
        return changed or was != one.entry

    def _let_in(self, one: EnginePass, entered: TokenTimes, left: TokenTimes, held: int) -> Entry:
        """When the entry is free again after an image in the pass before the encoders: its unit takes no more than ``held`` rows ahead of
        those that leave it, and rows that wait hold the entry."""
        rows, beats = left.tokens, self.port.outside.token_beats
        waits = left.first[rows - 1 - held] + held // 2 * beats if rows > held else 0.0
        image = max(entered.last[-1], waits) + TURN_CYCLES
        return Entry(entered.first[0] + TURN_CYCLES if one.last else image, image)

    def _entered(self, one: EnginePass) -> TokenTimes | None:
        """When the tokens of a frame are behind the entry; None while none has come."""
        if one.before is not None and one.before.entry is None:
            return None
        entry = one.before.entry if one.before and one.before.entry else Entry()
        start, arrivals = entry.free, one.arrivals
        if arrivals is not None:
            arrivals = _later(arrivals, self.fifo_cycles)
            start = max(start, (arrivals.first[0] if one.first else arrivals.last[-1]) + PORT_CYCLES + BEGIN_CYCLES)
        elif one.earlier is None or one.earlier.exit is None or one.earlier.exit.first[0] >= LATE:
            return None
        else:
            arrivals = _later(one.earlier.exit, self.back)
        if one.encoder < self.encoders:
            return arrivals.served(self.port.stream.token_beats, PORT_CYCLES, start=start)
        return arrivals.served(self.port.outside.token_beats, PORT_CYCLES, start=max(start, entry.image))

    def _entry_after(self, one: EnginePass, entered: TokenTimes) -> Entry:
        """When the next frame may enter, as far as this one's entering says."""
        entry = one.before.entry if one.before and one.before.entry else Entry()
        return Entry(entered.last[-1] + TURN_CYCLES, entry.image) if one.encoder < self.encoders else entry


def faces(hardware: ModelWrapper) -> list[NodeProto]:
    """The nodes, of an array a matrix unit for each of its ports in its place: what streams pass."""
    found: list[NodeProto] = []
    for node in hardware.graph.node:
        op = getCustomOp(node)
        found += [op.face(port) for port in range(op.port_count)] if isinstance(op, VitArray) else [node]
    return found


def in_order(hardware: ModelWrapper) -> list[NodeProto]:
    """The nodes (:func:`faces`), each behind those that feed it, the way back left out."""
    nodes = faces(hardware)
    written = {t: n.name for n in nodes for t in n.output if "_tags_" not in t}
    entry = next(n for n in nodes if n.op_type == "VitEngineEntry_rtl")
    back = written[entry.input[1]]
    waiting = [n for n in nodes if n.name != back]
    done, found = {back}, []
    while waiting:
        ready = [n for n in waiting if n is entry or n.name == entry.name or all(written.get(t, back) in done for t in n.input)]
        found += ready
        done |= {n.name for n in ready}
        waiting = [n for n in waiting if n.name not in done]
    return found


def lone_times(hardware: ModelWrapper, arrivals: TokenTimes) -> TokenTimes:
    """When the tokens of a lone image leave an engine."""
    return _lone_times(hardware.model.SerializeToString(), arrivals)


@lru_cache(maxsize=16)
def _lone_times(hardware: bytes, arrivals: TokenTimes) -> TokenTimes:
    """The same, remembered: the plan asks for it again as the latency of the graph."""
    ((alone,),) = EngineTimes(ModelWrapper(ModelProto.FromString(hardware))).batches([[arrivals]])
    return alone


def engine_cycles(hardware: ModelWrapper, batches: int = 4) -> EngineCycles:
    """Interval and latency of an engine.

    Args:
        batches: after the first, over which the interval is a mean; fewer, where two take the same.
    """
    port = EngineTimes(hardware).port
    frames, first = port.get_nodeattr("batch"), port.outside
    at_once = [TokenTimes((0.0,) * first.tokens, (0.0,) * first.tokens)] * frames
    alone = lone_times(hardware, TokenTimes.steady(first.tokens, first.token_beats))
    engine = EngineTimes(hardware)
    if engine.array is not None:
        ends = [batch[-1].last[-1] for batch in engine.batches([at_once] * 2)]
        return EngineCycles((ends[1] - ends[0]) / frames, int(alone.last[-1]) + 1)
    ends = [batch[-1].last[-1] for batch in engine.batches([at_once] * 3)]
    if ends[2] - ends[1] != ends[1] - ends[0]:  # not yet the same from batch to batch
        ends += [batch[-1].last[-1] for batch in engine.batches([at_once] * (batches - 2))]
    return EngineCycles((ends[-1] - ends[0]) / (len(ends) - 1) / frames, int(alone.last[-1]) + 1)
