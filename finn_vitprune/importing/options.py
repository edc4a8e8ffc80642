"""What the user asked of an import, checked against the network before any work."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from finn_vitprune.errors import UserError
from finn_vitprune.files import output_path
from finn_vitprune.importing.float_model import TOLERANCE, normalisation
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.options import check_types
from finn_vitprune.pruning.choices import Rounding, Score, check_drops, check_shares
from finn_vitprune.pruning.config import PruneConfig, check_block_size
from finn_vitprune.training.config import PruneSection, QuantSection, StudentSection, TrainConfig

BLOCK_SIZES = (16, 8, 4, 2)
"""Tried in this order where no block size is given; then the largest number up to the first that divides all widths, then the smallest."""
BATCH, LEAST_BATCH, STEPS = 64, 8, 25
"""Images a step, at most and at least, and steps that an epoch has where there are images enough."""
MIN_IMAGES = 10
"""A data set has so many at least."""
ShareText = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A share, the exact decimal as written."""
Bits = Literal[4, 8]
EPOCH_IMAGES = 500
"""Held-out images that an epoch of fine-tuning, but the last, is measured on."""


@dataclass(frozen=True)
class FineTune:
    """Fine-tuning: epochs of distillation (0: none), the learning rate at its height, images a step; None: by the loss, by the images.

    shift, flip: augmentation; flip is for the crops of few calibration images, too. train_images: calibrate and fine-tune on a
    fixed, class-balanced subset of this size. features: weight of the squared error of the encoders' outputs beside that of the logits.
    """

    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    train_images: Annotated[int, Field(ge=MIN_IMAGES)] | None = None
    shift: Annotated[int, Field(ge=0)] = 0
    flip: bool = False
    features: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0

    def __post_init__(self) -> None:
        check_types(self)
        given = {"--learning-rate": self.learning_rate, "--batch-size": self.batch_size, "--shift": self.shift or None}
        if not self.epochs and (unused := next((option for option, value in given.items() if value is not None), None)):
            raise UserError(f"{unused} {given[unused]} is for fine-tuning: add --fine-tune-epochs, or leave it out")

    def batch_for(self, images: int) -> int:
        """Images a step for so many in an epoch: BATCH, fewer where an epoch would have fewer than STEPS steps."""
        return min(BATCH, max(LEAST_BATCH, images // STEPS)) if self.batch_size is None else self.batch_size


@dataclass(frozen=True)
class ImportOptions:
    """All of one import. Shares are exact decimals as written; encoders in ``drop_at`` count from 1.

    block_size None: the first of BLOCK_SIZES that fits, else another that does. neuron_keep None: as block_keep. mean, std: of pixels
    / 255, one number or one a channel; None: what the file does itself, else those of the data. reconstruct: fit the layers to the
    float network's after pruning. rounding None: corrected for weights of fewer than 8 bits.
    """

    model: Path
    data: str
    output: Path
    score: Score = Score.SECOND_ORDER
    reconstruct: bool = True
    block_size: Annotated[int, Field(ge=2)] | None = None
    block_keep: ShareText = "1"
    neuron_keep: ShareText | None = None
    token_keep: ShareText = "1"
    drop_at: tuple[int, ...] = ()
    weight_bits: Bits = 8
    act_bits: Bits = 8
    outer_bits: Bits = 8
    rounding: Rounding | None = None
    fine_tune: FineTune = FineTune()
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = TOLERANCE
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    eval_images: Annotated[int, Field(ge=1)] = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    force: bool = False

    def __post_init__(self) -> None:
        check_types(self)
        check_shares(block_keep=self.block_keep, neuron_keep=self.neuron_keep, token_keep=self.token_keep)
        check_drops(self.token_keep, self.drop_at)
        output_path(self.output)

    @property
    def corrects(self) -> bool:
        """Whether rounding is corrected. At 8 bits there is nothing to gain: the nearest codes cost less than what images can tell."""
        return self.weight_bits < 8 if self.rounding is None else self.rounding is Rounding.CORRECTED

    @property
    def images(self) -> Path:
        """The held-out images beside the output."""
        return self.output.with_suffix(".npz")

    @property
    def log(self) -> Path:
        """The log beside the output."""
        return self.output.with_suffix(".log")

    def check_output(self) -> None:
        """Raise a UserError where the output, or what goes beside it, cannot be written."""
        if self.output.suffix != ".onnx":
            raise UserError(f"-o {self.output}: the output is an ONNX file, give it the suffix .onnx")
        if self.output.resolve() == self.model.resolve():
            raise UserError(f"-o {self.output} is the model itself: give another name")
        self._check_writable()
        for path in (self.output, self.images, self.log):
            if path.is_dir():
                raise UserError(f"-o {self.output}: {path} is a folder: give another name")
        for path in (self.output, self.images):
            if path.exists() and not self.force:
                raise UserError(f"{path} is there already: use --force to replace it, or another name")

    def _check_writable(self) -> None:
        """Raise a UserError where the folder of the output (or the one it would be made in) takes no file, or the log no line."""
        folder = next(p for p in self.output.absolute().parents if os.path.lexists(p))
        if not folder.is_dir():
            raise UserError(f"-o {self.output}: {folder} is not a folder: give a folder that can be written")
        try:
            tempfile.TemporaryFile(dir=folder).close()
            if self.log.is_file():
                self.log.open("a").close()
        except OSError as error:
            place = self.log if error.filename == str(self.log) else folder
            raise UserError(
                f"-o {self.output}: {place} cannot be written ({error.strerror}): give a folder and a name that can be"
            ) from error

    def config_of(self, vit: RecognisedViT) -> ViTConfig:
        """The network before static pruning, with its bits and token drops.

        Raises:
            UserError: drops that do not fit, naming option and value.
        """
        config = replace(vit.config, weight_bits=self.weight_bits, act_bits=self.act_bits, outer_bits=self.outer_bits)
        config.check_token_keep(self.token_keep)
        drops = Fraction(self.token_keep) < 1
        if drops and not self.drop_at:
            example = ",".join(map(str, even_drops(len(vit.config.encoders))))
            raise UserError(
                f"--token-keep {self.token_keep} needs --drop-at, for instance --drop-at {example}"
            )
        wrong = [d for d in self.drop_at if not 1 <= d < len(vit.config.encoders)]
        if wrong:
            raise UserError(
                f"--drop-at {wrong[0]}: tokens can be dropped in the encoders 1 to {len(vit.config.encoders) - 1} (only the "
                "class token counts after the last one)"
            )
        return config.with_token_drop(self.token_keep, self.drop_at) if drops else config

    def prune_of(self, config: ViTConfig) -> PruneConfig:
        """Block size and kept shares.

        Raises:
            UserError: a block size that does not divide the network.
        """
        block = self.block_size or _largest_block(config)
        check_block_size(config, block)
        prune = PruneConfig(block, self.block_keep, self.neuron_keep or self.block_keep)
        prune.check(config)
        return prune

    def score_for(self, prune: PruneConfig) -> Score:
        """The score that is computed: where all stay any serves, and magnitude needs no images."""
        return self.score if prune.prunes else Score.MAGNITUDE

    def learns(self, prune: PruneConfig) -> bool:
        """Whether images decide on scores or weights, and not on ranges alone."""
        return self.corrects or prune.prunes and (self.reconstruct or self.score is not Score.MAGNITUDE)

    def training(self, prune: PruneConfig, images: int) -> TrainConfig:
        """Fine-tuning on so many images as training has it; the learning rate is training's own where none is given.

        Where weights were fitted to masks, the masks stay. Elsewhere scores learn, and rates fall in the first half of the epochs.
        """
        r = self.fine_tune
        fitted = self.reconstruct or self.corrects or self.score_for(prune) is Score.SECOND_ORDER
        masks = {"hold_epochs": r.epochs, "score_lr": 0.0} if fitted else {"hold_epochs": (r.epochs + 1) // 2}
        rate = {} if r.learning_rate is None else {"lr": r.learning_rate}
        return TrainConfig(
            name=self.output.stem,
            data=self.data,
            eval_images=EPOCH_IMAGES,
            seed=self.seed,
            batch_size=r.batch_for(images),
            shift=r.shift,
            flip=r.flip,
            quant=QuantSection(weight_bits=self.weight_bits, act_bits=self.act_bits, outer_bits=self.outer_bits),
            prune=PruneSection(
                block_size=prune.block_size,
                block_keep=float(prune.block_keep),
                neuron_keep=float(prune.neuron_keep),
                token_keep=float(self.token_keep),
                drop_at=self.drop_at,
            ),
            student=StudentSection(
                epochs=r.epochs,
                warmup_epochs=0,
                distill_weight=1.0,
                **masks,
                **rate,
            ),
        )

    def normalisation(
        self, vit: RecognisedViT, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> tuple[tuple[float, ...], tuple[float, ...], str]:
        """Mean, deviation, and where they are from: the file, the options, or the data (given here).

        Raises:
            UserError: options beside a file that normalises itself, or of another number of channels.
        """
        source = "in the file" if vit.scaling is not None else "of the data" if self.mean is None and self.std is None else "as given"
        return *normalisation(self.model, vit, (self.mean, self.std), (mean, std)), source


def even_drops(encoders: int) -> tuple[int, ...]:
    """Three places of token drops (fewer in short networks), evenly, counted from 1."""
    return tuple(sorted({min(max(1, encoders * i // 4), encoders - 1) for i in (1, 2, 3)}))


def _largest_block(config: ViTConfig) -> int:
    fit = gcd(config.dim, config.head_dim, *(s.neurons for s in config.encoders))
    most = BLOCK_SIZES[0]
    others = (*range(most, 1, -1), *range(most + 1, fit + 1))
    return next((b for b in (*BLOCK_SIZES, *others) if fit % b == 0), BLOCK_SIZES[-1])
