"""The file itself in onnxruntime, and how far the imported float network is from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import ModelProto, helper

from finn_vitprune.errors import UserError
from finn_vitprune.ingest.float_model import as_in_file
from finn_vitprune.ingest.load import first_line
from finn_vitprune.ingest.model_file import Kind
from finn_vitprune.ingest.recognised import RecognisedViT
from finn_vitprune.models.vit import PrunedViT

TOLERANCE = 1e-4
INPUT_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}


@dataclass(frozen=True)
class Comparison:
    """The imported float network against the file in onnxruntime.

    images: how many were compared; largest: the largest difference of an output; scale: the largest output
    of the file.
    """

    images: int
    largest: float
    scale: float

    @property
    def relative(self) -> float:
        """The largest difference in units of the largest output."""
        return self.largest / self.scale if self.scale else self.largest


def compare(
    path: Path,
    kind: Kind,
    vit: RecognisedViT,
    network: PrunedViT,
    images: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
) -> Comparison:
    """Run file and network on uint8 ``images`` ``[F, H, W, C]``; QDQ files without activation quantisers.

    Args:
        network: from :func:`finn_vitprune.ingest.float_model.float_network`, at ``mean`` and ``std``.
    Raises:
        UserError: onnxruntime cannot run the file.
    """
    theirs = run_file(path, kind, vit, file_input(vit, images, mean, std))
    device = network.pos_embed.device
    ours = as_in_file(network, vit, torch.from_numpy(images).float().to(device)).cpu()
    if vit.probabilities:
        ours = ours.softmax(-1)
    largest = float(np.abs(ours.numpy() - theirs).max())
    return Comparison(len(images), largest, float(np.abs(theirs).max()))


def file_input(
    vit: RecognisedViT, images: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """What the file takes for uint8 images ``[F, H, W, C]``: normalised, or plain where it does so itself."""
    if vit.scaling is not None:
        x = images.astype(np.float64) * (vit.scaling.pixel_range / 255.0)
    else:
        x = (images / 255.0 - np.array(mean)) / np.array(std)
    return x if vit.channels_last else x.transpose(0, 3, 1, 2)


def run_file(path: Path, kind: Kind, vit: RecognisedViT, inputs: np.ndarray) -> np.ndarray:
    """Output ``vit.output`` of the file, ``[F, classes]`` float64, image by image.

    Raises:
        UserError: onnxruntime cannot run the file.
    """
    try:
        source = str(path) if kind is not Kind.QDQ else without_activation_quantisers(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()
        inputs = np.ascontiguousarray(inputs.astype(INPUT_TYPES.get(given.type, np.float32)))
        found = [session.run([vit.output], {given.name: image[None]})[0] for image in inputs]
    except Exception as error:  # onnxruntime raises its own types, not all of them documented
        raise UserError(f"onnxruntime cannot run {path}: {first_line(error)}") from error
    return np.concatenate(found).reshape(len(inputs), -1).astype(np.float64)


def without_activation_quantisers(path: Path) -> bytes:
    """The file with every pair of QuantizeLinear and DequantizeLinear on an activation left out.

    What depends on constants and shapes alone stays quantised, as the recogniser takes it.
    """
    model: ModelProto = onnx.load(str(path))
    constant = {i.name for i in model.graph.initializer} | {""}
    quantised = {}
    for node in model.graph.node:
        if node.op_type in ("Shape", "Size") or constant.issuperset(node.input):
            constant.update(node.output)
        elif node.op_type == "QuantizeLinear":
            quantised[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in quantised:
            source = quantised[node.input[0]]
            node.CopyFrom(helper.make_node("Identity", [source], list(node.output), name=node.name))
    return model.SerializeToString()
