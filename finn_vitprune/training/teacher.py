"""The dense float network: where a student starts, and what it learns from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from timm.data import ImageNetInfo
from timm.layers import AttentionPoolLatent, Mlp, SwiGLU, get_act_layer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from finn_vitprune.errors import UserError
from finn_vitprune.models.timm_weights import NORMS, near
from finn_vitprune.training.checkpoint import tensors_of
from finn_vitprune.training.config import TrainConfig, saved_config
from finn_vitprune.training.data import Dataset
from finn_vitprune.training.display import log

EPS = 1e-6
"""Of the LayerNorms that timm gives a vision transformer."""


def make_teacher(config: TrainConfig, data: Dataset) -> VisionTransformer:
    """The teacher at its start: a timm model by name, or one of the configured sizes.

    Raises:
        UserError: no such timm model, sizes that do not fit the images, or a weight file that does not fit.
    """
    m = config.model
    height, width = data.image_size
    if m.timm is not None:
        teacher = timm_model(m.timm, data, m.pretrained and config.teacher.weights is None)
    else:
        if height != width or height % m.patch_size:
            raise UserError(f"model.patch_size {m.patch_size} does not divide images of {height} x {width}")
        if m.dim % m.heads:
            raise UserError(f"model.heads {m.heads} does not divide model.dim {m.dim}")
        teacher = _narrow(config, data)
    if config.teacher.weights is not None:
        path = Path(config.teacher.weights)
        learned = load_weights(teacher, path, data)
        if not learned and config.teacher.epochs == 0:
            raise UserError(f"teacher.weights: {path} has other classes than {data.name}: train a classifier of these (teacher.epochs)")
    return teacher


def _narrow(config: TrainConfig, data: Dataset) -> VisionTransformer:
    """A vision transformer of the configured sizes.

    timm starts all matrices at a deviation of 0.02, made for widths of 384 and more; narrow networks
    learn slowly from there, so matrices start as PyTorch's own and positions at a deviation of 0.2.
    """
    m = config.model
    norm: Any = partial(NORMS[m.norm][0], eps=EPS)
    teacher = VisionTransformer(
        img_size=data.image_size[0],
        patch_size=m.patch_size,
        in_chans=data.channels,
        num_classes=data.classes,
        embed_dim=m.dim,
        depth=m.depth,
        num_heads=m.heads,
        mlp_ratio=m.mlp_ratio,
        act_layer=m.activation.value,
        mlp_layer=SwiGLU if m.gated else Mlp,
        pre_norm=m.norm_pre,
        final_norm=m.final_norm,
        reg_tokens=m.registers,
        global_pool=m.pool,
        norm_layer=norm,
        qk_norm=m.qk_norm,
    )
    if m.pool == "map":
        teacher.attn_pool = AttentionPoolLatent(
            m.dim, num_heads=m.pool_heads or m.heads, mlp_ratio=m.mlp_ratio, norm_layer=norm, act_layer=get_act_layer(m.activation.value)
        )
    for module in teacher.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            module.reset_parameters()
    for tokens in (teacher.pos_embed, teacher.reg_token):
        if tokens is not None:
            nn.init.normal_(tokens, std=0.2)
    return teacher


def timm_model(name: str, data: Dataset, pretrained: bool) -> nn.Module:
    """A timm model for the data set's images and classes; ``pretrained`` with a classifier as :func:`load_weights` makes it."""
    if not timm.is_model(name):
        raise UserError(f"no timm model {name}{near(name)}")
    options: dict[str, Any] = {"in_chans": data.channels}
    if name.startswith(("vit_", "deit_")):
        options["img_size"] = data.image_size
    try:
        model = timm.create_model(name, num_classes=data.classes, **options)
        if pretrained:
            known = timm.create_model(name, pretrained=True, **options).state_dict()
            _fit_classifiers(known, model, data, name)
            model.load_state_dict(known)
    except Exception as error:
        raise UserError(f"timm cannot make {name}: {str(error).splitlines()[0]}") from error
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
    if any(side % p for side, p in zip(data.image_size, patch)):
        height, width = data.image_size
        raise UserError(f"patches of {patch[0]} pixels ({name}) do not divide images of {height} x {width}")
    return model


def load_weights(teacher: nn.Module, path: Path, data: Dataset | None = None) -> bool:
    """Load a state dict: ``teacher.pt`` of a run, or what timm saved (also under "state_dict" or "model", or as safetensors).

    A classifier of ImageNet's 1,000 classes gives its rows of the classes of ``data`` where these bear ImageNet's names. One of
    another number of classes is left out.

    Returns:
        Whether the model has a classifier of the file.
    Raises:
        UserError: no such file, no state dict, or one of another network, naming a tensor.
    """
    try:
        content = _read(path)
    except OSError as error:
        raise UserError(f"teacher.weights: cannot read {path}: {error.strerror}") from error
    except UserError as error:
        raise UserError(f"teacher.weights: {error}") from error
    for key in ("teacher", "state_dict", "model"):
        content = content[key] if isinstance(content, dict) and key in content else content
    try:
        learned = data is None or _fit_classifiers(content, teacher, data, str(path))
        teacher.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        detail = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(f"teacher.weights: {path} does not fit the model: {detail[-1]}") from error
    return learned


def _read(path: Path) -> Any:
    """What a file of ``torch.save`` or of safetensors holds."""
    if path.suffix != ".safetensors":
        return tensors_of(path, "state dict")
    path.open("rb").close()
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise UserError(f"{path} is not a safetensors file: {' '.join(str(error).split())}") from error


def _fit_classifiers(state: dict[str, Tensor], model: nn.Module, data: Dataset, source: str) -> bool:
    """Give classifiers in ``state`` the classes of ``data``: rows of ImageNet's, or what the model has.

    Returns:
        Whether all are of ``state``.
    """
    own, rows, learned = model.state_dict(), imagenet_rows(data.class_names), True
    parts = getattr(model, "pretrained_cfg", {}).get("classifier", "head")
    for part in (parts,) if isinstance(parts, str) else parts:
        names = [name for name in (f"{part}.weight", f"{part}.bias") if name in state and name in own]
        if not names or state[names[0]].shape[1:] != own[names[0]].shape[1:] or len(state[names[0]]) == data.classes:
            continue
        chosen = rows if len(state[names[0]]) == len(ImageNetInfo().label_names()) else None
        for name in names:
            state[name] = own[name] if chosen is None else state[name][chosen]
        what = "starts anew" if chosen is None else f"has its rows of the {data.classes} classes"
        log.info("the classifier %s of %s %s", part, source, what)
        learned &= chosen is not None
    return learned


def imagenet_rows(names: tuple[str, ...] | None) -> Tensor | None:
    """Numbers of classes among ImageNet's 1,000, None unless all are among them."""
    number = {name: i for i, name in enumerate(ImageNetInfo().label_names())}
    known = names is not None and set(names) <= set(number)
    return torch.tensor([number[name] for name in names]) if known else None


TEACHER_KEYS = (
    "data", "train_images", "holdout", "seed", "batch_size", "shift", "flip", "crop", "precision", "model", "teacher",
)  # fmt: skip
"""What the teacher's training depends on."""


def check_same_teacher(config: TrainConfig, content: dict, path: Path) -> None:
    """The checkpoint ``content`` must hold the finished teacher that ``config`` would train.

    Raises:
        UserError: a setting differs, or the teacher there is not finished.
    """
    there = saved_config(content["config"], str(path))
    changed = [k for k in TEACHER_KEYS if getattr(config, k) != getattr(there, k)]
    if changed:
        raise UserError(f"cannot take the teacher of {path}: {', '.join(changed)} differ from this run's")
    if content["progress"]["teacher_epochs"] < config.teacher.epochs:
        raise UserError(f"cannot take the teacher of {path}: its training is not finished")


def logits(model: nn.Module, images: Tensor, data: Dataset) -> Tensor:
    """Logits of a timm model on ``[B, H, W, C]`` images of uint8 values."""
    mean, std = (images.new_tensor(v).view(1, 1, 1, -1) for v in (data.mean, data.std))
    return model(((images / 255.0 - mean) / std).permute(0, 3, 1, 2))
