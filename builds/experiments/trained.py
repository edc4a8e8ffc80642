"""Rows of ``builds/results/trained``: accuracy of trained networks' integers beside that of the float network that saw the same images.

``python -m builds.experiments.trained builds/results/train/deit_tiny ... -o builds/results/trained``: each folder has the ``results.json``
of a sweep and packed networks ``ROW-SEED.xz`` of its rows. Paths of data are relative to the folder in which you start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from finn_vitprune.builds.evaluate import evaluate
from finn_vitprune.errors import UserError
from finn_vitprune.files import read_json, sha256, write_json
from finn_vitprune.options.evaluate import EvaluateOptions
from finn_vitprune.training.config import TrainConfig, parse_config
from finn_vitprune.training.sweep_results import SweepResults

RESULTS = "results.json"
KEY = ("data", "block_keep", "token_keep", "weight_bits", "activation_bits", "passes", "train_images", "seed")
"""What tells rows apart."""

app = typer.Typer(help=__doc__, add_completion=False)


@app.command()
def main(
    folders: list[Path],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of results.json; rows that it has stay, or are replaced.")],
    jobs: Annotated[int, typer.Option(min=1, help="Processes that evaluate.")] = 1,
) -> None:
    """Evaluate each network that has no row yet on all held-out images, and write its row."""
    path = output / RESULTS
    rows = read_json(path, "results file") if path.exists() else []
    for folder in folders:
        for network, run, base in networks(folder):
            if sha256(network) in (row["sha256"] for row in rows):
                continue
            row = row_of(network, run, base, jobs)
            rows = [r for r in rows if any(r[key] != row[key] for key in KEY)] + [row]
            write_json(path, rows)
            typer.echo(f"{network}: {row['accuracy']:.4f}, float {row['accuracy_float']:.4f}, of {row['images']:,} images")


def networks(folder: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Each packed network of a folder, the record of its run, and that of the float network with the same seed.

    Raises:
        UserError: the folder has no results of a sweep, or no network of them, or a network has no float network beside it.
    """
    found = False
    for sweep in SweepResults(folder / RESULTS).content.values():
        floats = {run["seed"]: run for run in sweep["runs"] if run["row"] == sweep["baseline"]}
        for run in sweep["runs"]:
            network = folder / f"{run['row']}-{run['seed']}.xz"
            if not network.is_file():
                continue
            if run["seed"] not in floats:
                raise UserError(f"{folder / RESULTS} has no run of {sweep['baseline']} with seed {run['seed']}, which {network.name} needs")
            found = True
            yield network, run, floats[run["seed"]]
    if not found:
        raise UserError(f"{folder} has no {RESULTS} of a sweep with packed networks ROW-SEED.xz of its rows beside it")


def row_of(network: Path, run: dict[str, Any], base: dict[str, Any], jobs: int = 1) -> dict[str, Any]:
    """The row of a network; ``passes`` are those over the training images, before and while it was pruned.

    Raises:
        UserError: the float network saw other images, or the network cannot be evaluated.
    """
    config, reference = parse_config(run["config"]), parse_config(base["config"])
    seen, there = _seen(config), _seen(reference)
    if different := [name for name in seen if seen[name] != there[name]]:
        raise UserError(f"{network}: the float network saw other images: {', '.join(different)} differ")
    found = evaluate(EvaluateOptions(target=network, data=config.data, jobs=jobs))
    prune = config.prune
    return {
        "data": config.data.rpartition("/")[2].rpartition(":")[2],
        "block_keep": prune.block_keep,
        "token_keep": prune.token_keep if prune.drop_at else 1.0,
        "weight_bits": config.quant.weight_bits,
        "activation_bits": config.quant.act_bits,
        "passes": _passes(config),
        "passes_float": _passes(reference),
        "images": found.images,
        "train_images": run["train_images"],
        "accuracy_float": base["accuracy_teacher"],
        "accuracy": found.accuracy,
        "seed": config.seed,
        "macs_dense": run["macs_dense"],
        "macs_pruned": run["macs_pruned"],
        "macs": run["macs"],
        "network": network.name,
        "sha256": sha256(network),
    }


def _seen(config: TrainConfig) -> dict[str, Any]:
    """Which images a network saw."""
    return {"data": config.data, "train_images": config.train_images, "holdout": config.holdout, "seed": config.seed}


def _passes(config: TrainConfig) -> int:
    return config.teacher.epochs + config.student.epochs


if __name__ == "__main__":
    app()
