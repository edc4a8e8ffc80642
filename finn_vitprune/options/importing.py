"""The options of ``import``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from finn_vitprune.errors import UserError
from finn_vitprune.files import output_path
from finn_vitprune.options.base import Option, Options
from finn_vitprune.options.texts import Floats, Ints, Positive
from finn_vitprune.pruning.choices import Rounding, Score, Share, check_drops, check_shares

if TYPE_CHECKING:
    from finn_vitprune.pruning.layers import LayerShares

ShareText = Annotated[str, Field(coerce_numbers_to_str=True)]
"""A share, the exact decimal as written."""
Bits = Literal[4, 8]
"""Bits of a code."""
BATCH, LEAST_BATCH, STEPS = 64, 8, 25
"""Images a step, at most and at least, and steps that an epoch has where there are images enough."""
MIN_IMAGES = 10
"""A data set has so many at least."""
AUTO = "auto"
"""Shares by layer are measured."""
TOLERANCE = 1e-4
"""The network may differ from onnxruntime by this share of the largest output."""


class FineTune(Options):
    """Fine-tuning: distillation from the float model.

    ``features`` weighs the squared error of the encoders' outputs beside that of the logits. ``train_images`` are a fixed,
    class-balanced subset. ``flip`` is for the crops of few calibration images, too.
    """

    epochs: Annotated[
        int,
        Option(flag="--fine-tune-epochs"),
        Field(ge=0, description="The pruned network learns this many epochs from the float one (distillation)."),
    ] = 0
    learning_rate: Annotated[
        float | None, Option(parse=Positive, metavar="RATE"),
        Field(gt=0, allow_inf_nan=False, description="The learning rate of fine-tuning at its height; without it the slope of the loss decides."),
    ] = None  # fmt: skip
    batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            description="Each step of fine-tuning takes this many images; without it 64, or fewer (8 at least) so that an epoch has 25 steps.",
        ),
    ] = None
    train_images: Annotated[
        int | None, Field(ge=MIN_IMAGES, description="Calibrates and fine-tunes on this many images; without it on all.")
    ] = None
    shift: Annotated[int, Field(ge=0, description="Fine-tuning shifts images by up to this many pixels.")] = 0
    flip: Annotated[bool, Field(description="Mirrors half of the images in fine-tuning, and of the crops of few calibration images.")] = (
        False
    )
    features: Annotated[
        float, Option(flag="--distill-features", metavar="WEIGHT"),
        Field(ge=0, allow_inf_nan=False, description="Fine-tuning weighs the encoders' outputs so beside the logits; 0 is the logits alone."),
    ] = 1.0  # fmt: skip

    @model_validator(mode="after")
    def _of_use(self) -> Self:
        given = {"--learning-rate": self.learning_rate, "--batch-size": self.batch_size, "--shift": self.shift or None}
        if not self.epochs and (unused := next((option for option, value in given.items() if value is not None), None)):
            raise UserError(f"{unused} {given[unused]} is for fine-tuning: add --fine-tune-epochs, or leave it out")
        return self

    def batch_for(self, images: int) -> int:
        """Images a step for so many in an epoch: BATCH, fewer where an epoch would have fewer than STEPS steps."""
        return min(BATCH, max(LEAST_BATCH, images // STEPS)) if self.batch_size is None else self.batch_size


class ImportOptions(Options):
    """All of one import. Shares are exact decimals as written; encoders in ``drop_at`` count from 1."""

    COMMAND: ClassVar[str] = "import"
    GROUPS: ClassVar[Mapping[str, str]] = {
        "Files": "model data to force",
        "Pruning": "block_keep neuron_keep keep_by_layer token_keep drop_at block_size score reconstruct",
        "Bits": "weight_bits activation_bits outer_bits rounding",
        "Fine-tuning": "fine_tune_epochs learning_rate batch_size train_images shift flip distill_features",
        "Pixels and checks": "mean std tolerance eval_images seed",
    }

    model: Annotated[
        Path, Option(place=True, metavar="MODEL.onnx", file=True),
        Field(description="The ONNX file, float or QDQ; `check` tells whether it can be imported."),
    ]  # fmt: skip
    data: Annotated[
        str,
        Option(metavar="DATA"),
        Field(
            description="The images to calibrate with: imagefolder:PATH (PATH/train and PATH/val, or PATH/CLASS/FILE, or files alone), npz:FILE (`images` alone, or `train_images`, `train_labels`, `test_images`, `test_labels`; all uint8 [frames, H, W, C]), digits, fashion-mnist[:FOLDER]."
        ),
    ]
    output: Annotated[
        Path,
        Option(short="-o", keyword="to", metavar="PRUNED.onnx"),
        Field(
            description="The QONNX file to write, for `build`. Held-out images go beside it (.npz), what each layer loses (.layers.json), and a log."
        ),
    ]
    score: Annotated[
        Score,
        Field(description="This decides which blocks and neurons stay: the weights, |w dL/dw| on the data, or the error of the output "
                          "where the rest of a layer makes up for them."),
    ] = Score.SECOND_ORDER  # fmt: skip
    reconstruct: Annotated[bool, Field(description="After pruning each layer is fitted to the float model's by least squares.")] = True
    block_size: Annotated[
        int | None, Field(ge=2, description="Blocks have this many rows and columns; without it the largest of 16, 8, 4, 2 that fits.")
    ] = None
    block_keep: Annotated[
        ShareText, Option(parse=Share, metavar="SHARE"), Field(description="This share of the blocks of W_q, W_k, W_v, W_proj is kept.")
    ] = "1"
    neuron_keep: Annotated[
        ShareText | None, Option(parse=Share, metavar="SHARE"),
        Field(description="This share of the MLP neurons is kept; without it as --block-keep."),
    ] = None  # fmt: skip
    keep_by_layer: Annotated[
        str | None, Option(metavar="auto|FILE"),
        Field(description="Each layer has a share of its own, at the operations of --block-keep and --neuron-keep: `auto` measures what each layer "
                          "loses, a FILE that an import wrote beside its output (.layers.json) says them."),
    ] = None  # fmt: skip
    token_keep: Annotated[
        ShareText, Option(parse=Share, metavar="SHARE"), Field(description="This share of the tokens is kept in the encoders of --drop-at.")
    ] = "1"
    drop_at: Annotated[
        tuple[int, ...], Option(parse=Ints, metavar="NUMBERS"), Field(description="These encoders drop tokens, counted from 1, as 3,7,10.")
    ] = ()
    weight_bits: Annotated[Bits, Field(description="The weights have this many bits.")] = 8
    act_bits: Annotated[
        Bits, Option(flag="--activation-bits"), Field(description="The activations between layers have this many bits.")
    ] = 8
    outer_bits: Annotated[Bits, Field(description="The weights of patch embedding and classifier have this many bits.")] = 8
    rounding: Annotated[
        Rounding | None,
        Field(description="Weights are rounded to the nearest code, or so that later ones of a layer make good what earlier ones lost; without it "
                          "corrected below 8 bits."),
    ] = None  # fmt: skip
    fine_tune: FineTune = FineTune()
    mean: Annotated[
        tuple[float, ...] | None, Option(parse=Floats, metavar="NUMBERS"),
        Field(description="The model was trained with this mean of pixels / 255."),
    ] = None  # fmt: skip
    std: Annotated[
        tuple[float, ...] | None, Option(parse=Floats, metavar="NUMBERS"),
        Field(description="The deviation to --mean; without both the data's own are taken."),
    ] = None  # fmt: skip
    tolerance: Annotated[
        float, Option(parse=Positive, metavar="SHARE"),
        Field(gt=0, allow_inf_nan=False, description="The network may differ from onnxruntime by this share of the largest output."),
    ] = TOLERANCE  # fmt: skip
    eval_images: Annotated[int, Field(ge=1, description="Every stage is measured on this many held-out images, drawn with --seed.")] = 1000
    seed: Annotated[int, Field(ge=0, description="The seed of all that is drawn.")] = 0
    force: Annotated[bool, Option(matters=False), Field(description="Replaces PRUNED.onnx if it is there.")] = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        check_shares(**{"--block-keep": self.block_keep, "--neuron-keep": self.neuron_keep, "--token-keep": self.token_keep})
        check_drops(self.token_keep, self.drop_at)
        if (self.mean is None) != (self.std is None):
            raise UserError("--mean and --std go together: give both, or neither")
        output_path(self.output)
        self._check_layers()
        return self

    def _check_layers(self) -> None:
        """Raise a UserError where shares by layer are asked for that nothing can tell."""
        if self.keep_by_layer is None:
            return
        if self.layers is not None:
            own = {"--block-keep": (self.block_keep, self.layers.block_keep), "--neuron-keep": (self.neuron_keep, self.layers.neuron_keep)}
            for option, (given, of_file) in own.items():
                if given not in (None, "1") and float(given) != of_file:
                    raise UserError(f"{option} {given}: {self.keep_by_layer} is for {of_file:g}: leave the option out, or use another file")
        elif self.score is not Score.SECOND_ORDER:
            raise UserError(f"--keep-by-layer auto: --score {self.score.value} does not tell what a layer loses: use second-order")
        elif {self.block_keep, self.neuron_keep or "1"} == {"1"}:
            raise UserError(
                "--keep-by-layer auto: everything is kept: give the shares of all layers together, for example --block-keep 0.5"
            )

    @cached_property
    def layers(self) -> LayerShares | None:
        """Shares by layer of a file."""
        if self.keep_by_layer in (None, AUTO):
            return None
        from finn_vitprune.pruning.layers import LayerShares

        return LayerShares.load(Path(self.keep_by_layer))

    @property
    def corrects(self) -> bool:
        """Whether rounding is corrected.

        At 8 bits there is nothing to gain: the nearest codes cost less than what images can tell.
        """
        return self.weight_bits < 8 if self.rounding is None else self.rounding is Rounding.CORRECTED

    def beside(self, suffix: str) -> Path:
        """A file beside the output: ``.npz`` held-out images, ``.layers.json`` shares by layer, ``.log``."""
        return self.output.with_suffix(suffix)

    def check_output(self) -> None:
        """Raise a UserError where the output, or what goes beside it, cannot be written."""
        if self.output.suffix != ".onnx":
            raise UserError(f"-o {self.output}: the output is an ONNX file, give it the suffix .onnx")
        if self.output.resolve() == self.model.resolve():
            raise UserError(f"-o {self.output} is the model itself: give another name")
        self._check_writable()
        images, layers, log = map(self.beside, (".npz", ".layers.json", ".log"))
        for path in (self.output, images, layers, log):
            if path.is_dir():
                raise UserError(f"-o {self.output}: {path} is a folder: give another name")
        for path in (self.output, images, layers):
            if path.exists() and not self.force:
                raise UserError(f"{path} is there already: use --force to replace it, or another name")

    def _check_writable(self) -> None:
        """Raise a UserError where the folder of the output (or the one it would be made in) takes no file, or the log no line."""
        folder = next(p for p in self.output.absolute().parents if os.path.lexists(p))
        if not folder.is_dir():
            raise UserError(f"-o {self.output}: {folder} is not a folder: give a folder that can be written")
        log = self.beside(".log")
        try:
            tempfile.TemporaryFile(dir=folder).close()
            if log.is_file():
                log.open("a").close()
        except OSError as error:
            place = log if error.filename == str(log) else folder
            raise UserError(
                f"-o {self.output}: {place} cannot be written ({error.strerror}): give a folder and a name that can be"
            ) from error
