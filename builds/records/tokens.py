"""Images with the patches that the token drops of a network leave and the classes that it predicts, by its hardware graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.custom_op.registry import getCustomOp

from finn_vitprune import progress
from finn_vitprune.arrays import read_arrays
from finn_vitprune.builds.images import BuildImages, Images, given_images, input_shape, output_classes
from finn_vitprune.builds.records.folder import BuildFolder
from finn_vitprune.errors import UserError
from finn_vitprune.execute import golden
from finn_vitprune.files import BROKEN_ARRAYS, whole_file
from finn_vitprune.graph.reading import read_qonnx
from finn_vitprune.recorded import check_recorded
from finn_vitprune.report.tokens import ScoredDrop, captions, patches_left, some_of, token_figure
from finn_vitprune.transforms.lowering.lower import check_op_types, lower
from finn_vitprune.transforms.lowering.tidy_lowered import TidyLowered
from finn_vitprune.transforms.lowering.tidy_source import TidySource
from finn_vitprune.transforms.streams.node_names import kind_of, node_names

KEPT_IMAGES = 8
"""That a build keeps."""
AT_ONCE = 16
"""Images of which all tensors are in memory."""


@dataclass(frozen=True)
class TokenSample:
    """Images uint8 ``[F, H, W, C]`` with the ``predicted`` classes ``[F]``, ``labels`` ``[F]`` or None.

    ``left`` ``[drops, F, patches]`` says which patches are tokens of their own after the token drop of each of ``encoders``.
    ``source``: which images these are, in words.
    """

    images: np.ndarray
    predicted: np.ndarray
    labels: np.ndarray | None
    encoders: np.ndarray
    left: np.ndarray
    source: str

    @classmethod
    def of(cls, hardware: ModelWrapper, tensors: Mapping[str, np.ndarray], images: Images) -> TokenSample:
        """From all tensors of the hardware graph of :class:`.TidyLowered` on ``images``."""
        names = node_names(hardware)
        nodes = {kind: [n for n in hardware.graph.node if kind_of(n) == kind] for kind in ("VitTokenEmbed", "VitTokenDrop")}
        embed = nodes["VitTokenEmbed"][0]
        patches, tokens = (tensors[name].shape[1] for name in (embed.input[0], embed.output[0]))
        drops = [
            ScoredDrop(names[n.name].encoder, op.get_nodeattr("k"), op.get_nodeattr("prefix"), tensors[n.input[1]][..., 0])
            for n, op in ((n, getCustomOp(n)) for n in nodes["VitTokenDrop"])
        ]  # fmt: skip
        left = patches_left(patches, tokens - patches, drops)
        predicted = np.argmax(tensors[hardware.graph.output[0].name].reshape(len(images.pixels), -1), -1)
        masks = np.array([mask for _, mask in left]).reshape(len(left), len(images.pixels), patches)
        return cls(images.pixels, predicted, images.labels, np.array([i for i, _ in left], int), masks, images.text)

    def some(self, count: int, seed: int = 0) -> TokenSample:
        """``count`` of the images, drawn with ``seed``, in their order."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self.images))[:count])
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, images=self.images[chosen], predicted=self.predicted[chosen], labels=labels, left=self.left[:, chosen])

    @property
    def lines(self) -> list[str]:
        """What is on the picture, in words an image."""
        found = []
        for f, caption in enumerate(captions(self.predicted, self.labels)):
            left = [f"encoder {e} leaves {mask[f].sum()} of {mask[f].size} patches" for e, mask in zip(self.encoders, self.left)]
            found.append(", ".join([f"image {f + 1}: {caption.replace(chr(10), ', ')}", *left]))
        return found

    def figure(self, names: Sequence[str] | None = None) -> Figure:
        """The picture, with classes by their ``names`` if given; only of a network with token drops.

        Raises:
            UserError: there are fewer names than classes that are shown.
        """
        shown = max([*self.predicted.tolist(), *([] if self.labels is None else self.labels.tolist())], default=0)
        if names is not None and shown >= len(names):
            raise UserError(f"names: there are {len(names)}, and the images are of classes up to {shown}: give one for each class")
        return token_figure(self.images, list(zip(self.encoders.tolist(), self.left)), captions(self.predicted, self.labels, names))

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        with whole_file(path) as partial:
            np.savez_compressed(partial, **arrays)

    @classmethod
    def load(cls, path: Path) -> TokenSample | None:
        """Read the file; None where there is none.

        Raises:
            UserError: it is damaged.
        """
        if not path.is_file():
            return None
        try:
            arrays = {"labels": None} | read_arrays(path)
            return cls(**arrays | {"source": str(arrays["source"])})
        except (*BROKEN_ARRAYS, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged: {error}") from None


def sample_of_build(folder: Path) -> TokenSample | None:
    """The images that a build kept; None of a build that was not lowered."""
    path = BuildFolder(folder).tokens
    check_recorded(folder, path.relative_to(folder))
    return TokenSample.load(path)


def kept_tokens(folder: Path, count: int | None, seed: int) -> Figure:
    """The picture of ``count`` of the images that a build kept, drawn with ``seed``.

    Raises:
        UserError: it kept none, or fewer, or its network drops no tokens.
    """
    sample = sample_of_build(folder)
    if sample is None:
        raise UserError(f"--what tokens: {folder} keeps no images: its build did not come to the lowered graph; build again")
    if not len(sample.encoders):
        raise UserError(f"--what tokens: the model of {folder} has no token drop")
    return sample.some(some_of(count, len(sample.images), str(folder)), seed).figure()


def model_tokens(model: Path, count: int | None, seed: int) -> Figure:
    """The picture of ``count`` of the images beside a QONNX model (``.npz``), drawn with ``seed``, by its hardware graph.

    Raises:
        UserError: the file is not a model that can be built, it drops no tokens, there are no such images, or fewer of them.
    """
    source = _source(model)
    path = model.with_suffix(".npz")
    if not path.is_file():
        raise UserError(f"--what tokens: no images at {path}: `import` and `export` write them beside the model")
    images = BuildImages(path, seed=seed).load(input_shape(source), output_classes(source))
    chosen = images.some(some_of(count, images.total, str(path)))
    return _sample(model, source, images.only(chosen)).figure()


def network_tokens(model: Path, pixels: np.ndarray) -> TokenSample:
    """What the token drops of a QONNX model leave of ``pixels``, uint8 ``[F, H, W, C]``, by its hardware graph.

    Raises:
        UserError: the file is not a model that can be built, it drops no tokens, or the images do not fit it.
    """
    source = _source(model)
    return _sample(model, source, given_images(pixels, input_shape(source)))


def _source(model: Path) -> ModelWrapper:
    source = ModelWrapper(read_qonnx(model))
    check_op_types(source)
    return source


def _sample(model: Path, source: ModelWrapper, images: Images) -> TokenSample:
    hardware = lower(source.transform(TidySource())).model.transform(TidyLowered())
    if not any(kind_of(node) == "VitTokenDrop" for node in hardware.graph.node):
        raise UserError(f"{model} has no token drop, so all patches of its images stay")
    progress.status(f"running {len(images.pixels)} images through the hardware graph")
    parts = []
    for batch in np.array_split(images.index, -(-len(images.index) // AT_ONCE)):
        some = images.only(batch)
        parts.append(TokenSample.of(hardware, golden.run(hardware, {hardware.graph.input[0].name: some.pixels}), some))
    predicted, left = np.concatenate([p.predicted for p in parts]), np.concatenate([p.left for p in parts], axis=1)
    return replace(parts[0], images=images.pixels, labels=images.labels, predicted=predicted, left=left, source=images.text)
