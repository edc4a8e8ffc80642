"""The internal streams of a stitched design: between its nodes, and between the units of its engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.sim.beats import Stream
from finn_vitprune.transforms.engines.engine_streams import carried, tags_of
from finn_vitprune.transforms.streams.edges import stream_edges


@dataclass(frozen=True)
class InEngine:
    """Of a stream in an engine: ``beats`` of a frame in each of its ``encoders`` (numbers from 1), 0 where none passes.

    ``carries``: what a frame is (:attr:`.Carried.tensors`) in each encoder; nothing of tags, and where it is not known.
    ``batch``: frames that go through the encoders together, at most.
    """

    engine: str
    encoders: list[int]
    batch: int
    beats: list[int]
    carries: list[list[str]]


@dataclass(frozen=True)
class StitchedEdge:
    """A stream between two ops, FIFOs in between counted as part of it.

    ``tensor`` is the tensor at the consumer, ``fifo`` the node name of the FIFO ("" for none) and
    ``depth`` its depth in beats (2 without: the ops' own registers). ``converted``: it comes from a width converter,
    so that the FIFO of the stream stands on the edge before. ``inside``: where in an engine it is; None outside of engines.
    """

    producer: str
    consumer: str
    consumer_input: int
    tensor: str
    source_tensor: str
    stream: Stream
    fifo: str
    depth: int
    converted: bool = False
    inside: InEngine | None = None

    @property
    def name(self) -> str:
        """What reports call the edge."""
        via = f" through {self.fifo}" if self.fifo else ""
        return f"{self.producer} -> {self.consumer}{via}{' (tags)' if self.tags else ''}"

    @property
    def tags(self) -> bool:
        """Whether it says which encoder frames are of.

        Data of one byte a frame has the same stream; but it carries a tensor, or nobody knows its beats.
        """
        return self.inside is not None and self.stream == TAGS and not any(self.inside.carries) and any(self.inside.beats)

    @property
    def of_entry(self) -> bool:
        """Whether it comes from the entry of an engine."""
        return self.inside is not None and self.producer == f"{self.inside.engine}_entry"

    @property
    def way_back(self) -> bool:
        """Whether it goes to the entry of an engine, or to the merge before that."""
        return self.inside is not None and self.consumer in (f"{self.inside.engine}_entry", f"{self.inside.engine}_return_merge")

    @property
    def image_beats(self) -> int:
        """Beats of an image: of its frame, in an engine of those in all encoders."""
        return self.stream.beats if self.inside is None else sum(self.inside.beats)


def stitched_edges(model: ModelWrapper) -> list[StitchedEdge]:
    """The internal streams, one per producer output that another op reads; those in an engine before the one that leaves it."""
    engines, outside = {engine.onnx_node.name: engine for engine in engines_of(model)}, _edges(model)
    found = []
    for node in model.graph.node:
        if node.name in engines:
            found += _edges_inside(engines[node.name])
        found += [edge for edge in outside if edge.producer == node.name]
    return found


def _edges_inside(engine: VitEngine) -> Iterator[StitchedEdge]:
    """The streams between the units of an engine."""
    frames, encoders = carried(engine), list(engine.get_nodeattr("encoders"))
    name, batch, tagged = engine.onnx_node.name, engine.batch, tags_of(engine)
    for edge in _edges(engine.hardware):
        if edge.stream is TAGS:
            beats, carries = [int(e in tagged.get(edge.tensor, range(len(encoders)))) for e in range(len(encoders))], [[] for _ in encoders]
        else:
            own = frames.get(edge.tensor, [None] * len(encoders))
            beats = [frame.on(edge.stream).beats if frame else 0 for frame in own]
            carries = [list(frame.tensors) if frame else [] for frame in own]
        yield replace(edge, inside=InEngine(name, encoders, batch, beats, carries))


def _edges(model: ModelWrapper) -> list[StitchedEdge]:
    """The streams between the nodes of a graph."""
    edges, by_tensor = [], {e.tensor: e for e in stream_edges(model)}
    for edge in by_tensor.values():
        if getCustomOp(edge.producer).is_buffer:
            continue
        fifo, depth, last = "", 2, edge
        if getCustomOp(edge.consumer).is_buffer and edge.consumer.output[0] in by_tensor:
            fifo, depth = edge.consumer.name, getCustomOp(edge.consumer).get_nodeattr("depth")
            last = by_tensor[edge.consumer.output[0]]
        edges.append(
            StitchedEdge(
                edge.producer.name,
                last.consumer.name,
                last.input,
                last.tensor,
                edge.tensor,
                getCustomOp(edge.producer).out_streams()[edge.output],
                fifo,
                depth,
                getCustomOp(edge.producer).is_converter,
            )
        )
    return edges
