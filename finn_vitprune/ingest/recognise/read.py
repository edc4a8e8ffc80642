"""From a file to what was recognised in it: load, normalise, recognise."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt
from pathlib import Path

from finn_vitprune.graph.node import Rejection
from finn_vitprune.ingest.normal_form.normalise import normaliser
from finn_vitprune.ingest.normal_form.normaliser import NodeStatus
from finn_vitprune.ingest.onnx_file.model_file import ModelFile, load
from finn_vitprune.ingest.recognise.features import importance
from finn_vitprune.ingest.recognise.network import NotRecognised
from finn_vitprune.ingest.recognise.recognise import Recognition, recognise
from finn_vitprune.ingest.recognise.survey import FIXED_SIZE, survey
from finn_vitprune.models.config import MAX_PREFIX

ONE_IMAGE = "one image [1, channels, height, width] in and one logit vector out are supported"

KEEP_IDS = frozenset("Cast Identity Reshape Squeeze Unsqueeze Flatten Slice Transpose Clip".split())
"""Ops behind which token ids are token ids still."""


def read(path: Path) -> Recognition:
    """What an ONNX file holds: a vision transformer with its weights, or the reasons why it is none.

    Raises:
        UserError: the file cannot be read, or is not a sound graph.
    """
    return understand(load(path))


def understand(model: ModelFile) -> Recognition:
    """:func:`read` of a file that is loaded; where a node is rejected, every other one is looked at by itself."""
    given: tuple[int, ...] | Rejection
    try:
        given = image_shape(model)
    except NotRecognised as e:
        given = e.rejection
    image, rejection = (None, given) if isinstance(given, Rejection) else (given, None)
    found = recognise(normaliser(model, given).run())
    found = replace(found, rejections=tuple(sorted(found.rejections, key=importance)))
    if all(o.status is not NodeStatus.BLOCKED for o in found.normalised.outcomes):
        return found
    surveyed = survey(model, image)
    return replace(found, surveyed=surveyed, rejections=_ranked(found.rejections, surveyed.rejections, rejection))


def _ranked(found: tuple[Rejection, ...], behind: tuple[Rejection, ...], size: Rejection | None) -> tuple[Rejection, ...]:
    """All reasons, the deciding one first: an open size of the image only where nothing else is rejected."""
    first = [r for r in found if size is None or r != size or size.help != FIXED_SIZE]
    return tuple(dict.fromkeys([*first, *behind, *found]))


def image_shape(model: ModelFile) -> tuple[int, ...]:
    """Shape of the input with batch size 1; open dimensions follow from the patch embedding and positions.

    Raises:
        NotRecognised: the inputs are not one image, or its size stays open.
    """
    text = _text_model(model)
    if text is not None:
        raise NotRecognised(text)
    if len(model.inputs) != 1:
        names = ", ".join(i.name for i in model.inputs) or "none"
        raise NotRecognised(Rejection(names, "input", f"the model has {len(model.inputs)} inputs ({names})", ONE_IMAGE))
    image = model.inputs[0]
    shape = image.shape
    if shape is None or len(shape) != 4:
        found = "no shape" if shape is None else f"{len(shape)} dimensions"
        raise NotRecognised(Rejection(image.name, "input", f"the input has {found}", ONE_IMAGE))
    if shape[0] not in (None, 1):
        raise NotRecognised(Rejection(image.name, "input", f"batch size {shape[0]} is fixed", "export with batch size 1, or an open one"))
    known = [d for d in shape[1:] if d is not None]
    return (1, *known) if len(known) == 3 else _completed(model, image.name, shape)


def _text_model(model: ModelFile) -> Rejection | None:
    """The reason where an input holds token ids, which a table is looked up with; a model of images has an image besides."""
    if any(i.shape is not None and len(i.shape) == 4 for i in model.inputs):
        return None
    ids = {i.name: i.name for i in model.inputs}
    computed = set(ids)
    for node in model.nodes:
        if node.op_type == "Gather" and node.inputs[1] in ids and node.inputs[0] not in computed:
            table = model.constants.get(node.inputs[0])
            size = "" if table is None else f" of {' x '.join(map(str, table.shape))}"
            text = f"text model: node {node.name} (Gather) looks its token ids up in a table{size}"
            return Rejection(ids[node.inputs[1]], "input", text, ONE_IMAGE)
        if computed.intersection(node.inputs):
            computed.update(node.outputs)
        if node.op_type in KEEP_IDS and node.inputs[0] in ids:
            ids[node.outputs[0]] = ids[node.inputs[0]]
    return None


def _completed(model: ModelFile, name: str, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Channels from the kernel of the patch embedding, height and width from the number of positions."""
    kernels = [
        model.constants[n.inputs[1]].shape
        for n in model.nodes
        if n.op_type == "Conv" and len(n.inputs) > 1 and n.inputs[1] in model.constants
    ]
    kernel = next((k for k in kernels if len(k) == 4), None)
    side = None if kernel is None else _patches_a_side(model, kernel[0])
    if kernel is None or side is None:
        open_ = [f"dimension {i}" for i, d in enumerate(shape) if i and d is None]
        raise NotRecognised(
            Rejection(
                name, "input",
                f"{', '.join(open_)} of the input stays open, and no position embedding tells the image size",
                FIXED_SIZE,
            )
        )  # fmt: skip
    known = (kernel[1], side * kernel[2], side * kernel[3])
    return (1, *(k if d is None else d for d, k in zip(shape[1:], known)))


def _patches_a_side(model: ModelFile, width: int) -> int | None:
    """Root of the patches that a constant ``[1, N, width]`` gives positions to, prefix tokens left out."""
    shapes = [a.shape for a in model.constants.values()]
    counts = [s[1] for s in shapes if len(s) == 3 and (s[0], s[2]) == (1, width)]
    for count in sorted(counts, reverse=True):
        for prefix in range(min(count, MAX_PREFIX + 1)):
            if isqrt(count - prefix) ** 2 == count - prefix and count - prefix > 1:
                return isqrt(count - prefix)
    return None
