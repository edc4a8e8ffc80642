"""Small networks, of timm and others, half pruned and frozen, and their way to the hardware graph: what tests of every kind of network begin with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from qonnx.core.modelwrapper import ModelWrapper

from finn_vitprune.builds.checks.lowering_check import LoweringCheck, check_lowering
from finn_vitprune.export.export import to_qonnx
from finn_vitprune.export.gate import check_export
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.models.freeze import freeze
from finn_vitprune.models.timm_weights import load_timm
from finn_vitprune.models.vit import EncoderMask, PrunedViT
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.cut import cut
from finn_vitprune.pruning.scores import PruneScores
from finn_vitprune.transforms.lowering.lower import Lowered, lower
from tests.training.test_models import MEAN, STD, images

BLOCK = 8


def half_pruned(config: ViTConfig, state: Mapping[str, torch.Tensor], count: int = 8) -> tuple[PrunedViT, torch.Tensor]:
    """A network with timm's weights, half of its blocks and neurons gone by magnitude, calibrated with ``count`` images, frozen; and these."""
    model = PrunedViT(config)
    load_timm(model, state, MEAN, STD)
    batch = images(count, config)
    return freeze(cut(model.eval(), calibrated_masks(model, batch, "0.5"))), batch


def calibrated_masks(model: PrunedViT, batch: torch.Tensor, block_keep: str = "0.6") -> list[EncoderMask]:
    """Masks by magnitude of this share of the blocks and half of the neurons, with which the model is calibrated."""
    scores = PruneScores(model.config, PruneConfig(block_size=BLOCK, block_keep=block_keep, neuron_keep="0.5"))
    scores.set_to_magnitude(model)
    masks = scores.masks()
    model.calibrate(batch, masks)
    return masks


def cut_without_a_head(model: PrunedViT, batch: torch.Tensor) -> tuple[PrunedViT, list[EncoderMask]]:
    """A network with heads of 8 channels, calibrated and cut, the second head of its first encoder gone; and its masks."""
    with torch.no_grad():
        model.blocks[0].attn.qkv.weight[8:16] *= 1e-4  # queries of that head
    masks = calibrated_masks(model, batch)
    return cut(model.eval(), masks), masks


def grey_images(count: int = 8) -> torch.Tensor:
    """The same random images ``[count, 8, 8, 1]`` each time."""
    return torch.randint(0, 256, (count, 8, 8, 1), generator=torch.Generator().manual_seed(1)).float()


def qonnx_of(model: PrunedViT) -> ModelWrapper:
    """The QONNX graph of a frozen network."""
    graph = to_qonnx(model)
    graph.set_metadata_prop("block_size", str(BLOCK))
    return graph


def lowered_alike(model: PrunedViT, batch: torch.Tensor, graph: ModelWrapper) -> tuple[Lowered, LoweringCheck]:
    """The graph lowered, and what was compared. Asserts that it passes the gate of the export, and that its codes are those of the hardware graph but for ties."""
    pixels = batch.numpy().astype(np.uint8)
    gate = check_export(model, graph, pixels[:4])
    assert gate.passed, gate.reason
    lowered = lower(graph)
    check, _, _ = check_lowering(graph, lowered, pixels)
    assert check.problem == "" and check.ties < 1e-3 * check.codes
    return lowered, check
