"""Rows of ``builds/results/trained``: accuracy of trained networks' integers beside that of the float network that saw the same images.

``python -m builds.experiments.trained FLOAT_RUN RUN ... -o builds/results/trained``, where runs are folders of ``train``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, write_json
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.training.config import TrainConfig, parse_config
from finn_vitprune.training.train import METRICS, MODEL

RESULTS = "results.json"
KEY = ("data", "block_keep", "token_keep", "weight_bits", "activation_bits", "passes", "train_images", "seed")
"""What tells rows apart."""

app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def main(
    float_run: Path,
    runs: list[Path],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of results.json; rows that it has stay, or are replaced.")],
    jobs: Annotated[int, typer.Option(min=1, help="Processes that evaluate.")] = 1,
) -> None:
    """Evaluate each run's network on all held-out images, and write its row."""
    path = output / RESULTS
    rows = read_json(path, "results file") if path.exists() else []
    for run in runs:
        row = row_of(float_run, run, jobs)
        rows = [r for r in rows if any(r[key] != row[key] for key in KEY)] + [row]
        write_json(path, rows)
        typer.echo(f"{run}: {row['accuracy']:.4f}, float {row['accuracy_float']:.4f}, of {row['images']:,} images")


def row_of(float_run: Path, run: Path, jobs: int = 1) -> dict[str, Any]:
    """The row of a run.

    Raises:
        UserError: no finished runs, or the float network saw other images or more passes.
    """
    (reference, base), (metrics, config) = _finished(float_run), _finished(run)
    seen, here = _seen(base), _seen(config)
    if different := [name for name in seen if seen[name] != here[name]]:
        raise UserError(f"{run} and {float_run} differ in {', '.join(different)}: give the float network that saw the same images")
    found = evaluate(EvaluateOptions(target=run / MODEL, data=config.data, jobs=jobs))
    sizes, prune = metrics["complexity"], config.prune
    return {
        "data": config.data.rpartition("/")[2].rpartition(":")[2],
        "block_keep": prune.block_keep,
        "token_keep": prune.token_keep if prune.drop_at else 1.0,
        "weight_bits": config.quant.weight_bits,
        "activation_bits": config.quant.act_bits,
        "passes": here["passes"],
        "images": found.images,
        "train_images": metrics["train_images"],
        "accuracy_float": reference["accuracy_teacher"],
        "accuracy": found.accuracy,
        "seed": config.seed,
        "macs_dense": sizes["macs_dense"],
        "macs_pruned": sizes["macs_pruned"],
        "macs": sizes["macs"],
    }


def _finished(run: Path) -> tuple[dict[str, Any], TrainConfig]:
    metrics = read_json(run / METRICS, "metrics of a finished run")
    return metrics, parse_config(metrics["config"], str(run / METRICS))


def _seen(config: TrainConfig) -> dict[str, Any]:
    """What a network saw, and how often."""
    passes = config.teacher.epochs + config.student.epochs
    return {"data": config.data, "train_images": config.train_images, "holdout": config.holdout, "seed": config.seed, "passes": passes}


if __name__ == "__main__":
    app()
