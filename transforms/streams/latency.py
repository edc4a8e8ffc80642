"""Latency by formula: the tokens of one image, followed through the empty pipeline."""

from __future__ import annotations

import math

from onnx import NodeProto
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune.custom_ops.op.token_times import TokenTimes


def latency_cycles(model: ModelWrapper) -> int:
    """Cycles from an image's first input beat to its last output beat, both counted, in an empty pipeline.

    Every op says when its output tokens leave, given when its input tokens come (``pass_times``). FIFOs are taken as
    deep enough, as those by formula are.

    Args:
        model: hardware nodes alone, folded, with FIFOs and width converters.
    """
    return math.ceil(max(times.last[-1] for times in output_times(model).values())) + 1


def output_times(model: ModelWrapper) -> dict[str, TokenTimes]:
    """When the tokens of one image pass each stream of ``model``, by tensor name, the graph's outputs alone."""
    passed = stream_times(model)
    return {output.name: passed[output.name] for output in model.graph.output}


def stream_times(model: ModelWrapper) -> dict[str, TokenTimes]:
    """When the tokens of one image pass each stream that a node of ``model`` writes, by tensor name."""
    passed: dict[str, TokenTimes] = {}
    for node in model.graph.node:
        passed |= zip(node.output, getCustomOp(node).pass_times(arrivals(passed, node)), strict=True)
    return passed


def arrivals(passed: dict[str, TokenTimes], node: NodeProto) -> list[TokenTimes]:
    """When the tokens of one image come to the inputs of ``node``; without a pause where no node writes them."""
    return [
        passed[name] if name in passed else TokenTimes.steady(stream.tokens, stream.token_beats)
        for name, stream in zip(node.input, getCustomOp(node).in_streams())
    ]
