"""What an import will do: options, network and data checked against each other before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd
from pathlib import Path

from finn_vitprune import progress
from finn_vitprune.errors import UserError
from finn_vitprune.importing.data import ImportData, load_data
from finn_vitprune.importing.float_model import normalisation, recognised
from finn_vitprune.ingest.check import hardware
from finn_vitprune.ingest.check.check_float import structure_of
from finn_vitprune.ingest.check.checked import structure_text
from finn_vitprune.ingest.onnx_file.model_file import ModelFile
from finn_vitprune.ingest.recognise.network import RecognisedViT
from finn_vitprune.models.config import ViTConfig
from finn_vitprune.options.importing import ImportOptions
from finn_vitprune.pruning.choices import Score
from finn_vitprune.pruning.config import PruneConfig
from finn_vitprune.pruning.layers import LayerShares
from finn_vitprune.training.config import PruneSection, QuantSection, StudentSection, TrainConfig

BLOCK_SIZES = (16, 8, 4, 2)
"""Tried in this order where no block size is given; then the largest number up to the first that divides all widths, then the
smallest.
"""
ELSE = "else"
"""Stages of which nothing else is said."""
EPOCH_IMAGES = 500
"""Held-out images that an epoch of fine-tuning, but the last, is measured on."""


@dataclass(frozen=True)
class Tuning:
    """Epochs of fine-tuning as training has them; ``rate`` at its height, None: by the loss; ``features``: weight of the
    encoders' outputs.
    """

    config: TrainConfig
    rate: float | None
    features: float


@dataclass(frozen=True)
class ImportPlan:
    """Everything that is decided and checked before the work starts.

    Attributes:
        config: the network before static pruning. mean, std: of pixels / 255; ``normalisation`` says where they are from.
        score: what is computed. by_layer: shares of layers, "auto": to be measured. learns: whether images decide on scores or weights, and not on ranges alone.
        reconstructs: whether layers are fitted after pruning. corrects: whether rounding is corrected. tuning: None without
        epochs.
        tolerance: largest difference from the file, of the largest output. tries: what to try, by the stage that loses much.
    """

    file: ModelFile
    vit: RecognisedViT
    config: ViTConfig
    prune: PruneConfig
    data: ImportData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalisation: str
    notes: tuple[str, ...]
    model: Path
    output: Path
    log: Path
    layers_file: Path
    tries: dict[str, str]
    score: Score
    by_layer: LayerShares | str | None
    learns: bool
    reconstructs: bool
    corrects: bool
    flip: bool
    tuning: Tuning | None
    token_keep: str
    tolerance: float
    eval_images: int
    seed: int


def make_plan(options: ImportOptions) -> ImportPlan:
    """Read file and data, and check that everything fits together.

    Raises:
        UserError: see :func:`.import_model`.
    """
    options.check_output()
    file, vit = recognised(options.model)
    progress.line(f"found: {structure_text(structure_of(vit))}")
    config = config_of(options, vit)
    prune = prune_of(options, config)
    progress.status(f"reading {options.data}")
    data = load_data(options.data, vit, options.fine_tune.train_images)
    given = (options.mean, options.std)
    mean, std = normalisation(options.model, vit, given, (tuple(data.data.mean), tuple(data.data.std)))
    source = "in the file" if vit.scaling is not None else "of the data" if given == (None, None) else "as given"
    numbers = ", ".join(f"{m:.4g} / {s:.4g}" for m, s in zip(mean, std))
    notes = (*hardware.notes(vit), *([data.note] if data.note else []))
    for note in notes:
        progress.line(f"note: {note}")
    tuned = options.fine_tune
    return ImportPlan(
        file=file, vit=vit, config=config, prune=prune, data=data, mean=mean, std=std,
        normalisation=f"{numbers} (mean / std, {source})", notes=notes, model=options.model, output=options.output, log=options.beside(".log"),
        layers_file=options.beside(".layers.json"),
        tries=tries_of(options),
        score=options.score if prune.prunes else Score.MAGNITUDE,  # where all stay any serves, and this one needs no images
        by_layer=options.layers or options.keep_by_layer,
        learns=learns(options, prune),
        reconstructs=options.reconstruct and prune.prunes, corrects=options.corrects, flip=tuned.flip,
        tuning=Tuning(training_of(options, prune, len(data.data.train_labels)), tuned.learning_rate, tuned.features) if tuned.epochs else None,
        token_keep=options.token_keep, tolerance=options.tolerance, eval_images=options.eval_images, seed=options.seed,
    )  # fmt: skip


def config_of(options: ImportOptions, vit: RecognisedViT) -> ViTConfig:
    """The network before static pruning, with its bits and token drops.

    Raises:
        UserError: drops that do not fit, naming option and value.
    """
    config = replace(vit.config, weight_bits=options.weight_bits, act_bits=options.act_bits, outer_bits=options.outer_bits)
    config.check_token_keep(options.token_keep)
    drops = Fraction(options.token_keep) < 1
    if drops and not options.drop_at:
        example = ",".join(map(str, even_drops(len(vit.config.encoders))))
        raise UserError(f"--token-keep {options.token_keep} needs --drop-at, for instance --drop-at {example}")
    wrong = [d for d in options.drop_at if not 1 <= d <= config.last_drop]
    if wrong:
        why = " (only the class token counts after the last one)" if config.last_drop < len(config.encoders) else ""
        raise UserError(f"--drop-at {wrong[0]}: tokens can be dropped in the encoders 1 to {config.last_drop}{why}")
    return config.with_token_drop(options.token_keep, options.drop_at) if drops else config


def prune_of(options: ImportOptions, config: ViTConfig) -> PruneConfig:
    """Block size and kept shares.

    Raises:
        UserError: a block size that does not divide the network.
    """
    block = options.block_size or _largest_block(config)
    shares = options.layers or options
    prune = PruneConfig(block, str(shares.block_keep), str(shares.neuron_keep or shares.block_keep))
    prune.check(config)
    return prune


def learns(options: ImportOptions, prune: PruneConfig) -> bool:
    """Whether images decide on scores or weights, and not on ranges alone."""
    return options.corrects or (prune.prunes and (options.reconstruct or options.score is not Score.MAGNITUDE))


def tries_of(options: ImportOptions) -> dict[str, str]:
    """What to try where a stage loses much, :data:`ELSE` another one; what the options have already is left out."""
    epochs = "--fine-tune-epochs 3" if options.fine_tune.epochs == 0 else "more --fine-tune-epochs"
    by_layer = ["--keep-by-layer auto"] * (options.keep_by_layer is None and options.score is Score.SECOND_ORDER)
    tries = {
        "pruned": ["--score second-order"] * (options.score is not Score.SECOND_ORDER) + [*by_layer, "larger shares", epochs],
        "reconstructed": [*by_layer, "larger shares", epochs],
        "quantised": ["--activation-bits 8"] * (options.act_bits < 8) + ["--weight-bits 8"] * (options.weight_bits < 8) + [epochs],
        ELSE: [epochs],
    }
    return {stage: ", ".join(texts) for stage, texts in tries.items()}


def training_of(options: ImportOptions, prune: PruneConfig, images: int) -> TrainConfig:
    """Fine-tuning on so many images as training has it; the learning rate is training's own where none is given.

    Where weights were fitted to masks, the masks stay. Elsewhere scores learn, and rates fall in the first half of the epochs.
    """
    r = options.fine_tune
    fitted = options.reconstruct or options.corrects or (prune.prunes and options.score is Score.SECOND_ORDER)
    masks = {"hold_epochs": r.epochs, "score_lr": 0.0} if fitted else {"hold_epochs": (r.epochs + 1) // 2}
    rate = {} if r.learning_rate is None else {"lr": r.learning_rate}
    return TrainConfig(
        name=options.output.stem,
        data=options.data,
        eval_images=EPOCH_IMAGES,
        seed=options.seed,
        batch_size=r.batch_for(images),
        shift=r.shift,
        flip=r.flip,
        quant=QuantSection(weight_bits=options.weight_bits, act_bits=options.act_bits, outer_bits=options.outer_bits),
        prune=PruneSection(
            block_size=prune.block_size,
            block_keep=float(prune.block_keep),
            neuron_keep=float(prune.neuron_keep),
            token_keep=float(options.token_keep),
            drop_at=options.drop_at,
        ),
        student=StudentSection(epochs=r.epochs, warmup_epochs=0, distill_weight=1.0, **masks, **rate),
    )


def even_drops(encoders: int) -> tuple[int, ...]:
    """Three places of token drops (fewer in short networks), evenly, counted from 1."""
    return tuple(sorted({min(max(1, encoders * i // 4), encoders - 1) for i in (1, 2, 3)}))


def _largest_block(config: ViTConfig) -> int:
    fit = gcd(config.dim, config.head_dim, *(s.neurons for s in config.encoders))
    most = BLOCK_SIZES[0]
    others = (*range(most, 1, -1), *range(most + 1, fit + 1))
    return next((b for b in (*BLOCK_SIZES, *others) if fit % b == 0), BLOCK_SIZES[-1])
