"""``finn-vitprune import``: a float ONNX file of a vision transformer becomes a pruned QONNX file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli.answer import Full, Json, answer
from finn_vitprune.pruning.choices import Rounding

if TYPE_CHECKING:
    from finn_vitprune.importing.workflow import Imported
    from finn_vitprune.options.importing import ImportOptions

EXAMPLE = (
    "finn-vitprune import deit_small.onnx --data imagefolder:imagenet -o pruned.onnx --block-keep 0.5 "
    "--fine-tune-epochs 3 --token-keep 0.7 --drop-at 3,7,10"
)
OPTIONS = "finn_vitprune.options.importing:ImportOptions"


def command(options: ImportOptions, full: Full = False, json_output: Json = False) -> None:
    """Take a vision transformer in: recognise, compare, prune by score, calibrate, fine-tune, export as QONNX.

    With the default shares it quantises only. What is not supported is rejected by its name before any work.
    """
    with _quiet_libraries():
        from finn_vitprune.cli.terminal import progress_lines
        from finn_vitprune.importing.workflow import import_model

        with progress_lines():
            imported = import_model(options)
    from finn_vitprune.cli.terminal import console_of_tables
    from finn_vitprune.importing.verdict import import_table, import_verdict
    from finn_vitprune.report.layer_shares import layer_table
    from finn_vitprune.report.tables import show

    verdict = import_verdict(imported, options.output, f"finn-vitprune build {options.output} --fpga-part PART -o FOLDER")
    if not answer(as_dict(imported, options) | {"verdict": verdict.as_dict()}):
        if full:
            tables = [import_table(imported)] + ([] if imported.layers is None else [layer_table(imported.layers)])
            show(tables, console_of_tables())
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
            "keep_by_layer": options.keep_by_layer,
            "layers": None if imported.layers is None else imported.layers.model_dump(mode="json"),
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
