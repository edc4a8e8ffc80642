"""The training configuration: a YAML file, checked once, then passed as objects."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finn_vitprune.errors import UserError
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.pruning.config import PruneConfig, check_block_size
from finn_vitprune.training.data import Dataset

Rate = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """The network; image size, channels and classes come from the data set."""

    patch_size: Count = 2
    dim: Count = 64
    depth: Count = 4
    heads: Count = 4
    mlp_ratio: Positive = 4.0


class QuantSection(_Section):
    """Bits of the weights and of the activations between layers."""

    weight_bits: Literal[4, 8] = 8
    act_bits: Literal[4, 8] = 8


class PruneSection(_Section):
    """Keep rates (exact decimals as written) and the encoders, from 1, that drop tokens."""

    block_size: Count = 8
    block_keep: Rate = 0.5
    neuron_keep: Rate = 0.5
    token_keep: Rate = 0.7
    token_drop_layers: tuple[Count, ...] = ()


class TeacherSection(_Section):
    """Training of the dense float teacher."""

    epochs: Count = 60
    lr: Positive = 2e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0


class StudentSection(_Section):
    """Training of the pruned quantised student. ``score_lr`` is the rate of the pruning scores."""

    epochs: Count = 70
    warmup_epochs: Annotated[int, Field(ge=0)] = 4
    hold_epochs: Annotated[int, Field(ge=0)] = 25
    lr: Positive = 1e-3
    score_lr: Positive = 1e-2
    weight_decay: float = 0.02
    temperature: Positive = 2.0
    distill_weight: Annotated[float, Field(ge=0, le=1)] = 0.9


class TrainConfig(_Section):
    """Everything a training run depends on."""

    name: str
    dataset: str = "digits"
    seed: int = 0
    batch_size: Count = 64
    shift: Annotated[int, Field(ge=0)] = 1
    model: ModelSection = ModelSection()
    quant: QuantSection = QuantSection()
    prune: PruneSection = PruneSection()
    teacher: TeacherSection = TeacherSection()
    student: StudentSection = StudentSection()

    def prune_config(self) -> PruneConfig:
        """Block size and keep rates as the pruning package takes them."""
        p = self.prune
        return PruneConfig(p.block_size, str(p.block_keep), str(p.neuron_keep))

    def vit_config(self, data: Dataset) -> ViTConfig:
        """The network before static pruning, with its token drops.

        Raises:
            UserError: sizes that do not fit together, naming the values.
        """
        m, (height, width, channels) = self.model, data.train_images.shape[1:]
        if height != width or height % m.patch_size:
            raise UserError(f"model.patch_size {m.patch_size} does not divide images of {height} x {width}")
        if m.dim % m.heads:
            raise UserError(f"model.heads {m.heads} does not divide model.dim {m.dim}")
        wrong = [i for i in self.prune.token_drop_layers if i >= m.depth]
        if wrong:
            raise UserError(
                f"prune.token_drop_layers: encoder {wrong[0]} of {m.depth} cannot drop tokens (only the "
                f"class token counts after the last encoder): use encoders below {m.depth}"
            )
        config = ViTConfig.dense(
            height,
            channels,
            m.patch_size,
            m.dim,
            m.heads,
            m.depth,
            data.classes,
            m.mlp_ratio,
            weight_bits=self.quant.weight_bits,
            act_bits=self.quant.act_bits,
        )
        check_block_size(config, self.prune.block_size)
        return config.with_token_drop(str(self.prune.token_keep), self.prune.token_drop_layers)


def load_config(path: Path | str, **overrides: object) -> TrainConfig:
    """Read and check a YAML file; ``overrides`` (``seed``, ``name`` ...) replace its top-level values.

    Raises:
        UserError: no such file, no YAML, an unknown key, or a value out of range: one line each.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read training config {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(
            f"{path} is not a training config: expected keys {', '.join(TrainConfig.model_fields)}"
        )
    return parse_config({**content, **overrides}, str(path))


def parse_config(content: dict, source: str = "training config") -> TrainConfig:
    """Check a configuration given as nested dictionaries (``source`` names it in errors)."""
    try:
        return TrainConfig.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{source}: {_one_line(error)}") from error


def _one_line(error: ValidationError) -> str:
    """The first problem in words, with the nearest known key for an unknown one."""
    problem = error.errors()[0]
    where = ".".join(str(p) for p in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where} = {problem['input']!r}: {problem['msg']}"
    section: type[BaseModel] = TrainConfig
    for part in problem["loc"][:-1]:
        section = section.model_fields[str(part)].annotation
    known = list(section.model_fields)
    near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
    return f"unknown key {where} ({hint})"
