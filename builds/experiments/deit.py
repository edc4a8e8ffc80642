"""Pruned DeiT networks with random weights: make them, plan them, load them into one design.

All commands go on where they stopped.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import finn_vitprune.plugin  # noqa: F401
from builds.experiments import deit_loaded, deit_pages
from builds.experiments.deit_models import NETWORKS, ModelFolder, make
from builds.experiments.study import Jobs, Only, Output, start
from finn_vitprune import jobs

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--models", "-m", help="Folder of the networks, some 120 MB each.")]


@app.command()
def models(folder: Folder, only: Only = None, workers: Jobs = 0) -> None:
    """Make the networks that are not there: QONNX file, hardware graph, and what is known of them."""
    store = ModelFolder(folder)
    wanted = [n for n in NETWORKS if any(text in n.name for text in only or [""])]
    todo = [n for n in wanted if store.made(n) is None]
    for network, made in jobs.run(partial(make, folder=store), todo, workers, lambda n: n.name):
        text = f"{sum(made.heads)} of {made.heads_dense} heads, {made.macs / 1e9:.3f} of {made.macs_dense / 1e9:.3f} GMAC"
        print(f"{network.name}: {text}", flush=True)


@app.command()
def pipelines(folder: Folder, output: Output, only: Only = None, workers: Jobs = 0) -> None:
    """Plan the networks for parts, with hardware for every encoder."""
    deit_pages.pipelines(ModelFolder(folder)).go(output, only, workers)


@app.command()
def engines(folder: Folder, output: Output, only: Only = None, workers: Jobs = 0) -> None:
    """Plan the networks on engines."""
    deit_pages.engines(ModelFolder(folder)).go(output, only, workers)


@app.command()
def loaded(folder: Folder, build: Annotated[Path, typer.Option(help="Folder of the design.")], output: Output, only: Only = None) -> None:
    """Load the design of a build with the networks, one after another, and simulate it."""
    deit_loaded.study(ModelFolder(folder), build).go(output, only)


if __name__ == "__main__":
    start(app)
