"""The training configuration: a YAML file, checked once, then passed as objects."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import parse_yaml, read_yaml
from finn_vitprune.models.config import MAX_PREFIX, MlpActivation, NormKind, Pooling, ViTConfig
from finn_vitprune.options.base import said
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.training.data import Dataset, load_dataset
from finn_vitprune.training.parallel import Precision

Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Epochs = Annotated[int, Field(ge=0)]
POOL = (("pool", "token"), ("pool_heads", None))
"""Options of pooling, and what they are where they are left out."""
Part = Epochs | Annotated[float, Field(ge=0)]
"""Epochs, perhaps not whole."""
Positive = Annotated[float, Field(gt=0)]


class ConfigSection(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(ConfigSection):
    """The network; image size, channels and classes come from the data set.

    With ``timm`` the name of a timm ViT or DeiT (plain or distilled), the sizes are that model's and the
    others are not used; ``pretrained`` loads its weights. ``registers`` stand beside class token and patches. ``norm_pre``: a LayerNorm
    before the encoders, as CLIP has it. ``final_norm``: one after them. ``gated``: MLPs have gates, which ``activation`` is of (SwiGLU). ``pool``: timm's ``global_pool``, the class token, the mean of the
    patches, or a learned query that attends to them, with ``pool_heads`` heads, by default as many as an encoder has. ``norm``: what all LayerNorms are, LayerNorm or RMSNorm. ``qk_norm``: queries and
    keys of each head have one, too.
    """

    timm: str | None = None
    pretrained: bool = False
    image_size: Count | None = None
    patch_size: Count = 2
    dim: Count = 64
    depth: Count = 4
    heads: Count = 4
    mlp_ratio: Positive = 4.0
    registers: Annotated[int, Field(ge=0, lt=MAX_PREFIX)] = 0
    activation: MlpActivation = MlpActivation.GELU
    gated: bool = False
    norm_pre: bool = False
    final_norm: bool = True
    pool: Literal["token", "avg", "map"] = "token"
    pool_heads: Count | None = None
    norm: NormKind = NormKind.LAYER
    qk_norm: bool = False


class QuantSection(ConfigSection):
    """Bits of the weights, of the activations between layers, and (``outer_bits``) of the patch embedding's and the
    classifier's weights, without it as of the others.

    Before ``start_epoch`` of the student its weights and activations are floats; at the number of its
    epochs it is quantised after training only.
    """

    weight_bits: Literal[4, 8] = 8
    act_bits: Literal[4, 8] = 8
    outer_bits: Literal[4, 8] | None = None
    start_epoch: Epochs = 0


class PruneSection(ConfigSection):
    """Keep rates (exact decimals as written) and the encoders, from 1, that drop tokens.

    ``scope``: blocks and neurons compete within each matrix ("local") or over all encoders ("global").
    ``score_start``: scores start in the order of this score instead of at 0, from 0 to 1; where nothing moves them from there
    (``student.score_lr`` 0, ``student.hold_epochs`` all), weights that second-order pruning leaves make up for those that go.
    ``by_layer``: each layer has a share of its own by what second-order pruning of it costs, at the operations of equal shares
    (:mod:`finn_vitprune.pruning.layers`). ``lanes``: see :class:`PruneConfig`. ``ranked_prefix``: so many of the last prefix tokens
    behind the first one are ranked among the patches, as the reference does with the distillation token; the others are never dropped. Tokens are dropped from ``token_start_epoch`` of the student on, at a
    rate that falls over ``token_ramp_epochs`` (0: at once).
    """

    block_size: Count = 8
    block_keep: Rate = 0.5
    neuron_keep: Rate = 0.5
    scope: Literal["local", "global"] = "local"
    score_start: Score | None = None
    by_layer: bool = False
    lanes: Count = 1
    token_keep: Rate = 0.7
    drop_at: tuple[Count, ...] = ()
    ranked_prefix: Annotated[int, Field(ge=0)] = 0
    token_start_epoch: Epochs = 0
    token_ramp_epochs: Epochs = 0

    @field_validator("drop_at")
    @classmethod
    def _each_once(cls, drop_at: tuple[int, ...]) -> tuple[int, ...]:
        if twice := [encoder for encoder in drop_at if drop_at.count(encoder) > 1]:
            raise ValueError(f"encoder {twice[0]} is there twice, name it once")
        return drop_at


class TeacherSection(ConfigSection):
    """Training of the dense float teacher, which is also where the student starts.

    ``weights`` starts it from a file (a ``teacher.pt`` of a run, or a timm state dict). ``distill_from`` is
    another timm model that the student learns from instead, with its pretrained weights, or those of
    the file ``distill_weights``.
    """

    epochs: Epochs = 60
    weights: str | None = None
    distill_from: str | None = None
    distill_weights: str | None = None
    lr: Positive = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0


class StudentSection(ConfigSection):
    """Training of the pruned quantised student (0 epochs: the teacher only).

    ``weights`` starts it from a pruned network that this package wrote (QONNX, packed or not) instead of from the teacher. Training keeps
    what that network pruned, and takes no notice of ``prune.scope``, ``lanes``, ``score_start`` and ``by_layer``, ``score_lr``,
    ``warmup_epochs`` and ``hold_epochs``.
    ``score_lr`` is the learning rate of the pruning scores; 0 holds them. The keep rate of blocks and neurons is 1 for
    ``warmup_epochs`` and final for the last ``hold_epochs``. ``distill_weight``: share of the teacher's logits in the loss;
    ``distill_features``: weight of the squared error of the encoders' outputs beside it.
    """

    epochs: Epochs = 70
    weights: str | None = None
    warmup_epochs: Part = 4
    hold_epochs: Part = 25
    lr: Positive = 1e-3
    score_lr: Annotated[float, Field(ge=0)] = 1e-2
    weight_decay: float = 0.02
    temperature: Positive = 2.0
    distill_weight: Annotated[float, Field(ge=0, le=1)] = 0.9
    distill_features: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    @property
    def masks_stay(self) -> bool:
        """Whether what is pruned at the start is pruned all the time, and nothing else."""
        return self.weights is not None or (self.score_lr == 0 and self.hold_epochs == self.epochs)


class TrainConfig(ConfigSection):
    """Everything a training run depends on.

    ``data``: see :func:`finn_vitprune.training.data.load_dataset`. ``train_images``: train on a fixed,
    class-balanced subset of this size. ``eval_images``: so many held-out images, drawn with ``seed``, each class in its
    share, measure each epoch but the last of a phase, which always sees all. ``holdout``: so many training images, class-balanced,
    are not trained on and take the place of the held-out ones, to choose settings by. ``batch_size`` is over all processes.
    ``shift`` (pixels), ``flip`` (left to right) and ``crop`` (random resized, image folders) augment. ``precision``: see
    :class:`finn_vitprune.training.parallel.Products`. ``threads`` of a process.
    """

    name: str
    data: str = "digits"
    train_images: Count | None = None
    eval_images: Count | None = None
    holdout: Count | None = None
    seed: int = 0
    batch_size: Count = 64
    shift: Annotated[int, Field(ge=0)] = 1
    flip: bool = False
    crop: bool = False
    precision: Precision = "float32"
    threads: Count | Literal["all"] = 1
    model: ModelSection = ModelSection()
    quant: QuantSection = QuantSection()
    prune: PruneSection = PruneSection()
    teacher: TeacherSection = TeacherSection()
    student: StudentSection = StudentSection()

    def prune_config(self) -> PruneConfig:
        """Block size, keep rates and their scope as the pruning package takes them."""
        p = self.prune
        scope, lanes = (p.scope, p.lanes) if self.student.weights is None else ("local", 1)  # what a file keeps is as it is there
        return PruneConfig(p.block_size, str(p.block_keep), str(p.neuron_keep), scope, lanes)

    def load_data(self) -> Dataset:
        """The data set, and checks of what depends on it."""
        return load_dataset(self.data, self.train_images, self.model.image_size, self.holdout)

    def vit_config(self, dense: ViTConfig) -> ViTConfig:
        """The student before static pruning: ``dense`` with its bits and token drops.

        Raises:
            UserError: sizes that do not fit together, naming the values.
        """
        depth = len(dense.encoders)
        wrong = [i for i in self.prune.drop_at if i > dense.last_drop]
        if wrong:
            why = " (only the class token counts after the last encoder)" if dense.last_drop < depth else ""
            raise UserError(f"prune.drop_at: encoder {wrong[0]} of {depth} cannot drop tokens{why}: use encoders up to {dense.last_drop}")
        self.prune_config().check(dense)
        bits = {name: getattr(self.quant, name) for name in ("weight_bits", "act_bits", "outer_bits")}
        ranked = min(self.prune.ranked_prefix, max(0, dense.prefix - 1))
        if ranked and dense.pooling is Pooling.ATTENTION_PATCHES:
            raise UserError(f"prune.ranked_prefix {ranked}: attention pools the patches alone, so all prefix tokens stay to the end: use 0")
        config = dataclasses.replace(dense, **bits, ranked_prefix=ranked)
        return config.with_token_drop(str(self.prune.token_keep), self.prune.drop_at)


def load_config(path: Path | str, default_name: str | None = None, **overrides: object) -> TrainConfig:
    """Read and check a YAML file; ``overrides`` (``seed``, ``name`` ...) replace its top-level values.

    ``default_name`` is the run's name where the file has none.

    Raises:
        UserError: no such file, no YAML, an unknown key, or a value out of range: one line each.
    """
    content = read_yaml(Path(path), "training config")
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a training config: expected keys {', '.join(TrainConfig.model_fields)}")
    named = {} if default_name is None else {"name": default_name}
    return parse_config({**named, **content, **overrides}, str(path))


def parse_config(content: dict, source: str = "training config") -> TrainConfig:
    """Check a configuration given as nested dictionaries (``source`` names it in errors)."""
    try:
        config = TrainConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_one_line(error)}") from error
    _check_epochs(config, source)
    _check_shares(config, source)
    _check_pool(config.model, source)
    usual_values = (
        ("activation", MlpActivation.GELU), ("gated", False), ("registers", 0), ("norm_pre", False), ("final_norm", True),
        ("norm", NormKind.LAYER), ("qk_norm", False), *POOL,
    )  # fmt: skip
    for name, usual in usual_values:
        if (m := config.model).timm is not None and (given := getattr(m, name)) != usual:
            text = str(getattr(given, "value", given)).lower()
            raise UserError(f"{source}: model.{name} {text} is for networks of given sizes, {m.timm} has its own: leave it out")
    return config


def saved_config(content: dict, source: str) -> TrainConfig:
    """The configuration in a checkpoint. Before ``prune.ranked_prefix`` was an option, a distillation token was ranked."""
    prune = {"ranked_prefix": 1} | content.get("prune", {})
    return parse_config({**content, "prune": prune}, source)


def with_changes(content: dict, changes: Sequence[str]) -> dict:
    """A copy of nested ``content`` with the ``a.b=value`` changes of ``--set``; values are read as YAML.

    Raises:
        UserError: a change that is not KEY=VALUE, or whose key runs through a value.
    """
    result = copy.deepcopy(content)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not all(key.split(".")):
            raise UserError(f"--set {change}: expected KEY=VALUE, for example --set prune.block_keep=0.4")
        *parents, last = key.split(".")
        section = result
        for name in parents:
            section = section.setdefault(name, {})
            if not isinstance(section, dict):
                raise UserError(f"--set {change}: {name} is a value, not a section")
        section[last] = parse_yaml(text, f"--set {change}: the value")
    return result


def _check_pool(model: ModelSection, source: str) -> None:
    """Heads of attention pooling need that, and it needs a LayerNorm before it."""
    if model.pool_heads is not None and model.timm is None:
        if model.pool != "map":
            raise UserError(f"{source}: model.pool_heads {model.pool_heads} is for model.pool map, not {model.pool}: leave it out")
        if model.dim % model.pool_heads:
            raise UserError(f"{source}: model.pool_heads {model.pool_heads} does not divide model.dim {model.dim}")
    if model.pool == "map" and model.gated:
        raise UserError(f"{source}: model.pool map has an MLP without gates: leave model.gated out")
    if model.pool == "map" and not model.final_norm:
        raise UserError(f"{source}: model.pool map reads the LayerNorm after the encoders: leave model.final_norm false out")


def _check_shares(config: TrainConfig, source: str) -> None:
    """Shares by layer need the scores that tell them, and blocks that compete within their matrix."""
    p = config.prune
    if p.by_layer and p.score_start is not Score.SECOND_ORDER:
        raise UserError(f"{source}: prune.by_layer needs prune.score_start second-order, or leave it out")
    if p.by_layer and p.scope == "global":
        raise UserError(f"{source}: prune.by_layer and prune.scope global exclude each other: use scope local, or leave it out")


def _check_epochs(config: TrainConfig, source: str) -> None:
    """What happens at an epoch of the student must happen before its last one ends."""
    s, p, q = config.student, config.prune, config.quant
    ends = {
        "student.warmup_epochs + student.hold_epochs": 0 if s.weights is not None else s.warmup_epochs + s.hold_epochs,
        "prune.token_start_epoch + prune.token_ramp_epochs": p.token_start_epoch + p.token_ramp_epochs,
        "quant.start_epoch": q.start_epoch,
    }
    for name, end in ends.items():
        if 0 < s.epochs < end:
            raise UserError(f"{source}: {name} = {end} is beyond student.epochs = {s.epochs}: use {s.epochs} or less")


def _one_line(error: ValidationError) -> str:
    """The first problem in words, with the nearest known key for an unknown one."""
    problem = error.errors()[0]
    where = ".".join(str(p) for p in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where} = {reprlib.repr(problem['input'])}: {said(error)}"
    section: type[BaseModel] = TrainConfig
    for part in problem["loc"][:-1]:
        section = section.model_fields[str(part)].annotation
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {where} ({hint})"
