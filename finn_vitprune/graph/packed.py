"""A QONNX file packed small: quantised weights as the integers that they are, all of it compressed with xz.

An exporter writes a quantised weight as float32, integer times scale, in front of its ``Quant`` node. Where that product is the
weight, exactly, the integers take its place here. The float weights come back from :func:`unpacked`, and a digest in the file's
metadata says whether they are those that were packed. All that may change is a weight of -0, which becomes 0. What ``xz -d`` makes of the
file is not a model: it has integers for weights, and readers refuse it.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, StringStringEntryProto, TensorProto, numpy_helper

from finn_vitprune.errors import UserError
from finn_vitprune.files import whole_file

MAGIC = b"\xfd7zXZ\x00"
SUFFIX = ".xz"
KEY = "finn_vitprune.packed"
"""The entry of the metadata that says what was packed."""
INTEGERS = (np.int8, np.int16, np.int32)
MOST_BYTES = 1 << 30
"""Of what a packed file holds: a damaged or foreign one does not fill the memory."""


def write_model(model: ModelProto, path: Path) -> int:
    """Write ``model``, with its weights in the file; packed if the name ends in ``.xz``. Returns the bytes of the file.

    Raises:
        UserError: the model is too large for one file, or a packed one would not be found beside its images.
    """
    if path.suffixes[-2:] == [".onnx", SUFFIX]:
        raise UserError(f"{path}: the images of a model are those of its name, so give {path.with_suffix('').with_suffix(SUFFIX).name}")
    try:
        content = packed(model) if path.suffix == SUFFIX else model.SerializeToString(deterministic=True)
    except (ValueError, EncodeError):
        raise UserError(f"{path}: the model has more than 2 GiB, which no ONNX file holds") from None
    with whole_file(path) as place:
        place.write_bytes(content)
    return len(content)


def packed(model: ModelProto) -> bytes:
    """A file of ``model``, whose external data must be loaded.

    Raises:
        UserError: it is larger than what :func:`unpacked` takes.
    """
    if model.ByteSize() > MOST_BYTES:
        raise UserError(f"the model has {model.ByteSize():,} bytes, and up to {MOST_BYTES:,} are packed: leave it as it is")
    small, whole = ModelProto(), ModelProto()
    small.CopyFrom(model)
    whole.CopyFrom(model)
    floats = {t.name: t for t in whole.graph.initializer}
    tensors = {t.name: t for t in small.graph.initializer}
    uses = Counter(name for node in small.graph.node for name in node.input)
    scales: dict[str, str] = {}
    for node in small.graph.node:
        if node.op_type == "Quant" and (weight := tensors.get(node.input[0])) and (scale := tensors.get(node.input[1])):
            integers = _integers(weight, scale) if uses[weight.name] == 1 else None
            if integers is not None:
                scales[weight.name] = scale.name
                floats[weight.name].CopyFrom(_floats(integers, scale))
                weight.CopyFrom(integers)
    says = {"digest": _digest(whole), "scales": scales}
    small.metadata_props.append(StringStringEntryProto(key=KEY, value=json.dumps(says)))
    return lzma.compress(small.SerializeToString(deterministic=True), preset=9 | lzma.PRESET_EXTREME)


def unpacked(content: bytes) -> ModelProto:
    """The model that was packed.

    Raises:
        UserError: the file is damaged, is not a packed model, or what comes out of it is not what was packed.
    """
    try:
        reader = lzma.LZMADecompressor(format=lzma.FORMAT_XZ)
        text = reader.decompress(content, max_length=MOST_BYTES)
        if not reader.eof:
            raise UserError(f"is truncated, or holds more than {MOST_BYTES:,} bytes: get the file again")
        model = ModelProto.FromString(text)
    except (lzma.LZMAError, DecodeError) as error:
        raise UserError(f"is not a packed model: {error}") from None
    entries = [entry for entry in model.metadata_props if entry.key == KEY]
    try:
        says: dict[str, Any] = json.loads(entries[0].value)
        tensors = {t.name: t for t in model.graph.initializer}
        for name, scale in says["scales"].items():
            tensors[name].CopyFrom(_floats(tensors[name], tensors[scale]))
        digest = says["digest"]
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise UserError("is packed with xz, but not by `finn-vitprune export`: unpack it with `xz -d`") from None
    model.metadata_props.remove(entries[0])
    if _digest(model) != digest:
        raise UserError("does not give back the model that was packed (its digest differs): get the file again")
    return model


def _integers(weight: TensorProto, scale: TensorProto) -> TensorProto | None:
    """The integers of ``weight``, in as few bytes as they need; None where integers times ``scale`` are not exactly it."""
    if weight.data_type != TensorProto.FLOAT or scale.data_type != TensorProto.FLOAT:
        return None
    values, steps = numpy_helper.to_array(weight), numpy_helper.to_array(scale)
    with np.errstate(all="ignore"):
        rounded = np.round(values.astype(np.float64) / steps)
    kind = next((k for k in INTEGERS if np.all(np.abs(rounded) <= np.iinfo(k).max)), None)
    if kind is None or rounded.shape != values.shape:
        return None
    integers = numpy_helper.from_array(rounded.astype(kind), weight.name)
    return integers if np.array_equal(numpy_helper.to_array(_floats(integers, scale)), values) else None


def _floats(integers: TensorProto, scale: TensorProto) -> TensorProto:
    values = numpy_helper.to_array(integers).astype(np.float32) * numpy_helper.to_array(scale)
    return numpy_helper.from_array(values.astype(np.float32), integers.name)


def _digest(model: ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
