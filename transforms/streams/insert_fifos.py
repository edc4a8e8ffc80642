"""FIFO depths by formula, and the FIFOs themselves.

Every op states how many tokens it holds when its first output leaves (``held_tokens``). Summed along a
path and divided by the tokens of each stream this is the path's lag in frames. Where paths meet, the
shorter one gets a FIFO for the difference, plus two tokens. Attention consumes queries only after all
keys and values of the frame came, so its query input lags a whole frame. After a token drop stands a
FIFO of all its output tokens: which tokens are kept then cannot change the interval. Ops that send bursts
(a split) get a buffer of their own, and so do ops that take no input for a while (a token drop until its
scores are ranked, and while its fused token leaves). These stand before a crossing to another SLR, those for paths that meet after it. Where the two ends of a stream move different numbers of elements a beat, the FIFO
stands at the wider end, so that the width converter beside it works without a break.
"""

from __future__ import annotations

import math

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.transforms.streams.edges import beside, insert_between, stream_edges
from finn_vitprune.transforms.streams.latency import arrivals, stream_times

MARGIN_TOKENS = 2
MIN_DEPTH = 2
"""A FIFO of at most this depth is not built: the ops' own registers hold two beats."""


class SetFifoDepths(Transformation):
    """Write ``inFIFODepths`` (beats, one per stream) of every op whose user has not set them."""

    def apply(self, model: ModelWrapper):
        lag: dict[str, float] = {}
        times = stream_times(model)
        for node in model.graph.node:
            op = getCustomOp(node)
            streams = op.in_streams()
            lags = [lag.get(node.input[i], 0.0) for i in range(len(streams))]
            needed = op.input_times(lags)
            if list(op.get_nodeattr("inFIFODepths")) == [2]:  # FINN's default: the user has not set them
                depths = [
                    self._depth(model, node.input[i], stream, need - have)
                    for i, (stream, need, have) in enumerate(zip(streams, needed, lags))
                ]
                pause = op.pause_beats(arrivals(times, node))
                op.set_nodeattr("inFIFODepths", [max(depths[0], pause), *depths[1:]])
            ready = max(needed) + op.held_tokens() / streams[0].tokens
            lag.update(dict.fromkeys(node.output, ready))
        return model, False

    def _depth(self, model: ModelWrapper, tensor: str, stream, difference: float) -> int:
        producer = model.find_producer(tensor)
        source = None if producer is None else getCustomOp(producer)
        tokens = source.output_fifo_tokens() if source else 0
        if not tokens:
            tokens = source.burst_tokens() if source else 0
            if difference > 1e-9:
                tokens = max(tokens, math.ceil(difference * stream.tokens) + MARGIN_TOKENS)
        return max(MIN_DEPTH, tokens * stream.channels // stream.simd)


class InsertFifos(Transformation):
    """Insert a VitFIFO_rtl before every stream input whose depth is above :data:`MIN_DEPTH`.

    Runs before the width converters are inserted. A depth counts beats of the consumer; a FIFO at a wider
    producer holds as many elements.
    """

    def apply(self, model: ModelWrapper):
        for edge in stream_edges(model):
            op = getCustomOp(edge.consumer)
            depths = list(op.get_nodeattr("inFIFODepths"))
            depth = int(depths[min(edge.input, len(depths) - 1)])
            if depth > MIN_DEPTH:
                stream = op.in_streams()[edge.input]
                simd = max(stream.simd, getCustomOp(edge.producer).out_streams()[edge.output].simd)
                insert_between(
                    model,
                    edge,
                    "VitFIFO_rtl",
                    tokens=stream.tokens,
                    channels=stream.channels,
                    SIMD=simd,
                    depth=-(-depth * stream.simd // simd),
                    inputDataType=stream.dtype.name,
                    **beside(edge),
                )
        return model, False
