"""When frames pass an engine: its units followed pass by pass, token by token.

A pass is a frame in an encoder. Passes enter in the order of the entry: of a batch all frames in encoder 0, then all in encoder 1,
... Every unit says when its tokens leave, given when they come (``pass_times``), and gives no token of a pass sooner than its
pace allows after the last one of the pass before (``get_exp_cycles`` of the pass, evenly). FIFOs are taken as deep enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.array import VitArray
from finn_vitprune.custom_ops.engine.ports import VitEngineEntry, VitEngineExit
from finn_vitprune.custom_ops.engine.switch import VitMerge, VitSwitch
from finn_vitprune.custom_ops.op.base import StreamOp, VitOp
from finn_vitprune.custom_ops.op.shared import SharedOp
from finn_vitprune.custom_ops.op.token_times import TokenTimes
from finn_vitprune.sim.beats import Stream

PORT_CYCLES = 2
"""From a beat at the entry, or the exit, to the same one at its output: two skids."""
FEED_CYCLES = 1
"""From a beat that comes from outside to the same one at the FIFO of the entry."""
BEGIN_CYCLES = 1
"""More at the entry for the beat with which a frame of encoder 0 may begin."""
TURN_CYCLES = 3
"""Cycles between the last beat of a frame at the entry and the first one of the next."""

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
        self.free = 0.0
        """When the last token of the pass before left."""

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

    def pass_times(self, encoder: int, times: Times) -> Times:
        """When tokens leave in an encoder's pass, by tensor."""
        op, own, inputs = self.op, self.by_encoder[encoder], self.node.input
        if own is None:
            return {}
        if isinstance(op, VitEngineExit):
            return {self.node.output[op.way(encoder)]: _later(times[inputs[0]], PORT_CYCLES)}
        if isinstance(op, VitSwitch):
            way = op.branch(encoder)
            return {} if way is None else {self.node.output[way]: _later(times[inputs[0]], op.beat_cycles())}
        if isinstance(op, VitMerge):
            way = op.branch(encoder)
            return {} if way is None else {self.node.output[0]: _later(times[inputs[way]], op.beat_cycles())}
        arrivals = [times[name] for name, _ in zip(inputs, own.in_streams()) if name in times]
        if not arrivals:
            return {}
        leaving = own.pass_times(arrivals)
        found = {name: _paced(t, self.free, own.get_exp_cycles()) for name, t in zip(self.node.output, leaving)}
        if own.scores_leave_early and len(leaving) > 1:
            (main, scores), late = self.node.output[:2], found[self.node.output[0]].first[0] - leaving[0].first[0]
            found = {main: found[main], scores: _later(leaving[1], late)}
        self.free = max(t.last[-1] for t in found.values())
        return found


def _later(times: TokenTimes, cycles: float) -> TokenTimes:
    return TokenTimes(tuple(t + cycles for t in times.first), tuple(t + cycles for t in times.last))


def _paced(times: TokenTimes, free: float, pace: float) -> TokenTimes:
    """No sooner than a unit's pace allows after ``free``."""
    each = pace / times.tokens
    bounds = [free + each * (i + 1) for i in range(times.tokens)]
    last = tuple(max(t, b) for t, b in zip(times.last, bounds))
    spent = [b - a for a, b in zip(times.first, times.last)]
    return TokenTimes(tuple(max(f, t - s) for f, t, s in zip(times.first, last, spent)), last)


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
        self.entry_free, self.new_free = 0.0, 0.0
        """When the next frame may enter, and, where images have a pass before the encoders, the next image."""
        self.passes: list[UnitPass] = []
        """Every pass through every unit so far."""

    @cached_property
    def encoders(self) -> int:
        return len(self.port.get_nodeattr("tokens"))

    @property
    def tags(self) -> list[int]:
        """The passes of an image in their order: the encoders from 0, before them that of the patch embedding, which has the last tag."""
        return [*([self.encoders] if self.port.embeds else ()), *range(self.encoders)]

    def frame(self, encoder: int, arrivals: TokenTimes, first: bool = True, last: bool = True) -> TokenTimes:
        """A pass: when its tokens leave at the exit, given when they come to the entry. From outside a frame comes through a FIFO; one that
        is not the ``first`` of its batch begins when it is whole.

        Args:
            last: of a batch that can take no more: an image that has a way of its own from outside lets the next pass begin while it enters.
        """
        entered = self._entered(encoder, arrivals, first)
        times: Times = {self.entry.output[2 if encoder == self.encoders else 0]: entered}
        for node in self.nodes:
            left = node.pass_times(encoder, times)
            times |= left
            if left and node.node is not self.exit:
                begins, ends = min(t.first[0] for t in left.values()), max(t.last[-1] for t in left.values())
                self.passes.append(UnitPass(node.node.name, encoder, begins, ends))
            if left and encoder == self.encoders and node.op.macs():
                self._let_in(entered, next(iter(left.values())), node.op.held_tokens() // 2, last)
        return times[self.exit.output[0] if encoder == self.encoders - 1 else self.returning]

    def _let_in(self, entered: TokenTimes, left: TokenTimes, held: int, last: bool) -> None:
        """When the entry is free again after an image in the pass before the encoders: its unit takes no more than ``held`` rows ahead of
        those that leave it, and rows that wait hold the entry."""
        rows, beats = left.tokens, self.port.outside.token_beats
        waits = left.first[rows - 1 - held] + held // 2 * beats if rows > held else 0.0
        self.new_free = max(entered.last[-1], waits) + TURN_CYCLES
        self.entry_free = entered.first[0] + TURN_CYCLES if last else self.new_free

    def _entered(self, encoder: int, arrivals: TokenTimes, first: bool) -> TokenTimes:
        """When the tokens of a frame are behind the entry."""
        start, outside = self.entry_free, encoder == self.tags[0]
        if outside:
            arrivals = _later(arrivals, self.fifo_cycles)
            start = max(start, (arrivals.first[0] if first else arrivals.last[-1]) + PORT_CYCLES + BEGIN_CYCLES)
        if encoder < self.encoders:
            entered = arrivals.served(self.port.stream.token_beats, PORT_CYCLES, start=start)
            self.entry_free = entered.last[-1] + TURN_CYCLES
            return entered
        return arrivals.served(self.port.outside.token_beats, PORT_CYCLES, start=max(start, self.new_free))

    def batch(self, frames: int, arrivals: Callable[[int], TokenTimes]) -> list[TokenTimes]:
        """A batch of so many frames through all encoders: when the tokens of each leave."""
        there, most = [arrivals(i) for i in range(frames)], self.port.get_nodeattr("batch")
        for encoder in self.tags:
            back = 0 if encoder == self.tags[0] else self.back
            there = [self.frame(encoder, _later(times, back), i == 0, i == most - 1) for i, times in enumerate(there)]
        return there


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


def engine_cycles(hardware: ModelWrapper, batches: int = 4) -> EngineCycles:
    """Interval and latency of an engine.

    Args:
        batches: after the first, over which the interval is a mean; fewer, where two take the same.
    """
    port = EngineTimes(hardware).port
    frames, first = port.get_nodeattr("batch"), port.outside
    at_once = TokenTimes((0.0,) * first.tokens, (0.0,) * first.tokens)
    (alone,) = EngineTimes(hardware).batch(1, lambda _: TokenTimes.steady(first.tokens, first.token_beats))
    engine = EngineTimes(hardware)
    ends = [engine.batch(frames, lambda _: at_once)[-1].last[-1] for _ in range(3)]
    if ends[2] - ends[1] != ends[1] - ends[0]:  # not yet the same from batch to batch
        ends += [engine.batch(frames, lambda _: at_once)[-1].last[-1] for _ in range(batches - 2)]
    return EngineCycles((ends[-1] - ends[0]) / (len(ends) - 1) / frames, int(alone.last[-1]) + 1)
