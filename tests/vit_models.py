"""Small random networks for the tests: pruned by magnitude, calibrated, frozen, exported to QONNX."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from finn_vitprune.export.export import to_qonnx
from finn_vitprune.files import whole_file
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.timm_weights import config_of_timm, load_timm
from finn_vitprune.models.vit import PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from tests.conftest import NETWORKS


@cache
def _bytes(*arguments) -> tuple[bytes, np.ndarray]:
    """The file and the images of :func:`_network`, made once for all processes of a run of the tests."""
    said = repr(arguments)
    if NETWORKS not in os.environ or " at 0x" in said:  # no tests, or functions that another process has elsewhere
        return _network(*arguments)
    path = Path(os.environ[NETWORKS]) / f"{hashlib.sha256(said.encode()).hexdigest()}.npz"
    if not path.is_file():
        file, images = _network(*arguments)
        with whole_file(path) as partial:
            np.savez(partial, onnx=np.frombuffer(file, np.uint8), images=images)
    with np.load(path) as found:
        return found["onnx"].tobytes(), found["images"]


def _network(
    image: int,
    patch: int,
    dim: int,
    heads: int,
    depth: int,
    drop_at: tuple[int, ...],
    token_keep: str,
    block: int,
    keep: str,
    seed: int,
    bits: int,
    bias: float,
    options: tuple[tuple[str, object], ...],
) -> tuple[bytes, np.ndarray]:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    timm_model = VisionTransformer(
        img_size=image, patch_size=patch, in_chans=1, num_classes=10, embed_dim=dim, depth=depth, num_heads=heads, **dict(options)
    ).eval()
    for name, parameter in timm_model.named_parameters():
        if bias and name.endswith(".bias"):
            nn.init.normal_(parameter, std=bias)
    config = replace(config_of_timm(timm_model), weight_bits=bits, act_bits=bits)
    config = config.with_token_drop(token_keep, drop_at)
    model = PrunedViT(config)
    load_timm(model, timm_model.state_dict(), (0.5,), (0.5,))
    scores = PruneScores(config, PruneConfig(block_size=block, block_keep=keep, neuron_keep=keep))
    scores.set_to_magnitude(model)
    masks = scores.masks()
    images = torch.randint(0, 256, (16, image, image, 1)).float()
    model.calibrate(images, masks)
    model.eval()
    exported = to_qonnx(freeze(cut(model, masks)))
    exported.set_metadata_prop("block_size", str(block))
    return exported.model.SerializeToString(), images.numpy().astype(np.uint8)


def random_vit(
    image: int = 4,
    patch: int = 2,
    dim: int = 16,
    heads: int = 2,
    depth: int = 2,
    drop_at: tuple[int, ...] = (1,),
    token_keep: str = "0.5",
    block: int = 8,
    keep: str = "0.5",
    seed: int = 0,
    bits: int = 8,
    bias: float = 0.0,
    **options,
) -> tuple[ModelWrapper, np.ndarray]:
    """A QONNX model and uint8 images ``[16, image, image, 1]``; by default 5 tokens, 2 encoders, one drop.

    ``bits`` are those of weights and activations (the residual stream stays INT16); ``bias`` is the standard deviation
    of all biases; ``options`` are timm's.
    """
    data, images = _bytes(image, patch, dim, heads, depth, drop_at, token_keep, block, keep, seed, bits, bias, tuple(options.items()))
    return ModelWrapper(data), images
