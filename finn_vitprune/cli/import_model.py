"""``finn-vitprune import``: a float ONNX file of a vision transformer becomes a pruned QONNX file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from finn_vitprune.cli.answer import Full, Json, answer
from finn_vitprune.cli.params import Floats, Ints, positive, share
from finn_vitprune.pruning.choices import Rounding, Score, Share

if TYPE_CHECKING:
    from finn_vitprune.importing.workflow import Imported
    from finn_vitprune.importing.options import ImportOptions

EXAMPLE = (
    "finn-vitprune import deit_small.onnx --data imagefolder:imagenet -o pruned.onnx --block-keep 0.5 "
    "--fine-tune-epochs 3 --token-keep 0.7 --drop-at 3,7,10"
)


Bits = Literal["4", "8"]
"""Bits of a code."""


def command(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL.onnx", help="ONNX file, float or QDQ; `check` tells whether it fits."),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="digits, fashion-mnist[:FOLDER], npz:FILE, imagefolder:PATH; without labels, too.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PRUNED.onnx", help="QONNX file to write.")
    ],
    score: Annotated[
        Score,
        typer.Option(
            help="What decides which blocks and neurons stay: the weights, |w dL/dw| on the data, or the error of the output "
            "where the rest of a layer makes up for them."
        ),
    ] = Score.SECOND_ORDER,
    reconstruct: Annotated[
        bool,
        typer.Option("--reconstruct/--no-reconstruct", help="After pruning, fit each layer to the float model's by least squares."),
    ] = True,
    block_size: Annotated[
        Optional[int],
        typer.Option(min=2, help="Block size; without it the largest of 16, 8, 4, 2 that fits."),
    ] = None,
    block_keep: Annotated[
        Share, typer.Option(parser=share, metavar="SHARE", help="Kept share of the blocks of W_q, W_k, W_v, W_proj.")
    ] = "1",
    neuron_keep: Annotated[
        Optional[Share],
        typer.Option(parser=share, metavar="SHARE", help="Kept share of MLP neurons; without it as --block-keep."),
    ] = None,
    token_keep: Annotated[
        Share, typer.Option(parser=share, metavar="SHARE", help="Kept share of tokens in the encoders of --drop-at.")
    ] = "1",
    drop_at: Annotated[
        Optional[Ints],
        typer.Option(parser=Ints.parse, metavar="NUMBERS", help="Encoders that drop tokens, from 1, with commas."),
    ] = None,
    weight_bits: Annotated[Bits, typer.Option(help="Bits of the weights.")] = "8",
    activation_bits: Annotated[
        Bits, typer.Option(help="Bits of the activations between layers.")
    ] = "8",
    outer_bits: Annotated[
        Bits, typer.Option(help="Bits of the weights of patch embedding and classifier.")
    ] = "8",
    rounding: Annotated[
        Optional[Rounding],
        typer.Option(
            help="Weights to the nearest code, or so that later ones of a layer make good what earlier ones lost; without it "
            "corrected below 8 bits."
        ),
    ] = None,
    fine_tune_epochs: Annotated[
        int, typer.Option(min=0, help="Epochs of fine-tuning: distillation from the float model.")
    ] = 0,
    learning_rate: Annotated[
        Optional[float],
        typer.Option(parser=positive, metavar="RATE", help="Its learning rate at the height; without it, by the slope of the loss."),
    ] = None,
    batch_size: Annotated[
        Optional[int],
        typer.Option(min=1, help="Images a step; without it 64, or fewer (8 at least) so that an epoch has 25 steps."),
    ] = None,
    train_images: Annotated[
        Optional[int], typer.Option(min=10, help="Calibrate and fine-tune on so many images.")
    ] = None,
    shift: Annotated[int, typer.Option(min=0, help="Shift images by up to so many pixels in fine-tuning.")] = 0,
    flip: Annotated[
        bool, typer.Option("--flip", help="Mirror half of the images in fine-tuning, and of the crops of few calibration images.")
    ] = False,
    distill_features: Annotated[
        float,
        typer.Option(min=0, metavar="WEIGHT", help="Weight of the encoders' outputs beside the logits in fine-tuning; 0: logits alone."),
    ] = 1.0,
    mean: Annotated[
        Optional[Floats],
        typer.Option(
            parser=Floats.parse, metavar="NUMBERS", help="Mean of pixels / 255 that the model was trained with."
        ),
    ] = None,
    std: Annotated[
        Optional[Floats],
        typer.Option(
            parser=Floats.parse, metavar="NUMBERS", help="Their deviation; both from the data where not given."
        ),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            parser=positive, metavar="SHARE", help="Largest difference from onnxruntime, of the largest output."
        ),
    ] = 1e-4,
    eval_images: Annotated[
        int, typer.Option(min=1, help="Held-out images that every stage is measured on, drawn with --seed.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 0,
    full: Full = False,
    json_output: Json = False,
    force: Annotated[bool, typer.Option("--force", help="Replace PRUNED.onnx.")] = False,
) -> None:
    """Take a vision transformer in: recognise, compare, prune by score, calibrate, fine-tune, export as QONNX.

    With the default shares it quantises only. What is not supported is rejected by its name before any work.
    """
    from finn_vitprune.cli.files import need_file

    need_file(model)
    with _quiet_libraries():
        from finn_vitprune.cli.terminal import progress_lines
        from finn_vitprune.importing.options import FineTune, ImportOptions
        from finn_vitprune.importing.workflow import import_model

        options = ImportOptions(
            model=model,
            data=data,
            output=output,
            score=score,
            reconstruct=reconstruct,
            block_size=block_size,
            block_keep=block_keep,
            neuron_keep=neuron_keep,
            token_keep=token_keep,
            drop_at=drop_at or (),
            weight_bits=int(weight_bits),
            act_bits=int(activation_bits),
            outer_bits=int(outer_bits),
            rounding=rounding,
            fine_tune=FineTune(fine_tune_epochs, learning_rate, batch_size, train_images, shift, flip, distill_features),
            tolerance=tolerance,
            mean=mean or None,
            std=std or None,
            eval_images=eval_images,
            seed=seed,
            force=force,
        )
        with progress_lines():
            imported = import_model(options)
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.importing.verdict import import_table, import_verdict
    from finn_vitprune.report.tables import show

    verdict = import_verdict(imported, options)
    if not answer(as_dict(imported, options) | {"verdict": verdict.as_dict()}):
        if full:
            show([import_table(imported)], console_of_tables())
        typer.echo(verdict)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Nothing that torch, its exporter or brevitas warn of, in Python or in C++ (which reads the variable when it is loaded)."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def as_dict(imported: Imported, options: ImportOptions) -> dict:
    """The JSON form; shares 0 to 1."""
    from dataclasses import asdict

    m, c = imported.metadata, imported.comparison
    return {
        "model": str(options.model),
        "output": str(options.output),
        "data": options.data,
        "structure": imported.structure.as_dict(),
        "normalisation": imported.normalisation,
        "onnxruntime": asdict(c) | {"relative": c.relative, "tolerance": options.tolerance},
        "pruning": {
            "score": options.score.value,
            "reconstruct": options.reconstruct,
            "rounding": (Rounding.CORRECTED if options.corrects else Rounding.NEAREST).value,
            "block_size": m.block_size,
            "block_keep": m.block_keep,
            "neuron_keep": m.neuron_keep,
            "token_keep": m.token_keep,
            "weight_bits": m.weight_bits,
            "activation_bits": m.act_bits,
            "outer_bits": m.outer_bits,
            "fine_tune_epochs": options.fine_tune.epochs,
            "distill_features": options.fine_tune.features,
        },
        "eval_images": imported.eval_images,
        "measured_on": imported.measured_on,
        "stages": [asdict(s) for s in imported.stages],
        "ranges": [asdict(r) for r in imported.ranges],
        "complexity": m.sizes(),
        "gate": asdict(imported.gate),
        "saturations": imported.saturations,
        "notes": list(imported.notes),
        "seconds": round(imported.seconds, 1),
    }
