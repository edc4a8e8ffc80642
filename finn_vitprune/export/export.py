"""QONNX export of a frozen network, with metadata; a file that fails the export gate is never written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from brevitas.export import export_qonnx
from onnx import ModelProto
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_shapes import InferShapes

from finn_vitprune.complexity.formulas import counted
from finn_vitprune.errors import UserError
from finn_vitprune.export.gate import GateReport, check_export
from finn_vitprune.export.metadata import ModelMetadata
from finn_vitprune.export.names import inline_identities, name_after_modules
from finn_vitprune.files import whole_file
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import kept_block_masks
from finn_vitprune.models.layers import DOMAIN
from finn_vitprune.models.vit import PrunedViT

OPSET = 20
GATE_IMAGES = 100
"""Images of the export gate."""
SAMPLE_IMAGES = 1000
"""Held-out images beside a model, at most."""
INPUT, OUTPUT = "images", "logits"


def export(frozen: PrunedViT, path: Path | str, metadata: ModelMetadata, images: np.ndarray) -> GateReport:
    """Write ``frozen`` as QONNX, as :func:`exported` makes it.

    Args:
        path: file to write, replaced only when the gate passes.
    Raises:
        UserError: the exported graph does not compute what PyTorch computes.
    """
    model, report = exported(frozen, metadata, images)
    with whole_file(path) as partial:
        onnx.save(model.model, partial)
    return report


def exported(frozen: PrunedViT, metadata: ModelMetadata, images: np.ndarray) -> tuple[ModelWrapper, GateReport]:
    """``frozen`` (from :func:`finn_vitprune.models.freeze.freeze`) as QONNX, and what the gate says of it.

    Input ``images`` ``[1, H, W, C]`` (uint8 values as floats), output ``logits`` ``[1, classes]``.

    Args:
        frozen: scales fixed.
        metadata: goes into the model's metadata; images: uint8 ``[F, H, W, C]`` for the gate.
    Raises:
        UserError: the exported graph does not compute what PyTorch computes.
    """
    model = to_qonnx(frozen)
    metadata.write(model)
    report = check_export(frozen, model, images)
    if not report.passed:
        raise UserError(f"export gate failed, nothing written: {report.reason}")
    return model, report


def describe(
    name: str, dense: ViTConfig, frozen: PrunedViT, block: int, block_keep: float, neuron_keep: float, token_keep: float
) -> ModelMetadata:
    """Metadata of a frozen small network that was pruned from the shapes ``dense``."""
    small = frozen.config
    masks = kept_block_masks(frozen, block)
    cost = counted(dense, small, masks)
    drops = {str(i): s.keep for i, s in enumerate(small.encoders, start=1) if s.keep is not None}
    return ModelMetadata(
        name=name,
        classes=small.classes,
        image_shape=(small.image_size, small.image_size, small.channels),
        block_size=block,
        block_keep=block_keep,
        neuron_keep=neuron_keep,
        token_keep=dict.fromkeys(drops, token_keep),
        drop_points=drops,
        tokens=[{"in": n, "mlp": m} for n, m in small.token_counts()],
        heads=[s.heads for s in small.encoders],
        neurons=[s.neurons for s in small.encoders],
        residual_scale=frozen.residual_scale.number,
        weight_bits=small.weight_bits,
        act_bits=small.act_bits,
        outer_bits=small.outer_bits,
        macs_dense=cost.macs_dense,
        macs_pruned=cost.macs_pruned,
        macs=cost.macs,
        params_dense=cost.params_dense,
        params=cost.params,
        index_bits=cost.index_bits,
        kept_blocks=masks,
    )


def write_sample(path: Path, **arrays: np.ndarray) -> None:
    """Write ``<model>.npz`` beside the model ``path``: held-out images that builds verify with.

    Args:
        arrays: ``images`` uint8 ``[F, H, W, C]``, PyTorch's ``logits`` ``[F, classes]``, and where there are any
            ``labels`` ``[F]``.
    """
    contents: dict[str, Any] = {**arrays}
    with whole_file(path.with_suffix(".npz")) as partial:
        np.savez_compressed(partial, **contents)


def to_qonnx(frozen: PrunedViT) -> ModelWrapper:
    """The QONNX graph of ``frozen``, shapes annotated, nodes named after modules, pixels UINT8."""
    config = frozen.config
    images = torch.zeros(1, config.image_size, config.image_size, config.channels)
    proto: ModelProto = export_qonnx(
        frozen,
        args=images,
        opset_version=OPSET,
        dynamo=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        custom_opsets={DOMAIN: 1} if any(encoder.keep is not None for encoder in config.encoders) else {},
        keep_initializers_as_inputs=False,
    )
    model = ModelWrapper(proto)
    inline_identities(model)
    model = model.transform(InferShapes())
    name_after_modules(model)
    model.set_tensor_datatype(INPUT, DataType["UINT8"])
    return model
