"""Width converters where two neighbours move different numbers of elements a beat."""

from __future__ import annotations

from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp
from qonnx.transformation.base import Transformation

from finn_vitprune.transforms.streams.edges import beside, insert_between, stream_edges


class InsertWidthConverters(Transformation):
    """Insert a VitWidthConverter_rtl on every edge whose ends differ in elements a beat."""

    def apply(self, model: ModelWrapper):
        for edge in stream_edges(model):
            source = getCustomOp(edge.producer).out_streams()[edge.output]
            sink = getCustomOp(edge.consumer).in_streams()[edge.input]
            if source.simd != sink.simd:
                insert_between(
                    model,
                    edge,
                    "VitWidthConverter_rtl",
                    tokens=source.tokens,
                    channels=source.channels,
                    in_simd=source.simd,
                    out_simd=sink.simd,
                    inputDataType=source.dtype.name,
                    **beside(edge),
                )
        return model, False
