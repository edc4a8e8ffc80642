"""The dense float network: where a student starts, and what it learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.timm_weights import near
from finn_vitprune.training.checkpoint import tensors_of
from finn_vitprune.training.config import TrainConfig
from finn_vitprune.training.data import Dataset


def make_teacher(config: TrainConfig, data: Dataset) -> VisionTransformer:
    """The teacher at its start: a timm model by name, or one of the configured sizes.

    Raises:
        UserError: no such timm model, sizes that do not fit the images, or a weight file that does not fit.
    """
    m = config.model
    height, width = data.image_size
    if m.timm is not None:
        teacher = timm_model(m.timm, data, m.pretrained)
    else:
        if height != width or height % m.patch_size:
            raise UserError(f"model.patch_size {m.patch_size} does not divide images of {height} x {width}")
        if m.dim % m.heads:
            raise UserError(f"model.heads {m.heads} does not divide model.dim {m.dim}")
        teacher = _narrow(config, data)
    if config.teacher.weights is not None:
        load_weights(teacher, Path(config.teacher.weights))
    return teacher


def _narrow(config: TrainConfig, data: Dataset) -> VisionTransformer:
    """A vision transformer of the configured sizes.

    timm starts all matrices at a deviation of 0.02, made for widths of 384 and more; narrow networks
    learn slowly from there, so matrices start as PyTorch's own and positions at a deviation of 0.2.
    """
    m = config.model
    teacher = VisionTransformer(
        img_size=data.image_size[0],
        patch_size=m.patch_size,
        in_chans=data.channels,
        num_classes=data.classes,
        embed_dim=m.dim,
        depth=m.depth,
        num_heads=m.heads,
        mlp_ratio=m.mlp_ratio,
    )
    for module in teacher.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.reset_parameters()
    nn.init.normal_(teacher.pos_embed, std=0.2)
    return teacher


def timm_model(name: str, data: Dataset, pretrained: bool) -> nn.Module:
    """A timm model for the data set's images and classes."""
    if not timm.is_model(name):
        raise UserError(f"no timm model {name}{near(name)}")
    options: dict[str, Any] = {"num_classes": data.classes, "in_chans": data.channels}
    if name.startswith(("vit_", "deit_")):
        options["img_size"] = data.image_size
    try:
        model = timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        raise UserError(f"timm cannot make {name}: {str(error).splitlines()[0]}") from error
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
    if any(side % p for side, p in zip(data.image_size, patch)):
        height, width = data.image_size
        raise UserError(f"patches of {patch[0]} pixels ({name}) do not divide images of {height} x {width}")
    return model


def load_weights(teacher: nn.Module, path: Path) -> None:
    """Load a state dict: ``teacher.pt`` of a run, or what timm saved (also under "state_dict" or "model").

    Raises:
        UserError: no such file, no state dict, or one of another network, naming a tensor.
    """
    try:
        content = tensors_of(path, "state dict")
    except OSError as error:
        raise UserError(f"teacher.weights: cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"teacher.weights: {error}") from error
    for key in ("teacher", "state_dict", "model"):
        content = content[key] if isinstance(content, dict) and key in content else content
    try:
        teacher.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        detail = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"teacher.weights: {path} does not fit the model: {detail[-1]}") from error


TEACHER_KEYS = ("data", "train_images", "seed", "batch_size", "shift", "flip", "crop", "model", "teacher")
"""What the teacher's training depends on."""


def check_same_teacher(config: TrainConfig, content: dict, path: Path) -> None:
    """The checkpoint ``content`` must hold the finished teacher that ``config`` would train.

    Raises:
        UserError: a setting differs, or the teacher there is not finished.
    """
    here, there = config.model_dump(mode="json"), content["config"]
    changed = [k for k in TEACHER_KEYS if here[k] != there.get(k)]
    if changed:
        raise UserError(f"cannot take the teacher of {path}: {', '.join(changed)} differ from this run's")
    if content["progress"]["teacher_epochs"] < config.teacher.epochs:
        raise UserError(f"cannot take the teacher of {path}: its training is not finished")


def logits(model: nn.Module, images: Tensor, data: Dataset) -> Tensor:
    """Logits of a timm model on ``[B, H, W, C]`` images of uint8 values."""
    mean, std = (images.new_tensor(v).view(1, 1, 1, -1) for v in (data.mean, data.std))
    return model(((images / 255.0 - mean) / std).permute(0, 3, 1, 2))


