"""What a node alone gets and must give: whole frames from the golden model, for units of engines those of all encoders."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.engine.engine import VitEngine, engines_of
from finn_vitprune.custom_ops.engine.ports import VitEngineEntry
from finn_vitprune.custom_ops.op.finn_op import TAGS
from finn_vitprune.sim.beats import Stream, pack
from finn_vitprune.sim.structures import NodeStreams
from finn_vitprune.transforms.engines.engine_streams import carried, entry_order, joined, tags_of


class AllNodeStreams:
    """The streams of every node of a model, of the units of engines too.

    Args:
        model: the dataflow model (hardware nodes only).
        tensors: of :func:`.specification`, ``[F, tokens, channels]``.
    """

    def __init__(self, model: ModelWrapper, tensors: Mapping[str, np.ndarray]) -> None:
        self.tensors = tensors
        self.outside = {node.name: node for node in model.graph.node}
        self.images = len(tensors[model.graph.input[0].name])
        engines = [_EngineFrames(engine, self.images) for engine in engines_of(model)]
        self.inside = {node.name: (engine, node) for engine in engines for node in engine.engine.hardware.graph.node}

    def __call__(self, name: str) -> NodeStreams | None:
        """None of the entry of an engine: in which order it takes frames hangs on when they come."""
        engine, node = self.inside.get(name) or (None, self.outside[name])
        op = getCustomOp(node)
        if isinstance(op, VitEngineEntry):
            return None
        inputs, outputs = (
            tuple(self._beats(engine, tensor, stream) for tensor, stream in zip(tensors, streams))
            for tensors, streams in ((node.input, op.in_streams()), (node.output, op.out_streams()))
        )
        return NodeStreams(inputs, outputs, None if engine else self.images, int(op.get_exp_cycles()))

    def _beats(self, engine: _EngineFrames | None, tensor: str, stream: Stream) -> np.ndarray:
        return pack(self.tensors[tensor], stream) if engine is None else engine.beats(tensor, stream, self.tensors)


class _EngineFrames:
    """The frames in an engine, in the order of batches that are as large as can be."""

    def __init__(self, engine: VitEngine, images: int) -> None:
        self.engine, self.carried, self.images = engine, carried(engine), images
        batch, self.tags = engine.batch, tags_of(engine)
        batches = [range(first, min(first + batch, images)) for first in range(0, images, batch)]
        self.order = [
            (encoder, image) for together in batches for encoder in entry_order(engine.get_nodeattr("encoders")) for image in together
        ]

    def beats(self, tensor: str, stream: Stream, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """All beats of a stream, uint8 ``[beats, bytes]``."""
        if stream is TAGS:
            return np.array([[encoder] for encoder, _ in self.order if encoder in self.tags[tensor]], np.uint8)
        frames = {
            encoder: np.split(pack(joined(frame.tensors, tensors), frame.on(stream)), self.images)
            for encoder, frame in enumerate(self.carried[tensor]) if frame
        }  # fmt: skip
        return np.concatenate([frames[encoder][image] for encoder, image in self.order if encoder in frames])
