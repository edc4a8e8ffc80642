"""Pruned DeiT networks with random weights, and tables about their plans.

``python -m finn_vitprune.builds.experiments.deit models -m build/deit`` makes the networks, ``... tables -m build/deit -o
builds/results/deit`` plans them. Both go on where they stopped.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Optional

import typer

from finn_vitprune import jobs
from finn_vitprune.builds.experiments.deit_models import LOADED, DeitNetwork, ModelFolder, make
from finn_vitprune.builds.experiments.deit_plans import Ledger, Question, ask
from finn_vitprune.builds.experiments.deit_reference import RUNS, time_float
from finn_vitprune.builds.experiments.deit_tables import QUESTIONS, TableName, markdown
from finn_vitprune.files import write_text

app = typer.Typer(help=__doc__, add_completion=False, no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--models", "-m", help="Folder of the networks, some 120 MB each.")]
Only = Annotated[Optional[list[TableName]], typer.Option(help="These tables alone.")]


@app.command()
def models(
    folder: Folder,
    only: Only = None,
    workers: Annotated[int, typer.Option("--jobs", help="Networks at a time.")] = 1,
) -> None:
    """Make the networks that are not there: QONNX file, hardware graph, and what is known of them."""
    store = ModelFolder(folder)
    wanted = networks(only) if only else dict.fromkeys([*networks(TableName), *LOADED])
    todo = [n for n in wanted if store.made(n) is None]
    started = time.monotonic()
    for network, made in jobs.run(partial(make, folder=store), todo, workers, lambda n: n.name):
        seconds = ", ".join(f"{stage} {s:.1f} s" for stage, s in made.seconds.items())
        text = f"{sum(made.heads)} of {made.heads_dense} heads, {made.macs / 1e9:.3f} of {made.macs_dense / 1e9:.3f} GMAC"
        print(f"[{time.monotonic() - started:.0f} s] {network.name}: {text}; {seconds}", flush=True)


@app.command()
def tables(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of ledger.json and RESULTS.md.")],
    only: Only = None,
    workers: Annotated[int, typer.Option("--jobs", help="Plans at a time.")] = 1,
    threads: Annotated[Optional[int], typer.Option(help="Of onnxruntime; by default all.")] = None,
    runs: Annotated[int, typer.Option(help="Of onnxruntime.")] = RUNS,
) -> None:
    """Plan what is not in the ledger, and write the tables after every plan. For the reference's table the processor is measured first."""
    ledger = Ledger.load(output / "ledger.json")
    chosen = only or list(TableName)
    if TableName.REFERENCE in chosen:
        ledger.time_of_cpu(time_float(threads=threads, runs=runs))
        print(ledger.cpu.text, flush=True)
    todo = list(ledger.missing(q for table in chosen for q in QUESTIONS[table]))
    for place, (question, answer) in enumerate(jobs.run(partial(ask, folder=ModelFolder(folder)), todo, workers, _key), start=1):
        ledger.add(answer)
        write_text(output / "RESULTS.md", markdown(ledger))
        fits = f"{answer.rate:,.0f} img/s" if answer.fits else "does not fit"
        print(f"[{place} of {len(todo)}] {question.key}: {fits}, {answer.binding}, {answer.seconds} s", flush=True)
    write_text(output / "RESULTS.md", markdown(ledger))


def networks(only: Iterable[TableName]) -> list[DeitNetwork]:
    """The networks of some tables, each once."""
    return list(dict.fromkeys(q.network for table in only for q in QUESTIONS[table]))


def _key(question: Question) -> str:
    return question.key


if __name__ == "__main__":
    app()
