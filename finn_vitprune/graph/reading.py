"""Reads an ONNX file, its nodes and its tensors safely: what is wrong is said before any array is made."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from finn_vitprune.errors import UserError
from finn_vitprune.graph.kinds import Kind
from finn_vitprune.graph.node import Node, first_line
from finn_vitprune.graph.packed import KEY, MAGIC, unpacked

MAX_DEPTH = 6
"""Bodies of control flow in each other; readers of ONNX take exponential time with many."""
PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
MAX_PROTOBUF = (1 << 31) - 1
OTHER_FILES = {
    b"PK": "a zip archive, or a checkpoint of PyTorch: unpack it, or export it to ONNX",
    b"\x1f\x8b": "packed with gzip: unpack it first",
    b"<": "a page of HTML or XML: the download did not get the file",
    b"version https://git-lfs": "a pointer of Git LFS: run `git lfs pull`",
}


def read_model(path: Path) -> ModelProto:
    """The parsed file with its external data.

    Raises:
        UserError: there is no such file, it is not an ONNX model, or its external data cannot be read.
    """
    model = read_proto(path)
    load_weights(model, path)
    return model


def read_qonnx(path: Path) -> ModelProto:
    """The parsed file, of a network that can be built.

    Raises:
        UserError: as :func:`read_model`, or it is not QONNX; the text has the command that makes it so.
    """
    model = need_qonnx(path)
    load_weights(model, path)
    return model


def need_qonnx(path: Path) -> ModelProto:
    """The parsed file, without its external data, of a network that can be built; errors are those of :func:`read_qonnx`."""
    model = read_proto(path)
    if (kind := Kind.of(node.op_type for node in model.graph.node)) is not Kind.QONNX:
        command = f"finn-vitprune import {shlex.quote(str(path))} --data DATA -o {shlex.quote(f'{path.stem}_qonnx.onnx')}"
        raise UserError(f"{path} is a {kind.value} network, and QONNX is needed: import it first, `{command}`")
    return model


def read_proto(path: Path) -> ModelProto:
    """The parsed file, without its external data; a packed one (:mod:`finn_vitprune.graph.packed`) unpacked.

    Raises:
        UserError: there is no such file, or it is not an ONNX model.
    """
    if not path.is_file():
        raise UserError(f"model file {path} does not exist")
    try:
        size = path.stat().st_size
        content = path.read_bytes() if size <= MAX_PROTOBUF else b""
    except OSError as e:
        raise UserError(f"cannot read {path}: {e.strerror or e}") from e
    if size > MAX_PROTOBUF:
        raise UserError(f"{path} has {size:,} bytes, ONNX holds 2 GiB: save its weights as external data")
    try:
        model = unpacked(content) if content.startswith(MAGIC) else ModelProto.FromString(content)
    except UserError as e:
        raise UserError(f"{path} {e}") from None
    except (DecodeError, ValueError) as e:
        raise UserError(f"{path} is not an ONNX file, or is truncated: {first_line(e)}{_what_it_is(content)}") from e
    if not model.graph.node:
        raise UserError(f"{path} is not an ONNX model: its graph has no nodes{_what_it_is(content)}")
    if any(entry.key == KEY for entry in model.metadata_props):
        raise UserError(
            f"{path} holds the integers of a packed model: give the packed file as it was, or unpack it with `finn-vitprune export`"
        )
    return model


def _what_it_is(content: bytes) -> str:
    """What a file is that is not a model, by its first bytes, and what to do with it."""
    return next((f" (it is {what})" for key, what in OTHER_FILES.items() if content.startswith(key)), "")


def load_weights(model: ModelProto, path: Path) -> None:
    """Put the external data of the file ``path`` into its parsed model.

    Raises:
        UserError: the data cannot be read.
    """
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as e:
        raise UserError(f"{path}: external data cannot be read: {first_line(e)}") from e


def read_nodes(graph: GraphProto, folder: Path) -> list[Node]:
    """The nodes of a graph; those without a name are called after their first output.

    Raises:
        UserError: an attribute cannot be read.
    """
    return [read_node(proto, folder) for proto in graph.node]


def read_node(proto: NodeProto, folder: Path) -> Node:
    """One node, as :func:`read_nodes`."""
    name = proto.name or f"of {proto.output[0] if proto.output else 'nothing'}"
    try:
        attributes = {a.name: _attribute(a, folder) for a in proto.attribute}
    except (ValueError, TypeError) as e:
        raise UserError(f"node {name} ({proto.op_type}): attribute cannot be read: {first_line(e)}") from e
    if any(_depth(a) > MAX_DEPTH for a in proto.attribute):
        raise UserError(f"node {name} ({proto.op_type}): bodies of control flow in each other, over {MAX_DEPTH}")
    if not any(proto.output):
        raise UserError(f"node {name} ({proto.op_type}) has no output")
    return Node(name, proto.op_type, proto.domain, tuple(proto.input), tuple(proto.output), attributes)


def _depth(attribute: AttributeProto) -> int:
    """How many graphs lie in each other in an attribute."""
    bodies = [b for b in (attribute.g, *attribute.graphs) if b.node]
    return max((1 + max((_depth(a) for n in b.node for a in n.attribute), default=0) for b in bodies), default=0)


def _attribute(proto: AttributeProto, folder: Path) -> object:
    if proto.type == AttributeProto.TENSOR:
        return tensor_array(proto.t, folder)
    value = helper.get_attribute_value(proto)
    if value is None:
        raise ValueError(f"{proto.name} has no value")
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def tensor_array(tensor: TensorProto, folder: Path) -> np.ndarray:
    """The array of a tensor; half-precision kinds become float32.

    Raises:
        UserError: dimensions and data do not agree, the data is missing, or it holds NaN.
    """
    what = f"tensor {tensor.name}" if tensor.name else "a constant"
    dims = list(tensor.dims)
    if any(d < 0 for d in dims):
        raise UserError(f"{what} has a negative dimension: {dims}")
    needed = _needed_bytes(tensor, what)
    if tensor.data_location == TensorProto.EXTERNAL:
        _check_external(tensor, needed, folder, what)
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != needed:
        raise UserError(f"{what} of shape {dims} needs {needed:,} bytes, the file holds {len(tensor.raw_data):,}")
    try:
        array = numpy_helper.to_array(tensor, base_dir=str(folder))
    except (ValueError, TypeError, OSError, onnx.checker.ValidationError) as e:
        raise UserError(f"{what} of shape {dims} cannot be read: {first_line(e)}") from e
    return _as_numbers(array, what)


def _as_numbers(array: np.ndarray, what: str) -> np.ndarray:
    if array.dtype.kind in "biu" or array.dtype.kind in "SUO":
        return array
    if array.dtype not in (np.float32, np.float64):  # float16, and the kinds of ml_dtypes
        array = array.astype(np.float32)
    if np.isnan(array).any():
        raise UserError(f"{what} of shape {list(array.shape)} holds NaN: the model is damaged or diverged")
    return array


def _needed_bytes(tensor: TensorProto, what: str) -> int:
    try:
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = PACKED_BITS.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except (KeyError, ValueError) as e:
        raise UserError(f"{what} has the unknown data type {tensor.data_type}") from e
    return -(-math.prod(tensor.dims) * bits // 8)


def _check_external(tensor: TensorProto, needed: int, folder: Path, what: str) -> None:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    file = (folder / location).resolve()
    if not location or not file.is_relative_to(folder.resolve()):
        raise UserError(f"{what} lies in {location or 'no file'}, which is not in the folder of the model")
    if not file.is_file():
        raise UserError(f"{what} lies in {location}, and that file is missing beside the model")
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", needed))
    except ValueError:
        raise UserError(f"{what}: offset and length of its external data are not numbers") from None
    size = file.stat().st_size
    if length != needed or offset < 0 or offset + length > size:
        raise UserError(f"{what} needs {needed:,} bytes at {offset:,} of {location}: {length:,} are meant, the file has {size:,}")
