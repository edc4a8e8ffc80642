"""The recognised network as this project's model in float, and how far it is from the file itself in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finn_vitprune.errors import UserError
from finn_vitprune.files import sha256
from finn_vitprune.ingest.check.check_float import judged
from finn_vitprune.ingest.check.checked import refusal
from finn_vitprune.ingest.check.file_run import file_input, run_file
from finn_vitprune.ingest.onnx_file.model_file import Kind, ModelFile, load
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.timm_weights import load_timm
from finn_vitprune.models.vit import PrunedViT

FLOAT_BATCH = 16
"""Images that a float network answers at once."""


def float_network(vit: RecognisedViT, mean: Sequence[float], std: Sequence[float]) -> PrunedViT:
    """The network in float on uint8 images ``[B, H, W, C]`` (as floats), in evaluation mode.

    Args:
        mean, std: of pixels / 255, one a channel; what the file's input is normalised with.
    """
    network = PrunedViT(vit.config)
    weights = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in vit.weights.items()}
    load_timm(network, weights, mean, std)
    network.quantise(False)
    return network.eval()


Values = tuple[float, ...]


def normalisation(
    model: Path, vit: RecognisedViT, given: tuple[Values | None, Values | None], of_data: tuple[Values, Values] | None
) -> tuple[Values, Values]:
    """Mean and deviation of pixels / 255, one a channel: of the file, as given, or of the data.

    Args:
        given: of ``--mean`` and ``--std``. of_data: None where the data does not say.
    Raises:
        UserError: options beside a file that normalises itself, of another number of channels, or missing.
    """
    options = dict(zip(("--mean", "--std"), given, strict=True))
    if vit.scaling is not None:
        if used := next((option for option, values in options.items() if values is not None), None):
            raise UserError(f"{used}: {model} normalises its pixels itself, leave it out")
        return vit.scaling.mean_and_std()
    for option, values in options.items():
        if values is None and of_data is None:
            raise UserError(f"{model} does not normalise its pixels and the data does not say how: give --mean and --std")
        if values is not None and len(values) not in (1, vit.config.channels):
            raise UserError(f"{option} has {len(values)} numbers, the model {vit.config.channels} channels")
    mean, std = (values if values is not None else own for values, own in zip(given, of_data or (None, None), strict=True))
    assert mean is not None and std is not None  # or it was refused
    if min(std) <= 0:
        raise UserError(f"--std {min(std)} is not positive")
    mean, std = (v * vit.config.channels if len(v) == 1 else v for v in (mean, std))
    return mean, std


@dataclass(frozen=True)
class FloatFile:
    """A float ONNX file as a reference for evaluation: data that can be pickled, so that workers read it.

    mean, std: as :func:`normalisation` gives them.
    """

    model: Path
    mean: Values
    std: Values

    @classmethod
    def of(cls, model: Path, given: tuple[Values | None, Values | None], of_data: tuple[Values, Values] | None) -> FloatFile:
        """Read and check the file.

        Raises:
            UserError: it is not a float network that import takes, or mean and deviation do not fit.
        """
        return cls(model, *normalisation(model, recognised_file(model), given, of_data))

    @property
    def identity(self) -> str:
        """A digest of what the answers depend on."""
        return f"{sha256(self.model)} {self.mean} {self.std}"

    @torch.inference_mode()
    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """float32 ``[F, classes]`` of uint8 ``[F, H, W, C]``."""
        network = _loaded(self, sha256(self.model))
        parts = torch.from_numpy(pixels).split(FLOAT_BATCH)
        return np.concatenate([network(part.float()).numpy() for part in parts])


@lru_cache(maxsize=1)
def _loaded(file: FloatFile, digest: str) -> PrunedViT:
    return float_network(recognised_file(file.model), file.mean, file.std)


def recognised_file(path: Path) -> RecognisedViT:
    """The network in a float ONNX file.

    Raises:
        UserError: it cannot be read, is QONNX already, or is not supported (node, cause, what would help).
    """
    return recognised(path)[1]


def recognised(path: Path) -> tuple[ModelFile, RecognisedViT]:
    """The file and the network in it, as :func:`recognised_file`."""
    file = load(path)
    if file.kind is Kind.QONNX:
        raise UserError(f"{path} is QONNX: `finn-vitprune build` takes it as it is")
    found, rejections = judged(file, path)
    if rejections:
        more = f" ({len(rejections) - 1} more: `finn-vitprune check` lists them)" if len(rejections) > 1 else ""
        raise UserError(f"{path} cannot be imported: {refusal(rejections)}{more}")
    assert found.vit is not None  # nothing was rejected
    return file, found.vit


def configured(network: PrunedViT, config: ViTConfig) -> PrunedViT:
    """A copy in float and evaluation mode, of another configuration: other token drops or bits."""
    copy = PrunedViT(config).to(network.pos_embed.device)
    copy.load_state_dict(network.state_dict())
    copy.quantise(False)
    return copy.eval()


@torch.no_grad()
def as_in_file(network: PrunedViT, vit: RecognisedViT, images: Tensor) -> Tensor:
    """Logits ``[B, classes]`` of the file's own form, with what import replaces still in place.

    For a network that import takes as it is, this is ``network(images)``.
    """
    if not vit.changes:
        return network(images)
    x = network.embed(images)
    for block in network.blocks:
        x = block(x, None)
    return _classify(network, vit, x)


def _classify(network: PrunedViT, vit: RecognisedViT, x: Tensor) -> Tensor:
    """Pooling and classifiers of the file on the last residual sum ``[B, N, D]``."""
    logits = network.head(network.pooled(x)).flatten(1)
    if not vit.distilled_head:
        return logits
    w = {k: torch.from_numpy(np.array(v, np.float32)).to(x.device) for k, v in vit.weights.items()
         if k.startswith(("norm.", "head_dist."))}  # fmt: skip
    second = network.norm(x[:, 1]) * w["norm.weight"] + w["norm.bias"] if network.config.final_norm else x[:, 1]
    return (logits + F.linear(second, w["head_dist.weight"], w["head_dist.bias"])) / 2


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
    path: Path, kind: Kind, vit: RecognisedViT, network: PrunedViT, images: np.ndarray, mean: Sequence[float], std: Sequence[float]
) -> Comparison:
    """Run file and network on uint8 ``images`` ``[F, H, W, C]``; QDQ files without activation quantisers.

    Args:
        network: from :func:`finn_vitprune.importing.float_model.float_network`, at ``mean`` and ``std``.
    Raises:
        UserError: onnxruntime cannot run the file.
    """
    inputs = file_input(vit, images, mean, std)
    theirs = run_file(path, kind, vit, inputs, torch.get_num_threads())
    device = network.pos_embed.device
    ours = as_in_file(network, vit, torch.from_numpy(images).float().to(device)).cpu()
    if vit.probabilities:
        ours = ours.softmax(-1)
    largest = float(np.abs(ours.numpy() - theirs).max())
    return Comparison(len(images), largest, float(np.abs(theirs).max()))
