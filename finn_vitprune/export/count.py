"""The complexity of a model file: from its metadata, and over its hardware graph."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.complexity.counted import CountedModel
from finn_vitprune.complexity.graph import count_hardware
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.transforms.lowering.drop_unused_scores import DropUnusedScores
from finn_vitprune.transforms.lowering.lower import lower
from finn_vitprune.transforms.lowering.narrow_class_token import NarrowClassToken


def count_file(path: Path) -> CountedModel:
    """By formula from the metadata of a QONNX file, by count over the nodes of its hardware graph."""
    model = ModelWrapper(read_qonnx(path))
    m = ModelMetadata.read(model)
    hardware = lower(model).model
    every_token, _ = count_hardware(hardware)
    if m.macs_pruned is None:
        m = replace(m, macs_pruned=every_token.macs)
    for transformation in (DropUnusedScores(), NarrowClassToken(), DropUnusedScores()):
        hardware = hardware.transform(transformation)
    graph, index_bits = count_hardware(hardware)
    formula = m.complexity()
    return CountedModel(
        name=m.name,
        block_size=m.block_size,
        block_keep=float(m.block_keep),
        token_keep={int(i): float(rate) for i, rate in m.token_keep.items()},
        formula=formula,
        count=replace(formula, macs_pruned=every_token.macs, macs=graph.macs, params=graph.weights + graph.biases, index_bits=index_bits),
        note="Index bits by count are those of all matrix units, with an end-of-column bit a block.",
    )
