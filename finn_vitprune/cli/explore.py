"""``finn-vitprune explore``: many designs side by side, planned, and the best of them built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from finn_vitprune.cli import params
from finn_vitprune.cli.answer import Full, Json, answer

if TYPE_CHECKING:
    from finn_vitprune.options.explore import ExploreOptions

EXAMPLE = (
    "finn-vitprune explore deit_small.onnx --fpga-part U250,ZCU104 --engines 1,2,pipeline --bits 8,4 "
    "--block-keep 0.5,0.7 --token-keep 0.5 -o explore/deit"
)
OPTIONS = "finn_vitprune.options.explore:ExploreOptions"


def command(options: ExploreOptions, scheduler: params.Scheduler = None, full: Full = False, json_output: Json = False) -> None:
    """Plan every combination of networks, parts and engines, and build the best.

    Writes explore.csv, explore.json and a page, explore.html: rate against latency, resources, accuracy where it is known, and the
    commands that make each design again. Started again, it goes on where it stopped.
    """
    from finn_vitprune.cli.terminal import console_of_tables, progress_lines
    from finn_vitprune.exploration.explore import PAGE, explore
    from finn_vitprune.exploration.ledger import pareto
    from finn_vitprune.exploration.tables import best_table, explored_verdict
    from finn_vitprune.jobs import on_cluster
    from finn_vitprune.report.tables import show

    with progress_lines(), on_cluster(scheduler):
        found = explore(options)
    page = options.output / PAGE
    best_rows, verdict = pareto(found.rows), explored_verdict(found, options.output, page)
    document = found.model_dump(mode="json") | {"pareto": [row.name for row in best_rows], "page": str(page), "verdict": verdict.as_dict()}
    if not answer(document):
        if full:
            show([best_table(best_rows, options.clk_ns)], console_of_tables())
        typer.echo(verdict)
    if any(row.built and row.built.mismatches for row in found.rows):
        raise typer.Exit(1)
