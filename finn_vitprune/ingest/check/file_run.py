"""The file itself in onnxruntime; nothing here needs PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper

from finn_vitprune.errors import UserError
from finn_vitprune.graph.node import Rejection, first_line
from finn_vitprune.graph.walk import DAMAGED
from finn_vitprune.ingest.onnx_file.model_file import Kind
from finn_vitprune.ingest.recognise.network import RecognisedViT

INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
MEAN_AND_STD = 0.5, 0.25
"""Normalisation of the pixels of :func:`probe`, near every usual one."""


def probe(path: Path, kind: Kind, vit: RecognisedViT) -> Rejection | None:
    """Why the file does not compute, on two images of noise, or None where it does.

    What is recognised may still hold wrong types, names used twice, or weights that overflow. An untrained head gives both
    images the same answer: that alone is not damage.
    """
    images = np.random.default_rng(0).integers(0, 256, (2, vit.config.image_size, vit.config.image_size, vit.config.channels))
    mean, std = ([number] * vit.config.channels for number in MEAN_AND_STD)
    try:
        outputs = run_file(path, kind, vit, file_input(vit, images, mean, std))
    except UserError as error:
        return Rejection(path.name, "model", str(error), DAMAGED)
    if not np.isfinite(outputs).all():
        return Rejection(vit.output, "output", "it is not finite for an image of noise", DAMAGED)
    untrained = vit.untrained_head and vit.weights["patch_embed.proj.weight"].any()
    if np.array_equal(outputs[0], outputs[1]) and not untrained:
        text = "it is the same for two images of noise, to the last digit: the weights are empty"
        return Rejection(vit.output, "output", text, DAMAGED)
    return None


def file_input(vit: RecognisedViT, images: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """What the file takes for uint8 images ``[F, H, W, C]``: normalised, or plain where it does so itself."""
    if vit.scaling is not None:
        x = images.astype(np.float64) * (vit.scaling.pixel_range / 255.0)
    else:
        x = (images / 255.0 - np.array(mean)) / np.array(std)
    return x if vit.channels_last else x.transpose(0, 3, 1, 2)


def run_file(path: Path, kind: Kind, vit: RecognisedViT, inputs: np.ndarray, threads: int = 1) -> np.ndarray:
    """Output ``vit.output`` of the file, ``[F, classes]`` float64, image by image.

    Raises:
        UserError: onnxruntime cannot run the file.
    """
    import onnxruntime as ort

    try:
        source = str(path) if kind is not Kind.QDQ else without_activation_quantisers(path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        # With its optimiser (1.25.1) the gated DINOv3 of Hugging Face, by TorchScript, is .01 wrong, and the right network would be refused.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
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
